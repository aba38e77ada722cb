"""Server status: daemons, queue counts, and the cache that keeps them cheap (spec 06 section 5.3)."""
from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boincdock.config import DaemonEntry, Project
from boincdock.errors import DatabaseError
from boincdock.lifecycle import runstate
from boincdock.protocol import account_xml as ax
from boincdock.web.repository import StatusStore

Row = dict[str, Any]
STALE_HEARTBEAT = 60.0
"""Seconds without a heartbeat after which a daemon is shown as stuck (it must beat every 10 s)."""
_RUNNING = "running"


@dataclass(frozen=True)
class DaemonStatus:
    """One line of the list of programs."""

    name: str
    command: str
    host: str
    status: str
    """``running``, ``not running`` or ``disabled``: the words upstream's XML uses."""
    note: str = ""
    since: float = 0.0
    restarts: int = 0
    heartbeat_age: float | None = None

    @property
    def healthy(self) -> bool:
        """False if somebody should look."""
        return self.status != "not running" and not self.note.startswith("no heartbeat")


def shown_command(cmd: str) -> str:
    """The program's name, and the app's in parentheses if the command names one."""
    try:
        words = shlex.split(cmd)
    except ValueError:
        words = cmd.split()
    if not words:
        return cmd
    name = Path(words[0]).name
    for word, value in itertools.pairwise(words):
        if word in ("-app", "--app", "-appname", "--appname"):
            return f"{name} ({value})"
    return name


def _reports(project: Project) -> list[Row]:
    """The supervisors' reports that have the parts needed here."""
    return [{**report, "updated": _number(report.get("updated"))} for report in runstate.read_reports(project)
            if isinstance(report.get("daemons"), list)]


def supervisor_age(project: Project, now: float) -> float | None:
    """Seconds since a supervisor last reported, or None if none ever did."""
    stamps = [report["updated"] for report in _reports(project)]
    return max(0.0, now - max(stamps)) if stamps else None


def daemon_statuses(project: Project, now: float) -> list[DaemonStatus]:
    """The three servers, then every daemon of config.xml as the supervisors see it."""
    found = [_server("Download server", project, None), _server("Upload server", project, "stop_upload"),
             _server("Scheduler", project, "stop_sched")]
    reports = _reports(project)
    live = [report for report in reports if runstate.is_live(report, now)]
    for entry in project.daemons:
        rows = [(report, row) for report in live for row in report["daemons"]
                if isinstance(row, dict) and (row.get("name") == entry.name or row.get("cmd") == entry.cmd)]
        # With several supervisors the daemon that runs is the one to show.
        rows.sort(key=lambda pair: not pair[1].get("running"))
        if entry.disabled:
            found.append(DaemonStatus(entry.name, shown_command(entry.cmd), entry.host, "disabled"))
        elif rows:
            found.append(_reported(entry, *rows[0], now))
        else:
            note = "the supervisor does not report" if reports and not live else ""
            found.append(DaemonStatus(entry.name, shown_command(entry.cmd), entry.host, "not running", note))
    return found


def _reported(entry: DaemonEntry, report: Row, row: Row, now: float) -> DaemonStatus:
    running, age, note = bool(row.get("running")), row.get("heartbeat_age"), str(row.get("error") or "")
    if running and row.get("beats", True) and isinstance(age, int | float):
        age = float(age) + max(0.0, now - _number(report.get("updated")))
        if age > STALE_HEARTBEAT:
            note = f"no heartbeat for {int(age)} s"
    else:
        age = None
    if not running and not note:
        state = str(row.get("state", ""))
        exit_code = row.get("last_exit")
        note = {"stopped": "stopped", "stopping": "stopping"}.get(state, "")
        if state in ("backoff", "starting") and isinstance(exit_code, int):
            note = f"ended with {exit_code}, starting again" if exit_code >= 0 else \
                f"killed by signal {-exit_code}, starting again"
    return DaemonStatus(entry.name, shown_command(entry.cmd), entry.host, _RUNNING if running else "not running",
                        note[:200], _number(row.get("since")), int(_number(row.get("restarts"))), age)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _server(name: str, project: Project, trigger: str | None) -> DaemonStatus:
    config = project.config
    host = (config.sched_host if name == "Scheduler" else "") or config.www_host or config.host
    stopped = trigger is not None and project.trigger(trigger).exists()
    return DaemonStatus(name, name, host, "not running" if stopped else _RUNNING,
                        "stopped for maintenance" if stopped else "")


