"""batch create|list|show|abort|retire: batches of jobs.

  batch create [--description TEXT] [--expire SECONDS] NAME   an empty batch; prints its number
  batch list [--limit N]         the newest (default 20)
  batch show BATCH               how far it is
  batch abort BATCH              cancel what is not finished
  batch retire BATCH             cancel what is not finished; its results are not needed any more: db_purge may
                                 remove its jobs, and what is collected under /results for it is deleted

BATCH is a number or a name. Jobs get into a batch by create_work --batch N, docker_create_work --batch N or
submit_jobs. --json: one JSON document. Exit status 0, or 1 on any error.
"""
from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from boincdock.bin._run import OptionParser, entry
from boincdock.config import Project, load_project
from boincdock.db import Connection, connect
from boincdock.enums import BatchState
from boincdock.errors import InputError
from boincdock.jobs.bulk import create_batch, find_batch
from boincdock.lifecycle import batches

DEFAULT_RESULTS = "/results"


def main(argv: list[str]) -> int:
    """Run one of the commands; 0 or an error."""
    parser = OptionParser("batch", __doc__)
    parser.add_argument("command", choices=["create", "list", "show", "abort", "retire"], metavar="COMMAND")
    parser.add_argument("word", nargs="?", metavar="NAME|BATCH")
    parser.add_argument("--description", default="", help="of a new batch")
    parser.add_argument("--expire", type=float, default=0.0, help="seconds until it is aborted and retired (0: never)")
    parser.add_argument("--limit", type=int, default=20, help="how many are listed")
    parser.add_argument("--results_dir", default=os.environ.get("BOINCDOCK_RESULTS_DIR", DEFAULT_RESULTS),
                        help="where outputs are (default /results)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_intermixed_args(argv)
    if (arguments.command == "list") != (arguments.word is None):
        raise InputError(f"batch {arguments.command}: " + ("takes no word" if arguments.word else "which batch?"),
                         "batch --help")
    if not 0 <= arguments.limit <= 100000 or not 0 <= arguments.expire < 1e10:
        raise InputError("--limit: a number from 0 to 100000; --expire: a number of seconds, 0 or more")
    project = load_project()
    document = _run(connect(project.config), project, arguments)
    if arguments.json:
        print(json.dumps(document))
    else:
        _show(arguments.command, document)
    return 0


def _run(db: Connection, project: Project, arguments: Any) -> Any:
    now = time.time()
    if arguments.command == "create":
        expire = now + arguments.expire if arguments.expire else 0
        return describe(db, create_batch(db, arguments.word, arguments.description, expire_time=expire))
    if arguments.command == "list":
        rows = db.all("jobs_batch.newest", count=arguments.limit)
        batches.refresh(db, [row["id"] for row in rows], now)
        return {"batches": [_document(row) for row in db.all("jobs_batch.newest", count=arguments.limit)]}
    batch_id = find_batch(db, arguments.word)
    cancelled = None
    if arguments.command == "abort":
        cancelled = batches.abort(db, batch_id, now)
    elif arguments.command == "retire":
        cancelled = batches.retire(db, project, batch_id, now)
        remove_outputs(Path(arguments.results_dir), batch_id)
    batches.refresh(db, [batch_id], now)
    found = describe(db, batch_id)
    return found if cancelled is None else {**found, "cancelled": cancelled}


def remove_outputs(results_dir: Path, batch_id: int) -> None:
    """Remove what results_assimilator collected for the batch: RESULTS/APP/batch_N."""
    for folder in results_dir.glob(f"*/batch_{int(batch_id)}"):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


def describe(db: Connection, batch_id: int) -> dict[str, Any]:
    """The batch with ``counts``: jobs, waiting, in_progress (instances), assimilating, done, error."""
    row = db.one("jobs_batch.get", id=batch_id)
    counts = {name: int(value) for name, value in (db.one("jobs_batch.job_counts", id=batch_id) or {}).items()}
    counts["in_progress"] = int(db.value("jobs_batch.sent_counts", id=batch_id) or 0)
    return {**_document(row or {}), "counts": counts}


def _document(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"], "name": row["name"], "description": row["description"], "app": row["app"] or "",
        "user_id": row["user_id"], "state": BatchState(row["state"]).name.lower(), "njobs": row["njobs"],
        "nerror_jobs": row["nerror_jobs"], "fraction_done": row["fraction_done"], "credit": row["credit_canonical"],
        "created": row["create_time"], "completed": row["completion_time"], "expires": row["expire_time"],
    }


def _show(command: str, document: Any) -> None:
    if command == "create":
        print(document["id"])
        return
    for batch in document["batches"] if command == "list" else [document]:
        print(f"{batch['id']}  {batch['name']}  {batch['state'].replace('_', ' ')}  {batch['njobs']} jobs, "
              f"{batch['nerror_jobs']} failed, {batch['fraction_done']:.1%} done")
    if command in ("abort", "retire"):
        print(f"cancelled {document['cancelled']} jobs")


if __name__ == "__main__":
    entry(main)
