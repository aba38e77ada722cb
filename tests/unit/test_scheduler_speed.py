"""Numbers of dispatch: the vectors of spec 02 section 19, 01 section 9.4 and 03 section 22.3."""
from __future__ import annotations

import pytest

from boincdock.protocol.prefs import GlobalPrefs
from boincdock.protocol.request_model import Coproc, HostInfo, OpenCL
from boincdock.scheduler import speed
from boincdock.scheduler.choose import reduced_bound
from boincdock.scheduler.claim import draw_trust, is_reliable
from boincdock.scheduler.facts import android_version, libc_version, os_version_number, vbox_version
from boincdock.scheduler.hosts import day_changed, day_offset
from boincdock.scheduler.hr import hr_class
from boincdock.scheduler.limits import daily_quota, jobs_per_reply
from boincdock.scheduler.lost import resend_bound
from boincdock.scheduler.model import AppVersion, Hav, Usage, core_version, gavid, proc_type_of_plan_class
from boincdock.scheduler.reports import repair_times
from boincdock.scheduler.snapshot import select_versions
from boincdock.scheduler.versions import needs_64bit, rank_value

GB = speed.GB


@pytest.mark.parametrize(
    ("name", "proc_type"),
    [("cuda_fermi", 1), ("docker_nvidia_cuda", 1), ("opencl_nvidia_102", 1), ("opencl_ati_101", 2), ("opencl_amd", 2),
     ("simulation_mt", 2), ("opencl_intel_gpu_200", 3), ("apple_gpu", 4), ("vbox64_mt", 0), ("docker", 0), ("", 0)],
)
def test_proc_type_of_plan_class(name: str, proc_type: int) -> None:
    assert proc_type_of_plan_class(name) == proc_type


def test_gavid_and_client_versions() -> None:
    assert [gavid(12, n) for n in (-2, -3, -4, -5, -6, 77)] == [12000002, 12000003, 12000004, 12000005, 12000006, 77]
    assert (core_version(720), core_version(80204), core_version(0)) == (72000, 80204, 0)


def version(num: int, beta: bool = False) -> AppVersion:
    return AppVersion(num, 1, num, 1, "p", beta=beta)


def test_superseded_versions() -> None:
    found = [version(103), version(105), version(106)]
    assert [v.version_num for v in select_versions(found, 0)] == [106]
    kept = select_versions(found, 104)
    assert [(v.version_num, v.superseded) for v in kept] == [(105, True), (106, False)]
    assert [v.version_num for v in select_versions([version(105), version(106, beta=True)], 0)] == [105, 106]


@pytest.mark.parametrize(
    ("p_ncpus", "pct", "limit", "pref", "result"),
    [(16, 50, 64, 0, 8), (16, 100, 64, 0, 16), (16, 0, 64, 0, 16), (16, 5, 64, 0, 1), (3, 50, 64, 0, 1),
     (128, 100, 64, 0, 64), (16, 100, 64, 4, 4), (0, 100, 64, 0, 1), (-5, 0, 64, 0, 1)],
)
def test_effective_cpus(p_ncpus: int, pct: float, limit: int, pref: int, result: int) -> None:
    assert speed.effective_ncpus(p_ncpus, pct, limit, pref) == result


def test_usable_ram() -> None:
    assert speed.usable_ram(16e9, 0.5, 0.9) == pytest.approx(14.4e9)
    assert speed.usable_ram(16e9, 0, 0.9) == 16e9
    assert speed.usable_ram(-1, 0.5, 0.9) == pytest.approx(57.6e6)


@pytest.mark.parametrize(
    ("total", "free", "used", "max_gb", "pct", "min_free", "room", "short"),
    [(100, 50, 10, 0, 90, 0.1, 49, 0), (100, 50, 10, 20, 50, 5, 10, 0), (100, 50, 0, 20, 50, 5, 45, 0),
     (100, 0.5, 10, 0, 0, 0, 0, 0.5)],
)
def test_disk_allowance(total: float, free: float, used: float, max_gb: float, pct: float, min_free: float,
                        room: float, short: float) -> None:
    prefs = GlobalPrefs(disk_max_used_gb=max_gb, disk_max_used_pct=pct, disk_min_free_gb=min_free)
    got = speed.disk_allowance(total * GB, free * GB, used * GB, prefs, 1.0)
    assert got == (pytest.approx(room * GB), pytest.approx(short * GB))


