"""Jobs that do not come from the windows' ranking: targeted, broadcast, non-CPU-intensive (spec 02 section 14)."""
from __future__ import annotations

import logging
import secrets

from boincdock.config import Project
from boincdock.enums import Outcome, ServerState, TargetType, TransitionerFlags, ValidateState
from boincdock.errors import BoincdockError
from boincdock.scheduler.buda import APP_NAME, buda_app_of
from boincdock.scheduler.claim import Claimer
from boincdock.scheduler.feasible import check, one_per_host
from boincdock.scheduler.instances import make_instance
from boincdock.scheduler.model import App, BestVersion, Job, Row
from boincdock.scheduler.versions import VersionChooser
from boincdock.scheduler.window import JobWindows
from boincdock.scheduler.work import WorkRequest

log = logging.getLogger(__name__)

_ORDER = {TargetType.USER: 0, TargetType.HOST: 1, TargetType.TEAM: 2, TargetType.ALL: 3}
_PENDING = (ServerState.INACTIVE, ServerState.UNSENT, ServerState.IN_PROGRESS)


class SpecialJobs:
    """Sends the jobs of this kind that one request may have."""

    def __init__(self, project: Project, work: WorkRequest, chooser: VersionChooser, claimer: Claimer) -> None:
        self.project, self.work, self.rpc = project, work, work.rpc
        self.chooser, self.claimer = chooser, claimer

    # ---- targeted and broadcast

    def targeted(self) -> int:
        """Send jobs meant for this user, host or team, in this order; how many."""
        return self._assigned(multi=False)

    def broadcast(self) -> int:
        """Send jobs meant for every host of a user, of a team or of the project, each once per host. They are not
        limited by what was asked for."""
        return self._assigned(multi=True)

    def _assigned(self, multi: bool) -> int:
        rpc, sent = self.rpc, 0
        rows = rpc.repo.assignments(multi, rpc.user.id, rpc.hostid, rpc.user.teamid)
        rows.sort(key=lambda row: (_ORDER.get(row["target_type"], 9), row["assignment_id"]))
        for row in rows:
            if not multi and not self.work.work_needed():
                break
            if row["workunitid"] is None:
                rpc.repo.delete_assignment(row["assignment_id"])
            elif (multi or row["target_type"] != TargetType.ALL) and self._wanted(row, multi):
                sent += self._send_new(row, multi)
        return sent

    def _wanted(self, row: Row, multi: bool) -> bool:
        """Whether the workunit can still use an instance, by what its row says."""
        flags = TransitionerFlags.NONE if multi else TransitionerFlags.NO_NEW_RESULTS
        if row["error_mask"] or row["canonical_resultid"] or row["transitioner_flags"] != flags:
            return False
        return multi or not (row["need_validate"] or row["transition_time"] < self.rpc.now)

    def _send_new(self, row: Row, multi: bool) -> bool:
        """Create an instance of an assigned workunit and give it to this host, all or nothing."""
        rpc, job = self.rpc, Job.of(row)
        app = rpc.snapshot.apps.get(job.appid)
        if app and app.name == APP_NAME:
            job.buda_app = buda_app_of(rpc.repo.workunit_docs([job.workunitid]).get(job.workunitid, ""))
        best = self.chooser.choose(job, app, check_req=False) if app and self._selected(app) else None
        # The workunit's lock makes concurrent requests count its instances one after the other.
        locked = rpc.repo.lock_workunit(job.workunitid) if best else None
        if best is None or locked is None or not self._instance_needed(job, multi):
            rpc.debug("assignment", "[WU#%d %s] not for this host now", job.workunitid, job.wu_name)
            return False
        try:
            name, document = make_instance(self.project, row["result_template_file"], job.wu_name)
        except BoincdockError as error:
            log.critical("[WU#%d %s] targeted job not sent: %s", job.workunitid, job.wu_name, error.message)
            return False
        job.resultid = rpc.repo.insert_result({
            "create_time": rpc.now, "workunitid": job.workunitid, "appid": job.appid, "name": name,
            "xml_doc_in": document, "batch": job.batch, "priority": job.priority, "size_class": job.size_class,
            "random": secrets.randbelow(2**31),
        })
        claimed = {**locked, "id": job.resultid, "name": name, "xml_doc_in": document}
        if self.claimer.claim(claimed, job, best, job.delay_bound):
            rpc.debug("assignment", "sent %s of [WU#%d]", name, job.workunitid)
            return True
        rpc.repo.delete_result(job.resultid)
        return False

    def _instance_needed(self, job: Job, multi: bool) -> bool:
        found = self.rpc.repo.instances(job.workunitid)
        if any(r["hostid"] == self.rpc.hostid for r in found):
            return False
        if multi:
            return True
        busy = sum(r["server_state"] in _PENDING for r in found)
        good = sum(
            r["server_state"] == ServerState.OVER and r["outcome"] == Outcome.SUCCESS
            and r["validate_state"] != ValidateState.INVALID for r in found
        )
        return bool(busy + good < job.target_nresults)

    def _selected(self, app: App) -> bool:
        prefs = self.rpc.project_prefs
        return bool(not prefs.app_ids or app.id in prefs.app_ids or prefs.allow_non_preferred_apps)

    # ---- non-CPU-intensive apps

    def non_cpu_intensive(self, windows: JobWindows, clock: float) -> int:
        """Send one job of each such app of which the host holds none; how many. They are sent even if the client
        asked for nothing, so the request's needs do not matter."""
        rpc, sent = self.rpc, 0
        apps = rpc.snapshot.nci_apps
        if not apps:
            return 0
        held_names = [other.name for other in rpc.request.other_results]
        held = rpc.repo.apps_of_results(held_names) if held_names else set()
        for app in apps:
            if app.id in held or not self._selected(app) or (app.beta and not rpc.project_prefs.allow_beta_work):
                continue
            sent += self._send_first(app, windows, clock)
        return sent

    def _send_first(self, app: App, windows: JobWindows, clock: float) -> bool:
        repo = self.rpc.repo
        job = next(iter(windows.jobs(repo, app, self.rpc.kind_of_host(app), clock)), None)
        best: BestVersion | None = self.chooser.choose(job, app, check_req=False) if job else None
        if job is None or best is None:
            return False
        duration = self.work.duration(job.rsc_fpops_est, best.usage)
        if check(self.work, job, best, duration, job.delay_bound) or self._had(job):
            return False
        rows = repo.lock_jobs([job.resultid])
        windows.drop(app.id, [job.resultid])
        return bool(rows) and self.claimer.claim(rows[0], job, best, job.delay_bound)

    def _had(self, job: Job) -> bool:
        if not one_per_host(self.work, job):
            return False
        if self.rpc.config.one_result_per_user_per_wu:
            return bool(self.rpc.repo.had_by_user([job.workunitid], self.rpc.user.id))
        return bool(self.rpc.repo.had_by_host([job.workunitid], self.rpc.hostid))
