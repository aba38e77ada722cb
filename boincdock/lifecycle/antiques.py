"""Deleting uploads that belong to no job any more (spec 03 section 12, "antique deleter"); a daily task."""
from __future__ import annotations

import logging
import os
import pwd
import stat
import time
from pathlib import Path

from boincdock.config import Project
from boincdock.db import Connection

logger = logging.getLogger("boincdock.antique_file_deleter")

MIN_AGE = 32 * 86400
SLACK = 86400


def cut_off(db: Connection, now: float) -> float | None:
    """Files not changed since this time belong to no job; None if there are no jobs to tell by."""
    oldest = db.one("antique.oldest")
    if oldest is None:
        return None
    return min(now - MIN_AGE, float(oldest["create_time"] - SLACK))


def owners(httpd_user: str) -> set[int]:
    """User ids whose files may be deleted: the configured web user, and whoever runs this."""
    found = {os.geteuid()}
    try:
        found.add(pwd.getpwnam(httpd_user).pw_uid)
    except KeyError:
        pass
    return found


def delete_antiques(project: Project, before: float, dry_run: bool = False, pause: float = 0.05) -> list[Path]:
    """Delete (or only list) plain files in the upload folders last changed at ``before`` or earlier.

    Files whose name starts with a dot, links, and files of other users stay. ``pause`` seconds after each.
    """
    allowed = owners(project.config.httpd_user)
    fanout = project.config.uldl_dir_fanout
    folders = [project.upload_dir / format(n, "x") for n in range(fanout)] if fanout else [project.upload_dir]
    found = []
    for folder in folders:
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            continue
        for item in entries:
            info = item.stat(follow_symlinks=False)
            if (item.name.startswith(".") or not stat.S_ISREG(info.st_mode) or info.st_mtime > before
                    or info.st_uid not in allowed):
                continue
            found.append(Path(item.path))
            logger.info("%s %s", "would delete" if dry_run else "deleting", item.path)
            if not dry_run:
                Path(item.path).unlink(missing_ok=True)
                time.sleep(pause)
    return found
