"""Making jobs out of what an operator has: words of `docker run`, files, folders of jobs, tables of parameters.

Everything is checked here as far as this machine can tell, packed into one tar, and created by ``bin/submit_jobs``
in the project: all jobs or none.
"""
from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shlex
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from boincdock.errors import InputError
from boincdock.manage import jobs as jobs_module
from boincdock.manage.compose import Compose

MANIFEST = "jobs.json"
CMDLINE = "cmdline"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class NewJob:
    """A job to be: words of docker_create_work, or with ``app`` those of create_work, and its input files as
    (file here, name or path in the container). ``suffix``: the end of its name in a batch."""

    args: tuple[str, ...]
    files: tuple[tuple[Path, str], ...] = ()
    app: str = ""
    name: str = ""
    suffix: str = ""
    dockerfile: Path | None = None
    image: Path | None = None


@dataclass(frozen=True)
class BatchChoice:
    """The batch that jobs go into: an existing one by id, or a new one by name."""

    id: int = 0
    name: str = ""
    description: str = ""


@dataclass(frozen=True)
class Created:
    """What was made: the batch's id (0: none) and {"id", "name"} of each job, in order."""

    batch: int
    jobs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The jobs' names."""
        return [str(job["name"]) for job in self.jobs]


def submit(compose: Compose, new: Sequence[NewJob], batch: BatchChoice | None = None) -> Created:
    """Create the jobs. BoincdockError in the project's own words if it refuses one of them; then there is none."""
    answer = jobs_module.call(compose, "bin/submit_jobs", "--json", stdin=pack(new, batch))
    return Created(int(answer["batch"]), list(answer["jobs"]))


def pack(new: Sequence[NewJob], batch: BatchChoice | None = None) -> bytes:
    """The tar that ``bin/submit_jobs`` reads. A file that several jobs have in common is in it once.

    InputError for a file that is missing, cannot be read, or too much altogether.
    """
    if not new:
        raise InputError("there is no job to create")
    members: dict[Path, str] = {}
    entries = []
    for job in new:
        entry: dict[str, Any] = {"args": list(job.args), "files": [
            {"member": _member(members, path), "name": name} for path, name in job.files]}
        entry |= {key: getattr(job, key) for key in ("app", "name", "suffix") if getattr(job, key)}
        if job.dockerfile:
            entry["dockerfile"] = _member(members, job.dockerfile)
        if job.image:
            entry["image"] = _member(members, job.image)
        entries.append(entry)
    document: dict[str, Any] = {"jobs": entries}
    if batch:
        document["batch"] = {"id": batch.id} if batch.id else {"name": batch.name, "description": batch.description}
    try:
        manifest = json.dumps(document).encode()
    except UnicodeEncodeError:
        raise InputError("the command line is not UTF-8 text") from None
    buffer = io.BytesIO()
    total = 0
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, MANIFEST, len(manifest), io.BytesIO(manifest), 0o644)
        for path, member in members.items():
            try:
                size, mode = path.stat().st_size, path.stat().st_mode
                total += size
                if total > jobs_module.MAX_INPUT_BYTES:
                    raise InputError("the input files are larger than 1 GiB together",
                                     "stage them first: ./manage.py shell, then bin/stage_file")
                with path.open("rb") as source:
                    _add(archive, member, size, source, 0o755 if mode & 0o100 else 0o644)
            except OSError as error:
                raise InputError(f"input file {str(path)!r} cannot be read: {error.strerror}") from None
    return buffer.getvalue()


def _member(members: dict[Path, str], path: Path) -> str:
    return members.setdefault(path, f"f{len(members)}")


