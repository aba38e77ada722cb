"""Badges for the users and teams with most recent average credit; a daily task (spec 03 section 8.8)."""
from __future__ import annotations

import logging

from boincdock.db import Connection

logger = logging.getLogger("boincdock.badge_assign")

PERCENTILES = ((99, "Top 1% in average credit", "img/pct_1.png"), (95, "Top 5% in average credit", "img/pct_5.png"),
               (75, "Top 25% in average credit", "img/pct_25.png"))


def threshold_index(count: int, percent: int) -> int:
    """Where the threshold stands among ``count`` ascending values, from 0."""
    return count * percent // 100


def assign(db: Connection, kind: str, now: float) -> dict[str, int]:
    """Give badges to the users (``kind`` user) or teams (team) that earned them, each its best, and take
    away those not earned any more; the ids of the badges by name. Nobody active: nothing changes."""
    count = int(db.value(f"stats.active_{kind}") or 0)
    if not count:
        return {}
    owners, high = {}, 1e300
    for number, (percent, title, image) in enumerate(PERCENTILES):
        low = float(db.value(f"stats.credit_at_{kind}", place=threshold_index(count, percent)))
        name = f"{kind}_pct_{number}"
        badge = db.value("stats.badge_by_name", name=name) or db.insert(
            "stats.make_badge", now=now, name=name, title=title, image_url=image)

        def work(badge: int = badge, low: float = low, high: float = high) -> int:
            db.run(f"stats.assign_badge_{kind}", badge=badge, low=low, high=high, now=now)
            return db.run(f"stats.drop_badge_{kind}", badge=badge, now=now)

        dropped = db.retrying(work)
        owners[name] = int(badge)
        logger.info("%s: from %g credits a day; %d lost it", name, low, dropped)
        high = low
    return owners
