"""Daemons killed in mid-transaction, and several at a time (spec 03 section 18)."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lifecycle_world import T, World, execute, insert, update

from boincdock.db import Connection, connect
from boincdock.errors import DatabaseError
from boincdock.lifecycle.assimilators import DummyAssimilator, ResultsAssimilator
from boincdock.lifecycle.file_deleter import FileDeleter
from boincdock.lifecycle.transitioner import Transitioner
from boincdock.lifecycle.validator import Validator
from boincdock.lifecycle.validators import BitwiseValidator, TrivialValidator


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


class Doomed(Connection):
    """A connection that the server kills at the n-th write of a transaction, as a kill -9 would."""

    def __init__(self, base: Connection, executioner: Connection, at: int) -> None:
        super().__init__("", 0, "", "", "")
        self._arguments = base._arguments
        self._executioner = executioner
        self._left = at
        self.killed = False

    def _maybe_die(self) -> None:
        if self.in_transaction:
            if self._left == 0:
                thread = self.raw().thread_id()
                execute(self._executioner, f"KILL {thread}")
                self.killed = True
                # KILL does not wait; until the rollback is done, others skip the rows that are still locked.
                there = f"SELECT COUNT(*) AS n FROM information_schema.processlist WHERE id = {thread}"
                deadline = time.monotonic() + 30
                while execute(self._executioner, there)[0]["n"] and time.monotonic() < deadline:
                    time.sleep(0.001)
            self._left -= 1

    def run(self, name: str, /, **params: Any) -> int:
        self._maybe_die()
        return super().run(name, **params)

    def run_many(self, name: str, rows: Any) -> int:
        if rows:
            self._maybe_die()
        return super().run_many(name, rows)


def to_quorum(world: World, wu_id: int = 101) -> None:
    world.workunit(id=wu_id, name=f"wu_{wu_id}")
    world.run(Transitioner, 1)
    for i in (0, 1):
        world.send(i, 11 + i, 100, wu_id)
        world.report(i, 200, wu_id=wu_id)
    world.run(Transitioner, 201)
    assert world.wu(wu_id)["need_validate"] == 1


def totals(db: Connection) -> dict[str, float]:
    found = {t: execute(db, f"SELECT SUM(total_credit) AS s FROM {t}")[0]["s"] or 0 for t in ("host", "user", "team")}
    found["granted"] = execute(db, "SELECT SUM(granted_credit) AS s FROM result")[0]["s"] or 0
    found["version_n"] = execute(db, "SELECT SUM(pfc_n) AS s FROM app_version")[0]["s"] or 0
    found["valid"] = execute(db, "SELECT SUM(consecutive_valid) AS s FROM host_app_version")[0]["s"] or 0
    return found


def test_validator_killed_at_any_write_neither_loses_nor_doubles_credit(
        world: World, db: Connection, new_connection: Callable[[], Connection]) -> None:
    insert(db, "team", id=4, name="t", userid=1, expavg_time=T)
    update(db, "user", 1, teamid=4)
    to_quorum(world)
    before, rows_before = totals(db), world.results()
    world.clock = T + 300
    points = 0
    while True:
        doomed = Doomed(db, new_connection(), points)
        daemon = world.daemon(BitwiseValidator, db=doomed)
        try:
            daemon.run()
        except DatabaseError:
            assert doomed.killed
            assert totals(db) == before and world.results() == rows_before and world.wu()["need_validate"] == 1
            points += 1
            continue
        finally:
            doomed.close()
        break
    assert points >= 7, "results, records, hosts, users, team, workunit and version were tried"
    after = totals(db)
    assert after["granted"] > 0 and after["host"] == pytest.approx(after["granted"])
    assert after["user"] == pytest.approx(after["granted"]) and after["team"] == pytest.approx(after["granted"] / 2)
    assert (after["version_n"], after["valid"]) == (2, 2)
    world.run(BitwiseValidator, 400)
    assert totals(db) == after


def test_transitioner_killed_at_any_write_leaves_nothing_half_done(
        world: World, db: Connection, new_connection: Callable[[], Connection],
        monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(self: Transitioner) -> int:
        raise DatabaseError("a killed process does not go on one by one")

    monkeypatch.setattr(Transitioner, "_one_by_one", dead)
    world.workunit()
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    before = world.wu(), world.results(), world.host_version(11)
    world.clock = T + 103701
    points = 0
    while True:
        doomed = Doomed(db, new_connection(), points)
        try:
            world.daemon(Transitioner, db=doomed).run()
        except DatabaseError:
            assert doomed.killed
            assert (world.wu(), world.results(), world.host_version(11)) == before
            points += 1
            continue
        finally:
            doomed.close()
        break
    assert points >= 3
    assert world.states() == [(5, 4, 0), (2, 0, 0), (2, 0, 0)]
    assert world.host_version(11)["max_jobs_per_day"] == 99


def test_assimilator_killed_before_it_noted_its_work_does_it_again(
        world: World, db: Connection, new_connection: Callable[[], Connection], tmp_path: Path) -> None:
    to_quorum(world)
    world.run(BitwiseValidator, 300)
    outdir = ("--outdir", str(tmp_path / "results"))
    output = tmp_path / "results" / "worker" / "wu_101" / "out.txt"
    world.clock = T + 310
    doomed = Doomed(db, new_connection(), 0)
    with pytest.raises(DatabaseError):
        world.daemon(ResultsAssimilator, *outdir, db=doomed).run()
    assert doomed.killed and output.exists() and world.wu()["assimilate_state"] == 1
    world.run(ResultsAssimilator, 311, *outdir)
    assert output.read_bytes() == b"A" and world.wu()["assimilate_state"] == 2
    assert [p.name for p in output.parent.parent.iterdir()] == ["wu_101"]


def test_file_deleter_killed_before_it_noted_its_work_does_it_again(
        world: World, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    to_quorum(world)
    world.run(BitwiseValidator, 300)
    world.run(DummyAssimilator, 301)
    world.project.config.delete_delay_hours = 0
    world.run(Transitioner, 400)
    paths = [world.output_path(r) for r in world.results()]
    assert all(p.exists() for p in paths)

    def killed(self: FileDeleter, *_args: object) -> None:
        raise DatabaseError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(FileDeleter, "_mark", killed)
        with pytest.raises(DatabaseError):
            world.run(FileDeleter, 401)
    assert not any(p.exists() for p in paths)
    assert {r["file_delete_state"] for r in world.results()} == {1}
    world.run(FileDeleter, 402)
    assert {r["file_delete_state"] for r in world.results()} == {2} and world.wu()["file_delete_state"] == 2


def test_one_workunit_that_cannot_be_written_does_not_hold_up_its_batch(
        world: World, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    from boincdock.lifecycle import judgement

    for wu_id in (101, 102, 103):
        to_quorum(world, wu_id)
    real = judgement._Decision.decide

    def broken(self: Any) -> None:
        real(self)
        if self.wu.id == 102:
            raise ZeroDivisionError("poison")

    monkeypatch.setattr(judgement._Decision, "decide", broken)
    world.run(TrivialValidator, 300)
    assert [world.wu(i)["assimilate_state"] for i in (101, 102, 103)] == [1, 0, 1]
    assert totals(db)["valid"] == 4 and totals(db)["host"] == pytest.approx(totals(db)["granted"])
    monkeypatch.setattr(judgement._Decision, "decide", real)
    world.run(TrivialValidator, 300 + 61)
    assert world.wu(102)["assimilate_state"] == 1 and totals(db)["valid"] == 6


def test_a_workunit_held_by_somebody_else_does_not_hold_up_its_batch(
        world: World, db: Connection, new_connection: Callable[[], Connection]) -> None:
    for wu_id in (101, 102):
        to_quorum(world, wu_id)
    holder = new_connection()
    with holder.transaction():
        execute(holder, "SELECT id FROM workunit WHERE id = 101 FOR UPDATE")
        world.run(TrivialValidator, 300)
        assert [world.wu(i)["assimilate_state"] for i in (101, 102)] == [0, 1]
    world.run(TrivialValidator, 301)
    assert world.wu(101)["assimilate_state"] == 1


def in_threads(work: Callable[[Connection], None], connections: list[Connection]) -> None:
    errors: list[BaseException] = []

    def guarded(connection: Connection) -> None:
        try:
            work(connection)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(c,)) for c in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []


def test_several_transitioners_create_each_result_once(world: World, db: Connection,
                                                       db_settings: SimpleNamespace) -> None:
    for i in range(300):
        world.workunit(id=1000 + i, name=f"wu_{i}")
    world.clock = T + 1
    in_threads(lambda c: world.daemon(Transitioner, db=c).run() and None, [connect(db_settings) for _ in range(3)])
    rows = execute(db, "SELECT workunitid, COUNT(*) AS n FROM result GROUP BY workunitid")
    assert len(rows) == 300 and {r["n"] for r in rows} == {2}
    assert execute(db, "SELECT COUNT(*) AS n FROM workunit WHERE transition_time < %s", T + 100)[0]["n"] == 0


def test_several_validators_credit_each_result_once(world: World, db: Connection, db_settings: SimpleNamespace) -> None:
    for i in range(40):
        wu_id = 1000 + i
        world.workunit(id=wu_id, name=f"wu_{i}", min_quorum=1, target_nresults=1, need_validate=1)
        insert(db, "result", workunitid=wu_id, name=f"wu_{i}_0", server_state=5, outcome=1, hostid=11 + i % 3,
               userid=1 + i % 3, appid=7, app_version_id=3, sent_time=T - 500, received_time=T, elapsed_time=400,
               flops_estimate=4e9)
    in_threads(lambda c: world.daemon(TrivialValidator, db=c).run() and None, [connect(db_settings) for _ in range(3)])
    after = totals(db)
    assert after["granted"] > 0 and after["host"] == pytest.approx(after["granted"])
    assert after["user"] == pytest.approx(after["granted"])
    assert (after["version_n"], after["valid"]) == (40, 40)


def test_a_locked_workunit_is_left_to_whoever_holds_it(
        world: World, db: Connection, new_connection: Callable[[], Connection]) -> None:
    world.workunit(id=101, name="held")
    world.workunit(id=102, name="free")
    holder = new_connection()
    with holder.transaction():
        execute(holder, "SELECT id FROM workunit WHERE id = 101 FOR UPDATE")
        world.run(Transitioner, 1)
        assert (len(world.results(101)), len(world.results(102))) == (0, 2)
    world.run(Transitioner, 1)
    assert len(world.results(101)) == 2


def meanwhile(kind: type[Validator], what: Callable[[], None]) -> type[Validator]:
    """The validator, with something happening between reading outputs and writing the judgement."""
    class Interrupted(kind):  # type: ignore[valid-type,misc]
        def judge(self, snapshot: Any) -> Any:
            found = super().judge(snapshot)
            what()
            return found

    return Interrupted


def test_cancel_during_validation_is_not_lost(world: World, db: Connection) -> None:
    to_quorum(world)
    cancel = lambda: execute(db, "UPDATE workunit SET error_mask = error_mask | 16, transition_time = %s", T + 250)  # noqa: E731
    world.run(meanwhile(BitwiseValidator, cancel), 300)
    assert world.wu()["error_mask"] == 16
    assert world.wu()["transition_time"] == T + 250, "the wake-up is not overwritten"


def test_instance_sent_during_validation_stays_in_progress(world: World, db: Connection) -> None:
    to_quorum(world)
    insert(db, "result", workunitid=101, name="wu_101_2", server_state=2, appid=7)
    world.run(meanwhile(BitwiseValidator, lambda: world.send(2, 13, 299)), 300)
    assert [s[0] for s in world.states()] == [5, 5, 4]


def test_report_during_validation_is_taken_in_next_round(world: World, db: Connection) -> None:
    to_quorum(world)
    insert(db, "result", workunitid=101, name="wu_101_2", server_state=4, appid=7, hostid=13, userid=3,
           xml_doc_in=world.results()[0]["xml_doc_in"].replace(b"wu_101_0_", b"wu_101_2_"))
    happened: list[int] = []

    def late() -> None:
        if not happened:
            happened.append(1)
            world.report(2, 299, wu_id=101)

    world.clock = T + 300
    daemon = world.daemon(meanwhile(BitwiseValidator, late))
    daemon.run()
    assert [s[2] for s in world.states()] == [0, 0, 0], "the decision was about other rows: not written"
    daemon.run()
    assert [s[2] for s in world.states()] == [1, 1, 1]
    assert totals(db)["host"] == pytest.approx(totals(db)["granted"])


def test_late_result_validated_while_assimilating_is_not_assimilated_twice(world: World, db: Connection) -> None:
    to_quorum(world)
    insert(db, "result", workunitid=101, name="wu_101_2", server_state=4, appid=7, hostid=13, userid=3,
           xml_doc_in=world.results()[0]["xml_doc_in"].replace(b"wu_101_0_", b"wu_101_2_"))
    world.run(BitwiseValidator, 300)
    world.report(2, 310)
    world.run(Transitioner, 311)
    world.run(meanwhile(BitwiseValidator, lambda: world.run(DummyAssimilator, 312)), 312)
    assert world.wu()["assimilate_state"] == 2 and world.states()[2] == (5, 1, 1)


def test_poisonous_workunit_is_put_off_and_the_others_go_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.workunit(id=101, name="bad")
    world.workunit(id=102, name="good")
    import boincdock.lifecycle.transitioner as module

    real = module.decide

    def broken(wu: Any, *rest: Any) -> Any:
        if wu.name == "bad":
            raise ZeroDivisionError("poison")
        return real(wu, *rest)

    monkeypatch.setattr(module, "decide", broken)
    world.run(Transitioner, 1)
    assert (len(world.results(101)), len(world.results(102))) == (0, 2)
    assert world.wu(101)["transition_time"] == T + 61
    monkeypatch.setattr(module, "decide", real)
    world.run(Transitioner, 62)
    assert len(world.results(101)) == 2


@pytest.mark.parametrize("template", ["templates/none", "../outside", "/etc/passwd", "", "templates/bad"])
def test_workunit_with_unusable_template_is_put_off(world: World, template: str) -> None:
    (world.project.dir / "templates" / "bad").write_text("<output_template><file_info>")
    world.workunit(id=101, name="bad", result_template_file=template)
    world.workunit(id=102, name="good")
    world.run(Transitioner, 1)
    assert (len(world.results(101)), len(world.results(102))) == (0, 2)
    assert world.wu(101)["transition_time"] == T + 61


def test_a_held_workunit_is_waited_for_not_spun_on(
        world: World, db: Connection, new_connection: Callable[[], Connection]) -> None:
    to_quorum(world)
    world.clock = T + 300
    daemon = world.daemon(TrivialValidator)
    daemon.options.one_pass = False
    holder = new_connection()
    with holder.transaction():
        execute(holder, "SELECT id FROM workunit WHERE id = 101 FOR UPDATE")
        assert daemon.run_once() == 0, "nothing could be done: the daemon sleeps"
    assert daemon.run_once() == 1 and daemon.run_once() == 0
