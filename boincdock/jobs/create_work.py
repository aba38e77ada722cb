"""The command line of create_work: options, ``--stdin`` lines, and running them (spec 04 sections 3.1, 3.2)."""
from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from boincdock.config import Project
from boincdock.db import Connection, connect
from boincdock.db.connector import chunks
from boincdock.enums import TargetType
from boincdock.errors import InputError
from boincdock.jobs.create import JobFactory, create_jobs, default_name, read_template, write_jobs
from boincdock.jobs.model import JobKind, JobLimits, JobSpec, RemoteFile, Target, WorkunitCreated
from boincdock.jobs.repository import JobRow
from boincdock.protocol.words import split_input

CHUNK = 1000
_DOUBLE_LIMITS = ("rsc_fpops_est", "rsc_fpops_bound", "rsc_memory_bound", "rsc_disk_bound", "rsc_bandwidth_bound")
_INT_LIMITS = ("delay_bound", "min_quorum", "target_nresults", "max_error_results", "max_total_results",
               "max_success_results", "batch", "size_class")
_TEXT = ("appname", "wu_name", "wu_template", "result_template", "command_line", "sub_appname", "keywords",
         "config_dir")
_INT = ("priority", "hr_class", "app_version_num", "wu_id")
_TARGETS = {"target_host": (TargetType.HOST, False), "target_user": (TargetType.USER, False),
            "target_team": (TargetType.TEAM, False), "broadcast_user": (TargetType.USER, True),
            "broadcast_team": (TargetType.TEAM, True)}
_SWITCHES = ("broadcast", "stdin", "continue_on_error", "verbose", "help", "json")
_SHORT = {"d": "debug", "v": "verbose", "h": "help"}
_LINE_OPTIONS = ("command_line", "wu_name", "wu_template", "result_template", "remote_file", "target_host",
                 "target_user", "priority")


@dataclass(slots=True)
class WorkOptions:
    """The words of a create_work command line, or of a ``--stdin`` line, sorted."""

    text: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int | float] = field(default_factory=dict)
    switches: set[str] = field(default_factory=set)
    files: list[str | RemoteFile] = field(default_factory=list)
    target: Target | None = None


