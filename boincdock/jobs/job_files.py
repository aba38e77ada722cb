"""Input files that jobs with the same contents share: named by their contents, kept while somebody may need them.

Each has a row in job_file with the time until which it is kept (spec 06 section 11.1), which is only ever raised.
Such files carry <no_delete/>; ``delete_expired`` removes them.
"""
from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from pathlib import Path
from typing import IO

from boincdock.config import Project
from boincdock.db import Connection
from boincdock.db.connector import like_escape
from boincdock.errors import InputError
from boincdock.files.hierarchy import download_path
from boincdock.files.staging import gzip_path, sidecar_path, stage_file

KEEP_AFTER = 30 * 86400
"""Seconds that a file outlives the last deadline of the jobs that it was staged for."""

_CHUNK = 1 << 20
_log = logging.getLogger("boincdock.jobs")


def content_name(source: IO[bytes]) -> str:
    """The physical name for these contents: ``jf_`` and 40 digits of their SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
    return f"jf_{digest.hexdigest()[:40]}"


def stage_shared(db: Connection, project: Project, path: Path, keep_until: float) -> str:
    """Stage a file under the name of its contents and keep it at least until ``keep_until`` (Unix time); the
    physical name. The row comes first: from then on ``delete_expired`` leaves the file alone. InputError if the
    file cannot be staged."""
    try:
        with path.open("rb") as source:
            name = content_name(source)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    db.run("jobs.keep_job_file", name=name, now=time.time(), delete_time=keep_until)
    stage_file(project, path, name, copy=True)
    return name


def delete_expired(db: Connection, project: Project, now: float | None = None, limit: int = 1000) -> int:
    """Delete shared files whose time is over and that no unfinished workunit or batch refers to; their number.

    A file that is still referred to is kept for another KEEP_AFTER seconds. One transaction for each file, which
    holds the file's row, so that a submitter who wants the same contents waits and then stages them anew.
    """
    now = time.time() if now is None else now
    deleted = 0
    for row in db.all("jobs.expired_job_files", now=now, count=limit):
        with db.transaction():
            current = db.one("jobs.lock_job_file", id=row["id"])
            if current is None or current["delete_time"] >= now:
                continue
            name = str(current["name"])
            pattern = f"%<name>{like_escape(name)}</name>%"
            if db.value("jobs.job_file_in_use", pattern=pattern, id=row["id"]) is not None:
                db.run("jobs.keep_job_file", name=name, now=now, delete_time=now + KEEP_AFTER)
                continue
            path = download_path(project, name)
            for victim in (sidecar_path(path), gzip_path(path), path):
                with contextlib.suppress(FileNotFoundError):
                    victim.unlink()
            db.run("jobs.forget_job_file_batches", id=row["id"])
            db.run("jobs.forget_job_file", id=row["id"])
            deleted += 1
            _log.info("deleted shared input file %s", name)
    return deleted
