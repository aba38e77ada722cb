"""Many jobs in one go: what ``bin/submit_jobs`` reads from standard input (docs/python-api.md).

The stream is a tar. Its first member, ``jobs.json``, says what to create; the others are the input files:
    {"batch": null | {"id": N} | {"name": TEXT, "description": TEXT},
     "jobs": [{"app": NAME, "name": NAME, "suffix": END, "args": [WORD, ...],
               "files": [{"member": NAME, "name": NAME}]}, ...]}
An entry may also have ``dockerfile`` or ``image`` (what `docker save` wrote): members that take the place of IMAGE.
``args`` are the words of docker_create_work (IMAGE and all), or with an ``app`` those of create_work. All jobs are
checked before the first is written, and written in one transaction: all of them exist afterwards, or none.
"""
from __future__ import annotations

import contextlib
import json
import re
import secrets
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from boincdock.config import Project
from boincdock.db import Connection
from boincdock.enums import BatchState
from boincdock.errors import InputError
from boincdock.files.hierarchy import download_path
from boincdock.files.staging import gzip_path, sidecar_path, stage_file
from boincdock.jobs.create import JobFactory, create_jobs, default_name
from boincdock.jobs.create_work import WorkCreator, WorkOptions, parse_words
from boincdock.jobs.docker_run import DockerJobs, Gathered, parse_options
from boincdock.jobs.model import JobSpec, WorkunitCreated

MANIFEST = "jobs.json"
MAX_MANIFEST = 64 << 20
MAX_BYTES = 64 << 30
MAX_JOBS = 100_000
_DOCKER_REFUSED = {"image_file", "input", "input_tar", "dockerfile", "batch", "appname", "name"}


