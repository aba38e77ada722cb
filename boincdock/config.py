"""The project's configuration: config.xml in one tolerant parser (spec 05 B1-B4), config_aux.xml, paths.

One parser for scheduler, daemons, tools and web site. Booleans: an element that is empty, ``1``, ``true``,
``yes`` or any non-zero number is true; ``0``, ``false``, ``no`` is false. A value that cannot be read keeps the
default and leaves a line in ``Project.warnings``; only a file that is no XML at all, or two options that
exclude each other, are errors.
"""
from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.parsers import expat

from boincdock.config_options import ALIASES, LISTS, OPTIONS
from boincdock.errors import ConfigError

MAX_CONFIG_BYTES = 4 << 20


@dataclass
class Element:
    """A node of the configuration's XML with the line it stands on."""

    tag: str
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, tag: str) -> Element | None:
        """The first child of this name."""
        return next((c for c in self.children if c.tag == tag), None)

    def get(self, tag: str, default: str = "") -> str:
        """The trimmed text of the last child of this name (spec: last one wins)."""
        found = [c for c in self.children if c.tag == tag]
        return found[-1].text.strip() if found else default


def parse_xml(data: bytes, origin: str) -> Element:
    """Parse a well-formed XML file; ConfigError names file and line. Entity definitions are refused."""
    parser = expat.ParserCreate()
    root = Element("", 0)
    stack = [root]

    def start(tag: str, _attributes: dict[str, str]) -> None:
        node = Element(tag, parser.CurrentLineNumber)
        stack[-1].children.append(node)
        stack.append(node)

    def end(_tag: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    def entity(*_: Any) -> None:
        raise ConfigError(f"{origin}: line {parser.CurrentLineNumber}: entity definitions are not allowed")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ConfigError(f"{origin}: line {error.lineno}: {expat.ErrorString(error.code)}") from None
    return root.children[0]


_HEX = re.compile(r"[+-]?0[xX][0-9a-fA-F]+")
_OCTAL = re.compile(r"[+-]?0[0-7]+")


def parse_int(text: str) -> int | None:
    """Decimal, 0x hexadecimal or leading-0 octal; empty is 0; None if it is no number (spec 05 I2)."""
    if not text:
        return 0
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _OCTAL.fullmatch(text):
        return int(text, 8)
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else None


def parse_float(text: str) -> float | None:
    """A finite decimal number; empty is 0; None if it is none."""
    if not text:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") and "_" not in text else None


def parse_bool(text: str) -> bool | None:
    """Spec 05 I2, last column: empty is true; None if the text is neither a number nor a known word."""
    word = text.lower()
    if word in ("", "true", "yes", "on"):
        return True
    if word in ("false", "no", "off"):
        return False
    number = parse_float(word)
    return None if number is None else bool(number)


_PARSERS = {"i": parse_int, "d": parse_float, "b": parse_bool}


class Config:
    """Every option of ``boincdock.config_options.OPTIONS`` as an attribute of the same name and the
    documented type, defaults applied. Options of other names are in ``extra`` as text."""

    def __init__(self) -> None:
        self.extra: dict[str, str] = {}
        for name, (kind, default, _help) in OPTIONS.items():
            setattr(self, name, list(default) if kind in LISTS else default)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"config.xml has no option {name!r} (see boincdock.config_options)")

    @property
    def delete_delay(self) -> int:
        """Seconds that files of finished jobs are kept after the last report."""
        return int(self.delete_delay_hours * 3600)

    @property
    def request_delay(self) -> float:
        """Least number of seconds between work requests that replies ask for; 0 = none (spec 05 I3)."""
        interval = self.min_sendwork_interval
        return max(interval * 1.01, interval + 1) if interval else 0


@dataclass(frozen=True)
class DaemonEntry:
    """A <daemon> of config.xml with names derived as spec 05 B4 (and made unique by ``--app``)."""

    cmd: str
    output: str
    pid_file: str
    lock_file: str
    host: str
    disabled: bool
    use_shell: bool
    line: int

    @property
    def name(self) -> str:
        """What status pages call it: the pid file without its suffix."""
        return self.pid_file.removesuffix(".pid")


@dataclass(frozen=True)
class TaskEntry:
    """A <task> of config.xml; ``period`` in seconds."""

    cmd: str
    output: str
    lock_file: str
    host: str
    disabled: bool
    use_shell: bool
    always_run: bool
    period: int
    line: int

    @property
    def name(self) -> str:
        """What status pages call it: the output file without its suffix."""
        return self.output.removesuffix(".out")


