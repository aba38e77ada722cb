"""Finding consensus among results: the check of a set, pure (spec 03 section 6.3, 6.6).

Follows the spec's recommended forms: a quorum raised by a suspicious result counts in full, and a transient
failure without a consensus of the rest decides nothing (docs/decisions/0021).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from boincdock.enums import WuError


class Kind(Enum):
    """What reading a result's output gave."""

    OK = "ok"
    SUSPICIOUS = "suspicious"
    BAD = "bad"
    TRANSIENT = "transient"


@dataclass(frozen=True, slots=True)
class Reading:
    """A result's parsed output, or why there is none."""

    kind: Kind
    data: Any = None
    reason: str = ""


class Verdict(Enum):
    """What a check says of a result."""

    VALID = "valid"
    INVALID = "invalid"
    ERROR = "error"
    UNDECIDED = "undecided"


class TransientError(Exception):
    """Cannot be judged now; ask again later."""


class CompareError(Exception):
    """Two outputs could not be compared; counts as no match."""


@dataclass(frozen=True, slots=True)
class SetCheck:
    """Outcome of a check: a verdict for each reading, the index of the canonical one (or None), the quorum
    that was asked for, and whether something has to be asked again later."""

    verdicts: tuple[Verdict, ...]
    canonical: int | None
    quorum: int
    retry: bool


def check_set(readings: Sequence[Reading], min_quorum: int, app_target: int,
              compare: Callable[[Any, Any], bool]) -> SetCheck:
    """Look for a reading that a majority of the quorum agrees with; the first such one is canonical."""
    usable = [i for i, r in enumerate(readings) if r.kind in (Kind.OK, Kind.SUSPICIOUS)]
    suspicious = sum(readings[i].kind is Kind.SUSPICIOUS for i in usable)
    good = len(usable) - suspicious
    if suspicious > 1 or good > 0:
        good += suspicious
    quorum = max(min_quorum, abs(app_target)) if suspicious else min_quorum
    retry = any(r.kind is Kind.TRANSIENT for r in readings)
    canonical: int | None = None
    matches: list[int] = []
    if good >= quorum:
        try:
            canonical, matches = _majority(readings, usable, quorum // 2 + 1, compare)
        except TransientError:
            retry = True
    if canonical is None and retry:
        return SetCheck((Verdict.UNDECIDED,) * len(readings), None, quorum, True)
    verdicts = []
    for i, reading in enumerate(readings):
        if reading.kind is Kind.BAD:
            verdicts.append(Verdict.ERROR)
        elif canonical is None or reading.kind is Kind.TRANSIENT:
            verdicts.append(Verdict.UNDECIDED)
        else:
            verdicts.append(Verdict.VALID if i in matches else Verdict.INVALID)
    return SetCheck(tuple(verdicts), canonical, quorum, retry)


def _majority(readings: Sequence[Reading], usable: Sequence[int], needed: int,
              compare: Callable[[Any, Any], bool]) -> tuple[int | None, list[int]]:
    for i in usable:
        matches = [j for j in usable if i == j or matching(readings[i].data, readings[j].data, compare)]
        if len(matches) >= needed:
            return i, matches
    return None, []


def matching(a: Any, b: Any, compare: Callable[[Any, Any], bool]) -> bool:
    """``compare(a, b)``, with a failure to compare as False. ``TransientError`` passes."""
    try:
        return bool(compare(a, b))
    except CompareError:
        return False


@dataclass(frozen=True, slots=True)
class NoConsensus:
    """What a check without consensus does to the workunit."""

    error_bits: int
    target_nresults: int
    transition_now: bool


def without_consensus(check: SetCheck, target_nresults: int, max_success_results: int) -> NoConsensus:
    """Give up, ask for another instance, or wait (spec 03 section 6.3 steps 6 and 8)."""
    viable = sum(v is not Verdict.ERROR for v in check.verdicts)
    now = viable < len(check.verdicts)
    bits = 0
    if viable > max_success_results:
        bits, now = int(WuError.TOO_MANY_SUCCESS_RESULTS), True
    if viable >= target_nresults:
        target_nresults, now = max(viable + 1, check.quorum), True
    return NoConsensus(bits, target_nresults, now)
