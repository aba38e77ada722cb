"""Small tools for the operator (spec 03 section 16)."""
from __future__ import annotations

from boincdock.db import Connection

CHUNK = 1000


def transition_all(db: Connection, now: int) -> int:
    """Make every workunit due (but broadcast ones), in short statements; the number of those that were not."""
    after = count = 0
    while last := db.value("stats.next_workunit", after=after, limit=CHUNK):
        span = {"after": after, "last": last}
        count += db.retrying(lambda span=span: db.run("stats.wake_all", now=now, **span))  # type: ignore[misc]
        after = int(last)
    return count
