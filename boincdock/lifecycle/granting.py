"""Writing credit and what valid results teach, inside the validator's transaction (spec 03 sections 8.4, 8.7).

Rows are locked in one fixed order everywhere: workunit, results, host_app_version, host, user, team,
per-app credit, app version; so that validators wait for each other but do not deadlock.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from boincdock.db import Connection
from boincdock.lifecycle.averages import VERSION_RULE, Average, recent_credit
from boincdock.lifecycle.model import Result


@dataclass(frozen=True, slots=True)
class Grant:
    """A valid result and the credit it earns (0 is recorded too)."""

    result: Result
    credit: float


@dataclass(frozen=True, slots=True)
class VersionSample:
    """What a result adds to its app version's statistics."""

    app_version_id: int
    pfc: float | None
    credit: float
    sent_time: int


def grant(db: Connection, grants: Sequence[Grant], now: int, by_app: bool) -> None:
    """Give the credits to hosts, users and their current teams, and note the hosts' turnaround.

    Must run inside a transaction. Hosts, users or teams that are gone are passed over.
    """
    if not grants:
        return
    _grant_hosts(db, grants, now)
    earned = [g for g in grants if g.credit > 0]
    users = _rows(db, "validator.lock_users", {g.result.userid for g in earned})
    _accumulate(db, users, [(g.result.userid, g) for g in earned], "validator.save_user", now)
    team_of = {uid: row["teamid"] for uid, row in users.items()}
    with_team = [(team_of[g.result.userid], g) for g in earned if team_of.get(g.result.userid)]
    teams = _rows(db, "validator.lock_teams", {team for team, _ in with_team})
    _accumulate(db, teams, with_team, "validator.save_team", now)
    if by_app:
        _grant_by_app(db, "user", [(g.result.userid, g) for g in grants], now)
        _grant_by_app(db, "team", [(g.result.teamid, g) for g in grants], now)


def _rows(db: Connection, query: str, ids: set[int]) -> dict[int, dict[str, Any]]:
    wanted = sorted(i for i in ids if i > 0)
    return {row["id"]: row for row in db.all(query, ids=wanted)} if wanted else {}


def _grant_hosts(db: Connection, grants: Sequence[Grant], now: int) -> None:
    hosts = _rows(db, "validator.lock_hosts", {g.result.hostid for g in grants})
    for g in grants:
        row = hosts.get(g.result.hostid)
        if row is None:
            continue
        turnaround = g.result.received_time - g.result.sent_time
        old = row["avg_turnaround"]
        if turnaround >= 0:
            row["avg_turnaround"] = 0.7 * old + 0.3 * turnaround if old else float(turnaround)
        _add(row, g, now)
    db.run_many("validator.save_host", [
        {"id": host_id, "credit": row.get("credit", 0.0), "expavg_credit": row["expavg_credit"],
         "expavg_time": row["expavg_time"], "avg_turnaround": row["avg_turnaround"]}
        for host_id, row in sorted(hosts.items())])


def _add(row: dict[str, Any], g: Grant, now: int) -> None:
    if g.credit > 0:
        row["credit"] = row.get("credit", 0.0) + g.credit
        row["expavg_credit"] = recent_credit(now, g.result.sent_time, g.credit, row["expavg_credit"],
                                             row["expavg_time"])
        row["expavg_time"] = now


def _accumulate(db: Connection, rows: dict[int, dict[str, Any]], grants: Sequence[tuple[int, Grant]], query: str,
                now: int) -> None:
    for owner, g in grants:
        if owner in rows:
            _add(rows[owner], g, now)
    db.run_many(query, [
        {"id": owner, "credit": row["credit"], "expavg_credit": row["expavg_credit"],
         "expavg_time": row["expavg_time"]} for owner, row in sorted(rows.items()) if "credit" in row])


def _grant_by_app(db: Connection, kind: str, grants: Sequence[tuple[int, Grant]], now: int) -> None:
    grouped: dict[tuple[int, int], list[Grant]] = defaultdict(list)
    for owner, g in grants:
        if owner > 0 or kind == "team":
            grouped[owner, g.result.appid].append(g)
    for (owner, appid), group in sorted(grouped.items()):
        db.run(f"validator.make_credit_{kind}", owner=owner, appid=appid)
        row = db.one(f"validator.lock_credit_{kind}", owner=owner, appid=appid)
        if row is None:
            continue
        for g in group:
            _add(row, g, now)
        db.run(f"validator.save_credit_{kind}", owner=owner, appid=appid, jobs=len(group),
               credit=row.get("credit", 0.0), expavg_credit=row["expavg_credit"], expavg_time=row["expavg_time"])


def teach_versions(db: Connection, samples: Sequence[VersionSample], now: int) -> None:
    """Add samples to the app versions' statistics; last in the transaction, because the rows are shared by
    all validators of the app."""
    grouped: dict[int, list[VersionSample]] = defaultdict(list)
    for sample in samples:
        grouped[sample.app_version_id].append(sample)
    for version_id, group in sorted(grouped.items()):
        row = db.one("validator.lock_version", id=version_id)
        if row is None:
            continue
        pfc = Average(row["pfc_n"], row["pfc_avg"])
        average, when = row["expavg_credit"], row["expavg_time"]
        for sample in group:
            if sample.pfc is not None:
                pfc = pfc.updated(sample.pfc, VERSION_RULE)
            average = recent_credit(now, sample.sent_time, sample.credit, average, when)
            when = now
        db.run("validator.save_version", id=version_id, pfc_n=pfc.n, pfc_avg=pfc.avg, expavg_credit=average,
               expavg_time=when)
