"""Creating jobs in bulk (spec 04 sections 2.2 and 3, 05 C6).

Everything is checked before the first row is written, and all jobs of a call are written in one
transaction: either all of them exist afterwards or none.
"""
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from boincdock.config import Project
from boincdock.db import Connection, DuplicateKeyError
from boincdock.enums import NEVER, TargetType, TransitionerFlags
from boincdock.errors import InputError
from boincdock.jobs.inputs import StagedFiles
from boincdock.jobs.model import MAX_INT, MAX_TEMPLATE_PATH, JobKind, JobSpec, RemoteFile, WorkunitCreated
from boincdock.jobs.repository import JobRepository, JobRow, Row
from boincdock.jobs.results import output_template
from boincdock.protocol.markup import escape
from boincdock.protocol.templates import (
    InputDocument,
    InputTemplate,
    ResolvedFile,
    TemplateFile,
    check_command_line,
    check_name,
    input_document,
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


@dataclass(slots=True)
class _Prepared:
    """A kind of jobs, ready to make rows of; ``columns`` for jobs made ``now``. ``broadcast``: None = no target."""

    kind: JobKind
    broadcast: bool | None
    template: InputTemplate
    columns: Row
    files: tuple[str | RemoteFile, ...] | None = None
    extra_xml: str = ""
    document: InputDocument | None = None


class JobFactory:
    """Turns job descriptions into rows; keeps apps, templates and files it has looked up."""

    def __init__(self, db: Connection, project: Project) -> None:
        self._repository = JobRepository(db)
        self._project = project
        self._files = StagedFiles(project)
        self._apps: dict[str, Row] = {}
        self._checked_outputs: set[str] = set()
        self._kinds: dict[tuple[JobKind, bool | None], _Prepared] = {}
        self._latest: _Prepared | None = None

    def rows(self, specs: Sequence[JobSpec], now: int) -> list[JobRow]:
        """One workunit row for each job, in order. InputError names the first job that cannot be made."""
        made: list[JobRow] = []
        seen: set[str] = set()
        self._kinds.clear()
        self._latest = None  # files and templates may have changed since the last call
        for index, spec in enumerate(specs):
            try:
                row = self._row(spec, index, now)
                spelt = row.name.lower()
                if spelt in seen:
                    raise InputError(f"workunit name {row.name!r} is given twice (upper and lower case are one)")
            except InputError as error:
                where = spec.where or (f"job {index + 1}" if len(specs) > 1 else "")
                raise InputError(f"{where}: {error.message}" if where else error.message, error.hint) from None
            seen.add(spelt)
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

    def _check_output(self, kind: JobKind) -> str:
        path = result_template_path(self._project, kind.result_template_file)
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

    def _row(self, spec: JobSpec, index: int, now: int) -> JobRow:
        name = spec.name or default_name(spec.kind.app) + (f"_{index}" if index else "")
        check_name(name, "workunit name", MAX_WU_NAME)
        if spec.wu_id < 0:
            raise InputError("wu_id must not be negative")
        target = spec.target
        prepared = self._prepared(spec.kind, target.broadcast if target else None, now)
        check_command_line(spec.command_line, "command_line")
        document = prepared.document
        if document is None or spec.files != prepared.files or spec.extra_xml != prepared.extra_xml:
            extra = spec.extra_xml
            if spec.kind.sub_appname:
                extra = f"    <sub_appname>{escape(spec.kind.sub_appname)}</sub_appname>\n" + extra
            document = input_document(prepared.template, self._resolve(spec, prepared.template), extra)
            prepared.document, prepared.files, prepared.extra_xml = document, spec.files, spec.extra_xml
        return JobRow(prepared.columns, name, document.text(spec.command_line).encode())

    def _prepared(self, kind: JobKind, broadcast: bool | None, now: int) -> _Prepared:
        latest = self._latest  # most often the same object again, which costs less to see than equality
        if latest is None or latest.kind is not kind or latest.broadcast is not broadcast:
            key = kind, broadcast
            latest = self._kinds.get(key)
            if latest is None:
                latest = self._kinds[key] = self._prepare(kind, broadcast, now)
            self._latest = latest
        return latest

    def _prepare(self, kind: JobKind, broadcast: bool | None, now: int) -> _Prepared:
        appid = self.app_id(kind.app)
        template = _input_template(kind.input_template, kind.template_origin)
        limits = kind.limits.settled(template.columns)
        _check_numbers(kind)
        flags = TransitionerFlags.NORMAL
        if broadcast is not None:
            flags = TransitionerFlags.NONE if broadcast else TransitionerFlags.NO_NEW_RESULTS
        columns: Row = {name: getattr(limits, name) for name in limits.__slots__}
        columns.update(
            create_time=now, appid=appid, canonical_credit=kind.credit,
            transition_time=now if broadcast is None else NEVER, hr_class=kind.hr_class, priority=kind.priority,
            result_template_file=self._check_output(kind), transitioner_flags=int(flags), keywords=kind.keywords,
            app_version_num=kind.app_version_num)
        return _Prepared(kind, broadcast, template, columns)


def _in_template(info: TemplateFile, name: str) -> ResolvedFile:
    check_name(name, "input file", 255)
    return ResolvedFile(name, tuple(url + name for url in info.urls), info.md5, info.nbytes,
                        info.gzipped_nbytes if info.gzip else None)


def _check_numbers(kind: JobKind) -> None:
    if not -MAX_INT <= kind.priority <= MAX_INT:
        raise InputError("priority is out of range")
    if not 0 <= kind.hr_class <= MAX_INT or not 0 <= kind.app_version_num <= MAX_INT:
        raise InputError("hr_class and app_version_num must not be negative")
    if not 0 <= kind.credit < 1e15:
        raise InputError("credit must be a number >= 0")
    if len(kind.keywords.encode()) > 254 or not all(word.isdigit() for word in kind.keywords.split()):
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
    rows = (factory or JobFactory(db, project)).rows(specs, int(time.time()))
    return write_jobs(db, specs, rows)


def write_jobs(db: Connection, specs: Sequence[JobSpec], rows: Sequence[JobRow],
               before_commit: Callable[[], None] = lambda: None) -> list[WorkunitCreated]:
    """Write what ``JobFactory.rows`` made of ``specs``; all or none, as ``create_jobs``. ``before_commit`` may wait
    for something, and raise: then nothing is written."""
    repository = JobRepository(db)
    _check_targets(repository, specs)
    now = int(rows[0].columns["create_time"])

    def write() -> dict[str, int]:
        ids = repository.insert_workunits([row for row, spec in zip(rows, specs, strict=True) if not spec.wu_id])
        for row, spec in zip(rows, specs, strict=True):
            if spec.wu_id:
                if not repository.fill_workunit(spec.wu_id, row):
                    raise InputError(f"there is no workunit with id {spec.wu_id}")
                ids[row.name] = spec.wu_id
        repository.insert_assignments([_assignment(spec, ids[row.name], now)
                                       for row, spec in zip(rows, specs, strict=True) if spec.target])
        before_commit()
        return ids

    try:
        ids = db.retrying(write)
    except DuplicateKeyError:
        taken = sorted(repository.ids([row.name for row in rows]))
        raise InputError(f"workunit name in use already: {', '.join(taken[:5]) or 'see the database'}",
                         "names are unique for ever, ignoring upper and lower case; no job was created") from None
    return [WorkunitCreated(ids[row.name], row.name) for row in rows]


def _check_targets(repository: JobRepository, specs: Iterable[JobSpec]) -> None:
    for target in {spec.target for spec in specs if spec.target and spec.target.kind != TargetType.ALL}:
        if not repository.target_exists(target.kind, target.id):
            raise InputError(f"there is no {target.kind.name.lower()} with id {target.id}")


def _assignment(spec: JobSpec, wu_id: int, now: int) -> dict[str, Any]:
    assert spec.target is not None
    return {"create_time": now, "target_id": spec.target.id, "target_type": int(spec.target.kind),
            "multi": int(spec.target.broadcast), "workunitid": wu_id}
