"""The work request of one RPC: what is asked, what the host can take, what was put into the reply.

Spec 02 sections 2, 3, 4 and 9. :class:`WorkRequest` is the bookkeeping that every way of sending jobs shares.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from boincdock.protocol.request_model import Coproc
from boincdock.scheduler import speed
from boincdock.scheduler.facts import HostFacts
from boincdock.scheduler.limits import InProgress, LimitSet, jobs_per_reply
from boincdock.scheduler.model import BestVersion, Job, Usage
from boincdock.scheduler.rpc import Rpc

N_TYPES = 5


class WorkRequest:
    """Mutable state of choosing jobs for one reply."""

    def __init__(self, rpc: Rpc, limits: tuple[LimitSet, dict[str, LimitSet]]) -> None:
        self.rpc = rpc
        request, host = rpc.request, rpc.request.host
        self.config = rpc.config
        self.req_secs = [0.0] * N_TYPES
        self.req_instances = [0.0] * N_TYPES
        self.delay = [0.0] * N_TYPES
        self.gpus: dict[int, Coproc] = {}
        self._read_requests()
        prefs = rpc.global_prefs
        self.ncpus = speed.effective_ncpus(
            host.p_ncpus, prefs.max_ncpus_pct, self.config.max_ncpus, rpc.project_prefs.max_cpus
        )
        self.ngpus = sum(c.count for c in self.gpus.values())
        self.ram = speed.usable_ram(host.m_nbytes, prefs.ram_max_used_busy, prefs.ram_max_used_idle)
        self.disk, self.disk_short = speed.disk_allowance(
            host.d_total, host.d_free, host.d_boinc_used_total, prefs, self.config.default_disk_min_free_gb
        )
        self.cpu_available = speed.available_fraction(host.on_frac, host.active_frac)
        self.gpu_available = speed.available_fraction(host.on_frac, host.gpu_active_frac)
        multiplier = 1 if self.config.non_cpu_intensive else self.config.gpu_multiplier
        ncpus = 1 if self.config.non_cpu_intensive else self.ncpus
        self.max_jobs = jobs_per_reply(self.config.max_wus_to_send, ncpus, self.ngpus, multiplier)
        self.in_progress = InProgress(rpc, self.ncpus, limits)
        self.jobs_sent = 0
        self.sent_workunits: set[int] = set()
        self.reasons: list[str] = []
        self.low_reasons: list[str] = []
        self.quota_reached = 0
        self.too_slow = False
        self.facts = HostFacts(
            request, self.ncpus, self.ram, speed.capped_fpops(host.p_fpops, rpc.snapshot.percentiles),
            rpc.user.id, rpc.project_prefs, self.note, rpc.rng.random,
        )

    def _read_requests(self) -> None:
        request = self.rpc.request
        clamp = speed.MAX_REQUEST
        self.seconds_to_fill = min(max(request.work_req_seconds, 0.0), clamp)
        self.req_secs[0] = min(max(request.cpu_req_secs, 0.0), clamp)
        self.req_instances[0] = max(0.0, request.cpu_req_instances)
        self.delay[0] = max(0.0, request.estimated_delay)
        for coproc in request.coprocs:
            proc_type = coproc.proc_type
            if proc_type is None or coproc.count <= 0:
                continue
            self.gpus[proc_type] = coproc
            self.req_secs[proc_type] = min(max(coproc.req_secs, 0.0), clamp)
            self.req_instances[proc_type] = max(0.0, coproc.req_instances)
            self.delay[proc_type] = coproc.estimated_delay if coproc.estimated_delay >= 0 else self.delay[0]
        self.by_resource = any(self.req_secs)

    # ---- what is still wanted

    def note(self, reason: str) -> None:
        """Remember why there may be no work, for a notice (section 13)."""
        if reason not in self.reasons and len(self.reasons) < 20:
            self.reasons.append(reason)

    def needs(self, proc_type: int) -> bool:
        """Whether jobs for this processor type are still wanted."""
        if self.by_resource:
            return self.req_secs[proc_type] > 0 or self.req_instances[proc_type] > 0
        return self.seconds_to_fill > 0

    @property
    def type_candidates(self) -> frozenset[int]:
        """Processor types for which the project, or an anonymous client, has versions."""
        if self.rpc.request.anonymous:
            return frozenset(range(N_TYPES))
        return self.rpc.snapshot.proc_types

    def work_needed(self) -> bool:
        """Whether one more job may go into this reply (section 3)."""
        prefs = self.rpc.project_prefs
        if prefs.max_jobs and self.in_progress.total >= prefs.max_jobs:
            self.in_progress.reached = True
            return False
        if self.jobs_sent >= self.max_jobs:
            return False
        open_types = [t for t in self.type_candidates if not self.in_progress.project_full(t)]
        if not open_types:
            return False
        return any(self.needs(t) for t in open_types)

    @contextmanager
    def only(self, proc_type: int) -> Iterator[None]:
        """Look at one processor type alone for a while (section 12.1 steps 1 and 4)."""
        if not self.by_resource:
            yield
            return
        secs, instances = self.req_secs, self.req_instances
        self.req_secs = [s if t == proc_type else 0.0 for t, s in enumerate(secs)]
        self.req_instances = [n if t == proc_type else 0.0 for t, n in enumerate(instances)]
        try:
            yield
        finally:
            secs[proc_type], instances[proc_type] = self.req_secs[proc_type], self.req_instances[proc_type]
            self.req_secs, self.req_instances = secs, instances

    # ---- what a job means for this host

    def available(self, usage: Usage) -> float:
        """Share of time in which a job of this usage runs."""
        return self.cpu_available if usage.proc_type == 0 else self.gpu_available

    def duration(self, fpops_est: float, usage: Usage) -> float:
        """Estimated seconds from start to end (section 4.3)."""
        return speed.unscaled_duration(fpops_est, usage.projected_flops) / self.available(usage)

    def peak_of_gpu(self, proc_type: int) -> float:
        """Peak FLOPS of one instance of a GPU type."""
        return self.gpus[proc_type].peak_flops if proc_type in self.gpus else 0.0

    def added(self, job: Job, best: BestVersion, duration: float) -> None:
        """Bookkeeping after a job was put into the reply (section 3)."""
        usage = best.usage
        t = usage.proc_type
        if t == 0:
            self.req_secs[0] -= duration * usage.avg_ncpus
            self.req_instances[0] -= usage.avg_ncpus
            self.delay[0] += duration * usage.avg_ncpus / max(1, self.rpc.request.host.p_ncpus)
        else:
            self.req_secs[t] -= duration * usage.gpu_usage
            self.req_instances[t] -= usage.gpu_usage
            self.delay[t] += duration * usage.gpu_usage / max(1, self.gpus[t].count if t in self.gpus else 1)
        if not self.by_resource:
            self.seconds_to_fill -= duration
        self.disk -= job.rsc_disk_bound
        self.in_progress.add(best.app.name, t)
        self.jobs_sent += 1
        self.sent_workunits.add(job.workunitid)
