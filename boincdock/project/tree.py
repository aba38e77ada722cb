"""Files of the project volume, reached without following symbolic links.

Web processes may write to the project volume, makeproject holds the signing key: were makeproject to follow a
link planted there, it could be led to copy a secret into the volume. So every path is walked from the
volume's root, one component after the other, each opened with O_NOFOLLOW; new files appear all at once.
"""
from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from boincdock.errors import BoincdockError

MAX_TEXT_FILE = 16 << 20


class TreeError(BoincdockError):
    """A path of the project volume is not what it should be."""


class Tree:
    """A directory whose files are named by paths relative to it (``html/user/schedulers.txt``)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise TreeError(f"cannot open {root}: {error.strerror}") from None

    def close(self) -> None:
        """Give up the directory."""
        os.close(self._fd)

    def _parts(self, rel: str) -> list[str]:
        parts = rel.split("/")
        if any(p in ("", ".", "..") or "\0" in p for p in parts):
            raise TreeError(f"{rel!r} is not a path inside the project folder")
        return parts

    @contextmanager
    def _parent(self, rel: str, make: bool) -> Iterator[tuple[int, str]]:
        """(open descriptor of the parent directory, last component); missing parents are made if ``make``."""
        parts = self._parts(rel)
        fd = os.dup(self._fd)
        try:
            for part in parts[:-1]:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=fd)
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                try:
                    deeper = os.open(part, flags, dir_fd=fd)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        raise TreeError(f"{self.root}/{rel}: {part} is not a directory (links are not followed)",
                                        "replace it by a real directory") from None
                    raise
                os.close(fd)
                fd = deeper
            yield fd, parts[-1]
        finally:
            os.close(fd)

    def read(self, rel: str) -> bytes | None:
        """Content of a regular file; None if there is none. TreeError for a link or another kind of file."""
        try:
            with self._parent(rel, make=False) as (parent, name):
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise TreeError(f"{self.root}/{rel} is a symbolic link", "replace it by a real file") from None
            raise TreeError(f"cannot read {self.root}/{rel}: {error.strerror}") from None
        info = os.fstat(fd)
        problem = ""
        if not stat.S_ISREG(info.st_mode):
            problem = "is not a regular file"
        elif info.st_size > MAX_TEXT_FILE:
            problem = f"is larger than {MAX_TEXT_FILE} bytes"
        if problem:
            os.close(fd)
            raise TreeError(f"{self.root}/{rel} {problem}")
        with os.fdopen(fd, "rb") as stream:
            return stream.read()

    def write(self, rel: str, data: bytes, mode: int = 0o644) -> bool:
        """Make the file have this content and mode; False if it had both. Durable, and never half written."""
        try:
            if self.read(rel) == data:
                return self._set_mode(rel, mode)
        except TreeError:
            pass  # a link or another kind of file: the rename below replaces it, whatever it points to
        try:
            with self._parent(rel, make=True) as (parent, name):
                _replace(parent, name, io.BytesIO(data), mode)
        except OSError as error:
            raise TreeError(f"cannot write {self.root}/{rel}: {error.strerror}") from None
        return True

    def _set_mode(self, rel: str, mode: int) -> bool:
        with self._parent(rel, make=False) as (parent, name):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                if stat.S_IMODE(os.fstat(fd).st_mode) == mode:
                    return False
                os.fchmod(fd, mode)
                return True
            finally:
                os.close(fd)

    def copy_from(self, source: Path, rel: str, mode: int) -> bool:
        """Copy a file of any size; False if one of the same size and modification time is there already."""
        wanted = source.stat()
        with self._parent(rel, make=True) as (parent, name):
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (
                        wanted.st_size, wanted.st_mtime_ns):
                    return False
            with source.open("rb") as stream:
                _replace(parent, name, stream, mode, wanted.st_mtime_ns)
        return True

    def make_dir(self, rel: str, mode: int) -> None:
        """Make a directory with this mode. One that exists keeps its mode; so does a link to a directory, which
        an operator may have put there to use another disk."""
        with self._parent(rel, make=True) as (parent, name):
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=parent).st_mode):
                    raise TreeError(f"{self.root}/{rel} is in the way: it is not a directory") from None
                return
            os.chmod(name, mode, dir_fd=parent)

    def remove(self, rel: str) -> bool:
        """Remove a file (or link); False if there was none."""
        try:
            with self._parent(rel, make=False) as (parent, name):
                os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise TreeError(f"cannot remove {self.root}/{rel}: {error.strerror}") from None
        return True


def _replace(parent: int, name: str, data: IO[bytes], mode: int, mtime_ns: int | None = None) -> None:
    temporary = f".{name[:100]}.{secrets.token_hex(6)}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600,
                 dir_fd=parent)
    try:
        with os.fdopen(fd, "wb") as stream:
            shutil.copyfileobj(data, stream, 1 << 20)
            stream.flush()
            os.fchmod(fd, mode)
            if mtime_ns is not None:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise
    os.fsync(parent)
