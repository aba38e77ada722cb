"""How much credit a job is worth: CreditNew and the simpler policies (spec 03 section 8). Pure functions.

A credit is 1/200 of a day of a one-GFLOPS computer. All arithmetic is in double precision.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from boincdock.lifecycle.averages import HOST_RULE, Average

CREDIT_PER_FLOP = 200 / 86400e9
DEFAULT_MAX_GRANTED_CREDIT = 200.0 * 1000 * 365
"""One TeraFLOPS-year."""

FAILED_BENCHMARK_FLOPS = 1e9
SUBSTITUTE_FLOPS = 4.3e9
MIN_HOST_SAMPLES = 10
MIN_VERSION_SAMPLES = 100
MAX_HOST_SCALE = 10.0
SANE_RATIO = (1e-4, 1e4)
_GPU_CLASSES = ("cuda", "nvidia", "amd", "intel_gpu", "apple_gpu")


class Mode(Enum):
    """How much a result's peak-flop count can be trusted."""

    NORMAL = "normal"
    APPROX = "approx"


@dataclass(frozen=True, slots=True)
class AppStats:
    """The app row's part in credit."""

    id: int
    min_avg_pfc: float = 1.0
    host_scale_check: bool = False


@dataclass(frozen=True, slots=True)
class VersionStats:
    """The app version's statistics as of before this workunit's own samples."""

    id: int
    pfc_n: float = 0.0
    pfc_avg: float = 0.0
    pfc_scale: float = 0.0


@dataclass(frozen=True, slots=True)
class HostVersion:
    """A host_app_version row: one host's record with one app version (spec 03 sections 3, 7)."""

    host_id: int
    app_version_id: int
    pfc: Average = field(default_factory=Average)
    et: Average = field(default_factory=Average)
    turnaround: Average = field(default_factory=Average)
    max_jobs_per_day: int = 0
    n_jobs_today: int = 0
    consecutive_valid: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """What a result tells about the computing that was done."""

    elapsed_time: float
    cpu_time: float
    flops_estimate: float
    app_version_id: int
    turnaround: float = -1.0


@dataclass(frozen=True, slots=True)
class Claim:
    """One result's peak-flop count and what it teaches."""

    pfc: float
    mode: Mode
    outlier: bool
    host_version: HostVersion | None
    version_sample: float | None = None
    version_credit: float | None = None
    complaint: str = ""


def usable_flops(flops: float) -> tuple[float, bool]:
    """(FLOPS to reckon with, outlier?): a failed benchmark is replaced by a typical value."""
    if flops <= 0 or flops == FAILED_BENCHMARK_FLOPS:
        return SUBSTITUTE_FLOPS, True
    return flops, False


def estimate(fpops_est: float, app: AppStats) -> float:
    """The peak-flop count to expect of a job, from its own estimate."""
    return fpops_est * (app.min_avg_pfc or 1.0)


def claim(run: Run, fpops_est: float, app: AppStats, version: VersionStats | None,
          host_version: HostVersion | None, outlier: bool = False) -> Claim:
    """Peak-flop count of one valid result and the host record after it (spec 03 section 8.2).

    ``version`` is None for anonymous platform. ``outlier`` is what the validator decided before.
    """
    expected = estimate(fpops_est, app)
    if host_version is None:
        return Claim(expected, Mode.APPROX, outlier, None)
    elapsed = run.elapsed_time if run.elapsed_time >= 1e-6 else run.cpu_time
    flops, bad_flops = usable_flops(run.flops_estimate)
    outlier = outlier or bad_flops
    raw = elapsed * flops
    if version is None:
        pfc, mode = _anonymous_pfc(raw, expected, app, host_version), Mode.APPROX
    else:
        pfc, mode = _scaled_pfc(raw, app, version, host_version)
    new_record, sample, complaint = host_version, None, ""
    if not outlier and fpops_est > 0:
        ratio = raw / fpops_est
        learnt = host_version.pfc
        if SANE_RATIO[0] <= ratio <= SANE_RATIO[1]:
            sample = ratio if version else None
            learnt = learnt.updated(ratio, HOST_RULE)
        else:
            complaint = f"bad FLOP ratio {ratio:g}"
        new_record = replace(host_version, pfc=learnt, et=host_version.et.updated(elapsed / fpops_est, HOST_RULE),
                             turnaround=host_version.turnaround.updated(run.turnaround, HOST_RULE))
    credit = pfc * CREDIT_PER_FLOP if version else None
    return Claim(pfc, mode, outlier, new_record, sample, credit, complaint)


def _trusted(app: AppStats, host_version: HostVersion) -> bool:
    return not app.host_scale_check or host_version.consecutive_valid >= 10


