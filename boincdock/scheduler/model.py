"""Plain values of dispatch: apps, versions, host usages, statistics rows, candidate jobs (spec 02)."""
from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

Row = dict[str, Any]

_PLAN_CLASS_HINTS = (
    ("cuda", 1), ("nvidia", 1), ("ati", 2), ("amd", 2), ("intel_gpu", 3), ("apple_gpu", 4),
)


def proc_type_of_plan_class(name: str) -> int:
    """Processor type where only the plan class name is known; first hint found wins (spec 02, vocabulary)."""
    for hint, proc_type in _PLAN_CLASS_HINTS:
        if hint in name:
            return proc_type
    return 0


def core_version(number: int) -> int:
    """A client version limit in today's unit; values below 10000 are old style (720 is 7.20, 72000)."""
    return number * 100 if 0 < number < 10000 else number


def gavid(appid: int, app_version_id: int) -> int:
    """Generalised app version id, the key of host_app_version (spec 02, vocabulary; 03 section 1.1)."""
    return app_version_id if app_version_id >= 0 else appid * 1000000 - app_version_id


def text_of(value: Any) -> str:
    """A column that may be bytes, text or NULL as text; bytes that are no UTF-8 survive a round trip."""
    if value is None:
        return ""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


@dataclass(slots=True, frozen=True)
class App:
    """A row of ``app`` as far as the scheduler needs it."""

    id: int
    name: str
    user_friendly_name: str = ""
    min_version: int = 0
    homogeneous_redundancy: int = 0
    weight: float = 1.0
    beta: bool = False
    target_nresults: int = 0
    homogeneous_app_version: bool = False
    non_cpu_intensive: bool = False
    locality_scheduling: int = 0
    n_size_classes: int = 0
    fraction_done_exact: bool = False
    size_quantiles: tuple[float, ...] = ()


@dataclass(slots=True, frozen=True)
class AppVersion:
    """A row of ``app_version`` with its platform's name; ``superseded`` by spec 02 section 1.1 step 2."""

    id: int
    appid: int
    version_num: int
    platformid: int
    platform: str
    xml_doc: str = field(default="", repr=False)
    min_core_version: int = 0
    max_core_version: int = 0
    plan_class: str = ""
    pfc_n: float = 0.0
    pfc_avg: float = 0.0
    beta: bool = False
    superseded: bool = False


@dataclass(slots=True)
class Usage:
    """What one job of a version uses on this host (spec 02, vocabulary). RAM in bytes, speeds in FLOPS."""

    proc_type: int = 0
    gpu_usage: float = 0.0
    gpu_ram: float = 0.0
    avg_ncpus: float = 1.0
    mem_usage: float = 0.0
    projected_flops: float = 0.0
    peak_flops: float = 0.0
    cmdline: str = ""
    coproc_type: str = ""

    @property
    def plain(self) -> bool:
        """One CPU and no GPU: all that a client without plan class support may get."""
        return self.proc_type == 0 and self.avg_ncpus == 1


@dataclass(slots=True)
class Hav:
    """A row of host_app_version; ``sent`` counts the jobs put into this reply."""

    app_version_id: int
    pfc_n: float = 0.0
    pfc_avg: float = 0.0
    et_n: float = 0.0
    et_avg: float = 0.0
    max_jobs_per_day: int = 0
    n_jobs_today: int = 0
    turnaround_n: float = 0.0
    turnaround_avg: float = 0.0
    consecutive_valid: int = 0
    exists: bool = True
    sent: int = 0
    reliable: bool = False
    trusted: bool = False

    @classmethod
    def of(cls, row: Row) -> Hav:
        """From a row of the table."""
        return cls(*(row[name] for name in HAV_COLUMNS))


HAV_COLUMNS = ("app_version_id", "pfc_n", "pfc_avg", "et_n", "et_avg", "max_jobs_per_day", "n_jobs_today",
                "turnaround_n", "turnaround_avg", "consecutive_valid")


@dataclass(slots=True)
class Job:
    """A candidate: one unsent result with what the fast checks need of its workunit."""

    resultid: int
    workunitid: int
    appid: int
    priority: int
    wu_name: str = ""
    rsc_fpops_est: float = 0.0
    rsc_fpops_bound: float = 0.0
    rsc_memory_bound: float = 0.0
    rsc_disk_bound: float = 0.0
    rsc_bandwidth_bound: float = 0.0
    delay_bound: int = 0
    batch: int = 0
    hr_class: int = 0
    app_version_id: int = 0
    app_version_num: int = 0
    min_quorum: int = 1
    target_nresults: int = 1
    size_class: int = -1
    keywords: str = ""
    sticky: frozenset[str] = frozenset()
    """Sticky input files; known for apps with locality scheduling only."""
    buda_app: str = ""
    """Science app under the app "buda" (spec 02 section 8)."""

    @classmethod
    def of(cls, row: Row) -> Job:
        """From a row of the queries ``scheduler_jobs.candidates`` and ``host_jobs``."""
        return cls(*_job_columns(row))


_JOB_COLUMNS = (
    "resultid", "workunitid", "appid", "priority", "wu_name", "rsc_fpops_est", "rsc_fpops_bound",
    "rsc_memory_bound", "rsc_disk_bound", "rsc_bandwidth_bound", "delay_bound", "batch", "hr_class",
    "app_version_id", "app_version_num", "min_quorum", "target_nresults", "size_class", "keywords",
)
_job_columns = itemgetter(*_JOB_COLUMNS)


@dataclass(slots=True)
class BestVersion:
    """The version chosen for jobs of one app: a project version, or one of the client's own."""

    app: App
    usage: Usage
    version: AppVersion | None = None
    client_index: int = -1
    platform: str = ""
    version_num: int = 0
    plan_class: str = ""
    app_version_id: int = 0
    fpops_scale: float = 1.0
    hav: Hav | None = None
    variant: Any = None
    """BUDA: the :class:`~boincdock.scheduler.buda.Variant`; ``usage`` is then the variant's."""
    wrapper_usage: Usage | None = None
    """BUDA: what the version itself uses."""

    @property
    def gavid(self) -> int:
        """Key of its host_app_version row."""
        return gavid(self.app.id, self.app_version_id)
