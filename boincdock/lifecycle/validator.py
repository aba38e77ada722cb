"""The validator framework (spec 03 section 6): checks the results of one app, grants credit.

A project's own validator is a subclass of ``Validator`` with ``init`` and ``compare``::

    class MyValidator(Validator):
        name = "my_validator"

        def init(self, result):            # read a result's output; called outside any transaction
            return json.loads(self.files(result)[0].path.read_bytes())

        def compare(self, a, b):           # do two outputs agree?
            return abs(a["energy"] - b["energy"]) < 1e-6

``init`` may raise ``BadOutput`` (the result is useless: outcome "validate error"), ``TransientError`` (ask
again later; nothing is decided meanwhile), ``LongTermFail`` (as BadOutput; with ``--check_punitive`` the host
gets one job a day), or return ``Suspicious(data)`` (ask for a second instance before trusting it).
``compare`` may raise ``TransientError`` or ``CompareError`` (counts as no match). A missing file
(``FileNotFoundError``) and output that does not parse (``ValueError``) count as BadOutput, any other ``OSError``
as transient. Any other exception is a defect of the validator: it is logged and the workunit tried again later.

Everything a check leads to is written in one transaction (which may hold many workunits), after making sure that
the rows still are as they were when the outputs were read: a killed validator neither loses nor doubles credit.
"""
from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from boincdock.db.connector import RetryableError
from boincdock.enums import Outcome, ValidateState
from boincdock.errors import DatabaseError, InputError
from boincdock.lifecycle import checks, credit
from boincdock.lifecycle.checks import CompareError, Kind, Reading, TransientError, Verdict
from boincdock.lifecycle.daemon import Daemon
from boincdock.lifecycle.judgement import BatchWriter, Judgement, Snapshot
from boincdock.lifecycle.model import Result, Workunit
from boincdock.lifecycle.outputs import OutputFile, output_files
from boincdock.lifecycle.repository import ValidatorRepository
from boincdock.log import Lines

logger = logging.getLogger("boincdock.validator")

BATCH = 100
FLUSH_SECONDS = 1.0
RETRY_SECONDS = (60, 21600)


class BadOutput(Exception):
    """The result's output is missing or unusable for good."""


class LongTermFail(BadOutput):
    """The host will go on failing (``--check_punitive``)."""


@dataclass(frozen=True, slots=True)
class Suspicious:
    """Wraps the data of a result that should not be trusted alone."""

    data: Any


