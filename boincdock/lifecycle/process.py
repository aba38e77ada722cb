"""One supervised program: its command, files, process and back-off."""
from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from boincdock.config import DaemonEntry, Project, TaskEntry
from boincdock.errors import ConfigError
from boincdock.lifecycle.runstate import try_lock

STEADY_SECONDS = 30.0
"""A daemon that has run for so long is no longer suspected of dying at once."""

BACKOFF = (1.0, 60.0)
START_SECONDS = 1.0
_REDIRECTIONS = ("|", "<", ">", ">>")


def command_line(project: Project, cmd: str, use_shell: bool) -> list[str]:
    """The argument list for a ``<cmd>``; ``ConfigError`` if it cannot be run (spec 05 B4).

    Programs are looked for in the project's bin/, then in PATH, then among boincdock's own commands.
    """
    if use_shell:
        return ["/bin/sh", "-c", cmd]
    try:
        words = shlex.split(cmd)
    except ValueError as error:
        raise ConfigError(f"<cmd> {cmd!r}: {error}") from None
    if not words:
        raise ConfigError("a <cmd> is empty")
    if any(w in _REDIRECTIONS or w.startswith(("1>", "2>", "&>")) for w in words):
        raise ConfigError(f"<cmd> {cmd!r} has a pipe or redirection", "add <use_shell>1</use_shell>")
    program = words[0]
    if "/" not in program:
        places = [project.dir / "bin", *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
        if not any(os.access(p / program, os.X_OK) and (p / program).is_file() for p in places):
            if own_command(program):
                return [sys.executable, "-m", "boincdock.bin._run", *words]
            raise ConfigError(f"<cmd> {cmd!r}: there is no program {program!r} in bin/ or PATH")
    return words


def own_command(program: str) -> bool:
    """Whether boincdock has a command of this name."""
    name = Path(program).name
    return name.isidentifier() and (Path(__file__).parents[1] / "bin" / f"{name}.py").is_file()


def beats(cmd: str) -> bool:
    """Whether a daemon's command is one of ours, so that a heartbeat must be expected."""
    words = cmd.split()
    return bool(words) and own_command(words[0])


@dataclass
class Child:
    """A program under supervision. ``name`` makes up the names of its files in ``pid_HOST``."""

    project: Project
    name: str
    cmd: str
    use_shell: bool
    log: Path
    lock_file: Path
    pid_file: Path | None = None
    pid: int = 0
    since: float = 0.0
    restarts: int = 0
    last_exit: int | None = None
    last_exit_time: float = 0.0
    error: str = ""
    stop_sent: float = 0.0
    _next_try: float = 0.0
    _pause: float = 0.0
    _popen: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def heartbeat_file(self) -> Path:
        """What the daemon touches."""
        return self.project.pid_dir / f"{self.name}.heartbeat"

    def heartbeat_age(self, now: float) -> float | None:
        """Seconds since the last heartbeat; None if there was none since the start."""
        if not self.pid:
            return None
        try:
            return max(0.0, now - self.heartbeat_file.stat().st_mtime)
        except OSError:
            return None

    def may_start(self) -> bool:
        """Whether the pause after the last failure is over."""
        return not self.pid and time.monotonic() >= self._next_try

    def start(self, now: float) -> bool:
        """Start the program; False (and ``error`` set, and a pause begun) if that fails."""
        lock: int | None = None
        try:
            argv = command_line(self.project, self.cmd, self.use_shell)
            lock = try_lock(self.lock_file)
            if lock is None:
                raise ConfigError(f"another process holds {self.lock_file.name}")
            self.heartbeat_file.unlink(missing_ok=True)
            self._spawn(argv, lock)
        except (ConfigError, OSError) as error:
            self.error = error.message if isinstance(error, ConfigError) else f"cannot start: {error}"
            self._back_off()
            return False
        finally:
            if lock is not None:
                os.close(lock)  # the child has its own copy; the lock lasts as long as it lives
        self.since, self.stop_sent, self.error = now, 0.0, ""
        if self.pid_file:
            with contextlib.suppress(OSError):
                self.pid_file.write_text(f"{self.pid}\n")
        return True

    def _spawn(self, argv: list[str], lock: int) -> None:
        environment = {**os.environ, "BOINC_PROJECT_DIR": str(self.project.dir), "BOINCDOCK_DAEMON_NAME": self.name,
                       "PATH": f"{self.project.dir / 'bin'}{os.pathsep}{os.environ.get('PATH', '/usr/bin:/bin')}"}
        output = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            stamp = time.strftime("[%Y/%m/%d %H:%M:%S]")
            if self.log != Path(os.devnull):
                os.write(output, f"{stamp} Executing command: {self.cmd}\n".encode())
            self._popen = subprocess.Popen(argv, cwd=self.project.tmp_dir, env=environment, stdin=subprocess.DEVNULL,
                                           stdout=output, stderr=output, start_new_session=True, umask=0o002,
                                           pass_fds=(lock,), restore_signals=True)
        finally:
            os.close(output)
        self.pid = self._popen.pid

    def ended(self, status: int, now: float, expected: bool) -> None:
        """Take note that the process is gone; ``status`` is the exit status, or minus the signal."""
        if self._popen is not None:
            self._popen.returncode = status  # it was waited for by the supervisor, not by Popen
            self._popen = None
        lived = now - self.since
        self.pid, self.last_exit, self.last_exit_time = 0, status, now
        if self.pid_file:
            self.pid_file.unlink(missing_ok=True)
        if expected:
            self._pause = self._next_try = 0.0
            return
        self.restarts += 1
        self.error = describe_exit(status)
        if lived >= STEADY_SECONDS:
            self._pause = 0.0
        self._back_off()

    def _back_off(self) -> None:
        self._pause = min(BACKOFF[1], max(BACKOFF[0], 2 * self._pause))
        self._next_try = time.monotonic() + self._pause

    def forget_pause(self) -> None:
        """Start at the next occasion."""
        self._pause = self._next_try = 0.0

    def send(self, number: int) -> None:
        """Signal the program and, because it leads a session, the programs it started."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def stop(self, kill_after: float) -> None:
        """Ask the program to end; insist after ``kill_after`` seconds."""
        if not self.pid:
            return
        monotonic = time.monotonic()
        if not self.stop_sent:
            self.stop_sent = monotonic
            self.send(signal.SIGTERM)
        elif monotonic - self.stop_sent > kill_after:
            self.send(signal.SIGKILL)

    def state(self, now: float) -> str:
        """running, starting, stopping, backoff or stopped."""
        if self.pid:
            if self.stop_sent:
                return "stopping"
            waiting = beats(self.cmd) and self.heartbeat_age(now) is None
            return "starting" if waiting or now - self.since < START_SECONDS else "running"
        return "backoff" if self.error else "stopped"


def describe_exit(status: int) -> str:
    """In words."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
        return f"killed by signal {-status}"
    return f"exit status {status}"


def _log_path(project: Project, output: str, suffix: str) -> Path:
    if output.startswith("/dev/"):
        return Path(output)
    path = project.log_dir / output
    return path.with_name(f"{path.stem}{suffix}{path.suffix}") if suffix else path


def daemon_child(project: Project, entry: DaemonEntry, slot: int) -> Child:
    """The child for a daemon; further supervisors (slot > 1) get file names of their own."""
    suffix = "" if slot == 1 else f".r{slot}"
    return Child(project, entry.name + suffix, entry.cmd, entry.use_shell, _log_path(project, entry.output, suffix),
                 project.pid_dir / f"{entry.lock_file}{suffix}",
                 project.pid_dir / f"{entry.pid_file.removesuffix('.pid')}{suffix}.pid")


def task_child(project: Project, entry: TaskEntry) -> Child:
    """The child for a periodic task."""
    return Child(project, entry.name, entry.cmd, entry.use_shell, _log_path(project, entry.output, ""),
                 project.pid_dir / entry.lock_file)


def conflicts(entries: list[DaemonEntry]) -> dict[int, str]:
    """Enabled daemons (by index) that share a pid, log or lock file with an earlier one, and why that is
    refused."""
    taken: dict[tuple[str, str], str] = {}
    found: dict[int, str] = {}
    for i, entry in enumerate(entries):
        if entry.disabled:
            continue
        names = {("pid_file", entry.pid_file), ("lock_file", entry.lock_file)}
        if not entry.output.startswith("/dev/"):
            names.add(("output", entry.output))
        clash = next(((kind, name) for kind, name in sorted(names) if (kind, name) in taken), None)
        if clash:
            kind, name = clash
            found[i] = (f"config.xml line {entry.line}: daemon {entry.cmd!r} has the same {kind} {name!r} as"
                        f" {taken[clash]}; give it an <output>, <pid_file> and <lock_file> of its own")
            continue
        for key in names:
            taken[key] = f"{entry.cmd!r} (line {entry.line})"
    return found
