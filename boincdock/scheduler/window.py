"""Windows of unsent jobs, one per app and process (docs/decisions/0010-scheduler-claim.md).

A window is only a hint where to look: whether a job is still free is decided by the claim, in the database.
"""
from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from boincdock.scheduler.model import Job
from boincdock.scheduler.repository import Repository

WINDOW = 200
"""Jobs in a full window."""

HEAD = 4096
"""How far from the front of the queue a window may start: processes spread over this many jobs."""

MAX_AGE = 2.0
EMPTY_AGE = 1.0


@dataclass(slots=True)
class _AppWindow:
    jobs: dict[int, Job] = field(default_factory=dict)
    filled: int = 0
    read_at: float = -1e9
    complete: bool = True


class JobWindows:
    """All windows of a process. ``clock`` values are monotonic seconds."""

    def __init__(self, rng: random.Random | None = None, window: int = WINDOW, head: int = HEAD) -> None:
        self._rng = rng or random.Random()
        self._size, self._head = window, head
        self._apps: dict[int, _AppWindow] = {}

    def jobs(self, repo: Repository, appid: int, clock: float) -> list[Job]:
        """Candidates of an app, highest priority first."""
        window = self._apps.setdefault(appid, _AppWindow())
        age = clock - window.read_at
        if not window.filled:
            stale = age >= EMPTY_AGE
        else:
            stale = age >= MAX_AGE or 4 * len(window.jobs) < window.filled
            # A window that held all there was need not be read again just because it drained.
            if window.complete and not window.jobs and age < EMPTY_AGE:
                stale = False
        if stale:
            self._fill(repo, appid, window)
            window.read_at = clock
        return list(window.jobs.values())

    def known_empty(self, appids: Iterable[int], clock: float) -> bool:
        """Whether a look at the database less than EMPTY_AGE ago found no job of any of these apps."""
        return all(
            (w := self._apps.get(appid)) is not None and not w.filled and clock - w.read_at < EMPTY_AGE
            for appid in appids
        )

    def drop(self, appid: int, resultids: Iterable[int]) -> None:
        """Forget jobs that were sent, by us or by somebody else."""
        window = self._apps.get(appid)
        if window is not None:
            for resultid in resultids:
                window.jobs.pop(resultid, None)

    def forget(self) -> None:
        """Read everything anew at the next look."""
        self._apps.clear()

    def _fill(self, repo: Repository, appid: int, window: _AppWindow) -> None:
        window.jobs = {}
        window.complete = True
        priority = repo.top_priority(appid)
        while priority is not None and len(window.jobs) < self._size:
            ids = repo.head_ids(appid, priority, self._head)
            wanted = self._size - len(window.jobs)
            if len(ids) > wanted:
                # Another process starts elsewhere, so that they do not fight for the same rows.
                slots = (len(ids) + wanted - 1) // wanted
                start = min(self._rng.randrange(slots) * wanted, len(ids) - wanted)
                ids = ids[start : start + wanted]
                window.complete = False
            for row in sorted(repo.candidates(ids), key=lambda r: int(r["resultid"])):
                window.jobs[row["resultid"]] = Job.of(row)
            if len(window.jobs) < self._size:
                priority = repo.top_priority(appid, below=priority)
        window.filled = len(window.jobs)
