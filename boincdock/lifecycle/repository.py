"""The database as validators and assimilators use it (SQL: validator.sql, assimilator.sql)."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from boincdock.db import Connection
from boincdock.lifecycle.credit import VersionStats
from boincdock.lifecycle.model import Result, Workunit, from_row


def load_with_results(db: Connection, ids: Sequence[int]) -> list[tuple[Workunit, list[Result]]]:
    """Workunits and all their results, documents included, in id order; no locks."""
    if not ids:
        return []
    found: dict[int, list[Result]] = defaultdict(list)
    workunits = [from_row(Workunit, row) for row in db.all("validator.workunits", ids=ids)]
    for row in db.all("validator.results", ids=ids):
        found[row["workunitid"]].append(from_row(Result, row))
    return [(wu, found.get(wu.id, [])) for wu in workunits]


class ValidatorRepository:
    """Reading and writing for validators. Writes belong inside a transaction that began with ``lock``."""

    def __init__(self, db: Connection) -> None:
        self.db = db

    def pending(self, appid: int, after: int, min_id: int, max_id: int, mod: tuple[int, int],
                limit: int) -> list[int]:
        """Ids of the app's workunits that need validation, from ``after`` on."""
        rows = self.db.all("validator.pending", appid=appid, after=after, min_id=min_id, max_id=max_id, n=mod[0],
                           i=mod[1], limit=limit)
        return [row["id"] for row in rows]

    def load(self, ids: Sequence[int]) -> list[tuple[Workunit, list[Result]]]:
        """See ``load_with_results``."""
        return load_with_results(self.db, ids)

    def app(self, appid: int) -> dict[str, Any]:
        """The app's columns that matter to validation and credit."""
        row = self.db.one("validator.app", id=appid)
        return row or {"target_nresults": 0, "min_avg_pfc": 1.0, "host_scale_check": 0}

    def lock(self, wu_id: int) -> tuple[Workunit | None, list[Result]]:
        """The workunit and its results (without documents), locked; (None, []) if it is gone."""
        row = self.db.one("validator.lock_workunit", id=wu_id)
        if row is None:
            return None, []
        return from_row(Workunit, row), [from_row(Result, r) for r in self.db.all("validator.lock_results", id=wu_id)]

    def versions(self, ids: Iterable[int]) -> dict[int, VersionStats]:
        """Statistics of app versions, unlocked."""
        wanted = sorted(ids)
        rows = self.db.all("validator.versions", ids=wanted) if wanted else []
        return {row["id"]: from_row(VersionStats, row) for row in rows}

    def save_results(self, results: Iterable[Result]) -> None:
        """Write the columns that belong to the validator."""
        for r in results:
            self.db.run("validator.save_result", id=r.id, outcome=int(r.outcome), validate_state=int(r.validate_state),
                        granted_credit=r.granted_credit, runtime_outlier=r.runtime_outlier, opaque=r.opaque)

    def save_workunit(self, wu_id: int, need_validate: int, error_bits: int, quorum: int, target: int,
                      transition_time: int) -> None:
        """Write the outcome of a check."""
        self.db.run("validator.save_workunit", id=wu_id, need_validate=need_validate, error_bits=error_bits,
                    min_quorum=quorum, target_nresults=target, transition_time=transition_time)

    def save_canonical(self, wu_id: int, result_id: int, credit: float) -> None:
        """Note the canonical result and call for assimilation."""
        self.db.run("validator.save_canonical", id=wu_id, canonical_resultid=result_id, canonical_credit=credit)

    def cancel_unsent(self, wu_id: int) -> None:
        """No more instances are needed."""
        self.db.run("validator.cancel_unsent", id=wu_id)

    def add_credited_jobs(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Note (user, job number) for the project's own use."""
        for userid, workunitid in pairs:
            self.db.run("validator.add_credited_job", userid=userid, workunitid=workunitid)


class AssimilatorRepository:
    """Reading and writing for assimilators."""

    def __init__(self, db: Connection) -> None:
        self.db = db

    def pending(self, appid: int, after: int, mod: tuple[int, int], limit: int) -> list[int]:
        """Ids of the app's workunits that wait for assimilation, from ``after`` on."""
        rows = self.db.all("assimilator.pending", appid=appid, after=after, n=mod[0], i=mod[1], limit=limit)
        return [row["id"] for row in rows]

    def load(self, ids: Sequence[int]) -> list[tuple[Workunit, list[Result]]]:
        """See ``load_with_results``."""
        return load_with_results(self.db, ids)

    def mark_no_canonical(self, wu_id: int) -> None:
        """Note that there is neither canonical result nor error."""
        self.db.run("assimilator.mark_no_canonical", id=wu_id)

    def finish(self, wu: Workunit, state: int, now: int) -> bool:
        """Note that the handler was called; False if the workunit changed meanwhile."""
        return self.db.run("assimilator.finish", id=wu.id, state=int(state), now=now,
                           canonical_resultid=wu.canonical_resultid) > 0
