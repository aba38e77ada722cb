"""Options of validators (spec 03 sections 6.1, 6.5, 6.8) and scenarios 12 and 15 of section 19."""
from __future__ import annotations

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lifecycle_world import T, World, execute, insert, update

from boincdock.db import Connection
from boincdock.enums import NEVER
from boincdock.errors import InputError
from boincdock.lifecycle.assimilators import DummyAssimilator
from boincdock.lifecycle.model import Result
from boincdock.lifecycle.transitioner import Transitioner
from boincdock.lifecycle.validator import LongTermFail
from boincdock.lifecycle.validators import BitwiseValidator, SubstringValidator, TrivialValidator


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


def reported(world: World, outputs: tuple[bytes | None, ...] = (b"A", b"A"), **columns: Any) -> None:
    world.workunit(target_nresults=len(outputs), min_quorum=len(outputs), **columns)
    world.run(Transitioner, 1)
    for i, output in enumerate(outputs):
        world.send(i, 11 + i, 100)
        world.report(i, 50000 + i, output=output)
    world.run(Transitioner, 50010)


def test_6_1_update_credited_job(world: World) -> None:
    reported(world, opaque=4711.9)
    insert(world.db, "credited_job", userid=1, workunitid=4711)
    world.run(TrivialValidator, 50020, "--update_credited_job")
    rows = execute(world.db, "SELECT userid, workunitid FROM credited_job ORDER BY userid")
    assert list(rows) == [{"userid": 1, "workunitid": 4711}, {"userid": 2, "workunitid": 4711}]


def test_6_1_post_assigned_credit_with_quorum_1(world: World) -> None:
    class Assigning(BitwiseValidator):
        def assigned_credit(self, canonical: Result, data: Any) -> float:
            return 7.5 * len(data)

    reported(world, (b"A",))
    world.run(Assigning, 50020, "--post_assigned_credit")
    assert world.results()[0]["granted_credit"] == 7.5 and world.wu()["canonical_credit"] == 7.5


def test_6_1_claimed_credit_is_the_default_of_post_assigned_credit(world: World) -> None:
    reported(world, (b"A",))
    execute(world.db, "UPDATE result SET claimed_credit = 3")
    world.run(TrivialValidator, 50020, "--post_assigned_credit")
    assert world.results()[0]["granted_credit"] == 3


@pytest.mark.parametrize(("argv", "validated"), [
    (["--wu_id", "102"], {102}), (["--min_wu_id", "102"], {102, 103}), (["--max_wu_id", "102"], {101, 102}),
    (["--mod", "3", "0"], {102}), (["--one_pass_N_WU", "2"], {101, 102}), (["--dry_run"], set())])
def test_6_1_which_workunits(world: World, argv: list[str], validated: set[int]) -> None:
    for wu_id in (101, 102, 103):
        world.workunit(id=wu_id, name=f"w{wu_id}", min_quorum=1, target_nresults=1, need_validate=1)
        insert(world.db, "result", workunitid=wu_id, name=f"w{wu_id}_0", server_state=5, outcome=1, hostid=11, userid=1,
               appid=7, app_version_id=3, sent_time=T - 500, received_time=T, elapsed_time=400, flops_estimate=4e9)
    world.run(TrivialValidator, 10, *argv)
    assert {i for i in (101, 102, 103) if world.wu(i)["canonical_resultid"]} == validated


@pytest.mark.parametrize("argv", [["--credit_from_runtime", "--max_granted_credit", "0"], ["--credit_fixed", "-1"],
                                  ["--max_granted_credit", "-1"]])
def test_6_1_options_that_make_no_sense(world: World, argv: list[str]) -> None:
    with pytest.raises(InputError):
        world.daemon(TrivialValidator, *argv)


def test_6_5_check_punitive(world: World) -> None:
    class Picky(TrivialValidator):
        def init(self, result: Result) -> Any:
            if b"wrong driver" in bytes(result.stderr_out):
                raise LongTermFail

    world.workunit(min_quorum=1, target_nresults=2)
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    world.send(1, 12, 100)
    world.report(0, 200)
    world.report(1, 200, exit_status=195, client_state=3)
    execute(world.db, "UPDATE result SET stderr_out = 'wrong driver' WHERE outcome = 3")
    world.run(Transitioner, 201)
    world.run(Picky, 202, "--check_punitive")
    bad = world.host_version(12)
    assert (bad["max_jobs_per_day"], bad["n_jobs_today"]) == (1, 1)
    assert world.host_version(11)["max_jobs_per_day"] == 101


def test_6_5_without_the_option_nobody_is_punished(world: World) -> None:
    world.workunit(min_quorum=1, target_nresults=2)
    world.run(Transitioner, 1)
    for i in (0, 1):
        world.send(i, 11 + i, 100)
    world.report(0, 200)
    world.report(1, 200, exit_status=195, client_state=3)
    world.run(Transitioner, 201)
    world.run(TrivialValidator, 202)
    assert world.host_version(12)["max_jobs_per_day"] == 100


def packed(text: bytes, mtime: int) -> bytes:
    return gzip.compress(text, mtime=mtime)


