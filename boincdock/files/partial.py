"""The partial file of an upload: locked, contiguous, renamed when complete (spec 04 section 5.4).

Invariants that hold after a crash at any point, even ``kill -9``:
- the file under the final name is complete;
- the partial file is a head of what the client sent, so its length is where to go on;
- a partial file that may be complete carries a mark (the owner-execute bit, which uploads otherwise never
  have). Its length must not be told to a client, which would take the upload for finished: it starts again.
"""
from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType

from boincdock.files.hierarchy import make_directory, partial_path

_MARK = stat.S_IXUSR
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_MAX_TRIES = 20
_CHUNK = 1 << 18


class BusyError(Exception):
    """Another request is writing this file now."""


class PartialFile:
    """The open and locked partial file of the upload to ``path``; use as a context manager.

    ``stored``: bytes it holds. ``existed``: it was there before. OSError as the system says.
    """

    def __init__(self, path: Path, fd: int, *, existed: bool, marked: bool) -> None:
        self.path = path
        self.fd = fd
        self.existed = existed
        self._marked = marked
        self.stored = os.fstat(fd).st_size

    @staticmethod
    def open(path: Path, mode: int, *, marked: bool = False) -> PartialFile:
        """Open or create it; a new one has ``mode``, and the mark at once if ``marked``. :class:`BusyError`.

        ``mode`` must let the owner read and write, or nobody could go on with it.
        """
        part = partial_path(path)
        for _ in range(_MAX_TRIES):
            existed = False
            try:
                fd = os.open(part, _OPEN | os.O_CREAT | os.O_EXCL, mode | (_MARK if marked else 0))
            except FileNotFoundError:
                make_directory(part.parent)
                continue
            except FileExistsError:
                existed = True
                try:
                    fd = os.open(part, _OPEN)
                except FileNotFoundError:
                    continue
            if _lock(fd, part):
                made = PartialFile(path, fd, existed=existed, marked=marked and not existed)
                if existed:
                    made._recover()
                return made
        raise BusyError

    @staticmethod
    def open_existing(path: Path) -> PartialFile | None:
        """The partial file if there is one; :class:`BusyError`."""
        part = partial_path(path)
        for _ in range(_MAX_TRIES):
            try:
                fd = os.open(part, _OPEN)
            except FileNotFoundError:
                return None
            if _lock(fd, part):
                made = PartialFile(path, fd, existed=True, marked=False)
                made._recover()
                return made
        raise BusyError

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        os.close(self.fd)

    def _recover(self) -> None:
        """Start again where a writer died between its last bytes and the rename."""
        if os.fstat(self.fd).st_mode & _MARK:
            self._marked = True
            self.restart()

    def _set_mark(self, marked: bool) -> None:
        mode = stat.S_IMODE(os.fstat(self.fd).st_mode)
        os.fchmod(self.fd, mode | _MARK if marked else mode & ~_MARK)
        self._marked = marked

    def truncate(self, nbytes: int) -> None:
        """Drop what is behind the first ``nbytes`` bytes."""
        if nbytes < self.stored:
            os.ftruncate(self.fd, nbytes)
            self.stored = nbytes

    def restart(self) -> None:
        """Drop all bytes, and the mark."""
        os.ftruncate(self.fd, 0)
        self.stored = 0
        if self._marked:
            self._set_mark(False)

    def head(self, nbytes: int) -> Chunks:
        """The first ``nbytes`` stored bytes, in pieces."""
        return Chunks(self.fd, nbytes)

    def append(self, data: bytes) -> None:
        """Write behind what is stored; on OSError ``stored`` counts what the disk took."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, self.stored)
            self.stored += written
            view = view[written:]

    def finish(self, last: bytes, mode: int, *, durable: bool) -> None:
        """Append the last bytes and give the file its final name and ``mode``.

        ``durable``: not before the disk has it; without, a power cut may lose the last seconds' files.
        """
        if not self._marked:
            self._set_mark(True)
        try:
            self.append(last)
        except OSError:
            self._set_mark(False)  # not complete, so its length may be told: the client goes on from there
            raise
        if durable:
            os.fsync(self.fd)
        partial_path(self.path).rename(self.path)
        os.fchmod(self.fd, mode & ~0o111)
        if durable:
            _sync_directory(self.path.parent)

    def discard(self) -> None:
        """Remove the partial file."""
        with contextlib.suppress(FileNotFoundError):
            partial_path(self.path).unlink()


class Chunks:
    """Iterates over the first bytes of an open file without moving its position."""

    def __init__(self, fd: int, nbytes: int) -> None:
        self._fd = fd
        self._at = 0
        self._end = nbytes

    def __iter__(self) -> Chunks:
        return self

    def __next__(self) -> bytes:
        data = os.pread(self._fd, min(_CHUNK, self._end - self._at), self._at)
        if not data:
            raise StopIteration
        self._at += len(data)
        return data


def _lock(fd: int, part: Path) -> bool:
    """Lock an open partial file; False (and closed) if it lost its name meanwhile. :class:`BusyError`."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.fstat(fd)
        named = os.stat(part, follow_symlinks=False)  # noqa: PTH116
        if (ours.st_ino, ours.st_dev) == (named.st_ino, named.st_dev):
            return True
    except BlockingIOError:
        os.close(fd)
        raise BusyError from None
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return False


def _sync_directory(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
