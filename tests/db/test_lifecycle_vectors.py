"""Scenarios of spec 03 section 19 with the exact numbers of the table where the other tests use others: 5, 11, 14, 22;
and the turnaround of 22.11."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import T, World, execute, insert, update

from boincdock.db import Connection
from boincdock.enums import NEVER
from boincdock.lifecycle.assimilators import DummyAssimilator
from boincdock.lifecycle.file_deleter import FileDeleter
from boincdock.lifecycle.transitioner import Transitioner
from boincdock.lifecycle.validators import BitwiseValidator


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


def valid_pair(world: World) -> None:
    """Scenarios 1 to 4."""
    world.workunit()
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    world.send(1, 12, 200)
    world.report(0, 50000)
    world.report(1, 60000)
    world.run(Transitioner, 60001)
    world.run(BitwiseValidator, 60005)


def test_5_assimilate_and_delete(world: World) -> None:
    valid_pair(world)
    outputs = [world.output_path(row) for row in world.results()]
    world.run(DummyAssimilator, 60010)
    assert (world.wu()["assimilate_state"], world.wu()["transition_time"]) == (2, T + 60010)
    world.run(Transitioner, 60011)
    assert world.wu()["transition_time"] == T + 146400
    assert [r["file_delete_state"] for r in world.results()] == [0, 0]
    world.run(Transitioner, 146400)
    assert world.wu()["file_delete_state"] == 0, "due only when the time has passed"
    world.run(Transitioner, 146401)
    assert (world.wu()["file_delete_state"], world.wu()["transition_time"]) == (1, NEVER)
    assert [r["file_delete_state"] for r in world.results()] == [1, 1]
    assert all(path.exists() for path in outputs)
    world.run(FileDeleter, 146402)
    assert world.wu()["file_delete_state"] == 2
    assert [r["file_delete_state"] for r in world.results()] == [2, 2]
    assert not any(path.exists() for path in outputs)


def test_14_too_late(world: World) -> None:
    valid_pair(world)
    update(world.db, "workunit", 101, target_nresults=3, assimilate_state=2, file_delete_state=0)
    third = insert(world.db, "result", workunitid=101, name="wu_b_2", server_state=2, appid=7,
                   xml_doc_in=world.results()[0]["xml_doc_in"].replace(b"wu_b_0_", b"wu_b_2_"))
    world.send(2, 13, 60003)
    update(world.db, "result", third, server_state=5, outcome=4)
    update(world.db, "result", world.results()[0]["id"], file_delete_state=2)
    world.report(2, 300000)
    credit = execute(world.db, "SELECT SUM(total_credit) AS s FROM user")[0]["s"]
    world.run(Transitioner, 300001)
    world.run(BitwiseValidator, 300002)
    assert world.states()[2] == (5, 1, 5)
    assert world.wu()["need_validate"] == 0
    assert world.results()[2]["granted_credit"] == 0
    assert execute(world.db, "SELECT SUM(total_credit) AS s FROM user")[0]["s"] == credit
    world.run(Transitioner, 300000 + 86401)
    assert world.results()[2]["file_delete_state"] == 1


def test_19_a_limit_behind_a_consensus_is_no_error(world: World) -> None:
    world.workunit(min_quorum=1, target_nresults=2, max_total_results=2)
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    world.send(1, 12, 200)
    world.report(0, 300)
    world.run(Transitioner, 301)
    world.run(BitwiseValidator, 302)
    world.report(1, 400, exit_status=195, client_state=3)
    world.run(Transitioner, 401)
    assert world.wu()["error_mask"] == 0
    assert world.wu()["canonical_resultid"] == world.results()[0]["id"]
    assert len(world.results()) == 2


def test_22_cancelled_before_any_result(world: World) -> None:
    world.workunit(error_mask=16, assimilate_state=2)
    world.run(Transitioner, 1)
    assert (world.wu()["file_delete_state"], world.wu()["transition_time"]) == (1, NEVER)
    assert not world.results()


def test_22_11_average_turnaround(world: World) -> None:
    for number, (wait, average) in enumerate(((1000, 1000), (2000, 1300)), 101):
        world.workunit(id=number, name=f"wu_{number}", min_quorum=1, target_nresults=1)
        world.run(Transitioner, 1)
        world.send(0, 11, 100, wu_id=number)
        world.report(0, 100 + wait, wu_id=number)
        world.run(Transitioner, 100 + wait + 1)
        world.run(BitwiseValidator, 100 + wait + 2)
        assert execute(world.db, "SELECT avg_turnaround AS a FROM host WHERE id = 11")[0]["a"] == pytest.approx(average)
