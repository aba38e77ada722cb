"""Let the recent average credit of the idle decay (spec 03 section 8.7); a daily task."""
from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

from boincdock.db import Connection

logger = logging.getLogger("boincdock.update_stats")

CHUNK = 1000
DEFAULT_MIN_AGE = 86400.0
KINDS = {"users": "user", "hosts": "host", "teams": "team", "avs": "version"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The task's options; without any ``--update_…`` it does everything."""
    for option, kind in KINDS.items():
        parser.add_argument(f"--update_{option}", action="store_true",
                            help=f"only (also) {'app version' if kind == 'version' else kind}s")
    parser.add_argument("--min_age", type=float, default=DEFAULT_MIN_AGE, metavar="S",
                        help="leave alone what was updated less than S seconds ago (default a day)")


def update(db: Connection, kinds: list[str], now: float, min_age: float,
           stopping: Callable[[], bool] = lambda: False) -> dict[str, int]:
    """Decay the given kinds (values of ``KINDS``); rows updated by kind. Short statements, a thousand ids each;
    teams with credit also get their number of members counted."""
    updated = dict.fromkeys(kinds, 0)
    for kind in kinds:
        after = 0
        while not stopping():
            chunk = db.one(f"stats.next_{kind}", after=after, limit=CHUNK)
            if not chunk or not chunk["n"]:
                break
            span = {"after": after, "last": chunk["last"]}
            if kind == "team":
                db.retrying(lambda span=span: db.run("stats.count_members", **span))  # type: ignore[misc]
            updated[kind] += db.retrying(lambda kind=kind, span=span: db.run(  # type: ignore[misc]
                f"stats.decay_{kind}", now=now, before=now - min_age, **span))
            after = chunk["last"]
        logger.info("%s: %d updated", kind, updated[kind])
    return updated
