"""The claim: giving jobs to a host, once and for all (spec 02 section 12.3; docs/decisions/0010)."""
from __future__ import annotations

import logging
from dataclasses import replace

from boincdock.enums import ServerState
from boincdock.scheduler import documents
from boincdock.scheduler.feasible import hr_type
from boincdock.scheduler.hr import hr_class
from boincdock.scheduler.model import BestVersion, Hav, Job, Row, text_of
from boincdock.scheduler.work import WorkRequest

log = logging.getLogger(__name__)

TRUSTED_VALID = 10


class Claimer:
    """Writes claims and the reply's documents for one request."""

    def __init__(self, work: WorkRequest) -> None:
        self.work = work
        self.rpc = work.rpc
        self._apps: set[int] = set()
        self._versions: dict[int, BestVersion] = {}
        self._sent_versions: set[int] = set()
        self._workunits: set[int] = set()

    def claim(self, row: Row, job: Job, best: BestVersion, delay_bound: int, *,
              old_state: ServerState = ServerState.UNSENT) -> bool:
        """Give the locked result ``row`` to the host and put it into the reply.

        False if the job turned out not to be sendable, in which case nothing was written for it.
        """
        best = self._usage_in_reply(best)
        deadline = self.rpc.now + delay_bound
        try:
            parts = self._documents(row, job, best, deadline)
        except documents.BadDocument as error:
            log.critical("[RESULT#%d] not sent: %s", row["id"], error)
            return False
        server_deadline = deadline + self.rpc.config.report_grace_period
        if not self._claim_workunit(row, job, best, server_deadline):
            return False
        self.rpc.repo.claim_result({
            "id": row["id"], "old_state": int(old_state), "hostid": self.rpc.hostid, "userid": self.rpc.user.id,
            "now": self.rpc.now, "deadline": server_deadline, "flops_estimate": best.usage.peak_flops,
            "app_version_id": best.app_version_id,
        })
        self._into_reply(parts, row, job, best, count=old_state == ServerState.UNSENT)
        return True

    def _usage_in_reply(self, best: BestVersion) -> BestVersion:
        """One usage per version per reply: the first (section 12.4)."""
        if best.version is None or best.variant is not None:
            return best
        first = self._versions.setdefault(best.version.id, best)
        return replace(best, usage=first.usage)

    def _documents(self, row: Row, job: Job, best: BestVersion, deadline: int) -> tuple[str, str, str]:
        version = ""
        if best.version is not None:
            own = replace(best, usage=best.wrapper_usage) if best.wrapper_usage is not None else best
            version = documents.app_version_xml(own)
        workunit = documents.workunit_xml(text_of(row["xml_doc"]), job, best)
        result = documents.result_xml(text_of(row["xml_doc_in"]), row["name"], job, best, deadline)
        return version, workunit, result

    def _claim_workunit(self, row: Row, job: Job, best: BestVersion, deadline: int) -> bool:
        values: Row = {"id": row["workunitid"], "time": deadline}
        kind = hr_type(self.work, best)
        target = best.app.target_nresults
        untrusted = target > 1 and row["target_nresults"] == 1 and not self._trusted(best)
        if kind or best.app.homogeneous_app_version or untrusted:
            host_class = hr_class(kind, self.rpc.request.host) if kind else row["hr_class"]
            version = best.app_version_id if best.app.homogeneous_app_version else row["app_version_id"]
            if row["hr_class"] not in (0, host_class) or row["app_version_id"] not in (0, version):
                return False
            values["hr_class"], values["app_version_id"] = host_class, version
            values["target_nresults"] = target if untrusted else row["target_nresults"]
            values["min_quorum"] = target if untrusted else row["min_quorum"]
            if untrusted:
                values["time"] = self.rpc.now
        self.rpc.repo.claim_workunit(values)
        return True

    def _trusted(self, best: BestVersion) -> bool:
        """Adaptive replication: enough valid results in a row, with a draw (section 10)."""
        return best.hav is not None and best.hav.trusted

    def _into_reply(self, parts: tuple[str, str, str], row: Row, job: Job, best: BestVersion, count: bool) -> None:
        version_xml, workunit_xml, result_xml = parts
        rpc = self.rpc
        if best.version is not None:
            if best.app.id not in self._apps:
                rpc.reply.apps_xml.append(documents.app_xml(best.app))
                self._apps.add(best.app.id)
            if best.version.id not in self._sent_versions:
                rpc.reply.versions_xml.append(version_xml)
                self._sent_versions.add(best.version.id)
        if row["workunitid"] not in self._workunits:
            rpc.reply.workunits_xml.append(workunit_xml)
            self._workunits.add(row["workunitid"])
        rpc.reply.results_xml.append(result_xml)
        hav = rpc.hav.setdefault(best.gavid, Hav(best.gavid, exists=False))
        if count:
            hav.sent += 1
        duration = self.work.duration(job.rsc_fpops_est, best.usage)
        self.work.added(job, best, duration)
        rpc.sent += 1
        rpc.log("[HOST#%d] Sending [RESULT#%d %s] (est. dur. %.2fs (%.2fs)) (app version %d)", rpc.hostid, row["id"],
                row["name"], duration * self.work.available(best.usage), duration, best.app_version_id)


def draw_trust(hav: Hav, draw: float) -> bool:
    """Whether a version of a host is trusted in this request; ``draw`` is uniform in [0, 1)."""
    c = hav.consecutive_valid
    return c >= TRUSTED_VALID and draw > 1 / c


def is_reliable(hav: Hav, max_turnaround: float, fast_os: bool, quota: int) -> bool:
    """Whether a version of a host gets jobs that need a reliable host (section 10)."""
    k = 1.0 if fast_os else 1.8
    turnaround_ok = hav.turnaround_n <= 10 or not max_turnaround or hav.turnaround_avg <= max_turnaround * k
    return turnaround_ok and hav.consecutive_valid >= TRUSTED_VALID and (not quota or hav.max_jobs_per_day >= quota)
