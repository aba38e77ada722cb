"""Daemons that were away come back to a backlog (issue 4, "Done when" 7): nobody loses by it, and it is worked off in
batches of bounded size."""
from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from backlog_farm import DELAY_BOUND, Farm, add_jobs
from lifecycle_world import T, World, execute

from boincdock.db import Connection
from boincdock.enums import NEVER, Outcome, ServerState, ValidateState
from boincdock.lifecycle import assimilator, file_deleter, invariants, transitioner, validator
from boincdock.lifecycle.assimilators import ResultsAssimilator
from boincdock.lifecycle.daemon import Daemon
from boincdock.lifecycle.file_deleter import FileDeleter
from boincdock.lifecycle.outputs import output_files
from boincdock.lifecycle.transitioner import Transitioner
from boincdock.lifecycle.validators import BitwiseValidator

OUTAGE = (20, 20 + 7200)
"""The daemons are away for two hours, in seconds after T."""


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


def run_daemons(world: World, outdir: Path) -> None:
    """Every daemon until it finds no more to do."""
    for kind, argv in ((Transitioner, ()), (BitwiseValidator, ()), (ResultsAssimilator, ("--outdir", str(outdir))),
                       (Transitioner, ()), (FileDeleter, ())):
        world.clock += 2
        assert world.daemon(kind, *argv).run() == 0


def broken_rules(world: World) -> list[str]:
    rules = invariants.choose([], [], True)
    return [f"{f.rule}: {f.offences[:3]}" for f in invariants.check(world.db, world.project, rules, world.clock, 60)
            if f.offences]


def test_two_hours_without_daemons_are_made_up_for(world: World, tmp_path: Path) -> None:
    db, farm, outdir = world.db, Farm(world), tmp_path / "results"
    add_jobs(world, 1001, 200, 0)
    world.run(Transitioner, 1)
    world.clock = T + 10
    held = farm.fetch_all(40)
    assert len(held) == 400
    names = sorted(held)
    punctual, tardy, late, never = names[:160], names[160:320], names[320:360], names[360:]

    world.clock = T + OUTAGE[0] + 1000
    farm.report({n: held[n] for n in punctual})
    add_jobs(world, 2001, 100, OUTAGE[0] + 2000)
    world.clock = T + 10 + DELAY_BOUND + 900
    farm.report({n: held[n] for n in tardy})
    assert Counter(r["server_state"] for r in execute(db, "SELECT server_state FROM result")) == {4: 80, 5: 320}
    assert execute(db, "SELECT COUNT(*) AS n FROM workunit WHERE need_validate OR assimilate_state")[0]["n"] == 0

    world.clock = T + OUTAGE[1]
    run_daemons(world, outdir)
    rows = {r["name"]: r for r in execute(db, "SELECT * FROM result")}
    assert {rows[n]["outcome"] for n in punctual + tardy} == {Outcome.SUCCESS}, "reported before anybody looked"
    assert {rows[n]["outcome"] for n in late + never} == {Outcome.NO_REPLY}
    assert {(rows[n]["server_state"], rows[n]["validate_state"]) for n in late} == {(5, 0)}
    complete = {n.rpartition("_")[0] for n in punctual + tardy} - {n.rpartition("_")[0] for n in late + never}
    done = {r["name"]: r for r in execute(db, "SELECT * FROM workunit")}
    assert len(complete) > 100 and {done[w]["assimilate_state"] for w in complete} == {2}
    assert Counter(r["workunitid"] for r in rows.values() if r["workunitid"] in
                   {done[w]["id"] for w in complete}) == {done[w]["id"]: 2 for w in complete}, "nothing sent anew"

    farm.report({n: held[n] for n in late})
    for _ in range(4):
        world.clock += 60
        farm.report(farm.fetch_all(40))
        run_daemons(world, outdir)
    run_daemons(world, outdir)
    check_all_done(world, outdir, 300)
    rows = {r["name"]: r for r in execute(db, "SELECT * FROM result")}
    assert {rows[n]["validate_state"] for n in punctual + tardy + late} == {ValidateState.VALID}
    assert min(rows[n]["granted_credit"] for n in punctual + tardy + late) > 0
    assert {rows[n]["granted_credit"] for n in never} == {0.0}


