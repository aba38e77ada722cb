"""The frame every daemon runs in: options, loop, heartbeat, stopping (spec 03 section 17).

A daemon is a class with ``run_once() -> int`` (units of work done; 0 = nothing to do). The frame calls it
until it is idle, then sleeps. It ends after the current piece of work on SIGTERM, SIGHUP or SIGINT, or when
the file ``stop_daemons`` appears in the project folder; it touches ``pid_HOST/<name>.heartbeat`` as long as
it makes headway. A lost database is waited for, with growing pauses; any other unforeseen error ends the
process, and the supervisor starts it anew.
"""
from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import boincdock
from boincdock import log
from boincdock.config import Project, load_project
from boincdock.db import Connection, RetryableError, connect
from boincdock.errors import DatabaseError, InputError

logger = logging.getLogger("boincdock.daemon")

HEARTBEAT_PERIOD = 1.0
STOP_CHECK_PERIOD = 1.0
MAX_DATABASE_PAUSE = 60.0


class Daemon:
    """Base class. Subclasses set ``name`` and ``default_sleep`` and define ``run_once``; they may extend
    ``add_options`` and ``setup``. ``self.db`` is a connection of this process only."""

    name: ClassVar[str] = "daemon"
    default_sleep: ClassVar[float] = 5.0
    needs_app: ClassVar[bool] = False
    stop_after_units: int = 0

    def __init__(self, project: Project, db: Connection, options: argparse.Namespace,
                 clock: Callable[[], float] = time.time) -> None:
        self.project = project
        self.db = db
        self.options = options
        self.clock = clock
        self._stop = threading.Event()
        self._stop_checked = 0.0
        self._beat_at = 0.0
        self._heartbeat_file: Path | None = None

    # ---- what subclasses define -------------------------------------------------------------------------
    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the daemon's own options."""

    def setup(self) -> None:
        """Called once before the first pass, with the database reachable; may raise BoincdockError."""

    def run_once(self) -> int:
        """Do a batch of work; the number of units done, 0 if there was none."""
        raise NotImplementedError

    # ---- what subclasses use ----------------------------------------------------------------------------
    @property
    def now(self) -> int:
        """Unix time in whole seconds."""
        return int(self.clock())

    @property
    def mod(self) -> tuple[int, int]:
        """(n, i) of ``--mod n i``: this copy handles ids with id mod n = i. (1, 0) without the option."""
        n, i = self.options.mod or (1, 0)
        return n, i

    def stopping(self) -> bool:
        """True if the daemon should end; cheap enough to ask between any two pieces of work."""
        self.beat()
        if self._stop.is_set():
            return True
        monotonic = time.monotonic()
        if monotonic - self._stop_checked >= STOP_CHECK_PERIOD:
            self._stop_checked = monotonic
            if not self.options.one_pass and self.project.trigger("stop_daemons").exists():
                logger.info("found stop_daemons: ending")
                self._stop.set()
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the daemon to end after the current piece of work."""
        self._stop.set()

    def beat(self) -> None:
        """Show that there is headway (at most one touch a second)."""
        monotonic = time.monotonic()
        if self._heartbeat_file is None or monotonic - self._beat_at < HEARTBEAT_PERIOD:
            return
        self._beat_at = monotonic
        with contextlib.suppress(OSError):
            self._heartbeat_file.touch()

    def app_id(self) -> int:
        """The id of the app named by ``--app``; ``InputError`` if the project has no such app."""
        row = self.db.one("lifecycle.app_by_name", name=self.options.app)
        if row is None:
            raise InputError(f"the project has no app {self.options.app!r}", hint="bin/xadd adds apps of project.xml")
        return int(row["id"])

    # ---- the loop ---------------------------------------------------------------------------------------
    def run(self) -> int:
        """Work until asked to stop (or, with ``--one_pass``, until there is nothing to do); the exit status."""
        pause = 1.0
        is_set_up = False
        done = 0
        while not self.stopping():
            try:
                if not is_set_up:
                    self.setup()
                    is_set_up = True
                count = self.run_once()
                pause = 1.0
            except RetryableError as error:
                # Other programs won a fight for rows several times over; nothing is wrong and nothing is lost.
                logger.warning("%s; trying again in %.0f s", error.message, pause)
                self._sleep(pause)
                continue
            except DatabaseError as error:
                if self.options.one_pass:
                    raise
                logger.critical("%s; trying again in %.0f s", error.message, pause)
                self.db.close()
                self._sleep(pause)
                pause = min(2 * pause, MAX_DATABASE_PAUSE)
                continue
            done += count
            if self.stop_after_units and done >= self.stop_after_units:
                break
            if not count:
                if self.options.one_pass:
                    break
                self._sleep(self.options.sleep_interval)
        return 0

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.stopping():
            left = end - time.monotonic()
            if left <= 0:
                return
            self._stop.wait(min(left, STOP_CHECK_PERIOD))

    def attach_process(self) -> None:
        """Take signals and start the heartbeat; called once by ``main``, not by tests in one process."""
        def on_signal(number: int, _frame: FrameType | None) -> None:
            self._stop.set()

        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, on_signal)
        if not self.options.one_pass:
            name = os.environ.get("BOINCDOCK_DAEMON_NAME") or self.default_name()
            with contextlib.suppress(OSError):
                self.project.pid_dir.mkdir(parents=True, exist_ok=True)
            self._heartbeat_file = self.project.pid_dir / f"{name}.heartbeat"
            self.beat()

    def default_name(self) -> str:
        """What the daemon is called when the supervisor gives it no name: program, and app if it has one."""
        app = getattr(self.options, "app", None)
        return f"{self.name}.{app}" if app else self.name


def add_common_options(parser: argparse.ArgumentParser, kind: type[Daemon]) -> None:
    """The options all daemons share."""
    parser.add_argument("-d", "--debug_level", type=int, default=3, metavar="N",
                        help="log level: 1 critical, 2 warnings, 3 normal (default), 4 debug")
    parser.add_argument("--one_pass", action="store_true", help="do what is due now, then exit")
    parser.add_argument("--sleep_interval", type=float, default=kind.default_sleep, metavar="S",
                        help=f"seconds to sleep when idle (default {kind.default_sleep:g})")
    parser.add_argument("--mod", nargs=2, type=int, metavar=("N", "I"),
                        help="handle only ids with id mod N = I (0 <= I < N)")
    parser.add_argument("-v", "--version", action="version", version=f"boincdock {version()}")
    if kind.needs_app:
        parser.add_argument("--app", required=True, metavar="NAME", help="short name of the app")
    kind.add_options(parser)


def version() -> str:
    """The version of boincdock."""
    return str(getattr(boincdock, "__version__", "unknown"))


def check_common_options(options: argparse.Namespace) -> None:
    """``InputError`` for values that make no sense."""
    if not 1 <= options.debug_level <= 4:
        raise InputError(f"-d {options.debug_level}: the log level is 1 to 4")
    if options.sleep_interval < 0:
        raise InputError("--sleep_interval must not be negative")
    if options.mod and not 0 <= options.mod[1] < options.mod[0]:
        raise InputError(f"--mod {options.mod[0]} {options.mod[1]}: the second number must be at least 0 and below"
                         " the first")


def main(kind: type[Daemon], parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """Run a daemon class as a command: parse, load the project, loop. The body of most ``bin`` modules."""
    add_common_options(parser, kind)
    options = parser.parse_args(argv)
    check_common_options(options)
    log.setup(options.debug_level)
    project = load_project()
    for warning in project.warnings:
        logger.debug("%s", warning)
    daemon = build(kind, project, options)
    daemon.attach_process()
    logger.info("%s starting (pid %d)", daemon.default_name(), os.getpid())
    try:
        status = daemon.run()
    finally:
        daemon.db.close()
    logger.info("%s ending", daemon.default_name())
    return status


def build(kind: type[Daemon], project: Project, options: argparse.Namespace,
          db: Connection | None = None, **kwargs: Any) -> Daemon:
    """An instance with a connection of its own unless one is given."""
    return kind(project, db or connect(project.config), options, **kwargs)