def _number(name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in word:
        raise InputError(f"--{name}: {word!r} is not a number")
    return value


def _integer(name: str, word: str) -> int:
    try:
        if "_" in word:
            raise ValueError
        return int(word)
    except ValueError:
        raise InputError(f"--{name}: {word!r} is not a whole number") from None


def _value(words: Iterator[str], option: str) -> str:
    """The next word; InputError names the option that lacks it."""
    for word in words:
        return word
    raise InputError(f"--{option} needs a value", "create_work --help lists the options")


def parse_words(words: Sequence[str], allowed: Sequence[str] | None = None) -> WorkOptions:
    """Sort words into options and file names. A value is always the next word, whatever it looks like;
    ``-x`` and ``--x`` are the same; ``--x=value`` works too. ``allowed``: names usable here (None: all).

    InputError: an unknown option, a missing or unusable value, two targets.
    """
    options = WorkOptions()
    stream = iter(words)
    for word in stream:
        if not word.startswith("-") or word == "-":
            options.files.append(word)
            continue
        name, mark, inline = word.lstrip("-").partition("=")
        name = _SHORT.get(name) or name.replace("-", "_")
        if allowed is not None and name not in allowed:
            raise InputError(f"unknown option {word!r} in this line")
        if name in _SWITCHES:
            if mark:
                raise InputError(f"--{name} takes no value")
            _take_switch(options, name)
            continue
        _take_value(options, name, word, chain((inline,), stream) if mark else stream)
    return options


def _take_switch(options: WorkOptions, name: str) -> None:
    if name == "broadcast":
        _set_target(options, Target(TargetType.ALL, 0, True))
    options.switches.add(name)


def _set_target(options: WorkOptions, target: Target) -> None:
    if options.target:
        raise InputError("a job can have only one --target_… or --broadcast… option")
    options.target = target


def _take_value(options: WorkOptions, name: str, word: str, words: Iterator[str]) -> None:
    if name in _TEXT:
        options.text[name] = _value(words, name)
    elif name in _DOUBLE_LIMITS or name == "credit":
        options.numbers[name] = _number(name, _value(words, name))
    elif name in _INT_LIMITS or name in _INT:
        options.numbers[name] = _integer(name, _value(words, name))
    elif name in _TARGETS:
        kind, broadcast = _TARGETS[name]
        _set_target(options, Target(kind, _integer(name, _value(words, name)), broadcast))
    elif name == "remote_file":
        url = _value(words, name)
        nbytes = _integer(name, _value(words, name))
        options.files.append(RemoteFile(url, nbytes, _value(words, name)))
    elif name in ("debug", "debug_level"):
        if _integer(name, _value(words, name)) >= 4:
            options.switches.add("verbose")
    else:
        raise InputError(f"unknown option {word!r}", "create_work --help lists the options")


class WorkCreator:
    """Creates the jobs of one create_work run."""

    def __init__(self, db: Connection, project: Project, options: WorkOptions) -> None:
        self._db = db
        self._project = project
        self._options = options
        self._factory = JobFactory(db, project)
        self._templates: dict[str, str] = {}
        self._kinds: dict[tuple[object, ...], JobKind] = {}
        self.app = options.text.get("appname", "")
        if not self.app:
            raise InputError("--appname is missing", "create_work --help lists the options")
        self.base_name = options.text.get("wu_name") or default_name(self.app)

    def _path(self, name: str) -> Path:
        return self._project.dir / name

    def _template(self, path: str) -> str:
        if path not in self._templates:
            self._templates[path] = read_template(self._path(path), "input template")
        return self._templates[path]

    def spec(self, line: WorkOptions, name: str, where: str) -> JobSpec:
        """The job of one line (an empty one for a run without ``--stdin``)."""
        ours, text = self._options, line.text
        if ours.target and line.target:
            raise InputError(f"{where}: a target is given on the command line already")
        key = text.get("wu_template"), text.get("result_template"), *line.numbers.items()
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = self._kind(ours.text | text, ours.numbers | line.numbers)
        words, more = ours.text.get("command_line", ""), text.get("command_line", "")
        return JobSpec(kind, name, f"{words} {more}" if words and more else words or more,
                       files=(*ours.files, *line.files), target=line.target or ours.target,
                       wu_id=int(line.numbers.get("wu_id", 0) or ours.numbers.get("wu_id", 0)), where=where)

    def _kind(self, text: dict[str, str], numbers: dict[str, int | float]) -> JobKind:
        path = text.get("wu_template") or f"templates/{self.app}_in"
        limits: dict[str, Any] = {n: numbers[n] for n in (*_DOUBLE_LIMITS, *_INT_LIMITS) if n in numbers}
        others: dict[str, Any] = {n: int(numbers.get(n, 0)) for n in _INT if n != "wu_id"}
        return JobKind(
            app=self.app, input_template=self._template(path), template_origin=path,
            result_template_file=text.get("result_template") or f"templates/{self.app}_out",
            limits=JobLimits(**limits), sub_appname=text.get("sub_appname", ""),
            keywords=text.get("keywords", ""), credit=float(numbers.get("credit", 0)), **others)

    def single(self) -> WorkunitCreated:
        """Create the one job of a run without ``--stdin``."""
        return create_jobs(self._db, self._project, [self.spec(WorkOptions(), self.base_name, "")], self._factory)[0]

    def batch(self, lines: Iterable[str], skip_bad: Callable[[InputError], None] | None = None,
              ) -> Iterator[list[WorkunitCreated]]:
        """Create one job for each line, 1000 in a transaction; yields what each transaction made.

        ``skip_bad``: called with the error of a bad line, which is then left out; None: the first bad line
        ends the run, with nothing of its chunk created. The k-th line (from 0) is named BASE_k by default.
        """
        numbered = ((number, line) for number, line in enumerate(lines) if line.strip())
        self._factory.app_id(self.app)  # the last use of the database here; then it is the writers'
        with _Writers(self._db, self._project, 1 if skip_bad else 2, skip_bad) as writers:
            for part in chunks(numbered, CHUNK):
                try:
                    specs, rows = self._prepare(part, skip_bad)
                except InputError:
                    yield from writers.rest()
                    raise
                yield from writers.submit(specs, rows)
            yield from writers.rest()

    def _prepare(self, part: Sequence[tuple[int, str]], skip_bad: Callable[[InputError], None] | None,
                 ) -> tuple[list[JobSpec], list[JobRow]]:
        """Read lines and make rows of them, while the rows before are being written."""
        specs: list[JobSpec] = []
        for number, line in part:
            try:
                specs.append(self._line_spec(number, line))
            except InputError as error:
                if skip_bad is None:
                    raise
                skip_bad(error)
        return self._rows(specs, skip_bad)

    def _rows(self, specs: list[JobSpec], skip_bad: Callable[[InputError], None] | None,
              ) -> tuple[list[JobSpec], list[JobRow]]:
        try:
            return specs, self._factory.rows(specs, int(time.time()))
        except InputError as error:
            if skip_bad is None:
                raise
            if len(specs) == 1:
                skip_bad(error)
                return [], []
        half = len(specs) // 2
        first, second = self._rows(specs[:half], skip_bad), self._rows(specs[half:], skip_bad)
        return first[0] + second[0], first[1] + second[1]

    def _line_spec(self, number: int, line: str) -> JobSpec:
        where = f"line {number + 1}"
        try:
            options = parse_words(split_input(line), _LINE_OPTIONS)
            return self.spec(options, options.text.get("wu_name") or f"{self.base_name}_{number}", where)
        except InputError as error:
            prefix = "" if error.message.startswith(where) else f"{where}: "
            raise InputError(prefix + error.message, error.hint) from None


class _EarlierFailed(Exception):
    """The chunk before this one was not written."""


_Created = list[list[WorkunitCreated]]


class _Writers:
    """Writes chunks while the next ones are prepared, each in a transaction, committed in their order: if one fails,
    those after it do not exist. The server spends as long on a row as we do, so with two connections it uses two
    processors. ``skip_bad``: as for :meth:`WorkCreator.batch`; needs ``count`` 1."""

    def __init__(self, db: Connection, project: Project, count: int,
                 skip_bad: Callable[[InputError], None] | None) -> None:
        self._free = [db, *(connect(project.config) for _ in range(count - 1))]
        self._own = self._free[1:]
        self._skip_bad = skip_bad
        self._pool = ThreadPoolExecutor(count)
        self._pending: deque[tuple[Connection, Future[_Created]]] = deque()
        self._names: set[str] = set()

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for connection in self._own:
            connection.close()

    def submit(self, specs: list[JobSpec], rows: list[JobRow]) -> Iterator[list[WorkunitCreated]]:
        """Have a chunk written; yields what was written meanwhile. Its errors come with a later call."""
        if not specs:
            return
        names = {row.name.lower() for row in rows}
        if names & self._names:  # it would wait for the other transaction's lock, and that one for us
            yield from self.rest()
        self._names = names
        while not self._free:
            yield from self._next()
        connection = self._free.pop()
        before = self._pending[-1][1] if self._pending else None
        self._pending.append((connection, self._pool.submit(self._write, connection, specs, rows, before)))

    def rest(self) -> Iterator[list[WorkunitCreated]]:
        """Wait for all that is being written."""
        while self._pending:
            yield from self._next()

    def _next(self) -> _Created:
        connection, future = self._pending.popleft()
        done = future.result()
        self._free.append(connection)
        return done

    def _write(self, db: Connection, specs: list[JobSpec], rows: list[JobRow],
               before: Future[_Created] | None) -> _Created:
        """One list for each transaction."""
        def in_turn() -> None:
            if before and before.exception():
                raise _EarlierFailed

        try:
            return [write_jobs(db, specs, rows, in_turn)]
        except InputError as error:
            if self._skip_bad is None:
                raise
            if len(specs) == 1:
                self._skip_bad(error)
                return []
        half = len(specs) // 2
        return self._write(db, specs[:half], rows[:half], None) + self._write(db, specs[half:], rows[half:], None)
