"""Batches (spec 03 section 11), badges (8.8), transition_all (16)."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import T, World, execute, insert, update

from boincdock.db import Connection
from boincdock.errors import InputError
from boincdock.lifecycle import badges, batches, upkeep
from boincdock.lifecycle.assimilators import DummyAssimilator
from boincdock.lifecycle.db_purge import DbPurge
from boincdock.lifecycle.transitioner import Transitioner


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


def batch(world: World, batch_id: int = 9) -> dict:
    return execute(world.db, "SELECT * FROM batch WHERE id = %s", batch_id)[0]


def test_11_progress_and_completion(world: World) -> None:
    insert(world.db, "batch", id=9, state=1)
    insert(world.db, "batch", id=8, state=0)
    insert(world.db, "batch", id=7, state=1)
    world.workunit(id=101, name="a", batch=9, canonical_resultid=5, canonical_credit=12.5, error_mask=8)
    world.workunit(id=102, name="b", batch=9, error_mask=2)
    world.workunit(id=103, name="c", batch=9)
    world.workunit(id=104, name="d", batch=8)
    assert batches.refresh(world.db, [7, 8, 9], T) == []
    row = batch(world)
    assert (row["njobs"], row["nerror_jobs"], row["credit_canonical"], row["state"]) == (3, 1, 12.5, 1)
    assert row["fraction_done"] == pytest.approx(2 / 3)
    assert batch(world, 8)["njobs"] == 0, "a batch that is being built is passed over"
    assert (batch(world, 7)["njobs"], batch(world, 7)["state"]) == (0, 1)
    update(world.db, "workunit", 103, error_mask=16)
    assert batches.refresh_running(world.db, T + 5) == [9]
    assert (batch(world)["state"], batch(world)["completion_time"], batch(world)["fraction_done"]) == (2, T + 5, 1)


def test_11_assimilating_the_last_job_completes_the_batch(world: World) -> None:
    insert(world.db, "batch", id=9, state=1)
    for i in (101, 102):
        world.workunit(id=i, name=f"w{i}", batch=9, error_mask=2, assimilate_state=1)
    world.run(DummyAssimilator, 10)
    assert (batch(world)["state"], batch(world)["nerror_jobs"], batch(world)["completion_time"]) == (2, 2, T + 10)


def test_11_abort_cancels_what_is_not_finished(world: World) -> None:
    insert(world.db, "batch", id=9, state=1)
    world.workunit(id=101, name="done", batch=9, canonical_resultid=5, transition_time=T + 999)
    world.workunit(id=102, name="running", batch=9)
    world.run(Transitioner, 1)
    world.send(0, 11, 5, 102)
    world.db.run("batch.cancel_results", ids=[101])
    assert batches.abort(world.db, 9, T + 10) == 1
    assert (world.wu(101)["error_mask"], world.wu(102)["error_mask"]) == (0, 16)
    assert world.wu(102)["transition_time"] == T + 10 and world.wu(102)["file_delete_state"] == 0
    assert world.states(102) == [(4, 0, 0), (5, 5, 0)], "what runs goes on until it is reported"
    assert (batch(world)["state"], batch(world)["completion_time"]) == (3, T + 10)
    with pytest.raises(InputError):
        batches.abort(world.db, 77, T)


def test_11_retire_expire_and_delete(world: World) -> None:
    insert(world.db, "batch", id=9, state=1, expire_time=T + 50)
    insert(world.db, "batch", id=8, state=1)
    insert(world.db, "batch_file_assoc", job_file_id=1, batch_id=9)
    world.workunit(id=101, name="w", batch=9)
    folder = world.project.dir / "results" / "9"
    folder.mkdir(parents=True)
    (folder / "w__file_out").write_text("x")
    assert batches.expire(world.db, world.project, T + 50) == []
    assert batches.expire(world.db, world.project, T + 51) == [9]
    assert (batch(world)["state"], world.wu()["error_mask"], folder.exists()) == (4, 16, False)
    assert batches.expire(world.db, world.project, T + 52) == []
    assert batches.delete_empty(world.db, world.project) == []
    world.run(Transitioner, 60)
    world.run(DummyAssimilator, 61)
    update(world.db, "workunit", 101, file_delete_state=2, transition_time=T + 99999)
    world.run(DbPurge, 70, "--batch")
    assert batches.delete_empty(world.db, world.project) == [9]
    assert [r["id"] for r in execute(world.db, "SELECT id FROM batch")] == [8]
    assert not execute(world.db, "SELECT * FROM batch_file_assoc")


@pytest.mark.parametrize(("percent", "index"), [(99, 198), (95, 190), (75, 150)])
def test_22_11_badge_threshold_index(percent: int, index: int) -> None:
    assert badges.threshold_index(200, percent) == index


def owners(world: World, table: str = "user") -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in execute(world.db, f"SELECT b.name, x.{table}_id AS id FROM badge_{table} x JOIN badge b ON b.id ="
                                 f" x.badge_id ORDER BY b.name, x.{table}_id"):
        found.setdefault(row["name"], []).append(row["id"])
    return found


def test_8_8_badges(world: World) -> None:
    for i in range(100, 300):
        insert(world.db, "user", id=i, name=f"n{i}", email_addr=f"e{i}", authenticator=f"x{i}", total_credit=25,
               expavg_credit=i)
    insert(world.db, "team", id=4, name="t", expavg_credit=50, total_credit=1)
    badges.assign(world.db, "user", T)
    badges.assign(world.db, "team", T)
    first = owners(world)
    assert first == {"user_pct_0": [298, 299], "user_pct_1": list(range(290, 298)), "user_pct_2": list(range(250, 290))}
    assert owners(world, "team") == {"team_pct_0": [4]}
    update(world.db, "user", 299, expavg_credit=0)
    update(world.db, "user", 100, expavg_credit=1000)
    badges.assign(world.db, "user", T + 9)
    second = owners(world)
    assert second["user_pct_0"] == [100, 298] and all(299 not in ids for ids in second.values())
    row = execute(world.db, "SELECT * FROM badge_user WHERE user_id = 298")[0]
    assert (row["create_time"], row["reassign_time"]) == (T, T + 9)
    kinds = execute(world.db, "SELECT name, title, image_url, type FROM badge ORDER BY id")
    assert len(kinds) == 6 and kinds[0] == {"name": "user_pct_0", "title": "Top 1% in average credit",
                                            "image_url": "img/pct_1.png", "type": 0}


def test_8_8_nobody_active_changes_nothing(world: World) -> None:
    assert badges.assign(world.db, "user", T) == {} and owners(world) == {}


def test_16_transition_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "CHUNK", 2)
    for i in range(5):
        world.workunit(id=101 + i, name=f"w{i}", transition_time=2147483647, transitioner_flags=1 if i == 4 else 0)
    assert upkeep.transition_all(world.db, T) == 4
    assert [world.wu(101 + i)["transition_time"] for i in range(5)] == [T] * 4 + [2147483647]
