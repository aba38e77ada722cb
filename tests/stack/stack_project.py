"""A compose project for tests, driven with docker-compose as the cookbook's users do."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).parents[2]
START_SECONDS = 240


def free_port() -> int:
    """A TCP port nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def compose_command() -> list[str]:
    """`docker compose` if this machine has it, else docker-compose 1.29."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.fail("no docker compose on this machine", pytrace=False)


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true value of ``condition``; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.3)


@dataclass
class Project:
    """One compose project."""

    name: str
    variables: dict[str, str]
    directory: Path = ROOT
    command: list[str] = field(default_factory=compose_command)

    @property
    def url_base(self) -> str:
        """URL_BASE."""
        return self.variables["URL_BASE"]

    @property
    def project(self) -> str:
        """PROJECT."""
        return self.variables.get("PROJECT", "boincserver")

    @property
    def master_url(self) -> str:
        """What clients attach to."""
        return f"{self.url_base}/{self.project}/"

    def compose(self, *arguments: str, check: bool = True, timeout: float = START_SECONDS, stdin: bytes | None = None,
                **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run compose; ``variables`` replace the project's for this call."""
        environment = {**os.environ, "COMPOSE_PROJECT_NAME": self.name, **self.variables, **variables}
        done = subprocess.run([*self.command, *arguments], cwd=self.directory, env=environment, input=stdin,
                              capture_output=True, check=False, timeout=timeout)
        if check and done.returncode:
            pytest.fail(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout.decode()}\n"
                        f"{done.stderr.decode()}\n{self.logs()}", pytrace=False)
        return done

    def logs(self, *services: str) -> str:
        """The services' latest lines."""
        environment = {**os.environ, "COMPOSE_PROJECT_NAME": self.name, **self.variables}
        done = subprocess.run([*self.command, "logs", "--no-color", "--tail", "40", *services], cwd=self.directory,
                              env=environment, capture_output=True, check=False, timeout=60)
        return done.stdout.decode(errors="replace")

    def container(self, service: str) -> str:
        """The container's id, also of one that has exited; '' if there is none."""
        labels = [f"label=com.docker.compose.project={self.name}", f"label=com.docker.compose.service={service}",
                  "label=com.docker.compose.oneoff=False"]
        done = subprocess.run(["docker", "ps", "-a", "-q", "--no-trunc", *(w for f in labels for w in ("--filter", f))],
                              capture_output=True, check=True)
        return done.stdout.decode().strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """`docker inspect` of a service's container."""
        done = subprocess.run(["docker", "inspect", self.container(service)], capture_output=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)[0]
        return found

    def run_in(self, service: str, *command: str, user: str | None = None, check: bool = True,
               stdin: bytes | None = None) -> str:
        """Run a command in a service's container; its standard output."""
        options = ["--user", user] if user else []
        done = subprocess.run(["docker", "exec", "-i", *options, self.container(service), *command],
                              input=stdin, capture_output=True, check=False, timeout=120)
        if check and done.returncode:
            pytest.fail(f"{command} in {service}: exit {done.returncode}\n{done.stderr.decode()}", pytrace=False)
        return done.stdout.decode()

    def sql(self, statement: str) -> list[list[str]]:
        """Rows of a statement, as MariaDB's root through the socket."""
        database = self.variables.get("DB_NAME") or self.project
        text = self.run_in("mysql", "mariadb", "--batch", "--skip-column-names", database, "-e", statement,
                           user="root")
        return [line.split("\t") for line in text.splitlines()]

    def up(self, **variables: str) -> None:
        """`up -d`, and wait until everything is healthy."""
        self.variables.update(variables)
        self.compose("up", "-d")
        self.wait_healthy()

    def wait_healthy(self) -> None:
        """Until mysql, apache and daemons say they are."""
        for service in ("mysql", "apache", "daemons"):
            wait_for(f"{service} healthy\n{self.logs(service)}",
                     lambda s=service: self.inspect(s)["State"]["Health"]["Status"] == "healthy")  # type: ignore[misc]

    def get(self, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> requests.Response:
        """GET a path below URL_BASE, redirects not followed."""
        return requests.get(self.url_base + path, headers=dict(headers or {}), timeout=30, allow_redirects=False,
                            **options)

    def volume_files(self, volume: str) -> dict[str, str]:
        """SHA-256 of each file in a volume, by path."""
        script = "cd /v && find . -type f -exec sha256sum {} +"
        done = subprocess.run(["docker", "run", "--rm", "--network", "none", "--user", "root", "-v",
                               f"{self.name}_{volume}:/v:ro", self.image("makeproject"), "sh", "-c", script],
                              capture_output=True, check=True)
        return {line.split(maxsplit=1)[1]: line.split()[0] for line in done.stdout.decode().splitlines()}

    def volume_read(self, volume: str, path: str) -> bytes:
        """A file of a volume."""
        done = subprocess.run(["docker", "run", "--rm", "--network", "none", "--user", "root", "-v",
                               f"{self.name}_{volume}:/v:ro", self.image("makeproject"), "cat", f"/v/{path}"],
                              capture_output=True, check=True)
        return done.stdout

    def image(self, name: str) -> str:
        """An image of ours."""
        version, tag = self.variables.get("VERSION", "latest"), self.variables.get("TAG", "")
        return f"boincdock/server_{name}:{version}{tag}"

    def secret(self, key: str) -> str:
        """A value of secrets.env."""
        lines = self.volume_read("secrets", "secrets.env").decode().splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{key}="))

    def wipe(self) -> None:
        """`down -v`."""
        self.compose("down", "-v", "--remove-orphans", check=False)


def new_project(kind: str, **variables: str) -> Project:
    """A project with a name and a port of its own; nothing is started yet."""
    port = variables.pop("PORT", "") or str(free_port())
    base = {"PORT": port, "URL_BASE": f"http://127.0.0.1:{port}", "PROJECT": "boincserver", "TAG": "",
            "VERSION": "latest"}
    return Project(f"bdtest{kind}{uuid.uuid4().hex[:8]}", {**base, **variables})


def digest(data: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(data).hexdigest()
