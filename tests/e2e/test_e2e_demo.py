"""The demo on a fresh project and again; then the same by hand, as the cookbook's users do it."""
from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_world import RUNNER, VERSIONS, World, docker, wait_for

from boincdock.manage import baseimage
from boincdock.manage.context import ROOT
from boincdock.manage.ui import Ui
from boincdock.manage.volunteer import Client

FIRST_SECONDS, SECOND_SECONDS = 300, 120


@pytest.fixture
def no_volunteer_left(unstarted_world: World) -> Iterator[World]:
    """A project that is not up yet; its volunteer is removed afterwards."""
    yield unstarted_world
    unstarted_world.run("volunteer", "stop", check=False)


def _check(world: World, jobs: list[dict]) -> None:
    assert [job["app"] for job in jobs] == ["worker", "docker"]
    for job in jobs:
        row = world.sql("SELECT r.validate_state, r.granted_credit FROM result r JOIN workunit w ON r.workunitid = w.id"
                        f" WHERE w.name = '{job['name']}'")
        assert row[0][0] == "1"
        assert float(row[0][1]) > 0
        assert docker("exec", world.container("apache"), "test", "-s", job["outputs"][0], check=False).returncode == 0
    assert jobs[0]["content"].startswith("HELLO BOINCDOCK")
    assert jobs[1]["content"].startswith("Hello BOINC")


def test_demo_twice_then_by_hand(no_volunteer_left: World, tmp_path: Path) -> None:
    world = no_volunteer_left
    baseimage.ensure(RUNNER, Ui(), VERSIONS["8.2.15"])
    start = time.monotonic()
    first = world.run("demo", "--no-build", "--json")
    assert time.monotonic() - start <= FIRST_SECONDS
    _check(world, json.loads(first.stdout)["jobs"])
    assert "on the volunteer: running" in first.stderr
    start = time.monotonic()
    second = world.run("demo", "--no-build", "--json")
    assert time.monotonic() - start <= SECOND_SECONDS
    _check(world, json.loads(second.stdout)["jobs"])
    users = world.sql("SELECT COUNT(*) FROM user WHERE total_credit > 0")[0][0]
    assert users == "2"

    # By hand, with docker-compose alone.
    assert world.by_hand("exec", "-T", "apache", "pwd").stdout.decode().strip() == "/home/boincadm/project"
    status = world.by_hand("exec", "-T", "apache", "bin/status").stdout.decode()
    assert "BOINC is ENABLED" in status
    assert "transitioner" in status
    script = "echo cookbook > /tmp/words.txt; bin/stage_file --copy /tmp/words.txt"
    world.by_hand("exec", "-T", "apache", "sh", "-c", script)
    made = world.by_hand("exec", "-T", "apache", "bin/create_work", "--appname", "worker", "--wu_name", "by_hand_1",
                         "words.txt")
    assert made.returncode == 0
    volunteer = Client(RUNNER, world.container("volunteer"), str(_volunteer_data(world)))

    def made_by_hand() -> bool:
        # The client found no work meanwhile and puts off its next request, by minutes if it likes.
        volunteer.update(world.master_url)
        return _state(world, "by_hand_1") == "done"

    wait_for("the job made by hand", made_by_hand, 120, poll=6)
    output = world.by_hand("exec", "-T", "apache", "cat", "/results/worker/by_hand_1/out").stdout
    assert output == b"COOKBOOK\n"

    world.run("volunteer", "stop")
    left = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={world.name}", "--filter",
                  "label=com.docker.compose.service=volunteer").stdout
    assert left == b""
    assert not _volunteer_data(world).exists()


def _volunteer_data(world: World) -> Path:
    return ROOT / ".boincdock" / f"volunteer-{world.name}"


def _state(world: World, name: str) -> str:
    return str(world.json("jobs", "--json", name)["jobs"][0]["state"])


def test_up_twice_changes_nothing_and_status_tells(fresh_world: World) -> None:
    before = {service: fresh_world.container(service) for service in ("mysql", "apache", "daemons")}
    started = docker("inspect", "--format", "{{.State.StartedAt}}", *before.values()).stdout
    fresh_world.run("up", "--no-build")
    assert {service: fresh_world.container(service) for service in before} == before
    assert docker("inspect", "--format", "{{.State.StartedAt}}", *before.values()).stdout == started
    report = fresh_world.json("status", "--json")
    assert report["healthy"] is True
    assert {daemon["name"] for daemon in report["daemons"] if daemon["running"]} >= {"transitioner", "file_deleter"}
    assert report["counts"]["unsent"] == 0
    fresh_world.run("create-work", "debian:trixie-slim", "true")
    assert wait_for("the new job to be counted", lambda: fresh_world.json("status", "--json")["counts"]["unsent"] == 1)
