"""db_purge: archives finished jobs and takes them out of the database (spec 03 section 13).

A batch is written to the archive and forced to disk, then deleted in the same transaction that locked it: a
killed purge can leave a record in two archives, never in none. Unlike upstream's it leaves alone a job of which
any result is not over or still has files to delete.
"""
from __future__ import annotations

import argparse
import logging
import time
from typing import Any

from boincdock.db.connector import RetryableError
from boincdock.enums import FileDeleteState, ServerState
from boincdock.errors import BoincdockError, InputError
from boincdock.lifecycle.archive import ArchiveSet, day_folder
from boincdock.lifecycle.daemon import Daemon

logger = logging.getLogger("boincdock.db_purge")

BATCH = 200
FEW = 500
HELD_TRIES, HELD_SECONDS = 10, 0.05
"""How often, and after what pause, to ask again if others hold all that could be purged."""
_UNFINISHED = (FileDeleteState.READY, FileDeleteState.ERROR)


class DbPurge(Daemon):
    """See the module's text."""

    name = "db_purge"
    default_sleep = 300.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.appid = 0
        self._after = 0
        self._pass_count = self._purged = self._held = 0
        self._archive: ArchiveSet | None = None
        self.stop_after_units = self.options.max or 0

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """db_purge's own options."""
        add = parser.add_argument
        add("--min_age_days", type=float, default=0, metavar="X", help="only jobs untouched for X days")
        add("--max", type=int, metavar="N", help="end after N jobs")
        add("--app", metavar="NAME", help="only jobs of this app")
        add("--batch", action="store_true", help="only jobs without a batch, or of a retired one")
        for kind in ("zip", "gzip", "zlib"):
            add(f"--{kind}", dest="compression", action="store_const", const=kind, help=f"compress archives ({kind})")
        add("--no_archive", action="store_true", help="delete without archiving")
        add("--daily_dir", action="store_true", help="a folder for each day")
        add("--max_wu_per_file", type=int, default=0, metavar="N", help="begin new files after N jobs")
        add("--sleep", dest="sleep_interval", type=float, metavar="S", help="as --sleep_interval")
        add("--dont_delete", action="store_true", help="archive only (for testing)")

    def setup(self) -> None:
        """Check options, find the app."""
        if self.options.min_age_days < 0 or (self.options.max is not None and self.options.max < 1):
            raise InputError("--min_age_days must not be negative, --max must be at least 1")
        self.appid = self.app_id() if self.options.app else 0
        if self.options.dont_delete:
            self.options.one_pass = True

    def run_once(self) -> int:
        """Purge one batch; 0 at the end of a pass, or when there was little to do."""
        limit = min(BATCH, self.options.max - self._purged) if self.options.max else BATCH
        if self.options.max_wu_per_file:
            limit = min(limit, self.options.max_wu_per_file)
        ids = self._candidates(limit)
        try:
            with self.db.transaction():
                count = self._batch(ids) if ids else 0
        except RetryableError as error:
            logger.warning("%s; again", error.message)  # what was archived already is archived twice
            return 1
        self._purged += count
        if self._archive and (self.options.compression == "zip" or not count
                              or 0 < self.options.max_wu_per_file <= self._archive.workunits):
            self._close()
        self._pass_count += count
        if len(ids) < limit or not count:
            if ids and not count and self._held < HELD_TRIES:
                self._held += 1
                time.sleep(HELD_SECONDS)
                return 1
            self._held = 0
            self._after, few = (self._after if self.options.one_pass else 0), self._pass_count <= FEW
            self._pass_count = 0
            self._close()
            return 0 if few and not self.options.one_pass else count
        return count

    def run(self) -> int:
        """As the base class's; archives are closed at the end."""
        try:
            return super().run()
        finally:
            self._close()

    def _close(self) -> None:
        archive, self._archive = self._archive, None
        if archive:
            archive.close()

    def _candidates(self, limit: int) -> list[int]:
        rows = self.db.all("purge.candidates", after=self._after, appid=self.appid, limit=limit, n=self.mod[0],
                           i=self.mod[1], min_age=int(self.options.min_age_days * 86400),
                           any_batch=int(not self.options.batch))
        return [row["id"] for row in rows]

    def _batch(self, wanted: list[int]) -> int:
        workunits = self.db.all("purge.lock", ids=wanted)
        results = self.db.all("purge.results", ids=[row["id"] for row in workunits]) if workunits else []
        busy = {row["workunitid"] for row in results
                if row["server_state"] != ServerState.OVER or row["file_delete_state"] in _UNFINISHED}
        workunits = [row for row in workunits if row["id"] not in busy]
        results = [row for row in results if row["workunitid"] not in busy]
        if self.options.dont_delete:
            self._after = wanted[-1]
        if not workunits:
            return 0
        ids = [row["id"] for row in workunits]
        if not self.options.no_archive:
            try:
                self._write(workunits, results)
            except OSError as error:
                raise BoincdockError(f"cannot write the archive, so nothing is purged: {error}") from None
        if not self.options.dont_delete:
            if self.project.config.enable_assignment:
                self.db.run("purge.delete_assignments", ids=ids)
            if results:
                self.db.run("purge.delete_results", ids=[row["id"] for row in results])
            self.db.run("purge.delete_workunits", ids=ids)
        logger.info("%d jobs %s", len(ids), "archived" if self.options.dont_delete else "purged")
        return len(ids)

    def _write(self, workunits: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
        if self._archive is None:
            folder = self.project.dir / "archives"
            folder = day_folder(folder, self.now) if self.options.daily_dir else folder
            self._archive = ArchiveSet(folder, self.options.compression or "", self.now)
        for row in results:
            self._archive.add_result(row)
        for row in workunits:
            self._archive.add_workunit(row)
        if self.options.compression == "zip":
            self._close()
        else:
            self._archive.sync()
