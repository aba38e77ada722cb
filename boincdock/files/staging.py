"""Putting files into the download tree: whole, once and for ever (spec 04 sections 4.2, 4.3).

A physical name never changes its contents, because clients never look at a known name again. Files appear
under their name only when complete; the ``.md5`` sidecar is written last.
"""
from __future__ import annotations

import contextlib
import errno
import gzip as gzip_module
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from boincdock.crypto import md5_of_file, md5_of_stream
from boincdock.errors import InputError
from boincdock.files.hierarchy import (
    FilesProject,
    app_file_path,
    app_file_url,
    download_path,
    file_url,
    make_directory,
)
from boincdock.protocol.templates import check_name

MAX_STAGED_NAME = 240
_CHUNK = 1 << 20
_SIDECAR = re.compile(rb"([0-9a-fA-F]{32}) ([0-9]{1,20}|[0-9]\.[0-9]{15}e\+?[0-9]{1,3})\n")
_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file of the download tree as clients are told of it: MD5 as lower-case hex, sizes in bytes.

    ``gzipped_nbytes`` is None unless ``NAME.gz`` is offered too; ``is_new`` is False if the very same file was
    there already.
    """

    name: str
    md5: str
    nbytes: int
    url: str
    path: Path
    gzipped_nbytes: int | None = None
    is_new: bool = False


def sidecar_path(path: Path) -> Path:
    """Where MD5 and size of a staged file are kept."""
    return path.with_name(path.name + ".md5")


def gzip_path(path: Path) -> Path:
    """Where the compressed form of a staged file lies."""
    return path.with_name(path.name + ".gz")


def read_sidecar(path: Path) -> tuple[str, int] | None:
    """(MD5, size) of the staged file ``path`` from its sidecar; None if that is missing, malformed, older
    than the file, or of another size. OSError if the file itself cannot be examined."""
    info = path.stat()
    try:
        with sidecar_path(path).open("rb") as stream:
            text = stream.read(100)
            written = os.fstat(stream.fileno()).st_mtime_ns
    except OSError:
        return None
    match = _SIDECAR.fullmatch(text)
    if match is None or written < info.st_mtime_ns or int(float(match.group(2))) != info.st_size:
        return None
    return match.group(1).decode("ascii").lower(), info.st_size


def write_sidecar(path: Path, md5: str, nbytes: int) -> None:
    """Write (or replace) the sidecar of ``path``, whole."""
    with _new_file(path.parent, f"{path.name}.md5", replace=True) as stream:
        stream.write(f"{md5} {nbytes}\n".encode("ascii"))


@contextlib.contextmanager
def _new_file(folder: Path, name: str, *, replace: bool = False) -> Iterator[IO[bytes]]:
    """A file that gets its name only when the block ends well; durable then.

    FileExistsError if the name is taken, unless ``replace``.
    """
    fd, temporary = tempfile.mkstemp(prefix=".staging.", dir=folder)
    try:
        with os.fdopen(fd, "w+b") as stream:
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), _FILE_MODE)
            os.fsync(stream.fileno())
        if replace:
            Path(temporary).replace(folder / name)
        else:
            os.link(temporary, folder / name)
        _sync_directory(folder)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _sync_directory(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _copy(source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    digest = hashlib.md5(usedforsecurity=False)
    nbytes = 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
        nbytes += len(chunk)
    return digest.hexdigest(), nbytes


def _describe(path: Path) -> tuple[str, int]:
    """MD5 and size of a file that is staged already; writes a missing sidecar."""
    known = read_sidecar(path)
    if known is None:
        known = md5_of_file(path)
        write_sidecar(path, *known)
    return known


def _require_same(path: Path, name: str, md5: str, nbytes: int) -> None:
    if not path.is_file():
        raise InputError(f"{path} is in the way: it is no file")
    if path.stat().st_size != nbytes or md5_of_file(path)[0] != md5:
        raise InputError(
            f"a different file named {name} is staged already",
            "a staged file never changes, because clients keep it by name: give the new contents a new name")
    if read_sidecar(path) != (md5, nbytes):
        write_sidecar(path, md5, nbytes)


def _check_names(name: str, target: Path, *, flat: bool) -> None:
    """Refuse names that clients or other hosts could not use, or that clash with another file's companions."""
    for part in name.split("/") if flat else [name]:
        check_name(part, "file name", MAX_STAGED_NAME)
    if len(name) > MAX_STAGED_NAME:
        raise InputError(f"file name {name[:40]!r}… is longer than {MAX_STAGED_NAME} bytes")
    for suffix in (".md5", ".gz"):
        owner = target.with_name(target.name.removesuffix(suffix))
        if owner != target and owner.is_file():
            raise InputError(f"the name {name} is taken: it belongs to the staged file {owner.name}")
        companion = target.with_name(target.name + suffix)
        if sidecar_path(companion).is_file():
            raise InputError(f"the name {name} is not possible: {companion.name} is a staged file of its own")


def stage_stream(project: FilesProject, source: IO[bytes], name: str, *, gzip: bool = False,
                 flat: bool = False) -> StagedFile:
    """Stage what ``source`` holds; see :func:`stage_file`. Constant memory."""
    target = app_file_path(project, name) if flat else download_path(project, name)
    _check_names(name, target, flat=flat)
    make_directory(target.parent)
    fresh = True
    try:
        with _new_file(target.parent, target.name) as stream:
            md5, nbytes = _copy(source, stream)
    except FileExistsError:
        fresh = False
        _require_same(target, name, md5, nbytes)
    if fresh:
        write_sidecar(target, md5, nbytes)
    return _finish(project, name, target, md5, nbytes, gzip=gzip, flat=flat, is_new=fresh)


