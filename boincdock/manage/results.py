"""Bringing the outputs of finished jobs to a folder of the operator's."""
from __future__ import annotations

import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from boincdock.errors import InputError
from boincdock.manage.compose import Compose
from boincdock.manage.submit import write_inside

_AT_ONCE = 200
MAX_UNPACKED = 1 << 30
"""Bytes that the files of one archive may have together: a volunteer's 1 MB can unpack to 1 GB of zeros."""
MAX_STREAM = 64 << 20
"""Bytes of a job's standard output or error that are read."""


@dataclass
class Brought:
    """What came: the files of each job by its name, and what was left out."""

    files: dict[str, list[Path]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many files."""
        return sum(len(paths) for paths in self.files.values())


def fetch(compose: Compose, found: Sequence[dict[str, Any]], dest: Path, *, patterns: Sequence[str] = (),
          unpack: bool = True) -> Brought:
    """Copy the outputs of jobs (as ``query`` describes them) to ``dest/JOB/``; existing files are replaced.

    Archives (results.tgz) are unpacked unless ``unpack`` is False; ``patterns`` (``*.csv``) choose files by name.
    Archives come from volunteers' computers: what is no plain file below the job's folder is left out and named in
    ``warnings``, and an archive that would grow beyond ``MAX_UNPACKED`` is copied as it is. InputError: ``dest``
    cannot be written.
    """
    brought = Brought()
    try:
        dest.mkdir(parents=True, exist_ok=True)
        for at in range(0, len(found), _AT_ONCE):
            _fetch_some(compose, found[at : at + _AT_ONCE], dest, patterns, unpack, brought)
    except OSError as error:
        raise InputError(f"{error.filename or dest}: {error.strerror}") from None
    return brought


def _fetch_some(compose: Compose, found: Sequence[dict[str, Any]], dest: Path, patterns: Sequence[str], unpack: bool,
                brought: Brought) -> None:
    owner = {path.lstrip("/"): (job["name"], path) for job in found for path in job["outputs"]}
    for job in found:
        brought.files.setdefault(job["name"], [])
    if not owner:
        return
    listing = "\0".join(owner).encode()
    with tempfile.NamedTemporaryFile(prefix="boincdock-results-") as packed:
        compose.project_output(Path(packed.name), "tar", "-C", "/", "--null", "-T", "-", "-cf", "-", stdin=listing)
        with tarfile.open(packed.name) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None or member.name not in owner:
                    continue
                job, path = owner[member.name]
                _place(dest / job, job, path, stream, patterns, unpack, brought)


def _place(folder: Path, job: str, path: str, stream: IO[bytes], patterns: Sequence[str], unpack: bool,
           brought: Brought) -> None:
    inner = path.rpartition(f"/{job}/")[2]
    if unpack and inner.endswith((".tgz", ".tar.gz")):
        try:
            for name, data in _members(stream, job, brought):
                _write(folder, job, name, data, patterns, brought)
            return
        except (tarfile.TarError, EOFError, OSError, zlib.error, InputError) as error:
            brought.warnings.append(f"{job}: {inner} cannot be unpacked ({error}) and was copied as it is")
            stream.seek(0)
    _write(folder, job, inner, stream.read(), patterns, brought)


class _Limited:
    """A gzip stream that ends in an InputError after ``MAX_UNPACKED`` bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._source = gzip.GzipFile(fileobj=stream)
        self._left = MAX_UNPACKED

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise InputError(f"it unpacks to more than {MAX_UNPACKED >> 20} MiB")
        return data


def _open(stream: IO[bytes]) -> tarfile.TarFile:
    """The archive, read in small pieces from front to end: nothing in it, headers included, makes us read at once
    what it claims to hold."""
    try:
        return tarfile.open(fileobj=_Limited(stream), mode="r|")  # type: ignore[call-overload,no-any-return]
    except zlib.error as error:
        raise tarfile.ReadError(str(error)) from None


def _members(stream: IO[bytes], job: str, brought: Brought) -> Iterator[tuple[str, bytes]]:
    with _open(stream) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, content.read()
            elif not member.isdir():
                brought.warnings.append(f"{job}: {member.name!r} in the archive is no plain file and was left out")


def _write(folder: Path, job: str, name: str, data: bytes, patterns: Sequence[str], brought: Brought) -> None:
    if patterns and not any(fnmatchcase(name, p) or fnmatchcase(Path(name).name, p) for p in patterns):
        return
    try:
        brought.files[job].append(write_inside(folder, name, data))
    except InputError as error:
        brought.warnings.append(f"{job}: {error.message}: left out")


def streams(compose: Compose, job: dict[str, Any]) -> tuple[str, str]:
    """What a finished Docker job wrote to its standard output and error (out of its results.tgz); '' if unknown.
    A failed job has no archive: its error text is what its results report."""
    path = next((p for p in job["outputs"] if p.endswith("results.tgz")), None)
    if path is None:
        return "", "\n".join(result["stderr"] for result in job["results"] if result.get("stderr"))
    found = {"stdout.txt": "", "stderr.txt": ""}
    with tempfile.NamedTemporaryFile(prefix="boincdock-results-") as packed:
        compose.project_output(Path(packed.name), "cat", path)
        try:
            with Path(packed.name).open("rb") as raw, _open(raw) as archive:
                for member in archive:
                    stream = archive.extractfile(member) if member.name in found and member.isreg() else None
                    if stream:
                        found[member.name] = stream.read(MAX_STREAM).decode("utf-8", "replace")
        except (tarfile.TarError, EOFError, OSError, zlib.error, InputError):
            return "", f"{path} cannot be read"
    return found["stdout.txt"], found["stderr.txt"]
