"""A running Docker job under stock clients: suspended, resumed, killed at every level, aborted, its project detached.

One client in CI; BOINCDOCK_ALL_CLIENTS=1 runs all three.
"""
from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e_world import JOB_SECONDS, Stock, World, docker, wait_for

NewClient = Callable[[World, str], Stock]
CLIENTS = ["8.2.15", "8.0.4", "7.20.5"] if os.environ.get("BOINCDOCK_ALL_CLIENTS") else ["8.2.15"]


@dataclass
class DockerJob:
    """A job of this test on its client; ``name`` is the workunit's."""

    world: World
    stock: Stock
    name: str

    def tasks(self) -> list[str]:
        """Names of its results on the client."""
        return [task.name for task in self.stock.client.tasks() if task.name.startswith(f"{self.name}_")]

    def tell(self, verb: str) -> None:
        """Suspend, resume or abort it as a volunteer does."""
        for task in self.tasks():
            self.stock.client.boinccmd("--task", self.world.master_url, task, verb)

    def containers(self) -> list[dict[str, Any]]:
        """What the engine says of its containers."""
        names = docker("ps", "-aq", "--filter", f"name=^boinc__{self.world.proj}__{self.name}_").stdout.decode().split()
        done = docker("inspect", *names, check=False) if names else None
        found: list[dict[str, Any]] = json.loads(done.stdout or b"[]") if done else []
        return found

    def state(self) -> str:
        """State of its container, empty if there is none."""
        return next((c["State"]["Status"] for c in self.containers()), "")

    def until(self, state: str, seconds: float = JOB_SECONDS) -> str:
        """Wait for a state of its container; its id, empty if it is gone."""
        def there() -> bool:
            if not self.containers():
                self.stock.poke(self.world.master_url)
            return self.state() == state

        wait_for(f"{self.name} to be {state or 'gone'}", there, seconds)
        return next((str(c["Id"]) for c in self.containers()), "")


def _create(world: World, stock: Stock, folder: Path, seconds: int, *, mark: str = "x") -> DockerJob:
    """A job that computes for so long (while it is not paused), in the app that this client can run."""
    text = folder / f"in_{mark}"
    text.write_text(f"one {mark}\nseconds {seconds}\nthree\n")
    if stock.version.startswith("8.2"):
        script = (f"for i in $(seq {seconds}); do sleep 1; done; mkdir -p results; "
                  f"tac data.txt > results/out; echo {mark} on stderr >&2")
        words = ["--input", f"{text}:data.txt", "--workdir", "/root/shared", "debian:trixie-slim", "sh", "-c", script]
    else:
        words = ["--app", "plain", "--input", str(text)]
    limits = ["--max-error-results", "1", "--max-total-results", "1"]
    name = str(world.json("create-work", "--json", *limits, *words)["name"])
    return DockerJob(world, stock, name)


def _wrapper_pids(stock: Stock) -> list[str]:
    done = docker("exec", stock.name, "ps", "-eo", "pid,args")
    return [line.split()[0] for line in done.stdout.decode().splitlines() if "/docker_wrapper_" in line]


def _left_in_engine(world: World) -> list[str]:
    """Containers and images of the project."""
    found = docker("ps", "-a", "--format", "{{.Names}}").stdout.decode().split()
    found += docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode().split()
    return [name for name in found if name.startswith((f"boinc__{world.proj}", f"boinc_{world.proj}"))]


@pytest.mark.long
@pytest.mark.parametrize("version", CLIENTS)
def test_a_job_survives_what_happens_to_it(
    world: World, new_client: NewClient, tmp_path: Path, version: str
) -> None:
    stock = new_client(world, version)
    stock.attach(world, world.account())
    job = _create(world, stock, tmp_path, 20)
    container = job.until("running")

    job.tell("suspend")
    job.until("paused", 60)
    job.tell("resume")
    job.until("running", 60)

    old = _wrapper_pids(stock)
    assert old
    docker("exec", stock.name, "kill", "-9", *old)
    wait_for("the wrapper's restart", lambda: (pids := _wrapper_pids(stock)) and not set(pids) & set(old), 60)
    job.until("running", 60)

    docker("kill", "--signal", "KILL", stock.name)  # client and wrapper at once; the job's container runs on
    docker("start", stock.name)
    stock.client.wait_ready()

    done = world.finished(job.name, client=stock)[0]
    assert len(done["results"]) == 1
    text = done["results"][0]["stderr"]
    assert "on stderr" in text
    assert "going on with" in text or "has ended meanwhile" in text
    assert done["results"][0]["exit_status"] == 0
    assert container[:12] not in docker("ps", "-aq").stdout.decode()


@pytest.mark.long
@pytest.mark.parametrize("version", CLIENTS)
def test_aborted_and_killed_jobs_end_cleanly(
    world: World, new_client: NewClient, tmp_path: Path, version: str
) -> None:
    stock = new_client(world, version)
    stock.attach(world, world.account())
    first, second = _create(world, stock, tmp_path, 600), _create(world, stock, tmp_path, 600, mark="y")
    first.until("running")
    second_id = second.until("running")
    first.tell("abort")
    first.until("", 60)
    assert second.state() == "running", "aborting one job disturbed the other"

    docker("kill", "--signal", "KILL", second_id)

    names = f"'{first.name}', '{second.name}'"

    def failed() -> bool:  # an app's template may allow another try: the first one counts here
        stock.poke(world.master_url)
        over = world.sql("SELECT w.id FROM result r JOIN workunit w ON r.workunitid = w.id WHERE r.server_state = 5"
                         f" AND w.name IN ({names})")
        return len({row[0] for row in over}) == 2

    wait_for("both to be reported", failed, JOB_SECONDS, poll=2)
    result = world.json("jobs", "--json", second.name)["jobs"][0]["results"][0]
    world.run("shell", "bin/cancel_jobs", "--name", first.name, check=False)
    world.run("shell", "bin/cancel_jobs", "--name", second.name, check=False)
    assert result["exit_status"] == 137
    assert "error: the container ended with exit code 137" in result["stderr"]
    assert "hint: it was killed by signal 9" in result["stderr"]

    last = _create(world, stock, tmp_path, 600, mark="z")
    last.until("running")
    stock.leave(world.master_url)
    if version.startswith("8.2"):  # it aborts the jobs of a project that it leaves; older ones let them quit
        wait_for("nothing to be left in the engine", lambda: not _left_in_engine(world), 60)
    else:
        wait_for("the container to be paused or gone", lambda: last.state() in ("paused", ""), 60)


@pytest.mark.long
def test_jobs_at_once_do_not_disturb_each_other(world: World, new_client: NewClient, tmp_path: Path) -> None:
    stock = new_client(world, "8.2.15")
    stock.attach(world, world.account())
    same = [_create(world, stock, tmp_path, 8, mark="same") for _ in range(2)]
    other = _create(world, stock, tmp_path, 8, mark="other")
    jobs = {job["name"]: job for job in world.finished(same[0].name, same[1].name, other.name, client=stock)}
    for job, mark in ((same[0], "same"), (same[1], "same"), (other, "other")):
        assert f"{mark} on stderr" in jobs[job.name]["results"][0]["stderr"]
    built = [job["results"][0]["stderr"].count("built in") for job in jobs.values()]
    assert sum(built) <= 3
    wait_for("the engine to be clean", lambda: not _left_in_engine(world), 30)
