"""The command line of create_work: options, ``--stdin`` lines, and running them (spec 04 sections 3.1, 3.2)."""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from boincdock.config import Project
from boincdock.db import Connection
from boincdock.db.connector import chunks
from boincdock.enums import TargetType
from boincdock.errors import InputError
from boincdock.jobs.create import JobFactory, create_jobs, default_name, read_template, write_jobs
from boincdock.jobs.model import JobLimits, JobSpec, RemoteFile, Target, WorkunitCreated
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


class _Words:
    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._at = 0

    def __iter__(self) -> Iterator[str]:
        while self._at < len(self._words):
            yield self.next("")

    def push(self, word: str) -> None:
        """Make ``word`` the next one."""
        self._words.insert(self._at, word)

    def next(self, option: str) -> str:
        """The next word; InputError names the option that lacks it."""
        if self._at >= len(self._words):
            raise InputError(f"--{option} needs a value", "create_work --help lists the options")
        self._at += 1
        return self._words[self._at - 1]


def parse_words(words: Sequence[str], allowed: Sequence[str] | None = None) -> WorkOptions:
    """Sort words into options and file names. A value is always the next word, whatever it looks like;
    ``-x`` and ``--x`` are the same; ``--x=value`` works too. ``allowed``: names usable here (None: all).

    InputError: an unknown option, a missing or unusable value, two targets.
    """
    options = WorkOptions()
    stream = _Words(words)
    for word in stream:
        if not word.startswith("-") or word == "-":
            options.files.append(word)
            continue
        name, mark, inline = word.lstrip("-").partition("=")
        name = {"d": "debug", "v": "verbose", "h": "help"}.get(name, name.replace("-", "_"))
        if allowed is not None and name not in allowed:
            raise InputError(f"unknown option {word!r} in this line")
        if name in _SWITCHES:
            if mark:
                raise InputError(f"--{name} takes no value")
            _take_switch(options, name)
            continue
        if mark:
            stream.push(inline)
        _take_value(options, name, word, stream.next)
    return options


def _take_switch(options: WorkOptions, name: str) -> None:
    if name == "broadcast":
        _set_target(options, Target(TargetType.ALL, 0, True))
    options.switches.add(name)


def _set_target(options: WorkOptions, target: Target) -> None:
    if options.target:
        raise InputError("a job can have only one --target_… or --broadcast… option")
    options.target = target


def _take_value(options: WorkOptions, name: str, word: str, value: Callable[[str], str]) -> None:
    if name in _TEXT:
        options.text[name] = value(name)
    elif name in _DOUBLE_LIMITS or name == "credit":
        options.numbers[name] = _number(name, value(name))
    elif name in _INT_LIMITS or name in _INT:
        options.numbers[name] = _integer(name, value(name))
    elif name in _TARGETS:
        kind, broadcast = _TARGETS[name]
        _set_target(options, Target(kind, _integer(name, value(name)), broadcast))
    elif name == "remote_file":
        url = value(name)
        nbytes = _integer(name, value(name))
        options.files.append(RemoteFile(url, nbytes, value(name)))
    elif name in ("debug", "debug_level"):
        if _integer(name, value(name)) >= 4:
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
        self._limits: dict[tuple[tuple[str, int | float], ...], JobLimits] = {}
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
        both = self._options.text | line.text
        lines = [o.text["command_line"] for o in (self._options, line) if o.text.get("command_line")]
        numbers = self._options.numbers | line.numbers
        template_path = both.get("wu_template") or f"templates/{self.app}_in"
        if self._options.target and line.target:
            raise InputError(f"{where}: a target is given on the command line already")
        given = tuple(numbers.items())
        limits = self._limits.get(given)
        if limits is None:
            limits = self._limits[given] = JobLimits(
                **{n: numbers[n] for n in (*_DOUBLE_LIMITS, *_INT_LIMITS) if n in numbers})  # type: ignore[arg-type]
        return JobSpec(
            app=self.app, name=name, input_template=self._template(template_path), template_origin=template_path,
            result_template_file=both.get("result_template") or f"templates/{self.app}_out",
            files=(*self._options.files, *line.files), command_line=" ".join(lines), limits=limits,
            target=line.target or self._options.target, sub_appname=both.get("sub_appname", ""),
            keywords=both.get("keywords", ""), where=where, credit=float(numbers.get("credit", 0)),
            **{n: int(numbers.get(n, 0)) for n in _INT})  # type: ignore[arg-type]

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
        self._factory.app_id(self.app)  # the last use of the database here; then it is the writer's
        with ThreadPoolExecutor(1) as writer:
            waiting: Future[list[list[WorkunitCreated]]] | None = None
            for part in chunks(numbered, CHUNK):
                try:
                    specs, rows = self._prepare(part, skip_bad)
                except InputError:
                    if waiting:
                        yield from waiting.result()
                    raise
                if waiting:
                    yield from waiting.result()
                waiting = writer.submit(self._write, specs, rows, skip_bad)
            if waiting:
                yield from waiting.result()

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

    def _write(self, specs: list[JobSpec], rows: list[JobRow], skip_bad: Callable[[InputError], None] | None,
               ) -> list[list[WorkunitCreated]]:
        """One list for each transaction."""
        if not specs:
            return []
        try:
            return [write_jobs(self._db, specs, rows)]
        except InputError as error:
            if skip_bad is None:
                raise
            if len(specs) == 1:
                skip_bad(error)
                return []
        half = len(specs) // 2
        return self._write(specs[:half], rows[:half], skip_bad) + self._write(specs[half:], rows[half:], skip_bad)
