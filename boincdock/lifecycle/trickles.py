"""Messages that running applications send to the project (trickle-ups), and handlers of them (spec 03 section 15).

A handler of one's own is a subclass of ``TrickleHandler``::

    class MyHandler(TrickleHandler):
        name = "my_trickle_handler"

        def handle(self, message):
            value = message.number("temperature")
            self.send(message.hostid, "answer", f"<result_name>{message.text('result_name')}</result_name>\n")

``handle`` runs in the transaction that marks the message handled, so what it writes to the database through
``self.db`` happens exactly once. Any exception but a lost database means that it cannot be handled: it is logged,
what was written is undone, and the message is marked all the same.
"""
from __future__ import annotations

import argparse
import logging
import re
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from boincdock.db import Connection
from boincdock.enums import ServerState
from boincdock.errors import DatabaseError, InputError
from boincdock.lifecycle import granting
from boincdock.lifecycle.credit import CREDIT_PER_FLOP
from boincdock.lifecycle.daemon import Daemon
from boincdock.lifecycle.model import Result

logger = logging.getLogger("boincdock.trickle")

BATCH = 200
MAX_MESSAGE = 1 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """A trickle-up as stored."""

    id: int
    create_time: int
    hostid: int
    variety: str
    xml: str

    @property
    def tag(self) -> str:
        """How logs name it."""
        return f"[MSG#{self.id} {self.variety} from HOST#{self.hostid}]"

    def text(self, element: str) -> str:
        """The content of the first such element; ``InputError`` if there is none."""
        match = re.search(rf"<{re.escape(element)}>\s*([^<]*?)\s*</{re.escape(element)}>", self.xml[:MAX_MESSAGE])
        if match is None:
            raise InputError(f"the message has no <{element}>")
        return match.group(1)

    def number(self, element: str) -> float:
        """Its value as a finite number; ``InputError`` if it is none."""
        text = self.text(element)
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) < 1e300:
            raise InputError(f"<{element}> is not a number: {text[:40]!r}")
        return value


