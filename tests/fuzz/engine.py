"""The fuzzer itself: mutate, run, keep what reaches new lines, keep what breaks."""

from __future__ import annotations

import hashlib
import random
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.mutate import mutate
from tests.fuzz.targets import Target

TRACE_EVERY = 50
"""One input in so many is run with tracing, which shows the lines it reaches and takes about ten times as long."""

SLOW = 1.0
"""Seconds of CPU that no input of the fuzzer (at most 64 KiB) may take."""


@dataclass
class Summary:
    """What a run did. ``peak`` is in bytes."""

    target: str
    seed: int
    executions: int = 0
    seconds: float = 0.0
    lines: int = 0
    corpus: int = 0
    slowest: float = 0.0
    faults: list[Path] = field(default_factory=list)

    @property
    def peak(self) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def text(self) -> str:
        rate = self.executions / self.seconds if self.seconds else 0.0
        return (
            f"{self.target}: {self.executions} executions, {rate:.0f}/s, {len(self.faults)} crashes, "
            f"{self.lines} lines reached, {self.corpus} inputs kept, slowest {self.slowest * 1000:.0f} ms, "
            f"max RSS {self.peak / 2**20:.0f} MiB, seed {self.seed}"
        )


class Coverage:
    """Which lines of the target's sources have been reached."""

    def __init__(self, files: tuple[str, ...]) -> None:
        self._files = files
        self._wanted: dict[CodeType, bool] = {}
        self.lines: set[tuple[CodeType, int]] = set()

    def run(self, function: Callable[[bytes], None], data: bytes) -> bool:
        """Call the function; whether it reached a new line."""
        before = len(self.lines)
        sys.settrace(self._call)
        try:
            function(data)
        finally:
            sys.settrace(None)
        return len(self.lines) > before

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        wanted = self._wanted.get(code)
        if wanted is None:
            wanted = self._wanted[code] = "boincdock" in code.co_filename and any(
                f in code.co_filename for f in self._files
            )
        return self._line if wanted else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self.lines.add((frame.f_code, frame.f_lineno))
        return self._line


class Fuzzer:
    """One run over one target; the same seed gives the same inputs as long as corpus and code stay the same."""

    def __init__(self, target: Target, seed: int, faults: Path | None = None) -> None:
        self.target = target
        self.rng = random.Random(seed)
        self.summary = Summary(target.name, seed)
        self.coverage = Coverage(target.files)
        self.corpus = target.seeds()
        self._faults = faults
        self._function = target.start()

    def replay(self) -> None:
        """Run the corpus as it is."""
        for data in list(self.corpus):
            self._try(data, traced=True)

    def run(
        self, executions: int, seconds: float = float("inf"), progress: Callable[[str], None] | None = None
    ) -> Summary:
        """Fuzz until one of the limits."""
        began = shown = time.monotonic()
        self.replay()
        while self.summary.executions < executions:
            now = time.monotonic()
            if now - began > seconds or len(self.summary.faults) >= 20:
                break
            if progress and now - shown > 30:
                shown, self.summary.seconds = now, now - began
                progress(self._state().text())
            data = mutate(self.rng, self._parent(), self.corpus, self.target.words)
            if self._try(data, traced=self.summary.executions % TRACE_EVERY == 0):
                self.corpus.append(data)
            if self.target.fresh and self.summary.executions % self.target.fresh == 0:
                self._function = self.target.start()
        self.summary.seconds = time.monotonic() - began
        return self._state()

    def _parent(self) -> bytes:
        """Half of the effort goes to what was found last, and most to short inputs, which are quick."""
        some = [self.corpus[int(self.rng.random() ** 0.5 * len(self.corpus))] for _ in range(4)]
        return min(some, key=len) if self.rng.random() < 0.9 else some[0]

    def _state(self) -> Summary:
        self.summary.lines, self.summary.corpus = len(self.coverage.lines), len(self.corpus)
        return self.summary

    def _try(self, data: bytes, traced: bool) -> bool:
        self.summary.executions += 1
        began = time.process_time()
        new = False
        try:
            if traced:
                new = self.coverage.run(self._function, data)
            else:
                self._function(data)
        except Exception:
            self._fault(data, traceback.format_exc())
            self._function = self.target.start()
            return False
        if not traced:
            took = time.process_time() - began
            self.summary.slowest = max(self.summary.slowest, took)
            if took > SLOW:
                self._fault(data, f"took {took:.2f} s")
        return new

    def _fault(self, data: bytes, text: str) -> None:
        name = f"crash-{hashlib.sha256(data).hexdigest()[:16]}"
        folder = self._faults or self.target.folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_bytes(data)
        self.summary.faults.append(path)
        print(f"{path}:\n{text}", file=sys.stderr, flush=True)


def limit_memory(extra: int) -> None:
    """No more than ``extra`` bytes on top of what the process has mapped now: beyond it Python raises MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
