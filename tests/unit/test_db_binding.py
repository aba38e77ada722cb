"""Literals and multi-row statements (boincdock/db/binding.py); the drivers quote in the database tests."""
from __future__ import annotations

from enum import IntEnum

import pytest

from boincdock.db import binding, named
from boincdock.errors import DatabaseError


class Colour(IntEnum):
    RED = 3


def _quote(text: bytes) -> bytes:
    return b"'" + text.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"


literal = binding.Literal(_quote, lambda value: f"<{value}>".encode())


@pytest.mark.parametrize(("value", "text"), [
    (5, b"5"), (-2**63, b"-9223372036854775808"), (True, b"1"), (False, b"0"), (None, b"NULL"), (1.5, b"1.5e0"),
    (1e300, b"1e+300"), (Colour.RED, b"3"), ("a'b\\", b"'a\\'b\\\\'"),
    ("\u00fc", "'\u00fc'".encode()), (b"\xff'", b"_binary'\xff\\''"),
    ([1, "x"], b"(1,'x')"), ((2,), b"(2)"), ({1}, b"<{1}>"),
])
def test_literal(value: object, text: bytes) -> None:
    assert literal(value) == text


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), [float("nan")]])
def test_a_number_that_no_column_holds_is_refused(value: object) -> None:
    with pytest.raises(DatabaseError, match="no number"):
        literal(value)


def test_parameters_and_percent_signs() -> None:
    made = binding.template(named.bind_style(
        "SELECT ':a', '100%', 5 % :n FROM t WHERE x = :x AND y IN :ids AND z = :x"))
    assert made.names == ("n", "x", "ids", "x")
    assert made.render({"n": 2, "x": "%(n)s %", "ids": [1, 2], "more": 1}, literal) == (
        b"SELECT ':a', '100%', 5 % 2 FROM t WHERE x = '%(n)s %' AND y IN (1,2) AND z = '%(n)s %'")
    with pytest.raises(KeyError):
        made.render({"n": 2, "x": 1}, literal)


def test_rows_of_an_insert() -> None:
    parts = binding.insert_parts(named.bind_style(
        "INSERT INTO t (a, b) VALUES (:a, IF(:b, 1, 0))\nON DUPLICATE KEY UPDATE a = VALUES(a)"))
    assert parts is not None
    assert parts.head == "INSERT INTO t (a, b) VALUES "
    assert parts.row == "(%(a)s, IF(%(b)s, 1, 0))"
    assert parts.tail == "\nON DUPLICATE KEY UPDATE a = VALUES(a)"
    assert binding.insert_parts(named.bind_style("UPDATE t SET a = :a")) is None
    assert binding.insert_parts(named.bind_style("INSERT INTO t (a) SELECT :a")) is None
    assert binding.insert_parts(named.bind_style("INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = :a")) is None


def test_shared_values_are_never_read_as_parameters() -> None:
    text = binding.fix(named.bind_style("(:a, :b, '%')"), {"b": "%(a)s 50% %%", "c": 1}, literal)
    assert binding.Template(text).render({"a": 7}, literal) == b"(7, '%(a)s 50% %%', '%')"
    raw = binding.fix("(%(a)s)", {"a": b"\xff\x00"}, literal)
    assert binding.Template(raw).render({}, literal) == b"(_binary'\xff\x00')"
