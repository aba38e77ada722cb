"""An in-memory :class:`~boincdock.scheduler.repository.Repository`: the whole scheduler without a database.

For unit tests and for trying plan classes and limits. Tables are lists of dicts with the columns of the
schema that the scheduler touches; a transaction that fails puts back what was there.
"""
from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from boincdock.scheduler.hosts import host_columns
from boincdock.scheduler.model import Row, text_of
from boincdock.scheduler.repository import HostChangedError

T = TypeVar("T")

_USER = ("id", "create_time", "name", "email_addr", "authenticator", "passwd_hash", "total_credit", "expavg_credit",
         "global_prefs", "project_prefs", "teamid", "venue", "cross_project_id", "seti_id")
_DEFAULTS: dict[str, Row] = {
    "platform": {"name": "", "deprecated": 0},
    "app": {"name": "", "user_friendly_name": "", "min_version": 0, "deprecated": 0, "homogeneous_redundancy": 0,
            "weight": 1.0, "beta": 0, "target_nresults": 0, "homogeneous_app_version": 0, "non_cpu_intensive": 0,
            "locality_scheduling": 0, "n_size_classes": 0, "fraction_done_exact": 0},
    "app_version": {"appid": 0, "version_num": 0, "platformid": 0, "xml_doc": b"", "min_core_version": 0,
                    "max_core_version": 0, "deprecated": 0, "plan_class": "", "pfc_n": 0.0, "pfc_avg": 0.0, "beta": 0},
    "user": {**dict.fromkeys(_USER, ""), "create_time": 0, "total_credit": 0.0, "expavg_credit": 0.0, "teamid": 0,
             "seti_id": 0},
    "team": {"name": ""},
    "host": {**host_columns(), "create_time": 0, "userid": 0, "rpc_seqno": 0, "rpc_time": 0, "total_credit": 0.0,
             "expavg_credit": 0.0, "expavg_time": 0.0, "venue": "", "max_results_day": 0, "error_rate": 0.0},
    "host_app_version": {"host_id": 0, "app_version_id": 0, "pfc_n": 0.0, "pfc_avg": 0.0, "et_n": 0.0, "et_avg": 0.0,
                         "max_jobs_per_day": 0, "n_jobs_today": 0, "turnaround_n": 0.0, "turnaround_avg": 0.0,
                         "consecutive_valid": 0},
    "workunit": {"appid": 0, "name": "", "xml_doc": b"<workunit>\n</workunit>\n", "batch": 0, "rsc_fpops_est": 1e12,
                 "rsc_fpops_bound": 1e14, "rsc_memory_bound": 1e8, "rsc_disk_bound": 1e8, "rsc_bandwidth_bound": 0.0,
                 "canonical_resultid": 0, "transition_time": 2147483647, "delay_bound": 86400, "error_mask": 0,
                 "assimilate_state": 0, "hr_class": 0, "min_quorum": 1, "target_nresults": 1, "app_version_id": 0,
                 "transitioner_flags": 0, "need_validate": 0, "result_template_file": "", "priority": 0,
                 "size_class": -1, "keywords": "", "app_version_num": 0},
    "result": {"workunitid": 0, "server_state": 2, "outcome": 0, "client_state": 0, "hostid": 0, "userid": 0,
               "report_deadline": 0, "sent_time": 0, "received_time": 0, "name": "", "cpu_time": 0.0,
               "xml_doc_in": b"<result>\n</result>\n", "xml_doc_out": b"", "stderr_out": b"", "validate_state": 0,
               "app_version_num": 0, "appid": 0, "exit_status": 0, "teamid": 0, "priority": 0, "elapsed_time": 0.0,
               "flops_estimate": 0.0, "app_version_id": 0, "peak_working_set_size": 0.0, "peak_swap_size": 0.0,
               "peak_disk_usage": 0.0},
    "assignment": {"create_time": 0, "target_id": 0, "target_type": 0, "multi": 0, "workunitid": 0},
    "msg_from_host": {"create_time": 0, "hostid": 0, "variety": "", "handled": 0, "xml": ""},
    "msg_to_host": {"create_time": 0, "hostid": 0, "variety": "", "handled": 0, "xml": ""},
}
_WU_JOB = ("rsc_fpops_est", "rsc_fpops_bound", "rsc_memory_bound", "rsc_disk_bound", "rsc_bandwidth_bound",
           "delay_bound", "batch", "hr_class", "app_version_id", "app_version_num", "min_quorum", "target_nresults",
           "size_class", "keywords")


