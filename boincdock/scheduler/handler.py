"""The main flow of one RPC, from bytes to bytes (spec 01 section 5.1)."""
from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

from boincdock.config import Project
from boincdock.crypto.rotation import CodeSignKeys
from boincdock.errors import BoincdockError
from boincdock.log import Lines
from boincdock.protocol.request_fast import parse_request
from boincdock.protocol.scanner import escape
from boincdock.protocol.scheduler_reply import LOW, NOTICE, Reply, outage
from boincdock.protocol.scheduler_request import MalformedRequest, SchedulerRequest
from boincdock.scheduler.authenticate import adopt_cpid, authenticate, md5_hex, public_cpid, rss_key, weak_key
from boincdock.scheduler.explain import gpu_only_notice, missing_resources
from boincdock.scheduler.failed_keys import FailedKeys
from boincdock.scheduler.hosts import day_changed, save_host
from boincdock.scheduler.limits import parse_limits
from boincdock.scheduler.model import Hav
from boincdock.scheduler.preferences import handle_preferences
from boincdock.scheduler.records import Records
from boincdock.scheduler.reports import handle_reports, send_aborts
from boincdock.scheduler.repository import HostChangedError, Repository
from boincdock.scheduler.rpc import Rpc, StopRpc
from boincdock.scheduler.session import WorkSession
from boincdock.scheduler.snapshot import Snapshot, SnapshotCache
from boincdock.scheduler.stamps import changed
from boincdock.scheduler.window import JobWindows

log = logging.getLogger(__name__)

DAY = 86400.0
_TRICKLE_END = "</trickle_down>"


