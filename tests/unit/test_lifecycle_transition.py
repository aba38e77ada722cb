"""The transitioner's decisions against spec 03 sections 19, 22.1, 22.8, 22.9."""
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boincdock.enums import NEVER
from boincdock.lifecycle.model import Result, Workunit, generalised_version_id, next_instance
from boincdock.lifecycle.transition import Plan, Policy, decide

T = 1800000000
POLICY = Policy(delete_delay=86400, reliable_priority_on_over=2)
B = Workunit(101, "wu_b", appid=7, min_quorum=2, target_nresults=2, max_error_results=3, max_total_results=8,
             max_success_results=4, delay_bound=100000, priority=5)
LETTERS = {
    "U": {"server_state": 2}, "I": {"server_state": 4, "report_deadline": T + 500},
    "S": {"server_state": 5, "outcome": 1}, "s": {"server_state": 5, "outcome": 1, "validate_state": 4},
    "V": {"server_state": 5, "outcome": 1, "validate_state": 1},
    "v": {"server_state": 5, "outcome": 1, "validate_state": 2},
    "E": {"server_state": 5, "outcome": 3, "validate_state": 2, "exit_status": 195},
    "G": {"server_state": 5, "outcome": 3, "validate_state": 2, "exit_status": 203},
    "X": {"server_state": 5, "outcome": 6, "validate_state": 2},
    "N": {"server_state": 5, "outcome": 4}, "D": {"server_state": 5, "outcome": 5},
    "d": {"server_state": 5, "outcome": 7}, "C": {"server_state": 5, "outcome": 2},
}


def results(letters: str) -> list[Result]:
    return [Result(1000 + i, f"wu_b_{i}", 101, **LETTERS[c]) for i, c in enumerate(letters.replace(" ", ""))]


@pytest.mark.parametrize(("limits", "letters", "validate", "bits", "reset", "create"), [
    ("2,2,3,8", "", False, 0, False, 2), ("2,2,3,8", "I S", False, 0, False, 0),
    ("2,2,3,8", "S S", True, 0, False, 0), ("2,2,3,8", "N S", False, 0, False, 1),
    ("3,2,3,8", "s s", False, 0, False, 1), ("2,2,3,8", "v", False, 0, False, 2),
    ("2,2,3,8", "X", False, 0, True, 2), ("1,1,3,8", "d D", False, 0, False, 1),
    ("1,1,2,5", "E E", False, 0, True, 1), ("1,1,2,5", "E E E", False, 2, True, 0),
    ("1,1,1,1", "E", False, 8, True, 0), ("1,1,1,2", "G G", False, 8, False, 0),
    ("2,2,3,3", "E E I", False, 8, False, 0), ("2,2,9,3", "E E E I", False, 8, False, 0),
    ("4,2,3,5", "I I", False, 0, False, 2), ("1,1,3,8", "C", False, 1, False, 0),
])
def test_step_5_and_friends(limits: str, letters: str, validate: bool, bits: int, reset: bool, create: int) -> None:
    target, quorum, max_error, max_total = map(int, limits.split(","))
    wu = replace(B, target_nresults=target, min_quorum=quorum, max_error_results=max_error,
                 max_total_results=max_total)
    plan = decide(wu, results(letters), T, POLICY)
    assert (plan.need_validate, plan.error_bits, plan.reset_class, plan.create) == (validate, bits, reset, create)


@pytest.mark.parametrize(("delay_bound", "wait"), [(86400, 864000), (576001, 864001), (604800, 907200),
                                                   (100000, 864000), (2592000, 3888000)])
def test_safety_net(delay_bound: int, wait: int) -> None:
    assert decide(replace(B, delay_bound=delay_bound), [], T, POLICY).transition_time == T + wait


def test_1_create_takes_the_priority_of_the_workunit() -> None:
    plan = decide(B, [], T + 1, POLICY)
    assert (plan.create, plan.priority, plan.transition_time) == (2, 5, T + 864001)


def test_6_timeout_creates_a_boosted_instance() -> None:
    sent = [replace(r, report_deadline=T + d) for r, d in zip(results("II"), (103700, 103800), strict=True)]
    plan = decide(B, sent, T + 103701, POLICY)
    assert [r.id for r in plan.timed_out] == [1000]
    assert (plan.create, plan.priority, plan.transition_time) == (1, 7, T + 103800)
    assert not decide(B, sent, T + 103700, POLICY).timed_out, "a deadline is passed only after it"


def test_priority_boost_except_error() -> None:
    policy = Policy(reliable_priority_on_over_except_error=3)
    assert decide(B, results("N"), T, policy).priority == 8
    assert decide(B, results("NE"), T, policy).priority == 5
    assert decide(B, results("U"), T, policy).priority == 5


def test_10_no_consensus_gives_up() -> None:
    plan = decide(replace(B, error_mask=4, target_nresults=4, max_success_results=2), results("sss"), T, POLICY)
    assert plan.no_check == [1000, 1001, 1002]
    assert (plan.assimilate, plan.create, plan.transition_time, plan.need_validate) == (True, 0, NEVER, False)


def test_11_class_reset_only_if_not_static() -> None:
    wu = replace(B, hr_class=386)
    assert decide(wu, results("E"), T, POLICY).reset_class
    assert not decide(wu, results("E"), T, Policy(hr_class_static=True)).reset_class


def test_14_too_late_after_canonical_files_are_gone() -> None:
    wu = replace(B, canonical_resultid=1000, assimilate_state=2, target_nresults=3)
    rows = [replace(results("V")[0], file_delete_state=2), *results("VVVS")[1:]]
    plan = decide(wu, rows, T, POLICY)
    assert plan.too_late == [1003] and not plan.need_validate


