"""The same project with `docker compose` v2 and with Debian trixie's Python and libraries instead of PyPI's."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from e2e_world import ROOT, World, docker

from boincdock.manage import baseimage
from boincdock.manage.shell import Runner
from boincdock.manage.ui import Ui

IMAGE = "boincdock/test-compose-v2"


@pytest.fixture(scope="session")
def machine() -> str:
    """The image of that machine."""
    baseimage.ensure(Runner(), Ui(), "debian:trixie-slim")
    docker("build", "-q", "-t", IMAGE, str(Path(__file__).parent / "compose_v2"))
    return IMAGE


def _on(machine: str, world: World, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    variables = {**world.environment, "BOINCDOCK_NO_VENV": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    flags = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "host", "-v", "/var/run/docker.sock:/var/run/docker.sock", "-v",
         f"{ROOT}:{ROOT}:ro", "-v", f"{world.folder}:{world.folder}", *flags, "-w", str(ROOT), machine, "python3",
         str(ROOT / "manage.py"), *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        pytest.fail(f"{words}: {done.stdout}{done.stderr}", pytrace=False)
    return done


def test_up_status_secrets_down_with_compose_v2(machine: str, unstarted_world: World) -> None:
    world = unstarted_world
    findings = json.loads(_on(machine, world, "doctor", "--json").stdout)
    compose = next(finding for finding in findings if finding["name"] == "compose")
    assert compose["message"].startswith("docker compose 2.")
    _on(machine, world, "up", "--no-build")
    before = {service: world.container(service) for service in ("mysql", "apache", "daemons")}
    shown = _on(machine, world, "secrets", "show", "--json").stdout
    _on(machine, world, "up", "--no-build")
    assert {service: world.container(service) for service in before} == before
    report = json.loads(_on(machine, world, "status", "--json").stdout)
    assert report["healthy"] is True
    assert all(daemon["running"] for daemon in report["daemons"])
    job = json.loads(_on(machine, world, "create-work", "--json", "debian:trixie-slim", "true").stdout)
    assert world.sql(f"SELECT name FROM workunit WHERE id = {job['id']}") == [[job["name"]]]

    _on(machine, world, "down")
    assert docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={world.name}").stdout == b""
    _on(machine, world, "up", "--no-build")
    assert _on(machine, world, "secrets", "show", "--json").stdout == shown
    _on(machine, world, "down", "-v", "--yes")
    left = docker("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={world.name}").stdout
    assert left == b""
