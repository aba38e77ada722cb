"""Windows of unsent jobs, per app and kind of host in each process (docs/decisions/0010, 0012).

A window is only a hint where to look: whether a job is still free is decided by the claim, in the database.
"""
from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from boincdock.scheduler.buda import APP_NAME, buda_app_of
from boincdock.scheduler.model import App, Job
from boincdock.scheduler.repository import Repository

WINDOW = 200
"""Jobs in a full window."""

SMALL_WINDOW = 40
"""Jobs in the window of a process that sends few: each is read anew every MAX_AGE."""

HEAD = 4096
"""How far from the front of the queue a window may start: processes spread over this many jobs."""

MAX_REACH = 65536
"""How far a window of jobs that nobody takes may move from the front, in jobs."""

MAX_CHUNKS = 8
"""Pieces of HEAD jobs that one refill of a window for a kind of host looks through."""

MAX_WINDOWS = 512
MAX_AGE = 2.0
EMPTY_AGE = 1.0
_FILE_INFO = re.compile(r"<file_info>(.*?)</file_info>", re.S)
_NAME = re.compile(r"<name>\s*([^<]*?)\s*</name>")
_STICKY = re.compile(r"<sticky\s*/>|<sticky>\s*[1-9]")


@dataclass(frozen=True, slots=True)
class HostKind:
    """The commitments of workunits that suit a host: its homogeneous redundancy class (0 = does not matter), and
    the app versions of other platforms, which do not."""

    hr_class: int = 0
    not_versions: tuple[int, ...] = ()


ANY_HOST = HostKind()


@dataclass(slots=True)
class _AppWindow:
    jobs: dict[int, Job] = field(default_factory=dict)
    filled: int = 0
    read_at: float = -1e9
    complete: bool = True
    reach: int = HEAD
    size: int = WINDOW
    depth: int = MAX_REACH
    """Where the queue ended when a look went beyond that."""
    unsuitable: bool = False
    """A host that looked through all of the window found nothing for it."""
    place: tuple[int, int] | None = None
    """(priority, id) after which a window for a kind of host goes on looking."""


def sticky_files(document: str) -> frozenset[str]:
    """Names of the sticky input files of a workunit."""
    found = set()
    for body in _FILE_INFO.findall(document):
        name = _NAME.search(body)
        if name and _STICKY.search(body):
            found.add(name.group(1))
    return frozenset(found)


