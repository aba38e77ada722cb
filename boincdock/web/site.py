"""The services that the pages share, and the helpers for arguments and limits."""
from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Response, abort, current_app, request
from werkzeug.exceptions import HTTPException

from boincdock.config import Project
from boincdock.errors import BoincdockError, DatabaseError
from boincdock.web.accounts import AccountError, Accounts
from boincdock.web.master import project_schedulers
from boincdock.web.ratelimit import Limit, RateLimiter, network_of
from boincdock.web.repository import Row, WebStore
from boincdock.web.sessions import Sessions
from boincdock.web.status import StatusCache

if TYPE_CHECKING:
    from boincdock.web.passwords import Passwords

FAILURES_PER_NET = Limit(30, 4)
"""Wrong passwords and unknown addresses from one network: 30 at once, then 15 a minute."""
FAILURES_PER_ACCOUNT = Limit(20, 10)
"""Wrong passwords for one address, from everywhere: 20 at once, then 6 a minute."""
CREATIONS_PER_NET = Limit(60, 10)
"""Sign-ups from one network: 60 at once, then 6 a minute."""

_MAX_ID = 2**63 - 1


class TooMany(BoincdockError):
    """The caller must slow down; answered with HTTP 429."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, int(seconds + 0.999))
        super().__init__(f"Too many attempts. Please try again in {self.seconds} seconds.")


class PlatformCache:
    """Platforms and plan classes for get_project_config: kept for a while, and kept on while there is no
    database (spec 06 section 4.1: the reply must work without one)."""

    def __init__(self, store: WebStore, seconds: float, clock: Callable[[], float]) -> None:
        self._store, self._seconds, self._clock = store, seconds, clock
        self._rows: tuple[tuple[str, str, str], ...] = ()
        self._until = 0.0

    def get(self) -> tuple[tuple[str, str, str], ...]:
        """(platform, user-friendly name, plan class), each once."""
        now = self._clock()
        if now >= self._until:
            try:
                rows = self._store.platforms()
            except DatabaseError:
                return self._rows
            self._rows = tuple((r["name"], r["user_friendly_name"], r["plan_class"] or "") for r in rows)
            self._until = now + self._seconds
        return self._rows


@dataclass
class Site:
    """Everything a view needs; one per application."""

    project: Project
    store: WebStore
    accounts: Accounts
    passwords: Passwords
    sessions: Sessions
    limiter: RateLimiter
    status: StatusCache
    platforms: PlatformCache
    clock: Callable[[], float] = time.time
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("boincdock.web"))

    @property
    def name(self) -> str:
        """The project's long name."""
        return self.project.config.long_name or self.project.name

    @property
    def master_url(self) -> str:
        """The project's URL, always with the final slash."""
        url: str = self.project.config.master_url
        return url if url.endswith("/") else url + "/"

    @property
    def scheduler_urls(self) -> list[str]:
        """What the front page announces."""
        return project_schedulers(self.project)

    def stopped(self) -> bool:
        """True while the file stop_web exists (spec 05 B6)."""
        return self.project.trigger("stop_web").exists()

    def now(self) -> int:
        """Unix time."""
        return int(self.clock())

    # Rate limits

    def check_password(self, email_addr: str, passwd_hash: str) -> Row:
        """``Accounts.check`` behind the limits on failures; ``TooMany`` or ``AccountError``."""
        net = f"fail/{network_of(request.remote_addr or '')}"
        account = f"fail@{email_addr.strip().lower()}"
        self._demand(FAILURES_PER_NET, net)
        self._demand(FAILURES_PER_ACCOUNT, account)
        try:
            return self.accounts.check(email_addr, passwd_hash)
        except AccountError:
            self.limiter.take(FAILURES_PER_NET, net)
            self.limiter.take(FAILURES_PER_ACCOUNT, account)
            raise

    def by_key(self, key: str) -> Row | None:
        """``Accounts.by_key`` behind the limit on failures."""
        net = f"fail/{network_of(request.remote_addr or '')}"
        self._demand(FAILURES_PER_NET, net)
        user = self.accounts.by_key(key)
        if user is None:
            self.limiter.take(FAILURES_PER_NET, net)
        return user

    def count_lookup(self, found: bool) -> None:
        """Count an existence test that found nothing like a failed login, so that addresses cannot be listed."""
        if not found:
            self.limiter.take(FAILURES_PER_NET, f"fail/{network_of(request.remote_addr or '')}")

    def demand_lookup(self) -> None:
        """``TooMany`` if this network failed too often."""
        self._demand(FAILURES_PER_NET, f"fail/{network_of(request.remote_addr or '')}")

    def count_creation(self) -> None:
        """Count a sign-up; ``TooMany`` beyond the limit."""
        key = f"new/{network_of(request.remote_addr or '')}"
        self._demand(CREATIONS_PER_NET, key)
        self.limiter.take(CREATIONS_PER_NET, key)

    def _demand(self, limit: Limit, key: str) -> None:
        seconds = self.limiter.wait(limit, key)
        if seconds > 0:
            raise TooMany(seconds)


def site() -> Site:
    """The site of the current application."""
    found: Site = current_app.extensions["boincdock"]
    return found


def text_arg(name: str, default: str = "", limit: int = 4096) -> str:
    """An argument of the query string or of the posted form, cut at ``limit`` characters."""
    value = request.values.get(name)
    return default if value is None else value[:limit]


def int_arg(name: str, default: int | None = None) -> int:
    """A non-negative number; ``default`` if absent; HTTP 400 if it is none (or absent without default)."""
    value = request.values.get(name, "")
    if value == "" and default is not None:
        return default
    if not re.fullmatch(r"\d{1,19}", value, re.ASCII) or int(value) > _MAX_ID:
        abort(400, f"The argument {name} must be a number.")
    return int(value)


def local_target(target: str) -> str:
    """``next_url`` if it is a bare local page name with plain arguments, else home.php (no open redirect)."""
    return target if re.fullmatch(r"[a-z_]+\.php(\?[A-Za-z0-9_=&%.-]*)?", target) else "home.php"


def is_https(master_url: str) -> bool:
    """True if the project is published over https."""
    return urlsplit(master_url).scheme == "https"


def see_other(location: str) -> Response:
    """HTTP 303: go there with GET."""
    return Response(status=303, headers={"Location": location})


def asks_for(name: str, value: str) -> bool:
    """True if the argument has this value; also safe while a refused body is being answered."""
    if request.args.get(name) == value:
        return True
    try:
        return request.form.get(name) == value
    except HTTPException:
        return False
