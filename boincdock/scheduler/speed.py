"""Arithmetic of speed, duration and room on a host (spec 02 section 4). Pure functions."""
from __future__ import annotations

from boincdock.protocol.prefs import GlobalPrefs
from boincdock.scheduler.model import AppVersion, Hav, Usage

GB = 1073741824.0
MAX_REQUEST = 28 * 86400.0
DEFAULT_PERCENTILE = 3.3e9
_MIN_STATS_HOST = 10
_MIN_STATS_VERSION = 100
_MAX_SPEEDUP = 250.0


def capped_fpops(p_fpops: float, percentiles: tuple[float, float]) -> float:
    """The p_fpops used inside plan classes (section 4.1); ``percentiles`` are the 50th and the 95th."""
    if p_fpops <= 0:
        return percentiles[0]
    return min(p_fpops, 1.1 * percentiles[1])


def cpu_fpops(p_fpops: float) -> float:
    """Uncapped speed of one CPU, 1e9 if the client did not say."""
    return p_fpops if p_fpops > 0 else 1e9


def effective_ncpus(p_ncpus: int, max_ncpus_pct: float, limit: int, preferred: int = 0) -> int:
    """CPUs that jobs may use (section 4.4)."""
    count = p_ncpus
    if 0 < max_ncpus_pct < 100:
        count = int(count * max_ncpus_pct / 100)
    if limit > 0:
        count = min(count, limit)
    count = max(1, min(count, 4096))
    return min(count, preferred) if preferred > 0 else count


def usable_ram(m_nbytes: float, busy: float, idle: float) -> float:
    """Bytes of RAM that jobs may use; ``busy`` and ``idle`` are fractions, 0 = unknown (section 4.4)."""
    ram = m_nbytes if m_nbytes > 0 else 64e6
    return ram * min(1.0, max(busy, idle)) if busy > 0 and idle > 0 else ram


def disk_allowance(total: float, free: float, used: float, prefs: GlobalPrefs,
                   default_min_free_gb: float) -> tuple[float, float]:
    """(bytes that jobs may use, bytes short) of the data volume (section 4.4)."""
    room = free - max(prefs.disk_min_free_gb, default_min_free_gb) * GB
    if used:
        if prefs.disk_max_used_pct > 0:
            room = min(room, total * prefs.disk_max_used_pct / 100 - used)
        if prefs.disk_max_used_gb > 0:
            room = min(room, prefs.disk_max_used_gb * GB - used)
    if free <= 0:
        room = min(room, 0.0)
    return (room, 0.0) if room > 0 else (0.0, -room)


def available_fraction(on_frac: float, active_frac: float) -> float:
    """Share of time in which jobs run, clamped to 0.1..1 (section 4.3)."""
    return min(1.0, max(0.1, on_frac * active_frac))


def unscaled_duration(fpops_est: float, projected_flops: float) -> float:
    """Seconds of a job if the host computes all the time."""
    return (fpops_est if fpops_est > 0 else 1e12) / max(projected_flops, 1.0)


def coproc_speed(cpu: float, gpu: float, cpu_fraction: float) -> tuple[float, float]:
    """(speed, CPU utilisation) of a job doing ``cpu_fraction`` of its FLOPs on a CPU (section 6)."""
    y = cpu_fraction * gpu + (1 - cpu_fraction) * cpu
    return (cpu * gpu / y, cpu_fraction * gpu / y) if y > 0 else (0.0, 0.0)


def nominal_flops(p_fpops: float, usage: Usage) -> float:
    """What a version is taken to do before there are statistics: CPUs plus ten per GPU."""
    return cpu_fpops(p_fpops) * (usage.avg_ncpus + 10 * usage.gpu_usage)


def projected_flops(usage: Usage, version: AppVersion, hav: Hav | None, p_fpops: float, *,
                    no_stats: bool = False, from_pfc: bool = False) -> float:
    """The final value of section 4.2 for a project version; > 0. ``usage.projected_flops`` is the value before."""
    if not no_stats:
        if hav is not None and hav.et_n > _MIN_STATS_HOST and (hav.et_avg > 0 or from_pfc):
            value = usage.peak_flops / (hav.pfc_avg + 1e-18) if from_pfc else 1 / hav.et_avg
            cap = _MAX_SPEEDUP * (usage.projected_flops if usage.projected_flops > 0 else cpu_fpops(p_fpops))
            return max(1.0, min(value, cap))
        if version.pfc_n > _MIN_STATS_VERSION and version.pfc_avg > 0 and usage.peak_flops > 0:
            return usage.peak_flops / version.pfc_avg
    return max(1.0, nominal_flops(p_fpops, usage))


def anonymous_flops(client_flops: float, hav: Hav | None, p_fpops: float) -> tuple[float, float]:
    """(speed, factor for the fpops sent) of a client's own version (section 4.2, last paragraph)."""
    start = client_flops if client_flops > 0 else cpu_fpops(p_fpops)
    if hav is not None and hav.et_n > _MIN_STATS_HOST and hav.et_avg > 0:
        new = min(1 / hav.et_avg, _MAX_SPEEDUP * start)
        return new, start / new
    return start, 1.0
