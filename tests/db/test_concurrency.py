"""Many schedulers and daemons on one database (issue 4, "Done when" 3): the short form of
``python3 -m tests.stress concurrency``, and the faults that its runs have found."""
from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from backlog_farm import Farm, add_jobs
from lifecycle_world import World, execute

from boincdock.db import Connection, RetryableError, connect
from boincdock.db.connector import driver
from boincdock.errors import DatabaseError
from boincdock.lifecycle.assimilators import ResultsAssimilator
from boincdock.lifecycle.file_deleter import FileDeleter
from boincdock.lifecycle.transitioner import Transitioner
from boincdock.lifecycle.validators import TrivialValidator
from tests.stress import concurrency
from tests.stress.hosts import Scenario


def test_eight_schedulers_and_two_of_each_daemon_send_once_lose_none_and_credit_once() -> None:
    """All copies of a daemon look at all jobs, which is harder than sharing them out by ``--mod``."""
    scenario = Scenario(seed=3, error_share=0.05, wrong_share=0.03, late_share=0.01, never_share=0.005,
                        lost_reply_share=0.1, runtime=(0.1, 0.6), poll=0.5)
    plan = concurrency.Plan(jobs=300, hosts=60, clients=1, threads=8, delay_bound=9, overlap=True, uploads=True,
                            time_limit=100, scenario=scenario)
    verdict = concurrency.run(plan)
    assert verdict.faults == []
    figures = verdict.figures
    assert figures["replies lost"] and figures["resent"], "lost replies were made up for"
    assert figures["outcomes"].keys() >= {1, 3, 4}, "successes, errors and missed deadlines were among them"
    assert figures["failed"] >= 3 and figures["critical_lines"] == {}


def test_a_lost_job_that_somebody_holds_just_now_is_not_given_up(
        tmp_path: Path, db: Connection, db_settings: SimpleNamespace, new_connection: Callable[[], Connection]) -> None:
    world = World(tmp_path, db, db_settings)
    farm = Farm(world)
    add_jobs(world, 1001, 1, 0, min_quorum=1, target_nresults=1)
    world.run(Transitioner, 1)
    assert farm.contact(0, 1) == ["job_1001_0"]
    before = execute(db, "SELECT * FROM result"), execute(db, "SELECT * FROM workunit")
    holder = new_connection()
    with holder.transaction():
        execute(holder, "SELECT id FROM workunit WHERE id = 1001 FOR UPDATE")
        assert farm.contact(0, 1) == []
    assert (execute(db, "SELECT * FROM result"), execute(db, "SELECT * FROM workunit")) == before
    assert farm.contact(0, 1) == ["job_1001_0"]


def test_a_connection_lost_in_a_transaction_is_not_replaced_even_if_nobody_minds(
        db: Connection, new_connection: Callable[[], Connection]) -> None:
    killer = new_connection()
    with pytest.raises(DatabaseError, match="lost in the middle of a transaction"), db.transaction():
        db.run("scheduler.insert_trickle", hostid=1, variety="a", xml="x", now=1)
        execute(killer, f"KILL {db.raw().thread_id()}")
        for _ in range(2):
            with contextlib.suppress(DatabaseError):
                db.run("scheduler.insert_trickle", hostid=1, variety="b", xml="x", now=1)
    assert execute(killer, "SELECT * FROM msg_from_host") == []
    with db.transaction():
        db.run("scheduler.insert_trickle", hostid=1, variety="c", xml="x", now=1)
    assert [r["variety"] for r in execute(killer, "SELECT * FROM msg_from_host")] == ["c"]


def test_a_job_that_another_copy_assimilated_meanwhile_is_no_failure(
        tmp_path: Path, db: Connection, db_settings: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path, db, db_settings, "<delete_delay_hours>0</delete_delay_hours>")
    world.workunit(min_quorum=1, target_nresults=1)
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    world.report(0, 500)
    world.run(Transitioner, 501)
    world.run(TrivialValidator, 502)
    outdir = ("--outdir", str(tmp_path / "results"))

    class Slow(ResultsAssimilator):
        """Stops for a while between looking for work and doing it."""

        def _call(self, *args: object) -> int | None:
            other = connect(db_settings)
            first = world.daemon(ResultsAssimilator, *outdir, db=other)
            first.run()
            world.clock += 100000
            world.daemon(Transitioner, db=other).run()
            world.daemon(FileDeleter, db=other).run()
            other.close()
            return super()._call(*args)  # type: ignore[arg-type]

    with caplog.at_level(logging.DEBUG, "boincdock"):
        world.run(Slow, 503, *outdir)
    assert execute(db, "SELECT file_delete_state AS f FROM result")[0]["f"] == 2
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert "was assimilated meanwhile" in caplog.text
    assert (tmp_path / "results" / "worker" / "wu_b" / "out.txt").read_bytes() == b"A"


def test_a_statement_of_its_own_that_a_deadlock_undid_is_tried_again(
        db: Connection, new_connection: Callable[[], Connection]) -> None:
    """Three times in all; within a transaction, which the deadlock undid as a whole, not at all."""
    name = "INSERT INTO result (name, workunitid, appid, server_state) VALUES ('a', 1, 1, 5) RETURNING id"
    number = execute(db, name)[0]["id"]
    deleter = new_connection()
    raw = deleter.raw()
    real, deadlocks = raw.cursor, 0

    def cursor(*args: Any) -> Any:
        nonlocal deadlocks
        made = real(*args)
        if deadlocks:
            deadlocks -= 1
            made.execute = Mock(side_effect=driver.OperationalError(1213, "Deadlock found"))
        return made

    raw.cursor = cursor  # the connection is this test's own
    deadlocks = 2
    assert deleter.run("deleter.mark_results", ids=[number], old=0, new=2) == 1
    deadlocks = 3
    with pytest.raises(RetryableError):
        deleter.run("deleter.mark_results", ids=[number], old=2, new=1)
    assert deadlocks == 0
    with pytest.raises(RetryableError), deleter.transaction():
        deadlocks = 1
        deleter.run("deleter.mark_results", ids=[number], old=2, new=1)
    assert execute(db, f"SELECT file_delete_state AS s FROM result WHERE id = {number}")[0]["s"] == 2
