"""The assimilator framework (spec 03 section 10): hands finished workunits of one app to a handler.

A project's own assimilator is a subclass of ``Assimilator`` with one method::

    class MyAssimilator(Assimilator):
        name = "my_assimilator"

        def handle(self, job):
            if job.canonical is None:
                ...            # failed: job.wu.error_mask says why
            else:
                for f in self.files(job.canonical): ...

The method may be called more than once for a workunit (after a crash), so it must be idempotent: write to a
temporary name and rename, never append. Raise ``Defer`` to be called again when all instances are over. Any other
exception puts the workunit off with growing pauses; the others go on.
"""
from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from boincdock.enums import AssimilateState, WuError
from boincdock.errors import BoincdockError, DatabaseError
from boincdock.lifecycle import batches
from boincdock.lifecycle.daemon import Daemon
from boincdock.lifecycle.model import Result, Workunit
from boincdock.lifecycle.outputs import OutputFile, output_files
from boincdock.lifecycle.repository import AssimilatorRepository
from boincdock.log import Lines

logger = logging.getLogger("boincdock.assimilator")

BATCH = 100
FLUSH_SECONDS = 1.0
BATCH_REFRESH_SECONDS = 10.0
RETRY_SECONDS = (30, 3600)


class Defer(Exception):
    """Not yet: call again when all instances of the workunit are over."""


@dataclass(frozen=True, slots=True)
class Job:
    """A finished workunit: its results, and the canonical one if there is one (else it failed)."""

    wu: Workunit
    results: Sequence[Result]
    canonical: Result | None


class Assimilator(Daemon):
    """Base class of assimilators; see the module's text."""

    name = "assimilator"
    default_sleep = 10.0
    needs_app = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.repository = AssimilatorRepository(self.db)
        self.appid = 0
        self._after = 0
        self._not_before: dict[int, tuple[float, int]] = {}
        self._batches: set[int] = set()
        self._batches_refreshed = time.monotonic()
        self.stop_after_units = self.options.one_pass_N_WU or 0
        if self.stop_after_units or self.options.dont_update_db:
            self.options.one_pass = True

    def handle(self, job: Job) -> None:
        """Do with a finished workunit what the project needs."""
        raise NotImplementedError

    def files(self, result: Result) -> list[OutputFile]:
        """The result's output files, in the template's order."""
        return output_files(self.project, result.xml_doc_in)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """The options all assimilators share (spec 03 section 10.1)."""
        parser.add_argument("--one_pass_N_WU", type=int, metavar="N", help="stop after N workunits")
        parser.add_argument("--dont_update_db", action="store_true",
                            help="call the handler, but do not note that it was done (for testing)")

    def setup(self) -> None:
        """Find the app."""
        self.appid = self.app_id()

    def run_once(self) -> int:
        """Handle the next batch of workunits."""
        ids = self.repository.pending(self.appid, self._after, self.mod, BATCH)
        if not ids:
            self._after = 0
            self._refresh_batches(0.0)
            return 0
        self._after = ids[-1]
        now = self.clock()
        ready = [i for i in ids if self._not_before.get(i, (0, 0))[0] <= now]
        done = self._assimilate_all(ready[:self.stop_after_units or None])
        self._refresh_batches(BATCH_REFRESH_SECONDS)
        if len(ids) < BATCH and not self.options.one_pass:
            self._after = 0
            return done
        return done or len(ids) - len(ready)

    def _assimilate_all(self, ids: Sequence[int]) -> int:
        """Call the handler for each; note what was done many at a time, but after FLUSH_SECONDS at the latest."""
        done = 0
        finished: list[tuple[Workunit, int]] = []
        began = time.monotonic()
        loaded = [(wu, results) for wu, results in self.repository.load(ids)
                  if wu.assimilate_state == AssimilateState.READY]
        self._note_neither(loaded)
        try:
            for wu, results in loaded:
                if self.stopping():
                    break
                done += 1
                state = self._call(wu, results)
                if state is not None:
                    finished.append((wu, state))
                if time.monotonic() - began > FLUSH_SECONDS:
                    pending, finished, began = finished, [], time.monotonic()
                    self._finish(pending)
        finally:
            self._finish(finished)
        return done

    def _note_neither(self, loaded: Sequence[tuple[Workunit, list[Result]]]) -> None:
        neither = [wu for wu, results in loaded
                   if not wu.error_mask and all(r.id != wu.canonical_resultid for r in results)]
        for wu in neither:
            logger.critical("%s has neither canonical result nor error", wu.tag)
        if not self.options.dont_update_db:
            self.repository.mark_no_canonical([wu.id for wu in neither])

    def _call(self, wu: Workunit, results: list[Result]) -> int | None:
        """The new assimilate_state, or None if the workunit is put off."""
        canonical = next((r for r in results if r.id == wu.canonical_resultid), None)
        if canonical is None and not wu.error_mask:
            wu = replace(wu, error_mask=int(WuError.NO_CANONICAL_RESULT))
        try:
            self.handle(Job(wu, results, canonical))
        except Defer:
            return AssimilateState.INIT
        except DatabaseError:
            raise
        except Exception as error:
            if not self.repository.waits(wu.id):
                # Another copy of this daemon was faster, and the files may be gone already.
                logger.debug("%s was assimilated meanwhile", wu.tag)
                return None
            if not isinstance(error, (BoincdockError, OSError)):
                logger.exception("%s the handler failed", wu.tag)
            self._put_off(wu, str(error))
            return None
        return AssimilateState.DONE

    def _finish(self, finished: Sequence[tuple[Workunit, int]]) -> None:
        for wu, _ in finished:
            self._not_before.pop(wu.id, None)
        if self.options.dont_update_db or not finished:
            return
        noted = self.repository.finish(finished, self.now)
        logger.info(Lines(f"{wu.tag} " + ("changed meanwhile; again" if wu.id not in noted
                          else "deferred" if state == AssimilateState.INIT else "assimilated")
                          for wu, state in finished))
        self._batches.update(wu.batch for wu, _ in finished if wu.batch > 0)

    def _refresh_batches(self, period: float) -> None:
        """Bring the progress of batches up to date, at most every ``period`` seconds (spec 03 section 11)."""
        if self._batches and time.monotonic() - self._batches_refreshed >= period:
            batches.refresh(self.db, self._batches, self.now)
            self._batches.clear()
            self._batches_refreshed = time.monotonic()

    def _put_off(self, wu: Workunit, reason: str) -> None:
        tries = self._not_before.get(wu.id, (0, 0))[1] + 1
        pause = min(RETRY_SECONDS[1], RETRY_SECONDS[0] * 2 ** min(tries - 1, 20))
        self._not_before[wu.id] = (self.clock() + pause, tries)
        logger.critical("%s cannot be assimilated (try %d), next try in %d s: %s", wu.tag, tries, pause, reason)