@dataclass(frozen=True, slots=True)
class JobFile:
    """An input file: where it lies here, and what the job calls it."""

    path: Path
    name: str
    executable: bool


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One entry of the manifest."""

    args: tuple[str, ...]
    app: str = ""
    name: str = ""
    suffix: str = ""
    dockerfile: Path | None = None
    image: Path | None = None
    files: tuple[JobFile, ...] = ()


@dataclass(slots=True)
class Submission:
    """What was asked for. ``batch_id``: 0 = none; ``batch_name``: make a batch of this name."""

    jobs: list[JobRequest]
    batch_id: int = 0
    batch_name: str | None = None
    description: str = ""


@dataclass(slots=True)
class Submitted:
    """What was created."""

    batch: int
    jobs: list[WorkunitCreated] = field(default_factory=list)


# ---- reading -----------------------------------------------------------------------------------------------------


def read_stream(source: IO[bytes], scratch: Path) -> Submission:
    """Unpack the stream into ``scratch`` (names of ours, whatever the members are called) and check its form.
    InputError says what is wrong with it."""
    members: dict[str, tuple[Path, bool]] = {}
    manifest: Any = None
    total = 0
    try:
        with tarfile.open(fileobj=source, mode="r|*") as archive:
            for number, member in enumerate(archive):
                if not member.isfile():
                    raise InputError(f"{member.name!r} in the stream is no plain file")
                total += member.size
                if total > MAX_BYTES:
                    raise InputError(f"the input files are larger than {MAX_BYTES >> 30} GiB together")
                content = archive.extractfile(member)
                assert content is not None
                if number == 0:
                    manifest = _manifest(member, content)
                    continue
                path = scratch / f"m_{number}"
                with path.open("wb") as target:
                    while chunk := content.read(1 << 20):
                        target.write(chunk)
                members[member.name] = path, bool(member.mode & 0o100)
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"the tar on standard input cannot be read: {error}") from None
    if manifest is None:
        raise InputError(f"the tar on standard input is empty: its first member must be {MANIFEST}")
    return _submission(manifest, members)


def _manifest(member: tarfile.TarInfo, content: IO[bytes]) -> Any:
    if member.name != MANIFEST or member.size > MAX_MANIFEST:
        raise InputError(f"the first member of the tar must be {MANIFEST}, of at most {MAX_MANIFEST >> 20} MiB")
    try:
        return json.loads(content.read())
    except ValueError as error:
        raise InputError(f"{MANIFEST}: {error}") from None


def _submission(manifest: Any, members: dict[str, tuple[Path, bool]]) -> Submission:
    _table(manifest, MANIFEST, {"batch", "jobs"})
    entries = manifest.get("jobs")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{MANIFEST}: jobs must be a list with at least one job")
    if len(entries) > MAX_JOBS:
        raise InputError(f"more than {MAX_JOBS} jobs at once")
    found = Submission([_request(entry, f"job {n}", members) for n, entry in enumerate(entries, 1)])
    batch = manifest.get("batch")
    if batch is not None:
        _table(batch, "batch", {"id", "name", "description"})
        if "id" in batch:
            if not isinstance(batch["id"], int) or isinstance(batch["id"], bool) or batch["id"] < 1:
                raise InputError("batch: id must be a number greater than 0")
            found.batch_id = batch["id"]
        else:
            found.batch_name = check_batch_name(_text(batch, "name", "batch"))
            found.description = _text(batch, "description", "batch")[:255]
    return found


def _table(value: Any, what: str, known: set[str]) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{what}: must be a JSON object")
    unknown = sorted(set(value) - known)
    if unknown:
        raise InputError(f"{what}: unknown key {unknown[0]!r}", f"keys: {', '.join(sorted(known))}")


def _text(table: dict[str, Any], key: str, what: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"{what}: {key} must be text")
    return value


def _request(entry: Any, what: str, members: dict[str, tuple[Path, bool]]) -> JobRequest:
    _table(entry, what, {"app", "name", "suffix", "args", "files", "dockerfile", "image"})
    args = entry.get("args", [])
    if not isinstance(args, list) or not all(isinstance(word, str) for word in args):
        raise InputError(f"{what}: args must be a list of texts")
    files = []
    listed = entry.get("files", [])
    if not isinstance(listed, list):
        raise InputError(f"{what}: files must be a list")
    for item in listed:
        _table(item, f"{what}: file", {"member", "name"})
        member = _text(item, "member", what)
        path, executable = _member(member, what, members)
        files.append(JobFile(path, _text(item, "name", what) or member, executable))
    dockerfile, image = _text(entry, "dockerfile", what), _text(entry, "image", what)
    return JobRequest(tuple(args), _text(entry, "app", what), _text(entry, "name", what), _text(entry, "suffix", what),
                      _member(dockerfile, what, members)[0] if dockerfile else None,
                      _member(image, what, members)[0] if image else None, tuple(files))


def _member(name: str, what: str, members: dict[str, tuple[Path, bool]]) -> tuple[Path, bool]:
    if name not in members:
        raise InputError(f"{what}: the stream has no file {name!r}")
    return members[name]


def check_batch_name(name: str) -> str:
    """The name; InputError if it is empty, longer than 255 bytes or no printable text."""
    if not name.strip() or not name.isprintable() or len(name.encode()) > 255:
        raise InputError(f"batch name {name[:60]!r}: printable text of at most 255 bytes")
    return name


# ---- batches -----------------------------------------------------------------------------------------------------


def create_batch(db: Connection, name: str, description: str = "", app_id: int = 0, expire_time: float = 0) -> int:
    """A new batch of the operator's (user 0), open for jobs; its id. InputError: an unusable name."""
    return int(db.insert("jobs_batch.insert", user_id=0, now=int(time.time()), name=check_batch_name(name),
                         description=description[:255], app_id=app_id, expire_time=expire_time))


def find_batch(db: Connection, word: str) -> int:
    """The id of the batch with this id or name. InputError: none, or several of the name."""
    if word.isascii() and word.isdigit():
        if db.one("jobs_batch.get", id=int(word)) is None:
            raise InputError(f"there is no batch {word}")
        return int(word)
    rows = db.all("jobs_batch.by_name", name=word)
    if not rows:
        raise InputError(f"there is no batch {word!r}")
    if len(rows) > 1:
        raise InputError(f"there are several batches called {word!r}", "give its number: batch list shows them")
    return int(rows[0]["id"])


def _check_open(db: Connection, batch_id: int) -> dict[str, Any]:
    row = db.one("jobs_batch.get", id=batch_id)
    if row is None:
        raise InputError(f"there is no batch {batch_id}")
    if row["state"] in (BatchState.ABORTED, BatchState.RETIRED):
        raise InputError(f"batch {batch_id} is {BatchState(row['state']).name.lower()}: it takes no more jobs")
    return row


# ---- creating ----------------------------------------------------------------------------------------------------


