"""What is due for a workunit: the transitioner's decisions as one pure function (spec 03 section 5).

Where the spec's "do better" notes differ from upstream we follow them (docs/decisions/0020):
limit checks stop once a canonical result exists, leftover instances are cancelled on consensus, and files
are never queued for deletion while the validator still has work on the workunit.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from boincdock.enums import (
    NEVER,
    AssimilateState,
    FileDeleteState,
    Outcome,
    ServerState,
    TransitionerFlags,
    ValidateState,
    WuError,
)
from boincdock.lifecycle.model import Result, Workunit

EXIT_ABORTED_BY_USER = 203
SAFETY_NET = 864000


@dataclass(frozen=True, slots=True)
class Policy:
    """Project options that decide (spec 03 section 20); ``delete_delay`` in seconds."""

    delete_delay: int = 0
    hr_class_static: bool = False
    reliable_priority_on_over: int = 0
    reliable_priority_on_over_except_error: int = 0


@dataclass(slots=True)
class Plan:
    """What to change. Result ids are to be changed only while they still are in the state read."""

    timed_out: list[Result] = field(default_factory=list)
    too_late: list[int] = field(default_factory=list)
    not_needed: list[int] = field(default_factory=list)
    no_check: list[int] = field(default_factory=list)
    delete_files_of: list[int] = field(default_factory=list)
    need_validate: bool = False
    error_bits: int = 0
    reset_class: bool = False
    assimilate: bool = False
    delete_wu_files: bool = False
    create: int = 0
    priority: int = 0
    transition_time: int = NEVER


@dataclass(slots=True)
class _Counts:
    unsent: int = 0
    in_progress: int = 0
    over: int = 0
    success: int = 0
    errors: int = 0
    no_reply: int = 0
    could_not_send: int = 0
    new_success: bool = False


def decide(wu: Workunit, results: Sequence[Result], now: int, policy: Policy) -> Plan:
    """The plan for a workunit whose transition time has come.

    ``results`` are all its results in id order. No input or output beyond the arguments.
    """
    plan = Plan()
    counts, states = _scan(wu, results, now, plan)
    _check_limits(wu, len(results), counts, policy, plan)
    failed = (wu.error_mask | plan.error_bits) != 0
    if failed or wu.canonical_resultid:
        plan.not_needed = [r.id for r in results if r.server_state in (ServerState.INACTIVE, ServerState.UNSENT)]
        for result_id in plan.not_needed:
            states[result_id] = (ServerState.OVER, Outcome.DIDNT_NEED, states[result_id][2])
    if failed and not wu.canonical_resultid:
        plan.create = 0
        _give_up(wu, results, states, plan)
    if plan.create:
        plan.priority = wu.priority + _priority_boost(counts, policy)
    deferred = _finish(wu, results, states, now, policy, plan)
    plan.transition_time = _next_time(wu, results, states, now, failed, deferred, plan)
    return plan


_State = tuple[int, int, int]


def _scan(wu: Workunit, results: Sequence[Result], now: int, plan: Plan) -> tuple[_Counts, dict[int, _State]]:
    """Count the results; time out the overdue, mark what came after the canonical files were deleted."""
    canonical = next((r for r in results if r.id == wu.canonical_resultid), None)
    files_gone = canonical is not None and canonical.file_delete_state == FileDeleteState.DONE
    counts = _Counts()
    states: dict[int, _State] = {}
    for r in results:
        states[r.id] = (r.server_state, r.outcome, r.validate_state)
        if r.server_state in (ServerState.INACTIVE, ServerState.UNSENT):
            counts.unsent += 1
        elif r.server_state == ServerState.IN_PROGRESS:
            if r.report_deadline < now:
                plan.timed_out.append(r)
                states[r.id] = (ServerState.OVER, Outcome.NO_REPLY, r.validate_state)
                counts.over += 1
                counts.no_reply += 1
            else:
                counts.in_progress += 1
        elif r.server_state == ServerState.OVER:
            _count_over(r, files_gone, counts, states, plan)
    if counts.new_success and counts.success >= wu.min_quorum:
        plan.need_validate = True
    return counts, states


def _count_over(r: Result, files_gone: bool, counts: _Counts, states: dict[int, _State], plan: Plan) -> None:
    counts.over += 1
    if r.outcome == Outcome.SUCCESS:
        if r.validate_state == ValidateState.INIT:
            if files_gone:
                plan.too_late.append(r.id)
                states[r.id] = (r.server_state, r.outcome, ValidateState.TOO_LATE)
            else:
                counts.new_success = True
        if r.validate_state != ValidateState.INVALID:
            counts.success += 1
    elif r.outcome == Outcome.CLIENT_ERROR:
        if r.exit_status == EXIT_ABORTED_BY_USER:
            counts.no_reply += 1
        else:
            counts.errors += 1
    elif r.outcome == Outcome.VALIDATE_ERROR:
        counts.errors += 1
    elif r.outcome in (Outcome.NO_REPLY, Outcome.CLIENT_DETACHED):
        counts.no_reply += 1
    elif r.outcome == Outcome.COULDNT_SEND:
        counts.could_not_send += 1


def _check_limits(wu: Workunit, total: int, counts: _Counts, policy: Policy, plan: Plan) -> None:
    """Steps 2 to 5 and 7: error bits, reset of the committed class, number of new results."""
    if wu.canonical_resultid:
        return
    if counts.could_not_send:
        plan.error_bits |= WuError.COULDNT_SEND_RESULT
    if (counts.errors and not (counts.success or counts.in_progress or counts.no_reply)
            and not policy.hr_class_static):
        plan.reset_class = True
    if counts.errors > wu.max_error_results:
        plan.error_bits |= WuError.TOO_MANY_ERROR_RESULTS
    needed = max(0, wu.target_nresults - counts.unsent - counts.in_progress - counts.success)
    allowed = wu.max_total_results - total
    if allowed < 0 or (allowed == 0 and needed > 0):
        plan.error_bits |= WuError.TOO_MANY_TOTAL_RESULTS
    elif not (wu.error_mask | plan.error_bits) and wu.transitioner_flags != TransitionerFlags.NO_NEW_RESULTS:
        plan.create = min(needed, allowed)


def _give_up(wu: Workunit, results: Sequence[Result], states: dict[int, _State], plan: Plan) -> None:
    """Step 6: a failed workunit's unchecked successes need no check; hand it to the assimilator."""
    for r in results:
        server_state, outcome, validate_state = states[r.id]
        if (server_state == ServerState.OVER and outcome == Outcome.SUCCESS
                and validate_state in (ValidateState.INIT, ValidateState.INCONCLUSIVE)):
            plan.no_check.append(r.id)
            states[r.id] = (server_state, outcome, ValidateState.NO_CHECK)
    plan.assimilate = wu.assimilate_state == AssimilateState.INIT


