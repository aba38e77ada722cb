"""What a validator found about workunits, and writing it: many workunits in one transaction (spec 03 sections 6-8).

``BatchWriter`` first locks the workunits (those that others hold are left for the next round) and their results,
drops every judgement whose rows changed since the outputs were read, then the host records, and last works out
and writes everything in few multi-row statements. Lock order: workunit, result, host_app_version, host, user,
team, per-app credit, app version.
"""
from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boincdock.config import Config
from boincdock.enums import NEVER, AssimilateState, Outcome, ServerState, ValidateState, WuError
from boincdock.lifecycle import checks, credit, granting, hostversions
from boincdock.lifecycle.checks import SetCheck, Verdict
from boincdock.lifecycle.credit import AppStats, HostVersion, VersionStats
from boincdock.lifecycle.model import Result, Workunit, generalised_version_id
from boincdock.lifecycle.repository import ResultState, ValidatorRepository

logger = logging.getLogger("boincdock.validator")

Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A workunit and its results as they were when their outputs were read."""

    wu: Workunit
    results: tuple[Result, ...]

    @property
    def key(self) -> object:
        """What must not have changed until the decision is written."""
        return _key(self.wu, self.results)


def _key(wu: Workunit, results: Iterable[Result | ResultState]) -> object:
    return (wu.min_quorum, wu.canonical_resultid,
            [(r.id, r.validate_state, r.hostid, r.userid) for r in results
             if r.server_state == ServerState.OVER and r.outcome == Outcome.SUCCESS])


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


class BatchWriter:
    """Writes the judgements of one batch; one instance per transaction. ``app`` is the app's row."""

    def __init__(self, repository: ValidatorRepository, options: argparse.Namespace, config: Config, now: int,
                 app: Mapping[str, Any]) -> None:
        self.repository = repository
        self.options = options
        self.config = config
        self.now = now
        self.app = app
        self.records: dict[Key, HostVersion] = {}
        self.aliases: dict[Key, Key] = {}
        self.versions: dict[int, VersionStats] = {}
        self.samples: list[granting.VersionSample] = []
        self.grants: list[granting.Grant] = []
        self.changed: dict[int, dict[str, Any]] = {}
        self.workunits: list[dict[str, Any]] = []
        self.unsent: list[int] = []
        self.credited: list[tuple[int, int]] = []

    def write(self, batch: Sequence[tuple[Snapshot, Judgement]]) -> set[int]:
        """Ids of the workunits that were written; the others changed or are held by somebody else."""
        valid = self._lock(batch)
        if not valid:
            return set()
        self._lock_records([r for w in valid for r in (*w.judged, *w.judgement.hopeless)])
        wanted = {r.app_version_id for w in valid for r in w.new_valid if r.app_version_id > 0}
        self.versions = self.repository.versions(wanted)
        for writer in valid:
            writer.decide()
        repository = self.repository
        repository.save_results(list(self.changed.values()))
        repository.cancel_unsent(self.unsent)
        hostversions.save_many(repository.db, self.records.values())
        granting.grant(repository.db, self.grants, self.now, bool(self.config.credit_by_app))
        repository.add_credited_jobs(self.credited)
        repository.save_workunits(self.workunits)
        granting.teach_versions(repository.db, self.samples, self.now)
        return {w.wu.id for w in valid}

    def _lock(self, batch: Sequence[tuple[Snapshot, Judgement]]) -> list[_Decision]:
        locked = self.repository.lock_workunits([s.wu.id for s, _ in batch])
        states: dict[int, list[ResultState]] = defaultdict(list)
        for state in self.repository.lock_results(list(locked)):
            states[state.workunitid].append(state)
        found = []
        for snapshot, judgement in batch:
            wu = locked.get(snapshot.wu.id)
            if wu is None or not (wu.need_validate or self.options.wu_id is not None):
                continue
            if _key(wu, states[wu.id]) == snapshot.key:
                found.append(_Decision(self, wu, snapshot.results, judgement, states[wu.id]))
        return found

    # ---- host records -----------------------------------------------------------------------------------
    def key(self, result: Result) -> Key:
        """The host record that the result belongs to."""
        key = (result.hostid, generalised_version_id(result.appid, result.app_version_id))
        return self.aliases.get(key, key)

    def _lock_records(self, results: Sequence[Result]) -> None:
        wanted = {self.key(r) for r in results}
        self.records = hostversions.lock_many(self.repository.db, wanted)
        for key in sorted(wanted - self.records.keys()):
            record = hostversions.lock(self.repository.db, *key)
            if record:
                actual = (record.host_id, record.app_version_id)
                self.aliases[key] = actual
                self.records[actual] = record

    def update_record(self, result: Result, change: Any, *args: Any) -> None:
        """Apply one of the quota rules to the result's host record, if there is one."""
        record = self.records.get(self.key(result))
        if record:
            self.records[self.key(result)] = change(record, *args)


