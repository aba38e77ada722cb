"""The XML dialect of BOINC clients: a tolerant scanner, value readers and writers (spec 01 section 2).

Neither side of the protocol uses a real XML parser, and real requests are not well-formed XML, so
everything here works on bytes and never raises on bad input: a value that cannot be read is ``None``
and the caller keeps its default. All scanning is linear in the size of the input.
"""
from __future__ import annotations

import math
import re
from typing import NamedTuple

MAX_TAG = 4095
"""Longest tag in bytes; a longer one ends the parse (spec 01 section 2.1 rule 2)."""

REWIND_BUDGET = 256 << 10
"""Bytes of one document that may be scanned again because an unknown element had no end tag."""

LEAF, OPEN, CLOSE, FLAG, TEXT, CDATA = range(6)
"""Kinds of event: ``<x>text</x>``, ``<x>``, ``</x>``, ``<x/>``, bare text, CDATA section."""

Event = tuple[int, bytes, bytes]
"""(kind, name, text): text is trimmed but not entity-decoded; of an OPEN or FLAG it is the attributes."""

_WS = b" \t\n\r\f\v"
_LEAF = re.compile(rb"\s*<([A-Za-z_][\w.\-]*)>([^<]*)</\1>")
_TAG = re.compile(rb"<([^>]{0,%d})>" % MAX_TAG)
_TEXT = re.compile(rb"[^<]+")
_COMMENT = re.compile(rb"\s*<!--")
_BLANK = re.compile(rb"\s")


class Token(NamedTuple):
    """One token of the stream. ``kind`` is TEXT, CDATA or OPEN (any tag; the name says which sort)."""

    kind: int
    name: bytes
    text: bytes


