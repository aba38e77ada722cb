"""Consensus against spec 03 section 22.7 (recommended forms) and the quota table of 22.4."""
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boincdock.lifecycle import hostversions
from boincdock.lifecycle.averages import Average
from boincdock.lifecycle.checks import (
    CompareError,
    Kind,
    Reading,
    SetCheck,
    TransientError,
    Verdict,
    check_set,
    without_consensus,
)
from boincdock.lifecycle.credit import HostVersion

SHORT = {Verdict.VALID: "V", Verdict.INVALID: "I", Verdict.ERROR: "X", Verdict.UNDECIDED: "-"}


def reading(text: str) -> Reading:
    if text in ("X", "T"):
        return Reading(Kind.BAD if text == "X" else Kind.TRANSIENT)
    return Reading(Kind.SUSPICIOUS, text[:-1]) if text.endswith("?") else Reading(Kind.OK, text)


def check(outputs: str, quorum: int, app_target: int = 0, compare: Any = None) -> SetCheck:
    return check_set([reading(o) for o in outputs.split()], quorum, app_target, compare or (lambda a, b: a == b))


@pytest.mark.parametrize(("quorum", "outputs", "verdicts", "canonical"), [
    (2, "A A", "VV", 0), (2, "A B B", "IVV", 1), (3, "A B A", "VIV", 0), (4, "A A B B", "----", None),
    (2, "A B C", "---", None), (2, "A X", "-X", None), (2, "A T", "--", None), (3, "A B", "--", None),
    (2, "A A T", "VV-", 0), (1, "A", "V", 0)])
def test_check_set(quorum: int, outputs: str, verdicts: str, canonical: int | None) -> None:
    found = check(outputs, quorum)
    assert "".join(SHORT[v] for v in found.verdicts) == verdicts
    assert found.canonical == canonical
    assert found.retry == ("T" in outputs)


def test_first_with_enough_neighbours_is_canonical() -> None:
    found = check("1 2 3", 3, compare=lambda a, b: abs(int(a) - int(b)) <= 1)
    assert [SHORT[v] for v in found.verdicts] == ["V", "V", "I"] and found.canonical == 0


@pytest.mark.parametrize(("quorum", "target", "max_success", "app_target", "outputs", "bits", "new_target", "now"), [
    (4, 4, 6, 0, "A A B B", 0, 5, True), (2, 3, 2, 0, "A B C", 4, 4, True), (2, 2, 4, 0, "A X", 0, 2, True),
    (1, 1, 3, 2, "A?", 0, 2, True), (1, 2, 3, 2, "A? B", 0, 3, True), (3, 4, 5, 0, "A B C", 0, 4, False)])
def test_without_consensus(quorum: int, target: int, max_success: int, app_target: int, outputs: str, bits: int,
                           new_target: int, now: bool) -> None:
    found = check(outputs, quorum, app_target)
    assert found.canonical is None
    result = without_consensus(found, target, max_success)
    assert (result.error_bits, result.target_nresults, result.transition_now) == (bits, new_target, now)


def test_suspicious_result_raises_the_quorum_for_good() -> None:
    found = check("A? A", 1, app_target=2)
    assert (found.canonical, found.quorum) == (0, 2)
    assert check("A? B", 1, app_target=2).quorum == 2


def test_errors_of_compare() -> None:
    def broken(a: Any, b: Any) -> bool:
        raise CompareError

    def busy(a: Any, b: Any) -> bool:
        raise TransientError

    assert check("A B", 2, compare=broken).canonical is None
    assert not check("A B", 2, compare=broken).retry
    assert check("A B", 2, compare=busy).retry


@given(st.lists(st.sampled_from(["A", "B", "C", "A?", "X", "T"]), min_size=1, max_size=7), st.integers(1, 5))
def test_consensus_has_a_majority(outputs: list[str], quorum: int) -> None:
    found = check(" ".join(outputs), quorum)
    valid = [o for o, v in zip(outputs, found.verdicts, strict=True) if v is Verdict.VALID]
    assert (found.canonical is None) == (not valid)
    if valid:
        assert len(valid) >= quorum // 2 + 1 and len({o.rstrip("?") for o in valid}) == 1
        assert not any(o in ("X", "T") for o in valid)


QUOTA = {"timeout": lambda r: hostversions.after_timeout(r, 100, 50), "invalid": lambda r: hostversions.after_invalid(
    r, 100), "validated": lambda r: hostversions.after_valid(r, 100, True)}


@pytest.mark.parametrize(("before", "event", "after"), [
    (100, "validated", 101), (101, "validated", 102), (102, "invalid", 101), (101, "invalid", 100),
    (100, "invalid", 100), (0, "timeout", 99), (101, "timeout", 99), (1, "timeout", 1)])
def test_quota(before: int, event: str, after: int) -> None:
    assert QUOTA[event](HostVersion(1, 3, max_jobs_per_day=before)).max_jobs_per_day == after


def test_no_quota_is_no_quota() -> None:
    record = HostVersion(1, 3, max_jobs_per_day=0, consecutive_valid=5)
    assert hostversions.after_timeout(record, 0, 50).max_jobs_per_day == 0
    assert hostversions.after_valid(record, 0, True).max_jobs_per_day == 0
    assert hostversions.after_valid(record, 0, False).consecutive_valid == 5


def test_timeout_counts_the_delay_bound_as_turnaround() -> None:
    record = HostVersion(1, 3, turnaround=Average(4, 50000), max_jobs_per_day=100, consecutive_valid=12)
    after = hostversions.after_timeout(record, 100, 100000)
    assert after.turnaround == Average(5, 60000, 4e8, 2e9)
    assert (after.max_jobs_per_day, after.consecutive_valid) == (99, 0)
