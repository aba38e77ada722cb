"""The file deleter: removes files of finished jobs (spec 03 section 12).

Deleting is idempotent and comes before the state is written, so a killed deleter just does it again, and
several may run.
"""
from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boincdock.enums import FileDeleteState, Outcome
from boincdock.errors import InputError
from boincdock.lifecycle.daemon import Daemon
from boincdock.lifecycle.outputs import declared_files
from boincdock.lifecycle.tree import Tree
from boincdock.protocol.upload import PARTIAL_SUFFIX

logger = logging.getLogger("boincdock.file_deleter")

RESULT_BATCH = 1500
WORKUNIT_BATCH = 500
ERROR_PERIOD = 3600
PROTECTED = "nodelete"

Delete = Callable[[dict[str, Any], Tree | None], bool]


class FileDeleter(Daemon):
    """See the module's text."""

    name = "file_deleter"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.appid = 0
        self._errors_due = 0.0

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """The file deleter's own options."""
        add = parser.add_argument
        add("--app", metavar="NAME", help="only jobs of this app")
        add("--appid", type=int, default=0, metavar="ID", help="only jobs of this app, by id")
        add("--dont_retry_errors", "--dont_retry_error", action="store_true",
            help="do not try again every hour what failed")
        add("--preserve_result_files", action="store_true", help="mark outputs as deleted, but keep the files")
        add("--preserve_wu_files", action="store_true", help="mark inputs as deleted, but keep the files")
        add("--input_files_only", action="store_true")
        add("--output_files_only", action="store_true")
        add("--no_db_update", action="store_true", help="delete files, but do not note it (for testing)")
        add("--xml_doc_like", default="", metavar="PATTERN",
            help="only jobs whose description (xml_doc, of results xml_doc_in) matches this SQL LIKE pattern")
        add("--download_dir", type=Path, metavar="DIR", help="where input files are, if not as configured")
        add("--dont_delete_antiques", action="store_true", help="accepted for old configurations; does nothing")

    def setup(self) -> None:
        """Find the app; refuse options that exclude each other."""
        if self.options.input_files_only and self.options.output_files_only:
            raise InputError("--input_files_only and --output_files_only exclude each other")
        if self.options.no_db_update:
            self.options.one_pass = True
        self.appid = self.app_id() if self.options.app else self.options.appid
        if self.options.download_dir:
            setattr(self.project.config, "download_dir", str(self.options.download_dir))  # noqa: B010

    def run_once(self) -> int:
        """Handle all that is ready; once an hour also what failed before."""
        done = self._all(FileDeleteState.READY)
        if not self.options.dont_retry_errors and self.clock() >= self._errors_due:
            self._errors_due = self.clock() + ERROR_PERIOD
            self._all(FileDeleteState.ERROR)
        return 0 if self.options.no_db_update else done

    def _all(self, state: FileDeleteState) -> int:
        done = 0
        if not self.options.input_files_only:
            done += self._pass("results", RESULT_BATCH, state, self.delete_result_files)
        if not self.options.output_files_only:
            done += self._pass("workunits", WORKUNIT_BATCH, state, self.delete_workunit_files)
        return done

    def _pass(self, kind: str, limit: int, state: FileDeleteState, delete: Delete) -> int:
        """All rows in ``state``, batch by batch; the number handled."""
        after = done = 0
        root = self.project.upload_dir if kind == "results" else self.project.download_dir
        while not self.stopping():
            rows = self.db.all(f"deleter.{kind}", state=int(state), after=after, appid=self.appid, n=self.mod[0],
                               i=self.mod[1], limit=limit, pattern=self.options.xml_doc_like)
            if not rows:
                break
            outcome: dict[bool, list[int]] = {True: [], False: []}
            with self._open(root) as tree:
                for row in rows:
                    if self.stopping():
                        break
                    outcome[delete(row, tree)].append(row["id"])
            if outcome[True]:
                logger.info("files of %d %s deleted", len(outcome[True]), kind)
            self._mark(kind, outcome[True], state, FileDeleteState.DONE)
            self._mark(kind, outcome[False], state, FileDeleteState.ERROR)
            done += len(rows)
            if len(rows) < limit:
                break
            after = rows[-1]["id"]
        return done

    def _open(self, root: Path) -> contextlib.AbstractContextManager[Tree | None]:
        """The tree at ``root``, anew for each batch; None if it is missing."""
        try:
            return Tree(root, self.project.config.uldl_dir_fanout)
        except OSError as error:
            logger.critical("folder %s: %s", root, error.strerror)
            return contextlib.nullcontext()

    def _mark(self, kind: str, ids: list[int], old: FileDeleteState, new: FileDeleteState) -> None:
        if ids and old != new and not self.options.no_db_update:
            self.db.run(f"deleter.mark_{kind}", ids=ids, old=int(old), new=int(new))

    def delete_result_files(self, row: dict[str, Any], tree: Tree | None) -> bool:
        """Remove a result's uploaded files; True if they are gone."""
        tag = f"[RESULT#{row['id']} {row['name']}]"
        if self.options.preserve_result_files:
            return True
        try:
            files = declared_files(row["document"] or b"", "xml_doc_in")
        except InputError as error:
            logger.critical("%s %s", tag, error.message)
            return False
        good = True
        for f in files:
            if f.no_delete:
                continue
            found = _unlink(tree, f.name, ("", PARTIAL_SUFFIX), tag)
            if found is None:
                good = False
            elif not found and row["outcome"] == Outcome.SUCCESS:
                logger.debug("%s output file %s was not there", tag, f.name)
        return good

    def delete_workunit_files(self, row: dict[str, Any], tree: Tree | None) -> bool:
        """Remove a workunit's input files; True if they are gone, or must stay."""
        tag = f"[WU#{row['id']} {row['name']}]"
        if self.options.preserve_wu_files or PROTECTED in row["name"]:
            return True
        try:
            files = declared_files(row["document"] or b"", "xml_doc")
        except InputError as error:
            logger.critical("%s %s", tag, error.message)
            return False
        good = True
        for f in files:
            if f.no_delete:
                continue
            good = _unlink(tree, f.name, ("", ".gz", ".md5"), tag) is not None and good
        return good


def _unlink(tree: Tree | None, name: str, suffixes: tuple[str, ...], tag: str) -> bool | None:
    """Delete a file and its companions. True: the file is deleted; False: it was not there; None: something cannot be
    deleted. A missing fan-out folder is as good as a missing file; the root must be there."""
    if tree is None:
        return None
    place = tree.place(name)
    found = failed = False
    for suffix in suffixes:
        try:
            found = tree.unlink(place + suffix) or found
        except OSError as error:
            logger.critical("%s cannot delete %s/%s%s: %s", tag, tree.root, place, suffix, error.strerror)
            failed = True
    return None if failed else found
