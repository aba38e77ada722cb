"""Credit and averages against the numbers of spec 03 sections 19.1, 19.2, 22.5, 22.6."""
from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boincdock.lifecycle import credit
from boincdock.lifecycle.averages import HOST_RULE, VERSION_RULE, Average, recent_credit
from boincdock.lifecycle.credit import AppStats, HostVersion, Mode, Run, VersionStats

BIG = 1e20
NO_CAP = credit.DEFAULT_MAX_GRANTED_CREDIT


def approx(value: float) -> object:
    return pytest.approx(value, rel=5e-6)


@pytest.mark.parametrize(("before", "sample", "after"), [
    ((0, 0, 0, 0), 4, (1, 4, 0, 0)),
    ((1, 4, 0, 0), 6, (2, 5, 1, 2)),
    ((2, 5, 1, 2), -1, (2, 5, 1, 2)),
    ((2, 5, 1, 2), 500, (3, 20, 450.666667, 1352)),
    ((18, 1, 0, 0), 2, (19, 1.0526315789, 0.0498614958, 0.9473684211)),
    ((19, 1.0526315789, 0.0498614958, 0.9473684211), 2, (20, 1.0621052632, 0.0583379502, 0.9473684211)),
    ((5, 0, 0, 0), 7, (6, 1.1666666667, 6.8055555556, 40.8333333333)),
    ((3, 2.0, 0, 0), 50, (4, 6.5, None, None)),
    ((4, 50000, 0, 0), 100000, (5, 60000, 4e8, 2e9)),
])
def test_average(before: tuple[float, ...], sample: float, after: tuple[float | None, ...]) -> None:
    record = Average(*before).updated(sample, HOST_RULE)
    for got, want in zip((record.n, record.avg, record.var, record.q), after, strict=True):
        if want is not None:
            assert got == pytest.approx(want, rel=1e-8)


@pytest.mark.parametrize(("avg", "age", "work", "want"), [
    (100, 7 * 86400, 50, 53.5714), (100, 0, 50, 104.9511), (0, 3600, 33.3333, 3.29390), (100, 86400, 0, 90.5724)])
def test_recent_credit(avg: float, age: float, work: float, want: float) -> None:
    now = 1.8e9
    assert recent_credit(now, now - age, work, avg, now - age) == pytest.approx(want, abs=6e-5)


def test_recent_credit_without_history() -> None:
    assert recent_credit(1.8e9, 1.8e9 - 43200, 50, 0, 0) == pytest.approx(100)
    assert math.isfinite(recent_credit(1.8e9, 1.8e9, 50, 0, 0))


def test_c1_first_result_ever() -> None:
    app, version, hav = AppStats(7), VersionStats(3), HostVersion(11, 3)
    one = credit.claim(Run(3600, 0, 4e9, 3), 1e13, app, version, hav)
    assert one.mode is Mode.APPROX and one.pfc == approx(1.44e13)
    assert credit.workunit_credit([one], 1e13, BIG, app, NO_CAP) == pytest.approx(33.3333, abs=5e-5)
    assert one.host_version is not None
    assert (one.host_version.pfc.n, one.host_version.pfc.avg) == (1, approx(1.44))
    assert (one.host_version.et.n, one.host_version.et.avg) == (1, approx(3.6e-10))
    assert one.version_sample == approx(1.44)


def _c2() -> tuple[AppStats, list[credit.Claim]]:
    app, version = AppStats(7, min_avg_pfc=1.8), VersionStats(3, 500, 2.0, 0.9)
    first = HostVersion(1, 3, pfc=Average(30, 2.5))
    second = HostVersion(2, 3, pfc=Average(12, 1.25))
    return app, [credit.claim(Run(5000, 0, 8e9, 3), 2e13, app, version, first),
                 credit.claim(Run(4000, 0, 6e9, 3), 2e13, app, version, second)]


def test_c2_two_normal_results() -> None:
    app, claims = _c2()
    assert [c.pfc for c in claims] == [approx(2.88e13), approx(3.456e13)]
    assert all(c.mode is Mode.NORMAL for c in claims)
    assert credit.workunit_credit(claims, 2e13, BIG, app, NO_CAP) == pytest.approx(75.7576, abs=5e-5)
    assert claims[0].host_version and claims[1].host_version
    assert (claims[0].host_version.pfc.n, claims[0].host_version.pfc.avg) == (31, approx(2.495))
    assert (claims[1].host_version.pfc.n, claims[1].host_version.pfc.avg) == (13, approx(1.246153846))
    record = Average(500, 2.0)
    for one in claims:
        assert one.version_sample is not None
        record = record.updated(one.version_sample, VERSION_RULE)
    assert (record.n, record.avg) == (502, approx(1.9992))


def test_c3_one_normal_one_approx() -> None:
    app = AppStats(7, min_avg_pfc=1.5)
    claims = [credit.Claim(3.6e13, Mode.NORMAL, False, None), credit.Claim(2.4e13, Mode.APPROX, False, None)]
    assert credit.workunit_credit(claims, 2e13, BIG, app, NO_CAP) == pytest.approx(74.0741, abs=5e-5)