class Scanner:
    """A cursor over one document. Not thread-safe.

    ``token()`` gives the stream exactly as the clients' own scanner sees it; ``event()`` gives the same
    stream with every plain ``<x>text</x>`` folded into one step, which is what makes parsing cheap.
    """

    __slots__ = ("_budget", "data", "end", "leaf_start", "pos")

    def __init__(self, data: bytes, pos: int = 0) -> None:
        nul = data.find(b"\0", pos)
        self.data = data
        self.pos = pos
        self.leaf_start = pos
        self.end = len(data) if nul < 0 else nul
        self._budget = REWIND_BUDGET

    def token(self) -> Token | None:
        """The next tag, text or CDATA section; ``None`` at the end of the document."""
        data = self.data
        while True:
            pos = self.pos
            while pos < self.end and data[pos] in _WS:
                pos += 1
            if pos >= self.end:
                self.pos = self.end
                return None
            if data[pos] != 60:
                match = _TEXT.match(data, pos, self.end)
                self.pos = match.end() if match else self.end
                return Token(TEXT, b"", data[pos : self.pos].strip(_WS))
            if data.startswith(b"<!--", pos):
                close = data.find(b"-->", pos + 4, self.end)
                self.pos = self.end if close < 0 else close + 3
                continue
            if data.startswith(b"<![CDATA[", pos):
                close = data.find(b"]]>", pos + 9, self.end)
                if close < 0:
                    self.pos = self.end
                    return None
                self.pos = close + 3
                return Token(CDATA, b"", data[pos + 9 : close].strip(_WS))
            match = _TAG.match(data, pos, self.end)
            if match is None:
                self.pos = self.end
                return None
            self.pos = match.end()
            return Token(OPEN, *split_tag(match.group(1)))

    def event(self) -> Event | None:
        """The next event; ``None`` at the end of the document.

        After a LEAF, setting ``pos`` to ``leaf_start`` goes back to just behind its start tag.
        """
        while True:
            match = _LEAF.match(self.data, self.pos, self.end)
            if match is not None:
                self.pos = match.end()
                self.leaf_start = match.start(2)
                name, text = match.groups()
                return LEAF, name, text.strip(_WS)
            comment = _COMMENT.match(self.data, self.pos, self.end)
            if comment is None:
                break
            # An element right behind a comment is folded like any other.
            close = self.data.find(b"-->", comment.end(), self.end)
            self.pos = self.end if close < 0 else close + 3
        token = self.token()
        if token is None:
            return None
        kind, name, text = token
        if kind != OPEN:
            return kind, name, text
        if name.startswith(b"/"):
            return CLOSE, name[1:], text
        if name.endswith(b"/"):
            return FLAG, name[:-1], text
        return OPEN, name, text

    def raw(self, name: bytes) -> bytes | None:
        """Copy from here up to the first literal ``</name>`` and go behind it; ``None`` if there is none."""
        close = b"</" + name + b">"
        end = self.data.find(close, self.pos, self.end)
        if end < 0:
            return None
        text = self.data[self.pos : end]
        self.pos = end + len(close)
        return text

    def lenient(self, name: bytes, limit: int = 65535) -> bytes | None:
        """The text of an opened string element that is not plain, e.g. holds a bare ``<`` or CDATA.

        Taken up to the literal end tag if that comes within ``limit`` bytes. A CDATA section is unwrapped
        and its ``&`` protected, so that the usual decoding gives the text back.
        """
        end = self.data.find(b"</" + name + b">", self.pos, min(self.end, self.pos + limit + len(name) + 3))
        if end < 0:
            return None
        text = self.data[self.pos : end].strip(_WS)
        self.pos = end + len(name) + 3
        if text.startswith(b"<![CDATA[") and text.endswith(b"]]>"):
            text = text[9:-3].strip(_WS).replace(b"&", b"&amp;")
        return text

    def skip(self, name: bytes) -> bool:
        """Go behind the end tag of the just opened unknown element ``name``.

        Without an end tag the cursor stays where it is; when that has cost too much, the document is given
        up (cursor at the end). Returns whether the end tag was found.
        """
        start, depth = self.pos, 1
        while True:
            event = self.event()
            if event is None:
                self._budget -= self.end - start
                self.pos = start if self._budget >= 0 else self.end
                return False
            if event[1] != name:
                continue
            if event[0] == OPEN:
                depth += 1
            elif event[0] == CLOSE:
                depth -= 1
                if not depth:
                    return True

    def string(self, name: bytes, limit: int = 65536) -> bytes | None:
        """The raw text of the just opened ``name`` by the clients' own strict rule (rule 3).

        ``None`` if the element is lost: it has children, lacks its end tag or has ``limit`` bytes or more.
        """
        token = self.token()
        if token is None:
            return None
        if token.kind == OPEN:
            return b"" if token.name == b"/" + name else None
        after = self.pos
        close = self.token()
        if close is None or close.kind != OPEN or close.name != b"/" + name or len(token.text) >= limit:
            self.pos = after
            return None
        return token.text if token.kind == CDATA else unescape(token.text)


def split_tag(body: bytes) -> tuple[bytes, bytes]:
    """Name and attribute string of a tag's inside (rule 2): a ``/`` in the attributes moves to the name."""
    blank = _BLANK.search(body)
    if blank is None:
        return body, b""
    name, attributes = body[: blank.start()], body[blank.end() :].strip(_WS)
    if b"/" in attributes:
        return name + b"/", attributes.replace(b"/", b"").strip(_WS)
    return name, attributes


# ---- values ---------------------------------------------------------------------------------------

_INT = re.compile(rb"[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\Z")
_DOUBLE = re.compile(rb"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)\Z", re.I)
_HEXDOUBLE = re.compile(rb"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?\d+)?\Z", re.I)
_NONZERO = re.compile(rb"[+-]?[0.]*[1-9]")


def to_long(text: bytes) -> int | None:
    """C integer syntax with base detection, within a 64-bit long (rule 4); empty is 0; else ``None``."""
    text = text.strip(_WS)
    if not text:
        return 0
    if len(text) > 64 or not _INT.match(text):
        return None
    digits = text.lstrip(b"+-")
    base = 16 if digits[:2].lower() == b"0x" else 8 if digits[0] == 48 else 10
    value = int(digits, base)
    if text[0] == 45:
        value = -value
    return value if -(1 << 63) <= value < (1 << 63) else None


