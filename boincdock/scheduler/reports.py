"""Taking in finished jobs (spec 01 section 5.6, 03 section 2.3) and telling the client what to abort (5.7)."""
from __future__ import annotations

import logging

from boincdock.enums import ClientState, Outcome, ServerState, ValidateState, WuError
from boincdock.protocol.request_model import ReportedResult
from boincdock.scheduler.model import Row, gavid
from boincdock.scheduler.plan_class import is_multithreaded
from boincdock.scheduler.rpc import Rpc

log = logging.getLogger(__name__)

EXIT_ABORTED_BY_PROJECT = 202
_MAX_BLOB = 65535


def repair_times(elapsed: float, cpu: float, single_thread: bool, since_sent: float,
                 ncpus: int) -> tuple[float, float]:
    """(elapsed, cpu) as stored (spec 03 section 2.3 step 6). ``since_sent`` in seconds; negative: clocks disagree."""
    if single_thread and elapsed < cpu:
        elapsed = cpu
    elapsed = max(elapsed, 0.0)
    if elapsed == 0 and cpu > 0:
        elapsed = cpu
    if since_sent >= 0:
        elapsed = min(elapsed, since_sent)
    return elapsed, max(0.0, min(cpu, elapsed * max(1, ncpus)))


def _acceptable(rpc: Rpc, row: Row, owners: dict[int, int]) -> bool:
    """Whether a report for this row is taken in; what is not is acknowledged and ignored."""
    over = row["server_state"] == ServerState.OVER
    if over and row["outcome"] not in (Outcome.NO_REPLY, Outcome.CLIENT_DETACHED):
        if row["outcome"] == Outcome.SUCCESS:
            # The client did not get our last reply, so it may lack the jobs sent with it.
            rpc.force_resend = True
        return False
    if row["server_state"] not in (ServerState.IN_PROGRESS, ServerState.OVER) or row["received_time"]:
        return False
    return bool(row["hostid"] == rpc.hostid or owners.get(row["hostid"]) == rpc.user.id)


def handle_reports(rpc: Rpc) -> None:
    """Store every acceptable report, wake the workunits, adjust quotas, acknowledge.

    The acknowledgements go out only if the transaction commits, because the reply is rendered after it.
    """
    config = rpc.config
    reports: dict[str, ReportedResult] = {}
    for report in rpc.request.results:
        reports.setdefault(report.name, report)
    limit = min((n for n in (config.max_results_accepted, config.report_max) if n > 0), default=0)
    if config.max_results_accepted and len(reports) > config.max_results_accepted:
        rpc.request.results_truncated = True
    names = list(reports)[:limit] if limit else list(reports)
    if not names:
        return
    rpc.n_reported = len(names)
    rows = {row["name"]: row for row in rpc.repo.results_by_name(names)}
    strangers = {r["hostid"] for r in rows.values()} - {rpc.hostid, 0}
    owners = rpc.repo.host_owners(sorted(strangers)) if strangers else {}
    accepted = [rows[n] for n in names if n in rows and _acceptable(rpc, rows[n], owners)]
    accepted.sort(key=lambda row: (row["workunitid"], row["id"]))
    # Workunits before results, in ascending order: the transitioner locks them the same way.
    if accepted:
        rpc.repo.wake_workunits([row["workunitid"] for row in accepted], rpc.now)
    late = _store(rpc, accepted, reports)
    if late:
        # Somebody, e.g. the transitioner's timeout, was faster: judge the rows as they are now.
        fresh = {row["name"]: row for row in rpc.repo.results_by_name([row["name"] for row in late])}
        again = [fresh[row["name"]] for row in late if row["name"] in fresh]
        _store(rpc, [row for row in again if _acceptable(rpc, row, owners)], reports)
    rpc.reply.acks += names


