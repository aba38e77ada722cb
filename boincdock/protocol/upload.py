"""What clients send to the upload handler and what they are answered; pure functions (spec 04 section 5.1-5.3).

A request is not well-formed XML: after ``<data>`` and one newline the raw bytes of the file follow, and no
element is closed. ``parse_header`` therefore looks at a bounded first part of the body only.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from boincdock.protocol.scanner import escape, unescape

MAX_HEADER = 16384
"""Bytes in which the header of a request must end; real ones have about 700."""

MAX_UPLOAD_NAME = 240
"""Longest file name in bytes: file systems take 255, and a partial upload has a suffix."""

MAX_NBYTES = 2**53
"""Sizes beyond this are not exact in the client's arithmetic (doubles), so they are no sizes."""

PARTIAL_SUFFIX = ".part"
"""An upload that is not complete lies beside its place under its name and this suffix."""

_TAG = re.compile(rb"<(/?)([A-Za-z_][A-Za-z0-9_.-]{0,63})\s*(/?)>")
_COMMAND = re.compile(rb"<(file_upload|get_file_size)>")
_DATA = re.compile(rb"<data>\n?")
_CONTAINERS = {b"data_server_request", b"file_upload", b"file_info"}
_NUMBER = re.compile(rb"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?")
_MD5 = re.compile(rb"[0-9a-fA-F]{32}")
_NAME = re.compile(rb"[ -~]+")
_FORBIDDEN_IN_NAME = re.compile(rb"[/\\%]|\.\.|^\.|^ | $")


class Status(IntEnum):
    """What a client makes of a reply (spec 04 section 5.5): done; try later; throw the result away."""

    OK = 0
    TRANSIENT = 1
    PERMANENT = -1


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; ``file_size`` (bytes stored so far) only in answers to a size query."""

    status: Status
    message: str = ""
    file_size: int | None = None

    def encode(self) -> bytes:
        """The body of the HTTP reply, far below the 8 KiB that clients look at."""
        text = f"<data_server_reply>\n    <status>{int(self.status)}</status>\n"
        if self.message:
            text += f"    <message>{escape(self.message[:200])}</message>\n"
        if self.file_size is not None:
            text += f"    <file_size>{self.file_size}</file_size>\n"
        return (text + "</data_server_reply>\n").encode("utf-8", "replace")


class UploadError(Exception):
    """A request that gets ``reply`` and nothing else."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.reply = Reply(status, message)


@dataclass(frozen=True, slots=True)
class SizeQuery:
    """``get_file_size``: how much of the file ``name`` is stored?"""

    name: str


@dataclass(frozen=True, slots=True)
class Upload:
    """``file_upload``: bytes ``offset`` .. ``nbytes`` of the file ``name`` begin at ``data_at`` of the body.

    ``max_nbytes`` is None if the request had none; ``signature`` is the trimmed text of its certificate;
    ``md5`` is lower-case hex, or empty if the request had no usable one.
    """

    name: str
    nbytes: int
    offset: int
    max_nbytes: int | None
    signature: str
    md5: str
    data_at: int


def certificate_text(name: str, max_nbytes: float) -> bytes:
    """The exact bytes that an upload certificate signs (spec 04 section 1.3)."""
    return f"<name>{name}</name><max_nbytes>{max_nbytes:.0f}</max_nbytes>".encode()


def check_upload_name(name: bytes) -> str:
    """The name as text; ``UploadError`` (permanent) unless it is a plain, visible ASCII file name.

    No client can hold a file whose name has ``..`` or ``%``; a slash would lead out of the folder, and a dot
    or blank at the ends would hide the file or make it another one.
    """
    if not name:
        raise UploadError(Status.PERMANENT, "no file name")
    if len(name) > MAX_UPLOAD_NAME:
        raise UploadError(Status.PERMANENT, "file name too long")
    if not _NAME.fullmatch(name) or _FORBIDDEN_IN_NAME.search(name):
        raise UploadError(Status.PERMANENT, "file name not allowed")
    return name.decode("ascii")


def parse_header(head: bytes, complete: bool) -> SizeQuery | Upload:
    """The request in ``head``: the first bytes of the body, at most ``MAX_HEADER`` matter.

    ``complete``: the body ended where its sender said it would, so that what is missing was never sent; else
    a missing part is the network's fault and a transient error. Raises :class:`UploadError`.
    """
    head = head[:MAX_HEADER]
    command = _COMMAND.search(head)
    if command is None:
        raise UploadError(Status.TRANSIENT, "no command")
    if command.group(1) == b"get_file_size":
        end = head.find(b"</get_file_size>", command.end())
        if end < 0:
            raise _cut_short(complete, "size query without file name")
        return SizeQuery(check_upload_name(_text(head[command.end():end])))
    data = _DATA.search(head, command.end())
    if data is None:
        raise _cut_short(complete, "no <data> in the request's header")
    return _upload(_elements(head[command.end():data.start()]), data.end())


def _cut_short(complete: bool, message: str) -> UploadError:
    if complete:
        return UploadError(Status.PERMANENT, message)
    return UploadError(Status.TRANSIENT, "the request ended early")


def _text(raw: bytes) -> bytes:
    return unescape(raw.strip())


def _elements(header: bytes) -> dict[bytes, bytes]:
    """Raw text of each leaf element; the one of a name that comes twice makes the request ambiguous."""
    found: dict[bytes, bytes] = {}
    at = 0
    while (tag := _TAG.search(header, at)) is not None:
        at = tag.end()
        closing, name, empty = tag.groups()
        if closing or name in _CONTAINERS:
            continue
        text = b""
        if not empty:
            end = header.find(b"</" + name + b">", at)
            if end < 0:
                raise UploadError(Status.PERMANENT, f"<{name.decode('ascii')}> is not closed")
            text = header[at:end]
            at = end + len(name) + 3
        if name in found and name != b"url":
            raise UploadError(Status.PERMANENT, f"<{name.decode('ascii')}> occurs twice")
        found[name] = text
    return found


def _upload(elements: dict[bytes, bytes], data_at: int) -> Upload:
    name = _text(elements.get(b"name", b""))
    nbytes = _number(elements, b"nbytes")
    if nbytes is None:
        raise UploadError(Status.PERMANENT, "no size of the file")
    md5 = elements.get(b"md5_cksum", b"").strip()
    return Upload(
        name=check_upload_name(name), nbytes=nbytes, offset=_number(elements, b"offset") or 0,
        max_nbytes=_number(elements, b"max_nbytes"),
        signature=elements.get(b"xml_signature", b"").strip().decode("latin-1"),
        md5=md5.decode("ascii").lower() if _MD5.fullmatch(md5) else "", data_at=data_at,
    )


def _number(elements: dict[bytes, bytes], name: bytes) -> int | None:
    """A size in bytes; None if there is none; ``UploadError`` (permanent) for anything else."""
    text = elements.get(name, b"").strip()
    if not text:
        return None
    label = name.decode("ascii")
    if not _NUMBER.fullmatch(text):
        raise UploadError(Status.PERMANENT, f"<{label}> is not a number")
    value = float(text)
    if not 0 <= value <= MAX_NBYTES:
        raise UploadError(Status.PERMANENT, f"<{label}> is out of range")
    return int(f"{value:.0f}")
