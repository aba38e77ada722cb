"""``check``: a clean project breaks no rule, and every rule is broken by what it is about."""
from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import T, World, execute, insert, update

from boincdock.bin import check as command
from boincdock.db import Connection
from boincdock.enums import NEVER
from boincdock.errors import InputError
from boincdock.files.hierarchy import download_path, upload_path
from boincdock.lifecycle import invariants
from boincdock.lifecycle.assimilators import DummyAssimilator
from boincdock.lifecycle.transitioner import Transitioner
from boincdock.lifecycle.validators import BitwiseValidator

NOW = T + 60000
INPUT = "<file_info><name>in</name></file_info><workunit></workunit>"


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings,
                 "<one_result_per_host_per_wu/><one_result_per_user_per_wu/>")


@pytest.fixture
def busy(world: World) -> World:
    """Jobs 101 validated, 102 half done, 103 unsent, 104 failed and assimilated; all as the daemons leave them."""
    path = download_path(world.project, "in")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    insert(world.db, "team", id=4, name="t", userid=1)
    update(world.db, "user", 1, teamid=4)
    for i in (101, 102, 103, 104):
        world.workunit(id=i, name=f"wu_{i}", xml_doc=INPUT, **({"max_error_results": 1, "max_total_results": 2}
                                                               if i == 104 else {}))
    world.run(Transitioner, 1)
    for i in (101, 102, 104):
        for k in (0, 1):
            world.send(k, 11 + k, 100, i)
    world.report(0, 50000, wu_id=101)
    world.report(1, 50001, wu_id=101)
    world.report(0, 50000, wu_id=102)
    for k in (0, 1):
        world.report(k, 50000, exit_status=195, client_state=3, wu_id=104)
    world.run(Transitioner, 50002)
    world.run(BitwiseValidator, 50003)
    assert world.wu(101)["canonical_resultid"] and world.wu(104)["error_mask"]
    execute(world.db, "UPDATE workunit SET assimilate_state = 2, transition_time = %s WHERE id = 104", NEVER)
    return world


def broken(world: World, only: str | None = None) -> set[str]:
    rules = invariants.choose([only] if only else [], [], True)
    return {f.rule for f in invariants.check(world.db, world.project, rules, now=NOW) if f.offences}


def sql(statement: str) -> Callable[[World], object]:
    return lambda world: execute(world.db, statement)


def result(which: str, **columns: object) -> Callable[[World], object]:
    return lambda world: execute(world.db, "UPDATE result SET " + ", ".join(f"{c} = %s" for c in columns)
                                 + " WHERE name = %s", *columns.values(), which)


def wu(which: int, **columns: object) -> Callable[[World], object]:
    return lambda world: update(world.db, "workunit", which, **columns)


def old_file(world: World, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (NOW - 40 * 86400,) * 2)