class TrickleHandler(Daemon):
    """Base class of trickle handlers; see the module's text."""

    name = "trickle_handler"
    any_variety: ClassVar[bool] = False
    handled_value: ClassVar[int] = 1
    failed_value: ClassVar[int] = 1
    """What ``handled`` becomes after a failure; 0 leaves the message for the next start of the daemon."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._after = 0

    def handle(self, message: Message) -> None:
        """Do what the message asks for, inside a transaction."""
        raise NotImplementedError

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """``--variety``."""
        if not cls.any_variety:
            parser.add_argument("--variety", required=True, metavar="X", help="the kind of messages to handle")

    def default_name(self) -> str:
        """With the variety, so that handlers of several kinds can run."""
        return self.name if self.any_variety else f"{self.name}.{self.options.variety}"

    def send(self, hostid: int, variety: str, body: str) -> None:
        """Queue a trickle-down; ``body`` are its lines, ``<result_name>`` first. Sent with the host's next RPC if
        config.xml has <msg_to_host/>."""
        text = body if body.endswith("\n") else body + "\n"
        self.db.insert("trickle.insert_down", now=self.now, hostid=hostid, variety=variety,
                       xml=f"<trickle_down>\n{text}</trickle_down>\n")

    def run_once(self) -> int:
        """Handle the next messages."""
        rows = self.db.all("trickle.pending", after=self._after, any=int(self.any_variety), limit=BATCH,
                           variety="" if self.any_variety else self.options.variety)
        for done, row in enumerate(rows):
            if self.stopping():
                return done
            self._one(row["id"])
            if not self.failed_value:
                self._after = row["id"]
        return len(rows)

    def _one(self, message_id: int) -> None:
        def work() -> Message | None:
            row = self.db.one("trickle.claim", id=message_id)
            if row is None:
                return None
            message = Message(row["id"], row["create_time"], row["hostid"], row["variety"], row["xml"] or "")
            self.handle(message)
            self.db.run("trickle.mark", id=message_id, value=self.handled_value)
            return message

        try:
            message = self.db.retrying(work)
        except DatabaseError:
            raise
        except Exception as error:
            logger.critical("[MSG#%d] cannot be handled: %s", message_id, error,
                            exc_info=None if isinstance(error, InputError) else error)
            if self.failed_value:
                self.db.run("trickle.mark", id=message_id, value=self.failed_value)
            return
        if message:
            logger.info("%s handled", message.tag)


class TrickleCredit(TrickleHandler):
    """Grants credit for the run time that the application reports in ``<runtime>``."""

    name = "trickle_credit"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._median = self._high = 0.0

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """``--max_runtime`` besides the variety."""
        super().add_options(parser)
        parser.add_argument("--max_runtime", type=float, required=True, metavar="S",
                            help="most seconds that one message can claim")

    def setup(self) -> None:
        """Learn how fast the project's active hosts are."""
        if not self.options.max_runtime > 0:
            raise InputError("--max_runtime must be above 0")
        count = int(self.db.value("trickle.active_hosts") or 0)
        if not count:
            raise InputError("no host has recent average credit above 10 yet, so typical speeds are not known",
                             hint="start trickle_credit when the first hosts have earned credit")
        self._median = float(self.db.value("trickle.speed_at", place=count // 2))
        self._high = float(self.db.value("trickle.speed_at", place=min(count - 1, count * 95 // 100)))

    def handle(self, message: Message) -> None:
        """Grant, to host, user and team."""
        runtime = message.number("runtime")
        if runtime <= 0:
            raise InputError(f"<runtime> {runtime:g} is not above 0")
        host = self.db.one("trickle.host", id=message.hostid)
        if host is None:
            raise InputError("the host does not exist any more")
        credit = runtime_credit(runtime, self.options.max_runtime, host["p_fpops"], self._median, self._high)
        now = self.now
        # No result belongs to it; received before sent means that no turnaround is learned.
        work = Result(0, hostid=host["id"], userid=host["userid"], teamid=host["teamid"] or 0, sent_time=now - 86400,
                      received_time=now - 86401)
        granting.grant(self.db, [granting.Grant(work, credit)], now, by_app=False)
        logger.info("%s %g credits for %g s", message.tag, credit, runtime)


def runtime_credit(runtime: float, max_runtime: float, p_fpops: float, median: float, high: float) -> float:
    """Credit for a run time: at most ``max_runtime`` seconds at the host's benchmark speed, which counts as
    the median if negative and as at most ``high``."""
    flops = median if p_fpops < 0 else min(p_fpops, high)
    return min(runtime, max_runtime) * flops * CREDIT_PER_FLOP


class TrickleDeadline(TrickleHandler):
    """Puts off the deadline of the result that sends the message, if that is near."""

    name = "trickle_deadline"

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """The two periods, besides the variety."""
        super().add_options(parser)
        parser.add_argument("--extension_period", type=int, required=True, metavar="S",
                            help="put the deadline off by S seconds")
        parser.add_argument("--extension_timeframe", type=int, required=True, metavar="S",
                            help="only if it is at most S seconds away")

    def setup(self) -> None:
        """Refuse periods that make no sense."""
        if self.options.extension_period < 1 or self.options.extension_timeframe < 1:
            raise InputError("--extension_period and --extension_timeframe must be at least 1 second")

    def handle(self, message: Message) -> None:
        """Extend; the transitioner looks at the workunit at the old deadline and finds the new one."""
        name = message.text("result_name")
        row = self.db.one("trickle.result", name=name, hostid=message.hostid)
        if row is None:
            raise InputError(f"host {message.hostid} has no result {name[:80]!r}")
        left = row["report_deadline"] - self.now
        if row["server_state"] == ServerState.IN_PROGRESS and 0 <= left <= self.options.extension_timeframe:
            self.db.run("trickle.extend", id=row["id"], seconds=self.options.extension_period)
            logger.info("%s deadline of %s put off by %d s", message.tag, name, self.options.extension_period)


class TrickleEcho(TrickleHandler):
    """Sends every message back, for tests of applications."""

    name = "trickle_echo"

    def handle(self, message: Message) -> None:
        """Answer with the same lines."""
        self.send(message.hostid, message.variety, message.xml)


class MessageHandler(TrickleEcho):
    """Sends back messages of every variety; one that fails stays."""

    name = "message_handler"
    any_variety = True
    failed_value = 0


def purge(db: Connection, min_age: float, now: float | None = None, limit: int = 5000) -> int:
    """Delete handled messages older than ``min_age`` seconds, in short statements; their number."""
    before, count = int((time.time() if now is None else now) - min_age), 0
    for query in ("trickle.purge_up", "trickle.purge_down"):
        while done := db.run(query, before=before, limit=limit):
            count += done
    return count
