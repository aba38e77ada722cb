"""Turns bytes into a scheduler reply's fields, so that a byte-level fuzzer reaches the writer with any model values."""

from __future__ import annotations

import struct

from boincdock.protocol.scheduler_reply import Reply

_SPECIAL = (0.0, -1.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 5e-324, 1234.5, 2.0**63)
DOCUMENT = "<workunit>\n    <name>a</name>\n</workunit>\n"


class Source:
    """Takes values from bytes; behind their end everything is 0 or empty."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def raw(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self) -> str:
        """Any text: also control characters, lone surrogates, and far too long ones."""
        how, size = self.byte(), self.byte()
        raw = self.raw(size)
        if how % 3 == 2:
            text = raw[: len(raw) & ~1].decode("utf-16-le", "surrogatepass")
        else:
            text = raw.decode("latin-1" if how % 3 else "utf-8", "replace")
        return text * (1 + (how >> 2)) if how & 128 else text

    def names(self) -> list[str]:
        """Names as the request parser and the database let them through: 254 characters."""
        return [self.text()[:254] for _ in range(self.byte() % 4)]

    def number(self) -> float:
        kind = self.byte()
        if kind < 128:
            return _SPECIAL[kind % len(_SPECIAL)]
        return float(struct.unpack("<d", self.raw(8).ljust(8, b"\0"))[0])

    def integer(self) -> int:
        return int.from_bytes(self.raw(self.byte() % 9), "little", signed=True)

    def flag(self) -> bool:
        return bool(self.byte() & 1)


def reply_from(data: bytes) -> tuple[Reply, int]:
    """A reply, and how many messages it must show."""
    source = Source(data)
    reply = Reply(
        project_name=source.text(),
        master_url=source.text(),
        client_version=source.integer(),
        min_interval=source.number(),
        ended=source.flag(),
        delay=source.number(),
    )
    reply.project_is_down, reply.full = source.byte() % 16 == 1, source.byte() % 4 != 1
    said = set()
    for _ in range(source.byte() % 5):
        text, priority = source.text(), "notice" if source.flag() else "low"
        reply.message(text, priority, source.number())
        said.add((text.encode("utf-8", "replace")[:900].decode("utf-8", "ignore"), priority))
    reply.next_rpc_delay, reply.send_time_stats_log = source.number(), source.integer()
    reply.symstore, reply.new_hostid = source.text(), source.integer()
    account = reply.account
    account.userid, account.user_create_time = source.integer(), source.integer()
    account.host_create_time, account.teamid = source.integer(), source.integer()
    account.user_name, account.team_name, account.host_venue = source.text(), source.text(), source.text()
    account.user_total_credit, account.user_expavg_credit = source.number(), source.number()
    account.host_total_credit, account.host_expavg_credit = source.number(), source.number()
    account.email_hash, account.cross_project_id, account.external_cpid = source.text(), source.text(), source.text()
    reply.acks, reply.aborts, reply.aborts_if_not_started = source.names(), source.names(), source.names()
    reply.delete_files, reply.no_rsc_apps = source.names(), source.names()
    reply.message_ack, reply.non_cpu_intensive = source.flag(), source.flag()
    reply.strict_memory_bound, reply.verify_files_on_app_start = source.flag(), source.flag()
    reply.workunits_xml = [DOCUMENT] * (source.byte() % 3)
    return reply, len(said)