BREAKERS: dict[str, Callable[[World], object]] = {
    "result_states": result("wu_103_0", server_state=3),
    "over_without_outcome": result("wu_104_0", outcome=0),
    "outcome_before_over": result("wu_102_1", outcome=1),
    "sent_without_host": result("wu_102_1", hostid=0),
    "unsent_with_host": result("wu_103_0", hostid=12),
    "result_without_workunit": result("wu_103_0", workunitid=999),
    "valid_without_success": result("wu_104_0", validate_state=1),
    "credit_without_validity": result("wu_104_0", granted_credit=1e-9),
    "two_results_on_a_host": result("wu_102_1", hostid=11),
    "two_results_of_a_user": result("wu_102_1", userid=1),
    "too_many_results": wu(102, max_total_results=1),
    "workunit_states": wu(103, need_validate=2),
    "canonical_missing": wu(101, canonical_resultid=999999),
    "canonical_not_valid": lambda w: execute(
        w.db, "UPDATE result SET validate_state = 2, granted_credit = 0 WHERE name = 'wu_101_0'"),
    "valid_without_canonical": result("wu_102_0", validate_state=1),
    "credit_unequal": sql("UPDATE result SET granted_credit = granted_credit - 1 WHERE name = 'wu_101_1'"),
    "assimilated_without_cause": wu(103, assimilate_state=2),
    "deleted_before_assimilation": wu(103, file_delete_state=1),
    "inputs_deleted_under_a_result": wu(102, file_delete_state=2),
    "canonical_deleted_too_early": lambda w: (result("wu_101_0", file_delete_state=1)(w),
                                              result("wu_101_1", server_state=4)(w)),
    "overdue_transition": wu(103, transition_time=NOW - 3601),
    "never_looked_at": wu(103, transition_time=NEVER),
    "deadline_unwatched": wu(102, transition_time=NOW + 10**6),
    "quorum_unnoticed": wu(102, min_quorum=1),
    "late_result_unnoticed": lambda w: (result("wu_101_1", validate_state=0)(w),
                                        wu(101, transition_time=NEVER)(w)),
    "unsent_of_finished": wu(103, error_mask=16, transition_time=NOW + 1),
    "error_not_assimilated": wu(104, assimilate_state=0),
    "credit_totals_invalid": sql("UPDATE host SET expavg_credit = -1 WHERE id = 13"),
    "host_credit_too_low": sql("UPDATE host SET total_credit = total_credit / 2"),
    "user_credit_too_low": sql("UPDATE user SET total_credit = total_credit / 2"),
    "user_below_its_hosts": sql("UPDATE host SET total_credit = total_credit + 1 WHERE id = 11"),
    "credit_exact": sql("UPDATE user SET total_credit = total_credit + 1 WHERE id = 1"),
    "host_without_user": sql("UPDATE host SET userid = 99 WHERE id = 13"),
    "user_without_team": sql("UPDATE user SET teamid = 99 WHERE id = 1"),
    "host_record_invalid": sql("UPDATE host_app_version SET consecutive_valid = -1 WHERE host_id = 11"),
    "batch_states": lambda w: insert(w.db, "batch", id=9, state=7),
    "batch_complete_too_early": lambda w: (insert(w.db, "batch", id=9, state=2), wu(103, batch=9)(w)),
    "canonical_output_missing": lambda w: w.output_path(w.results(101)[0]).unlink(),
    "input_missing": lambda w: download_path(w.project, "in").unlink(),
    "output_unreferenced": lambda w: old_file(w, upload_path(w.project, "nobody_0_r12_0")),
    "input_unreferenced": lambda w: old_file(w, download_path(w.project, "stray")),
}


def test_every_rule_has_a_test_that_breaks_it() -> None:
    assert set(BREAKERS) == {rule.name for rule in invariants.RULES}


def test_a_project_at_work_breaks_no_rule(busy: World) -> None:
    old_file(busy, upload_path(busy.project, busy.output_path(busy.results(102)[0]).name))
    assert broken(busy) == set()
    busy.run(DummyAssimilator, 50010)
    busy.run(Transitioner, 50011)
    assert broken(busy) == set()


@pytest.mark.parametrize("rule", BREAKERS)
def test_rule_is_broken(busy: World, rule: str) -> None:
    assert broken(busy, rule) == set()
    BREAKERS[rule](busy)
    assert broken(busy, rule) == {rule}


def test_rules_of_options_that_are_off_do_not_apply(tmp_path: Path, db: Connection,
                                                    db_settings: SimpleNamespace) -> None:
    world = World(tmp_path, db, db_settings)
    for i in (1, 2):
        insert(db, "result", name=f"r{i}", workunitid=1, server_state=4, hostid=11, userid=1, sent_time=1,
               report_deadline=5)
    assert not broken(world, "two_results_on_a_host") and not broken(world, "two_results_of_a_user")


def test_limit_and_unknown_rule(busy: World) -> None:
    execute(busy.db, "UPDATE result SET server_state = 3")
    found = list(invariants.check(busy.db, busy.project, invariants.choose(["result_states"], [], False), limit=2))
    assert len(found[0].offences) == 2 and found[0].more
    with pytest.raises(InputError):
        invariants.choose(["nonsense"], [], False)


def test_the_command(busy: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BOINC_PROJECT_DIR", str(busy.project.dir))
    monkeypatch.setattr(time, "time", lambda: NOW)
    assert command.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    execute(busy.db, "UPDATE user SET total_credit = 0")
    assert command.main(["--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert not document["ok"] and {r["rule"] for r in document["rules"] if r["offences"]} == {
        "user_credit_too_low", "user_below_its_hosts"}
    assert command.main([]) == 1
    assert "BROKEN user_credit_too_low (2)" in capsys.readouterr().out
    assert command.main(["--list"]) == 0
