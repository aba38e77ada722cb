"""sample_work_generator (spec 03 section 16)."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import T, World, execute

from boincdock.db import Connection
from boincdock.errors import InputError
from boincdock.files.hierarchy import download_path
from boincdock.lifecycle.size_regulator import SizeRegulator
from boincdock.lifecycle.transitioner import Transitioner
from boincdock.lifecycle.work_generator import SampleWorkGenerator

IN = """<input_template><file_info><number>0</number></file_info><workunit><file_ref><file_number>0</file_number>
<open_name>in</open_name></file_ref></workunit></input_template>"""
ARGV = ("--app", "worker", "--in_template_file", "in", "--out_template_file", "wu_out")


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    made = World(tmp_path, db, db_settings)
    (tmp_path / "templates" / "in").write_text(IN)
    return made


def count(world: World, table: str) -> int:
    return int(execute(world.db, f"SELECT COUNT(*) AS n FROM {table}")[0]["n"])


def test_16_ten_jobs_are_kept_in_stock(world: World) -> None:
    world.clock = T
    generator = world.daemon(SampleWorkGenerator, *ARGV)
    generator.run()
    assert count(world, "workunit") == 10
    row = execute(world.db, "SELECT * FROM workunit ORDER BY id")[3]
    assert row["name"] == f"worker_{T}_3" and download_path(world.project, row["name"]).is_file()
    limits = ("rsc_fpops_est", "rsc_fpops_bound", "rsc_memory_bound", "rsc_disk_bound", "delay_bound", "min_quorum",
              "target_nresults", "max_error_results", "max_total_results", "max_success_results")
    assert [row[c] for c in limits] == [1e12, 1e14, 1e8, 1e8, 86400, 1, 1, 4, 8, 4]
    execute(world.db, "UPDATE workunit SET transition_time = %s", T)
    generator.run()
    assert count(world, "workunit") == 10, "it waits for the transitioner"
    world.run(Transitioner, 1)
    assert count(world, "result") == 10
    generator.run()
    assert count(world, "workunit") == 10
    execute(world.db, "UPDATE result SET server_state = 4 WHERE id <= 4")
    generator.run()
    assert count(world, "workunit") == 14


def test_16_missing_template_is_a_clear_error(world: World) -> None:
    with pytest.raises(InputError):
        world.daemon(SampleWorkGenerator, "--app", "worker", "--in_template_file", "none")


def held(world: World) -> None:
    execute(world.db, "UPDATE app SET n_size_classes = 2")
    world.workunit(create_time=T)
    for i in range(10):
        execute(world.db, "INSERT INTO result (workunitid, name, appid, server_state, size_class, priority, random)"
                          " VALUES (101, %s, 7, 1, 0, %s, %s)", f"r{i}", i % 3, (i * 7) % 10)


@pytest.mark.parametrize(("order", "released"), [
    ([], {"r0", "r1", "r2", "r3"}), (["--priority_order"], {"r2", "r5", "r8", "r1"}),
    (["--priority_asc"], {"r0", "r3", "r6", "r9"}), (["--priority_order_create_time"], {"r2", "r5", "r8", "r1"}),
    (["--random_order"], {"r0", "r3", "r6", "r9"})])
def test_16_size_regulator(world: World, order: list[str], released: set[str]) -> None:
    held(world)
    argv = ("--app_name", "worker", "--lo", "3", "--hi", "4", "--sleep_time", "1", *order)
    for _ in range(2):
        world.run(SizeRegulator, 1, *argv)
        assert {r["name"] for r in execute(world.db, "SELECT name FROM result WHERE server_state = 2")} == released
    execute(world.db, "UPDATE result SET server_state = 4 WHERE server_state = 2 LIMIT 2")
    world.run(SizeRegulator, 1, *argv)
    assert count(world, "result WHERE server_state = 2") == 4


def test_16_size_regulator_needs_size_classes(world: World) -> None:
    with pytest.raises(InputError):
        world.daemon(SizeRegulator, "--app_name", "worker", "--lo", "1", "--hi", "2")
