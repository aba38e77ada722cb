"""What this machine needs to run boincdock, what is missing, and how to mend it."""
from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from boincdock.errors import BoincdockError
from boincdock.manage import baseimage, compose
from boincdock.manage.engine import Engine
from boincdock.manage.settings import Settings
from boincdock.manage.shell import Runner

MIN_ENGINE = (19, 3)
MIN_FREE_GIB = 5.0
MIN_MEMORY_GIB = 1.5


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. ``level`` is ok, warning or error; an error stops `up`."""

    name: str
    level: str
    message: str
    hint: str | None = None


class PortTaken(BoincdockError):
    """Another program listens on the published port."""


class Doctor:
    """Runs the checks in order; a failing one does not keep the others from running."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        self.runner = runner
        self.settings = settings
        self.engine = Engine(runner)

    def run(self) -> list[Finding]:
        """Everything worth knowing, for `doctor`."""
        return list(self._checks([
            self._python, self._docker, self._compose, self._buildable, self._base_image, self._port, self._disk,
            self._memory, self._clock,
        ]))

    def preflight(self) -> None:
        """What must be right before anything is started; raises BoincdockError for the first that is not."""
        for finding in self._checks([self._docker, self._compose, self._port, self._disk]):
            if finding.level == "error":
                raise BoincdockError(finding.message, finding.hint)

    def _checks(self, checks: Iterable[Callable[[], Finding]]) -> Iterable[Finding]:
        for check in checks:
            name = check.__name__.strip("_").replace("_", " ")
            try:
                yield check()
            except BoincdockError as error:
                yield Finding(name, "error", error.message, error.hint)

    def _python(self) -> Finding:
        return Finding("python", "ok", f"Python {sys.version.split()[0]}")

    def _docker(self) -> Finding:
        version = self.engine.version()
        numbers = tuple(int(n) for n in version.split("+")[0].split("-")[0].split(".")[:2] if n.isdigit())
        if numbers < MIN_ENGINE:
            return Finding("docker", "error", f"Docker engine {version} is too old", "19.03 or newer is needed")
        return Finding("docker", "ok", f"Docker engine {version}")

    def _compose(self) -> Finding:
        command, version = compose.detect(self.runner)
        return Finding("compose", "ok", f"{' '.join(command)} {version}")

    def _buildable(self) -> Finding:
        machine = platform.machine()
        if machine in ("x86_64", "AMD64", "aarch64", "arm64"):
            return Finding("machine", "ok", f"{platform.system()} on {machine}")
        return Finding("machine", "warning", f"boincdock has not been tried on {machine}")

    def _base_image(self) -> Finding:
        name = self.settings["BASE_IMAGE"]
        if self.engine.has_image(name):
            return Finding("base image", "ok", f"{name} is present")
        if baseimage.suite_of(name) is None:
            return Finding("base image", "ok", f"{name} is not here; `up` will pull it")
        how = "pull it, or make it from Debian packages with mmdebstrap"
        if self.runner.which("mmdebstrap"):
            return Finding("base image", "ok", f"{name} is not here; `up` will {how}")
        return Finding(
            "base image", "warning", f"{name} is not here; `up` will pull it, but could not make it (no mmdebstrap)",
            "only without a registry in reach: apt-get install mmdebstrap",
        )

    def _port(self) -> Finding:
        port = self.settings.port
        ours = any(
            port in c.ports for c in self.engine.containers(self.settings.compose_name) if c.service == "apache"
        )
        if ours:
            return Finding("port", "ok", f"port {port} is published by this project")
        if taken(port):
            raise PortTaken(
                f"port {port} is taken by another program",
                f"choose another one: ./manage.py up --port {8080 if port != 8080 else 8081}, or stop that program "
                f"(to find it: ss -ltnp 'sport = :{port}')",
            )
        return Finding("port", "ok", f"port {port} is free")

    def _disk(self) -> Finding:
        root = self.runner.run(["docker", "info", "--format", "{{.DockerRootDir}}"], check=False).text.strip()
        path = root if root and os.path.isdir(root) else str(self.settings.root)  # noqa: PTH112  (may be unreadable)
        free = shutil.disk_usage(path).free / 2**30
        if free < 1:
            return Finding("disk", "error", f"only {free:.1f} GiB are free under {path}",
                           "free some space: docker image prune; docker builder prune")
        level = "ok" if free >= MIN_FREE_GIB else "warning"
        return Finding("disk", level, f"{free:.0f} GiB free under {path}",
                       None if level == "ok" else f"a first build wants about {MIN_FREE_GIB:.0f} GiB")

    def _memory(self) -> Finding:
        try:
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        except (ValueError, OSError):
            return Finding("memory", "ok", "memory size unknown")
        if total < MIN_MEMORY_GIB:
            return Finding("memory", "warning", f"{total:.1f} GiB of memory is little", f"{MIN_MEMORY_GIB} GiB or more")
        return Finding("memory", "ok", f"{total:.0f} GiB of memory")

    def _clock(self) -> Finding:
        result = self.runner.run(["timedatectl", "show", "-p", "NTPSynchronized", "--value"], check=False, timeout=5)
        if result.ok and result.text.strip() == "no":
            return Finding("clock", "warning", "the clock is not synchronised; deadlines and credit depend on it",
                           "timedatectl set-ntp true")
        return Finding("clock", "ok", "the clock is kept by the system" if result.ok else "clock not checked")


def taken(port: int) -> bool:
    """True if something listens on the TCP port of this machine, on any address."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            probe = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return True
                if error.errno == errno.EACCES:  # a port below 1024, and we are not root: is anybody there?
                    return _answers(port)
    return False


def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
