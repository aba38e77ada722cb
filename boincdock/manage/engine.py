"""The Docker engine of this machine: is it there, which images and containers it has, exec into one."""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from boincdock.errors import BoincdockError
from boincdock.manage.shell import NOT_FOUND, Result, Runner

HINT_INSTALL = "install Docker (Debian, Ubuntu: apt-get install docker.io docker-compose); then: ./manage.py doctor"
HINT_START = "start it (systemctl start docker), or set DOCKER_HOST if it runs elsewhere; then: ./manage.py doctor"
HINT_GROUP = "add yourself to its group (sudo usermod -aG docker $USER, then log in again) or use sudo"


class EngineError(BoincdockError):
    """The Docker engine is missing, not running, or may not be used."""


@dataclass(frozen=True)
class Container:
    """One container of a compose project."""

    id: str
    service: str
    state: str
    health: str | None
    exit_code: int
    image: str
    oneoff: bool
    ports: tuple[int, ...]

    @property
    def running(self) -> bool:
        """True while its process lives."""
        return self.state == "running"


class Engine:
    """The docker command line; every method raises EngineError or CommandError with a clear line."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def version(self) -> str:
        """The engine's version; EngineError if it cannot be used."""
        result = self.runner.run(["docker", "version", "--format", "{{.Server.Version}}"], check=False, timeout=30)
        if result.ok and result.text.strip():
            return result.text.strip()
        raise explain(result)

    def has_image(self, name: str) -> bool:
        """True if the engine holds the image."""
        return self.runner.run(["docker", "image", "inspect", "--format", "{{.Id}}", name], check=False).ok

    def image_label(self, name: str, label: str) -> str | None:
        """A label of an image; None if either is missing."""
        form = '{{index .Config.Labels "%s"}}' % label  # noqa: UP031  (a Go template full of braces)
        result = self.runner.run(["docker", "image", "inspect", "--format", form, name], check=False)
        text = result.text.strip()
        return text if result.ok and text not in ("", "<no value>") else None

    def containers(self, compose_name: str) -> list[Container]:
        """All containers of a compose project, running or not."""
        label = f"label=com.docker.compose.project={compose_name}"
        ids = self.runner.run(["docker", "ps", "-aq", "--no-trunc", "--filter", label]).text.split()
        if not ids:
            return []
        # A container may vanish between the two commands; inspect then fails for it and prints the others.
        found = self.runner.run(["docker", "inspect", *ids], check=False)
        return [_container(item) for item in json.loads(found.text or "[]")]

    def exec_argv(
        self, container: str, command: Sequence[str], *, tty: bool = False, workdir: str | None = None,
        user: str | None = None, stdin: bool = False,
    ) -> list[str]:
        """The command line that runs ``command`` in a running container."""
        options = ["-it"] if tty else ["-i"] if stdin else []
        if workdir:
            options += ["-w", workdir]
        if user:
            options += ["-u", user]
        return ["docker", "exec", *options, container, *command]

    def volume_exists(self, name: str) -> bool:
        """True if there is a volume of that name."""
        return self.runner.run(["docker", "volume", "inspect", name], check=False).ok


def explain(result: Result) -> EngineError:
    """Why `docker version` failed, in a sentence and a hint."""
    text = result.errors.lower()
    if result.status == NOT_FOUND:
        return EngineError("Docker is not installed on this machine (no docker command)", HINT_INSTALL)
    if "permission denied" in text:
        return EngineError("you may not use the Docker engine (permission denied on its socket)", HINT_GROUP)
    if result.status == 124:
        return EngineError("the Docker engine does not answer", HINT_START)
    if "cannot connect" in text or "connection refused" in text or "no such file" in text or "dial " in text:
        return EngineError("the Docker engine is not running", HINT_START)
    first = next((line for line in result.errors.splitlines() if line.strip()), "no answer")
    return EngineError(f"the Docker engine cannot be used: {first.strip()}", HINT_START)


def _container(item: dict[str, Any]) -> Container:
    labels = item["Config"].get("Labels") or {}
    state = item["State"]
    ports = set()
    for bindings in ((item.get("NetworkSettings") or {}).get("Ports") or {}).values():
        ports |= {int(b["HostPort"]) for b in bindings or [] if b.get("HostPort")}
    return Container(
        id=item["Id"], service=labels.get("com.docker.compose.service", ""), state=state["Status"],
        health=(state.get("Health") or {}).get("Status"), exit_code=int(state.get("ExitCode", 0)),
        image=item["Config"].get("Image", ""), oneoff=labels.get("com.docker.compose.oneoff", "").lower() == "true",
        ports=tuple(sorted(ports)),
    )