@dataclass
class Project:
    """A project directory and its configuration."""

    dir: Path
    config: Config
    daemons: list[DaemonEntry] = field(default_factory=list)
    tasks: list[TaskEntry] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    limits: Element | None = None

    def _path(self, configured: str, default: str) -> Path:
        return Path(configured) if configured else self.dir / default

    @property
    def name(self) -> str:
        """The project's short name: the last part of the master URL's path, else the host option."""
        path: str = urlsplit(str(self.config.master_url)).path
        return path.strip("/").rpartition("/")[2] or str(self.config.host)

    @property
    def download_dir(self) -> Path:
        """Where input and application files are staged."""
        return self._path(self.config.download_dir, "download")

    @property
    def upload_dir(self) -> Path:
        """Where clients' output files arrive."""
        return self._path(self.config.upload_dir, "upload")

    @property
    def key_dir(self) -> Path:
        """Code-signing and upload keys."""
        return self._path(self.config.key_dir, "keys")

    @property
    def log_dir(self) -> Path:
        """log_HOST."""
        return self._path(self.config.extra.get(f"log_{self.config.host}_dir", ""), f"log_{self.config.host}")

    @property
    def pid_dir(self) -> Path:
        """pid_HOST."""
        return self._path(self.config.extra.get(f"pid_{self.config.host}_dir", ""), f"pid_{self.config.host}")

    @property
    def tmp_dir(self) -> Path:
        """tmp_HOST."""
        return self._path(self.config.extra.get(f"tmp_{self.config.host}_dir", ""), f"tmp_{self.config.host}")

    @property
    def templates_dir(self) -> Path:
        """Job templates."""
        return self.dir / "templates"

    @property
    def apps_dir(self) -> Path:
        """Sources of app versions for update_versions."""
        return self.dir / "apps"

    @property
    def run_state_file(self) -> Path:
        """run_state_HOST.xml (spec 05 B5)."""
        return self.dir / f"run_state_{self.config.host}.xml"

    def trigger(self, name: str) -> Path:
        """A trigger file of spec 05 B6 (stop_sched, stop_daemons, stop_upload, stop_web, reread_db)."""
        return self.dir / name


def find_project_dir(given: Path | None = None) -> Path:
    """The argument, else $BOINC_PROJECT_DIR, else ``.``, else ``..``: the first that holds config.xml."""
    named = given or (Path(os.environ["BOINC_PROJECT_DIR"]) if os.environ.get("BOINC_PROJECT_DIR") else None)
    candidates = [named] if named else [Path(), Path("..")]
    for candidate in candidates:
        if (candidate / "config.xml").is_file():
            return candidate.resolve()
    where = str(named) if named else "this folder or the one above"
    raise ConfigError(f"not in a project directory: no config.xml in {where}",
                      "go to the project folder, or set BOINC_PROJECT_DIR")


def load_project(project_dir: Path | None = None) -> Project:
    """Read config.xml (and config_aux.xml if there is one) of a project; ConfigError if that cannot be."""
    directory = find_project_dir(project_dir)
    project = parse_config((directory / "config.xml").read_bytes(), directory)
    aux = directory / "config_aux.xml"
    if aux.exists():
        project.limits = parse_xml(aux.read_bytes(), aux.name).find("max_jobs_in_progress")
    return project


def parse_config(data: bytes, directory: Path, origin: str = "config.xml") -> Project:
    """Parse the bytes of a config.xml; pure but for the use of ``directory`` as the project's root."""
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{origin}: larger than {MAX_CONFIG_BYTES} bytes")
    root = parse_xml(data, origin)
    section = root.find("config") if root.tag == "boinc" else None
    if section is None:
        raise ConfigError(f"{origin}: needs <boinc> with <config> inside", "compare it with the default config.xml")
    project = Project(directory, Config())
    _read_options(section, project, origin)
    if project.config.batch_accel and project.config.size_classes:
        raise ConfigError(f"{origin}: batch_accel and size_classes exclude each other")
    project.daemons = [_daemon(e, project) for e in _entries(root, "daemons", "daemon")]
    project.tasks = [_task(e, project, origin) for e in _entries(root, "tasks", "task")]
    return project


def _entries(root: Element, group: str, tag: str) -> list[Element]:
    section = root.find(group)
    return [e for e in section.children if e.tag == tag] if section else []