def to_int(text: bytes) -> int | None:
    """As :func:`to_long`, cut to a signed 32-bit value as the field of a 64-bit Unix program would be."""
    value = to_long(text)
    if value is None or -(1 << 31) <= value < (1 << 31):
        return value
    return ((value + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def to_double(text: bytes) -> float | None:
    """C float syntax incl. hex, nan and inf (rule 5); empty is 0; out of range or malformed is ``None``."""
    text = text.strip(_WS)
    if not text:
        return 0.0
    if len(text) > 400:
        return None
    if _DOUBLE.match(text):
        value = float(text)
        if math.isinf(value) and b"i" not in text.lower():
            return None
        return None if value == 0.0 and _NONZERO.match(text.lower().partition(b"e")[0]) else value
    if _HEXDOUBLE.match(text):
        try:
            return float.fromhex(text.decode("ascii"))
        except (OverflowError, ValueError):
            return None
    return None


def to_number(text: bytes) -> float | None:
    """As :func:`to_double`, with nan and inf as 0: no non-finite number gets into the server."""
    value = to_double(text)
    return value if value is None or math.isfinite(value) else 0.0


def to_bool(text: bytes) -> bool | None:
    """The text of ``<x>text</x>`` as a boolean (rule 6): a non-zero integer is true; empty is rejected."""
    if not text.strip(_WS):
        return None
    value = to_long(text)
    return None if value is None else value != 0


_ENTITY = re.compile(rb"&(?:(lt|gt|quot|apos|amp)|#(?:(\d{1,3})|x([dDaA])));")
_NAMED = {b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'", b"amp": b"&"}


def _entity(match: re.Match[bytes]) -> bytes:
    named, number, control = match.groups()
    if named:
        return _NAMED[named]
    if control:
        return b"\r" if control in b"dD" else b"\n"
    value = int(number)
    return bytes((value,)) if value < 256 else match.group(0)


def unescape(text: bytes) -> bytes:
    """Entity decoding of rule 8: each reference gives one byte; unknown ones stay literal."""
    return _ENTITY.sub(_entity, text) if b"&" in text else text


def to_text(text: bytes, limit: int = 65535) -> str:
    """Decoded text, cut to ``limit`` characters; invalid UTF-8 is replaced and NUL removed."""
    return unescape(text).decode("utf-8", "replace").replace("\0", "")[:limit]


# ---- writing --------------------------------------------------------------------------------------

_ESCAPES = {b: f"&#{b};" for b in (9, 10, 13, *range(128, 256))}
_ESCAPES.update({60: "&lt;", 38: "&amp;"})
_ESCAPES.update(dict.fromkeys((*range(9), 11, 12, *range(14, 32)), ""))


def client_escape(data: bytes) -> str:
    """Byte-wise escaping as clients write it (rule 8); used to speak to clients and in tests.

    >>> client_escape("é<".encode())
    '&#195;&#169;&lt;'
    """
    return data.decode("latin-1").translate(_ESCAPES).replace("]]>", "]]&gt;")


def escape(text: str) -> str:
    """Escape what the server sends: only ``& < >``; control characters become blanks (section 2.2)."""
    if not text.isprintable():
        text = "".join(c if c >= " " and c != "\x7f" else " " for c in text)
        # Half of a surrogate pair has no UTF-8; nothing that a database holds has one.
        text = text.encode("utf-8", "replace").decode("utf-8")
    if "&" in text or "<" in text or ">" in text:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text


_CUT_REFERENCE = re.compile(r"&[a-z]{0,3}\Z")


def escape_to(text: str, limit: int) -> str:
    """:func:`escape`, cut to ``limit`` bytes of UTF-8 as sent, never inside a character or a reference: a client
    loses an element whose text is longer than its buffer (section 2.1 rule 3)."""
    escaped = escape(text if len(text) <= limit else text[:limit])
    if 4 * len(escaped) <= limit or len(escaped.encode()) <= limit:
        return escaped
    return _CUT_REFERENCE.sub("", cut_utf8(escaped, limit))


def cut_utf8(text: str, limit: int) -> str:
    """``text`` cut to at most ``limit`` bytes of UTF-8, never inside a character."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= limit else data[:limit].decode("utf-8", "ignore")
