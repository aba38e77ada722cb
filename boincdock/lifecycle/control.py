"""start, stop, status: what the operator types, in any container of the project volume (spec 05 B5)."""
from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from boincdock.config import Project
from boincdock.errors import BoincdockError
from boincdock.lifecycle import runstate
from boincdock.lifecycle.runstate import Report

POLL = 0.2
APPEAR_SECONDS = 8.0
"""How long to wait for a sign of life of a supervisor."""
START_SECONDS = 60.0
STOP_SECONDS = 90.0
_NO_SUPERVISOR = "no supervisor is at work on this project"
_HOW = "start the container 'daemons' (docker compose up -d daemons), or run python3 -m boincdock.lifecycle.supervisor"

Say = Callable[[str], None]


def start(project: Project, say: Say, timeout: float = START_SECONDS) -> None:
    """Enable the project and wait until all enabled daemons run; ``BoincdockError`` says which do not."""
    if project.trigger("stop_daemons").exists():
        say("removing stop_daemons")
    began = time.time()
    runstate.enable(project)
    report: list[Report] = []

    def pending() -> list[str]:
        nonlocal report
        report = [r for r in runstate.live_reports(project) if float(r["updated"]) > began]
        if not report:
            return [_NO_SUPERVISOR]
        return [_trouble(row) for r in report for row in r["daemons"] if _is_pending(row)] + [
            "the supervisor has not noticed yet" for r in report if not r.get("enabled")]

    end = time.monotonic() + timeout
    while waiting := pending():
        refused = [str(row["error"]) for r in report for row in r["daemons"] if row["state"] == "rejected"]
        if time.monotonic() > end or (refused and len(refused) == len(waiting)):
            raise BoincdockError("not all daemons run: " + "; ".join(waiting),
                                 "bin/status shows the state, log_* holds their logs")
        if waiting == [_NO_SUPERVISOR] and time.time() - began > min(APPEAR_SECONDS, timeout):
            project.trigger("stop_sched").unlink(missing_ok=True)
            raise BoincdockError(f"the project is enabled, but {_NO_SUPERVISOR}", _HOW)
        time.sleep(POLL)
    project.trigger("stop_sched").unlink(missing_ok=True)
    running = [row for r in report for row in r["daemons"] if row["state"] == "running"]
    for row in running:
        say(f"running: {row['name']} (pid {row['pid']})")
    say(f"BOINC is ENABLED: {len(running)} daemons run")


def _is_pending(row: dict[str, Any]) -> bool:
    return row["state"] not in ("running", "disabled", "elsewhere")


def _trouble(row: dict[str, Any]) -> str:
    return str(row["error"]) if row["state"] == "rejected" else f"{row['name']} is {row['state']}" + (
        f" ({row['error']})" if row.get("error") else "")


def stop(project: Project, say: Say, timeout: float = STOP_SECONDS) -> None:
    """Disable the project and wait until every daemon has ended; ``BoincdockError`` if some do not."""
    began = time.time()
    runstate.disable(project)

    def still() -> list[str]:
        waiting = []
        for report in runstate.live_reports(project):
            if float(report["updated"]) <= began or report.get("enabled"):
                waiting.append(f"supervisor {report.get('slot')} has not noticed yet")
            waiting += [f"{row['name']} (pid {row.get('pid')})" for row in report["daemons"] if row.get("running")]
        return waiting

    end = time.monotonic() + timeout
    while waiting := still():
        if time.monotonic() > end:
            raise BoincdockError("still running: " + ", ".join(waiting),
                                 "they are killed when they take too long; try again")
        time.sleep(POLL)
    say("BOINC is DISABLED: all daemons have ended")


