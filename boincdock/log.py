"""Log lines as BOINC's operators and log viewers know them (spec 05 B7, 03 section 17)."""
from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

_LEVELS = {1: logging.CRITICAL, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}
_KINDS = {logging.CRITICAL: "[CRITICAL]", logging.ERROR: "[CRITICAL]", logging.WARNING: "[warning]",
          logging.DEBUG: "[debug]"}


class Lines(list[str]):
    """Many messages that become a line each, but are handed over and written in one go: what a daemon has to say of
    a batch. Otherwise logging costs more than the work. Not to be mixed with arguments."""

    def __str__(self) -> str:
        return "\n".join(self)


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class BoincFormatter(logging.Formatter):
    """``YYYY-MM-DD hh:mm:ss.ffff UTC [PID=n] kind text``; the PID part only for web programs."""

    def __init__(self, with_pid: bool = False) -> None:
        super().__init__()
        self._with_pid = with_pid

    def format(self, record: logging.LogRecord) -> str:
        """One line (a traceback adds more): control characters of the message are escaped, so that
        nothing a client sends can forge a line."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(record.created))
        tenth_ms = int(record.created % 1 * 10000)
        pid = f" [PID={os.getpid():<5}]" if self._with_pid else ""
        head = f"{stamp}.{tenth_ms:04d} UTC{pid} {_KINDS.get(record.levelno, '')} "
        messages: list[str] = record.msg if isinstance(record.msg, Lines) else [record.getMessage()]
        line = "\n".join([head + _printable(text) for text in messages])
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class AppendingFileHandler(logging.Handler):
    """Appends whole lines with one write each, so that several processes may share a file; follows a
    rename of the file (log rotation) within a second. Falls back to stderr if the file cannot be opened."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._fd = -1
        self._checked = 0.0

    def _open(self) -> int:
        now = time.monotonic()
        if self._fd >= 0 and now - self._checked < 1:
            return self._fd
        self._checked = now
        try:
            on_disk = self._path.stat()
        except FileNotFoundError:
            on_disk = None
        if self._fd >= 0:
            ours = os.fstat(self._fd)
            if on_disk and (on_disk.st_ino, on_disk.st_dev) == (ours.st_ino, ours.st_dev):
                return self._fd
            os.close(self._fd)
            self._fd = -1
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o664)
        return self._fd

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as one line."""
        data = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        try:
            os.write(self._open(), data)
        except OSError:
            sys.stderr.buffer.write(data)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()


def plain_records() -> None:
    """Do without what no line of ours shows (place in the source, threads, tasks): half of a record's cost."""
    for name in ("logThreads", "logMultiprocessing", "logProcesses", "logAsyncioTasks"):
        setattr(logging, name, False)
    logging._srcfile = ""


def level_of(debug_level: int) -> int:
    """Python's level for BOINC's debug level 1 (critical) to 4 (debug)."""
    return _LEVELS[min(4, max(1, debug_level))]


def setup(debug_level: int = 3, path: Path | None = None, with_pid: bool = False) -> None:
    """Send the package's log to ``path``, or to stderr, from ``debug_level`` on; call once per process."""
    handler: logging.Handler = AppendingFileHandler(path) if path else logging.StreamHandler(sys.stderr)
    handler.setFormatter(BoincFormatter(with_pid))
    root = logging.getLogger("boincdock")
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level_of(debug_level))
    root.propagate = False