def _add(archive: tarfile.TarFile, name: str, size: int, source: Any, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    archive.addfile(member, source)


# ---- input files -------------------------------------------------------------------------------------------------


def inputs(words: Sequence[str], volumes: Sequence[str]) -> tuple[tuple[Path, str], ...]:
    """(file, name) of ``--input FILE[:NAME]`` and ``-v FILE:PATH`` options. InputError: a file is missing, a name is
    given twice or unusable."""
    found: dict[str, Path] = {}
    for path, name in [*(jobs_module.split_input(word) for word in words),
                       *(pair for word in volumes for pair in split_volume(word))]:
        if name in found:
            raise InputError(f"two input files would both be called {name!r}", "give one another name: FILE:NAME")
        found[name] = path
    return tuple((path, name) for name, path in found.items())


def split_volume(word: str) -> list[tuple[Path, str]]:
    """``-v FILE:PATH`` as `docker run` knows it, for a file or for all files of a folder: PATH is absolute, a
    trailing ``:ro`` or ``:z`` is accepted. Files are copied into the container, nothing is shared."""
    source, mark, target = word.partition(":")
    target, _, options = target.partition(":")
    if not mark or not source or not target.startswith("/") or set(options.split(",")) - {"", "ro", "rw", "z", "Z"}:
        raise InputError(f"-v {word!r}: must be FILE:/PATH or FOLDER:/PATH", "the job gets a copy; results come back"
                         " from /root/shared/results or what --output names")
    path = Path(source)
    if path.is_file():
        return [(path, target)]
    if not path.is_dir():
        raise InputError(f"-v {word!r}: {source} does not exist")
    return [(each, f"{target.rstrip('/')}/{each.relative_to(path).as_posix()}") for each in folder_files(path)]


def folder_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted; InputError if there is none, or something that is neither file nor folder."""
    found = sorted(path for path in folder.rglob("*") if not path.is_dir())
    odd = next((path for path in found if not path.is_file()), None)
    if odd:
        raise InputError(f"{odd} is no plain file")
    if not found:
        raise InputError(f"the folder {folder} holds no files")
    return found


def read_env_files(paths: Sequence[str]) -> list[str]:
    """``-e`` words of ``--env-file`` options. InputError names file and line."""
    words: list[str] = []
    for name in paths:
        try:
            lines = Path(name).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--env-file {name}: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}") from None
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if not _VARIABLE.fullmatch(line.partition("=")[0]) or "=" not in line:
                raise InputError(f"{name}:{number}: not a NAME=VALUE line: {line.strip()[:60]!r}")
            words += ["--env", line]
    return words


# ---- many jobs ---------------------------------------------------------------------------------------------------


def from_table(path: Path, base: NewJob) -> list[NewJob]:
    """A job for each row of a CSV file: columns are environment variables of their header's name, and ``{COLUMN}`` in
    the command is replaced by the value. InputError names file and line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    rows = [(reader.line_num, row) for row in reader if row]
    if not rows:
        raise InputError(f"{path} is empty", "its first line names the columns, each other line is a job")
    (line, header), *rest = rows
    for column in header:
        if not _VARIABLE.fullmatch(column):
            raise InputError(f"{path}:{line}: {column!r} is no usable column name", "letters, digits and _")
    if len(set(header)) < len(header):
        raise InputError(f"{path}:{line}: a column is named twice")
    if not rest:
        raise InputError(f"{path} has no rows below its header")
    made = []
    for number, row in rest:
        if len(row) != len(header):
            raise InputError(f"{path}:{number}: {len(row)} values for {len(header)} columns")
        made.append(with_values(base, dict(zip(header, row, strict=True))))
    return made


def with_values(base: NewJob, values: dict[str, str]) -> NewJob:
    """``base`` with these variables in its environment, and ``{NAME}`` replaced in its words."""
    words = []
    for word in base.args:
        for name, value in values.items():
            word = word.replace(f"{{{name}}}", value)
        words.append(word)
    if base.app:
        return replace(base, args=tuple(words))
    front = [part for name, value in values.items() for part in ("--env", f"{name}={value}")]
    return replace(base, args=(*front, *words))


@contextlib.contextmanager
def job_folders(path: Path) -> Iterator[list[Path]]:
    """The sub-folders of a folder, or of a .tgz, .tar, .zip with such folders (unpacked meanwhile), sorted.
    InputError if there is none."""
    with contextlib.ExitStack() as stack:
        if path.is_file():
            where = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="boincdock-jobs-")))
            _unpack(path, where)
            inside = list(where.iterdir())
            # An archive of one folder that holds the job folders.
            only = inside[0] if len(inside) == 1 and inside[0].is_dir() else None
            path = only if only and all(p.is_dir() for p in only.iterdir()) and any(only.iterdir()) else where
        if not path.is_dir():
            raise InputError(f"there is no folder or archive {path}")
        found = sorted(each for each in path.iterdir() if each.is_dir())
        if not found:
            raise InputError(f"{path} has no sub-folders: each one is a job")
        yield found


def _unpack(archive: Path, where: Path) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                for info in packed.infolist():
                    if not info.is_dir():
                        write_inside(where, info.filename, packed.read(info))
            return
        with tarfile.open(archive) as packed_tar:
            for member in packed_tar:
                stream = packed_tar.extractfile(member) if member.isfile() else None
                if stream:
                    write_inside(where, member.name, stream.read())
                elif not member.isdir():
                    raise InputError(f"{archive}: {member.name!r} is no plain file")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise InputError(f"{archive} cannot be unpacked: {error}", "a .tgz, .tar or .zip of job folders") from None


