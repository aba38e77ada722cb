"""Cancelling jobs (spec 04 section 3.3)."""
from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from boincdock.db import Connection
from boincdock.db.connector import chunks
from boincdock.errors import InputError

_CHUNK = 500


def cancel_jobs(db: Connection, ids: Sequence[int]) -> int:
    """Cancel workunits: their unsent instances are over, the transitioner looks at them at once, and running
    instances are aborted through the scheduler (config option send_result_abort). Jobs that have their result
    already are left alone. In transactions of 500; the number of workunits cancelled."""
    cancelled = 0
    for part in chunks(ids, _CHUNK):
        def work(part: list[int] = part) -> int:
            db.run("jobs.cancel_results", ids=part)
            return db.run("jobs.cancel_workunits", ids=part, now=int(time.time()))
        cancelled += db.retrying(work)
    return cancelled


def cancel_range(db: Connection, first: int, last: int) -> int:
    """Cancel the workunits with ids from ``first`` to ``last``; their number. InputError: ids not above 0."""
    if first < 1 or last < first:
        raise InputError("ids must be greater than 0, the first not above the last")
    return sum(cancel_jobs(db, ids) for ids in _pages(db, first, last))


def _pages(db: Connection, first: int, last: int) -> Iterator[list[int]]:
    after = first - 1
    while rows := db.all("jobs.cancel_range_ids", after=after, last=last, count=_CHUNK):
        after = rows[-1]["id"]
        yield [row["id"] for row in rows]


def cancel_names(db: Connection, names: Sequence[str]) -> int:
    """Cancel the named workunits; their number. InputError, and nothing is cancelled, if one does not exist."""
    found = {row["name"].lower(): row["id"] for part in chunks(names, _CHUNK)
             for row in db.all("jobs.ids_by_names", names=part)}
    missing = [name for name in names if name.lower() not in found]
    if missing:
        raise InputError(f"there is no job {', '.join(missing[:5])}; none was cancelled")
    return cancel_jobs(db, list(found.values()))
