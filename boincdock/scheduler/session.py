"""Sending work in one RPC: set-up, lost jobs, dispatch, explanation (spec 02 section 3)."""
from __future__ import annotations

from boincdock.config import Project
from boincdock.scheduler.choose import Dispatcher
from boincdock.scheduler.claim import Claimer, draw_trust, is_reliable
from boincdock.scheduler.explain import explain_no_work
from boincdock.scheduler.facts import MB
from boincdock.scheduler.hr import hr_class
from boincdock.scheduler.limits import LimitSet
from boincdock.scheduler.lost import resend_lost_jobs
from boincdock.scheduler.model import Row
from boincdock.scheduler.rpc import Rpc
from boincdock.scheduler.special import SpecialJobs
from boincdock.scheduler.versions import VersionChooser
from boincdock.scheduler.window import JobWindows
from boincdock.scheduler.work import WorkRequest


class WorkSession:
    """What all ways of sending jobs in one reply share."""

    def __init__(self, project: Project, rpc: Rpc, limits: tuple[LimitSet, dict[str, LimitSet]], windows: JobWindows,
                 clock: float) -> None:
        self.project, self.rpc = project, rpc
        self.work = WorkRequest(rpc, limits)
        self.chooser = VersionChooser(self.work)
        self.claimer = Claimer(self.work)
        self.windows, self.clock = windows, clock
        self._judge_versions()

    def _judge_versions(self) -> None:
        """Draw reliability and trust once per request (section 10)."""
        rpc, host = self.rpc, self.rpc.request.host
        apple = "Darwin" in host.os_name and ("intel" in host.p_vendor.lower() or "apple" in host.p_vendor.lower())
        fast = "Windows" in host.os_name or "Linux" in host.os_name or apple
        for hav in rpc.hav.values():
            hav.reliable = is_reliable(hav, rpc.config.reliable_max_avg_turnaround, fast,
                                       rpc.config.daily_result_quota)
            hav.trusted = draw_trust(hav, rpc.rng.random())

    def resend(self, jobs: list[Row]) -> None:
        """Send lost jobs again."""
        resend_lost_jobs(self.work, self.chooser, self.claimer, jobs)

    def send(self) -> None:
        """Choose and claim new jobs; say why if there are none."""
        rpc = self.rpc
        if self._hr_hopeless():
            rpc.notice("This type of computer is not supported by this project's applications")
            return
        rpc.debug("send", "wanted: %s s, %s instances by type; %d CPUs, %.0f MB RAM, %.0f MB disk; at most %d jobs",
                  self.work.req_secs, self.work.req_instances, self.work.ncpus, self.work.ram / MB,
                  self.work.disk / MB, self.work.max_jobs)
        special = SpecialJobs(self.project, self.work, self.chooser, self.claimer)
        if rpc.config.enable_assignment and special.targeted():
            return
        if rpc.user.own_jobs_only:
            if rpc.wants_jobs:
                rpc.low("No tasks sent: your account takes only jobs meant for it")
            return
        if rpc.config.enable_assignment_multi and special.broadcast():
            return
        special.non_cpu_intensive(self.windows, self.clock)
        if not rpc.wants_jobs:
            return
        dispatcher = Dispatcher(self.work, self.windows, self.clock, self.claimer, self.chooser)
        dispatcher.run()
        if not rpc.sent:
            explain_no_work(self.work, self.chooser, dispatcher.seen_apps, dispatcher.hr_refused)

    def _hr_hopeless(self) -> bool:
        """Whether all apps use homogeneous redundancy and this host is of unknown class in each."""
        kinds = [a.homogeneous_redundancy or self.rpc.config.homogeneous_redundancy
                 for a in self.rpc.snapshot.apps.values()]
        return bool(kinds) and all(kinds) and not any(hr_class(k, self.rpc.request.host) for k in set(kinds))