def test_no_disk_information_means_no_room() -> None:
    assert speed.disk_allowance(0, 0, 0, GlobalPrefs(), 1.0)[0] == 0


def test_durations() -> None:
    raw = speed.unscaled_duration(3.6e12, 4.13e10)
    assert raw == pytest.approx(87.167, abs=1e-3)
    assert raw / speed.available_fraction(0.9, 0.8) == pytest.approx(121.065, abs=1e-3)
    assert raw / speed.available_fraction(0, 0) == pytest.approx(871.670, abs=1e-3)


def test_projected_flops() -> None:
    v = version(1)
    assert speed.projected_flops(Usage(avg_ncpus=8), v, None, 4e9) == 3.2e10
    assert speed.projected_flops(Usage(avg_ncpus=1, gpu_usage=1), v, None, 4e9) == 4.4e10
    before = Usage(projected_flops=1e9)
    assert speed.projected_flops(before, v, Hav(1, et_n=11, et_avg=2.5e-10), 4e9) == pytest.approx(4e9)
    assert speed.projected_flops(before, v, Hav(1, et_n=11, et_avg=1e-12), 4e9) == 2.5e11
    assert speed.projected_flops(before, v, Hav(1, et_n=10, et_avg=1e-12), 4e9) == 4e9
    assert speed.projected_flops(Usage(), v, None, 0) == 1e9


def test_anonymous_flops() -> None:
    new, scale = speed.anonymous_flops(5e9, Hav(1, et_n=11, et_avg=1e-9), 4e9)
    assert (new, scale) == (pytest.approx(1e9), pytest.approx(5))


def test_coproc_arithmetic() -> None:
    assert speed.coproc_speed(4e9, 2e11, 0.05) == (pytest.approx(5.7971e10, rel=1e-4), pytest.approx(0.72464, rel=1e-4))
    assert speed.coproc_speed(4e9, 2e12, 0.01) == (pytest.approx(3.3389e11, rel=1e-4), pytest.approx(0.83472, rel=1e-4))


@pytest.mark.parametrize(("n", "value"), [(0, 4e9), (1, 4e9), (4, 2.5e9), (100, 2.02e9)])
def test_ranking_value(n: float, value: float) -> None:
    assert rank_value(2e9, 4e9, n) == pytest.approx(value)


def test_os_versions() -> None:
    assert os_version_number("Darwin", "22.6.0") == 220600
    windows = "Core x64 Edition, (10.00.19045.00)"
    assert os_version_number("Microsoft Windows 10", windows) == 1001904500
    linux = "Ubuntu 22.04 [5.15.0-91-generic|libc 2.35]"
    assert (os_version_number("Linux Ubuntu", linux), libc_version(linux)) == (51500, 235)
    android = "3.4.0 (Android 4.4.2)"
    assert (os_version_number("Android", android), android_version(android)) == (30400, 40402)
    assert os_version_number("Haiku", "1.2.3") == 0


def test_vbox_versions() -> None:
    assert vbox_version("7.0.14r161095") == 70014
    assert vbox_version("6.1") == 0
    assert vbox_version("7.1.4 (unusable - Docker in WSL)") == 0


def test_daily_quota() -> None:
    assert daily_quota(Hav(1, max_jobs_per_day=500), 0, 8, 0, 0) == 4000
    assert daily_quota(Hav(1, max_jobs_per_day=1), 0, 8, 0, 0) == 1
    assert daily_quota(Hav(1, max_jobs_per_day=500), 1, 8, 2, 0) == 1000
    assert daily_quota(Hav(1, max_jobs_per_day=500), 1, 8, 2, 8) == 8000


def test_jobs_per_reply() -> None:
    assert jobs_per_reply(10, 8, 1, 0) == 80
    assert jobs_per_reply(10, 8, 1, 8) == 160
    assert jobs_per_reply(0, 8, 1, 8) == 999999


@pytest.mark.parametrize(("d", "bound"), [(30000, 60000), (45000, 40000), (10000, 40000)])
def test_reduced_deadline(d: float, bound: int) -> None:
    assert reduced_bound(100000, 0.4, d) == bound