class MemoryRepository:
    """Tables in memory; ``fail_on`` names a method that raises, to test half-done work."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {name: [] for name in _DEFAULTS}
        self._ids = itertools.count(1)
        self.fail_on: dict[str, Exception] = {}
        self.calls: list[str] = []

    def add(self, table: str, **values: Any) -> Row:
        """Insert a row with defaults; gives it an id unless it has one."""
        row = {**copy.deepcopy(_DEFAULTS[table]), **values}
        row["id"] = values.get("id") or next(self._ids) + 1000
        self.tables[table].append(row)
        return row

    def find(self, table: str, **values: Any) -> list[Row]:
        """Rows with these column values, by id."""
        return sorted(
            (r for r in self.tables[table] if all(r.get(k) == v for k, v in values.items())), key=lambda r: int(r["id"])
        )

    def one(self, table: str, **values: Any) -> Row | None:
        """The newest such row."""
        found = self.find(table, **values)
        return found[-1] if found else None

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fail_on:
            raise self.fail_on[name]

    def transaction(self, work: Callable[[], T]) -> T:
        saved = copy.deepcopy(self.tables)
        try:
            return work()
        except BaseException:
            self.tables = saved
            raise

    # ---- reference tables

    def platforms(self) -> list[Row]:
        self._called("platforms")
        return self.find("platform", deprecated=0)

    def apps(self) -> list[Row]:
        return self.find("app", deprecated=0)

    def app_versions(self) -> list[Row]:
        return self.find("app_version", deprecated=0)

    def app_version(self, version_id: int) -> Row | None:
        row = self.one("app_version", id=version_id)
        platform = self.one("platform", id=row["platformid"]) if row else None
        return {**row, "platform": platform["name"]} if row and platform else None

    def flops_percentiles(self) -> tuple[float, float] | None:
        speeds = sorted(h["p_fpops"] for h in self.tables["host"] if h["expavg_credit"] > 10)
        if len(speeds) < 10:
            return None
        return speeds[len(speeds) * 50 // 100], speeds[len(speeds) * 95 // 100]

    # ---- accounts and hosts

    def _user(self, row: Row | None) -> Row | None:
        if row is None:
            return None
        team = self.one("team", id=row["teamid"])
        return {**{f"u_{c}": row[c] for c in _USER}, "u_team_name": team["name"] if team else None}

    def host_with_owner(self, hostid: int) -> Row | None:
        host = self.one("host", id=hostid)
        if host is None:
            return None
        owner = self._user(self.one("user", id=host["userid"]))
        nobody = {**dict.fromkeys(f"u_{c}" for c in _USER), "u_team_name": None}
        return {**host, "hav": self.hav_rows(hostid), **(owner or nobody)}

    def user_by_id(self, userid: int) -> Row | None:
        return self._user(self.one("user", id=userid))

    def user_by_authenticator(self, authenticator: str) -> Row | None:
        return self._user(self.one("user", authenticator=authenticator))

    def lock_user(self, userid: int) -> None:
        self._called("lock_user")

    def host_by_cpid(self, userid: int, host_cpid: str) -> Row | None:
        found = self.one("host", userid=userid, host_cpid=host_cpid)
        return dict(found) if found else None

    def similar_host(self, values: Row) -> Row | None:
        found = self.one("host", **values)
        return dict(found) if found else None

    def insert_host(self, values: Row) -> int:
        return int(self.add("host", **values)["id"])

    def update_host(self, values: Row) -> None:
        self._called("update_host")
        row = self.one("host", id=values["id"], rpc_seqno=values["old_seqno"], rpc_time=values["old_time"])
        if row is None:
            raise HostChangedError
        row.update({k: v for k, v in values.items() if not k.startswith("old_")})

    def hav_rows(self, hostid: int) -> list[Row]:
        return [dict(r) for r in self.find("host_app_version", host_id=hostid)]

    def hav_new_day(self, hostid: int) -> None:
        for row in self.find("host_app_version", host_id=hostid):
            row["n_jobs_today"] = 0

    def hav_init_quota(self, hostid: int, quota: int) -> None:
        for row in self.find("host_app_version", host_id=hostid, max_jobs_per_day=0):
            row["max_jobs_per_day"] = quota

    def hav_sent(self, hostid: int, app_version_id: int, n: int) -> None:
        row = self.one("host_app_version", host_id=hostid, app_version_id=app_version_id)
        row = row or self.add("host_app_version", host_id=hostid, app_version_id=app_version_id)
        row["n_jobs_today"] += n

    def hav_success(self, hostid: int, app_version_id: int, quota: int) -> None:
        for row in self.find("host_app_version", host_id=hostid, app_version_id=app_version_id):
            if row["max_jobs_per_day"] < quota:
                row["max_jobs_per_day"] = min(2 * row["max_jobs_per_day"], quota)

    def hav_error(self, hostid: int, app_version_id: int, quota: int) -> None:
        for row in self.find("host_app_version", host_id=hostid, app_version_id=app_version_id):
            row["consecutive_valid"] = 0
            if quota:
                row["max_jobs_per_day"] = max(1, min(row["max_jobs_per_day"], quota) - 1)

    def set_user_global_prefs(self, userid: int, prefs: str) -> None:
        self.find("user", id=userid)[0]["global_prefs"] = prefs

    def set_user_cpid(self, userid: int, cpid: str) -> None:
        self.find("user", id=userid)[0]["cross_project_id"] = cpid

    # ---- trickles

    def store_trickles(self, hostid: int, trickles: Sequence[tuple[str, str]], now: int) -> None:
        self._called("store_trickles")
        for variety, xml in trickles:
            if not self.find("msg_from_host", hostid=hostid, variety=variety, xml=xml):
                self.add("msg_from_host", hostid=hostid, variety=variety, xml=xml, create_time=now)

    def take_trickles_down(self, hostid: int) -> list[str]:
        rows = self.find("msg_to_host", hostid=hostid, handled=0)
        for row in rows:
            row["handled"] = 1
        return [row["xml"] for row in rows]

    # ---- jobs

    def results_by_name(self, names: Sequence[str]) -> list[Row]:
        wanted = set(names)
        return [dict(r) for r in self.tables["result"] if r["name"] in wanted]

    def host_owners(self, ids: Sequence[int]) -> dict[int, int]:
        return {r["id"]: r["userid"] for r in self.tables["host"] if r["id"] in set(ids)}

    def wake_workunits(self, ids: Sequence[int], now: int) -> None:
        for row in self.tables["workunit"]:
            if row["id"] in set(ids):
                row["transition_time"] = now

    def store_reports(self, reports: Sequence[Row]) -> list[bool]:
        self._called("store_reports")
        return [self._store_report(values) for values in reports]

    def _store_report(self, values: Row) -> bool:
        row = self.one("result", id=values["id"], server_state=values["old_state"], outcome=values["old_outcome"],
                       received_time=0)
        if row is not None:
            row.update({k: v for k, v in values.items() if not k.startswith("old_")}, server_state=5)
        return row is not None

    def abandon_jobs(self, hostid: int, now: int) -> int:
        rows = self.find("result", hostid=hostid, server_state=4)
        for row in rows:
            row.update(server_state=5, outcome=7, received_time=now)
        self.wake_workunits([r["workunitid"] for r in rows], now)
        return len(rows)

    def _job(self, result: Row) -> Row:
        wu = self.find("workunit", id=result["workunitid"])[0]
        return {"resultid": result["id"], "workunitid": wu["id"], "appid": result["appid"], "wu_name": wu["name"],
                "priority": result["priority"], **{c: wu[c] for c in _WU_JOB}, "name": result["name"],
                "server_state": result["server_state"], "sent_time": result["sent_time"],
                "report_deadline": result["report_deadline"], "error_mask": wu["error_mask"],
                "assimilate_state": wu["assimilate_state"], "canonical_resultid": wu["canonical_resultid"],
                "transitioner_flags": wu["transitioner_flags"]}

    def host_jobs(self, hostid: int) -> list[Row]:
        return [self._job(r) for r in self.find("result", hostid=hostid, server_state=4)]

    def late_jobs(self, hostid: int, names: Sequence[str]) -> list[Row]:
        rows = self.find("result", hostid=hostid, server_state=5, outcome=4)
        return [self._job(r) for r in rows if r["name"] in set(names)]

    def expire_job(self, hostid: int, resultid: int, workunitid: int, deadline: int) -> None:
        for row in self.find("result", id=resultid, hostid=hostid, server_state=4):
            row["report_deadline"] = deadline
        for row in self.find("workunit", id=workunitid):
            row["transition_time"] = min(row["transition_time"], deadline)

    def top_priority(self, appid: int, below: int | None = None) -> int | None:
        found = [r["priority"] for r in self.find("result", appid=appid, server_state=2)]
        return max((p for p in found if below is None or p < below), default=None)

    def head_ids(self, appid: int, priority: int, n: int, after: int = 0, skip: int = 0) -> list[int]:
        found = [r["id"] for r in self.find("result", appid=appid, server_state=2, priority=priority)]
        return [id_ for id_ in found if id_ > after][skip : skip + n]

    def candidates_between(self, appid: int, priority: int, first: int, last: int, hr_classes: Sequence[int],
                           not_versions: Sequence[int], n: int) -> list[Row]:
        ids = [id_ for id_ in self.head_ids(appid, priority, 1 << 30) if first <= id_ <= last]
        found = [j for j in self.candidates(ids)
                 if j["hr_class"] in hr_classes and j["app_version_id"] not in not_versions]
        return found[:n]

    def workunit_docs(self, ids: Sequence[int]) -> dict[int, str]:
        return {w["id"]: text_of(w["xml_doc"]) for w in self.tables["workunit"] if w["id"] in set(ids)}

    def apps_of_results(self, names: Sequence[str]) -> set[int]:
        return {r["appid"] for r in self.tables["result"] if r["name"] in set(names)}

    def assignments(self, multi: bool, userid: int, hostid: int, teamid: int) -> list[Row]:
        targets = {(0, 0), (1, hostid), (2, userid), (3, teamid or -1)}
        found = []
        for row in self.find("assignment", multi=int(multi)):
            if row["target_type"] and (row["target_type"], row["target_id"]) not in targets:
                continue
            wu = self.one("workunit", id=row["workunitid"])
            columns = {**wu, "workunitid": wu["id"], "wu_name": wu["name"]} if wu else {"workunitid": None}
            found.append({**columns, "resultid": 0, "assignment_id": row["id"], "target_type": row["target_type"]})
        return found

    def delete_assignment(self, assignment_id: int) -> None:
        self.tables["assignment"] = [r for r in self.tables["assignment"] if r["id"] != assignment_id]

    def lock_workunit(self, workunitid: int) -> Row | None:
        wu = self.one("workunit", id=workunitid, error_mask=0, canonical_resultid=0)
        return {**wu, "workunitid": wu["id"]} if wu else None

    def instances(self, workunitid: int) -> list[Row]:
        return self.find("result", workunitid=workunitid)

    def insert_result(self, values: Row) -> int:
        return int(self.add("result", **values)["id"])

    def delete_result(self, resultid: int) -> None:
        self.tables["result"] = [r for r in self.tables["result"] if r["id"] != resultid]

    def candidates(self, ids: Sequence[int]) -> list[Row]:
        jobs = [self._job(r) for r in self.tables["result"] if r["id"] in set(ids) and r["server_state"] == 2]
        return [j for j in jobs if not (j["transitioner_flags"] or j["error_mask"] or j["canonical_resultid"])]

    def _locked(self, result: Row) -> Row:
        wu = self.find("workunit", id=result["workunitid"])[0]
        return {"id": result["id"], "workunitid": wu["id"], "name": result["name"],
                "xml_doc_in": result["xml_doc_in"], "xml_doc": wu["xml_doc"],
                **{c: wu[c] for c in ("hr_class", "app_version_id", "target_nresults", "min_quorum")}}

    def lock_jobs(self, ids: Sequence[int]) -> list[Row]:
        free = {j["resultid"] for j in self.candidates(ids)}
        return [self._locked(r) for r in self.tables["result"] if r["id"] in free]

    def lock_lost_job(self, hostid: int, resultid: int) -> Row | None:
        row = self.one("result", id=resultid, hostid=hostid, server_state=4)
        return self._locked(row) if row else None

    def had_by_user(self, workunitids: Sequence[int], userid: int) -> set[int]:
        return {r["workunitid"] for r in self.find("result", userid=userid) if r["workunitid"] in set(workunitids)}

    def had_by_host(self, workunitids: Sequence[int], hostid: int) -> set[int]:
        return {r["workunitid"] for r in self.find("result", hostid=hostid) if r["workunitid"] in set(workunitids)}

    def claim_workunit(self, values: Row) -> None:
        row = self.one("workunit", id=values["id"])
        assert row is not None
        row["transition_time"] = min(row["transition_time"], values["time"])
        row.update({k: v for k, v in values.items() if k not in ("id", "time")})

    def claim_result(self, values: Row) -> None:
        self._called("claim_result")
        row = self.one("result", id=values["id"], server_state=values["old_state"])
        assert row is not None
        row.update(server_state=4, hostid=values["hostid"], userid=values["userid"], sent_time=values["now"],
                   report_deadline=values["deadline"], flops_estimate=values["flops_estimate"],
                   app_version_id=values["app_version_id"])