@pytest.mark.parametrize(("samples", "want"), [(25, 514.403), (9, 462.963)])
def test_c4_anonymous_gpu(samples: int, want: float) -> None:
    app, hav = AppStats(7, min_avg_pfc=2.0), HostVersion(1, 7000003, pfc=Average(samples, 180))
    one = credit.claim(Run(20000, 0, 1e12, -3), 1e14, app, None, hav)
    assert one.mode is Mode.APPROX and one.version_sample is None
    assert one.host_version is not None and one.host_version.pfc.n == samples + 1
    assert credit.workunit_credit([one], 1e14, BIG, app, NO_CAP) == pytest.approx(want, abs=5e-4)


def test_c5_cap() -> None:
    app, claims = _c2()
    assert credit.workunit_credit(claims, 2e13, BIG, app, 50) == 50


def test_c6_failed_benchmark_teaches_nothing() -> None:
    app, hav = AppStats(7), HostVersion(1, 3)
    one = credit.claim(Run(3600, 0, 1e9, 3), 2e13, app, VersionStats(3), hav)
    assert one.outlier and one.host_version == hav and one.version_sample is None
    assert credit.workunit_credit([one], 2e13, BIG, app, NO_CAP) == pytest.approx(35.8333, abs=5e-5)


def test_c7_from_runtime() -> None:
    runs = [Run(5000, 0, 4e9, 3), Run(6000, 0, 1e9, 3)]
    assert credit.runtime_credit(runs, BIG, NO_CAP) == pytest.approx(52.1591, abs=5e-5)


def test_c8_scales() -> None:
    found = credit.version_scales([(1, "", 1000, 2), (2, "mt", 300, 3), (3, "sse2", 50, 9), (4, "cuda102", 200, 20)])
    assert found is not None
    assert found[0] == approx(2.230769)
    assert found[1] == {1: approx(1.115385), 2: approx(0.743590), 4: approx(0.111538)}
    found = credit.version_scales([(1, "opencl_ati", 200, 20), (2, "cuda", 400, 10)])
    assert found is not None
    assert found == (approx(1.33333333), {1: approx(0.06666667), 2: approx(0.1333333)})
    assert credit.version_scales([(1, "", 1000, 2)]) is None


def test_c9_truncation() -> None:
    record = Average(3, 2.0).updated(50, HOST_RULE)
    assert (record.n, record.avg) == (4, 6.5), "50 counts as 20, ten times the average"


def test_host_scale_check_asks_for_a_record_of_valid_results() -> None:
    app, version = AppStats(7, 1.0, host_scale_check=True), VersionStats(3, 500, 2.0, 0.9)
    doubtful = HostVersion(1, 3, pfc=Average(30, 2.5), consecutive_valid=9)
    trusted = HostVersion(1, 3, pfc=Average(30, 2.5), consecutive_valid=10)
    run = Run(5000, 0, 8e9, 3)
    assert credit.claim(run, 2e13, app, version, doubtful).mode is Mode.APPROX
    assert credit.claim(run, 2e13, app, version, trusted).mode is Mode.NORMAL


def test_insane_ratio_updates_times_only() -> None:
    hav = HostVersion(1, 3)
    one = credit.claim(Run(1e9, 0, 1e12, 3, turnaround=50), 1e13, AppStats(7), VersionStats(3), hav)
    assert one.complaint and one.version_sample is None
    assert one.host_version is not None
    assert (one.host_version.pfc.n, one.host_version.et.n, one.host_version.turnaround.avg) == (0, 1, 50)


def test_means() -> None:
    assert credit.pegged_mean([10, 20], 10) == pytest.approx(10.8333333)
    assert credit.pegged_mean([7], 123) == 7
    assert credit.low_mean([10, 20, 60]) == pytest.approx(22.2222222)
    assert credit.low_mean([5]) == 5
    assert credit.low_mean([]) == 0


@pytest.mark.parametrize(("plan_class", "gpu"), [
    ("mt", False), ("vbox64_mt", False), ("sse2", False), ("cuda102", True), ("opencl_ati", True),
    ("ati14", True), ("apple_gpu_x", True), ("static", False), ("", False)])
def test_gpu_class(plan_class: str, gpu: bool) -> None:
    assert credit.is_gpu_class(plan_class) is gpu


@given(st.lists(st.floats(0, 1e18), min_size=1, max_size=8), st.floats(0, 1e18), st.floats(0, 1e6))
def test_credit_is_never_negative_nor_above_the_cap(pfcs: list[float], est: float, cap: float) -> None:
    claims = [credit.Claim(p, Mode.NORMAL if i % 2 else Mode.APPROX, False, None) for i, p in enumerate(pfcs)]
    value = credit.workunit_credit(claims, est, 1e18, AppStats(7), cap)
    assert value >= 0 and (not cap or value <= cap)
