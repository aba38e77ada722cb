"""What the scheduler reads and writes, as an interface and on the database.

Unit tests put :class:`boincdock.scheduler.memory.MemoryRepository` in its place. Rows are dicts with the
columns of the queries in ``scheduler.sql`` and ``scheduler_jobs.sql``. Nothing here decides anything.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from boincdock.db import Connection, RetryableError
from boincdock.db.connector import chunks
from boincdock.scheduler.model import HAV_COLUMNS, Row, text_of

T = TypeVar("T")
_IN = 500
"""Longest IN list."""

_REPORTS = 20
"""Reports written in one packet: each may hold 128 KiB."""


class HostChangedError(Exception):
    """Another request of the same host was handled meanwhile; nothing of this one was kept."""


def _lost_claim() -> Exception:
    """A job that was locked is not any more what it was: cannot be, unless locks are lost."""
    return RetryableError("database: a locked job changed")


class Repository(Protocol):
    """The scheduler's storage. All times are Unix seconds."""

    def transaction(self, work: Callable[[], T]) -> T:
        """Run ``work`` in one transaction, again after a deadlock; nothing remains if it raises."""
        ...

    def platforms(self) -> list[Row]:
        """Platforms in use."""
        ...

    def apps(self) -> list[Row]:
        """Apps in use."""
        ...

    def app_versions(self) -> list[Row]:
        """Versions that are not deprecated."""
        ...

    def app_version(self, version_id: int) -> Row | None:
        """Any version, with its platform's name."""
        ...

    def flops_percentiles(self) -> tuple[float, float] | None:
        """The 50th and 95th percentile of p_fpops over hosts with credit; None if there are too few."""
        ...

    def host_with_owner(self, hostid: int) -> Row | None:
        """A host, its owner's columns as ``u_*`` (None if the owner is gone), the team's name, and its
        host_app_version rows as ``hav``."""
        ...

    def user_by_id(self, userid: int) -> Row | None:
        """A user as ``u_*``."""
        ...

    def user_by_authenticator(self, authenticator: str) -> Row | None:
        """A user as ``u_*``; exact match."""
        ...

    def lock_user(self, userid: int) -> None:
        """Hold other creations of hosts of this user until the transaction ends."""
        ...

    def host_by_cpid(self, userid: int, host_cpid: str) -> Row | None:
        """The user's newest host with this stored CPID."""
        ...

    def similar_host(self, values: Row) -> Row | None:
        """The user's newest host with equal name, address, OS, model and memory."""
        ...

    def insert_host(self, values: Row) -> int:
        """Create a host; its id."""
        ...

    def update_host(self, values: Row) -> None:
        """Write a host. If another request did so since it was read (``old_seqno``, ``old_time``), raises
        :class:`HostChangedError`, now or when the transaction ends."""
        ...

    def hav_rows(self, hostid: int) -> list[Row]:
        """host_app_version rows."""
        ...

    def hav_new_day(self, hostid: int) -> None:
        """Zero the daily counters."""
        ...

    def hav_init_quota(self, hostid: int, quota: int) -> None:
        """Give rows without a quota this one."""
        ...

    def hav_sent(self, hostid: int, app_version_id: int, n: int) -> None:
        """Count jobs sent; creates the row."""
        ...

    def hav_success(self, hostid: int, app_version_id: int, quota: int) -> None:
        """Raise the quota after a success."""
        ...

    def hav_error(self, hostid: int, app_version_id: int, quota: int) -> None:
        """Lower the quota after an error; ``quota`` 0 = no quotas."""
        ...

    def set_user_global_prefs(self, userid: int, prefs: str) -> None:
        """Store preferences that the client brought."""
        ...

    def set_user_cpid(self, userid: int, cpid: str) -> None:
        """Adopt the client's cross-project id."""
        ...

    def store_trickles(self, hostid: int, trickles: Sequence[tuple[str, str]], now: int) -> None:
        """Store (variety, xml) pairs not stored before."""
        ...

    def take_trickles_down(self, hostid: int) -> list[str]:
        """Messages to the host; marks them handled."""
        ...

    def results_by_name(self, names: Sequence[str]) -> list[Row]:
        """Rows of reported results."""
        ...

    def host_owners(self, ids: Sequence[int]) -> dict[int, int]:
        """host id -> user id."""
        ...

    def wake_workunits(self, ids: Sequence[int], now: int) -> None:
        """transition_time = now."""
        ...

    def store_reports(self, reports: Sequence[Row]) -> list[bool]:
        """Write each report whose result still has its old state; which did."""
        ...

    def abandon_jobs(self, hostid: int, now: int) -> int:
        """Every job in progress of the host becomes over, client detached; how many."""
        ...

    def host_jobs(self, hostid: int) -> list[Row]:
        """Jobs in progress of the host."""
        ...

    def late_jobs(self, hostid: int, names: Sequence[str]) -> list[Row]:
        """Which of these names are timed-out jobs of the host."""
        ...

    def expire_job(self, hostid: int, resultid: int, workunitid: int, deadline: int) -> None:
        """Set a deadline in the past so that the transitioner retires the job."""
        ...

    def top_priority(self, appid: int, below: int | None = None) -> int | None:
        """Highest priority with unsent results of the app."""
        ...

    def head_ids(self, appid: int, priority: int, n: int, after: int = 0, skip: int = 0) -> list[int]:
        """Ids of the oldest unsent results above ``after``, the first ``skip`` of them left out."""
        ...

    def candidates(self, ids: Sequence[int]) -> list[Row]:
        """Those of the results that may be sent, with their workunit's columns."""
        ...

    def lock_jobs(self, ids: Sequence[int]) -> list[Row]:
        """Lock those still unsent and free; documents and commitment of their workunits."""
        ...

    def lock_lost_job(self, hostid: int, resultid: int) -> Row | None:
        """The same for a job that the host lost."""
        ...

    def candidates_between(self, appid: int, priority: int, first: int, last: int, hr_classes: Sequence[int],
                           not_versions: Sequence[int], n: int) -> list[Row]:
        """The first ``n`` jobs of a range of unsent results that are committed to one of these host classes (0 =
        none) and to none of these versions. Neither list may be empty."""
        ...

    def workunit_docs(self, ids: Sequence[int]) -> dict[int, str]:
        """The documents of workunits, for looking at their files."""
        ...

    def apps_of_results(self, names: Sequence[str]) -> set[int]:
        """Apps of which there are results of these names."""
        ...

    def assignments(self, multi: bool, userid: int, hostid: int, teamid: int) -> list[Row]:
        """Targeted (or broadcast) jobs for this user, host or team, or for anybody; with their workunits' columns
        (``workunitid`` None if it is gone)."""
        ...

    def delete_assignment(self, assignment_id: int) -> None:
        """Forget an assignment whose workunit is gone."""
        ...

    def lock_workunit(self, workunitid: int) -> Row | None:
        """Lock a workunit, with the columns of :meth:`lock_jobs`; None if it is gone or somebody holds it."""
        ...

    def instances(self, workunitid: int) -> list[Row]:
        """All results of a workunit."""
        ...

    def insert_result(self, values: Row) -> int:
        """Create an unsent result; its id."""
        ...

    def delete_result(self, resultid: int) -> None:
        """Take back a result that was created in this transaction."""
        ...

    def had_by_user(self, workunitids: Sequence[int], userid: int) -> set[int]:
        """Workunits of which the user has had a result."""
        ...

    def had_by_host(self, workunitids: Sequence[int], hostid: int) -> set[int]:
        """Workunits of which the host has had a result."""
        ...

    def claim_workunit(self, values: Row) -> None:
        """transition_time of a locked workunit; with ``hr_class`` in ``values`` also what it gets committed to."""
        ...

    def claim_result(self, values: Row) -> None:
        """Give a locked result to a host."""
        ...


