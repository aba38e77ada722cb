"""Several copies of a daemon share the work (spec 03 section 17, decision 0092)."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import T, World, execute, insert

from boincdock.db import Connection
from boincdock.lifecycle.daemon import Daemon
from boincdock.lifecycle.db_purge import DbPurge
from boincdock.lifecycle.transitioner import Transitioner


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


def _due(world: World, wu_id: int) -> None:
    world.workunit(id=wu_id, name=f"wu_{wu_id}")


def _finished(world: World, wu_id: int) -> None:
    world.workunit(id=wu_id, name=f"wu_{wu_id}", file_delete_state=2, assimilate_state=2, transition_time=2147483647)
    insert(world.db, "result", workunitid=wu_id, name=f"wu_{wu_id}_0", server_state=5, outcome=1, file_delete_state=2)


def _made(db: Connection) -> set[int]:
    return {row["w"] for row in execute(db, "SELECT workunitid AS w FROM result")}


def _gone(db: Connection) -> set[int]:
    return {101, 102, 103, 104} - {row["id"] for row in execute(db, "SELECT id FROM workunit")}


@pytest.mark.parametrize(("kind", "prepare", "handled"), [(Transitioner, _due, _made), (DbPurge, _finished, _gone)])
def test_what_another_copy_holds_is_neither_waited_for_nor_taken_for_nothing(
        world: World, db: Connection, new_connection: Callable[[], Connection], kind: type[Daemon],
        prepare: Callable[[World, int], None], handled: Callable[[Connection], set[int]]) -> None:
    for wu_id in (101, 102, 103, 104):
        prepare(world, wu_id)
    world.clock = T + 1
    other = new_connection()
    daemon = world.daemon(kind, "--mod", "2", "1")
    with other.transaction():
        execute(other, "SELECT id FROM workunit FORCE INDEX (PRIMARY) WHERE id IN (102, 103, 104) FOR UPDATE")
        assert daemon.run_once() > 0
        assert handled(db) == {101}
        assert daemon.run_once() > 0, "103 is still to do"
        assert handled(db) == {101}
    assert daemon.run() == 0
    assert handled(db) == {101, 103}
    assert world.daemon(kind, "--mod", "2", "0").run() == 0
    assert handled(db) == {101, 102, 103, 104}