def _store(rpc: Rpc, rows: list[Row], reports: dict[str, ReportedResult]) -> list[Row]:
    """Write reports; the rows that are not any more as they were read."""
    late = []
    stored = rpc.repo.store_reports([_report_values(rpc, row, reports[row["name"]]) for row in rows]) if rows else []
    for row, done in zip(rows, stored, strict=True):
        report = reports[row["name"]]
        if not done:
            log.info("[HOST#%d] [RESULT#%d %s] changed while being reported", rpc.hostid, row["id"], row["name"])
            late.append(row)
            continue
        success = _is_success(report)
        rpc.log("[HOST#%d] [RESULT#%d %s] got result (%s)", rpc.hostid, row["id"], row["name"],
                "success" if success else f"error: state={report.client_state} exit_status={report.exit_status}")
        _adjust_quota(rpc, row, success, report.exit_status)
    return late


def _is_success(report: ReportedResult) -> bool:
    return report.client_state == ClientState.FILES_UPLOADED and report.exit_status == 0


def _report_values(rpc: Rpc, row: Row, report: ReportedResult) -> Row:
    """What a report sets in the result's row, if that still is as it was read."""
    version = rpc.snapshot.version_by_id.get(row["app_version_id"])
    elapsed, cpu = repair_times(
        report.elapsed_time, report.cpu_time,
        version is not None and not is_multithreaded(version.plan_class),
        rpc.now - row["sent_time"], rpc.request.host.p_ncpus,
    )
    success = _is_success(report)
    stderr = b"" if success and rpc.config.dont_store_success_stderr else report.stderr_out[:_MAX_BLOB]
    return {
        "id": row["id"], "old_state": row["server_state"], "old_outcome": row["outcome"], "hostid": rpc.hostid,
        "teamid": rpc.user.teamid, "received_time": rpc.now, "client_state": report.client_state,
        "cpu_time": cpu, "elapsed_time": elapsed, "exit_status": report.exit_status,
        "app_version_num": report.app_version_num, "peak_working_set_size": report.peak_working_set_size,
        "peak_swap_size": report.peak_swap_size, "peak_disk_usage": report.peak_disk_usage, "stderr_out": stderr,
        "xml_doc_out": report.xml_doc_out,
        "outcome": int(Outcome.SUCCESS if success else Outcome.CLIENT_ERROR),
        "validate_state": int(ValidateState.INIT if success else ValidateState.INVALID),
    }


def _adjust_quota(rpc: Rpc, row: Row, success: bool, exit_status: int) -> None:
    """Spec 02 section 9.3, in memory for this request and as increments in the database."""
    quota = rpc.config.daily_result_quota
    key = gavid(row["appid"], row["app_version_id"])
    hav = rpc.hav.get(key)
    if success:
        if quota and hav is not None and hav.max_jobs_per_day < quota:
            hav.max_jobs_per_day = min(2 * hav.max_jobs_per_day, quota)
            rpc.hav_writes.append(lambda: rpc.repo.hav_success(rpc.hostid, key, quota))
    elif exit_status != EXIT_ABORTED_BY_PROJECT and hav is not None:
        if quota:
            hav.max_jobs_per_day = max(1, min(hav.max_jobs_per_day, quota) - 1)
        hav.consecutive_valid = 0
        rpc.hav_writes.append(lambda: rpc.repo.hav_error(rpc.hostid, key, quota))


def send_aborts(rpc: Rpc, in_progress: list[Row]) -> None:
    """Tell the client which of the jobs it holds are no longer wanted (section 5.7, first item)."""
    known = {row["name"]: row for row in in_progress}
    names = list(dict.fromkeys(other.name for other in rpc.request.other_results))
    strange = [name for name in names if name not in known]
    late = {row["name"]: row for row in rpc.repo.late_jobs(rpc.hostid, strange)} if strange else {}
    for name in names:
        row = known.get(name) or late.get(name)
        if row is None or row["error_mask"] & WuError.CANCELLED:
            rpc.reply.aborts.append(name)
        elif row["assimilate_state"] == 2 or name in late:
            rpc.reply.aborts_if_not_started.append(name)