class SqlRepository:
    """:class:`Repository` on the project's database. Not thread-safe, like its connection."""

    def __init__(self, db: Connection) -> None:
        self.db = db

    def transaction(self, work: Callable[[], T]) -> T:
        return self.db.retrying(work)

    # ---- reference tables

    def platforms(self) -> list[Row]:
        return self.db.all("scheduler.platforms")

    def apps(self) -> list[Row]:
        return self.db.all("scheduler.apps")

    def app_versions(self) -> list[Row]:
        return self.db.all("scheduler.app_versions")

    def app_version(self, version_id: int) -> Row | None:
        return self.db.one("scheduler.app_version", id=version_id)

    def flops_percentiles(self) -> tuple[float, float] | None:
        count = int(self.db.value("scheduler.count_hosts") or 0)
        if count < 10:
            return None
        p50, p95 = (self.db.value("scheduler.fpops_at", rank=count * p // 100) for p in (50, 95))
        return (float(p50), float(p95)) if p50 and p95 else None

    # ---- accounts and hosts

    def host_with_owner(self, hostid: int) -> Row | None:
        rows = self.db.prepared("scheduler.host_with_owner", id=hostid)
        row = rows[0] if rows else None
        if row is not None:
            try:
                row["hav"] = [dict(zip(HAV_COLUMNS, v, strict=True)) for v in json.loads(row["hav"] or "[]")]
            except (TypeError, ValueError):
                # MariaDB cuts the array at group_concat_max_len, which a server may have set low.
                row["hav"] = self.hav_rows(hostid)
        return row

    def user_by_id(self, userid: int) -> Row | None:
        return self.db.one("scheduler.user_by_id", id=userid)

    def user_by_authenticator(self, authenticator: str) -> Row | None:
        return self.db.one("scheduler.user_by_authenticator", authenticator=authenticator)

    def lock_user(self, userid: int) -> None:
        self.db.one("scheduler.lock_user", id=userid)

    def host_by_cpid(self, userid: int, host_cpid: str) -> Row | None:
        return self.db.one("scheduler.host_by_cpid", userid=userid, host_cpid=host_cpid)

    def similar_host(self, values: Row) -> Row | None:
        return self.db.one("scheduler.similar_host", **values)

    def insert_host(self, values: Row) -> int:
        return self.db.insert("scheduler.insert_host", **values)

    def update_host(self, values: Row) -> None:
        self.db.defer("scheduler.update_host", HostChangedError, **values)

    def hav_rows(self, hostid: int) -> list[Row]:
        return self.db.all("scheduler.hav_rows", hostid=hostid)

    def hav_new_day(self, hostid: int) -> None:
        self.db.defer("scheduler.hav_new_day", None, hostid=hostid)

    def hav_init_quota(self, hostid: int, quota: int) -> None:
        self.db.defer("scheduler.hav_init_quota", None, hostid=hostid, quota=quota)

    def hav_sent(self, hostid: int, app_version_id: int, n: int) -> None:
        self.db.defer("scheduler.hav_sent", None, hostid=hostid, app_version_id=app_version_id, n=n)

    def hav_success(self, hostid: int, app_version_id: int, quota: int) -> None:
        self.db.defer("scheduler.hav_success", None, hostid=hostid, app_version_id=app_version_id, quota=quota)

    def hav_error(self, hostid: int, app_version_id: int, quota: int) -> None:
        if quota:
            self.db.defer("scheduler.hav_error", None, hostid=hostid, app_version_id=app_version_id, quota=quota)
        else:
            self.db.defer("scheduler.hav_error_no_quota", None, hostid=hostid, app_version_id=app_version_id)

    def set_user_global_prefs(self, userid: int, prefs: str) -> None:
        self.db.defer("scheduler.set_user_global_prefs", None, id=userid, prefs=prefs)

    def set_user_cpid(self, userid: int, cpid: str) -> None:
        self.db.defer("scheduler.set_user_cpid", None, id=userid, cpid=cpid)

    # ---- trickles

    def store_trickles(self, hostid: int, trickles: Sequence[tuple[str, str]], now: int) -> None:
        for variety, xml in trickles:
            if not self.db.one("scheduler.trickle_known", hostid=hostid, variety=variety, xml=xml):
                self.db.run("scheduler.insert_trickle", hostid=hostid, variety=variety, xml=xml, now=now)

    def take_trickles_down(self, hostid: int) -> list[str]:
        rows = self.db.all("scheduler.trickles_down", hostid=hostid)
        if rows:
            self.db.run("scheduler.mark_trickles_down", ids=[row["id"] for row in rows])
        return [row["xml"] or "" for row in rows]

    # ---- jobs

    def results_by_name(self, names: Sequence[str]) -> list[Row]:
        return [row for part in chunks(names, _IN) for row in self.db.all("scheduler_jobs.results_by_name", names=part)]

    def host_owners(self, ids: Sequence[int]) -> dict[int, int]:
        return {
            row["id"]: row["userid"]
            for part in chunks(ids, _IN)
            for row in self.db.all("scheduler_jobs.host_owner", ids=part)
        }

    def wake_workunits(self, ids: Sequence[int], now: int) -> None:
        for part in chunks(sorted(set(ids)), _IN):
            self.db.defer("scheduler_jobs.wake_workunits", None, ids=part, now=now)

    def store_reports(self, reports: Sequence[Row]) -> list[bool]:
        return [
            count == 1
            for part in chunks(reports, _REPORTS)
            for count in self.db.run_each([("scheduler_jobs.store_report", values) for values in part])
        ]

    def abandon_jobs(self, hostid: int, now: int) -> int:
        rows = self.db.all("scheduler_jobs.in_progress_of_host", hostid=hostid)
        self.wake_workunits([row["workunitid"] for row in rows], now)
        return sum(
            self.db.run("scheduler_jobs.abandon_results", ids=part, now=now)
            for part in chunks(sorted(row["id"] for row in rows), _IN)
        )

    def host_jobs(self, hostid: int) -> list[Row]:
        return self.db.all("scheduler_jobs.host_jobs", hostid=hostid)

    def late_jobs(self, hostid: int, names: Sequence[str]) -> list[Row]:
        return [
            row
            for part in chunks(names, _IN)
            for row in self.db.all("scheduler_jobs.late_jobs", hostid=hostid, names=part)
        ]

    def expire_job(self, hostid: int, resultid: int, workunitid: int, deadline: int) -> None:
        self.db.defer("scheduler_jobs.soonest_transition", None, id=workunitid, time=deadline)
        self.db.defer("scheduler_jobs.expire_result", None, id=resultid, hostid=hostid, deadline=deadline)

    def top_priority(self, appid: int, below: int | None = None) -> int | None:
        if below is None:
            found = self.db.value("scheduler_jobs.top_priority", appid=appid)
        else:
            found = self.db.value("scheduler_jobs.next_priority", appid=appid, priority=below)
        return None if found is None else int(found)

    def head_ids(self, appid: int, priority: int, n: int, after: int = 0, skip: int = 0) -> list[int]:
        rows = self.db.all("scheduler_jobs.head_ids", appid=appid, priority=priority, n=n, after=after, skip=skip)
        return [row["id"] for row in rows]

    def candidates(self, ids: Sequence[int]) -> list[Row]:
        return self.db.all("scheduler_jobs.candidates", ids=ids) if ids else []

    def lock_jobs(self, ids: Sequence[int]) -> list[Row]:
        return self.db.all("scheduler_jobs.lock_jobs", ids=ids) if ids else []

    def lock_lost_job(self, hostid: int, resultid: int) -> Row | None:
        return self.db.one("scheduler_jobs.lock_lost_job", hostid=hostid, id=resultid)

    def candidates_between(self, appid: int, priority: int, first: int, last: int, hr_classes: Sequence[int],
                           not_versions: Sequence[int], n: int) -> list[Row]:
        return self.db.all("scheduler_jobs.candidates_between", appid=appid, priority=priority, first=first, last=last,
                           classes=list(hr_classes), versions=list(not_versions), n=n)

    def workunit_docs(self, ids: Sequence[int]) -> dict[int, str]:
        rows = self.db.all("scheduler_jobs.workunit_docs", ids=ids) if ids else []
        return {row["id"]: text_of(row["xml_doc"]) for row in rows}

    def apps_of_results(self, names: Sequence[str]) -> set[int]:
        return {
            row["appid"]
            for part in chunks(names, _IN)
            for row in self.db.all("scheduler_jobs.apps_of_results", names=part)
        }

    def assignments(self, multi: bool, userid: int, hostid: int, teamid: int) -> list[Row]:
        return self.db.all("scheduler_jobs.assignments", multi=int(multi), userid=userid, hostid=hostid,
                           teamid=teamid or -1)

    def delete_assignment(self, assignment_id: int) -> None:
        self.db.run("scheduler_jobs.delete_assignment", id=assignment_id)

    def lock_workunit(self, workunitid: int) -> Row | None:
        return self.db.one("scheduler_jobs.lock_workunit", id=workunitid)

    def instances(self, workunitid: int) -> list[Row]:
        return self.db.all("scheduler_jobs.instances", id=workunitid)

    def insert_result(self, values: Row) -> int:
        return self.db.insert("scheduler_jobs.insert_result", **values)

    def delete_result(self, resultid: int) -> None:
        self.db.run("scheduler_jobs.delete_result", id=resultid)

    def had_by_user(self, workunitids: Sequence[int], userid: int) -> set[int]:
        rows = self.db.all("scheduler_jobs.had_by_user", ids=workunitids, userid=userid) if workunitids else []
        return {row["workunitid"] for row in rows}

    def had_by_host(self, workunitids: Sequence[int], hostid: int) -> set[int]:
        rows = self.db.all("scheduler_jobs.had_by_host", ids=workunitids, hostid=hostid) if workunitids else []
        return {row["workunitid"] for row in rows}

    def claim_workunit(self, values: Row) -> None:
        name = "commit_workunit" if "hr_class" in values else "claim_workunit"
        self.db.defer(f"scheduler_jobs.{name}", _lost_claim, **values)

    def claim_result(self, values: Row) -> None:
        self.db.defer("scheduler_jobs.claim_result", _lost_claim, **values)
