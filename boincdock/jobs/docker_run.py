"""``docker_create_work [options] IMAGE [COMMAND …]``: its command line and creating the job (spec 05 E2)."""
from __future__ import annotations

import math
import re
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from boincdock.apps.repository import AppRepository
from boincdock.config import Project
from boincdock.db import Connection
from boincdock.enums import TargetType
from boincdock.errors import InputError
from boincdock.jobs.create import JobFactory, create_jobs, default_name
from boincdock.jobs.docker_job import (
    ContainerInput,
    DockerJob,
    check_container_path,
    check_image,
    check_job_name,
    check_user,
    dockerfile,
    input_destination,
    input_template,
    job_toml,
    output_patterns,
    parse_env,
    parse_size,
)
from boincdock.jobs.job_files import KEEP_AFTER, stage_shared
from boincdock.jobs.model import JobKind, JobLimits, JobSpec, Target, WorkunitCreated

MAX_INPUTS = 150
MAX_INPUT_BYTES = 2 << 30
FLOPS_PER_CPU = 4.3e9
"""Speed assumed for a job that asks for more than one CPU, until the client has measured it."""

_LIMITS = {"rsc_fpops_est": 3.6e12, "rsc_fpops_bound": 3.6e15, "rsc_memory_bound": 1e9, "rsc_disk_bound": 4e9,
           "delay_bound": 604800, "min_quorum": 1, "target_nresults": 1, "max_error_results": 3,
           "max_total_results": 6, "max_success_results": 3, "batch": 0}
_VALUES = {"name", "env", "input", "output", "input_tar", "image_file", "workdir", "entrypoint", "memory", "cpus",
           "gpus", "dockerfile", "appname", "user", "network", "shm_size", "priority", "result_template", "target_host",
           "target_user", *_LIMITS}
_SWITCHES = {"json", "stdin_files", "verbose", "quiet", "help", "rm", "init"}
_SHORT = {"e": "env", "w": "workdir", "m": "memory", "u": "user", "i": "interactive", "t": "tty", "v": "volume",
          "p": "publish", "d": "detach", "h": "help", "q": "quiet", "wu_name": "name", "tag": "name"}
_IMPOSSIBLE = {
    "volume": "a volunteer's machine has no such folder: give files with --input (manage.py create-work turns -v"
              " FILE:PATH into that)",
    "mount": "a volunteer's machine has no such folder: give files with --input",
    "publish": "a job cannot be reached from outside", "interactive": "a job has no terminal",
    "tty": "a job has no terminal", "it": "a job has no terminal", "detach": "jobs always run in the background",
    "privileged": "volunteers' machines do not allow it", "restart": "a failed job is sent to another host",
    "env_file": "give each variable with --env",
}


@dataclass(slots=True)
class DockerOptions:
    """The words of a docker_create_work command line, sorted."""

    values: dict[str, str] = field(default_factory=dict)
    env: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    switches: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)


def parse_options(argv: Sequence[str]) -> DockerOptions:
    """Sort the words: options (``-x``, ``--x``, ``--x=v``; ``_`` and ``-`` alike) up to IMAGE, and then IMAGE and its
    command untouched. InputError: an unknown or impossible option, or a value is missing."""
    options = DockerOptions()
    at = 0
    while at < len(argv) and argv[at].startswith("-") and argv[at] != "-":
        word = argv[at]
        at += 1
        if word == "--":
            break
        name, mark, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        name = _SHORT.get(name, name)
        if name in _IMPOSSIBLE:
            raise InputError(f"{word.partition('=')[0]} is not possible for a job", _IMPOSSIBLE[name])
        if name in _SWITCHES and not mark:
            options.switches.add(name)
            continue
        if name not in _VALUES:
            raise InputError(f"unknown option {word!r}", "docker_create_work --help lists the options; options of the"
                             " command come after IMAGE")
        if not mark:
            if at >= len(argv):
                raise InputError(f"{word} needs a value")
            value = argv[at]
            at += 1
        if name == "env":
            options.env.append(value)
        elif name == "input":
            options.inputs.append(value)
        elif name == "output":
            options.outputs.append(value)
        else:
            options.values[name] = value
    options.words = list(argv[at:])
    return options


def _number(options: DockerOptions, name: str, default: float) -> float:
    text = options.values.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text or (isinstance(default, int) and value != int(value)):
        raise InputError(f"--{name}: {text!r} is not a {'whole ' if isinstance(default, int) else ''}number")
    return int(value) if isinstance(default, int) else value


@dataclass(slots=True)
class Gathered:
    """Input files on disk, with the names the container knows them by."""

    paths: list[Path] = field(default_factory=list)
    items: list[ContainerInput] = field(default_factory=list)
    dockerfile: str = ""
    image: Path | None = None

    def add(self, path: Path, name: str, executable: bool) -> None:
        item = ContainerInput(destination=input_destination(name), executable=executable)
        if any(item.destination == other.destination for other in self.items):
            raise InputError(f"two inputs are called {name!r}", "give one another name: FILE:NAME")
        if len(self.items) >= MAX_INPUTS:
            raise InputError(f"more than {MAX_INPUTS} input files", "pack them into one archive")
        self.paths.append(path)
        self.items.append(item)

    def set_dockerfile(self, path: Path) -> None:
        """The file at ``path`` is the job's Dockerfile; InputError if it is empty or no text."""
        self.dockerfile = _text(path)
        if not self.dockerfile.strip():
            raise InputError(f"{path} is empty")