@pytest.mark.parametrize(("outputs", "argv", "states"), [
    ((packed(b"same", 1), packed(b"same", 2)), ["--is_gzip"], [1, 1]),
    ((packed(b"same", 1), packed(b"same", 2)), [], [4, 4]),
    ((packed(b"same", 1), packed(b"else", 1)), ["--is_gzip"], [4, 4]),
    ((packed(b"same", 1), b"no gzip at all"), ["--is_gzip"], [4, 2]),
    ((packed(b"same", 1), b"\x1f\x8b\x08"), ["--is_gzip"], [4, 2])])
def test_6_8_is_gzip(world: World, outputs: tuple[bytes, bytes], argv: list[str], states: list[int]) -> None:
    reported(world, outputs)
    world.run(BitwiseValidator, 50020, *argv)
    assert [s[2] for s in world.states()] == states


@pytest.mark.parametrize(("argv", "state"), [(["--stderr_string", "some"], 1), (["--stderr_string", "none"], 2),
                                             (["--stderr_string", "some", "--stderr_string", "none"], 2),
                                             (["--stderr_string", "none", "--reject_if_present"], 1),
                                             (["--stderr_string", "some", "--reject_if_present"], 2)])
def test_6_8_substr(world: World, argv: list[str], state: int) -> None:
    reported(world, (b"A",))
    world.run(SubstringValidator, 50020, *argv)
    assert world.states()[0][2] == state


def test_6_11_outliers_stay_out_of_averages(world: World) -> None:
    reported(world, (b"A",))
    execute(world.db, "UPDATE result SET flops_estimate = 1e9")
    world.run(TrivialValidator, 50020)
    assert world.results()[0]["runtime_outlier"] == 1
    assert world.host_version(11)["pfc_n"] == 0 and world.host_version(11)["turnaround_n"] == 0


def test_12_user_aborts(world: World) -> None:
    world.workunit(min_quorum=1, target_nresults=1, max_error_results=1, max_total_results=2)
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    world.report(0, 200, exit_status=203, client_state=6)
    world.run(Transitioner, 201)
    assert world.wu()["error_mask"] == 0 and world.states() == [(5, 3, 2), (2, 0, 0)]
    world.send(1, 12, 300)
    world.report(1, 400, exit_status=203, client_state=6)
    world.run(Transitioner, 401)
    assert (world.wu()["error_mask"], world.wu()["assimilate_state"], len(world.results())) == (8, 1, 2)


def test_15_cancel(world: World) -> None:
    world.workunit()
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    update(world.db, "workunit", 101, error_mask=16, transition_time=T + 1000)
    world.run(Transitioner, 1001)
    assert world.states()[1] == (5, 5, 0)
    row = world.wu()
    assert (row["error_mask"], row["assimilate_state"], row["transition_time"]) == (16, 1, T + 103700)
    world.run(DummyAssimilator, 1010)
    world.run(Transitioner, 1011)
    world.report(0, 5000, exit_status=202, client_state=6)
    world.run(Transitioner, 5001)
    assert (world.wu()["transition_time"], world.states()[0]) == (T + 91400, (5, 3, 2))
    world.run(Transitioner, 91401)
    assert (world.wu()["file_delete_state"], world.wu()["transition_time"]) == (1, NEVER)
    assert [r["file_delete_state"] for r in world.results()] == [1, 0]


def test_17_trusted_host_is_not_counted_again(world: World) -> None:
    """The part of scenario 17 that is the validator's: consecutive_valid stays for an unreplicated job."""
    update(world.db, "app", 7, target_nresults=2)
    execute(world.db, "UPDATE host_app_version SET consecutive_valid = 20")
    reported(world, (b"A",))
    world.run(TrivialValidator, 50020)
    assert world.wu()["canonical_resultid"] and world.host_version(11)["consecutive_valid"] == 20


def test_3_host_record_moves_to_the_new_version(world: World) -> None:
    """A missing record is taken over from an older version of the same app, platform and plan class."""
    insert(world.db, "app_version", id=4, appid=7, version_num=101, platformid=1, plan_class="docker")
    execute(world.db, "UPDATE host_app_version SET consecutive_valid = 5 WHERE host_id = 11")
    reported(world, (b"A",))
    execute(world.db, "UPDATE result SET app_version_id = 4")
    world.run(TrivialValidator, 50020)
    rows = execute(world.db, "SELECT app_version_id, consecutive_valid FROM host_app_version WHERE host_id = 11")
    assert list(rows) == [{"app_version_id": 4, "consecutive_valid": 6}]


@pytest.mark.parametrize("known", [True, False])
def test_3_anonymous_platform_uses_an_existing_record_only(world: World, known: bool) -> None:
    if known:
        insert(world.db, "host_app_version", host_id=11, app_version_id=7000002, max_jobs_per_day=100)
    reported(world, (b"A",))
    execute(world.db, "UPDATE result SET app_version_id = -2")
    world.run(TrivialValidator, 50020)
    rows = execute(world.db, "SELECT consecutive_valid AS c FROM host_app_version WHERE app_version_id = 7000002")
    assert [r["c"] for r in rows] == ([1] if known else [])
    assert world.states()[0][2] == 1 and world.results()[0]["granted_credit"] == pytest.approx(23.148148)
