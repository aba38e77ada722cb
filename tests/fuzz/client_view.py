"""How a client sees a scheduler reply: a strict reader that shares no code with the writer (spec 01 § 2.1, 2.2, 4).

``read`` gives the top-level elements in order, or raises ``Broken`` for anything that would make a client lose an
element, stop reading, or take effect of something that was meant as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_TEXT = 4095
RAW = {
    "global_preferences",
    "project_preferences",
    "code_sign_key",
    "code_sign_key_signature",
    "gui_urls",
    "trickle_down",
}
"""Copied by the client up to the first literal end tag; nothing in them is looked at."""

DOCUMENTS = {"app", "file_info", "app_version", "workunit", "result"}
LISTS = {"result_ack": ["name"], "result_abort": ["name"], "result_abort_if_not_started": ["name"]}
LIMITS = {
    "message": 1023,
    "project_name": 255,
    "user_name": 255,
    "team_name": 255,
    "host_venue": 255,
    "symstore": 255,
    "master_url": 255,
    "email_hash": 63,
    "cross_project_id": 63,
    "external_cpid": 63,
}
"""Longest text in bytes, as it is sent, that fits the client's buffer."""

DOUBLES = {
    "user_total_credit",
    "user_expavg_credit",
    "host_total_credit",
    "host_expavg_credit",
    "request_delay",
    "next_rpc_delay",
}
INTEGERS = {
    "scheduler_version",
    "userid",
    "user_create_time",
    "hostid",
    "host_create_time",
    "teamid",
    "send_time_stats_log",
    "ended",
    "non_cpu_intensive",
    "strict_memory_bound",
    "verify_files_on_app_start",
}
FLAGS = {"dont_use_dcf/", "project_is_down/", "message_ack/"}
STRINGS = {
    "message",
    "project_name",
    "master_url",
    "user_name",
    "email_hash",
    "cross_project_id",
    "external_cpid",
    "host_venue",
    "team_name",
    "symstore",
    "delete_file_info",
    "no_rsc_apps",
    "no_cpu_apps",
    "no_cuda_apps",
    "no_ati_apps",
}
_TAG = re.compile(r"[\n ]*<([^<>]*)>")
_REFERENCE = re.compile(r"&(?!(?:lt|gt|amp);)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Broken(AssertionError):
    """The reply is not what every client can read."""


@dataclass
class Element:
    """Name (a flag ends in ``/``), text with the entities decoded, children."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)


class Reader:
    """A cursor over the reply's text."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def tag(self) -> str:
        """The next tag's inside; only blanks may stand before it."""
        match = _TAG.match(self.text, self.at)
        if match is None:
            raise Broken(f"no tag at {self.at}: {self.text[self.at : self.at + 60]!r}")
        self.at = match.end()
        return match.group(1)

    def until(self, close: str) -> str:
        """Everything up to a literal end tag."""
        end = self.text.find(close, self.at)
        if end < 0:
            raise Broken(f"no {close}")
        body, self.at = self.text[self.at : end], end + len(close)
        return body

    def leaf(self, name: str) -> str:
        """The text of a string element, decoded."""
        end = self.text.find("<", self.at)
        body = self.text[self.at : end]
        if not self.text.startswith(f"</{name}>", end):
            raise Broken(f"<{name}> holds a tag: {self.text[end : end + 60]!r}")
        self.at = end + len(name) + 3
        size = len(body.encode("utf-8", "surrogateescape"))
        if size > LIMITS.get(name, MAX_TEXT):
            raise Broken(f"<{name}> of {size} bytes does not fit")
        if ">" in body or _REFERENCE.search(body) or _CONTROL.search(body):
            raise Broken(f"<{name}> is not escaped: {body[:80]!r}")
        return body.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def read(reply: bytes) -> list[Element]:
    """The elements of the reply; ``Broken``."""
    if b"\0" in reply:
        raise Broken("a NUL ends the document")
    reader = Reader(reply.decode("utf-8", "surrogateescape"))
    if reader.tag() != "scheduler_reply":
        raise Broken("does not begin with <scheduler_reply>")
    found: list[Element] = []
    while (tag := reader.tag()) != "/scheduler_reply":
        found.append(_element(reader, tag))
    if reader.text[reader.at :] != "\n":
        raise Broken("goes on behind its end")
    return found


def _element(reader: Reader, tag: str) -> Element:
    name, _, attributes = tag.partition(" ")
    if attributes and tag not in ('message priority="low"', 'message priority="notice"'):
        raise Broken(f"attributes: {tag!r}")
    if name in FLAGS:
        return Element(name)
    if name in LISTS:
        children = [Element(child, reader.leaf(child)) for child in LISTS[name] if _opens(reader, child)]
        if reader.tag() != f"/{name}":
            raise Broken(f"<{name}> holds more than it should")
        return Element(name, children=children)
    if name in RAW:
        return Element(name, reader.until(f"</{name}>"))
    if name in DOCUMENTS:
        return Element(name, reader.until(f"</{name}>"))
    text = reader.leaf(name)
    if name in DOUBLES and not re.fullmatch(r"-?\d+\.\d{6}", text):
        raise Broken(f"<{name}>{text[:40]!r} is no number a client takes")
    if name in INTEGERS and not re.fullmatch(r"0|-?[1-9]\d*", text):
        raise Broken(f"<{name}>{text[:40]!r} is no integer a client takes")
    if name not in DOUBLES | INTEGERS | STRINGS:
        raise Broken(f"<{name}> is not part of a reply")
    return Element(name, text)


def _opens(reader: Reader, name: str) -> bool:
    if reader.tag() != name:
        raise Broken(f"expected <{name}>")
    return True