def test_15_cancel() -> None:
    wu = replace(B, error_mask=16)
    rows = [replace(results("I")[0], report_deadline=T + 103700), results("UU")[1]]
    plan = decide(wu, rows, T + 1001, POLICY)
    assert plan.not_needed == [1001] and plan.assimilate
    assert plan.transition_time == T + 103700
    rows = [replace(rows[0], server_state=5, outcome=3, validate_state=2, exit_status=202, received_time=T + 5000),
            replace(rows[1], server_state=5, outcome=5)]
    wu = replace(wu, assimilate_state=2)
    plan = decide(wu, rows, T + 5001, POLICY)
    assert plan.transition_time == T + 91400 and not plan.delete_files_of
    plan = decide(wu, rows, T + 91401, POLICY)
    assert plan.delete_wu_files and plan.delete_files_of == [1000] and plan.transition_time == NEVER


def test_19_limits_stop_at_consensus() -> None:
    wu = replace(B, min_quorum=1, target_nresults=2, max_total_results=2, canonical_resultid=1000)
    assert decide(wu, results("VE"), T, POLICY).error_bits == 0


def test_consensus_cancels_instances_created_meanwhile() -> None:
    plan = decide(replace(B, canonical_resultid=1000, assimilate_state=1), results("VVU"), T, POLICY)
    assert plan.not_needed == [1002] and not plan.no_check


def test_22_empty_failed_workunit() -> None:
    plan = decide(replace(B, error_mask=16, assimilate_state=2), [], T, POLICY)
    assert plan.delete_wu_files and plan.transition_time == NEVER


@pytest.mark.parametrize(("letters", "canonical", "wu_ready", "ready"), [
    ("VV", 1000, True, [1000, 1001]), ("VVI", 1000, False, [1001]), ("VX", 1000, True, [1000]),
    ("VN", 1000, True, [1000])])
def test_file_deletion(letters: str, canonical: int, wu_ready: bool, ready: list[int]) -> None:
    wu = replace(B, canonical_resultid=canonical, assimilate_state=2)
    plan = decide(wu, results(letters), T, POLICY)
    assert (plan.delete_wu_files, plan.delete_files_of) == (wu_ready, ready)


def test_no_file_deletion_while_a_result_waits_for_the_validator() -> None:
    plan = decide(replace(B, canonical_resultid=1000, assimilate_state=2), results("VS"), T, POLICY)
    assert plan.need_validate and not plan.delete_wu_files and not plan.delete_files_of
    plan = decide(replace(B, error_mask=2, assimilate_state=2, min_quorum=1), results("S"), T, POLICY)
    assert plan.need_validate and plan.no_check == [1000] and not plan.delete_files_of


def test_no_file_deletion_while_an_extended_deadline_runs() -> None:
    wu = replace(B, canonical_resultid=1000, assimilate_state=2)
    rows = [results("V")[0], replace(results("VN")[1], report_deadline=T + 50)]
    plan = decide(wu, rows, T, POLICY)
    assert not plan.delete_wu_files and not plan.delete_files_of
    assert plan.transition_time == T + 50, "look again when the extension ends"


def test_failed_workunit_frees_errors_and_unchecked_successes() -> None:
    rows = [*results("E"), replace(results("ES")[1], validate_state=3), *results("ESD")[2:]]
    plan = decide(replace(B, error_mask=2, assimilate_state=2), rows, T, POLICY)
    assert plan.delete_wu_files and plan.delete_files_of == [1000, 1001]


def test_targeted_workunits_get_no_results() -> None:
    assert decide(replace(B, transitioner_flags=2), [], T, POLICY).create == 0


@pytest.mark.parametrize(("appid", "version", "key"), [(7, -2, 7000002), (7, -3, 7000003), (7, -6, 7000006),
                                                       (7, 123, 123), (7, 0, 0)])
def test_generalised_version_id(appid: int, version: int, key: int) -> None:
    assert generalised_version_id(appid, version) == key


def test_next_instance() -> None:
    assert next_instance("wu_b", ["wu_b_0", "wu_b_2"]) == 3
    assert next_instance("job_7", []) == 0


@given(st.text("UISsVvEGXNDdC", max_size=8), st.integers(1, 4), st.integers(1, 4), st.integers(0, 4),
       st.integers(1, 9), st.sampled_from([0, 2, 16]), st.booleans(), st.integers(0, 2))
def test_a_plan_is_always_consistent(letters: str, target: int, quorum: int, max_error: int, max_total: int,
                                     mask: int, canonical: bool, assimilate: int) -> None:
    rows = results(letters)
    valid = [r.id for r in rows if r.validate_state == 1]
    wu = replace(B, target_nresults=target, min_quorum=quorum, max_error_results=max_error, error_mask=mask,
                 max_total_results=max_total, assimilate_state=assimilate,
                 canonical_resultid=valid[0] if canonical and valid else 0)
    plan: Plan = decide(wu, rows, T, POLICY)
    assert T <= plan.transition_time <= NEVER
    assert len(rows) + plan.create <= max(max_total, len(rows))
    assert not (plan.create and (mask or plan.error_bits or wu.canonical_resultid))
    assert not (plan.delete_wu_files and any(r.server_state == 4 for r in rows))
    if not wu.canonical_resultid and not (mask or plan.error_bits):
        live = sum(c in "UISsV" for c in letters)
        assert live + plan.create >= min(target, live + max_total - len(rows)) or plan.create == 0