def write_inside(folder: Path, name: str, data: bytes) -> Path:
    """Write ``folder/name``, making folders; InputError if the name leads out of it. The file's path."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or name.startswith("/") or any("\\" in p or "\0" in p for p in parts):
        raise InputError(f"{name!r} is not a safe file name")
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.is_dir():
        raise InputError(f"{path} is in the way")
    path.write_bytes(data)
    return path


def from_folder(folder: Path, base: NewJob) -> NewJob:
    """The job of one folder: ``base`` with the folder's files as inputs under their names, and the words of its
    file ``cmdline`` at the end of the command."""
    files = list(base.files)
    extra: list[str] = []
    for path in folder_files(folder):
        name = path.relative_to(folder).as_posix()
        if name == CMDLINE:
            try:
                extra = shlex.split(path.read_text(encoding="utf-8"))
            except (ValueError, UnicodeDecodeError) as error:
                raise InputError(f"{path}: {error}") from None
        else:
            files.append((path, name))
    args = (*base.args, "--command_line", shlex.join(extra)) if base.app and extra else (*base.args, *extra)
    suffix = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:60]
    return replace(base, args=args, files=tuple(files), suffix=suffix)


# ---- can it work at all? -----------------------------------------------------------------------------------------


def _image_at(words: Sequence[str]) -> int:
    at = 0
    while at < len(words) and words[at].startswith("-"):
        if words[at] == "--":
            return at + 1
        name, mark, _ = words[at].lstrip("-").partition("=")
        at += 1 if mark or name.replace("-", "_") in jobs_module.SWITCHES else 2
    return at


def image_of(words: Sequence[str]) -> str:
    """IMAGE among the words of docker_create_work; '' if there is none."""
    at = _image_at(words)
    return words[at] if at < len(words) else ""


def without_image(words: Sequence[str]) -> tuple[str, ...]:
    """The words without IMAGE; what follows it still counts as the command."""
    at = _image_at(words)
    front = [*words[:at]] if words[at - 1 : at] == ("--",) else [*words[:at], "--"]
    return (*front, *words[at + 1 :])


_ABSENT = ("no such manifest", "manifest unknown", "not found", "denied", "unauthorized", "does not exist",
           "name unknown", "invalid reference format")


def check_image(compose: Compose, image: str) -> str | None:
    """InputError if the image is neither here nor in its registry; a warning if that cannot be found out."""
    engine = compose.engine
    if engine.has_image(image):
        return None
    asked = compose.runner.run(["docker", "manifest", "inspect", image], check=False, timeout=30)
    if asked.ok:
        return None
    reason = next((line.strip() for line in asked.errors.splitlines() if line.strip()), "no answer")
    if any(word in reason.lower() for word in _ABSENT) and "dial tcp" not in reason:
        raise InputError(f"there is no image {image!r}: {reason}", "volunteers' computers pull it from its registry;"
                         " --no-check submits the job all the same")
    return f"image {image} is not on this machine, and its registry does not answer: volunteers must be able to pull it"


@contextlib.contextmanager
def saved_image(compose: Compose, image: str) -> Iterator[Path]:
    """The image of this machine as a file, while the context lasts. InputError if it is not here."""
    if not compose.engine.has_image(image):
        raise InputError(f"there is no image {image!r} on this machine", "--ship takes an image that you have built or"
                         " pulled here")
    with tempfile.TemporaryDirectory(prefix="boincdock-image-") as name:
        path = Path(name) / "image.tar"
        compose.runner.save(["docker", "save", image], path)
        yield path


def check_dockerfile(compose: Compose, job: NewJob) -> None:
    """Build a job's Dockerfile here, as volunteers' computers will; InputError names the line that fails."""
    assert job.dockerfile is not None
    path = job.dockerfile
    if not path.is_file():
        raise InputError(f"there is no Dockerfile {path}")
    with tempfile.TemporaryDirectory(prefix="boincdock-build-") as name:
        context = Path(name)
        try:
            (context / "Dockerfile").write_bytes(path.read_bytes())
            for source, inside in job.files:
                (context / Path(inside).name).write_bytes(source.read_bytes())
                (context / Path(inside).name).chmod(source.stat().st_mode & 0o777 | 0o600)
        except OSError as error:
            raise InputError(f"{error.filename}: {error.strerror}") from None
        iid = context.parent / f"{context.name}.iid"
        built = compose.runner.run(["docker", "build", "--iidfile", str(iid), str(context)], check=False,
                                   env={"DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "0")})
        if iid.is_file():
            compose.runner.run(["docker", "rmi", iid.read_text(encoding="ascii").strip()], check=False)
            iid.unlink()
    if not built.ok:
        line, reason = build_failure(path, built.text + "\n" + built.errors)
        raise InputError(f"{path}:{line}: does not build: {reason}" if line else f"{path} does not build: {reason}",
                         "try it with: docker build; --no-check submits the job all the same")


def build_failure(dockerfile: Path, output: str) -> tuple[int, str]:
    """The line of the Dockerfile that `docker build` stopped at (0: unknown), and why, from its output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if "error" in line.lower() or "returned a non-zero" in line
                   or "failed" in line.lower()), lines[-1] if lines else "no output")
    found = re.findall(r"(?:Dockerfile:|parse error (?:on )?line )(\d+)", output)
    if found:
        return int(found[-1]), reason
    steps = re.findall(r"(?m)^Step (\d+)/\d+", output)
    starts = instruction_lines(dockerfile.read_text(encoding="utf-8", errors="replace"))
    at = int(steps[-1]) if steps else 0
    return (starts[at - 1] if 0 < at <= len(starts) else 0), reason


def instruction_lines(text: str) -> list[int]:
    """The numbers of the lines at which the instructions of a Dockerfile begin."""
    starts: list[int] = []
    continued = False
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        if not continued:
            starts.append(number)
        continued = bare.endswith("\\")
    return starts
