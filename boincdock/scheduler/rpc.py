"""The state of one scheduler RPC while it is handled."""
from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boincdock.protocol.prefs import GlobalPrefs, ProjectPrefs
from boincdock.protocol.scheduler_reply import LOW, NOTICE, Reply
from boincdock.protocol.scheduler_request import SchedulerRequest
from boincdock.scheduler.failed_keys import FailedKeys
from boincdock.scheduler.hr import hr_class
from boincdock.scheduler.model import App, Hav, Row, text_of
from boincdock.scheduler.repository import Repository
from boincdock.scheduler.snapshot import Snapshot
from boincdock.scheduler.window import ANY_HOST, HostKind

log = logging.getLogger(__name__)


class StopRpc(Exception):
    """The RPC ends here; the reply holds what to say. What was written so far is kept."""


@dataclass(slots=True)
class User:
    """The account of the request (columns ``u_*`` of the queries)."""

    id: int
    create_time: int = 0
    name: str = ""
    email_addr: str = ""
    authenticator: str = ""
    passwd_hash: str = ""
    total_credit: float = 0.0
    expavg_credit: float = 0.0
    global_prefs: str = ""
    project_prefs: str = ""
    teamid: int = 0
    venue: str = ""
    cross_project_id: str = ""
    own_jobs_only: bool = False
    team_name: str = ""

    @classmethod
    def of(cls, row: Row) -> User:
        """From a row with ``u_*`` columns."""
        return cls(
            row["u_id"], row["u_create_time"], text_of(row["u_name"]), text_of(row["u_email_addr"]),
            text_of(row["u_authenticator"]), text_of(row["u_passwd_hash"]), row["u_total_credit"],
            row["u_expavg_credit"], text_of(row["u_global_prefs"]), text_of(row["u_project_prefs"]),
            row["u_teamid"], text_of(row["u_venue"]), text_of(row["u_cross_project_id"]),
            bool(row["u_seti_id"]), text_of(row["u_team_name"]),
        )


@dataclass(slots=True)
class Rpc:
    """One request being handled. ``now`` is Unix seconds; ``peer`` the client's address."""

    config: Any
    snapshot: Snapshot
    repo: Repository
    request: SchedulerRequest
    reply: Reply
    now: int
    peer: str = ""
    project_dir: Path = field(default_factory=Path)
    rng: random.Random = field(default_factory=random.Random)
    bad_keys: FailedKeys | None = None
    user: User = field(default_factory=lambda: User(0))
    host: Row = field(default_factory=dict)
    hostid: int = 0
    weak: bool = False
    matched: bool = False
    """The host was found or made without a valid host id: the reply carries ``hostid``."""
    created: bool = False
    platforms: list[tuple[int, str]] = field(default_factory=list)
    global_prefs: GlobalPrefs = field(default_factory=GlobalPrefs)
    project_prefs: ProjectPrefs = field(default_factory=ProjectPrefs)
    hav: dict[int, Hav] = field(default_factory=dict)
    may_send_work: bool = True
    force_resend: bool = False
    resent: int = 0
    sent: int = 0
    n_reported: int = 0
    hav_writes: list[Callable[[], None]] = field(default_factory=list)
    """Done after all workunits and results, in the lock order of spec 03 section 18."""
    user_writes: list[Callable[[], None]] = field(default_factory=list)
    """Done last, for the same reason."""
    lines: list[str] = field(default_factory=list)
    """For the log, once the transaction is committed."""

    @property
    def venue(self) -> str:
        """The host's venue."""
        return text_of(self.host.get("venue"))

    @property
    def wants_jobs(self) -> bool:
        """The client itself asks for work."""
        r = self.request
        return not r.dont_send_work and (
            r.work_req_seconds > 0
            or r.cpu_req_secs > 0
            or any(c.count > 0 and c.req_secs != 0 for c in r.coprocs)
        )

    @property
    def asks_for_work(self) -> bool:
        """Spec 01 section 5.1, last line: with a non-CPU-intensive app every request counts."""
        return self.wants_jobs or (bool(self.snapshot.nci_apps) and not self.request.dont_send_work)

    def kind_of_host(self, app: App) -> HostKind:
        """Where in the queue of an app to look for jobs that may go to this host."""
        kind = app.homogeneous_redundancy or self.config.homogeneous_redundancy
        if not kind and not app.homogeneous_app_version:
            return ANY_HOST
        mine = {platformid for platformid, _ in self.platforms}
        others = (
            v.id for v in self.snapshot.version_by_id.values() if v.appid == app.id and v.platformid not in mine
        )
        return HostKind(
            hr_class(kind, self.request.host) if kind else 0,
            tuple(sorted(others)) if app.homogeneous_app_version else (),
        )

    def log(self, text: str, *args: object) -> None:
        """A line for the log that is true only if the transaction is committed."""
        if log.isEnabledFor(logging.INFO):
            self.lines.append(text % args)

    def debug(self, flag: str, text: str, *args: object) -> None:
        """A log line for operators who set ``debug_<flag>`` in config.xml."""
        if getattr(self.config, f"debug_{flag}", False):
            log.info("[%s] [HOST#%d] " + text, flag, self.hostid or self.request.hostid, *args)

    def low(self, text: str, delay: float = 0.0) -> None:
        """A message for the event log."""
        self.reply.message(text, LOW, delay)

    def notice(self, text: str, delay: float = 0.0) -> None:
        """A message that pops up."""
        self.reply.message(text, NOTICE, delay)
