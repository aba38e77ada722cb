"""The assimilators that come with boincdock (spec 03 section 10.2; docs/decisions/0022)."""
from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import logging
import os
import re
import secrets
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from boincdock.enums import Outcome, WuError
from boincdock.errors import InputError
from boincdock.lifecycle.assimilator import Assimilator, Job
from boincdock.lifecycle.model import Result
from boincdock.lifecycle.outputs import safe_name

logger = logging.getLogger("boincdock.assimilator")

STDERR_TAIL = 4096
_TEMPORARY = re.compile(r"\.tmp_.*_[0-9a-f]{16}\Z")


class DummyAssimilator(Assimilator):
    """Logs where the outputs are; the files are left to the file deleter."""

    name = "sample_dummy_assimilator"

    def handle(self, job: Job) -> None:
        """Log the first output's path, or the error."""
        if job.canonical is None:
            logger.info("%s failed: %s", job.wu.tag, ", ".join(error_names(job.wu.error_mask)))
            return
        files = self.files(job.canonical)
        logger.info("%s output: %s", job.wu.tag, files[0].path if files else "none")


class ResultsAssimilator(Assimilator):
    """Puts the canonical outputs of a job into a folder of its own, or what went wrong into ``error.json``.

    The folder is ``<outdir>/<app>/<workunit name>``, for a job of a batch
    ``<outdir>/<app>/batch_<id>/<workunit name>``. It appears at once with all its files.
    """

    name = "results_assimilator"

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """``--outdir`` besides the common ones."""
        super().add_options(parser)
        parser.add_argument("--outdir", type=Path, default=Path("/results"), metavar="DIR",
                            help="where the folders go (default /results)")

    def setup(self) -> None:
        """Check that the folder can be written, so that a mistake shows at once."""
        super().setup()
        try:
            self._base.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make {self._base}: {error.strerror}") from None
        if not os.access(self._base, os.W_OK | os.X_OK):
            raise InputError(f"cannot write to {self._base}", "check the owner of the results volume")
        for left in self._base.glob(".tmp_*"):
            self._drop_if_stale(left)

    @property
    def _base(self) -> Path:
        outdir: Path = self.options.outdir
        return outdir / safe_name(self.options.app)

    def _drop_if_stale(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            if _TEMPORARY.match(path.name) and self.clock() - path.stat().st_mtime > 3600:
                shutil.rmtree(path)

    def target(self, job: Job) -> Path:
        """The job's folder."""
        base = self._base / f"batch_{job.wu.batch}" if job.wu.batch else self._base
        return base / safe_name(job.wu.name)

    def handle(self, job: Job) -> None:
        """Publish outputs or error report; calling it again gives the same folder."""
        target = self.target(job)
        target.parent.mkdir(parents=True, exist_ok=True)
        work = self._base / f".tmp_{job.wu.id}_{secrets.token_hex(8)}"
        work.mkdir()
        try:
            if job.canonical is None:
                text = json.dumps(error_report(job), indent=2, ensure_ascii=False) + "\n"
                write_synced(work / "error.json", text.encode("utf-8", "replace"))
            else:
                self._collect(job.canonical, work)
            publish(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        logger.info("%s -> %s", job.wu.tag, target)

    def _collect(self, canonical: Result, work: Path) -> None:
        for f in self.files(canonical):
            self.beat()
            place = work.joinpath(*logical_path(f.logical_name))
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                copy_synced(f.path, place)
            except FileNotFoundError:
                if f.optional:
                    continue
                raise InputError(f"output file {f.name} of {canonical.name} is missing in the upload folder") from None


class BatchCollectAssimilator(Assimilator):
    """Files as BOINC's web pages and fetch tools look for them: ``<outdir>/<batch>/<workunit>__file_<logical>``.

    Outputs that are gzip files get ``.gz`` added; a failed job leaves ``<workunit>_error`` with its mask in hex.
    """

    name = "batch_collect_assimilator"

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """``--outdir`` besides the common ones."""
        super().add_options(parser)
        parser.add_argument("--outdir", type=Path, default=None, metavar="DIR",
                            help="where the folders go (default: results in the project folder)")

    def handle(self, job: Job) -> None:
        """Copy outputs, or note the error."""
        outdir: Path = self.options.outdir or self.project.dir / "results"
        folder = outdir / str(job.wu.batch)
        folder.mkdir(parents=True, exist_ok=True)
        name = safe_name(job.wu.name)
        if job.canonical is None:
            replace_synced(folder / f"{name}_error", f"0x{job.wu.error_mask:x}\n".encode())
            return
        copied = 0
        for f in self.files(job.canonical):
            place = folder / f"{name}__file_{'_'.join(logical_path(f.logical_name))}"
            with contextlib.suppress(FileNotFoundError):
                place = place.with_name(place.name + ".gz") if is_gzip(f.path) else place
                temporary = folder / f".tmp_{place.name}"
                copy_synced(f.path, temporary)
                temporary.replace(place)
                copied += 1
        if not copied:
            replace_synced(folder / f"{name}_no_output_files", b"")


def logical_path(name: str) -> tuple[str, ...]:
    """The parts of a logical name as a relative path; ``InputError`` if it leads out of its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise InputError(f"logical name {name!r} is not allowed")
    return path.parts


def is_gzip(path: Path) -> bool:
    """Whether the file's content is gzip."""
    try:
        with gzip.open(path) as stream:
            stream.read(1)
        return True
    except (gzip.BadGzipFile, EOFError):
        return False


def error_names(mask: int) -> list[str]:
    """The bits of a workunit's error mask in words."""
    return [str(bit.name).lower() for bit in WuError if mask & bit]


def error_report(job: Job) -> dict[str, Any]:
    """What ``error.json`` holds."""
    return {"name": job.wu.name, "id": job.wu.id, "error_mask": job.wu.error_mask,
            "errors": error_names(job.wu.error_mask) or ["no_canonical_result"],
            "results": [{"name": r.name, "id": r.id, "host": r.hostid, "outcome": r.outcome,
                         "outcome_name": Outcome(r.outcome).name.lower() if r.over else "not_over",
                         "exit_status": r.exit_status, "stderr_tail": stderr_tail(r.stderr_out)}
                        for r in job.results]}


def stderr_tail(text: bytes | str) -> str:
    """The end of a result's stderr."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    return data[-STDERR_TAIL:].decode("utf-8", "replace")


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and force it to disk."""
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def replace_synced(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and move it to its place."""
    temporary = path.with_name(f".tmp_{secrets.token_hex(8)}")
    write_synced(temporary, data)
    temporary.replace(path)


def copy_synced(source: Path, target: Path) -> None:
    """Copy a file's contents and force them to disk."""
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())


def publish(work: Path, target: Path) -> None:
    """Give a finished folder its final name. One that is already there gets the same contents file by file,
    and what does not belong there any more is removed."""
    try:
        work.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        _merge(work, target)
    _sync_dir(target.parent)


def _merge(work: Path, target: Path) -> None:
    wanted = {p.relative_to(work) for p in work.rglob("*") if p.is_file()}
    for relative in sorted(wanted):
        place = target / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        (work / relative).replace(place)
    for old in sorted(target.rglob("*"), reverse=True):
        if old.is_file() and old.relative_to(target) not in wanted:
            old.unlink()
        elif old.is_dir():
            with contextlib.suppress(OSError):
                old.rmdir()


def _sync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
