"""What has become of jobs: for query_jobs and the host's `manage.py jobs` (docs/architecture.md)."""
from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boincdock.db import Connection
from boincdock.db.connector import chunks
from boincdock.enums import AssimilateState, Outcome, ServerState, ValidateState, WuError
from boincdock.errors import InputError

Row = dict[str, Any]

STATES = ("unsent", "in_progress", "validating", "assimilating", "done", "error")
STDERR_TAIL = 4096
"""Characters of a result's stderr that are reported."""

MAX_OUTPUTS = 1000
_PAGE = 500
# The client writes a byte above 127 as a number and escapes nothing else (spec 07 section 1.3).
_HIGH_BYTE = re.compile(rb"&#(1(?:2[89]|[3-9][0-9])|2(?:[0-4][0-9]|5[0-5]));")
_SCAN_LIMIT = 20000

_ERRORS = {
    WuError.COULDNT_SEND_RESULT: "could not be sent", WuError.TOO_MANY_ERROR_RESULTS: "too many failures",
    WuError.TOO_MANY_SUCCESS_RESULTS: "too many results that do not agree",
    WuError.TOO_MANY_TOTAL_RESULTS: "too many results", WuError.CANCELLED: "cancelled",
    WuError.NO_CANONICAL_RESULT: "no canonical result",
}
_VALIDATE = {ValidateState.INIT: "", ValidateState.VALID: "valid", ValidateState.INVALID: "invalid",
             ValidateState.NO_CHECK: "not checked", ValidateState.INCONCLUSIVE: "inconclusive",
             ValidateState.TOO_LATE: "too late"}
_SERVER = {ServerState.INACTIVE: "inactive", ServerState.UNSENT: "unsent", ServerState.IN_PROGRESS: "in_progress",
           ServerState.OVER: "over"}


def error_text(mask: int) -> str:
    """The bits of workunit.error_mask in words; '' for 0."""
    return ", ".join(words for bit, words in _ERRORS.items() if mask & bit)


def outcome_word(result: Row) -> str:
    """result.outcome in words; '' while the result is not over."""
    if result["server_state"] != ServerState.OVER:
        return ""
    try:
        return Outcome(result["outcome"]).name.lower()
    except ValueError:
        return str(result["outcome"])


def job_state(workunit: Row, results: Sequence[Row]) -> str:
    """One of STATES, from the workunit's columns and its results'."""
    if workunit["error_mask"]:
        return "error"
    if workunit["assimilate_state"] == AssimilateState.DONE:
        return "done"
    if workunit["canonical_resultid"] or workunit["assimilate_state"] == AssimilateState.READY:
        return "assimilating"
    if any(r["server_state"] == ServerState.IN_PROGRESS for r in results):
        return "in_progress"
    waiting = (ValidateState.INIT, ValidateState.INCONCLUSIVE)
    if any(r["server_state"] == ServerState.OVER and r["outcome"] == Outcome.SUCCESS and r["validate_state"] in waiting
           for r in results) and not any(r["server_state"] in (ServerState.INACTIVE, ServerState.UNSENT)
                                         for r in results):
        return "validating"
    return "unsent"


def stderr_tail(stored: bytes | None) -> str:
    """The end of what the application wrote to standard error, taken out of the client's XML."""
    data = stored or b""
    start, end = data.find(b"<stderr_txt>"), data.rfind(b"</stderr_txt>")
    if start >= 0:
        data = data[start + len(b"<stderr_txt>"):end if end > start else None]
    data = _HIGH_BYTE.sub(lambda match: bytes([int(match.group(1))]), data)
    return data.decode("utf-8", "replace").strip()[-STDERR_TAIL:]


def output_paths(results_dir: Path, app: str, name: str, batch: int = 0) -> list[str]:
    """Files that results_assimilator put under RESULTS/APP[/batch_N]/WORKUNIT, sorted; at most 1000."""
    root = results_dir / app / (f"batch_{batch}" if batch else "") / name
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        found += [str(Path(folder) / file) for file in sorted(files)]
        if len(found) > MAX_OUTPUTS:
            break
    return found[:MAX_OUTPUTS]