@pytest.mark.parametrize(
    ("os_name", "vendor", "model", "fine", "coarse"),
    [("Linux Ubuntu", "GenuineIntel", "Intel(R) Xeon(R) CPU", 267, 258),
     ("Microsoft Windows 11", "AuthenticAMD", "AMD Ryzen 7", 387, 386), ("Darwin", "Apple", "Apple M1", 0, 0)],
)
def test_hr_class(os_name: str, vendor: str, model: str, fine: int, coarse: int) -> None:
    host = HostInfo(os_name=os_name, p_vendor=vendor, p_model=model)
    assert (hr_class(1, host), hr_class(2, host)) == (fine, coarse)


@pytest.mark.parametrize(
    ("sent", "stored", "now", "duration", "delay", "deadline"),
    [(1000, 2000, 1500, 300, 0, 2000), (1000, 2000, 1500, 600, 0, None), (500, 2000, 1500, 600, 10, 2500),
     (1000, 2000, 2100, 1, 0, None)],
)
def test_lost_job(sent: int, stored: int, now: int, duration: float, delay: float, deadline: int | None) -> None:
    bound = resend_bound(now, sent, stored, 1000, duration, delay)
    assert (None if bound is None else now + bound) == deadline


@pytest.mark.parametrize(
    ("elapsed", "cpu", "single", "since", "stored"),
    [(40, 100, True, 1000, (100, 100)), (40, 100, False, 1000, (40, 100)), (-5, 10, False, 1000, (10, 10)),
     (5000, 9000, False, 1000, (1000, 4000)), (0, 0, True, 1000, (0, 0)),
     (10, 500, True, 1000, (500, 500)), (10, 500, False, 1000, (10, 40)), (-5, 0, True, 1000, (0, 0)),
     (0, 300, False, 1000, (300, 300)), (5000, 100, True, 1000, (1000, 100)), (900, 5000, False, 1000, (900, 3600)),
     (2, 1, True, 0, (0, 0))],
)
def test_elapsed_time_repair(elapsed: float, cpu: float, single: bool, since: float, stored: tuple) -> None:
    assert repair_times(elapsed, cpu, single, since, 4) == stored


def test_trust_and_reliability() -> None:
    assert not draw_trust(Hav(1, consecutive_valid=9), 0.99)
    assert draw_trust(Hav(1, consecutive_valid=20), 0.06)
    assert not draw_trust(Hav(1, consecutive_valid=20), 0.05)
    good = Hav(1, consecutive_valid=10, turnaround_n=11, turnaround_avg=150.0, max_jobs_per_day=100)
    assert is_reliable(good, 100, False, 100)
    assert not is_reliable(good, 100, True, 100)
    assert not is_reliable(good, 0, True, 101)


def test_64_bit_need() -> None:
    assert needs_64bit(3.5 * GB, "i686-pc-linux-gnu")
    assert not needs_64bit(2.5 * GB, "i686-pc-linux-gnu")
    assert needs_64bit(2.5 * GB, "windows_intelx86")


def test_day_phase_is_fixed_and_spread() -> None:
    phases = {day_offset(n) for n in range(1, 200)}
    assert len(phases) > 190
    assert all(0 <= p < 86400 for p in phases)
    assert day_changed(17, 1787108640, 1787108640 + 86400)
    assert not day_changed(17, 1787108640, 1787108640)


def test_gpu_peak_flops_are_derived_when_absent() -> None:
    cuda = Coproc("NVIDIA", count=1, major=7, minor=5, clockRate=1500000, multiProcessorCount=40)
    cuda.finish()
    assert cuda.peak_flops == 1000 * 1500000 * 40 * 64 * 2
    intel = Coproc("intel_gpu", count=1, opencl=OpenCL(max_compute_units=24, max_clock_frequency=1000,
                                                       opencl_device_version="OpenCL 3.0 NEO"))
    intel.finish()
    assert (intel.peak_flops, intel.have_opencl) == (24 * 8 * 1000 * 1e6, True)
    odd = Coproc("NVIDIA", count=1, peak_flops=1e20)
    odd.finish()
    assert odd.peak_flops == 1e11