class Validator(Daemon):
    """Base class of validators; see the module's text."""

    name = "validator"
    needs_app = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.repository = ValidatorRepository(self.db)
        self._after = 0
        self._not_before: dict[int, tuple[float, int]] = {}
        self.appid = 0
        self._app: dict[str, Any] = {}
        self._settled = 0
        self.stop_after_units = self.options.one_pass_N_WU or 0
        if self.options.dry_run or self.options.wu_id is not None or self.stop_after_units:
            self.options.one_pass = True

    # ---- what subclasses define -------------------------------------------------------------------------
    def init(self, result: Result) -> Any:
        """Read a result's output; anything ``compare`` understands."""
        raise NotImplementedError

    def compare(self, a: Any, b: Any) -> bool:
        """Whether two outputs agree."""
        raise NotImplementedError

    def cleanup(self, result: Result, data: Any) -> None:
        """Called for what ``init`` returned when the check is over."""

    def assigned_credit(self, canonical: Result, data: Any) -> float:
        """Credit of a job with ``--post_assigned_credit``; ``data`` is what ``init`` gave for the canonical
        result. By default its claimed_credit."""
        return canonical.claimed_credit

    def files(self, result: Result) -> list[OutputFile]:
        """The result's output files in the template's order; ``BadOutput`` if its XML is damaged."""
        try:
            return output_files(self.project, result.xml_doc_in)
        except InputError as error:
            raise BadOutput(error.message) from None

    # ---- options ----------------------------------------------------------------------------------------
    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """The options all validators share (spec 03 section 6.1)."""
        add = parser.add_argument
        add("--one_pass_N_WU", type=int, metavar="N", help="stop after N workunits")
        add("--dry_run", action="store_true", help="log what would be done, write nothing")
        add("--wu_id", type=int, metavar="ID", help="only this workunit, whether or not it needs validation")
        add("--min_wu_id", type=int, default=0, metavar="ID", help="only workunits from this id on")
        add("--max_wu_id", type=int, default=2**62, metavar="ID", help="only workunits up to this id")
        add("--max_granted_credit", type=float, default=credit.DEFAULT_MAX_GRANTED_CREDIT, metavar="X",
            help="most credit a result can get")
        add("--update_credited_job", action="store_true", help="note each valid result in credited_job")
        add("--check_punitive", action="store_true", help="give hosts that fail for good one job a day")
        add("--credit_from_wu", action="store_true", help="credit as set when the job was created")
        add("--credit_fixed", type=float, metavar="X", help="the same credit X for every valid result")
        add("--credit_from_runtime", action="store_true", help="credit by run time and device speed")
        add("--post_assigned_credit", action="store_true", help="credit as the validator assigns it")
        add("--no_credit", action="store_true", help="no credit, statistics only")

    def setup(self) -> None:
        """Find the app; refuse options that exclude each other."""
        self.appid = self.app_id()
        if self.options.credit_from_runtime and not self.options.max_granted_credit:
            raise InputError("--credit_from_runtime needs a --max_granted_credit above 0")
        if self.options.credit_fixed is not None and not 0 <= self.options.credit_fixed < 1e15:
            raise InputError("--credit_fixed must be a number from 0 on")
        if self.options.max_granted_credit < 0:
            raise InputError("--max_granted_credit must not be negative")

    # ---- a pass -----------------------------------------------------------------------------------------
    def run_once(self) -> int:
        """Handle the next batch of workunits; 0 at the end of a round without any."""
        ids = self._next_ids()
        if not ids:
            self._after = 0
            return 0
        self._after = ids[-1]
        now = self.clock()
        ready = [i for i in ids if self._not_before.get(i, (0, 0))[0] <= now]
        if self.stop_after_units:
            ready = ready[:self.stop_after_units]
        self._settled = 0
        done = self._validate(ready)
        if len(ids) < BATCH and not self.options.one_pass:
            self._after = 0
            return self._settled  # what others hold just now is looked at after a pause
        return done or len(ids) - len(ready)

    def _validate(self, ids: Sequence[int]) -> int:
        """Judge these workunits one after another and write what was found, many in one transaction; but after
        FLUSH_SECONDS at the latest, so that a slow validator's work neither waits nor grows stale."""
        done = 0
        batch: list[tuple[Snapshot, Judgement]] = []
        began = time.monotonic()
        for snapshot in self._snapshots(ids):
            if self.stopping():
                break
            done += 1
            judgement = self._judge(snapshot)
            if judgement:
                batch.append((snapshot, judgement))
            if batch and time.monotonic() - began > FLUSH_SECONDS:
                self._save(batch)
                batch, began = [], time.monotonic()
        self._save(batch)
        return done

    def _next_ids(self) -> list[int]:
        if self.options.wu_id is not None:
            return [self.options.wu_id] if not self._after else []
        return self.repository.pending(self.appid, self._after, self.options.min_wu_id, self.options.max_wu_id,
                                       self.mod, BATCH)

    def _snapshots(self, ids: Sequence[int]) -> list[Snapshot]:
        self._app = self.repository.app(self.appid)
        pairs = self.repository.load(ids)
        return [Snapshot(wu, tuple(results)) for wu, results in pairs if wu.appid == self.appid]

    def _judge(self, snapshot: Snapshot) -> Judgement | None:
        """``judge``; what goes wrong with a workunit is put off and does not stop the others."""
        try:
            return self.judge(snapshot)
        except DatabaseError:
            raise
        except _Missing as error:
            logger.critical("%s %s", snapshot.wu.tag, error)
        except Exception:
            logger.exception("%s cannot be validated", snapshot.wu.tag)
        self._put_off(snapshot.wu)
        return None

    def _save(self, batch: Sequence[tuple[Snapshot, Judgement]]) -> None:
        """Write judgements in one transaction; if that fails, in one each, so that only the one to blame stays."""
        if not batch:
            return
        if self.options.dry_run:
            written = {snapshot.wu.id for snapshot, _ in batch}
        else:
            try:
                written = self.db.retrying(lambda: self._write(batch))
            except Exception as error:
                if len(batch) == 1:
                    self._cannot_save(batch[0][0], error)
                    return
                if isinstance(error, DatabaseError) and not isinstance(error, RetryableError):
                    raise
                logger.warning("a batch could not be written (%s); one by one now", error)
                for each in batch:
                    self._save([each])
                return
        lines = [line for snapshot, judgement in batch
                 if (line := self._saved(snapshot, judgement, snapshot.wu.id in written))]
        if lines:
            logger.info(Lines(lines))

    def _cannot_save(self, snapshot: Snapshot, error: Exception) -> None:
        if isinstance(error, DatabaseError) and not isinstance(error, RetryableError):
            raise error
        logger.critical("%s cannot be written: %s", snapshot.wu.tag, error, exc_info=error)
        self._put_off(snapshot.wu)

    def _write(self, batch: Sequence[tuple[Snapshot, Judgement]]) -> set[int]:
        return BatchWriter(self.repository, self.options, self.project.config, self.now, self._app).write(batch)

    def _saved(self, snapshot: Snapshot, judgement: Judgement, written: bool) -> str:
        """What the log says of a workunit."""
        self._settled += written
        if judgement.retry:
            self._put_off(snapshot.wu)
        else:
            self._not_before.pop(snapshot.wu.id, None)
        return self._report(snapshot, judgement, written)

    def _put_off(self, wu: Workunit) -> None:
        tries = self._not_before.get(wu.id, (0, 0))[1] + 1
        pause = min(RETRY_SECONDS[1], RETRY_SECONDS[0] * 2 ** min(tries - 1, 20))
        self._not_before[wu.id] = (self.clock() + pause, tries)
        logger.warning("%s to be tried again in %d s", wu.tag, pause)

    # ---- judging: no database writes --------------------------------------------------------------------
    def judge(self, snapshot: Snapshot) -> Judgement:
        """Read outputs and compare them; nothing is written."""
        wu = snapshot.wu
        app = self._app or self.repository.app(wu.appid)
        hopeless = self._hopeless(snapshot) if self.options.check_punitive else ()
        if wu.canonical_resultid:
            return replace(self._judge_late(snapshot), hopeless=hopeless)
        viable = [r for r in snapshot.results if r.viable]
        if len(viable) < wu.min_quorum:
            return Judgement({}, hopeless=hopeless)
        readings = [self._read(r) for r in viable]
        assigned = 0.0
        try:
            check = checks.check_set(readings, wu.min_quorum, app["target_nresults"], self.compare)
            if check.canonical is not None and self.options.post_assigned_credit:
                assigned = self.assigned_credit(viable[check.canonical], readings[check.canonical].data)
        finally:
            for result, reading in zip(viable, readings, strict=True):
                self._clean(result, reading)
        verdicts = {r.id: v for r, v in zip(viable, check.verdicts, strict=True)}
        canonical = viable[check.canonical].id if check.canonical is not None else 0
        return Judgement(verdicts, check, canonical, check.retry, assigned, hopeless)

    def _judge_late(self, snapshot: Snapshot) -> Judgement:
        """Results that came after consensus, each against the canonical one (spec 03 section 6.4)."""
        late = [r for r in snapshot.results
                if r.success and r.validate_state in (ValidateState.INIT, ValidateState.INCONCLUSIVE)]
        canonical = next((r for r in snapshot.results if r.id == snapshot.wu.canonical_resultid), None)
        if not late:
            return Judgement({})
        if canonical is None:
            raise _Missing(f"its canonical result {snapshot.wu.canonical_resultid} is missing")
        reference = self._read(canonical)
        verdicts: dict[int, Verdict] = {}
        retry = reference.kind is Kind.TRANSIENT
        for result in late:
            if not retry:
                verdicts[result.id] = self._compare_late(result, reference)
                retry = verdicts[result.id] is Verdict.UNDECIDED
        self._clean(canonical, reference)
        return Judgement({i: v for i, v in verdicts.items() if v is not Verdict.UNDECIDED}, retry=retry)

    def _compare_late(self, result: Result, reference: Reading) -> Verdict:
        reading = self._read(result)
        try:
            if reading.kind is Kind.TRANSIENT:
                return Verdict.UNDECIDED
            if reading.kind is Kind.BAD or reference.kind is Kind.BAD:
                return Verdict.ERROR
            return Verdict.VALID if checks.matching(reference.data, reading.data, self.compare) else Verdict.INVALID
        except TransientError:
            return Verdict.UNDECIDED
        finally:
            self._clean(result, reading)

    def _read(self, result: Result) -> Reading:
        self.beat()
        try:
            data = self.init(result)
        except (BadOutput, FileNotFoundError, ValueError) as error:
            logger.info("%s bad output: %s", result.tag, error)
            return Reading(Kind.BAD, reason=str(error))
        except (TransientError, OSError) as error:
            logger.warning("%s cannot be read now: %s", result.tag, error)
            return Reading(Kind.TRANSIENT, reason=str(error))
        if isinstance(data, Suspicious):
            return Reading(Kind.SUSPICIOUS, data.data)
        return Reading(Kind.OK, data)

    def _clean(self, result: Result, reading: Reading) -> None:
        if reading.kind in (Kind.OK, Kind.SUSPICIOUS):
            self.cleanup(result, reading.data)

    def _hopeless(self, snapshot: Snapshot) -> tuple[Result, ...]:
        found = []
        for result in snapshot.results:
            if result.over and result.outcome == Outcome.CLIENT_ERROR:
                try:
                    self.init(result)
                except LongTermFail:
                    found.append(result)
                except (BadOutput, TransientError, OSError, ValueError):
                    pass
        return tuple(found)

    def _report(self, snapshot: Snapshot, judgement: Judgement, written: bool) -> str:
        wu = snapshot.wu
        if not written:
            logger.debug("%s changed while it was validated; next round", wu.tag)
            return ""
        prefix = "would be " if self.options.dry_run else ""
        found = [f"{r.tag} {judgement.verdicts[r.id].value}" for r in snapshot.results if r.id in judgement.verdicts]
        if judgement.canonical:
            found.append(f"canonical result {judgement.canonical}")
        return f"{wu.tag} {prefix}{', '.join(found)}" if found else ""


class _Missing(Exception):
    """Rows that ought to exist do not."""


__all__ = ["BadOutput", "CompareError", "Judgement", "LongTermFail", "Snapshot", "Suspicious", "TransientError",
           "Validator"]