def _priority_boost(counts: _Counts, policy: Policy) -> int:
    if counts.over and policy.reliable_priority_on_over:
        return policy.reliable_priority_on_over
    if counts.over and not counts.errors:
        return policy.reliable_priority_on_over_except_error
    return 0


def _finish(wu: Workunit, results: Sequence[Result], states: dict[int, _State], now: int, policy: Policy,
            plan: Plan) -> int:
    """Steps 8 to 10: deferred assimilation and file deletion; the time until which deletion waits, or 0."""
    all_over = all(s[0] == ServerState.OVER for s in states.values()) and not plan.create
    ready = all_over and not any(s[1] == Outcome.SUCCESS and s[2] == ValidateState.INIT for s in states.values())
    extended = any(states[r.id][1] == Outcome.NO_REPLY and now < r.report_deadline for r in results)
    if ready and wu.assimilate_state == AssimilateState.INIT and wu.canonical_resultid:
        plan.assimilate = True
    if wu.assimilate_state != AssimilateState.DONE or wu.need_validate or plan.need_validate:
        return 0
    last = max((r.received_time for r in results if states[r.id][0] == ServerState.OVER), default=0)
    if now < last + policy.delete_delay:
        return last + policy.delete_delay
    all_done = ready and not extended
    plan.delete_wu_files = all_done and wu.file_delete_state == FileDeleteState.INIT
    for r in results:
        _, outcome, validate_state = states[r.id]
        finished = states[r.id][0] == ServerState.OVER and (
            outcome == Outcome.CLIENT_ERROR
            or (outcome == Outcome.SUCCESS and validate_state != ValidateState.INIT))
        if (finished and r.file_delete_state == FileDeleteState.INIT
                and (all_done or r.id != wu.canonical_resultid)):
            plan.delete_files_of.append(r.id)
    return 0


def _next_time(wu: Workunit, results: Sequence[Result], states: dict[int, _State], now: int, failed: bool,
               deferred: int, plan: Plan) -> int:
    """Step 11: when to look again."""
    if wu.canonical_resultid or failed:
        when = NEVER
    else:
        when = now + max(SAFETY_NET, wu.delay_bound * 3 // 2)
    deadlines = [r.report_deadline for r in results if states[r.id][0] == ServerState.IN_PROGRESS]
    extended = [r.report_deadline for r in results
                if states[r.id][1] == Outcome.NO_REPLY and r.report_deadline > now]
    when = min([when, NEVER, *deadlines, *extended, *([deferred] if deferred else [])])
    if when < now:
        when = now + min(86400, max(60, 2 * (now - when)))
    return when
