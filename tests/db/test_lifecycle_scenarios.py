"""The scenarios of spec 03 section 19 with the real daemons on a real database."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import T, World, execute, insert, update

from boincdock.db import Connection
from boincdock.enums import NEVER
from boincdock.lifecycle.transitioner import Transitioner
from boincdock.lifecycle.validators import BitwiseValidator, TrivialValidator

INIT = (5, 1, 0)
VALID = (5, 1, 1)
INVALID = (5, 1, 2)
UNSENT = (2, 0, 0)
SENT = (4, 0, 0)
NOT_NEEDED = (5, 5, 0)


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


def to_quorum(world: World, second: bytes = b"A") -> None:
    world.workunit()
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    world.send(1, 12, 200)
    world.report(0, 50000)
    world.run(Transitioner, 50001)
    world.report(1, 60000, output=second)
    world.run(Transitioner, 60001)


def test_1_create(world: World) -> None:
    world.workunit()
    world.run(Transitioner, 0)
    assert not world.results(), "due only when its time has passed"
    world.run(Transitioner, 1)
    rows = world.results()
    assert [r["name"] for r in rows] == ["wu_b_0", "wu_b_1"]
    assert world.states() == [UNSENT, UNSENT]
    assert {(r["priority"], r["file_delete_state"], r["appid"], r["size_class"]) for r in rows} == {(5, 0, 7, -1)}
    assert rows[0]["random"] != rows[1]["random"]
    assert b"<xml_signature>" in rows[0]["xml_doc_in"] and b"wu_b_0_r" in rows[0]["xml_doc_in"]
    assert world.wu()["transition_time"] == T + 864001
    world.run(Transitioner, 2)
    assert len(world.results()) == 2


def test_size_class_starts_inactive(world: World) -> None:
    world.workunit(size_class=1)
    world.run(Transitioner, 1)
    assert {r["server_state"] for r in world.results()} == {1}


def test_3_and_4_quorum_and_consensus(world: World) -> None:
    world.workunit()
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    world.send(1, 12, 200)
    assert world.wu()["transition_time"] == T + 103700
    world.report(0, 50000)
    world.run(Transitioner, 50001)
    wu = world.wu()
    assert (wu["transition_time"], wu["need_validate"], len(world.results())) == (T + 103800, 0, 2)
    world.report(1, 60000)
    world.run(Transitioner, 60001)
    assert (world.wu()["need_validate"], world.wu()["transition_time"]) == (1, T + 924001)
    world.run(BitwiseValidator, 60005)
    wu, rows = world.wu(), world.results()
    assert world.states() == [VALID, VALID]
    assert (wu["canonical_resultid"], wu["assimilate_state"], wu["need_validate"]) == (rows[0]["id"], 1, 0)
    assert wu["transition_time"] == NEVER
    assert rows[0]["granted_credit"] == rows[1]["granted_credit"] == wu["canonical_credit"] > 0
    for host in (11, 12):
        record = world.host_version(host)
        assert (record["consecutive_valid"], record["max_jobs_per_day"]) == (1, 101)


def test_credit_reaches_everybody_and_sums_up(world: World) -> None:
    insert(world.db, "team", id=4, name="t", userid=1, expavg_time=T)
    update(world.db, "user", 1, teamid=4)
    to_quorum(world)
    world.run(BitwiseValidator, 60005)
    granted = sum(r["granted_credit"] for r in world.results())
    each = granted / 2
    assert each == pytest.approx(33.3333, abs=1e-3), "3600 s at 4 GFLOPS, no scales (C1)"
    sums = {t: execute(world.db, f"SELECT SUM(total_credit) AS s FROM {t}")[0]["s"] for t in ("host", "user", "team")}
    assert sums == {"host": pytest.approx(granted), "user": pytest.approx(granted), "team": pytest.approx(each)}
    host = execute(world.db, "SELECT * FROM host WHERE id = 11")[0]
    assert host["expavg_time"] == T + 60005 and host["expavg_credit"] > 0
    assert host["avg_turnaround"] == 49900
    version = execute(world.db, "SELECT * FROM app_version WHERE id = 3")[0]
    assert (version["pfc_n"], version["pfc_avg"]) == (2, pytest.approx(1.44))
    assert version["expavg_credit"] > 0
    record = world.host_version(11)
    assert (record["pfc_n"], record["pfc_avg"], record["et_avg"]) == (1, pytest.approx(1.44), pytest.approx(3.6e-10))


def test_6_timeout(world: World) -> None:
    world.workunit()
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    world.send(1, 12, 200)
    execute(world.db, "UPDATE host_app_version SET turnaround_n = 4, turnaround_avg = 50000, consecutive_valid = 12"
                      " WHERE host_id = 11")
    world.run(Transitioner, 103701)
    assert world.states() == [(5, 4, 0), SENT, UNSENT]
    assert [(r["name"], r["priority"]) for r in world.results()][2] == ("wu_b_2", 7)
    record = world.host_version(11)
    assert (record["turnaround_n"], record["turnaround_avg"], record["turnaround_q"], record["turnaround_var"]) == (
        5, 60000, 2e9, 4e8)
    assert (record["max_jobs_per_day"], record["consecutive_valid"]) == (99, 0)
    assert world.wu()["transition_time"] == T + 103800


def test_7_late_report_after_timeout(world: World) -> None:
    world.workunit()
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    world.send(1, 12, 200)
    world.report(1, 60000)
    world.run(Transitioner, 103701)
    assert world.states() == [(5, 4, 0), INIT, UNSENT]
    world.report(0, 110000)
    world.run(Transitioner, 110001)
    world.run(BitwiseValidator, 110002)
    assert world.states() == [VALID, VALID, NOT_NEEDED]
    assert (world.wu()["assimilate_state"], world.wu()["transition_time"]) == (1, NEVER)


def test_8_and_9_mismatch_and_tie_break(world: World) -> None:
    to_quorum(world, second=b"B")
    world.run(BitwiseValidator, 60005)
    wu = world.wu()
    assert world.states() == [(5, 1, 4), (5, 1, 4)]
    assert (wu["target_nresults"], wu["transition_time"], wu["need_validate"]) == (3, T + 60005, 0)
    assert sum(r["granted_credit"] for r in world.results()) == 0
    world.run(Transitioner, 60006)
    assert world.results()[2]["name"] == "wu_b_2"
    world.send(2, 13, 60010)
    world.report(2, 70000, output=b"A")
    world.run(Transitioner, 70001)
    world.run(BitwiseValidator, 70002)
    assert world.states() == [VALID, INVALID, VALID]
    wu = world.wu()
    assert (wu["canonical_resultid"], wu["target_nresults"]) == (world.results()[0]["id"], 3)
    assert world.host_version(12)["consecutive_valid"] == 0


def test_10_no_consensus(world: World) -> None:
    world.workunit(max_success_results=2)
    world.run(Transitioner, 1)
    for i in (0, 1):
        world.send(i, 11 + i, 100)
        world.report(i, 200, output=bytes([65 + i]))
    world.run(Transitioner, 201)
    world.run(BitwiseValidator, 202)
    world.run(Transitioner, 203)
    world.send(2, 13, 300)
    world.report(2, 400, output=b"Z")
    world.run(Transitioner, 401)
    world.run(BitwiseValidator, 402)
    wu = world.wu()
    assert (wu["error_mask"], wu["target_nresults"], wu["transition_time"]) == (4, 4, T + 402)
    world.run(Transitioner, 403)
    assert world.states() == [(5, 1, 3)] * 3
    assert (world.wu()["assimilate_state"], world.wu()["transition_time"]) == (1, NEVER)


def test_11_client_errors(world: World) -> None:
    world.workunit(min_quorum=1, target_nresults=1, max_error_results=2, max_total_results=5, hr_class=386)
    for i in range(3):
        world.run(Transitioner, 10 * i + 1)
        assert len(world.results()) == i + 1
        world.send(i, 11 + i, 10 * i + 2)
        world.report(i, 10 * i + 3, exit_status=195, client_state=3)
    world.run(Transitioner, 31)
    wu = world.wu()
    assert (wu["error_mask"], wu["assimilate_state"], wu["transition_time"], wu["hr_class"]) == (2, 1, NEVER, 0)
    assert len(world.results()) == 3


def test_13_late_valid_after_consensus(world: World) -> None:
    to_quorum(world)
    update(world.db, "workunit", 101, target_nresults=3)
    world.run(Transitioner, 60002)
    third = insert(world.db, "result", workunitid=101, name="wu_b_2", server_state=2, appid=7,
                   xml_doc_in=world.results()[0]["xml_doc_in"].replace(b"wu_b_0_", b"wu_b_2_"))
    world.send(2, 13, 60003)
    world.run(BitwiseValidator, 60005, "--credit_fixed", "40")
    assert world.states() == [VALID, VALID, SENT]
    update(world.db, "workunit", 101, assimilate_state=2, transition_time=T + 60010)
    update(world.db, "result", third, report_deadline=T + 200000)
    world.run(Transitioner, 60011)
    world.run(Transitioner, 146401)
    assert [r["file_delete_state"] for r in world.results()] == [0, 1, 0]
    assert (world.wu()["file_delete_state"], world.wu()["transition_time"]) == (0, T + 200000)
    world.report(2, 150000, elapsed=99999)
    world.run(Transitioner, 150001)
    assert world.wu()["need_validate"] == 1
    world.run(BitwiseValidator, 150002)
    assert (world.states()[2], world.results()[2]["granted_credit"]) == (VALID, 40)
    assert world.wu()["transition_time"] <= T + 150002
    assert world.wu()["assimilate_state"] == 2, "not assimilated a second time"
    world.run(Transitioner, 150003)
    world.run(Transitioner, 236401)
    assert [r["file_delete_state"] for r in world.results()] == [1, 1, 1]
    assert world.wu()["file_delete_state"] == 1


def test_16_output_missing(world: World) -> None:
    world.workunit(min_quorum=1, target_nresults=1, max_error_results=2)
    world.run(Transitioner, 1)
    world.send(0, 11, 2)
    world.report(0, 3, output=None)
    world.run(Transitioner, 4)
    execute(world.db, "UPDATE host_app_version SET consecutive_valid = 5 WHERE host_id = 11")
    world.run(BitwiseValidator, 5)
    assert world.states() == [(5, 6, 2)]
    assert (world.wu()["target_nresults"], world.wu()["transition_time"]) == (1, T + 5)
    assert world.host_version(11)["consecutive_valid"] == 0
    world.run(Transitioner, 6)
    assert world.states() == [(5, 6, 2), UNSENT]


def test_18_suspicious(world: World) -> None:
    from boincdock.lifecycle.validator import Suspicious

    class Doubting(TrivialValidator):
        def init(self, result):  # type: ignore[no-untyped-def]
            return Suspicious(0)

    update(world.db, "app", 7, target_nresults=2)
    world.workunit(min_quorum=1, target_nresults=1)
    world.run(Transitioner, 1)
    world.send(0, 11, 2)
    world.report(0, 3)
    world.run(Transitioner, 4)
    world.run(Doubting, 5)
    assert world.states() == [(5, 1, 4)]
    wu = world.wu()
    assert (wu["target_nresults"], wu["min_quorum"], wu["transition_time"]) == (2, 2, T + 5)
    world.run(Transitioner, 6)
    assert world.states() == [(5, 1, 4), UNSENT]


def test_transient_trouble_decides_nothing_and_comes_again(world: World) -> None:
    from boincdock.lifecycle.validator import TransientError

    busy = [True]

    class Busy(BitwiseValidator):
        def init(self, result):  # type: ignore[no-untyped-def]
            if busy[0] and result.name.endswith("_1"):
                raise TransientError("disk away")
            return super().init(result)

    to_quorum(world)
    world.clock = T + 60005
    validator = world.daemon(Busy)
    validator.run()
    assert world.states() == [INIT, INIT]
    assert world.wu()["need_validate"] == 1 and world.wu()["target_nresults"] == 2
    busy[0] = False
    validator.run()
    assert world.states() == [INIT, INIT], "not before the pause is over"
    world.clock += 61
    validator.run()
    assert world.states() == [VALID, VALID]


def test_good_result_after_failure_earns_credit_but_is_not_assimilated_again(world: World) -> None:
    world.workunit(min_quorum=1, target_nresults=1)
    world.run(Transitioner, 1)
    world.send(0, 11, 2)
    update(world.db, "workunit", 101, error_mask=16, transition_time=T + 3)
    world.run(Transitioner, 4)
    assert world.wu()["assimilate_state"] == 1
    update(world.db, "workunit", 101, assimilate_state=2)
    world.report(0, 50)
    world.run(Transitioner, 51)
    assert world.results()[0]["file_delete_state"] == 0
    world.run(BitwiseValidator, 52)
    wu = world.wu()
    assert world.states() == [VALID] and world.results()[0]["granted_credit"] > 0
    assert (wu["canonical_resultid"], wu["assimilate_state"], wu["need_validate"]) == (0, 2, 0)
    total = execute(world.db, "SELECT total_credit FROM user WHERE id = 1")[0]["total_credit"]
    update(world.db, "workunit", 101, need_validate=1)
    world.run(BitwiseValidator, 60)
    assert execute(world.db, "SELECT total_credit FROM user WHERE id = 1")[0]["total_credit"] == total


@pytest.mark.parametrize(("argv", "credit"), [
    (["--credit_from_wu"], 7.5), (["--credit_fixed", "12"], 12), (["--no_credit"], 0),
    (["--credit_from_runtime"], pytest.approx(33.3333, abs=1e-3)), (["--max_granted_credit", "5"], 5),
    (["--credit_from_wu", "--credit_from_runtime", "--no_credit"], 7.5)])
def test_credit_policies(world: World, argv: list[str], credit: float) -> None:
    to_quorum(world)
    update(world.db, "workunit", 101, canonical_credit=7.5)
    world.run(BitwiseValidator, 60005, *argv)
    assert [r["granted_credit"] for r in world.results()] == [credit, credit]
    assert execute(world.db, "SELECT SUM(total_credit) AS s FROM user")[0]["s"] == pytest.approx(
        2 * world.results()[0]["granted_credit"])


def test_dry_run_writes_nothing(world: World) -> None:
    to_quorum(world)
    before = world.wu(), world.results(), world.host_version(11)
    world.run(BitwiseValidator, 60005, "--dry_run")
    assert (world.wu(), world.results(), world.host_version(11)) == before


def test_credit_by_app(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> None:
    world = World(tmp_path, db, db_settings, extra="<credit_by_app/>")
    to_quorum(world)
    world.run(BitwiseValidator, 60005, "--credit_fixed", "10")
    rows = execute(db, "SELECT userid, appid, njobs, total FROM credit_user ORDER BY userid")
    assert [tuple(r.values()) for r in rows] == [(1, 7, 1, 10), (2, 7, 1, 10)]
    rows = execute(db, "SELECT teamid, appid, njobs, total FROM credit_team")
    assert [tuple(r.values()) for r in rows] == [(0, 7, 2, 20)]


def test_result_without_host_or_user_is_validated_all_the_same(world: World) -> None:
    to_quorum(world)
    execute(world.db, "UPDATE result SET hostid = 0, userid = 0 WHERE name = 'wu_b_1'")
    world.run(BitwiseValidator, 60005)
    assert world.states() == [VALID, VALID]
    assert execute(world.db, "SELECT total_credit FROM user WHERE id = 2")[0]["total_credit"] == 0