def _anonymous_pfc(raw: float, expected: float, app: AppStats, host_version: HostVersion) -> float:
    usual = host_version.pfc
    if usual.n >= MIN_HOST_SAMPLES and usual.avg > 0 and _trusted(app, host_version):
        return raw * (app.min_avg_pfc or 1.0) / usual.avg
    return expected


def _scaled_pfc(raw: float, app: AppStats, version: VersionStats, host_version: HostVersion) -> tuple[float, Mode]:
    pfc, scales = raw, 0
    if version.pfc_scale:
        pfc *= version.pfc_scale
        scales += 1
    usual = host_version.pfc
    if (_trusted(app, host_version) and usual.n >= MIN_HOST_SAMPLES and usual.avg > 0
            and version.pfc_n >= MIN_VERSION_SAMPLES):
        pfc *= min(MAX_HOST_SCALE, version.pfc_avg / usual.avg)
        scales += 1
    return pfc, Mode.NORMAL if scales == 2 else Mode.APPROX


def pegged_mean(values: Sequence[float], anchor: float) -> float:
    """Mean that gives values near ``anchor`` more weight; a single value is itself."""
    if len(values) == 1:
        return values[0]
    if anchor <= 0:
        return sum(values) / len(values)
    weights = [1 / (0.1 * anchor + abs(anchor - value)) for value in values]
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def low_mean(values: Sequence[float]) -> float:
    """Mean that leans to the low values, so that one inflated claim does not help; 0 if empty."""
    if not values:
        return 0.0
    total = sum(values)
    if len(values) == 1 or total <= 0:
        return values[0]
    return sum(v * (total - v) for v in values) / ((len(values) - 1) * total)


def workunit_credit(claims: Sequence[Claim], fpops_est: float, fpops_bound: float, app: AppStats,
                    max_granted: float) -> float:
    """Credit of each valid result of a workunit from their claims (spec 03 section 8.3)."""
    normal: list[float] = []
    approx: list[float] = []
    for one in claims:
        pfc = min(one.pfc, fpops_bound) if fpops_bound > 0 else one.pfc
        if max_granted and pfc * CREDIT_PER_FLOP > max_granted:
            continue
        (normal if one.mode is Mode.NORMAL else approx).append(pfc)
    anchor = estimate(fpops_est, app)
    if len(normal) >= 2:
        pfc = pegged_mean(normal, anchor)
    elif normal:
        pfc = pegged_mean([*approx, normal[0], normal[0]], anchor)
    else:
        pfc = pegged_mean(approx, anchor) if approx else anchor
    return capped(pfc * CREDIT_PER_FLOP, max_granted)


def capped(credit: float, max_granted: float) -> float:
    """``credit``, at most ``max_granted`` (0: no limit), never negative."""
    credit = max(0.0, credit)
    return min(credit, max_granted) if max_granted else credit


def runtime_credit(runs: Sequence[Run], fpops_bound: float, max_granted: float) -> float:
    """Credit by run time times device speed (``--credit_from_runtime``, spec 03 section 8.6)."""
    credits: list[float] = []
    for run in runs:
        flops = SUBSTITUTE_FLOPS if run.flops_estimate == FAILED_BENCHMARK_FLOPS else run.flops_estimate
        pfc = flops * run.elapsed_time
        if pfc > 2 * fpops_bound:
            pfc = fpops_bound
        credit = pfc * CREDIT_PER_FLOP
        if 0 < credit <= max_granted:
            credits.append(credit)
    return low_mean(credits)


def is_gpu_class(plan_class: str) -> bool:
    """Whether a plan class uses a GPU. ``ati`` counts only as a word of its own, so that "static" is a CPU
    class (spec 03 section 22.10, recommended form)."""
    lowered = plan_class.lower()
    return any(part in lowered for part in _GPU_CLASSES) or "ati" in _words(lowered)


def _words(text: str) -> list[str]:
    letters = "".join(c if c.isalpha() else " " for c in text)
    return letters.split()


def version_scales(versions: Sequence[tuple[int, str, float, float]]) -> tuple[float, Mapping[int, float]] | None:
    """(min_avg_pfc of the app, {version id: pfc_scale}) from (id, plan class, pfc_n, pfc_avg) of its current
    versions, or None if they do not tell enough yet (spec 03 section 8.5)."""
    kinds: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _, plan_class, n, avg in versions:
        if n > MIN_VERSION_SAMPLES and avg > 0:
            kinds[is_gpu_class(plan_class)].append((n, avg))
    means = {gpu: sum(n * a for n, a in rows) / sum(n for n, _ in rows) for gpu, rows in kinds.items() if rows}
    if len(means) == 2:
        target = min(means.values())
    elif len(kinds[False]) >= 2:
        target = means[False]
    elif kinds[True]:
        target = 0.1 * means[True]
    else:
        return None
    scales = {vid: target / avg for vid, _, n, avg in versions if n >= MIN_VERSION_SAMPLES and avg > 0}
    return target, scales
