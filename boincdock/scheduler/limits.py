"""Limits on jobs: per reply, in progress, per day (spec 02 section 9)."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from boincdock.config import Element
from boincdock.protocol.request_model import proc_type_of
from boincdock.scheduler.model import Hav, proc_type_of_plan_class
from boincdock.scheduler.rpc import Rpc

UNLIMITED = 999999


@dataclass(frozen=True)
class Limit:
    """One ``<..._limit>``: ``jobs`` 0 = none; ``per_proc`` scales by processors."""

    jobs: int = 0
    per_proc: bool = False

    def value(self, processors: int) -> int:
        """Jobs allowed with this many processors; 0 = no limit."""
        return self.jobs * max(1, processors) if self.per_proc else self.jobs


@dataclass(frozen=True)
class LimitSet:
    """The limits of the project or of one app."""

    total: Limit = field(default_factory=Limit)
    cpu: Limit = field(default_factory=Limit)
    gpu: Limit = field(default_factory=Limit)


def _limit(parent: Element, tag: str) -> Limit:
    node = parent.find(tag)
    if node is None:
        return Limit()
    text = node.get("jobs", "0")
    return Limit(int(text) if text.isdigit() else 0, node.find("per_proc") is not None)


def parse_limits(element: Element | None, max_cpu: int, max_gpu: int) -> tuple[LimitSet, dict[str, LimitSet]]:
    """(project limits, limits by app name) from config_aux.xml's ``<max_jobs_in_progress>`` and config.xml."""
    total, cpu, gpu = Limit(), Limit(max_cpu, True), Limit(max_gpu, True)
    apps: dict[str, LimitSet] = {}
    for child in element.children if element else ():
        found = LimitSet(_limit(child, "total_limit"), _limit(child, "cpu_limit"), _limit(child, "gpu_limit"))
        if child.tag == "project":
            total = found.total
            cpu = found.cpu if found.cpu.jobs else cpu
            gpu = found.gpu if found.gpu.jobs else gpu
        elif child.tag == "app" and child.get("app_name"):
            apps[child.get("app_name")] = found
    return LimitSet(total, cpu, gpu), apps


class InProgress:
    """Counts the jobs of the host, by processor type and app, and says which limits are reached."""

    def __init__(self, rpc: Rpc, ncpus: int, limits: tuple[LimitSet, dict[str, LimitSet]]) -> None:
        self._project, self._apps = limits
        self._processors = {0: ncpus}
        for coproc in rpc.request.coprocs:
            if coproc.proc_type is not None:
                self._processors[coproc.proc_type] = coproc.count
        self._by_type: Counter[int] = Counter()
        self._by_app: Counter[tuple[str, int]] = Counter()
        self.total = 0
        self.reached = False
        for other in rpc.request.other_results:
            versions = rpc.request.app_versions
            if 0 <= other.app_version < len(versions) and versions[other.app_version].app_name:
                version = versions[other.app_version]
                proc_type = proc_type_of(version.coproc_type) if version.coproc_type else 0
                self.add(version.app_name, proc_type or 0)
            else:
                self.add("", proc_type_of_plan_class(other.plan_class))

    def add(self, app_name: str, proc_type: int) -> None:
        """One more job."""
        self.total += 1
        self._by_type[proc_type] += 1
        self._by_app[app_name, proc_type] += 1

    def _exceeded(self, limits: LimitSet, total: int, of_type: int, proc_type: int) -> bool:
        by_type = (limits.cpu if proc_type == 0 else limits.gpu).value(self._processors.get(proc_type, 1))
        if (limits.total.jobs and total >= limits.total.jobs) or (by_type and of_type >= by_type):
            self.reached = True
            return True
        return False

    def project_full(self, proc_type: int) -> bool:
        """No more jobs of this type at all."""
        return self._exceeded(self._project, self.total, self._by_type[proc_type], proc_type)

    def app_full(self, app_name: str, proc_type: int) -> bool:
        """No more jobs of this type of the app."""
        if self.project_full(proc_type):
            return True
        limits = self._apps.get(app_name)
        if limits is None:
            return False
        total = sum(n for (name, _), n in self._by_app.items() if name == app_name)
        return self._exceeded(limits, total, self._by_app[app_name, proc_type], proc_type)


def daily_quota(hav: Hav, proc_type: int, p_ncpus: int, gpu_count: int, gpu_multiplier: int) -> int:
    """Jobs a day of a version on a host (section 9.3)."""
    quota = hav.max_jobs_per_day
    if quota == 1:
        return 1
    if proc_type == 0:
        return quota * (p_ncpus or 1)
    return quota * (gpu_count or 1) * (gpu_multiplier or 1)


def jobs_per_reply(max_wus_to_send: int, ncpus: int, ngpus: int, gpu_multiplier: int) -> int:
    """Jobs one reply may hold (section 9.1)."""
    if max_wus_to_send <= 0:
        return UNLIMITED
    return max_wus_to_send * max(1, ncpus + gpu_multiplier * ngpus)