def _finish(project: FilesProject, name: str, target: Path, md5: str, nbytes: int, *, gzip: bool, flat: bool,
            is_new: bool) -> StagedFile:
    url = app_file_url(project, name) if flat else file_url(project, name)
    gzipped = _make_gzip(target, md5) if gzip else None
    return StagedFile(name, md5, nbytes, url, target, gzipped, is_new)


def _make_gzip(path: Path, md5: str) -> int:
    """Size of ``NAME.gz``, which is made if absent; InputError if there is one that holds something else."""
    compressed = gzip_path(path)
    if not compressed.exists():
        with (contextlib.suppress(FileExistsError), path.open("rb") as source,
              _new_file(path.parent, compressed.name) as stream,
              gzip_module.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0) as packed):
            shutil.copyfileobj(source, packed, _CHUNK)
        return compressed.stat().st_size
    try:
        with gzip_module.open(compressed, "rb") as packed_source:
            same = md5_of_stream(packed_source)[0] == md5
    except (OSError, EOFError):
        same = False
    if not same:
        raise InputError(f"{compressed} exists and is not the compressed form of {path.name}",
                         "remove it, or give the file another name")
    return compressed.stat().st_size


def stage_bytes(project: FilesProject, data: bytes, name: str, *, gzip: bool = False,
                flat: bool = False) -> StagedFile:
    """Stage ``data`` under ``name``; see :func:`stage_file`."""
    import io

    return stage_stream(project, io.BytesIO(data), name, gzip=gzip, flat=flat)


def stage_file(project: FilesProject, path: Path | str, name: str | None = None, *, copy: bool = True,
               gzip: bool = False, flat: bool = False) -> StagedFile:
    """Stage a file under ``name`` (default: its own) and describe it.

    ``copy=False`` moves it; ``gzip`` also offers ``NAME.gz``; ``flat`` puts it where files of app versions lie
    (``name`` may then hold sub-folders), else into the fan-out hierarchy. Safe to repeat and to interrupt: the
    same contents again change nothing. :class:`InputError`: other contents under this name, a name that
    clients cannot use, or ``path`` is no readable file.
    """
    source = Path(path)
    name = source.name if name is None else name
    try:
        if not source.is_file():
            raise InputError(f"{source}: no such file" if not source.exists() else f"{source} is not a file")
        staged = None if copy else _stage_by_rename(project, source, name, gzip=gzip, flat=flat)
        if staged is None:
            with source.open("rb") as stream:
                staged = stage_stream(project, stream, name, gzip=gzip, flat=flat)
        if not copy and not _same_file(source, staged.path):
            source.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{source} cannot be staged: {error.strerror}: {error.filename}") from error
    return staged


def _same_file(first: Path, second: Path) -> bool:
    try:
        return first.parent.resolve() == second.parent.resolve() and first.name == second.name
    except OSError:
        return False


def _stage_by_rename(project: FilesProject, source: Path, name: str, *, gzip: bool,
                     flat: bool) -> StagedFile | None:
    """Move without copying; None if that is impossible (name taken, other file system, links)."""
    target = app_file_path(project, name) if flat else download_path(project, name)
    _check_names(name, target, flat=flat)
    if source.is_symlink() or source.stat().st_nlink > 1 or target.exists():
        return None
    md5, nbytes = md5_of_file(source)
    make_directory(target.parent)
    with source.open("rb") as stream:
        os.fsync(stream.fileno())
    try:
        os.link(source, target)
    except FileExistsError:
        return None
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            return None
        raise
    source.unlink()
    target.chmod(_FILE_MODE)
    if target.stat().st_mtime > time.time():
        os.utime(target)  # from the future it would make every sidecar look stale
    _sync_directory(target.parent)
    write_sidecar(target, md5, nbytes)
    return _finish(project, name, target, md5, nbytes, gzip=gzip, flat=flat, is_new=True)


def find_staged(project: FilesProject, name: str, *, gzip: bool = False) -> StagedFile:
    """The staged input file ``name``, as job creation needs it (spec 04 section 2.2).

    MD5 and size come from the sidecar, which is written if it is missing. A file that lies flat in the
    download folder is copied into its place in the hierarchy. ``gzip``: ``NAME.gz`` must be there as well.
    InputError if it is not staged.
    """
    check_name(name, "file name", MAX_STAGED_NAME)
    path = download_path(project, name)
    try:
        try:
            md5, nbytes = _describe(path)
        except FileNotFoundError:
            flat = app_file_path(project, name)
            if flat == path or not flat.is_file():
                raise InputError(f"file {name} is not staged", f"stage it: bin/stage_file {name}") from None
            return stage_file(project, flat, name, gzip=gzip)
        gzipped = gzip_path(path).stat().st_size if gzip else None
    except FileNotFoundError:
        raise InputError(f"file {name} is staged without its {name}.gz", "stage it with --gzip") from None
    except OSError as error:
        raise InputError(f"staged file {name} cannot be read: {error.strerror}") from error
    return StagedFile(name, md5, nbytes, file_url(project, name), path, gzipped)