def status(project: Project) -> Report:
    """What ``bin/status --json`` prints."""
    state = runstate.read(project)
    now = time.time()
    live = runstate.live_reports(project)
    shown = live or runstate.read_reports(project)[:1]
    daemons: list[dict[str, Any]] = []
    for report in shown:
        for row in report.get("daemons", []):
            if live:
                daemons.append(row)
            elif row.get("state") not in ("disabled", "elsewhere", "rejected"):
                daemons.append({**row, "state": "stopped", "running": False, "pid": 0, "heartbeat_age": None})
    known = {str(row.get("name")) for row in daemons}
    daemons += [{"name": d.name, "cmd": d.cmd, "state": "disabled" if d.disabled else "stopped", "running": False,
                 "pid": 0, "disabled": d.disabled} for d in project.daemons if d.name not in known]
    return {"enabled": bool(state and state.enabled), "now": now,
            "stop_sched": project.trigger("stop_sched").exists(),
            "supervisors": [{k: r.get(k) for k in ("slot", "pid", "hostname", "started", "updated", "state", "error")}
                            for r in live],
            "daemons": daemons, "tasks": _tasks(project, state, shown)}


def _tasks(project: Project, state: runstate.RunState | None, reports: list[Report]) -> list[dict[str, Any]]:
    by_cmd: dict[str, dict[str, Any]] = {}
    for report in reports:
        for row in report.get("tasks", []):
            known = by_cmd.get(str(row.get("cmd")))
            if known is None or row.get("running"):
                by_cmd[str(row.get("cmd"))] = row
    rows = []
    for task in project.tasks:
        last = state.last_run.get(task.cmd, 0.0) if state else 0.0
        rows.append({"running": False, "last_exit": None, "last_duration": None, **by_cmd.get(task.cmd, {}),
                     "name": task.name, "cmd": task.cmd, "period": task.period, "last_run": last,
                     "next_run": last + task.period, "disabled": task.disabled, "always_run": task.always_run})
    return rows


def print_status(document: Report, verbose: bool = True) -> None:
    """``status`` for people."""
    print(f"BOINC is {'ENABLED' if document['enabled'] else 'DISABLED'}")
    if not document["supervisors"]:
        print(f"{_NO_SUPERVISOR}: {_HOW}")
    for supervisor in document["supervisors"]:
        if supervisor.get("error"):
            print(f"supervisor {supervisor['slot']}: {supervisor['error']}")
    if not verbose:
        return
    now = document["now"]
    rows = [("DAEMON", "STATE", "PID", "SINCE", "RESTARTS", "HEARTBEAT", "COMMAND")]
    for d in document["daemons"]:
        age = d.get("heartbeat_age")
        rows.append((str(d["name"]), str(d["state"]), str(d.get("pid") or "-"),
                     _ago(now, d.get("since")) if d.get("running") else "-", str(d.get("restarts", 0)),
                     "-" if age is None else f"{age:.0f} s", str(d.get("error") or d.get("cmd") or "")))
    _print_table(rows)
    if document["tasks"]:
        print()
        rows = [("TASK", "STATE", "LAST RUN", "NEXT RUN", "TOOK", "EXIT", "COMMAND")]
        for t in document["tasks"]:
            rows.append((t["name"], "disabled" if t["disabled"] else "running" if t["running"] else "waiting",
                         _ago(now, t["last_run"]), "-" if t["disabled"] else _in(now, t["next_run"]),
                         "-" if t["last_duration"] is None else f"{t['last_duration']:.1f} s",
                         "-" if t["last_exit"] is None else str(t["last_exit"]), t["cmd"]))
        _print_table(rows)


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        print("  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]).rstrip())


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def _ago(now: float, then: Any) -> str:
    return f"{_span(now - float(then))} ago" if then else "never"


def _in(now: float, then: float) -> str:
    return "now" if then <= now else f"in {_span(then - now)}"


def run_action(project: Project, action: str, *, verbose: bool, as_json: bool, timeout: float | None) -> int:
    """Do what a command asks and tell the user; the exit status."""
    quiet = as_json or not verbose

    def say(text: str) -> None:
        if not quiet:
            print(text)

    if action == "start":
        start(project, say, START_SECONDS if timeout is None else timeout)
    elif action == "stop":
        stop(project, say, STOP_SECONDS if timeout is None else timeout)
    elif action == "cron":
        state = runstate.read(project)
        if state and state.enabled and not runstate.live_reports(project):
            raise BoincdockError(_NO_SUPERVISOR, _HOW)
        return 0
    document = status(project)
    if as_json:
        json.dump(document, sys.stdout, indent=1)
        print()
    elif action == "status":
        print_status(document)
    return 0


__all__ = ["print_status", "run_action", "start", "status", "stop"]
