"""Counters that many processes share without locks between them: each keeps its own in a mapped file (decision 0095).

A process takes one *slot*: the first file ``KIND.N`` of the directory that it can lock. When it dies, the kernel drops
the lock and keeps what was written; the next process goes on in the same file. So nothing is lost by a ``kill -9``,
nothing is counted twice, and there are never more files than there once were processes at the same time.
"""
from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
import threading
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Upper bounds in seconds of the classes of durations; one more class is for what takes longer."""

MAX_SLOTS = 1024
_HEADER = 16


class Layout:
    """What a kind of process counts: numbers by name, and durations by outcome (count, sum and histogram).

    ``outcomes``: the values of the outcome label; ``numbers``: further counters.
    """

    def __init__(self, kind: str, outcomes: Sequence[str], numbers: Sequence[str]) -> None:
        self.kind, self.outcomes, self.numbers = kind, tuple(outcomes), tuple(numbers)
        self.width = len(BUCKETS) + 2
        """Values of one outcome: the histogram's classes, then the sum of seconds."""
        self.size = len(self.outcomes) * self.width + len(self.numbers)
        self.row = {name: at * self.width for at, name in enumerate(self.outcomes)}
        """Outcome -> place of its first value."""
        self.place = {name: len(self.outcomes) * self.width + at for at, name in enumerate(self.numbers)}
        text = repr((kind, self.outcomes, self.numbers, BUCKETS, "d"))
        self.magic = hashlib.sha256(text.encode()).digest()[:_HEADER]

    @property
    def file_size(self) -> int:
        """Bytes of a slot's file."""
        return _HEADER + 8 * self.size


SCHEDULER = Layout("scheduler", ("jobs", "no_jobs", "contact", "refused", "malformed", "stopped", "failed"),
                   ("jobs_sent", "results_reported", "bytes_received"))
"""Scheduler RPCs. ``jobs``: at least one job went out; ``no_jobs``: asked for work in vain; ``contact``: asked for
none; ``refused``: not served (bad key, banned or too old client, unknown platform, another request of the same host
going on); ``stopped``: ``stop_sched``; ``failed``: our fault."""

UPLOAD = Layout("upload", ("stored", "query", "later", "rejected"), ("bytes_received",))
"""Requests to the upload handler: a file (or its rest) taken; a size query answered; try later; never come again."""


class Counters:
    """One process's counters; threads may share it. Without a usable directory it counts nothing, for no request
    may fail because of its counter."""

    def __init__(self, directory: Path, layout: Layout) -> None:
        self.layout = layout
        self._lock = threading.Lock()
        self._values: Any = None
        self._handle = -1
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._open(directory)
        except OSError as error:
            log.warning("%s: nothing is counted: %s", directory, error.strerror)

    def _open(self, directory: Path) -> None:
        for number in range(MAX_SLOTS):
            path = directory / f"{self.layout.kind}.{number}"
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                continue
            self._handle = handle
            self._map(handle)
            return

    def _map(self, handle: int) -> None:
        size = self.layout.file_size
        if os.fstat(handle).st_size != size or os.pread(handle, _HEADER, 0) != self.layout.magic:
            os.ftruncate(handle, 0)
            # Blocks now: a full disk would kill the process at a later write.
            os.posix_fallocate(handle, 0, size)
            os.pwrite(handle, self.layout.magic, 0)
        self._values = memoryview(mmap.mmap(handle, size))[_HEADER:].cast("d")

    def close(self) -> None:
        """Give the slot back (tests; a process that ends need not)."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._values = -1, None

    def count(self, outcome: str, seconds: float, **numbers: float) -> None:
        """One request with this outcome and duration; ``numbers`` are added to the counters of these names. An outcome
        or name that the layout lacks is not counted."""
        values, layout = self._values, self.layout
        at = layout.row.get(outcome)
        if values is None or at is None:
            return
        with self._lock:
            values[at + bisect_left(BUCKETS, seconds)] += 1.0
            values[at + layout.width - 1] += seconds
            for name, number in numbers.items():
                place = layout.place.get(name)
                if number and place is not None:
                    values[place] += number


def read(directory: Path, layout: Layout) -> list[float]:
    """The sum of all slots, also those of dead processes; zeros if there is none."""
    total = [0.0] * layout.size
    for path in sorted(directory.glob(f"{layout.kind}.*")):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if len(data) == layout.file_size and data.startswith(layout.magic):
            for at, value in enumerate(memoryview(data)[_HEADER:].cast("d")):
                total[at] += value
    return total


def directory_of(tmp_dir: Path) -> Path:
    """Where the slots lie, below ``tmp_HOST``."""
    return tmp_dir / "counters"
