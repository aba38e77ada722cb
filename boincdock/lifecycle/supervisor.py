"""The supervisor: keeps the daemons of config.xml running and runs its tasks by period (spec 05 B4-B7).

``python3 -m boincdock.lifecycle.supervisor`` is the first process of the ``daemons`` container. It follows
``run_state_HOST.xml`` and ``stop_daemons`` (written by ``bin/start`` and ``bin/stop`` from any container of the
project volume) and changes of config.xml, restarts daemons that die with growing pauses, collects orphans,
passes SIGTERM on, cuts logs that grow too long, and reports to ``pid_HOST/supervisor.json`` once a second.
Several may run on one volume: each takes a slot of its own; one of them runs the tasks.

``--health`` exits 0 if the supervisor of this container is at work and every enabled daemon runs with a fresh
heartbeat, or the project was stopped on purpose.
"""
from __future__ import annotations

import argparse
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

from boincdock import log
from boincdock.config import Project, TaskEntry, load_project
from boincdock.errors import BoincdockError
from boincdock.lifecycle import runstate
from boincdock.lifecycle.logfiles import rotate_all
from boincdock.lifecycle.process import Child, beats, conflicts, daemon_child, describe_exit, task_child

logger = logging.getLogger("boincdock.supervisor")

TICK = 0.5
REPORT_PERIOD = 1.0
ROTATE_PERIOD = 30.0
MAX_SLOTS = 64
STALE_HEARTBEAT = 60.0
STOP_SECONDS = 60.0
"""How long daemons may take to end after bin/stop."""
EXIT_SECONDS = float(os.environ.get("BOINCDOCK_STOP_SECONDS", "8"))
"""How long they may take when the container stops (Docker kills it after 10)."""