class _Maker:
    """Makes job descriptions out of requests; remembers what it staged."""

    def __init__(self, db: Connection, project: Project, scratch: Path, batch: int, base: str) -> None:
        self._db = db
        self._project = project
        self._scratch = scratch
        self._batch = batch
        self._base = base
        self.factory = JobFactory(db, project)
        self._docker = DockerJobs(db, project, self.factory)
        self._creators: dict[str, WorkCreator] = {}
        self._token = secrets.token_hex(8)
        self.staged: list[str] = []

    def spec(self, request: JobRequest, number: int, where: str) -> JobSpec:
        """The job of one request, the ``number``-th of its batch; InputError names it."""
        name = request.name or (f"{self._base}_{request.suffix or number}" if self._base else "")
        try:
            if request.app:
                return self._app_job(request, number, name, where)
            return self._docker_job(request, name, where)
        except InputError as error:
            if where and not error.message.startswith(f"{where}:"):
                raise InputError(f"{where}: {error.message}", error.hint) from None
            raise

    def _docker_job(self, request: JobRequest, name: str, where: str) -> JobSpec:
        options = parse_options(request.args)
        refused = sorted(_DOCKER_REFUSED & {*options.values, *(["input"] if options.inputs else [])})
        if refused or "stdin_files" in options.switches:
            raise InputError(f"--{refused[0] if refused else 'stdin_files'} is not possible among the args of a job",
                             "files, dockerfile, name and batch have keys of their own")
        gathered = Gathered()
        for file in request.files:
            gathered.add(file.path, file.name, file.executable)
        if request.dockerfile:
            options.values["dockerfile"] = "Dockerfile"
            gathered.set_dockerfile(request.dockerfile)
        gathered.image = request.image
        if self._batch:
            options.values["batch"] = str(self._batch)
        return self._docker.spec(options, gathered, self._scratch, name, where)

    def _app_job(self, request: JobRequest, number: int, name: str, where: str) -> JobSpec:
        options = parse_words(request.args)
        for word in ("appname", "wu_name", "config_dir"):
            if word in options.text:
                raise InputError(f"--{word} is not possible among the args of a job")
        if options.switches - {"broadcast", "verbose"} or "batch" in options.numbers:
            raise InputError("--stdin, --json, --continue_on_error, --help and --batch are not possible here")
        if self._batch:
            options.numbers["batch"] = self._batch
        creator = self._creators.get(request.app)
        if creator is None:
            self.factory.app_id(request.app)
            creator = WorkCreator(self._db, self._project, WorkOptions(text={"appname": request.app}))
            self._creators[request.app] = creator
        for index, file in enumerate(request.files):
            # A name of its own for each job: the file deleter removes a job's inputs when that job is done.
            staged = stage_file(self._project, file.path, f"{request.app}_in_{self._token}_{number}_{index}", copy=True)
            self.staged.append(staged.name)
            options.files.append(staged.name)
        return creator.spec(options, name or default_name(request.app) + (f"_{number}" if where else ""), where)

    def undo(self) -> None:
        """Remove the files that were staged for jobs that will not exist."""
        for name in self.staged:
            path = download_path(self._project, name)
            for victim in (sidecar_path(path), gzip_path(path), path):
                with contextlib.suppress(OSError):
                    victim.unlink()


def submit(db: Connection, project: Project, source: IO[bytes]) -> Submitted:
    """Create the jobs of a stream (see the module's text), all or none. InputError names the first bad job;
    then there is no job, and no new batch."""
    with scratch_folder(project) as scratch:
        asked = read_stream(source, scratch)
        batch = asked.batch_id
        slug = ""
        if batch:
            slug = _slug(_check_open(db, batch)["name"])
        elif asked.batch_name is not None:
            batch = create_batch(db, asked.batch_name, asked.description)
            slug = _slug(asked.batch_name)
        try:
            first = int(db.one("jobs_batch.job_counts", id=batch)["jobs"]) if batch else 0  # type: ignore[index]
            base = f"{slug}_{batch}" if batch else ""
            maker = _Maker(db, project, scratch, batch, base)
            try:
                specs = [maker.spec(request, first + number, f"job {number + 1}" if len(asked.jobs) > 1 else "")
                         for number, request in enumerate(asked.jobs)]
                made = create_jobs(db, project, specs, maker.factory)
            except BaseException:
                maker.undo()
                raise
        except BaseException:
            if batch and not asked.batch_id:
                db.run("jobs_batch.forget_empty", id=batch)
            raise
        if batch:
            apps = {spec.kind.app for spec in specs}
            db.run("jobs_batch.reopen", id=batch, count=len(made),
                   app_id=maker.factory.app_id(apps.pop()) if len(apps) == 1 else 0)
        return Submitted(batch, made)


def _slug(name: str) -> str:
    """A batch's name as the beginning of job names: lower case, what images may be called (spec 07 section 4)."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "batch"


@contextlib.contextmanager
def scratch_folder(project: Project) -> Iterator[Path]:
    """A temporary folder on the project's own file system: the container's /tmp is memory."""
    parent = project.tmp_dir
    with tempfile.TemporaryDirectory(prefix="jobs.", dir=parent if parent.is_dir() else None) as name:
        yield Path(name)
