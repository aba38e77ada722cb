"""A project and stock clients for the end-to-end tests, driven as an operator and a volunteer drive them."""
from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from boincdock.manage import webrpc
from boincdock.manage.shell import Runner
from boincdock.manage.volunteer import Client, project_folder, remove_job_containers, remove_job_images, wipe

ROOT = Path(__file__).parents[2]
VERSIONS = {"7.20.5": "debian:bookworm-slim", "8.0.4": "debian:trixie-slim", "8.2.15": "debian:forky-slim"}
START_SECONDS = 240
JOB_SECONDS = 180
RUNNER = Runner()


def free_port() -> int:
    """A TCP port nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 60, poll: float = 0.5) -> Any:
    """The first true value of ``condition``; the test fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s for {what}", pytrace=False)
        time.sleep(poll)


def docker(*arguments: str, check: bool = True, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run docker."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, check=False)
    if check and done.returncode:
        pytest.fail(f"docker {' '.join(arguments)}:\n{done.stdout.decode()}{done.stderr.decode()}", pytrace=False)
    return done


@dataclass
class World:
    """One project of the tests' own: its environment, and the operator's commands."""

    name: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def master_url(self) -> str:
        """What clients attach to."""
        return f"{self.environment['URL_BASE']}/boincserver/"

    @property
    def proj(self) -> str:
        """The clients' name for the project's folder."""
        return project_folder(self.master_url)

    def run(self, *words: str, check: bool = True, stdin: bytes | None = None, seconds: float = 600,
            **extra: str) -> subprocess.CompletedProcess[str]:
        """Run ``./manage.py WORDS`` as the operator does."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *words], input=stdin, capture_output=True, check=False,
            env={**os.environ, **self.environment, **extra}, timeout=seconds, cwd=self.folder,
        )
        text = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
        if check and done.returncode:
            pytest.fail(f"manage.py {' '.join(words)}: {done.returncode}\n{text.stdout}{text.stderr}", pytrace=False)
        return text

    def json(self, *words: str) -> Any:
        """The JSON document that a verb prints."""
        return json.loads(self.run(*words).stdout)

    def by_hand(self, *words: str, check: bool = True, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run docker-compose in the checkout, as the cookbook's users do."""
        command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        done = subprocess.run([*command, *words], input=stdin, capture_output=True, check=False, cwd=ROOT,
                              env={**os.environ, **self.environment}, timeout=START_SECONDS)
        if check and done.returncode:
            pytest.fail(f"{words}: {done.stdout.decode()}{done.stderr.decode()}", pytrace=False)
        return done

    def container(self, service: str) -> str:
        """The id of a service's running container."""
        done = docker("ps", "-q", "--filter", f"label=com.docker.compose.project={self.name}", "--filter",
                      f"label=com.docker.compose.service={service}")
        return done.stdout.decode().split()[0]

    def sql(self, statement: str) -> list[list[str]]:
        """Rows of a statement, as MariaDB's root through its socket."""
        done = docker("exec", "-u", "root", self.container("mysql"), "mariadb", "--batch", "--skip-column-names",
                      "boincserver", "-e", statement)
        return [line.split("\t") for line in done.stdout.decode().splitlines()]

    def output(self, path: str) -> bytes:
        """A file under /results."""
        return docker("exec", self.container("apache"), "cat", path).stdout

    def account(self) -> str:
        """A fresh account's key, made through the web RPC."""
        mark = uuid.uuid4().hex[:10]
        return webrpc.create_account(self.master_url, f"{mark}@example.org", "secret-1", f"Volunteer {mark}")

    def finished(self, *jobs: str, client: Stock, seconds: float = JOB_SECONDS) -> list[dict[str, Any]]:
        """The jobs once they are done; the client is poked meanwhile. Fails if one fails or takes too long."""
        client.poke(self.master_url)

        def look() -> list[dict[str, Any]] | None:
            client.poke(self.master_url)
            found: list[dict[str, Any]] = self.json("jobs", "--json", *jobs)["jobs"]
            for job in found:
                if job["state"] == "error":
                    pytest.fail(f"job {job['name']} failed: {json.dumps(job, indent=1)}", pytrace=False)
            return found if all(job["state"] == "done" for job in found) else None

        done: list[dict[str, Any]] = wait_for(f"jobs {', '.join(jobs)}", look, seconds, poll=2)
        return done

    def logs(self) -> str:
        """What the server has to say: container logs and the project's log files."""
        parts = [self.run("logs", "--no-color", "--tail=40", check=False).stdout]
        script = "for f in log_*/*.log; do echo \"== $f\"; tail -n 25 $f; done"
        parts.append(self.run("shell", "sh", "-c", script, check=False).stdout)
        return "\n".join(parts)


@dataclass
class Stock:
    """A stock client in a container of its own."""

    version: str
    image: str
    folder: Path
    name: str
    poked: float = 0.0

    @property
    def client(self) -> Client:
        """boinccmd for it."""
        return Client(RUNNER, self.name, str(self.folder))

    def start(self) -> None:
        """Start it and see that it is the version it is meant to be."""
        self.folder.mkdir(parents=True, exist_ok=True)
        docker("run", "-d", "--name", self.name, "--network", "host", "-e", f"BOINC_DATA={self.folder}",
               "-v", "/var/run/docker.sock:/var/run/docker.sock", "-v", f"{self.folder}:{self.folder}", self.image)
        assert self.client.wait_ready() == self.version

    def poke(self, url: str) -> None:
        """Ask it to contact the project, not more often than a project lets clients."""
        if time.monotonic() - self.poked > 6:
            self.poked = time.monotonic()
            self.client.update(url)

    def attach(self, world: World, authenticator: str) -> None:
        """Attach, and wait until the project knows the host."""
        known = world.sql("SELECT COUNT(*) FROM host")[0][0]
        self.client.attach(world.master_url, authenticator)
        wait_for("the client to attach", lambda: world.master_url in self.client.projects())
        wait_for("the host's record", lambda: world.sql("SELECT COUNT(*) FROM host")[0][0] > known, 90)

    def leave(self, url: str) -> None:
        """Detach if attached."""
        if url in self.client.projects():
            self.client.detach(url)
            wait_for("the client to detach", lambda: url not in self.client.projects())

    def remove(self, world: World) -> None:
        """Remove it, what its jobs left on the engine, and its data."""
        docker("rm", "-f", self.name, check=False)
        remove_job_containers(RUNNER, str(self.folder))
        remove_job_images(RUNNER, world.master_url)
        wipe(RUNNER, self.image, self.folder)


def new_world(folder: Path, **extra: str) -> World:
    """A project that nobody has started: its own name, port and settings file."""
    name = f"bde2e{uuid.uuid4().hex[:8]}"
    port = str(free_port())
    environment = {
        "COMPOSE_PROJECT_NAME": name, "PORT": port, "URL_BASE": f"http://127.0.0.1:{port}", "PROJECT": "boincserver",
        "BOINCDOCK_SETTINGS": str(folder / f"{name}.env"), **extra,
    }
    return World(name, folder, environment)
