"""A Docker job in the words of ``docker run``, and the files that describe it to docker_wrapper. Pure.

The job's Dockerfile is only ``FROM IMAGE``, so that all jobs with one image share one built image on a host;
command, environment and files are in job.toml (spec 07 section 7.1; keys ``command``, ``entrypoint``,
``results_archive``: wrapper/README.md).
"""
from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from boincdock.errors import InputError
from boincdock.protocol.markup import escape

SHARED = "/root/shared"
RESULTS = f"{SHARED}/results"
ARCHIVE = "results.tgz"
IMAGE_FILE = "image.tar"
"""The image that a job brings, in the slot."""
MAX_DOCKERFILE = 1 << 20
MAX_JOB_TOML = 1 << 20
"""What docker_wrapper reads."""

_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?")
_JOB_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([bkmg]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_SLOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SLOT_TAKEN = {"dockerfile", "job.toml", "image.tar", "results.tgz", "init_data.xml", "stderr.txt", "stdout.txt",
               "boinc_mmap_file", "boinc_lockfile", "boinc_finish_called", "boinc_temporary_exit",
               "boinc_setup_complete",
               "boinc_task_state.xml", "fraction_done", "docker_wrapper_state.json", "trickle_up.xml", "shared"}


def check_image(image: str) -> str:
    """The image reference; InputError unless an engine accepts it (``name[:tag][@sha256:…]``)."""
    if len(image) > 512 or not _IMAGE.fullmatch(image):
        raise InputError(f"{image[:80]!r} is no image name", "for example debian:trixie-slim or ghcr.io/org/name:tag")
    return image


def check_job_name(name: str) -> str:
    """The name; InputError unless it can be part of an image name (spec 07 section 4): lower case letters and
    digits separated by single ``.`` or ``_`` or by dashes, at most 150 bytes."""
    if len(name) > 150 or not _JOB_NAME.fullmatch(name):
        raise InputError(f"job name {name[:60]!r}: lower case letters and digits, separated by single . _ or - (at most"
                         " 150 characters)", "the volunteer's image is named after the job")
    return name


def parse_size(text: str, option: str) -> int:
    """Bytes of a size as Docker takes it (``512m``, ``2g``, ``1000000``). InputError if it is none."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match.group(1)) * _UNITS[match.group(2).lower()]) if match else 0
    if size < 6 << 20 or size > 1 << 50:
        raise InputError(f"--{option}: {text!r} is no size of at least 6m", "for example 512m or 2g")
    return size


def check_user(text: str) -> str:
    """A ``--user`` value, NAME or UID with an optional group."""
    if not _USER.fullmatch(text):
        raise InputError(f"--user: {text!r} is no user")
    return text


def parse_env(items: Sequence[str]) -> dict[str, str]:
    """{NAME: value} of ``-e NAME=value`` options, the last of a name winning."""
    found: dict[str, str] = {}
    for item in items:
        name, mark, value = item.partition("=")
        if not mark or not _VARIABLE.fullmatch(name):
            raise InputError(f"--env {item[:60]!r}: write NAME=VALUE", "the name: letters, digits and _; a value is"
                             " always needed, because the job does not run on this machine")
        found[name] = value
    return found


def check_container_path(path: str, what: str) -> str:
    """An absolute path in the container without ``..``; InputError otherwise."""
    if not path.startswith("/") or ".." in path.split("/") or not path.isprintable() or len(path) > 1000 \
            or path.rstrip("/") == "":
        raise InputError(f"{what} {path[:80]!r}: must be an absolute path without '..'")
    return path


def input_destination(name: str) -> str:
    """Where an input called ``name`` lies in the container: below /root/shared, unless the name is absolute."""
    if name.startswith("/"):
        return check_container_path(name, "input")
    if not name or name.endswith("/") or any(part in ("", ".", "..") for part in name.split("/")) \
            or not name.isprintable() or len(name) > 500:
        raise InputError(f"input name {name[:60]!r}: must be a relative path without '..'")
    if name.split("/")[0] == "results":
        raise InputError(f"input name {name!r}: {RESULTS} is the folder of the results")
    return f"{SHARED}/{name}"


def output_patterns(words: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The folder whose files come back, and the patterns they must match (none: all), of ``--output`` options.

    ``*.csv`` and ``plots/*.png`` are relative to /root/shared/results; ``/data/out/*.csv`` means the folder
    ``/data/out``, ``/data/out/`` all of it. ``*`` and ``?`` do not match ``/``; a pattern without ``/`` looks at file
    names in all sub-folders. InputError: no usable pattern, or two folders.
    """
    folders: set[str] = set()
    patterns: list[str] = []
    for word in words:
        if not word or not word.isprintable() or len(word) > 500 or "\\" in word:
            raise InputError(f"--output {word[:60]!r} is no usable pattern")
        parts = word.split("/")
        folder, pattern = RESULTS, word
        if word.startswith("/"):
            fixed = next((n for n, part in enumerate(parts) if set("*?[") & set(part)), len(parts) - 1)
            folder, pattern = "/".join(parts[:fixed]), "/".join(parts[fixed:])
        if any(part in (".", "..") for part in parts) or "//" in word or (not pattern and folder == RESULTS):
            raise InputError(f"--output {word[:60]!r}: must be a pattern without '.', '..' and '//' folders")
        folders.add(check_container_path(folder, "--output"))
        if pattern:
            patterns.append(pattern)
    if len(folders) > 1:
        raise InputError(f"--output: all files must lie in one folder, not in {' and '.join(sorted(folders))}",
                         "let the job collect them, for instance in /root/shared/results")
    return (folders.pop() if folders else RESULTS), tuple(patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInput:
    """An input file: where the container finds it, and whether it may be executed there."""

    destination: str
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerJob:
    """What the container of a job is like. ``image_file``: the job brings its image (IMAGE_FILE, what `docker save`
    wrote) instead of naming one or having a Dockerfile. ``command`` None: the image's own. ``entrypoint`` None: the
    image's; '': none. ``memory``: bytes, 0 = no limit. ``cpus``: 0 = as many as the client gives."""

    image: str = ""
    dockerfile: str = ""
    image_file: bool = False
    command: tuple[str, ...] | None = None
    entrypoint: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    inputs: tuple[ContainerInput, ...] = ()
    results: str = RESULTS
    outputs: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    shm_size: int = 0
    memory: int = 0
    cpus: float = 0.0
    network: bool = True
    use_gpu: bool = False


def slot_names(inputs: Sequence[ContainerInput]) -> list[str]:
    """Names of the inputs in the slot: the base name where that is safe and free (so that a Dockerfile can COPY
    it), else ``in_N``."""
    taken = set(_SLOT_TAKEN)
    names: list[str] = []
    for number, item in enumerate(inputs):
        name = item.destination.rpartition("/")[2]
        lower = name.lower()
        if not _SLOT_NAME.fullmatch(name) or ".." in name or lower in taken or lower.startswith(("boinc_", "in_")):
            name = f"in_{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def dockerfile(job: DockerJob) -> str:
    """The text of the job's Dockerfile. InputError: no image, or a Dockerfile that is unusable."""
    if job.dockerfile:
        if len(job.dockerfile.encode()) > MAX_DOCKERFILE or "\0" in job.dockerfile:
            raise InputError(f"the Dockerfile is larger than {MAX_DOCKERFILE} bytes or no text")
        if not re.search(r"(?im)^\s*FROM\s+\S", job.dockerfile):
            raise InputError("the Dockerfile has no FROM line")
        return job.dockerfile if job.dockerfile.endswith("\n") else job.dockerfile + "\n"
    return f"FROM {check_image(job.image)}\n"


def _toml(text: str, what: str) -> str:
    if "\0" in text:
        raise InputError(f"{what}: holds a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{what}: is not UTF-8 text") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _array(words: Sequence[str], what: str) -> str:
    return "[" + ", ".join(_toml(word, what) for word in words) + "]"


def job_toml(job: DockerJob) -> str:
    """The text of the job's job.toml. InputError for what cannot be written."""
    create = [f"--workdir={check_container_path(job.workdir, 'workdir')}"] if job.workdir else []
    create += [f"--user={check_user(job.user)}"] if job.user else []
    create += [f"--shm-size={job.shm_size}"] if job.shm_size else []
    create += [f"--cpus={job.cpus:g}"] if job.cpus else []
    lines: list[str] = [f'image_file = "{IMAGE_FILE}"'] if job.image_file else []
    if job.entrypoint is not None:
        lines.append(f"entrypoint = {_array([job.entrypoint] if job.entrypoint else [], 'entrypoint')}")
    if job.command is not None:
        lines.append(f"command = {_array(job.command, 'command')}")
    if create:
        lines.append(f"create_args = {_array(create, 'option')}")
    if job.memory:
        lines.append(f"memory_limit = {job.memory}")
    if not job.network:
        lines.append("network = false")
    if job.use_gpu:
        lines.append("use_gpu = true")
    if job.inputs:
        lines.append("copy_to_container = [")
        lines += [f"  {{ src = {_toml(name, 'input')}, dst = {_toml(item.destination, 'input')} }},"
                  for name, item in zip(slot_names(job.inputs), job.inputs, strict=True)]
        lines.append("]")
    if job.env:
        lines += ["", "[env]", *(f"{name} = {_toml(value, f'variable {name}')}" for name, value in job.env)]
    lines += ["", "[results_archive]", f"src = {_toml(job.results, 'output')}", f'dst = "{ARCHIVE}"',
              'stdout = "stdout.txt"', 'stderr = "stderr.txt"']
    if job.outputs:
        lines.append(f"include = {_array(job.outputs, 'output')}")
    lines.append("")
    text = "\n".join(lines)
    if len(text.encode()) > MAX_JOB_TOML:
        raise InputError(f"command and environment are larger than {MAX_JOB_TOML} bytes", "give them as an input file")
    return text


def input_template(job: DockerJob) -> str:
    """The input template of the job: Dockerfile (or the image, which hosts keep for the next job), job.toml, then the
    inputs. Files are shared by all jobs with the same contents, so the file deleter must leave them
    (``jobs.job_files`` removes them when nobody needs them)."""
    first = ("<sticky/>\n", IMAGE_FILE, "") if job.image_file else ("", "Dockerfile", "<copy_file/>\n")
    files = [first, ("", "job.toml", "<copy_file/>\n")]
    files += [("<executable/>\n" if item.executable else "", name, "")
              for name, item in zip(slot_names(job.inputs), job.inputs, strict=True)]
    infos = [f"<file_info>\n<no_delete/>\n{flags}</file_info>\n" for flags, _, _ in files]
    refs = [f"<file_ref>\n<open_name>{escape(name)}</open_name>\n{copy}</file_ref>\n" for _, name, copy in files]
    return "".join(["<input_template>\n", *infos, "<workunit>\n", *refs, "</workunit>\n</input_template>\n"])
