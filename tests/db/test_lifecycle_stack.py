"""The real daemons as processes under the supervisor, from a new job to its output under results."""
from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lifecycle_world import World, execute, update

from boincdock.config import load_project
from boincdock.db import Connection
from boincdock.lifecycle import control, runstate
from boincdock.lifecycle.supervisor import health_problems

ROOT = Path(__file__).parents[2]
COMMANDS = ("feeder -d 3", "transitioner -d 3 --sleep_interval 0.2",
            "sample_bitwise_validator -d 3 --app worker --sleep_interval 0.2",
            "results_assimilator -d 3 --app worker --outdir {out} --sleep_interval 0.2",
            "file_deleter -d 3 --sleep_interval 0.2")


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not met in {seconds} s")


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> Iterator[World]:
    made = World(tmp_path, db, db_settings)
    daemons = "".join(f"<daemon><cmd>{c.format(out=tmp_path / 'results')}</cmd></daemon>" for c in COMMANDS)
    config = tmp_path / "config.xml"
    config.write_text(config.read_text().replace("</boinc>", f"<daemons>{daemons}</daemons></boinc>").replace(
        "<delete_delay_hours>24<", "<delete_delay_hours>0<"))
    made.project = load_project(tmp_path)
    environment = {**os.environ, "BOINC_PROJECT_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    supervisor = subprocess.Popen([sys.executable, "-m", "boincdock.lifecycle.supervisor"], env=environment)
    try:
        yield made
    finally:
        supervisor.terminate()
        assert supervisor.wait(15) == 0


def test_job_runs_through_all_daemons(world: World, tmp_path: Path) -> None:
    control.start(world.project, print, timeout=60)
    assert health_problems(world.project, time.time()) == []
    now = int(time.time())
    world.workunit(min_quorum=2, target_nresults=2, create_time=now, transition_time=now - 1)
    wait_for(lambda: len(world.results()) == 2)
    base = now - 1800000000
    for i in (0, 1):
        world.send(i, 11 + i, base)
        world.report(i, base)
    folder = tmp_path / "results" / "worker" / "wu_b"
    wait_for(folder.exists)
    assert (folder / "out.txt").read_bytes() == b"A"
    wait_for(lambda: world.wu()["file_delete_state"] == 2
             and all(r["file_delete_state"] == 2 for r in world.results()))
    assert not world.output_path(world.results()[0]).exists()
    assert execute(world.db, "SELECT SUM(total_credit) AS s FROM user")[0]["s"] > 0
    control.stop(world.project, print, timeout=30)
    logs = world.project.log_dir
    assert "starting" in (logs / "transitioner.log").read_text()
    for name in ("transitioner", "sample_bitwise_validator.worker", "results_assimilator.worker", "file_deleter"):
        text = (logs / f"{name}.log").read_text()
        assert "Traceback" not in text and "ending" in text, text


def test_daemon_waits_for_a_lost_database(world: World) -> None:
    control.start(world.project, print, timeout=60)
    pids = {d["name"]: d["pid"] for d in control.status(world.project)["daemons"]}
    mine = execute(world.db, "SELECT CONNECTION_ID() AS id")[0]["id"]
    for row in execute(world.db, "SELECT id FROM information_schema.processlist"
                                 " WHERE db = DATABASE() AND id <> %s", mine):
        execute(world.db, f"KILL {row['id']}")
    now = int(time.time())
    world.workunit(transition_time=now - 1)
    wait_for(lambda: len(world.results()) == 2)
    assert {d["name"]: d["pid"] for d in control.status(world.project)["daemons"]} == pids, "none had to be restarted"


def _pid_of(world: World, name: str, but_not: set[int]) -> int:
    row = next(d for d in control.status(world.project)["daemons"] if d["name"] == name)
    return 0 if row["pid"] in but_not else int(row["pid"])


def test_killed_daemons_go_on_where_they_were(world: World) -> None:
    control.start(world.project, print, timeout=60)
    killed = {0}
    for n in range(20):
        now = int(time.time())
        world.workunit(id=1000 + n, name=f"wu_{n}", transition_time=now - 1)
        if n % 10 == 0:
            pid = wait_for(lambda: _pid_of(world, "transitioner", killed))
            os.kill(pid, 9)
            killed.add(pid)
    wait_for(lambda: execute(world.db, "SELECT COUNT(*) AS n FROM result")[0]["n"] == 40, 60)
    update(world.db, "workunit", 1000, transition_time=1)
    wait_for(lambda: world.wu(1000)["transition_time"] > 1, 90)
    assert execute(world.db, "SELECT COUNT(*) AS n FROM result")[0]["n"] == 40
    assert runstate.live_reports(world.project)
