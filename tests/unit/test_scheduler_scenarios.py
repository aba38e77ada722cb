"""The scheduler's part of spec 03 section 19 (scenarios 2, 17, 20, 21) and of its vectors 22.4 and 22.11, with their
exact numbers (T is the tests' clock, times are T + offset); rows of spec 02 section 19 that no other test has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scheduler_world import HOST_CPID, NOW, World, change, elements, example
from test_scheduler_rpc import first_contact
from test_scheduler_rules import ask, names, work_request

from boincdock.enums import Outcome
from boincdock.lifecycle.averages import HOST_RULE, VERSION_RULE, Average, Rule
from boincdock.lifecycle.credit import HostVersion
from boincdock.lifecycle.hostversions import after_invalid, after_valid
from boincdock.scheduler.authenticate import public_cpid
from boincdock.scheduler.claim import draw_trust
from boincdock.scheduler.feasible import Refusal, check
from boincdock.scheduler.model import App, BestVersion, Hav, Job, Usage

T = NOW
KEYS = {42: "126d0d20108d69f199bbf73004aca92c", 43: "f" * 32}
WU: dict[str, Any] = {
    "name": "wu_b",
    "delay_bound": 100000,
    "min_quorum": 2,
    "target_nresults": 2,
    "max_error_results": 3,
    "max_total_results": 8,
    "max_success_results": 4,
    "transition_time": T + 864001,
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two accounts, hosts 17 (of 42), 18 (of 42) and 19 (of 43); configuration of section 19."""
    world = World(tmp_path, daily_result_quota=100, report_grace_period=3600, min_sendwork_interval=0)
    world.repo.add("user", id=43, email_addr="b@example.org", authenticator=KEYS[43], name="B", create_time=T)
    for host, user in ((18, 42), (19, 43)):
        mail = "b@example.org" if user == 43 else "ada@example.org"
        world.repo.add(
            "host",
            id=host,
            userid=user,
            rpc_seqno=0,
            rpc_time=T - 9999,
            create_time=T - 9999,
            p_ncpus=4,
            p_vendor="GenuineIntel",
            os_name="Linux Ubuntu",
            host_cpid=public_cpid(f"{host:032}", mail),
        )
    return world


def from_host(host: int, request: str) -> str:
    """The request as this host sends it."""
    cpid = HOST_CPID if host == 17 else f"{host:032}"
    return change(request, authenticator=KEYS[43 if host == 19 else 42], hostid=host, host_cpid=cpid, rpc_seqno=9)


def two_results(world: World) -> list[dict[str, Any]]:
    first = world.job(1, wu=WU)
    first["name"] = "wu_b_0"
    second = world.repo.add(
        "result",
        workunitid=first["workunitid"],
        appid=3,
        name="wu_b_1",
        server_state=2,
        xml_doc_in=first["xml_doc_in"],
    )
    return [first, second]


def test_2_send(world: World) -> None:
    two_results(world)
    for host, at, deadline in ((17, 100, 103700), (19, 200, 103800)):
        world.now = T + at
        reply = world.rpc(from_host(host, ask(cpu_req_secs=1, work_req_seconds=1)))
        [name] = names(reply)
        row = world.result(name)
        assert (row["server_state"], row["hostid"], row["sent_time"]) == (4, host, T + at)
        assert row["report_deadline"] == T + deadline
        assert elements(reply, "report_deadline") == [str(T + at + 100000)], "the grace period is the server's own"
        assert world.workunit_of(row)["transition_time"] == T + 103700, "the second send does not move it"
    assert {world.result(f"wu_b_{i}")["hostid"] for i in (0, 1)} == {17, 19}


@pytest.mark.parametrize(("valid", "number"), [(9, 2), (20, 1)])
def test_17_adaptive_replication_at_the_send(
    world: World, monkeypatch: pytest.MonkeyPatch, valid: int, number: int
) -> None:
    world.repo.find("app", id=3)[0]["target_nresults"] = 2
    world.repo.add("host_app_version", host_id=17, app_version_id=22, consecutive_valid=valid, max_jobs_per_day=100)
    monkeypatch.setattr(world.scheduler.rng, "random", lambda: 0.5)
    job = world.job(1, wu={**WU, "min_quorum": 1, "target_nresults": 1})
    assert len(names(world.rpc(ask()))) == 1
    wu = world.workunit_of(job)
    assert (wu["target_nresults"], wu["min_quorum"]) == (number, number)
    assert wu["transition_time"] == (T if number == 2 else T + 103600)
    assert world.repo.find("host_app_version", host_id=17)[0]["consecutive_valid"] == valid


def test_22_11_trust(world: World) -> None:
    """9 valid results: never; 10: with probability 0.9; 20: 0.95; 100: 0.99."""
    draws = [i / 1000 + 0.0005 for i in range(1000)]
    for valid, share in ((0, 0), (9, 0), (10, 900), (20, 950), (100, 990)):
        assert sum(draw_trust(Hav(1, consecutive_valid=valid), r) for r in draws) == share


def test_20_detach(world: World) -> None:
    first, _ = two_results(world)
    first.update(
        server_state=4, hostid=17, userid=42, sent_time=T - 100, report_deadline=T + 103500, app_version_id=22
    )
    world.rpc(first_contact())
    assert (first["server_state"], first["outcome"], first["validate_state"]) == (5, Outcome.CLIENT_DETACHED, 0)
    assert first["received_time"] == T
    wu = world.workunit_of(first)
    assert wu["transition_time"] == T
    wu["transition_time"] = T + 777
    world.now += 500
    report = change(example(), code_sign_key=None, rpc_seqno=9, dont_send_work=1).replace("fold_000118_0", "wu_b_0")
    reply = world.rpc(report)
    assert "<name>wu_b_0</name>" in elements(reply, "result_ack")[0], "or the client would report it for ever"
    assert (first["outcome"], first["received_time"]) == (Outcome.CLIENT_DETACHED, T)
    assert wu["transition_time"] == T + 777


