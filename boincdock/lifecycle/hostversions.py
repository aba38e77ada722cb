"""One host's record with one app version: loading under a lock, quota rules, saving (spec 03 section 3)."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from boincdock.db import Connection, DuplicateKeyError
from boincdock.lifecycle.averages import HOST_RULE, Average
from boincdock.lifecycle.credit import HostVersion


def after_timeout(record: HostVersion, quota: int, delay_bound: float) -> HostVersion:
    """The record after a missed deadline. ``quota`` is cfg.daily_result_quota; 0 means no quotas at all."""
    return replace(record, consecutive_valid=0, turnaround=record.turnaround.updated(delay_bound, HOST_RULE),
                   max_jobs_per_day=_lowered(record.max_jobs_per_day, quota))


def after_valid(record: HostVersion, quota: int, replicated: bool) -> HostVersion:
    """The record after a validated result; ``replicated`` is False for a job that a trusted host did alone."""
    return replace(record, consecutive_valid=record.consecutive_valid + (1 if replicated else 0),
                   max_jobs_per_day=record.max_jobs_per_day + (1 if quota else 0))


def after_invalid(record: HostVersion, quota: int) -> HostVersion:
    """The record after an invalid or unreadable result."""
    limit = record.max_jobs_per_day
    return replace(record, consecutive_valid=0, max_jobs_per_day=limit - 1 if quota and limit > quota else limit)


def after_hopeless(record: HostVersion) -> HostVersion:
    """The record of a host that fails in a way that will go on (``--check_punitive``)."""
    return replace(record, max_jobs_per_day=1, n_jobs_today=1)


def _lowered(current: int, quota: int) -> int:
    if not quota:
        return current
    return max(1, min(current or quota, quota) - 1)


def from_row(row: Mapping[str, Any]) -> HostVersion:
    """A record from its database row."""
    return HostVersion(
        host_id=row["host_id"], app_version_id=row["app_version_id"],
        pfc=Average(row["pfc_n"], row["pfc_avg"]),
        et=Average(row["et_n"], row["et_avg"], row["et_var"], row["et_q"]),
        turnaround=Average(row["turnaround_n"], row["turnaround_avg"], row["turnaround_var"], row["turnaround_q"]),
        max_jobs_per_day=row["max_jobs_per_day"], n_jobs_today=row["n_jobs_today"],
        consecutive_valid=row["consecutive_valid"])


def lock(db: Connection, host_id: int, app_version_id: int) -> HostVersion | None:
    """The record, locked until the surrounding transaction ends; made if it is missing.

    ``app_version_id`` is the generalised id. A missing record of a real version is taken over from an older
    version of the same app, platform and plan class; if the host only has one of a *newer* version, that one
    is returned. None: no host, or anonymous platform (or unknown version) without a record.
    """
    if host_id <= 0 or app_version_id == 0:
        return None
    for _ in range(2):
        row = db.one("lifecycle.host_version_lock", host_id=host_id, app_version_id=app_version_id)
        if row:
            return from_row(row)
        if app_version_id >= 1000000 and not _is_real(db, app_version_id):
            return None
        kin = db.one("lifecycle.host_version_kin", host_id=host_id, app_version_id=app_version_id)
        if kin and kin["version_num"] > kin["wanted_version_num"]:
            return lock(db, host_id, kin["app_version_id"])
        if kin:
            try:
                db.run("lifecycle.host_version_rekey", host_id=host_id, old_id=kin["app_version_id"],
                       new_id=app_version_id)
            except DuplicateKeyError:
                continue  # the scheduler made the new version's row this moment: take that
        else:
            db.run("lifecycle.host_version_insert", host_id=host_id, app_version_id=app_version_id)
    row = db.one("lifecycle.host_version_lock", host_id=host_id, app_version_id=app_version_id)
    return from_row(row) if row else None


def _is_real(db: Connection, app_version_id: int) -> bool:
    return db.one("lifecycle.version_exists", id=app_version_id) is not None


def lock_many(db: Connection, keys: Iterable[tuple[int, int]]) -> dict[tuple[int, int], HostVersion]:
    """Those of the records (by host and generalised version id) that exist, locked; none is made."""
    wanted = {key for key in keys if key[0] > 0 and key[1] != 0}
    if not wanted:
        return {}
    rows = db.all("lifecycle.host_version_lock_many", hosts=sorted({h for h, _ in wanted}),
                  versions=sorted({v for _, v in wanted}))
    return {key: from_row(row) for row in rows if (key := (row["host_id"], row["app_version_id"])) in wanted}


def save(db: Connection, record: HostVersion) -> None:
    """Write a locked record back."""
    save_many(db, [record])


def save_many(db: Connection, records: Iterable[HostVersion]) -> None:
    """Write locked records back."""
    db.run_many("lifecycle.host_version_save", [
        {"host_id": r.host_id, "app_version_id": r.app_version_id, "pfc_n": r.pfc.n, "pfc_avg": r.pfc.avg,
         "et_n": r.et.n, "et_avg": r.et.avg, "et_var": r.et.var, "et_q": r.et.q, "turnaround_n": r.turnaround.n,
         "turnaround_avg": r.turnaround.avg, "turnaround_var": r.turnaround.var, "turnaround_q": r.turnaround.q,
         "max_jobs_per_day": r.max_jobs_per_day, "n_jobs_today": r.n_jobs_today,
         "consecutive_valid": r.consecutive_valid} for r in records])
