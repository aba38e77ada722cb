"""Jobs that the server thinks a client has and the client does not (spec 02 section 7, 01 section 5.7)."""
from __future__ import annotations

import logging

from boincdock.enums import ServerState
from boincdock.scheduler.buda import APP_NAME, buda_app_of
from boincdock.scheduler.claim import Claimer
from boincdock.scheduler.feasible import Refusal, check
from boincdock.scheduler.model import BestVersion, Job, Row
from boincdock.scheduler.versions import VersionChooser
from boincdock.scheduler.work import WorkRequest

log = logging.getLogger(__name__)


def resend_bound(now: int, sent_time: int, deadline: int, delay_bound: int, duration: float,
                 estimated_delay: float) -> int | None:
    """Delay bound with which a lost job may be sent again, or None if it must expire (01 section 9.4, last table).

    What is left of the client's ``deadline`` is tried first, then the workunit's whole ``delay_bound``. An idle
    host (``estimated_delay`` 0) is exempt from the deadline check, but the deadline must leave ``duration``.
    """
    left = deadline - now
    if left <= 0:
        return None
    for bound in (left, delay_bound):
        if estimated_delay > 0 and estimated_delay + duration > bound:
            continue
        new = min(max(deadline, now + (deadline - sent_time) / 2), now + bound)
        return bound if new - now >= duration else None
    return None


def resend_lost_jobs(work: WorkRequest, chooser: VersionChooser, claimer: Claimer, jobs: list[Row]) -> None:
    """Send again, or expire, every job in progress that is missing from ``other_results``."""
    rpc = work.rpc
    held = {other.name for other in rpc.request.other_results}
    limit = rpc.config.max_wus_to_send
    for row in sorted(jobs, key=lambda r: (r["workunitid"], r["resultid"])):
        if row["name"] in held or not work.work_needed():
            continue
        if limit > 0 and rpc.resent >= limit:
            break
        rpc.debug("resend", "[RESULT#%d %s] is lost", row["resultid"], row["name"])
        resent = _resend(work, chooser, claimer, row)
        if resent:
            rpc.resent += 1
            rpc.low(f"Resent lost task {row['name']}")
        elif resent is None:
            rpc.debug("resend", "[RESULT#%d %s] is being changed just now; next time", row["resultid"], row["name"])
        else:
            grace = rpc.config.report_grace_period
            rpc.repo.expire_job(rpc.hostid, row["resultid"], row["workunitid"], rpc.now - 1 + grace)
            rpc.low(f"Didn't resend lost task {row['name']} (expired)")
            log.info("[HOST#%d] [RESULT#%d %s] lost job not resent", rpc.hostid, row["resultid"], row["name"])


def _resend(work: WorkRequest, chooser: VersionChooser, claimer: Claimer, row: Row) -> bool | None:
    """Whether the job was sent again; None if somebody else holds it just now, which is no reason to give it up."""
    rpc = work.rpc
    app = rpc.snapshot.apps.get(row["appid"])
    if app is None or row["error_mask"] or row["canonical_resultid"]:
        return False
    prefs = rpc.project_prefs
    if prefs.app_ids and app.id not in prefs.app_ids and not prefs.allow_non_preferred_apps:
        return False
    job = Job.of(row)
    if app.name == APP_NAME:
        job.buda_app = buda_app_of(rpc.repo.workunit_docs([job.workunitid]).get(job.workunitid, ""))
    best = chooser.choose(job, app)
    if best is None:
        return False
    bound = _bound(work, job, best, row)
    if bound is None:
        return False
    locked = rpc.repo.lock_lost_job(rpc.hostid, job.resultid)
    if locked is None:
        return None
    return claimer.claim(locked, job, best, bound, old_state=ServerState.IN_PROGRESS)


def _bound(work: WorkRequest, job: Job, best: BestVersion, row: Row) -> int | None:
    duration = work.duration(job.rsc_fpops_est, best.usage)
    # The stored deadline holds the grace period; taking it off keeps repeated resends from adding it up.
    deadline = row["report_deadline"] - work.config.report_grace_period
    if check(work, job, best, duration, float("inf")) not in (None, Refusal.DEADLINE):
        return None
    delay = 0.0 if work.config.ignore_delay_bound else work.delay[best.usage.proc_type]
    return resend_bound(work.rpc.now, row["sent_time"], deadline, job.delay_bound, duration, delay)
