"""The database as validators and assimilators use it (SQL: validator.sql, assimilator.sql)."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from boincdock.db import Connection
from boincdock.enums import AssimilateState
from boincdock.lifecycle.credit import VersionStats
from boincdock.lifecycle.model import Result, Workunit, from_row


@dataclass(frozen=True, slots=True)
class ResultState:
    """The columns of a locked result that tell whether a judgement still holds."""

    id: int
    workunitid: int
    server_state: int
    outcome: int
    validate_state: int
    hostid: int
    userid: int


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

    def lock_workunits(self, ids: Sequence[int]) -> dict[int, Workunit]:
        """Those of the workunits that nobody else holds, by id; locked."""
        if not ids:
            return {}
        return {row["id"]: from_row(Workunit, row) for row in self.db.all("validator.lock_workunits", ids=ids)}

    def lock_results(self, workunit_ids: Sequence[int]) -> list[ResultState]:
        """The states of all results of these workunits, locked."""
        if not workunit_ids:
            return []
        return [ResultState(**row) for row in self.db.all("validator.lock_results", ids=workunit_ids)]

    def versions(self, ids: Iterable[int]) -> dict[int, VersionStats]:
        """Statistics of app versions, unlocked."""
        wanted = sorted(ids)
        rows = self.db.all("validator.versions", ids=wanted) if wanted else []
        return {row["id"]: from_row(VersionStats, row) for row in rows}

    def save_results(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the columns that belong to the validator; the rows are locked."""
        self.db.run_many("validator.save_results", rows)

    def save_workunits(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the outcomes of checks; the rows are locked."""
        self.db.run_many("validator.save_workunits", rows)

    def cancel_unsent(self, result_ids: Sequence[int]) -> None:
        """These instances are not needed any more."""
        if result_ids:
            self.db.run("validator.cancel_unsent", ids=result_ids)

    def add_credited_jobs(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Note (user, job number) for the project's own use; what is noted already stays as it is."""
        self.db.run_many("validator.add_credited_job", [{"userid": u, "workunitid": w} for u, w in pairs])


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

    def waits(self, wu_id: int) -> bool:
        """Whether the workunit still waits for assimilation."""
        return bool(self.db.value("assimilator.state", id=wu_id) == AssimilateState.READY)

    def mark_no_canonical(self, wu_ids: Sequence[int]) -> None:
        """Note that there is neither canonical result nor error."""
        if wu_ids:
            self.db.run("assimilator.mark_no_canonical", ids=wu_ids)

    def finish(self, done: Sequence[tuple[Workunit, int]], now: int) -> set[int]:
        """Note in one transaction that the handler was called, with the new assimilate_state of each; the ids of
        those that still were as the handler saw them (another copy may have been faster)."""
        def work() -> set[int]:
            rows = self.db.all("assimilator.lock", ids=[wu.id for wu, _ in done])
            current = {r["id"]: r["canonical_resultid"] for r in rows if r["assimilate_state"] == 1}
            by_state: dict[int, list[int]] = defaultdict(list)
            for wu, state in done:
                if current.get(wu.id) == wu.canonical_resultid:
                    by_state[int(state)].append(wu.id)
            for state, ids in by_state.items():
                self.db.run("assimilator.finish", ids=ids, state=state, now=now)
            return {i for ids in by_state.values() for i in ids}

        return self.db.retrying(work) if done else set()
