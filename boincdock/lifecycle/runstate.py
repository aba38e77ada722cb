"""What is meant to run, and what does: run_state_HOST.xml, trigger files, supervisor.json (spec 05 B5, B6).

``run_state_HOST.xml`` holds the operator's wish (enabled or not) and when each task last ran; it is written by
``bin/start`` and ``bin/stop`` in any container of the project volume and by the supervisors.
``pid_HOST/supervisor.json`` (``supervisor.r2.json`` … for further supervisors) says what a supervisor does.
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from boincdock.config import Element, Project, parse_xml
from boincdock.errors import BoincdockError, ConfigError

LIVE_SECONDS = 10.0
"""A supervisor that has not written for so long is taken for dead (it writes about once a second)."""

STOP_TEXT = "<stop/>\n"


@dataclass
class RunState:
    """The contents of run_state_HOST.xml."""

    enabled: bool = False
    last_run: dict[str, float] = field(default_factory=dict)
    """When each task (by its exact command) was last started, Unix time."""


def read(project: Project) -> RunState | None:
    """The run state; None if the file does not exist (the project was never started)."""
    try:
        data = project.run_state_file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BoincdockError(f"{project.run_state_file.name} cannot be read: {error.strerror}") from None
    try:
        return _parse(parse_xml(data, project.run_state_file.name))
    except ConfigError as error:
        raise ConfigError(error.message, f"remove {project.run_state_file} and run bin/start") from None


def _parse(root: Element) -> RunState:
    state = RunState(enabled=root.get("enabled", "0") not in ("", "0"))
    tasks = root.find("tasks")
    for task in tasks.children if tasks else []:
        with contextlib.suppress(ValueError):
            state.last_run[task.get("cmd")] = float(task.get("last_run", "0"))
    return state


def _render(state: RunState) -> str:
    tasks = "".join(f"        <task>\n            <cmd>{escape(cmd)}</cmd>\n"
                    f"            <last_run>{when:.0f}</last_run>\n        </task>\n"
                    for cmd, when in sorted(state.last_run.items()))
    return (f"<boinc>\n    <tasks>\n{tasks}    </tasks>\n    <enabled>{int(state.enabled)}</enabled>\n</boinc>\n")


def update(project: Project, change: Callable[[RunState], None]) -> RunState:
    """Read, change and write the run state under a lock that all containers of the volume share."""
    make_dirs(project)
    with locked(project.pid_dir / f"start.lock.{project.config.host}"):
        state = read(project) or RunState()
        change(state)
        write_atomically(project.run_state_file, _render(state))
        return state


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file that is never removed."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def try_lock(path: Path) -> int | None:
    """A file descriptor that holds the lock as long as it is open, or None if somebody else has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except OSError:
        os.close(fd)
        return None


def write_atomically(path: Path, text: str, mode: int = 0o664) -> None:
    """Replace a file's contents at once; a reader sees the old or the new text, never a part."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            stream.write(text)
            os.fchmod(stream.fileno(), mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def make_dirs(project: Project) -> None:
    """Create log_HOST, pid_HOST and tmp_HOST with group write access (spec 05 C3)."""
    for path in (project.log_dir, project.pid_dir, project.tmp_dir):
        if not path.is_dir():
            try:
                path.mkdir(parents=True, exist_ok=True)
                path.chmod(0o2770)
            except OSError as error:
                raise BoincdockError(f"cannot make {path}: {error.strerror}",
                                     "run this as the project's user") from None


def enable(project: Project) -> None:
    """The operator wants daemons to run. ``stop_sched`` stays until they do."""
    def change(state: RunState) -> None:
        state.enabled = True

    update(project, change)
    project.trigger("stop_daemons").unlink(missing_ok=True)


def disable(project: Project) -> None:
    """The operator wants the project stopped: scheduler first, then daemons."""
    for name in ("stop_sched", "stop_daemons"):
        project.trigger(name).write_text(STOP_TEXT)

    def change(state: RunState) -> None:
        state.enabled = False

    update(project, change)


def wanted(project: Project) -> bool:
    """Whether daemons should run now. A project that was never started is wanted once a supervisor runs."""
    state = read(project)
    return (state is None or state.enabled) and not project.trigger("stop_daemons").exists()


# ---- supervisor.json --------------------------------------------------------------------------------------

Report = dict[str, Any]


def report_path(project: Project, slot: int) -> Path:
    """Where the supervisor of this slot (1, 2 …) reports."""
    return project.pid_dir / ("supervisor.json" if slot == 1 else f"supervisor.r{slot}.json")


def write_report(project: Project, slot: int, report: Report) -> None:
    """Write a supervisor's report atomically."""
    write_atomically(report_path(project, slot), json.dumps(report, indent=1) + "\n")


def read_reports(project: Project) -> list[Report]:
    """All reports that can be read, dead supervisors' included, slot 1 first."""
    found = []
    for path in sorted(project.pid_dir.glob("supervisor*.json"), key=lambda p: (len(p.name), p.name)):
        with contextlib.suppress(OSError, ValueError):
            report = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(report, dict):
                found.append(report)
    return found


def is_live(report: Report, now: float | None = None) -> bool:
    """Whether the supervisor that wrote the report is still at work."""
    age = (time.time() if now is None else now) - float(report.get("updated", 0))
    return report.get("state") != "ended" and age < LIVE_SECONDS


def live_reports(project: Project) -> list[Report]:
    """The reports of supervisors at work."""
    return [r for r in read_reports(project) if is_live(r)]