class Scheduler:
    """Handles requests of one process, one at a time. Not thread-safe: give each thread its own."""

    def __init__(self, project: Project, repo: Repository, *, keys: Callable[[], CodeSignKeys] | None = None,
                 wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic) -> None:
        self.project = project
        self.config: Any = project.config
        self.repo = repo
        self._keys = keys or (lambda: CodeSignKeys.load(project.key_dir))
        self._loaded_keys: tuple[int, CodeSignKeys] | None = None
        self._wall, self._clock = wall, clock
        self._snapshots = SnapshotCache(project.dir)
        self.windows = JobWindows()
        self.rng = random.Random()
        self.outcome = "failed"
        """How the last RPC went, in the words of ``boincdock.counters.SCHEDULER``."""
        self.sent = self.reported = 0
        """Jobs sent and results acknowledged by it."""
        self._lines: list[str] = []
        self._bad_keys = FailedKeys(clock)
        self._records = Records(project)
        self._stop_file = str(project.trigger("stop_sched"))
        self._key_paths = (str(project.key_dir / "code_sign_public"), str(project.key_dir))
        self._limits = parse_limits(
            project.limits, self.config.max_wus_in_progress, self.config.max_wus_in_progress_gpu
        )

    def handle(self, body: bytes, peer: str = "") -> bytes:
        """The reply to a request body; never raises. One log line says what happened."""
        started = self._clock()
        self.outcome, self.sent, self.reported, self._lines = "failed", 0, 0, []
        try:
            if changed(self._stop_file):
                self.outcome = "stopped"
                log.info("from %s: project is stopped", peer)
                return outage("Project is temporarily shut down for maintenance", self.config.maintenance_delay)
            reply, line = self._answer(body, peer)
            log.info(Lines([*self._lines, f"{line} ({1000 * (self._clock() - started):.1f} ms)"]))
            rendered = reply.render()
            self.sent, self.reported = len(reply.results_xml), len(reply.acks)
            if self.outcome == "failed":
                self.outcome = "jobs" if self.sent else "no_jobs" if reply.full else "refused"
            self._records.keep_copies(body, rendered)
            return rendered
        except BoincdockError as error:
            log.critical("from %s: %s", peer, error.message)
        except Exception:
            log.critical("from %s: unexpected error", peer, exc_info=True)
        self.outcome = "failed"
        return outage("Server error: project is temporarily unable to answer", self.config.maintenance_delay)

    def _new_reply(self, request: SchedulerRequest | None) -> Reply:
        config = self.config
        reply = Reply(
            project_name=config.long_name, master_url=config.master_url, ended=config.ended,
            min_interval=float(config.min_sendwork_interval),
            client_version=request.client_version if request else 0,
        )
        reply.non_cpu_intensive = config.non_cpu_intensive
        reply.strict_memory_bound = config.strict_memory_bound
        reply.verify_files_on_app_start = config.verify_files_on_app_start
        reply.symstore, reply.next_rpc_delay = config.symstore, config.next_rpc_delay
        return reply

    def _answer(self, body: bytes, peer: str) -> tuple[Reply, str]:
        try:
            request = parse_request(body)
        except MalformedRequest as error:
            reply = self._new_reply(None)
            reply.message(f"Incomplete or unreadable request: {error}")
            self.outcome = "malformed"
            return reply, f"from {peer}: malformed request of {len(body)} bytes: {error}"
        # Not inside the transaction: a reference table read must not hold job locks.
        snapshot = self._snapshots.get(self.repo, self._clock(), self.config.non_cpu_intensive)
        verdict = self._client_verdict(request)
        refused = bool(verdict) or self.config.dont_send_jobs
        if refused and not request.results and request.hostid:
            reply = self._new_reply(request)
            self._say_verdict(reply, verdict)
            self._nucleus_extras(reply, request, snapshot)
            return reply, f"[HOST#{request.hostid}] from {peer}: no work for this client: {verdict or 'dont_send_jobs'}"
        if self._skip_for_no_work(request, snapshot):
            reply = self._new_reply(request)
            reply.message("Project has no tasks available")
            self.outcome = "no_jobs"
            self._nucleus_extras(reply, request, snapshot)
            return reply, f"[HOST#{request.hostid}] from {peer}: no jobs, answered without database"
        last: list[Rpc] = []

        def serve() -> None:
            reply = self._new_reply(request)
            self._nucleus_extras(reply, request, snapshot)
            rpc = Rpc(self.config, snapshot, self.repo, request, reply, int(self._wall()), peer, self.project.dir,
                      self.rng, self._bad_keys)
            rpc.may_send_work = not refused
            last[:] = [rpc]
            self._say_verdict(reply, verdict)
            try:
                self._serve(rpc)
            except StopRpc:
                pass

        try:
            self.repo.transaction(serve)
        except HostChangedError:
            # Whatever the windows lost while trying is free again.
            self.windows.forget()
            reply = self._new_reply(request)
            text = "Another request of this computer is being handled; it will try again."
            reply.message(text, LOW, 60.0)
            return reply, f"[HOST#{request.hostid}] from {peer}: {text}"
        except BaseException:
            self.windows.forget()
            raise
        if last[0].reply.full and not last[0].reply.results_xml and not last[0].wants_jobs:
            self.outcome = "contact"
        self._lines = last[0].lines
        self._records.time_stats(last[0])
        return last[0].reply, self._summary(last[0])

    # ---- before the database

    def _skip_for_no_work(self, request: SchedulerRequest, snapshot: Snapshot) -> bool:
        """Option nowork_skip: nothing to send and nothing to take in (section 5.1 step 7)."""
        return bool(
            self.config.nowork_skip and not self.config.msg_to_host and request.hostid and not request.results
            and not request.trickles and request.work_req_seconds > 0
            and self.windows.known_empty(snapshot.apps, self._clock())
        )

    def _client_verdict(self, request: SchedulerRequest) -> str:
        """Why this client may get no work at all; empty if it may."""
        config, host = self.config, request.host
        if request.client_version < config.min_core_client_version:
            need = config.min_core_client_version
            return (f"Your BOINC client is too old. Please install version {need // 10000}.{need // 100 % 100}."
                    f"{need % 100} or later.")
        system, cpu = f"{host.os_name}\t{host.os_version}", f"{host.p_vendor}\t{host.p_model}"
        if any(p.search(system) for p in config.ban_os):
            return "This project doesn't support operating systems like this computer's."
        if any(p.search(cpu) for p in config.ban_cpu):
            return "This project doesn't support CPUs like this computer's."
        return ""

    def _say_verdict(self, reply: Reply, verdict: str) -> None:
        if verdict:
            reply.message(verdict, NOTICE, DAY)

    def _nucleus_extras(self, reply: Reply, request: SchedulerRequest, snapshot: Snapshot) -> None:
        patterns = snapshot.file_delete_regex
        reply.delete_files = [f.name for f in request.files if any(p.search(f.name) for p in patterns)]
        reply.project_files_xml = snapshot.project_files
        config, host = self.config, request.host
        soon, deadline = config.min_core_client_version_announced, config.min_core_client_upgrade_deadline
        left = deadline - self._wall()
        if request.client_version < soon and left > 0:
            days, hours = divmod(int(left // 3600), 24)
            reply.message(f"Starting in {days} days {hours} hours, this project needs BOINC {soon // 10000}."
                          f"{soon // 100 % 100}.{soon % 100} or later.", NOTICE if left < 3 * DAY else LOW)
        if not host.p_vendor or not host.os_name:
            reply.message("This client does not report its CPU type or operating system; work may not suit it.",
                          NOTICE)

    # ---- inside the transaction

    def _serve(self, rpc: Rpc) -> None:
        authenticate(rpc)
        if rpc.host["max_results_day"] == -1:
            rpc.low("This computer is not allowed to take part in this project.", DAY)
            return
        self._fill_account(rpc)
        if not self._resolve_platforms(rpc):
            save_new_host(rpc)
            return
        handle_preferences(rpc)
        adopt_cpid(rpc)
        self._load_hav(rpc)
        handle_reports(rpc)
        self._work(rpc)
        self._trickles(rpc)
        save_hav(rpc)
        save_host(rpc)
        for write in rpc.user_writes:
            write()
        rpc.reply.no_rsc_apps = missing_resources(rpc)

    def _fill_account(self, rpc: Rpc) -> None:
        user, host, account = rpc.user, rpc.host, rpc.reply.account
        rpc.reply.full = True
        account.userid, account.user_name, account.user_create_time = user.id, user.name, user.create_time
        account.user_total_credit, account.user_expavg_credit = user.total_credit, user.expavg_credit
        account.email_hash = md5_hex(user.email_addr)
        account.cross_project_id = user.cross_project_id
        account.external_cpid = public_cpid(user.cross_project_id, user.email_addr)
        account.project_preferences = user.project_prefs
        account.host_total_credit, account.host_expavg_credit = host["total_credit"], host["expavg_credit"]
        account.host_venue, account.host_create_time = rpc.venue, host["create_time"]
        account.teamid, account.team_name = user.teamid if user.team_name else 0, user.team_name
        rpc.reply.gui_urls_xml = rpc.snapshot.render_gui_urls(self._macros(rpc), bool(account.teamid))

    def _macros(self, rpc: Rpc) -> dict[str, str]:
        user = rpc.user
        return {
            "userid": str(user.id), "hostid": str(rpc.hostid), "teamid": str(user.teamid),
            "team_name": escape(user.team_name), "user_name": escape(user.name),
            "project_name": escape(self.config.long_name), "master_url": escape(self.config.master_url),
            # A weak key must not be turned into the strong one.
            "authenticator": "" if rpc.weak else escape(user.authenticator),
            "weak_auth": weak_key(user.id, user.authenticator, user.passwd_hash),
            "rss_auth": rss_key(user.id, user.authenticator, user.passwd_hash),
        }

    def _resolve_platforms(self, rpc: Rpc) -> bool:
        request = rpc.request
        names = [request.platform_name]
        if not request.anonymous:
            names += request.alt_platforms
        table = rpc.snapshot.platforms
        rpc.platforms = [(table[name], name) for name in dict.fromkeys(names) if name in table]
        if not rpc.platforms:
            rpc.notice(f"This project doesn't support computers of type {request.platform_name[:100]}", DAY)
        return bool(rpc.platforms)

    def _load_hav(self, rpc: Rpc) -> None:
        if rpc.created:
            return
        # A host that was matched, not named, was read without them.
        rows = rpc.host["hav"] if "hav" in rpc.host else rpc.repo.hav_rows(rpc.hostid)
        rpc.hav = {row["app_version_id"]: Hav.of(row) for row in rows}
        quota = self.config.daily_result_quota
        if rows and day_changed(rpc.hostid, rpc.host["rpc_time"], rpc.now):
            rpc.hav_writes.append(lambda: rpc.repo.hav_new_day(rpc.hostid))
            for hav in rpc.hav.values():
                hav.n_jobs_today = 0
        if quota and any(hav.max_jobs_per_day == 0 for hav in rpc.hav.values()):
            rpc.hav_writes.append(lambda: rpc.repo.hav_init_quota(rpc.hostid, quota))
            for hav in rpc.hav.values():
                hav.max_jobs_per_day = hav.max_jobs_per_day or quota

    def _work(self, rpc: Rpc) -> None:
        wanted = rpc.asks_for_work and rpc.may_send_work
        session = WorkSession(self.project, rpc, self._limits, self.windows, self._clock()) if wanted else None
        resend = (
            session is not None and rpc.request.has_other_results and not rpc.request.results_truncated
            and (self.config.resend_lost_results or rpc.force_resend)
        )
        aborts = self.config.send_result_abort and rpc.request.other_results
        if (resend or aborts) and not rpc.created:
            jobs = rpc.repo.host_jobs(rpc.hostid)
            if resend and session is not None:
                session.resend(jobs)
            if aborts:
                send_aborts(rpc, jobs)
        if session is None:
            return
        if rpc.wants_jobs:
            gpu_only_notice(rpc)
        if not self._code_sign_key(rpc) or rpc.resent:
            return
        interval = self.config.min_sendwork_interval
        # Not for a computer that was just matched to its record: it has had nothing yet.
        if interval and not rpc.matched and 0 <= rpc.now - rpc.host["rpc_time"] < interval:
            if rpc.wants_jobs:
                rpc.low(f"Not sending work - last request too recent: {rpc.now - rpc.host['rpc_time']} sec",
                        1.01 * interval)
            return
        session.send()

    def _code_sign_key(self, rpc: Rpc) -> bool:
        """Offer the key; False if this client cannot be given work because of it (section 5.8)."""
        offer = self.keys().offer(rpc.request.code_sign_key or None, rpc.request.core_client_major_version)
        rpc.reply.code_sign_key = offer.key or ""
        rpc.reply.code_sign_key_signature = offer.signature or ""
        if offer.refuse_work:
            rpc.notice("The project has changed its security key. Please remove and add this project.")
        return not offer.refuse_work

    def keys(self) -> CodeSignKeys:
        """The code-signing keys, read again when the key directory changes."""
        stamp = changed(self._key_paths[0]) ^ changed(self._key_paths[1])
        if self._loaded_keys is None or self._loaded_keys[0] != stamp:
            self._loaded_keys = (stamp, self._keys())
        return self._loaded_keys[1]

    def _trickles(self, rpc: Rpc) -> None:
        if rpc.request.trickles:
            rpc.repo.store_trickles(rpc.hostid, [(t.variety, t.xml) for t in rpc.request.trickles], rpc.now)
            rpc.reply.message_ack = True
        if self.config.msg_to_host and not rpc.created:
            found = rpc.repo.take_trickles_down(rpc.hostid)
            rpc.reply.trickle_downs = [text for text in found if _TRICKLE_END in text]

    def _summary(self, rpc: Rpc) -> str:
        request = rpc.request
        who = f"[USER#{rpc.user.id}] [HOST#{rpc.hostid}]" if rpc.hostid else f"[HOST#{request.hostid}]"
        said = "; ".join(text for text, _ in rpc.reply.messages)
        return (
            f"{who} [IP {rpc.peer}] client {request.core_client_major_version}.{request.core_client_minor_version}."
            f"{request.core_client_release} rpc_seqno={request.rpc_seqno} platform={request.platform_name[:60]} "
            f"asked={request.work_req_seconds:.0f}s reported={rpc.n_reported} resent={rpc.resent} sent={rpc.sent}"
            + (f" said: {said[:300]}" if said else "")
        )


def save_hav(rpc: Rpc) -> None:
    """Count the jobs of this reply; rows are created with the first job of a version."""
    for write in rpc.hav_writes:
        write()
    for key in sorted(rpc.hav):
        if rpc.hav[key].sent:
            rpc.repo.hav_sent(rpc.hostid, key, rpc.hav[key].sent)


def save_new_host(rpc: Rpc) -> None:
    """A host that was just found or made needs its sequence number reset even if it gets nothing."""
    if rpc.reply.new_hostid:
        save_host(rpc)
