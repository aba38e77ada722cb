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

Everything a check leads to is written in one transaction per workunit, after making sure that the rows still
are as they were when the outputs were read: a killed validator neither loses nor doubles credit.
"""
from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from boincdock.enums import NEVER, AssimilateState, Outcome, ValidateState, WuError
from boincdock.errors import DatabaseError, InputError
from boincdock.lifecycle import checks, credit, granting, hostversions
from boincdock.lifecycle.checks import CompareError, Kind, Reading, SetCheck, TransientError, Verdict
from boincdock.lifecycle.credit import AppStats, HostVersion, VersionStats
from boincdock.lifecycle.daemon import Daemon
from boincdock.lifecycle.model import Result, Workunit, generalised_version_id
from boincdock.lifecycle.outputs import OutputFile, output_files
from boincdock.lifecycle.repository import ValidatorRepository

logger = logging.getLogger("boincdock.validator")

BATCH = 100
RETRY_SECONDS = (60, 21600)


class BadOutput(Exception):
    """The result's output is missing or unusable for good."""


class LongTermFail(BadOutput):
    """The host will go on failing (``--check_punitive``)."""


@dataclass(frozen=True, slots=True)
class Suspicious:
    """Wraps the data of a result that should not be trusted alone."""

    data: Any


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A workunit and its results as they were when their outputs were read."""

    wu: Workunit
    results: tuple[Result, ...]

    @property
    def key(self) -> object:
        """What must not have changed until the decision is written."""
        return (self.wu.min_quorum, self.wu.canonical_resultid,
                [(r.id, r.validate_state, r.hostid) for r in self.results if r.success])


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a validator thinks of a workunit: a verdict per judged result (by id), the canonical result if
    a new one was found, and which hosts fail for good."""

    verdicts: dict[int, Verdict]
    check: SetCheck | None = None
    canonical: int = 0
    retry: bool = False
    assigned_credit: float = 0.0
    hopeless: tuple[Result, ...] = ()


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
        done = 0
        for snapshot in self._snapshots(ready):
            if self.stopping() or (self.stop_after_units and done >= self.stop_after_units):
                break
            done += self._handle(snapshot)
        if len(ids) < BATCH and not self.options.one_pass:
            self._after = 0
            return done
        return done or len(ids) - len(ready)

    def _next_ids(self) -> list[int]:
        if self.options.wu_id is not None:
            return [self.options.wu_id] if not self._after else []
        return self.repository.pending(self.appid, self._after, self.options.min_wu_id, self.options.max_wu_id,
                                       self.mod, BATCH)

    def _snapshots(self, ids: Sequence[int]) -> list[Snapshot]:
        pairs = self.repository.load(ids)
        return [Snapshot(wu, tuple(results)) for wu, results in pairs if wu.appid == self.appid]

    def _handle(self, snapshot: Snapshot) -> int:
        """Validate one workunit; what goes wrong with it is put off and does not stop the others."""
        wu = snapshot.wu
        try:
            judgement = self.judge(snapshot)
            written = self.options.dry_run or self.db.retrying(lambda: self._write(snapshot, judgement))
        except DatabaseError:
            raise
        except _Missing as error:
            logger.critical("%s %s", wu.tag, error)
            self._put_off(wu)
            return 1
        except Exception:
            logger.exception("%s cannot be validated", wu.tag)
            self._put_off(wu)
            return 1
        if judgement.retry:
            self._put_off(wu)
        else:
            self._not_before.pop(wu.id, None)
        self._log(snapshot, judgement, bool(written))
        return 1

    def _put_off(self, wu: Workunit) -> None:
        tries = self._not_before.get(wu.id, (0, 0))[1] + 1
        pause = min(RETRY_SECONDS[1], RETRY_SECONDS[0] * 2 ** min(tries - 1, 20))
        self._not_before[wu.id] = (self.clock() + pause, tries)
        logger.warning("%s to be tried again in %d s", wu.tag, pause)

    # ---- judging: no database writes --------------------------------------------------------------------
    def judge(self, snapshot: Snapshot) -> Judgement:
        """Read outputs and compare them; nothing is written."""
        wu = snapshot.wu
        app = self.repository.app(wu.appid)
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

    # ---- writing: one transaction -----------------------------------------------------------------------
    def _write(self, snapshot: Snapshot, judgement: Judgement) -> bool:
        """Write a judgement if the workunit still is as it was; else leave it for the next round."""
        wu, results = self.repository.lock(snapshot.wu.id)
        if wu is None or (not wu.need_validate and self.options.wu_id is None):
            return False
        if Snapshot(wu, tuple(results)).key != snapshot.key:
            return False
        return _Writer(self, wu, results, judgement).write()

    def _log(self, snapshot: Snapshot, judgement: Judgement, written: bool) -> None:
        wu = snapshot.wu
        if not written:
            logger.debug("%s changed while it was validated; next round", wu.tag)
            return
        prefix = "would be: " if self.options.dry_run else ""
        for result in snapshot.results:
            if result.id in judgement.verdicts:
                logger.info("%s %s %s%s", wu.tag, result.tag, prefix, judgement.verdicts[result.id].value)
        if judgement.canonical:
            logger.info("%s canonical result %s%d", wu.tag, prefix, judgement.canonical)


