"""The apache service's first process: runs httpd, reloads it when makeproject changed something.

Stops httpd gracefully on SIGTERM or SIGINT, passes on its exit status, and collects orphaned processes, as the
first process of a container must.
"""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType

from boincdock.errors import ConfigError

CONFIG = Path("/etc/boincdock/httpd.conf")
RUN_DIR = Path("/run/boincdock")
POLL_SECONDS = 2.0
STOP_SECONDS = 12.0
# Threads read requests, however slowly they come; of those that are there a process answers a few at a time
# (decision 0118). A body may have 40 MiB, so processes x threads x 40 MiB must fit into the container's memory.
DEFAULTS = {
    "SCHEDULER_PROCESSES": "4", "SCHEDULER_THREADS": "8",
    "SCHEDULER_WORKERS": "2",
    "UPLOAD_PROCESSES": "2", "UPLOAD_THREADS": "16",
    "WEB_PROCESSES": "2", "WEB_THREADS": "16",
}


def environment(root: Path, project: str) -> dict[str, str]:
    """What httpd.conf refers to; ConfigError for a number that is none."""
    values = {name: os.environ.get(name) or default for name, default in DEFAULTS.items()}
    for name, value in values.items():
        if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 500):
            raise ConfigError(f"{name} {value!r} must be a number from 1 to 500")
    package = Path(__file__).parents[1]
    return {**os.environ, **values, "PROJECT": project, "PROJECT_ROOT": str(root), "BOINC_PROJECT_DIR": str(root),
            "BOINCDOCK": str(package), "PYTHONPATH": str(package.parent)}


def _stamp(marker: Path) -> int:
    try:
        return marker.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


class Server:
    """httpd and what belongs to it."""

    def __init__(self, root: Path, project: str) -> None:
        self._root = root
        self._marker = root / f".built_{project}"
        self._environment = environment(root, project)
        self._project = project
        self._stopping = False

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def run(self) -> int:
        """Until httpd ends; its exit status."""
        vhost = self._root / f"{self._project}.httpd.conf"
        if not vhost.is_file() or not self._marker.is_file():
            raise ConfigError(f"{self._root} holds no finished project {self._project}",
                              "the service makeproject has to succeed first: docker-compose logs makeproject")
        with contextlib.suppress(FileNotFoundError):
            (RUN_DIR / "httpd.pid").unlink()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        seen = _stamp(self._marker)
        os.umask(0o002)
        httpd = subprocess.Popen(["/usr/sbin/apache2", "-f", str(CONFIG), "-D", "FOREGROUND"], env=self._environment)
        while not self._stopping:
            if (status := self._reap(httpd, POLL_SECONDS)) is not None:
                return status
            if (now := _stamp(self._marker)) != seen:
                seen = now
                self._reload(httpd)
        return self._shut_down(httpd)

    def _reload(self, httpd: subprocess.Popen[bytes]) -> None:
        """Take up a new configuration, if it is one: a broken file must not stop what runs."""
        check = subprocess.run(["/usr/sbin/apache2", "-f", str(CONFIG), "-t"], env=self._environment,
                               capture_output=True, check=False, text=True)
        if check.returncode:
            print(f"the new httpd configuration is not used: {check.stderr.strip()}", flush=True)
        else:
            print("the project changed: httpd reloads", flush=True)
            httpd.send_signal(signal.SIGUSR1)

    def _reap(self, httpd: subprocess.Popen[bytes], seconds: float) -> int | None:
        """Wait up to so long; httpd's exit status if it ended. Also buries adopted orphans."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._stopping:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return httpd.poll() or 0
            if pid == httpd.pid:
                return os.waitstatus_to_exitcode(status)
            if pid == 0:
                time.sleep(0.2)
        return None

    def _shut_down(self, httpd: subprocess.Popen[bytes]) -> int:
        """Let requests under way finish, then end it."""
        httpd.send_signal(signal.SIGWINCH)
        try:
            httpd.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            httpd.terminate()
            httpd.wait()
        return 0