class StatusCache:
    """The database's numbers, at most ``seconds`` old, shared by all processes through a file.

    One process at a time recomputes; the others meanwhile show the old numbers. ``numbers()`` is None only if
    the database cannot be read and nothing was ever stored.
    """

    def __init__(self, store: StatusStore, directory: Path, seconds: float = 60.0,
                 clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._path = directory / "status.json"
        self._seconds = seconds
        self._clock = clock
        self._own: Row | None = None

    def numbers(self) -> Row | None:
        """The numbers of ``StatusStore.status_numbers`` with ``as_of`` (unix time)."""
        now = self._clock()
        cached = self._read() or self._own
        if cached and 0 <= now - cached["as_of"] < self._seconds:
            return cached
        try:
            with self._lock(wait=cached is None):
                cached = self._read() or cached
                if cached and 0 <= now - cached["as_of"] < self._seconds:
                    return cached
                return self._keep(self.fresh())
        except (BlockingIOError, DatabaseError):
            return cached

    def fresh(self) -> Row:
        """Computed now; ``DatabaseError`` if that cannot be."""
        now = int(self._clock())
        return {**self._store.status_numbers(now), "as_of": now}

    def _read(self) -> Row | None:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) and isinstance(data.get("as_of"), int) and "apps" in data else None

    def _keep(self, numbers: Row) -> Row:
        self._own = numbers
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(numbers), encoding="utf-8")
            temporary.replace(self._path)
        return numbers

    @contextlib.contextmanager
    def _lock(self, wait: bool) -> Any:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield
        finally:
            os.close(handle)


_XML_COUNTS = (
    ("results_ready_to_send", "unsent"), ("results_in_progress", "in_progress"),
    ("workunits_waiting_for_validation", "need_validate"),
    ("workunits_waiting_for_assimilation", "need_assimilate"),
    ("workunits_waiting_for_deletion", "wus_need_delete"),
    ("results_waiting_for_deletion", "results_need_delete"))
_XML_PEOPLE = (
    ("users_with_recent_credit", "users_recent"), ("users_with_credit", "users_with_credit"),
    ("users_registered_in_past_24_hours", "users_new"), ("hosts_with_recent_credit", "hosts_recent"),
    ("hosts_with_credit", "hosts_with_credit"), ("hosts_registered_in_past_24_hours", "hosts_new"))
_XML_JOBS = (
    ("results_ready_to_send", "unsent"), ("results_in_progress", "in_progress"),
    ("results_need_file_delete", "results_need_delete"), ("wus_need_validate", "need_validate"),
    ("wus_need_assimilate", "need_assimilate"), ("wus_need_file_delete", "wus_need_delete"))


def status_document(daemons: list[DaemonStatus], numbers: Row) -> str:
    """``server_status.php?xml=1``."""
    parts = ["<daemon_status>\n"]
    for daemon in daemons:
        parts.append("<daemon>\n" + ax.elements(
            [("host", daemon.host), ("command", daemon.command), ("status", daemon.status)], "    ") + "</daemon>\n")
    parts.append("</daemon_status>\n<database_file_states>\n")
    parts.append(ax.elements((tag, numbers[key]) for tag, key in _XML_COUNTS))
    parts.append(ax.element("transitioner_backlog_hours", numbers["backlog_seconds"] / 3600))
    parts.append(ax.elements((tag, numbers[key]) for tag, key in _XML_PEOPLE))
    parts.append(ax.element("current_floating_point_speed", numbers["gflops"]))
    parts.append("<tasks_by_app>\n")
    for app in numbers["apps"]:
        parts.append("<app>\n" + ax.elements([("id", app["id"]), ("name", app["user_friendly_name"]),
                                              ("unsent", app["unsent"]), ("in_progress", app["in_progress"])], "    "))
        if times := app["runtime"]:
            parts.append(ax.elements([
                ("avg_runtime", times["average"] / 3600), ("min_runtime", times["shortest"] / 3600),
                ("max_runtime", times["longest"] / 3600), ("users", times["users"])], "    "))
        parts.append("</app>\n")
    parts.append("</tasks_by_app>\n</database_file_states>\n")
    return ax.document("server_status", "".join(parts))


def counts_document(numbers: Row) -> str:
    """``server_status.php?counts=1``."""
    return ax.document("job_counts", ax.elements((tag, numbers[key]) for tag, key in _XML_JOBS))
