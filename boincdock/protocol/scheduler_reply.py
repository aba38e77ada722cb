"""Writing of ``<scheduler_reply>`` (spec 01 section 4).

A :class:`Reply` is filled by the scheduler and rendered once. Everything that comes from outside is
escaped and cut to the client's buffers here; ``*_xml`` fields are trusted documents of the project that go
out as stored. The client throws the whole reply away for some kinds of error, so nothing else writes XML.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field

from boincdock.protocol.scanner import cut_utf8, escape, escape_to

SCHEDULER_VERSION = 802
"""100 * major + minor of the dialect spoken here."""

MAX_REQUEST_DELAY = 172800.0
MAX_MESSAGE_BYTES = 900
_MESSAGE_BUFFER = 980
_NAME_BUFFER = 255
_CUTOFF_DCF = 70028
_OLD_NO_APPS = 70040
LOW, NOTICE = "low", "notice"


@dataclass(slots=True)
class Account:
    """The account and host part of a full reply (spec 01 section 4.2)."""

    userid: int = 0
    user_name: str = ""
    user_total_credit: float = 0.0
    user_expavg_credit: float = 0.0
    user_create_time: int = 0
    email_hash: str = ""
    cross_project_id: str = ""
    external_cpid: str = ""
    project_preferences: str = ""
    global_preferences: str = ""
    host_total_credit: float = 0.0
    host_expavg_credit: float = 0.0
    host_venue: str = ""
    host_create_time: int = 0
    teamid: int = 0
    team_name: str = ""


@dataclass(slots=True)
class Reply:
    """One reply under construction. ``delay`` is the largest delay asked for so far, in seconds."""

    project_name: str = ""
    master_url: str = ""
    client_version: int = 0
    min_interval: float = 0.0
    ended: bool = False
    delay: float = 0.0
    messages: list[tuple[str, str]] = field(default_factory=list)
    project_is_down: bool = False
    full: bool = False
    next_rpc_delay: float = 0.0
    send_time_stats_log: int = 0
    symstore: str = ""
    new_hostid: int = 0
    account: Account = field(default_factory=Account)
    acks: list[str] = field(default_factory=list)
    aborts: list[str] = field(default_factory=list)
    aborts_if_not_started: list[str] = field(default_factory=list)
    message_ack: bool = False
    trickle_downs: list[str] = field(default_factory=list)
    delete_files: list[str] = field(default_factory=list)
    code_sign_key: str = ""
    code_sign_key_signature: str = ""
    apps_xml: list[str] = field(default_factory=list)
    versions_xml: list[str] = field(default_factory=list)
    workunits_xml: list[str] = field(default_factory=list)
    results_xml: list[str] = field(default_factory=list)
    non_cpu_intensive: bool = False
    strict_memory_bound: bool = False
    verify_files_on_app_start: bool = False
    no_rsc_apps: list[str] = field(default_factory=list)
    gui_urls_xml: str = ""
    project_files_xml: str = ""

    def message(self, text: str, priority: str = LOW, delay: float = 0.0) -> None:
        """Add a message (the same text only once) and ask for at least ``delay`` seconds."""
        entry = (cut_utf8(text, MAX_MESSAGE_BYTES), priority)
        if entry not in self.messages:
            self.messages.append(entry)
        self.ask_delay(delay)

    def ask_delay(self, seconds: float) -> None:
        """The reply's delay is the maximum of all asked for."""
        self.delay = max(self.delay, seconds)

    def request_delay(self) -> float:
        """What goes out as ``<request_delay>``, 0 for none (spec 01 section 5.9, vectors 9.4)."""
        delay, interval = self.delay, self.min_interval
        if delay > 0 or interval > 0:
            delay = max(delay, 1.01 * interval, interval + 1 if interval > 0 else 0.0)
        return min(delay, MAX_REQUEST_DELAY)

    def render(self) -> bytes:
        """The complete body."""
        out: list[str] = ["<scheduler_reply>", f"<scheduler_version>{SCHEDULER_VERSION}</scheduler_version>"]
        if self.project_is_down:
            self._messages(out)
            out.append(f"<request_delay>{_double(self.request_delay())}</request_delay>")
            out.append("<project_is_down/>")
        else:
            self._nucleus(out)
            if self.full:
                self._account(out)
                self._job_control(out)
                self._work(out)
            self._extras(out)
        out.append("</scheduler_reply>\n")
        text = "\n".join(out)
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return text.encode("utf-8", "replace")

    def _messages(self, out: list[str]) -> None:
        for text, priority in self.messages:
            out.append(f'<message priority="{priority}">{escape_to(text, _MESSAGE_BUFFER)}</message>')

    def _nucleus(self, out: list[str]) -> None:
        if self.client_version >= _CUTOFF_DCF:
            out.append("<dont_use_dcf/>")
        url = escape(self.master_url)
        # A cut address would make the client reset the project.
        if url and len(url.encode()) <= _NAME_BUFFER:
            out.append(f"<master_url>{url}</master_url>")
        if self.ended:
            out.append("<ended>1</ended>")
        delay = self.request_delay()
        if delay > 0:
            out.append(f"<request_delay>{_double(delay)}</request_delay>")
        self._messages(out)
        if self.send_time_stats_log:
            out.append(f"<send_time_stats_log>{self.send_time_stats_log}</send_time_stats_log>")
        out.append(f"<project_name>{escape_to(self.project_name, _NAME_BUFFER)}</project_name>")

    def _account(self, out: list[str]) -> None:
        a = self.account
        if self.symstore:
            out.append(f"<symstore>{escape_to(self.symstore, _NAME_BUFFER)}</symstore>")
        if self.next_rpc_delay > 0:
            out.append(f"<next_rpc_delay>{_double(self.next_rpc_delay)}</next_rpc_delay>")
        out += [
            f"<userid>{a.userid}</userid>",
            f"<user_name>{escape_to(a.user_name, _NAME_BUFFER)}</user_name>",
            f"<user_total_credit>{_double(a.user_total_credit)}</user_total_credit>",
            f"<user_expavg_credit>{_double(a.user_expavg_credit)}</user_expavg_credit>",
            f"<user_create_time>{a.user_create_time}</user_create_time>",
            f"<email_hash>{escape_to(a.email_hash, 63)}</email_hash>",
            f"<cross_project_id>{escape_to(a.cross_project_id, 63)}</cross_project_id>",
            f"<external_cpid>{escape_to(a.external_cpid, 63)}</external_cpid>",
        ]
        if a.global_preferences:
            out.append(a.global_preferences.strip("\n"))
        out.append(a.project_preferences.strip("\n") or DEFAULT_PROJECT_PREFS)
        if self.new_hostid:
            out.append(f"<hostid>{self.new_hostid}</hostid>")
        out += [
            f"<host_total_credit>{_double(a.host_total_credit)}</host_total_credit>",
            f"<host_expavg_credit>{_double(a.host_expavg_credit)}</host_expavg_credit>",
            f"<host_venue>{escape_to(a.host_venue, _NAME_BUFFER)}</host_venue>",
            f"<host_create_time>{a.host_create_time}</host_create_time>",
            f"<teamid>{a.teamid}</teamid>",
            f"<team_name>{escape_to(a.team_name, _NAME_BUFFER)}</team_name>",
        ]

    def _job_control(self, out: list[str]) -> None:
        for tag, names in (("result_ack", self.acks), ("result_abort", self.aborts),
                           ("result_abort_if_not_started", self.aborts_if_not_started)):
            out += [f"<{tag}>\n    <name>{escape(name)}</name>\n</{tag}>" for name in names]
        if self.message_ack:
            out.append("<message_ack/>")
        out += [text.strip("\n") for text in self.trickle_downs]
        if self.code_sign_key:
            out.append(f"<code_sign_key>\n{self.code_sign_key.strip()}\n</code_sign_key>")
        if self.code_sign_key_signature:
            out.append(
                f"<code_sign_key_signature>\n{self.code_sign_key_signature.strip()}\n</code_sign_key_signature>"
            )

    def _work(self, out: list[str]) -> None:
        for parts in (self.apps_xml, self.versions_xml, self.workunits_xml, self.results_xml):
            out += [part.strip("\n") for part in parts]

    def _extras(self, out: list[str]) -> None:
        out += [f"<delete_file_info>{escape(name)}</delete_file_info>" for name in self.delete_files]
        if self.non_cpu_intensive:
            out.append("<non_cpu_intensive>1</non_cpu_intensive>")
        if self.strict_memory_bound:
            out.append("<strict_memory_bound>1</strict_memory_bound>")
        if self.verify_files_on_app_start:
            out.append("<verify_files_on_app_start>1</verify_files_on_app_start>")
        self._no_apps(out)
        if self.full and self.gui_urls_xml:
            out.append(self.gui_urls_xml.strip("\n"))
        if self.project_files_xml:
            out.append(self.project_files_xml.strip("\n"))

    def _no_apps(self, out: list[str]) -> None:
        if self.client_version < _OLD_NO_APPS and self.client_version:
            old = {"CPU": "no_cpu_apps", "NVIDIA": "no_cuda_apps", "ATI": "no_ati_apps"}
            out += [f"<{old[name]}>1</{old[name]}>" for name in self.no_rsc_apps if name in old]
        else:
            out += [f"<no_rsc_apps>{escape(name)}</no_rsc_apps>" for name in self.no_rsc_apps]


DEFAULT_PROJECT_PREFS = """<project_preferences>
<resource_share>100</resource_share>
<project_specific>
</project_specific>
</project_preferences>"""
"""Sent for an account that has no preferences yet, so that every client sees the same text."""


def _double(value: float) -> str:
    """As clients read it; they would take nan and inf for numbers."""
    return f"{value:f}" if math.isfinite(value) else "0.000000"


def outage(text: str, delay: float) -> bytes:
    """The reply of a project that is down: a message, a delay, ``<project_is_down/>`` (spec 01 section 4)."""
    reply = Reply(project_is_down=True)
    reply.message(text, LOW, delay)
    return reply.render()