class Supervisor:
    """See the module's text."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.started = time.time()
        runstate.make_dirs(project)
        self.slot, self._slot_lock = self._take_slot()
        self._tasks_lock: int | None = None
        self.daemons: dict[str, Child] = {}
        self.rejected: dict[str, str] = {}
        self.tasks: dict[str, tuple[TaskEntry, Child]] = {}
        self.task_history: dict[str, dict[str, float | int | None]] = {}
        self.config_error = ""
        self._config_stamp = self._stamp()
        self._ending = False
        self._last_report = self._last_rotation = 0.0
        self._wake_read, self._wake_write = socket.socketpair()

    def _take_slot(self) -> tuple[int, int]:
        for slot in range(1, MAX_SLOTS + 1):
            name = "supervisor.lock" if slot == 1 else f"supervisor.r{slot}.lock"
            lock = runstate.try_lock(self.project.pid_dir / name)
            if lock is not None:
                return slot, lock
        raise BoincdockError(f"{MAX_SLOTS} supervisors already run on {self.project.dir}")

    # ---- configuration ----------------------------------------------------------------------------------
    def _stamp(self) -> tuple[int, int]:
        try:
            stat = (self.project.dir / "config.xml").stat()
            return stat.st_mtime_ns, stat.st_size
        except OSError:
            return 0, 0

    def follow_config(self) -> None:
        """Take up a changed config.xml; if it is broken, say so and go on with what was."""
        stamp = self._stamp()
        if stamp == self._config_stamp:
            return
        self._config_stamp = stamp
        try:
            self.project = load_project(self.project.dir)
        except (BoincdockError, OSError) as error:
            self.config_error = str(error)
            logger.critical("config.xml changed and cannot be used, going on as before: %s", error)
            return
        self.config_error = ""
        logger.info("config.xml changed: taking it up")
        self.plan()

    def plan(self) -> None:
        """Work out which daemons and tasks there should be; stops those no longer listed or changed."""
        clashes = conflicts(self.project.daemons)
        self.rejected = {}
        wanted: dict[str, Child] = {}
        for i, item in enumerate(self.project.daemons):
            if item.disabled or not self._is_here(item.host):
                continue
            if i in clashes:
                self.rejected[f"{item.name}#{item.line}"] = clashes[i]
                logger.critical("%s", clashes[i])
                continue
            child = daemon_child(self.project, item, self.slot)
            wanted[child.name] = self._keep_or_replace(self.daemons.get(child.name), child)
        for name, old in self.daemons.items():
            if name not in wanted and old.pid:
                old.cmd, wanted[name] = "", old  # ends below, then is forgotten
        self.daemons = wanted
        tasks: dict[str, tuple[TaskEntry, Child]] = {}
        for task in self.project.tasks:
            if not task.disabled and self._is_here(task.host):
                known = self.tasks.get(task.cmd)
                tasks[task.cmd] = (task, known[1] if known else task_child(self.project, task))
        for cmd, (task, child) in self.tasks.items():
            if child.pid and cmd not in tasks:
                tasks[cmd] = (task, child)
        self.tasks = tasks

    def _keep_or_replace(self, old: Child | None, new: Child) -> Child:
        if old is None:
            return new
        if (old.cmd, old.use_shell, old.log) != (new.cmd, new.use_shell, new.log) and old.pid:
            old.stop(0)
        old.project, old.cmd, old.use_shell = new.project, new.cmd, new.use_shell
        old.log, old.lock_file, old.pid_file = new.log, new.lock_file, new.pid_file
        old.forget_pause()
        return old

    def _is_here(self, host: str) -> bool:
        return host in ("", self.project.config.host, socket.gethostname().partition(".")[0])

    # ---- the loop ---------------------------------------------------------------------------------------
    def run(self) -> int:
        """Until SIGTERM or SIGINT; the exit status."""
        self._take_signals()
        if runstate.read(self.project) is None:
            runstate.enable(self.project)
        self._load_history()
        self.plan()
        logger.info("supervisor starting (pid %d, slot %d): %d daemons, %d tasks", os.getpid(), self.slot,
                    len(self.daemons), len(self.tasks))
        while not self._ending:
            self.tick()
            self._wait(TICK)
        self._shut_down()
        return 0

    def tick(self) -> None:
        """Everything that may be due."""
        self.reap()
        self.follow_config()
        now = time.time()
        wanted = self._wanted()
        for name, child in list(self.daemons.items()):
            if not child.cmd and not child.pid:
                del self.daemons[name]
            elif wanted and child.cmd:
                self._keep_running(child, now)
            else:
                child.stop(STOP_SECONDS)
                child.error = ""
        self._run_tasks(now, wanted)
        if now - self._last_report >= REPORT_PERIOD or now < self._last_report:
            self._last_report = now
            self.report(now, wanted)
        if now - self._last_rotation >= ROTATE_PERIOD or now < self._last_rotation:
            self._last_rotation = now
            rotate_all(self.project.log_dir)

    def _wanted(self) -> bool:
        try:
            return runstate.wanted(self.project)
        except BoincdockError as error:
            self.config_error = error.message
            return False

    def _keep_running(self, child: Child, now: float) -> None:
        if child.pid:
            if child.stop_sent:
                child.stop(STOP_SECONDS)  # its command changed, or start came right after stop
        elif child.may_start():
            if child.start(now):
                logger.info("started %s (pid %d)", child.name, child.pid)
            else:
                logger.critical("%s: %s", child.name, child.error)

    def _run_tasks(self, now: float, enabled: bool) -> None:
        due = [(task, child) for task, child in self.tasks.values()
               if (enabled or task.always_run) and not child.pid]
        if not due:
            return
        if self._tasks_lock is None:
            self._tasks_lock = runstate.try_lock(self.project.pid_dir / "tasks.lock")
            if self._tasks_lock is None:
                return
        state = runstate.read(self.project) or runstate.RunState()
        for task, child in due:
            if now >= state.last_run.get(task.cmd, 0) + task.period and child.may_start():
                self._start_task(task, child, now)

    def _start_task(self, task: TaskEntry, child: Child, now: float) -> None:
        listed = {t.cmd for t in self.project.tasks}

        def note(state: runstate.RunState) -> None:
            state.last_run = {cmd: when for cmd, when in state.last_run.items() if cmd in listed}
            state.last_run[task.cmd] = now

        runstate.update(self.project, note)
        if child.start(now):
            logger.info("task %s started (pid %d)", child.name, child.pid)
        else:
            logger.critical("task %s: %s", child.name, child.error)

    # ---- processes --------------------------------------------------------------------------------------
    def reap(self) -> None:
        """Collect everything that has ended: daemons, tasks, and orphans that were handed to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._gone(pid, os.waitstatus_to_exitcode(status))

    def _gone(self, pid: int, status: int) -> None:
        now = time.time()
        for child in self.daemons.values():
            if child.pid == pid:
                expected = bool(child.stop_sent) or self._ending or not self._wanted()
                child.ended(status, now, expected)
                (logger.info if expected else logger.critical)("%s ended: %s", child.name, describe_exit(status))
                return
        for task, child in self.tasks.values():
            if child.pid == pid:
                self.task_history[task.cmd] = {"last_exit": status, "last_duration": round(now - child.since, 3)}
                child.ended(status, now, expected=True)
                (logger.warning if status else logger.info)("task %s ended: %s", child.name, describe_exit(status))
                return

    def _take_signals(self) -> None:
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)

        def on_end(_number: int, _frame: FrameType | None) -> None:
            self._ending = True

        def on_child(_number: int, _frame: FrameType | None) -> None:
            """Only wakes the loop."""

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_end)
        for number in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, on_child)

    def _wait(self, seconds: float) -> None:
        readable, _, _ = select.select([self._wake_read], [], [], seconds)
        if readable:
            with contextlib.suppress(BlockingIOError):
                self._wake_read.recv(4096)

    def _shut_down(self) -> None:
        """Pass the signal on and wait; what does not end in time is killed (all our daemons can bear that)."""
        logger.info("ending: stopping daemons and tasks")
        children = [*self.daemons.values(), *(child for _, child in self.tasks.values())]
        end = time.monotonic() + EXIT_SECONDS + 1
        while any(c.pid for c in children) and time.monotonic() < end:
            for child in children:
                child.stop(EXIT_SECONDS)
            self._wait(0.1)
            self.reap()
        for child in children:
            child.send(signal.SIGKILL)
        self.report(time.time(), self._wanted(), ended=True)

    # ---- reporting --------------------------------------------------------------------------------------
    def _load_history(self) -> None:
        for report in runstate.read_reports(self.project):
            for row in report.get("tasks", []):
                if isinstance(row, dict) and row.get("last_exit") is not None:
                    self.task_history[str(row.get("cmd"))] = {"last_exit": row["last_exit"],
                                                              "last_duration": row.get("last_duration")}

    def report(self, now: float, wanted: bool, ended: bool = False) -> None:
        """Write supervisor.json; a full disk is complained of, not fatal."""
        daemons = [self._daemon_row(child, now) for child in self.daemons.values()]
        daemons += [{"name": key, "cmd": "", "state": "rejected", "running": False, "error": why, "disabled": False}
                    for key, why in self.rejected.items()]
        daemons += [{"name": d.name, "cmd": d.cmd, "state": "disabled" if d.disabled else "elsewhere",
                     "running": False, "disabled": d.disabled, "host": d.host}
                    for d in self.project.daemons if d.disabled or not self._is_here(d.host)]
        alive = any(child.pid for child in self.daemons.values())
        last_run = (runstate.read(self.project) or runstate.RunState()).last_run
        state = "ended" if ended else "running" if wanted else "stopping" if alive else "stopped"
        document = {
            "version": 1, "slot": self.slot, "pid": os.getpid(), "pid_namespace": pid_namespace(),
            "hostname": socket.gethostname(), "started": self.started, "updated": now, "enabled": wanted,
            "state": state, "error": self.config_error, "daemons": daemons,
            "tasks": [self._task_row(task, child, last_run.get(task.cmd, 0.0)) for task, child in self.tasks.values()]}
        try:
            runstate.write_report(self.project, self.slot, document)
        except OSError as error:
            logger.critical("cannot write %s: %s", runstate.report_path(self.project, self.slot), error)

    def _daemon_row(self, child: Child, now: float) -> dict[str, object]:
        age = child.heartbeat_age(now)
        return {"name": child.name, "cmd": child.cmd, "state": child.state(now), "running": bool(child.pid),
                "pid": child.pid, "since": child.since if child.pid else child.last_exit_time,
                "restarts": child.restarts, "last_exit": child.last_exit, "last_exit_time": child.last_exit_time,
                "heartbeat_age": None if age is None else round(age, 1), "beats": beats(child.cmd),
                "log": child.log.name, "disabled": False, "error": child.error}

    def _task_row(self, task: TaskEntry, child: Child, last: float) -> dict[str, object]:
        past = self.task_history.get(task.cmd, {})
        return {"name": task.name, "cmd": task.cmd, "state": "running" if child.pid else "waiting",
                "running": bool(child.pid), "pid": child.pid, "period": task.period, "always_run": task.always_run,
                "last_run": last, "next_run": last + task.period, "last_exit": past.get("last_exit"),
                "last_duration": past.get("last_duration"), "error": child.error, "disabled": False}