def check_all_done(world: World, outdir: Path, jobs: int) -> None:
    db = world.db
    assert execute(db, "SELECT assimilate_state AS a, file_delete_state AS f, error_mask AS e, COUNT(*) AS n"
                       " FROM workunit GROUP BY 1, 2, 3") == [{"a": 2, "f": 2, "e": 0, "n": jobs}]
    assert execute(db, "SELECT DISTINCT server_state AS s FROM result") == [{"s": ServerState.OVER}]
    assert execute(db, "SELECT DISTINCT transition_time AS t FROM workunit") == [{"t": NEVER}]
    outputs = {p.parent.name: p.read_bytes() for p in (outdir / "worker").glob("*/out.txt")}
    assert len(outputs) == jobs and all(data == b"output of " + name.encode() for name, data in outputs.items())
    assert [p for p in world.project.upload_dir.rglob("*") if p.is_file()] == []
    assert broken_rules(world) == []


class Gauge(Connection):
    """A connection that notes how much is read at once and written in one transaction."""

    def __init__(self, base: Connection) -> None:
        super().__init__("", 0, "", "", "")
        self._arguments = base._arguments
        self.most_read = self.most_written = self._written = 0

    def all(self, name: str, /, **params: Any) -> list[dict[str, Any]]:
        rows = super().all(name, **params)
        self.most_read = max(self.most_read, len(rows))
        return rows

    def run(self, name: str, /, **params: Any) -> int:
        count = super().run(name, **params)
        self._wrote(count)
        return count

    def _many(self, name: str, rows: Any, shared: Any) -> list[tuple[int, int]]:
        self._wrote(len(rows))
        return super()._many(name, rows, shared)

    def _wrote(self, rows: int) -> None:
        self._written = self._written + rows if self.in_transaction else rows
        self.most_written = max(self.most_written, self._written)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self._written = 0
        with super().transaction():
            yield


BATCHES = ((transitioner, "BATCH"), (validator, "BATCH"), (assimilator, "BATCH"), (file_deleter, "RESULT_BATCH"),
           (file_deleter, "WORKUNIT_BATCH"))


def test_a_backlog_is_worked_off_in_bounded_batches(world: World, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the backlog, no more is read at once or written in one transaction than a batch of jobs needs."""
    batch, jobs = 50, 260
    for module, name in BATCHES:
        assert getattr(module, name) <= 2000
        monkeypatch.setattr(module, name, batch)
    outdir = tmp_path / "results"
    add_jobs(world, 1001, jobs, 0, min_quorum=1, target_nresults=1)

    def work(kind: type[Daemon], per_job: int, *argv: str) -> None:
        """``per_job``: rows that a workunit may take in one statement or transaction (itself, result, host, …)."""
        world.clock += 10
        gauge = Gauge(world.db)
        with contextlib.closing(gauge):
            assert world.daemon(kind, *argv, db=gauge).run() == 0
        assert 0 < gauge.most_read <= batch, kind.__name__
        assert 0 < gauge.most_written <= per_job * batch, kind.__name__

    work(Transitioner, 2)
    execute(world.db, "UPDATE result SET server_state = 5, outcome = 1, client_state = 5, hostid = 11 + id %% 3,"
                      " userid = 1 + id %% 3, sent_time = %s, received_time = %s, elapsed_time = 400, cpu_time = 400,"
                      " app_version_id = 3, flops_estimate = 4e9", T, T + 500)
    execute(world.db, "UPDATE workunit SET transition_time = %s", T + 10)
    for row in execute(world.db, "SELECT name, xml_doc_in FROM result"):
        path = output_files(world.project, row["xml_doc_in"])[0].path
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"output of " + row["name"].rpartition("_")[0].encode())
    world.project.config.delete_delay_hours = 0
    world.clock = T + 1000
    work(Transitioner, 2)
    work(BitwiseValidator, 4)
    work(ResultsAssimilator, 2, "--outdir", str(outdir))
    work(Transitioner, 3)
    work(FileDeleter, 1)
    check_all_done(world, outdir, jobs)
