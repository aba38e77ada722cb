"""The XML dialect: vectors of spec 01 section 9.1 and the rules of section 2.1."""
from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boincdock.protocol import scanner
from boincdock.protocol.scanner import CDATA, OPEN, TEXT, Scanner


def tokens(data: bytes) -> list[tuple[int, bytes, bytes]]:
    scan = Scanner(data)
    found = []
    while (token := scan.token()) is not None:
        found.append(tuple(token))
    return found


@pytest.mark.parametrize(
    ("text", "name", "attributes"),
    [
        (b"<x/>", b"x/", b""),
        (b"<x />", b"x/", b""),
        (b"<x a=\"1\" b='2'>", b"x", b"a=\"1\" b='2'"),
        (b'<message priority="a/b">', b"message/", b'priority="ab"'),
        (b"< x>", b"", b"x"),
    ],
)
def test_tags(text: bytes, name: bytes, attributes: bytes) -> None:
    assert tokens(text) == [(OPEN, name, attributes)]


def test_stream_of_tags_texts_comments_and_cdata() -> None:
    assert tokens(b"<!-- c --><a> hi </a><b><![CDATA[x<y]]></b>") == [
        (OPEN, b"a", b""), (TEXT, b"", b"hi"), (OPEN, b"/a", b""), (OPEN, b"b", b""), (CDATA, b"", b"x<y"),
        (OPEN, b"/b", b""),
    ]
    assert tokens(b"text <!-- z --> more<a>") == [(TEXT, b"", b"text"), (TEXT, b"", b"more"), (OPEN, b"a", b"")]


def test_nul_ends_the_document_and_so_does_an_overlong_tag() -> None:
    assert tokens(b"<a>\0<b>") == [(OPEN, b"a", b"")]
    assert tokens(b"<a><" + b"x" * 4096 + b"><b>") == [(OPEN, b"a", b"")]
    assert len(tokens(b"<a><" + b"x" * 4095 + b"><b>")) == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [(b"010", 8), (b"0x1F", 31), (b" 42 ", 42), (b"-3", -3), (b"", 0), (b"08", None), (b"5.0", None),
     (b"99999999999999999999", None), (b"4294967297", 1), (b"4294967295", -1), (b"1_0", None), (b"+7", 7)],
)
def test_int(text: bytes, value: int | None) -> None:
    assert scanner.to_int(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [(b"1e3", 1000.0), (b"0x10", 16.0), (b"", 0.0), (b"1e400", None), (b"1e-400", None), (b"1,5", None),
     (b"1_0", None), (b"-2.5", -2.5), (b"0.000", 0.0), (b"inf", math.inf)],
)
def test_double(text: bytes, value: float | None) -> None:
    assert scanner.to_double(text) == value


def test_non_finite_numbers_become_zero_for_the_server() -> None:
    assert math.isnan(scanner.to_double(b"nan") or 0)
    assert scanner.to_number(b"nan") == 0
    assert scanner.to_number(b"-inf") == 0


@pytest.mark.parametrize(("text", "value"), [(b"1", True), (b"2", True), (b"0", False), (b"", None), (b"true", None)])
def test_bool_text(text: bytes, value: bool | None) -> None:
    assert scanner.to_bool(text) is value


def test_entities_decode_to_bytes() -> None:
    assert scanner.unescape(b"a&lt;b&amp;&#233;&#8364;&#xA;&#x41;") == b"a<b&\xe9&#8364;\x0a&#x41;"
    assert scanner.unescape(b"&#999;&#0;") == b"&#999;\0"


@pytest.mark.parametrize(
    ("document", "limit", "value"),
    [
        (b"a&lt;b&amp;&#233;</x>", 100, b"a<b&\xe9"),
        (b"<![CDATA[ a&lt;b ]]></x>", 100, b"a&lt;b"),
        (b"a<b/></x>", 100, None),
        (b"12345678</x>", 8, None),
        (b"1234567</x>", 8, b"1234567"),
        (b"</x>", 8, b""),
    ],
)
def test_string_element(document: bytes, limit: int, value: bytes | None) -> None:
    assert Scanner(document).string(b"x", limit) == value


def test_escape_as_clients_do() -> None:
    assert scanner.client_escape(b"a<b>&\"'\t\n\x01\xc3\xa9 ]]>") == "a&lt;b>&amp;\"'&#9;&#10;&#195;&#169; ]]&gt;"


def test_escape_as_the_server_does() -> None:
    assert scanner.escape("a<b>&\"é") == 'a&lt;b&gt;&amp;"é'
    assert scanner.escape("a\nb\x00") == "a b "


@given(st.binary(max_size=200))
def test_what_a_client_escapes_comes_back(data: bytes) -> None:
    kept = bytes(b for b in data if b >= 32 or b in (9, 10, 13))
    escaped = scanner.client_escape(data).encode("ascii")
    assert scanner.unescape(escaped.replace(b"]]&gt;", b"]]>")) == kept or b"]]>" in data


@given(st.binary(max_size=400))
def test_any_bytes_scan_to_an_end(data: bytes) -> None:
    scan = Scanner(data)
    steps = 0
    while scan.event() is not None:
        steps += 1
        assert steps <= len(data)


@pytest.mark.parametrize("piece", [b"<!--", b"<![CDATA[", b"<", b"<a", b"<a>", b"&", b"<a>x"])
def test_hostile_repetition_takes_linear_time(piece: bytes) -> None:
    def seconds(n: int) -> float:
        scan = Scanner(piece * n)
        start = time.process_time()
        while (event := scan.event()) is not None:
            if event[0] == OPEN:
                scan.skip(event[1])
        return time.process_time() - start

    small, large = seconds(2000), seconds(40000)
    assert large < 60 * small + 0.5
