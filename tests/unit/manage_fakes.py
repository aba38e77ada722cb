"""A machine that is not there: a Runner that answers from a table and remembers what it was asked."""
from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from boincdock.manage.context import App
from boincdock.manage.shell import CommandError, Result, Runner
from boincdock.manage.ui import Ui

Answer = Result | Callable[[list[str]], Result]
NO_ENGINE = Result(1, b"", b"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?")
COMPOSE_CONFIG = b"""\
networks:
  backend: {}
services:
  apache:
    image: boincdock/server_apache:latest
    environment:
      image: not-this-one
  makeproject:
    image: boincdock/server_makeproject:latest
  mysql:
    image: boincdock/server_mysql:latest
volumes:
  secrets: {}
"""


def ok(text: str | bytes = "") -> Result:
    return Result(0, text.encode() if isinstance(text, str) else text, b"")


def failed(text: str, status: int = 1) -> Result:
    return Result(status, b"", text.encode())


class FakeRunner(Runner):
    """Answers are looked up by the longest key that the command line (compose's options removed) starts with."""

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = {
            "docker version": ok("20.10.24\n"),
            "docker compose version": failed("docker: 'compose' is not a docker command."),
            "docker-compose version": ok("1.29.2\n"),
            "docker-compose config": ok(COMPOSE_CONFIG),
            "docker image inspect": ok("sha256:1\n"),
            "docker ps": ok(),
            "docker info": ok("/nonexistent\n"),
            **(answers or {}),
        }
        self.calls: list[list[str]] = []
        self.stdin: list[bytes | None] = []
        self.env: list[dict[str, str]] = []
        self.programs = {"mmdebstrap", "docker"}

    def lines(self) -> list[str]:
        """The command lines so far, compose's own options removed."""
        return [key_of(argv) for argv in self.calls]

    def did(self, start: str) -> bool:
        return any(line.startswith(start) for line in self.lines())

    def run(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, stdin: bytes | None = None,
            check: bool = True, timeout: float | None = None, hint: str | None = None) -> Result:
        self.calls.append(list(argv))
        self.stdin.append(stdin)
        self.env.append(dict(env or {}))
        line = key_of(argv)
        matching = [key for key in self.answers if line.startswith(key)]
        answer = self.answers[max(matching, key=len)] if matching else ok()
        result = answer(list(argv)) if callable(answer) else answer
        if check and not result.ok:
            raise CommandError(argv, result.status, result.errors, hint)
        return result

    def stream(self, argv: Sequence[str], on_line: Callable[[str], None], *, env: Mapping[str, str] | None = None,
               check: bool = True, hint: str | None = None) -> int:
        result = self.run(argv, env=env, check=check, hint=hint)
        for line in result.text.splitlines():
            on_line(line)
        return result.status

    def save(self, argv: Sequence[str], path: Path, *, stdin: bytes | None = None) -> None:
        path.write_bytes(self.run(argv, stdin=stdin).stdout)

    def interactive(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        return self.run(argv, env=env, check=False).status

    def pipe(self, source: Sequence[str], sink: Sequence[str], *, env: Mapping[str, str] | None = None,
             hint: str | None = None) -> None:
        self.run(source, env=env, hint=hint)
        self.run(sink, env=env, hint=hint)

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}" if program in self.programs else None


def key_of(argv: Sequence[str]) -> str:
    words = list(argv)
    start = 1 if words[0] == "docker-compose" else 2 if words[:2] == ["docker", "compose"] else None
    while start and words[start : start + 1] and words[start] in ("--project-directory", "-f", "-p"):
        del words[start : start + 2]
    return shlex.join(words)


def inspected(service: str, state: str = "running", health: str | None = "healthy", exit_code: int = 0,
              port: int | None = None) -> dict[str, Any]:
    """One element of `docker inspect`."""
    ports = {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(port)}]} if port else {}
    status: dict[str, Any] = {"Status": state, "ExitCode": exit_code}
    if health:
        status["Health"] = {"Status": health}
    return {"Id": f"id-{service}", "State": status, "NetworkSettings": {"Ports": ports},
            "Config": {"Image": "x", "Labels": {"com.docker.compose.service": service,
                                                "com.docker.compose.oneoff": "False"}}}


def healthy(port: int = 80) -> list[dict[str, Any]]:
    return [inspected("secrets", "exited", None), inspected("makeproject", "exited", None), inspected("mysql"),
            inspected("apache", port=port), inspected("daemons")]


def with_containers(found: list[dict[str, Any]]) -> dict[str, Answer]:
    ids = "\n".join(item["Id"] for item in found)
    return {"docker ps -aq --no-trunc": ok(ids), "docker inspect": ok(json.dumps(found))}


def make_app(root: Path, runner: FakeRunner, **options: str) -> App:
    """An App in a folder that looks like a checkout."""
    (root / "docker-compose.yml").write_text("services: {}\n")
    (root / ".env").write_text("URL_BASE=http://127.0.0.1\nPROJECT=boincserver\nPORT=80\nVERSION=latest\nTAG=\n")
    return App(root=root, runner=runner, ui=Ui(), options=dict(options))