class JobQuery:
    """Reads jobs with their results. ``results_dir``: where the assimilator puts outputs."""

    def __init__(self, db: Connection, results_dir: Path) -> None:
        self._db = db
        self._results_dir = results_dir

    def named(self, names: Sequence[str]) -> list[Row]:
        """The jobs of these names in this order; those that do not exist are left out."""
        rows: dict[str, Row] = {}
        for part in chunks(dict.fromkeys(names), _PAGE):
            rows.update({row["name"].lower(): row for row in self._db.all("jobs_query.by_names", names=part)})
        wanted = dict.fromkeys(name.lower() for name in names)
        return self._describe([rows[name] for name in wanted if name in rows])

    def newest(self, limit: int, app: str | None = None, state: str | None = None) -> list[Row]:
        """The newest jobs, newest first, perhaps only of one app or in one state. With ``state`` at most the
        20000 newest jobs are looked at. InputError: no such app or state."""
        if state is not None and state not in STATES:
            raise InputError(f"there is no job state {state!r}", f"states: {', '.join(STATES)}")
        appid = 0
        if app is not None:
            row = self._db.one("jobs.app_by_name", name=app)
            if row is None:
                raise InputError(f"there is no app {app!r}")
            appid = int(row["id"])
        found: list[Row] = []
        before, seen = 1 << 62, 0
        while len(found) < limit and seen < _SCAN_LIMIT:
            query = "jobs_query.newest_of_app" if appid else "jobs_query.newest"
            page = self._db.all(query, before=before, count=_PAGE if state else min(_PAGE, limit - len(found)),
                                **({"appid": appid} if appid else {}))
            if not page:
                break
            before, seen = page[-1]["id"], seen + len(page)
            found += [job for job in self._describe(page) if state is None or job["state"] == state]
        return found[:limit]

    def of_batch(self, batch: int, state: str | None = None) -> list[Row]:
        """All jobs of a batch in the order of their making, perhaps only those in one state."""
        if state is not None and state not in STATES:
            raise InputError(f"there is no job state {state!r}", f"states: {', '.join(STATES)}")
        jobs: list[Row] = []
        after = 0
        while page := self._db.all("jobs_query.of_batch", batch=batch, after=after, count=_PAGE):
            after = page[-1]["id"]
            jobs += [job for job in self._describe(page) if state is None or job["state"] == state]
        return jobs

    def counts(self) -> dict[str, int]:
        """Results unsent, in progress and over, and workunits waiting for validation and assimilation."""
        states = {row["server_state"]: row["n"] for row in self._db.all("jobs_query.result_counts")}
        return {
            "unsent": states.get(ServerState.UNSENT, 0), "in_progress": states.get(ServerState.IN_PROGRESS, 0),
            "over": states.get(ServerState.OVER, 0), "need_validate": self._db.value("jobs_query.need_validate"),
            "need_assimilate": self._db.value("jobs_query.need_assimilate"),
            "need_transition": self._db.value("jobs_query.need_transition"),
        }

    def _describe(self, workunits: Sequence[Row]) -> list[Row]:
        results: dict[int, list[Row]] = {row["id"]: [] for row in workunits}
        for part in chunks(results, _PAGE):
            for result in self._db.all("jobs_query.results", ids=part):
                results[result["workunitid"]].append(result)
        return [self._job(row, results[row["id"]]) for row in workunits]

    def _job(self, row: Row, results: list[Row]) -> Row:
        state = job_state(row, results)
        return {
            "id": row["id"], "name": row["name"], "app": row["app"], "batch": row["batch"], "state": state,
            "error": error_text(row["error_mask"]), "canonical_resultid": row["canonical_resultid"],
            "created": row["create_time"], "priority": row["priority"],
            "outputs": output_paths(self._results_dir, row["app"], row["name"], row["batch"])
            if state in ("done", "error") else [],
            "results": [_result(r) for r in results],
        }


def _result(row: Row) -> Row:
    over = row["server_state"] == ServerState.OVER
    return {
        "id": row["id"], "name": row["name"], "state": _SERVER.get(row["server_state"], str(row["server_state"])),
        "outcome": outcome_word(row), "validate_state": _VALIDATE.get(row["validate_state"], "") if over else "",
        "host": f"{row['domain_name'] or 'host'} ({row['hostid']})" if row["hostid"] else "",
        "host_id": row["hostid"],
        "credit": row["granted_credit"], "exit_status": row["exit_status"] if over else None,
        "elapsed_time": row["elapsed_time"], "sent": row["sent_time"], "received": row["received_time"],
        "deadline": row["report_deadline"], "stderr": stderr_tail(row["stderr_out"]) if over else "",
    }