class JobWindows:
    """All windows of a process. ``clock`` values are monotonic seconds."""

    def __init__(self, rng: random.Random | None = None, window: int = WINDOW, head: int = HEAD) -> None:
        self._rng = rng or random.Random()
        self._size, self._head = window, head
        self._windows: dict[tuple[int, HostKind], _AppWindow] = {}

    def jobs(self, repo: Repository, app: App, kind: HostKind, clock: float, wanted: int = 0) -> list[Job]:
        """Candidates of an app for a kind of host, highest priority first; more than ``wanted`` if there are."""
        window = self._windows.get((app.id, kind))
        if window is None:
            if len(self._windows) >= MAX_WINDOWS:
                self._windows.clear()
            window = self._windows[app.id, kind] = _AppWindow(reach=self._head)
        age = clock - window.read_at
        if not window.filled:
            stale = age >= EMPTY_AGE
        else:
            stale = age >= MAX_AGE or 4 * len(window.jobs) < window.filled
            # A window that held all there was need not be read again just because it drained.
            if window.complete and not window.jobs and age < EMPTY_AGE:
                stale = False
        small = window.size < self._size and not window.complete
        if small and (wanted >= len(window.jobs) or window.unsuitable):
            window.size, stale = self._size, True
        elif stale and window.filled and age >= MAX_AGE:
            window.size = max(SMALL_WINDOW, 4 * (window.filled - len(window.jobs)))
        elif stale:
            window.size = 2 * window.size
        window.size = min(window.size, self._size)
        if stale:
            self._fill(repo, app, kind, window)
            window.read_at = clock
        return list(window.jobs.values())

    def unsuitable(self, appid: int, kind: HostKind) -> bool:
        """A host found nothing in this window: look further down the queue at the next refill, lest jobs that
        nobody takes hide better ones. True: it was a small one, and will be a full one at the next look."""
        window = self._windows.get((appid, kind))
        if window is None:
            return False
        window.unsuitable = True
        return window.size < self._size and not window.complete

    def known_empty(self, appids: Iterable[int], clock: float) -> bool:
        """Whether a look at the database less than EMPTY_AGE ago found no job of any of these apps."""
        fresh = {
            appid for (appid, kind), w in self._windows.items()
            if kind == ANY_HOST and not w.filled and clock - w.read_at < EMPTY_AGE
        }
        return all(appid in fresh for appid in appids)

    def drop(self, appid: int, resultids: Iterable[int]) -> None:
        """Forget jobs that were sent, by us or by somebody else."""
        gone = list(resultids)
        for (of_app, _), window in self._windows.items():
            if of_app == appid:
                for resultid in gone:
                    window.jobs.pop(resultid, None)

    def forget(self) -> None:
        """Read everything anew at the next look."""
        self._windows.clear()

    def _fill(self, repo: Repository, app: App, kind: HostKind, window: _AppWindow) -> None:
        wider = min(2 * window.reach, max(MAX_REACH, self._head))
        window.reach = wider if window.unsuitable and not window.complete else self._head
        window.unsuitable = False
        window.jobs = {}
        window.complete = True
        if kind == ANY_HOST:
            self._fill_any(repo, app.id, window)
        else:
            self._fill_kind(repo, app.id, kind, window)
        if window.jobs and (app.locality_scheduling == 1 or app.name == APP_NAME):
            documents = repo.workunit_docs(sorted({job.workunitid for job in window.jobs.values()}))
            for job in window.jobs.values():
                document = documents.get(job.workunitid, "")
                job.sticky = sticky_files(document) if app.locality_scheduling == 1 else frozenset()
                job.buda_app = buda_app_of(document) if app.name == APP_NAME else ""
        window.filled = len(window.jobs)

    def _fill_any(self, repo: Repository, appid: int, window: _AppWindow) -> None:
        priority = repo.top_priority(appid)
        while priority is not None and len(window.jobs) < window.size:
            ids = self._somewhere(repo, appid, priority, window.size - len(window.jobs), window)
            for row in sorted(repo.candidates(ids), key=lambda r: int(r["resultid"])):
                window.jobs[row["resultid"]] = Job.of(row)
            if len(window.jobs) < window.size:
                priority = repo.top_priority(appid, below=priority)

    def _somewhere(self, repo: Repository, appid: int, priority: int, wanted: int, window: _AppWindow) -> list[int]:
        """Ids of ``wanted`` unsent jobs in a row, from a random place within reach: another process starts elsewhere,
        so that they do not fight for the same rows."""
        skip = self._place(min(window.reach, window.depth), wanted)
        ids = repo.head_ids(appid, priority, wanted, skip=skip)
        while skip and len(ids) < wanted:
            # At or beyond the end: the queue is shorter than that.
            window.depth = skip + len(ids)
            skip = self._place(window.depth, wanted) if ids else self._rng.randrange(skip)
            ids = repo.head_ids(appid, priority, wanted, skip=skip)
        if skip + len(ids) >= window.depth:
            window.depth = 2 * (skip + wanted)
        window.complete = window.complete and not skip and len(ids) < wanted
        return ids

    def _place(self, length: int, wanted: int) -> int:
        """A random start; the first and the last job are not much less likely to be in the window than others."""
        last = max(0, length - wanted)
        return min(max(0, self._rng.randrange(-(wanted // 2), last + wanted // 2 + 1)), last)

    def _fill_kind(self, repo: Repository, appid: int, kind: HostKind, window: _AppWindow) -> None:
        """Search the queue in order for jobs whose commitment suits; go on next time where this look ended."""
        classes = (0, kind.hr_class)
        versions = kind.not_versions or (-1,)
        priority, after = window.place or (repo.top_priority(appid), 0)
        window.complete = window.place is None
        window.place = None
        for _ in range(MAX_CHUNKS):
            if priority is None:
                return
            ids = repo.head_ids(appid, priority, self._head, after=after)
            wanted = window.size - len(window.jobs)
            rows = repo.candidates_between(appid, priority, ids[0], ids[-1], classes, versions, wanted) if ids else []
            for row in rows:
                window.jobs[row["resultid"]] = Job.of(row)
            if len(window.jobs) >= window.size:
                # Plenty, so the next look may start at the front again, where the oldest jobs are.
                window.complete = False
                return
            if len(ids) == self._head:
                after = ids[-1]
            else:
                priority, after = repo.top_priority(appid, below=priority), 0
        window.complete = False
        if priority is not None and not window.jobs:
            window.place = (priority, after)
