"""Fast feasibility checks of a job on a host: no database (spec 02 section 11.1)."""
from __future__ import annotations

from enum import Enum

from boincdock.scheduler.facts import MB
from boincdock.scheduler.hr import hr_class
from boincdock.scheduler.model import BestVersion, Job
from boincdock.scheduler.work import WorkRequest


class Refusal(Enum):
    """Why a job is not for this host."""

    PLAN_CLASS = "plan class bounds"
    HR = "committed to another host class"
    APP_VERSION = "committed to another version"
    DUPLICATE = "another instance in this reply"
    MEMORY = "memory"
    DISK = "disk"
    BANDWIDTH = "bandwidth"
    DEADLINE = "deadline"


def hr_type(work: WorkRequest, best: BestVersion) -> int:
    """Homogeneous redundancy type in force for an app: 0 none, 1 fine, 2 coarse."""
    return int(best.app.homogeneous_redundancy or work.config.homogeneous_redundancy)


def check(work: WorkRequest, job: Job, best: BestVersion, duration: float,
          delay_bound: float) -> Refusal | None:
    """The first check that refuses the job, or None. Adds notes that explain it to the volunteer."""
    spec = work.rpc.snapshot.plan_classes.spec(best.plan_class)
    if spec is not None and spec.bounds_job and not spec.accepts_job(job.workunitid, job.batch):
        return Refusal.PLAN_CLASS
    kind = hr_type(work, best)
    if kind:
        mine = hr_class(kind, work.rpc.request.host)
        if mine == 0 or job.hr_class not in (0, mine):
            return Refusal.HR
    if best.app.homogeneous_app_version and job.app_version_id not in (0, best.app_version_id):
        return Refusal.APP_VERSION
    if job.workunitid in work.sent_workunits and one_per_host(work, job):
        return Refusal.DUPLICATE
    refusal = _room(work, job, best)
    if refusal or best.app.non_cpu_intensive or work.config.ignore_delay_bound:
        return refusal
    delay = work.delay[best.usage.proc_type]
    if delay > 0 and delay + duration > delay_bound:
        work.too_slow = True
        return Refusal.DEADLINE
    return None


def one_per_host(work: WorkRequest, job: Job) -> bool:
    """Whether a host may have only one instance of the job; replicated jobs never go twice to a host."""
    config = work.config
    return bool(config.one_result_per_user_per_wu or config.one_result_per_host_per_wu or job.min_quorum > 1)


def _room(work: WorkRequest, job: Job, best: BestVersion) -> Refusal | None:
    name = best.app.user_friendly_name or best.app.name
    if job.rsc_memory_bound > work.ram:
        work.note(f"{name} needs {job.rsc_memory_bound / MB:.0f} MB RAM but only {work.ram / MB:.0f} MB is "
                  "available for use.")
        return Refusal.MEMORY
    if job.rsc_disk_bound > work.disk:
        short = (job.rsc_disk_bound - work.disk + work.disk_short) / MB
        work.note(f"{name} needs {short:.0f} MB more disk space. You currently have {work.disk / MB:.0f} MB "
                  f"available and it needs {job.rsc_disk_bound / MB:.0f} MB.")
        return Refusal.DISK
    bandwidth = work.rpc.request.host.n_bwdown
    if job.rsc_bandwidth_bound and bandwidth and bandwidth < job.rsc_bandwidth_bound:
        work.note(f"{name} needs {job.rsc_bandwidth_bound / 1024:.0f} KB/sec download bandwidth; your computer's "
                  f"is {bandwidth / 1024:.0f} KB/sec.")
        return Refusal.BANDWIDTH
    return None