def pid_namespace() -> int:
    """A number that tells containers apart."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def health_problems(project: Project, now: float) -> list[str]:
    """Why this container's supervisor is not healthy; empty if it is."""
    here = pid_namespace()
    reports = [r for r in runstate.read_reports(project) if r.get("pid_namespace") == here]
    live = [r for r in reports if runstate.is_live(r, now)]
    if not live:
        return ["no supervisor is at work in this container"]
    report = max(live, key=lambda r: float(r.get("updated", 0)))
    problems = [str(report["error"])] if report.get("error") else []
    if not report.get("enabled"):
        return problems  # stopped on purpose
    for row in report.get("daemons", []):
        name, state, age = row.get("name"), row.get("state"), row.get("heartbeat_age")
        if state in ("disabled", "elsewhere"):
            continue
        if state != "running":
            problems.append(f"{name}: {state}" + (f" ({row['error']})" if row.get("error") else ""))
        elif row.get("beats") and (age is None or age > STALE_HEARTBEAT):
            problems.append(f"{name}: no heartbeat for {age or 0:.0f} s")
    return problems


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = argparse.ArgumentParser("supervisor", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--health", action="store_true", help="check health and exit 0 or 1")
    parser.add_argument("-d", "--debug_level", type=int, default=3, choices=range(1, 5))
    options = parser.parse_args(argv)
    project = load_project()
    if options.health:
        problems = health_problems(project, time.time())
        print("\n".join(problems) if problems else "healthy")
        return 1 if problems else 0
    log.setup(options.debug_level)
    os.umask(0o002)
    return Supervisor(project).run()


def command(argv: list[str]) -> int:
    """``main`` with errors as one line; this module may not import boincdock.bin."""
    try:
        return main(argv)
    except BoincdockError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