@pytest.mark.parametrize(("host", "taken"), [(18, True), (19, False)])
def test_21_wrong_host(world: World, host: int, taken: bool) -> None:
    first, _ = two_results(world)
    first.update(
        server_state=4, hostid=17, userid=42, sent_time=T - 100, report_deadline=T + 103500, app_version_id=22
    )
    before = dict(first)
    report = change(example(), code_sign_key=None, dont_send_work=1).replace("fold_000118_0", "wu_b_0")
    reply = world.rpc(from_host(host, report))
    assert "<name>wu_b_0</name>" in elements(reply, "result_ack")[0]
    if taken:
        assert (first["server_state"], first["outcome"], first["hostid"]) == (5, 1, 18)
    else:
        assert dict(first) == before


@pytest.mark.parametrize(
    ("before", "exit_status", "after"),
    [
        (0, None, 100),
        (100, 195, 99),
        (99, 195, 98),
        (98, 0, 100),
        (101, 195, 99),
        (1, 195, 1),
        (1, 0, 2),
        (2, 0, 4),
        (60, 0, 100),
        (100, 0, 100),
    ],
)
def test_22_4_quota_of_a_request_and_of_reports(
    world: World, before: int, exit_status: int | None, after: int
) -> None:
    world.job(118, state=4, host=17, sent=T - 4000)
    world.repo.add("host_app_version", host_id=17, app_version_id=22, max_jobs_per_day=before)
    text = change(example(), code_sign_key=None, dont_send_work=1)
    if exit_status is None:
        world.result("fold_000118_0")["server_state"] = 5
    else:
        text = change(text, exit_status=exit_status)
    world.rpc(text)
    assert world.repo.find("host_app_version", host_id=17)[0]["max_jobs_per_day"] == after


# ---- spec 02 section 19


@pytest.mark.parametrize(
    ("before", "exit_status", "after"),
    [(500, 195, 499), (510, 195, 499), (1, 195, 1), (0, 195, 499), (4, 0, 8), (300, 0, 500), (510, 0, 510)],
)
def test_02_19_quota_events(tmp_path: Path, before: int, exit_status: int, after: int) -> None:
    """Daily quota 500; 0 becomes 500 when the RPC begins."""
    world = World(tmp_path, daily_result_quota=500)
    world.job(118, state=4, host=17, sent=T - 4000)
    world.repo.add("host_app_version", host_id=17, app_version_id=22, max_jobs_per_day=before)
    # The day changes for every host within two days, and with it 0 becomes the quota.
    world.host["rpc_time"] = T - 2 * 86400
    world.rpc(change(example(), code_sign_key=None, dont_send_work=1, exit_status=exit_status))
    assert world.repo.find("host_app_version", host_id=17)[0]["max_jobs_per_day"] == after


@pytest.mark.parametrize(
    ("event", "before", "after"), [("valid", 500, 501), ("invalid", 501, 500), ("invalid", 500, 500)]
)
def test_02_19_quota_events_of_the_validator(event: str, before: int, after: int) -> None:
    record = HostVersion(1, 3, max_jobs_per_day=before)
    changed = after_valid(record, 500, True) if event == "valid" else after_invalid(record, 500)
    assert changed.max_jobs_per_day == after


@pytest.mark.parametrize(
    ("rule", "samples", "n", "average"),
    [
        (HOST_RULE, [2, 4, 6], 3, 4),
        (HOST_RULE, [1, 100], 2, 5.5),
        (HOST_RULE, [1] * 18 + [3], 19, 1.1052631579),
        (HOST_RULE, [1] * 19 + [3], 20, 1.02),
        (HOST_RULE, [-1, 5], 1, 5),
        (VERSION_RULE, [1] * 99 + [3], 100, 1.002),
    ],
)
def test_02_19_averages(rule: Rule, samples: list[float], n: int, average: float) -> None:
    record = Average()
    for sample in samples:
        record = record.updated(sample, rule)
    assert (record.n, record.avg) == (n, pytest.approx(average, abs=5e-6))


@pytest.mark.parametrize(("before", "after"), [(5000, 1700), (1200, 1200)])
def test_02_19_claim(tmp_path: Path, before: int, after: int) -> None:
    """Now 1000, delay bound 600, grace 100."""
    world = World(tmp_path, report_grace_period=100)
    offset = T - 1000
    job = world.job(1, wu={"delay_bound": 600, "transition_time": before + offset, "rsc_fpops_est": 1e9})
    reply = world.rpc(ask(estimated_delay=0))
    assert elements(reply, "report_deadline") == [str(1600 + offset)]
    assert job["report_deadline"] == 1700 + offset
    assert world.workunit_of(job)["transition_time"] == after + offset


@pytest.mark.parametrize(("delay", "duration", "accepted"), [(0, 5000, True), (10, 990, True), (10, 991, False)])
def test_02_19_deadline_check(world: World, delay: float, duration: float, accepted: bool) -> None:
    """Delay bound 1000; a processor that is free takes any job."""
    work = work_request(world)
    work.delay[0] = delay
    refusal = check(work, Job(1, 1, 3, 0), BestVersion(App(3, "fold"), Usage()), duration, 1000)
    assert refusal is (None if accepted else Refusal.DEADLINE)