def _local_input(word: str, gathered: Gathered) -> None:
    path, name = Path(word), Path(word).name
    if not path.exists() and ":" in word:
        left, _, name = word.rpartition(":")
        path = Path(left)
    if not path.is_file():
        raise InputError(f"input file {str(path)!r} does not exist or is no file")
    gathered.add(path, name, bool(path.stat().st_mode & 0o100))


def _tar_inputs(source: IO[bytes], gathered: Gathered, scratch: Path, dockerfile_name: str) -> None:
    """Unpack the plain files of a tar stream; the one called ``dockerfile_name`` is the job's Dockerfile."""
    total = 0
    try:
        with tarfile.open(fileobj=source, mode="r|*") as archive:
            for member in archive:
                if member.isdir():
                    continue
                if not member.isfile():
                    raise InputError(f"input {member.name!r} is no plain file")
                total += member.size
                if total > MAX_INPUT_BYTES:
                    raise InputError(f"the input files are larger than {MAX_INPUT_BYTES >> 30} GiB together")
                content = archive.extractfile(member)
                assert content is not None
                path = scratch / f"in_{len(gathered.items)}"
                with path.open("wb") as target:
                    while chunk := content.read(1 << 20):
                        target.write(chunk)
                name = member.name.removeprefix("./")
                if dockerfile_name and name == dockerfile_name:
                    gathered.dockerfile = _text(path)
                else:
                    gathered.add(path, name, bool(member.mode & 0o100))
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"the tar on standard input cannot be read: {error}") from None


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > 1 << 20:
            raise InputError(f"{path} is larger than 1 MiB")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None


def _container(options: DockerOptions, gathered: Gathered, use_gpu: bool) -> DockerJob:
    values = options.values
    words = list(options.words)
    image = ""
    if "dockerfile" not in values and gathered.image is None:
        if not words:
            raise InputError("which image?", "docker_create_work [options] IMAGE [COMMAND …]")
        image = check_image(words.pop(0))
    if values.get("network", "default") not in ("none", "default", "bridge"):
        raise InputError("--network: only 'none' and 'default' are possible")
    folder, patterns = output_patterns(options.outputs)
    cpus = _number(options, "cpus", 0.0)
    if not 0 <= cpus <= 1024 or ("cpus" in values and cpus < 0.01):
        raise InputError("--cpus must be a number from 0.01 to 1024")
    return DockerJob(
        image=image, dockerfile=gathered.dockerfile, image_file=gathered.image is not None,
        command=tuple(words) if words else None,
        entrypoint=values.get("entrypoint"), env=tuple(parse_env(options.env).items()),
        inputs=tuple(gathered.items), results=folder, outputs=patterns,
        workdir=check_container_path(values["workdir"], "--workdir") if "workdir" in values else "",
        user=check_user(values["user"]) if "user" in values else "",
        shm_size=parse_size(values["shm_size"], "shm-size") if "shm_size" in values else 0,
        memory=parse_size(values["memory"], "memory") if "memory" in values else 0, cpus=cpus,
        network=values.get("network") != "none", use_gpu=use_gpu)


def _limits(options: DockerOptions, job: DockerJob) -> JobLimits:
    numbers = {name: _number(options, name, default) for name, default in _LIMITS.items()}
    if job.memory and "rsc_memory_bound" not in options.values:
        numbers["rsc_memory_bound"] = float(job.memory)
    target = int(numbers["target_nresults"])
    for name in ("max_error_results", "max_total_results", "max_success_results"):
        if name not in options.values:
            numbers[name] = int(max(numbers[name], target + (2 if name != "max_total_results" else 5)))
    if "max_total_results" in options.values:
        for name in ("max_error_results", "max_success_results"):
            if name not in options.values:
                numbers[name] = min(numbers[name], numbers["max_total_results"])
    return JobLimits(**numbers).settled({})  # type: ignore[arg-type]


def _wants_gpu(db: Connection, options: DockerOptions, app: str) -> bool:
    """Whether the job uses a GPU; InputError if hosts with one cannot be told from others."""
    if "gpus" not in options.values:
        return False
    if options.values["gpus"] not in ("all", "1"):
        raise InputError("--gpus: only 'all' or 1 is possible, the client chooses the GPU")
    classes = AppRepository(db).plan_classes(app)
    if not classes or not all(_is_gpu_class(name) for name in classes):
        raise InputError(f"--gpus: app {app!r} has versions that are sent to hosts without a GPU",
                         "use --appname with an app whose versions all have a GPU plan class")
    return True


def _is_gpu_class(name: str) -> bool:
    return re.search(r"(^|_)(gpu|cuda|nvidia|ati|amd)(_|[0-9]|$)", name.lower()) is not None