class _Decision:
    """One workunit's part of a batch."""

    def __init__(self, batch: BatchWriter, wu: Workunit, results: Sequence[Result], judgement: Judgement,
                 states: Sequence[ResultState]) -> None:
        self.batch = batch
        self.wu = wu
        self.results = results
        self.judgement = judgement
        self.states = states
        verdicts = judgement.verdicts
        self.judged = [r for r in results if verdicts.get(r.id, Verdict.UNDECIDED) is not Verdict.UNDECIDED]
        self.new_valid = [r for r in self.judged if verdicts[r.id] is Verdict.VALID
                          and r.validate_state != ValidateState.VALID]

    def decide(self) -> None:
        """Work out what changes and add it to the batch; no database access."""
        batch = self.batch
        worth = self._worth()
        for result in self.judged:
            self._apply(result, self.judgement.verdicts[result.id], worth)
        self._mark_inconclusive()
        for result in self.judgement.hopeless:
            batch.update_record(result, hostversions.after_hopeless)
        batch.grants += [granting.Grant(r, worth) for r in self.new_valid]
        if batch.options.update_credited_job:
            batch.credited += [(r.userid, int(self.wu.opaque)) for r in self.new_valid if r.userid > 0]
        self._save_workunit(worth)

    # ---- credit -----------------------------------------------------------------------------------------
    def _worth(self) -> float:
        """Credit of each valid result; takes in the statistics on the way (spec 03 section 8)."""
        options, wu, judgement = self.batch.options, self.wu, self.judgement
        if not self.new_valid:
            return 0.0
        claims = [] if options.credit_from_runtime else self._claims()
        if wu.canonical_resultid:
            canonical = next(r for r in self.results if r.id == wu.canonical_resultid)
            return canonical.granted_credit
        cap = options.max_granted_credit
        if options.credit_from_wu:
            if not wu.canonical_credit:
                logger.critical("%s has no credit assigned (--credit_from_wu)", wu.tag)
            return credit.capped(wu.canonical_credit, cap)
        if options.credit_fixed is not None:
            return credit.capped(options.credit_fixed, cap)
        if options.credit_from_runtime:
            runs = [_run(r) for r in self.judged if judgement.verdicts[r.id] is not Verdict.ERROR]
            return credit.capped(credit.runtime_credit(runs, wu.rsc_fpops_bound, cap), cap)
        if options.post_assigned_credit:
            return credit.capped(judgement.assigned_credit, cap)
        if options.no_credit:
            return 0.0
        return credit.workunit_credit(claims, wu.rsc_fpops_est, wu.rsc_fpops_bound, self._stats(), cap)

    def _stats(self) -> AppStats:
        app = self.batch.app
        return AppStats(self.wu.appid, app["min_avg_pfc"], bool(app["host_scale_check"]))

    def _claims(self) -> list[credit.Claim]:
        batch, claims = self.batch, []
        for result in self.new_valid:
            version = batch.versions.get(result.app_version_id)
            if result.app_version_id >= 0 and version is None:
                logger.critical("%s its app version %d is missing", result.tag, result.app_version_id)
                continue
            key = batch.key(result)
            claim = credit.claim(_run(result), self.wu.rsc_fpops_est, self._stats(), version, batch.records.get(key),
                                 bool(result.runtime_outlier))
            if claim.complaint:
                logger.warning("%s %s", result.tag, claim.complaint)
            if claim.host_version:
                batch.records[key] = claim.host_version
            if version and claim.version_credit is not None:
                batch.samples.append(granting.VersionSample(version.id, claim.version_sample, claim.version_credit,
                                                            result.sent_time))
            if claim.outlier and not result.runtime_outlier and not self.wu.canonical_resultid:
                self._change(result, runtime_outlier=1)
            claims.append(claim)
        return claims

    # ---- results and workunit ---------------------------------------------------------------------------
    def _apply(self, result: Result, verdict: Verdict, worth: float) -> None:
        quota = self.batch.config.daily_result_quota
        if verdict is Verdict.VALID:
            if result.validate_state == ValidateState.VALID:
                return
            replicated = not (self.wu.target_nresults == 1 and self.batch.app["target_nresults"] > 1)
            self.batch.update_record(result, hostversions.after_valid, quota, replicated)
            self._change(result, validate_state=ValidateState.VALID, granted_credit=worth)
        elif result.validate_state == ValidateState.VALID:
            logger.warning("%s was valid and now disagrees; left as it is", result.tag)
        else:
            self.batch.update_record(result, hostversions.after_invalid, quota)
            outcome = Outcome.VALIDATE_ERROR if verdict is Verdict.ERROR else Outcome.SUCCESS
            self._change(result, validate_state=ValidateState.INVALID, outcome=outcome)

    def _change(self, result: Result, **columns: Any) -> None:
        row = self.batch.changed.get(result.id)
        if row is None:
            row = self.batch.changed[result.id] = {
                "id": result.id, "outcome": int(result.outcome), "validate_state": int(result.validate_state),
                "granted_credit": result.granted_credit, "runtime_outlier": int(result.runtime_outlier),
                "opaque": result.opaque}
        row.update(columns)

    def _mark_inconclusive(self) -> None:
        check = self.judgement.check
        if check is None or check.canonical is not None or check.retry:
            return
        for result in self.results:
            if (self.judgement.verdicts.get(result.id) is Verdict.UNDECIDED
                    and result.validate_state == ValidateState.INIT):
                self._change(result, validate_state=ValidateState.INCONCLUSIVE)

    def _save_workunit(self, worth: float) -> None:
        wu, judgement, now = self.wu, self.judgement, self.batch.now
        row: dict[str, Any] = {
            "id": wu.id, "need_validate": int(judgement.retry), "error_bits": 0, "min_quorum": wu.min_quorum,
            "target_nresults": wu.target_nresults, "transition_time": wu.transition_time,
            "canonical_resultid": wu.canonical_resultid, "canonical_credit": wu.canonical_credit,
            "assimilate_state": int(wu.assimilate_state)}
        soon = min(wu.transition_time, now)
        failed_for_good = bool(wu.error_mask) and (
            bool(wu.error_mask & WuError.CANCELLED) or wu.assimilate_state == AssimilateState.DONE)
        check = judgement.check
        if check and judgement.canonical:
            if failed_for_good:
                row["transition_time"] = soon  # credit only: nobody waits for this output any more
            else:
                row.update(canonical_resultid=judgement.canonical, canonical_credit=worth,
                           assimilate_state=int(AssimilateState.READY))
                row["transition_time"] = NEVER if wu.transition_time > now else wu.transition_time
            self.batch.unsent += [s.id for s in self.states
                                  if s.server_state in (ServerState.INACTIVE, ServerState.UNSENT)]
        elif check and not check.retry:
            if wu.error_mask:
                row["transition_time"] = soon
            else:
                outcome = checks.without_consensus(check, wu.target_nresults, wu.max_success_results)
                row.update(min_quorum=check.quorum, target_nresults=outcome.target_nresults,
                           error_bits=outcome.error_bits)
                row["transition_time"] = soon if outcome.transition_now else wu.transition_time
        elif wu.canonical_resultid or wu.error_mask:
            row["transition_time"] = soon
        self.batch.workunits.append(row)


def _run(result: Result) -> credit.Run:
    return credit.Run(result.elapsed_time, result.cpu_time, result.flops_estimate, result.app_version_id,
                      float(result.received_time - result.sent_time))