class _Missing(Exception):
    """Rows that ought to exist do not."""


class _Writer:
    """Carries one judgement into the database; all inside the caller's transaction."""

    def __init__(self, validator: Validator, wu: Workunit, results: list[Result], judgement: Judgement) -> None:
        self.v = validator
        self.db = validator.db
        self.repository = validator.repository
        self.wu = wu
        self.results = results
        self.judgement = judgement
        self.now = validator.now
        self.quota = validator.project.config.daily_result_quota
        self.app_row = self.repository.app(wu.appid)
        self.records: dict[tuple[int, int], HostVersion] = {}
        self.aliases: dict[tuple[int, int], tuple[int, int]] = {}
        self.samples: list[granting.VersionSample] = []
        self.changed: dict[int, Result] = {}

    def write(self) -> bool:
        judged = [r for r in self.results if self.judgement.verdicts.get(r.id, Verdict.UNDECIDED)
                  is not Verdict.UNDECIDED]
        new_valid = [r for r in judged if self.judgement.verdicts[r.id] is Verdict.VALID
                     and r.validate_state != ValidateState.VALID]
        self._lock_records([*judged, *self.judgement.hopeless])
        worth = self._worth(judged, new_valid)
        for result in judged:
            self._apply(result, self.judgement.verdicts[result.id], worth)
        self._mark_inconclusive()
        for result in self.judgement.hopeless:
            self._update_record(result, hostversions.after_hopeless)
        self.repository.save_results(self.changed.values())
        for record in self.records.values():
            hostversions.save(self.db, record)
        grants = [granting.Grant(r, worth) for r in new_valid]
        if grants:
            granting.grant(self.db, grants, self.now, bool(self.v.project.config.credit_by_app))
            if self.v.options.update_credited_job:
                self.repository.add_credited_jobs((r.userid, int(self.wu.opaque)) for r in new_valid)
        self._save_workunit(worth)
        granting.teach_versions(self.db, self.samples, self.now)
        return True

    # ---- host records -----------------------------------------------------------------------------------
    def _key(self, result: Result) -> tuple[int, int]:
        key = (result.hostid, generalised_version_id(result.appid, result.app_version_id))
        return self.aliases.get(key, key)

    def _lock_records(self, results: Sequence[Result]) -> None:
        for key in sorted({self._key(r) for r in results}):
            record = hostversions.lock(self.db, *key)
            if record:
                actual = (record.host_id, record.app_version_id)
                self.aliases[key] = actual
                self.records[actual] = record

    def _update_record(self, result: Result, change: Any, *args: Any) -> None:
        record = self.records.get(self._key(result))
        if record:
            self.records[self._key(result)] = change(record, *args)

    # ---- credit -----------------------------------------------------------------------------------------
    def _worth(self, judged: Sequence[Result], new_valid: Sequence[Result]) -> float:
        """Credit of each valid result; takes in the statistics on the way (spec 03 section 8)."""
        options = self.v.options
        if not new_valid:
            return 0.0
        claims = [] if options.credit_from_runtime else self._claims(new_valid)
        if self.wu.canonical_resultid:
            canonical = next(r for r in self.results if r.id == self.wu.canonical_resultid)
            return canonical.granted_credit
        cap = options.max_granted_credit
        if options.credit_from_wu:
            if not self.wu.canonical_credit:
                logger.critical("%s has no credit assigned (--credit_from_wu)", self.wu.tag)
            return credit.capped(self.wu.canonical_credit, cap)
        if options.credit_fixed is not None:
            return credit.capped(options.credit_fixed, cap)
        if options.credit_from_runtime:
            runs = [_run(r) for r in judged if self.judgement.verdicts[r.id] is not Verdict.ERROR]
            return credit.capped(credit.runtime_credit(runs, self.wu.rsc_fpops_bound, cap), cap)
        if options.post_assigned_credit:
            return credit.capped(self.judgement.assigned_credit, cap)
        if options.no_credit:
            return 0.0
        return credit.workunit_credit(claims, self.wu.rsc_fpops_est, self.wu.rsc_fpops_bound, self._app(), cap)

    def _app(self) -> AppStats:
        return AppStats(self.wu.appid, self.app_row["min_avg_pfc"], bool(self.app_row["host_scale_check"]))

    def _claims(self, valid: Sequence[Result]) -> list[credit.Claim]:
        versions = self.repository.versions({r.app_version_id for r in valid if r.app_version_id > 0})
        claims = []
        for result in valid:
            version: VersionStats | None = versions.get(result.app_version_id)
            if result.app_version_id >= 0 and version is None:
                logger.critical("%s its app version %d is missing", result.tag, result.app_version_id)
                continue
            claim = credit.claim(_run(result), self.wu.rsc_fpops_est, self._app(), version,
                                 self.records.get(self._key(result)), bool(result.runtime_outlier))
            if claim.complaint:
                logger.warning("%s %s", result.tag, claim.complaint)
            if claim.host_version:
                self.records[self._key(result)] = claim.host_version
            if version and claim.version_credit is not None:
                self.samples.append(granting.VersionSample(version.id, claim.version_sample, claim.version_credit,
                                                           result.sent_time))
            if claim.outlier and not result.runtime_outlier and not self.wu.canonical_resultid:
                self.changed[result.id] = replace(result, runtime_outlier=1)
            claims.append(claim)
        return claims

    # ---- results and workunit ---------------------------------------------------------------------------
    def _apply(self, result: Result, verdict: Verdict, worth: float) -> None:
        if verdict is Verdict.VALID:
            if result.validate_state == ValidateState.VALID:
                return
            replicated = not (self.wu.target_nresults == 1 and self.app_row["target_nresults"] > 1)
            self._update_record(result, hostversions.after_valid, self.quota, replicated)
            self._change(result, validate_state=ValidateState.VALID, granted_credit=worth)
        elif result.validate_state == ValidateState.VALID:
            logger.warning("%s was valid and now disagrees; left as it is", result.tag)
        else:
            self._update_record(result, hostversions.after_invalid, self.quota)
            outcome = Outcome.VALIDATE_ERROR if verdict is Verdict.ERROR else Outcome.SUCCESS
            self._change(result, validate_state=ValidateState.INVALID, outcome=outcome)

    def _change(self, result: Result, **columns: Any) -> None:
        self.changed[result.id] = replace(self.changed.get(result.id, result), **columns)

    def _mark_inconclusive(self) -> None:
        check = self.judgement.check
        if check is None or check.canonical is not None or check.retry:
            return
        for result in self.results:
            if (self.judgement.verdicts.get(result.id) is Verdict.UNDECIDED
                    and result.validate_state == ValidateState.INIT):
                self._change(result, validate_state=ValidateState.INCONCLUSIVE)

    def _save_workunit(self, worth: float) -> None:
        wu, judgement = self.wu, self.judgement
        quorum, target, bits = wu.min_quorum, wu.target_nresults, 0
        when = wu.transition_time
        failed_for_good = bool(wu.error_mask) and (
            bool(wu.error_mask & WuError.CANCELLED) or wu.assimilate_state == AssimilateState.DONE)
        check = judgement.check
        if check and judgement.canonical:
            if failed_for_good:
                when = min(when, self.now)  # credit only: nobody waits for this output any more
            else:
                self.repository.save_canonical(wu.id, judgement.canonical, worth)
                when = NEVER if when > self.now else when
            self.repository.cancel_unsent(wu.id)
        elif check and not check.retry:
            if wu.error_mask:
                when = min(when, self.now)
            else:
                outcome = checks.without_consensus(check, target, wu.max_success_results)
                quorum, target, bits = check.quorum, outcome.target_nresults, outcome.error_bits
                when = min(when, self.now) if outcome.transition_now else when
        elif wu.canonical_resultid or wu.error_mask:
            when = min(when, self.now)
        self.repository.save_workunit(wu.id, int(judgement.retry), bits, quorum, target, when)


def _run(result: Result) -> credit.Run:
    return credit.Run(result.elapsed_time, result.cpu_time, result.flops_estimate, result.app_version_id,
                      float(result.received_time - result.sent_time))


__all__ = ["BadOutput", "CompareError", "LongTermFail", "Suspicious", "TransientError", "Validator"]
