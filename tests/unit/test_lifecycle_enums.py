"""The numbers that databases, archives and remote programs hold (spec 03 section 1)."""
from __future__ import annotations

from boincdock import enums


def values(kind: type) -> dict[str, int]:
    return {m.name: int(m) for m in kind}  # type: ignore[attr-defined]


def test_1_1_result_columns() -> None:
    assert values(enums.ServerState) == {"INACTIVE": 1, "UNSENT": 2, "IN_PROGRESS": 4, "OVER": 5}
    assert list(values(enums.Outcome).items()) == [
        ("INIT", 0), ("SUCCESS", 1), ("COULDNT_SEND", 2), ("CLIENT_ERROR", 3), ("NO_REPLY", 4), ("DIDNT_NEED", 5),
        ("VALIDATE_ERROR", 6), ("CLIENT_DETACHED", 7)]
    assert list(values(enums.ValidateState).values()) == [0, 1, 2, 3, 4, 5]
    assert list(values(enums.FileDeleteState).items()) == [("INIT", 0), ("READY", 1), ("DONE", 2), ("ERROR", 3)]
    assert enums.NEVER == 2**31 - 1


def test_1_2_workunit_columns() -> None:
    assert values(enums.WuError) == {
        "COULDNT_SEND_RESULT": 1, "TOO_MANY_ERROR_RESULTS": 2, "TOO_MANY_SUCCESS_RESULTS": 4,
        "TOO_MANY_TOTAL_RESULTS": 8, "CANCELLED": 16, "NO_CANONICAL_RESULT": 32}
    assert list(values(enums.AssimilateState).values()) == [0, 1, 2]
    assert list(values(enums.TransitionerFlags).values()) == [0, 1, 2]


def test_1_3_batch_states() -> None:
    assert values(enums.BatchState) == {"INIT": 0, "IN_PROGRESS": 1, "COMPLETE": 2, "ABORTED": 3, "RETIRED": 4}
