"""Batches of jobs: progress, completion, abort, retirement, expiry (spec 03 section 11).

Assimilators call ``refresh`` for the batches whose jobs they finished, so a batch is complete as soon as its last job
is; the daily task and whoever looks at a batch (web, RPC) may call it too: it only writes what the jobs say.
Cancelling sets the error bit and wakes the transitioner; everything else (assimilation as failed, deletion of
files when nobody needs them any more) takes the normal path, unlike upstream, which deletes at once.
"""
from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from boincdock.config import Project
from boincdock.db import Connection
from boincdock.db.connector import chunks
from boincdock.enums import BatchState
from boincdock.errors import InputError

logger = logging.getLogger("boincdock.batch")

CHUNK = 500


def refresh(db: Connection, batch_ids: Iterable[int], now: float) -> list[int]:
    """Bring njobs, nerror_jobs, fraction_done and credit_canonical up to date, and complete batches without an
    unfinished job; the ids of those completed. INIT batches (being built) are passed over."""
    completed = []
    for ids in chunks(sorted(set(batch_ids)), CHUNK):
        for row in db.all("batch.progress", ids=ids):
            njobs, over = int(row["njobs"]), int(row["nsuccess"] + row["nerror"])
            db.run("batch.save", id=row["id"], njobs=njobs, nerror=int(row["nerror"]), credit=float(row["credit"]),
                   fraction_done=over / njobs if njobs else 0.0)
            if njobs and over == njobs and db.run("batch.complete", id=row["id"], now=now):
                completed.append(int(row["id"]))
                logger.info("[BATCH#%d] complete: %d jobs, %d in error", row["id"], njobs, int(row["nerror"]))
    return completed


def refresh_running(db: Connection, now: float) -> list[int]:
    """``refresh`` for all batches in progress: the repair for what was missed; the ids of those completed."""
    return [i for ids in _pages(db, "batch.running") for i in refresh(db, ids, now)]


def abort(db: Connection, batch_id: int, now: float) -> int:
    """Cancel what is not finished and set the batch ABORTED; the number of jobs cancelled.

    ``InputError``: no such batch, or it is retired."""
    _check(db, batch_id)
    cancelled = cancel_unfinished(db, batch_id, now)
    db.retrying(lambda: _set_state(db, batch_id, BatchState.ABORTED, now))
    refresh(db, [batch_id], now)
    logger.info("[BATCH#%d] aborted, %d jobs cancelled", batch_id, cancelled)
    return cancelled


def retire(db: Connection, project: Project, batch_id: int, now: float) -> int:
    """The batch's outputs are not needed any more: cancel what is not finished, remove the collected results and
    set the batch RETIRED, so that db_purge may take its jobs; the number of jobs cancelled."""
    _check(db, batch_id, retired_too=True)
    cancelled = cancel_unfinished(db, batch_id, now)
    refresh(db, [batch_id], now)
    remove_results(project, batch_id)
    db.retrying(lambda: _set_state(db, batch_id, BatchState.RETIRED, now))
    logger.info("[BATCH#%d] retired, %d jobs cancelled", batch_id, cancelled)
    return cancelled


def cancel_unfinished(db: Connection, batch_id: int, now: float) -> int:
    """Cancel all jobs of the batch that have no canonical result; short transactions; the number of jobs."""
    after = count = 0
    while rows := db.all("batch.unfinished", batch=batch_id, after=after, limit=CHUNK):
        ids = [r["id"] for r in rows]
        count += db.retrying(lambda ids=ids: _cancel(db, ids, now))  # type: ignore[misc]
        after = ids[-1]
    return count


def _cancel(db: Connection, ids: list[int], now: float) -> int:
    locked = [r["id"] for r in db.all("batch.lock_jobs", ids=ids)]
    if locked:
        db.run("batch.cancel_results", ids=locked)
        db.run("batch.cancel_jobs", ids=locked, now=int(now))
    return len(locked)


def expire(db: Connection, project: Project, now: float) -> list[int]:
    """Abort and retire the batches whose expire_time has passed; their ids."""
    done = []
    for ids in _pages(db, "batch.expired", now=now):
        for batch_id in ids:
            abort(db, batch_id, now)
            retire(db, project, batch_id, now)
            done.append(batch_id)
    return done


def delete_empty(db: Connection, project: Project) -> list[int]:
    """Delete the rows and folders of RETIRED batches of which no job is left; their ids."""
    done = []
    for ids in _pages(db, "batch.retired_empty"):
        for batch_id in ids:
            remove_results(project, batch_id)
            db.retrying(lambda batch_id=batch_id: _forget(db, batch_id))  # type: ignore[misc]
            done.append(batch_id)
    return done


def remove_results(project: Project, batch_id: int) -> None:
    """Remove ``results/<batch>`` of the project folder (what batch_collect_assimilator and the web pages use)."""
    folder: Path = project.dir / "results" / str(int(batch_id))
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


def _forget(db: Connection, batch_id: int) -> None:
    db.run("batch.forget_files", id=batch_id)
    db.run("batch.forget", id=batch_id)


def _check(db: Connection, batch_id: int, retired_too: bool = False) -> None:
    row = db.one("batch.get", id=batch_id)
    if row is None:
        raise InputError(f"there is no batch {batch_id}")
    if row["state"] == BatchState.RETIRED and not retired_too:
        raise InputError(f"batch {batch_id} is retired")


def _set_state(db: Connection, batch_id: int, state: BatchState, now: float) -> None:
    row = db.one("batch.lock", id=batch_id)
    if row and row["state"] != BatchState.RETIRED:
        db.run("batch.set_state", id=batch_id, state=int(state), now=now)


def _pages(db: Connection, query: str, **params: float) -> Iterator[list[int]]:
    after = 0
    while rows := db.all(query, after=after, limit=CHUNK, **params):
        yield [int(r["id"]) for r in rows]
        after = rows[-1]["id"]