def _target(options: DockerOptions) -> Target | None:
    found = [(kind, name) for kind, name in ((TargetType.HOST, "target_host"), (TargetType.USER, "target_user"))
             if name in options.values]
    if len(found) > 1:
        raise InputError("--target_host and --target_user exclude each other")
    return Target(found[0][0], int(_number(options, found[0][1], 0))) if found else None


class DockerJobs:
    """Turns sorted command lines into jobs; files with the same contents are staged once."""

    def __init__(self, db: Connection, project: Project, factory: JobFactory | None = None) -> None:
        self._db = db
        self._project = project
        self.factory = factory or JobFactory(db, project)
        self._texts: dict[tuple[str, float], str] = {}
        self._paths: dict[tuple[Path, float], str] = {}

    def spec(self, options: DockerOptions, gathered: Gathered, scratch: Path, name: str = "",
             where: str = "") -> JobSpec:
        """The job of one command line: checked, and its files staged under the names of their contents.

        ``name`` is used if the command line has none. InputError says what is wrong; then there is no job (files
        staged before are removed later, see ``job_files``)."""
        app = app_of(options)
        self.factory.app_id(app)
        name = check_job_name(options.values.get("name") or name or default_name(app.lower()))
        use_gpu = _wants_gpu(self._db, options, app)
        priority, target = int(_number(options, "priority", 0)), _target(options)
        job = _container(options, gathered, use_gpu)
        if gathered.image and gathered.dockerfile:
            raise InputError("a job has a Dockerfile or brings an image, not both")
        text = job_toml(job)
        limits = _limits(options, job)
        keep_until = time.time() + limits.delay_bound * limits.max_total_results + KEEP_AFTER
        keep_until -= keep_until % 3600  # jobs made together share the rows of their files
        physical = [self._stage_path(gathered.image, keep_until) if gathered.image
                    else self._stage_text(dockerfile(job), scratch, keep_until)]
        physical.append(self._stage_text(text, scratch, keep_until))
        physical += [self._stage_path(path, keep_until) for path in gathered.paths]
        extra = ""
        if job.cpus > 1:
            extra = (f"    <avg_ncpus>{job.cpus:.6f}</avg_ncpus>\n"
                     f"    <flops>{job.cpus * FLOPS_PER_CPU:.6f}</flops>\n")
        kind = JobKind(app=app, input_template=input_template(job), template_origin="docker job", limits=limits,
                       result_template_file=options.values.get("result_template") or f"templates/{app}_out",
                       priority=priority)
        return JobSpec(kind, name, files=tuple(physical), target=target, extra_xml=extra, where=where)

    def _stage_text(self, text: str, scratch: Path, keep_until: float) -> str:
        key = (text, keep_until)
        if key not in self._texts:
            path = scratch / "made_text"
            path.write_text(text, encoding="utf-8")
            self._texts[key] = stage_shared(self._db, self._project, path, keep_until)
        return self._texts[key]

    def _stage_path(self, path: Path, keep_until: float) -> str:
        key = (path, keep_until)
        if key not in self._paths:
            self._paths[key] = stage_shared(self._db, self._project, path, keep_until)
        return self._paths[key]


def app_of(options: DockerOptions) -> str:
    """The app a command line is for."""
    return options.values.get("appname", "docker")


def create_docker_job(db: Connection, project: Project, options: DockerOptions, stdin: IO[bytes]) -> WorkunitCreated:
    """Create the job: check everything, stage its files under the names of their contents, insert the workunit.

    ``stdin`` is read only with ``--stdin-files`` or ``--input-tar -``. InputError says what is wrong; then there is
    no job (files staged before are removed later, see ``job_files``).
    """
    maker = DockerJobs(db, project)
    maker.factory.app_id(app_of(options))
    with tempfile.TemporaryDirectory(prefix="docker_job.") as scratch:
        spec = maker.spec(options, _gather(options, Path(scratch), stdin), Path(scratch))
    return create_jobs(db, project, [spec], maker.factory)[0]


def _gather(options: DockerOptions, scratch: Path, stdin: IO[bytes]) -> Gathered:
    gathered = Gathered()
    for word in options.inputs:
        _local_input(word, gathered)
    dockerfile_name = options.values.get("dockerfile", "")
    tar = options.values.get("input_tar")
    if tar == "-" or "stdin_files" in options.switches:
        _tar_inputs(stdin, gathered, scratch, dockerfile_name)
    elif tar is not None:
        try:
            with Path(tar).open("rb") as source:
                _tar_inputs(source, gathered, scratch, dockerfile_name)
        except OSError as error:
            raise InputError(f"--input-tar {tar}: {error.strerror}") from None
    if dockerfile_name and not gathered.dockerfile:
        gathered.set_dockerfile(Path(dockerfile_name))
    if "image_file" in options.values:
        gathered.image = Path(options.values["image_file"])
        if not gathered.image.is_file():
            raise InputError(f"image file {str(gathered.image)!r} does not exist or is no file")
    return gathered
