"""Changing bytes at random, but in the ways that break parsers: every step is decided by the generator given."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"08",
    b"010",
    b"0x7f",
    b"2147483647",
    b"2147483648",
    b"-2147483649",
    b"4294967295",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"1e308",
    b"1e309",
    b"-1e309",
    b"1e-320",
    b"nan",
    b"-nan",
    b"inf",
    b"-inf",
    b"0x1p1023",
    b"0x1p99999",
    b"1" * 400,
    b"9" * 65,
    b"1.",
    b".5",
    b".",
    b"-",
    b"+",
    b"5.0",
    b"1e",
    b" 7 ",
    b"",
)
PIECES = (
    b"<",
    b">",
    b"/>",
    b"</",
    b"<![CDATA[",
    b"]]>",
    b"<!--",
    b"-->",
    b'<?xml version="1.0"?>',
    b"\0",
    b"\r\n",
    b"\n",
    b"&lt;",
    b"&#0;",
    b"&#10;",
    b"&#255;",
    b"&#256;",
    b"&#8364;",
    b"&amp",
    b"&",
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x98\x80",
    b"%s%n",
    b"'",
    b'"',
    b"\\",
    b"../",
    b"\x1b[2J",
    b"\x7f",
    b"\x0b",
)
MAX_LENGTH = 1 << 16

Mutation = Callable[[random.Random, bytes, Sequence[bytes], Sequence[bytes]], bytes]


def _span(rng: random.Random, data: bytes, longest: int) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + 1 + int(rng.random() ** 3 * longest))


def _flip(rng: random.Random, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _i in range(1 + int(rng.random() ** 4 * 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _delete(rng: random.Random, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data, 200)
    return data[:start] + data[end:]


def _repeat(rng: random.Random, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data, 300)
    return data[:end] + data[start:end] * int(1 + rng.random() ** 6 * 60) + data[end:]


def _move(rng: random.Random, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data, 300)
    piece, rest = data[start:end], data[:start] + data[end:]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + piece + rest[at:]


def _insert(rng: random.Random, data: bytes, _: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    word = rng.choice(words if words and rng.random() < 0.6 else PIECES)
    return data[:at] + word + data[at:]


def _number(rng: random.Random, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    """Another text between two tags."""
    at = data.find(b">", rng.randrange(len(data) + 1)) + 1
    end = data.find(b"<", at)
    if at <= 0 or end < 0:
        return data
    return data[:at] + rng.choice(NUMBERS if rng.random() < 0.8 else PIECES) + data[end:]


def _cut(rng: random.Random, data: bytes, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _splice(rng: random.Random, data: bytes, corpus: Sequence[bytes], _: Sequence[bytes]) -> bytes:
    other = rng.choice(corpus)
    start, end = _span(rng, other, 2000)
    at = rng.randrange(len(data) + 1)
    return data[:at] + other[start:end] + data[at:]


def _swap_tag(rng: random.Random, data: bytes, _: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Another name in a tag, so that elements close what they did not open."""
    at = data.find(b"<", rng.randrange(len(data) + 1))
    end = data.find(b">", at)
    names = [word for word in words if word.startswith(b"<")]
    if at < 0 or end < 0 or not names:
        return data
    return data[:at] + rng.choice(names) + data[end + 1 :]


_MUTATIONS: tuple[Mutation, ...] = (
    _flip,
    _delete,
    _repeat,
    _move,
    _insert,
    _insert,
    _number,
    _number,
    _cut,
    _splice,
    _swap_tag,
)


def mutate(rng: random.Random, data: bytes, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """``data`` changed one to five times, at most MAX_LENGTH bytes; ``words`` are what the format is made of."""
    for _ in range(1 + int(rng.random() ** 2 * 5)):
        data = rng.choice(_MUTATIONS)(rng, data, corpus, words)
    return data[:MAX_LENGTH]
