"""Creating jobs in bulk (spec 04 sections 2.2 and 3, 05 C6).

Everything is checked before the first row is written, and all jobs of a call are written in one
transaction: either all of them exist afterwards or none.
"""
from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from boincdock.config import Project
from boincdock.db import Connection, DuplicateKeyError
from boincdock.enums import NEVER, TargetType, TransitionerFlags
from boincdock.errors import InputError
from boincdock.jobs.inputs import StagedFiles
from boincdock.jobs.model import MAX_INT, MAX_TEMPLATE_PATH, JobSpec, RemoteFile, WorkunitCreated
from boincdock.jobs.repository import JobRepository, Row
from boincdock.jobs.results import output_template
from boincdock.protocol.markup import escape
from boincdock.protocol.templates import (
    InputTemplate,
    ResolvedFile,
    TemplateFile,
    check_command_line,
    check_name,
    expand_input,
    parse_input_template,
)

MAX_WU_NAME = 150
_MAX_TEMPLATE_BYTES = 1 << 20


@lru_cache(maxsize=64)
def _input_template(text: str, origin: str) -> InputTemplate:
    return parse_input_template(text, origin)


def read_template(path: Path, what: str) -> str:
    """The text of a template file; InputError if there is none, or it is too large or no UTF-8."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no {what} {path}", "templates live in the project's templates/ folder") from None
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_TEMPLATE_BYTES:
        raise InputError(f"{what} {path} is larger than {_MAX_TEMPLATE_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{what} {path} is not UTF-8 text") from None


def result_template_path(project: Project, given: str) -> str:
    """``given`` as a path relative to the project directory, as workunit.result_template_file stores it.

    InputError: outside the project, or longer than 63 bytes.
    """
    path = given
    if PurePosixPath(given).is_absolute():
        try:
            path = str(PurePosixPath(given).relative_to(str(project.dir)))
        except ValueError:
            raise InputError(f"result template {given} is not inside the project directory") from None
    if not path or ".." in PurePosixPath(path).parts:
        raise InputError(f"result template {given!r} is not inside the project directory")
    if len(path.encode()) > MAX_TEMPLATE_PATH:
        raise InputError(f"the path of the result template is longer than {MAX_TEMPLATE_PATH} bytes: {path}")
    return path


def default_name(app: str) -> str:
    """``APP_<process id>_<Unix time with 6 decimals>`` (spec 05 C6)."""
    return f"{app}_{os.getpid()}_{time.time():.6f}"


class JobFactory:
    """Turns job descriptions into rows; keeps apps, templates and files it has looked up."""

    def __init__(self, db: Connection, project: Project) -> None:
        self._repository = JobRepository(db)
        self._project = project
        self._files = StagedFiles(project)
        self._apps: dict[str, Row] = {}
        self._checked_outputs: set[str] = set()

    def rows(self, specs: Sequence[JobSpec], now: int) -> list[Row]:
        """One workunit row for each job, in order. InputError names the first job that cannot be made."""
        made: list[Row] = []
        seen: set[str] = set()
        for index, spec in enumerate(specs):
            where = spec.where or (f"job {index + 1}" if len(specs) > 1 else "")
            try:
                row = self._row(spec, index, now)
                if row["name"].lower() in seen:
                    raise InputError(f"workunit name {row['name']!r} is given twice (upper and lower case are one)")
            except InputError as error:
                raise InputError(f"{where}: {error.message}" if where else error.message, error.hint) from None
            seen.add(row["name"].lower())
            made.append(row)
        return made

    def app_id(self, name: str) -> int:
        """The id of an app that jobs can be made for; InputError otherwise."""
        if name not in self._apps:
            row = self._repository.app(name)
            if row is None:
                known = ", ".join(self._repository.app_names()) or "none yet: run xadd"
                raise InputError(f"there is no app {name!r}", f"apps of this project: {known}")
            if row["deprecated"]:
                raise InputError(f"app {name!r} is deprecated: its jobs would never be sent")
            self._apps[name] = row
        return int(self._apps[name]["id"])

    def _check_output(self, spec: JobSpec) -> str:
        path = result_template_path(self._project, spec.result_template_file)
        if path not in self._checked_outputs:
            text = read_template(self._project.dir / path, "result template")
            try:
                template = output_template(text)
            except InputError as error:
                raise InputError(f"{path}: {error.message}", error.hint) from None
            if "<UPLOAD_URL" in text and template.files and \
                    "file_upload_handler" not in self._project.config.upload_url:
                raise InputError("config.xml: upload_url must contain 'file_upload_handler', or clients never upload")
            self._checked_outputs.add(path)
        return path

    def _resolve(self, spec: JobSpec, template: InputTemplate) -> list[ResolvedFile]:
        arguments = list(spec.files)
        if len(arguments) != template.n_arguments:
            raise InputError(f"the input template needs {template.n_arguments} input files, {len(arguments)} given")
        resolved: list[ResolvedFile] = []
        for info in template.files:
            if info.physical_name:
                resolved.append(self._files.staged(info.physical_name, info.gzip))
                continue
            given = arguments.pop(0)
            if isinstance(given, RemoteFile):
                resolved.append(ResolvedFile(given.physical_name, (given.url,), given.md5, given.nbytes))
            elif info.is_remote:
                resolved.append(_in_template(info, given))
            else:
                resolved.append(self._files.staged(given, info.gzip))
        return resolved

    def _row(self, spec: JobSpec, index: int, now: int) -> Row:
        appid = self.app_id(spec.app)
        name = spec.name or default_name(spec.app) + (f"_{index}" if index else "")
        check_name(name, "workunit name", MAX_WU_NAME)
        template = _input_template(spec.input_template, spec.template_origin)
        limits = spec.limits.settled(template.columns)
        check_command_line(spec.command_line, "command_line")
        _check_numbers(spec)
        extra = spec.extra_xml
        if spec.sub_appname:
            extra = f"    <sub_appname>{escape(spec.sub_appname)}</sub_appname>\n" + extra
        xml_doc = expand_input(template, self._resolve(spec, template), spec.command_line, extra)
        flags = TransitionerFlags.NORMAL
        if spec.target:
            flags = TransitionerFlags.NONE if spec.target.broadcast else TransitionerFlags.NO_NEW_RESULTS
        row: Row = {name_: getattr(limits, name_) for name_ in limits.__slots__}
        row.update(
            create_time=now, appid=appid, name=name, xml_doc=xml_doc.encode(), canonical_credit=spec.credit,
            transition_time=NEVER if spec.target else now, hr_class=spec.hr_class, priority=spec.priority,
            result_template_file=self._check_output(spec), transitioner_flags=int(flags),
            keywords=spec.keywords, app_version_num=spec.app_version_num)
        return row


def _in_template(info: TemplateFile, name: str) -> ResolvedFile:
    check_name(name, "input file", 255)
    return ResolvedFile(name, tuple(url + name for url in info.urls), info.md5, info.nbytes,
                        info.gzipped_nbytes if info.gzip else None)


def _check_numbers(spec: JobSpec) -> None:
    if not -MAX_INT <= spec.priority <= MAX_INT:
        raise InputError("priority is out of range")
    if not 0 <= spec.hr_class <= MAX_INT or not 0 <= spec.app_version_num <= MAX_INT or spec.wu_id < 0:
        raise InputError("hr_class, app_version_num and wu_id must not be negative")
    if not 0 <= spec.credit < 1e15:
        raise InputError("credit must be a number >= 0")
    if len(spec.keywords.encode()) > 254 or not all(word.isdigit() for word in spec.keywords.split()):
        raise InputError("keywords must be numbers separated by blanks, at most 254 characters")


def create_jobs(db: Connection, project: Project, specs: Sequence[JobSpec],
                factory: JobFactory | None = None) -> list[WorkunitCreated]:
    """Create all jobs in one transaction; ids and names in the order of ``specs``.

    ``factory`` may be kept by callers that create in chunks. InputError: the first thing wrong with any
    job (unknown app, template, limits, missing or unstaged file, name in use, unknown target); then no
    job was created. A caller with very many jobs makes chunks of about 1000.
    """
    if not specs:
        return []
    now = int(time.time())
    rows = (factory or JobFactory(db, project)).rows(specs, now)
    repository = JobRepository(db)
    _check_targets(repository, specs)

    def write() -> dict[str, int]:
        fresh = [row for row, spec in zip(rows, specs, strict=True) if not spec.wu_id]
        repository.insert_workunits(fresh)
        for row, spec in zip(rows, specs, strict=True):
            if spec.wu_id and not repository.fill_workunit(spec.wu_id, row):
                raise InputError(f"there is no workunit with id {spec.wu_id}")
        ids = repository.ids([row["name"] for row in rows])
        assignments = [_assignment(spec, ids[row["name"]], now) for row, spec in zip(rows, specs, strict=True)
                       if spec.target]
        repository.insert_assignments(assignments)
        return ids

    try:
        ids = db.retrying(write)
    except DuplicateKeyError:
        taken = sorted(repository.ids([row["name"] for row in rows]))
        raise InputError(f"workunit name in use already: {', '.join(taken[:5]) or 'see the database'}",
                         "names are unique for ever, ignoring upper and lower case; no job was created") from None
    return [WorkunitCreated(ids[row["name"]], row["name"]) for row in rows]


def _check_targets(repository: JobRepository, specs: Iterable[JobSpec]) -> None:
    for target in {spec.target for spec in specs if spec.target and spec.target.kind != TargetType.ALL}:
        if not repository.target_exists(target.kind, target.id):
            raise InputError(f"there is no {target.kind.name.lower()} with id {target.id}")


def _assignment(spec: JobSpec, wu_id: int, now: int) -> dict[str, Any]:
    assert spec.target is not None
    return {"create_time": now, "target_id": spec.target.id, "target_type": int(spec.target.kind),
            "multi": int(spec.target.broadcast), "workunitid": wu_id}