def _read_options(section: Element, project: Project, origin: str) -> None:
    config = project.config
    for element in section.children:
        text = element.text.strip()
        name = ALIASES.get(element.tag, element.tag)
        where = f"{origin}: line {element.line}: <{element.tag}>"
        if name != element.tag:
            project.warnings.append(f"{where} is read as <{name}>")
        if name == "grace_period_hours":
            hours = parse_float(text)
            if hours is None:
                project.warnings.append(f"{where}: {text!r} is not a number; ignored")
            else:
                setattr(config, "report_grace_period", int(hours * 3600))  # noqa: B010
            continue
        if name not in OPTIONS:
            config.extra[name] = text
            if not re.fullmatch(r"(bin|tmp|log|pid)_\S+_dir", name):
                project.warnings.append(f"{where} is not an option known to boincdock")
            continue
        _set_option(config, name, text, where, project.warnings)
    for name in ("min_core_client_version", "min_core_client_version_announced"):
        value = getattr(config, name)
        if 0 < value < 10000:
            setattr(config, name, value * 100)


def _set_option(config: Config, name: str, text: str, where: str, warnings: list[str]) -> None:
    kind = OPTIONS[name][0]
    if kind == "s":
        setattr(config, name, text)
    elif kind == "octal":
        if re.fullmatch(r"[0-7]{1,4}", text):
            setattr(config, name, int(text, 8))
        else:
            warnings.append(f"{where}: {text!r} is not an octal mode; ignored")
    elif kind == "re":
        try:
            getattr(config, name).append(re.compile(text))
        except re.error as error:
            warnings.append(f"{where}: bad regular expression ({error}); ignored")
    else:
        value = _PARSERS[kind.removeprefix("list_")](text)
        if value is None:
            warnings.append(f"{where}: {text!r} is not a {'switch' if kind == 'b' else 'number'}; ignored")
        elif kind in LISTS:
            getattr(config, name).append(value)
        else:
            if kind == "b" and not text:
                warnings.append(f"{where}: empty, read as 1")
            setattr(config, name, value)


def _program_name(cmd: str) -> tuple[str, str]:
    """(program, app or '') of a command line; ``run_in_ops X`` is X."""
    try:
        words = shlex.split(cmd)
    except ValueError:
        words = cmd.split()
    if not words:
        return "", ""
    if Path(words[0]).name == "run_in_ops" and len(words) > 1:
        return Path(words[1]).name, ""
    app = ""
    for i, word in enumerate(words[1:], 1):
        if word.lstrip("-") in ("app", "appname") and word.startswith("-") and i + 1 < len(words):
            app = words[i + 1]
    return Path(words[0]).name, app


def _is_disabled(element: Element) -> bool:
    flag = element.find("disabled")
    return flag is not None and parse_bool(flag.text.strip()) is not False


def _lock_name(output: str, given_output: str, program: str) -> str:
    return f"{output}.lock" if given_output and not output.startswith("/dev") else f"{program}.lock"


def _daemon(element: Element, project: Project) -> DaemonEntry:
    cmd = element.get("cmd")
    program, app = _program_name(cmd)
    # Two validators share a program; their app keeps their files apart (spec 05 B4 "Do better").
    base = f"{program}.{app}" if app else program
    given = element.get("output")
    output = given or f"{base}.log"
    return DaemonEntry(
        cmd=cmd, output=output, pid_file=element.get("pid_file") or f"{base}.pid",
        lock_file=element.get("lock_file") or _lock_name(output, given, base),
        host=element.get("host") or project.config.host, disabled=_is_disabled(element),
        use_shell=parse_bool(element.get("use_shell", "0")) is True, line=element.line)


def _task(element: Element, project: Project, origin: str) -> TaskEntry:
    cmd = element.get("cmd")
    program, _app = _program_name(cmd)
    given = element.get("output")
    output = given or f"{program}.out"
    return TaskEntry(
        cmd=cmd, output=output, lock_file=element.get("lock_file") or _lock_name(output, given, program),
        host=element.get("host") or project.config.host, disabled=_is_disabled(element),
        use_shell=parse_bool(element.get("use_shell", "0")) is True,
        always_run=parse_bool(element.get("always_run", "0")) is True,
        period=parse_period(element.get("period"), f"{origin}: line {element.line}"), line=element.line)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_period(text: str, where: str = "period") -> int:
    """``N`` (minutes) or ``N unit`` with the unit's first letter s, m, h, d or w -> seconds (spec 05 B4)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", text.strip())
    if not match or (match[2] and match[2][0].lower() not in _UNITS):
        raise ConfigError(f"{where}: <period> {text!r} is not a time such as '5', '1 day' or '24 h'")
    return int(float(match[1]) * _UNITS[match[2][0].lower() if match[2] else "m"])
