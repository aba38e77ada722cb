"""What the web site reads and writes: one protocol, and its implementation on the database.

Rows are dicts with the column names of spec 05. A new implementation (a test's memory, a read replica) needs
only these methods.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from boincdock.db import Connection
from boincdock.db.connector import DuplicateKeyError, like_escape
from boincdock.enums import WuError

Row = dict[str, Any]

RESULT_STATES = ("all", "in progress", "pending", "inconclusive", "valid", "invalid", "error")
"""Index = the ``state`` argument of results.php (spec 06 section 7.2)."""


def result_state(server_state: int, outcome: int, validate_state: int) -> int:
    """The list of results.php a result belongs to: 1 to 6, or 0 for none (unsent, not needed …)."""
    if server_state == 4:
        return 1
    if server_state == 5 and outcome == 1:
        return {0: 2, 4: 3, 1: 4}.get(validate_state, 5)
    if outcome == 6:
        return 5
    return 6 if outcome in (3, 4, 7) else 0


class Duplicate(Exception):
    """A unique column (e-mail, name, key) holds the value already."""


class AccountStore(Protocol):
    """Accounts, sessions, teams."""

    def user_by_id(self, userid: int) -> Row | None: ...
    def user_by_email(self, email_addr: str) -> Row | None: ...
    def user_by_authenticator(self, authenticator: str) -> Row | None: ...
    def name_taken(self, name: str) -> bool: ...
    def names_like(self, prefix: str) -> list[str]: ...
    def previous_email_taken(self, email_addr: str, since: float) -> bool: ...
    def insert_user(self, values: Row, consent: Row | None, team: Row | None) -> int: ...
    def set_passwd_hash(self, userid: int, old_hash: str, new_hash: str) -> bool: ...
    def set_user_info(self, userid: int, name: str, url: str, country: str, postal_code: str) -> None: ...
    def insert_token(self, token: str, userid: int, kind: str, now: int, expires: int) -> None: ...
    def token(self, token: str, kind: str, now: int) -> Row | None: ...
    def delete_token(self, token: str, kind: str) -> None: ...
    def delete_tokens_of_user(self, userid: int, kind: str) -> None: ...
    def consent_type(self, shortname: str) -> Row | None: ...
    def team_by_id(self, teamid: int) -> Row | None: ...
    def team_by_name(self, name: str) -> Row | None: ...
    def teams_by_ids(self, ids: Sequence[int]) -> list[Row]: ...
    def teams_like(self, text: str) -> list[Row]: ...
    def team_members(self, teamid: int) -> list[Row]: ...
    def set_host_venue(self, hostid: int, userid: int, venue: str) -> bool: ...


class PageStore(Protocol):
    """What the public pages show."""

    def platforms(self) -> list[Row]: ...
    def apps(self) -> list[Row]: ...
    def app_versions(self) -> list[Row]: ...
    def hosts_of_user(self, userid: int, seen_since: int) -> list[Row]: ...
    def count_hosts_of_user(self, userid: int) -> int: ...
    def host(self, hostid: int) -> Row | None: ...
    def top_users(self, by_average: bool, start: int, size: int) -> list[Row]: ...
    def top_hosts(self, by_average: bool, start: int, size: int) -> list[Row]: ...
    def results_of(self, kind: str, owner: int, state: int, start: int, size: int) -> list[Row]: ...
    def result_counts(self, kind: str, owner: int) -> list[int]: ...
    def result(self, resultid: int) -> Row | None: ...
    def result_id_by_name(self, name: str) -> int | None: ...
    def results_by(self, ids: Sequence[int], names: Sequence[str]) -> list[Row]: ...
    def workunit(self, wuid: int) -> Row | None: ...
    def results_of_workunit(self, wuid: int) -> list[Row]: ...
    def news(self, since: int, size: int) -> list[Row]: ...
    def news_item(self, threadid: int) -> Row | None: ...


class StatusStore(Protocol):
    """The numbers of the status page."""

    def status_numbers(self, now: int) -> Row: ...


class OpsStore(Protocol):
    """What operators see and do."""

    def recent_results(self, filters: Row, start: int, size: int) -> list[Row]: ...
    def cancel_workunit(self, wuid: int, now: int) -> Row | None: ...
    def recent_users(self) -> list[Row]: ...
    def recent_hosts(self) -> list[Row]: ...
    def publish_news(self, title: str, content: str, as_notice: bool, now: int) -> int: ...
    def hide_news(self, threadid: int) -> None: ...


class WebStore(AccountStore, PageStore, StatusStore, OpsStore, Protocol):
    """All of it."""


class DbStore:
    """``WebStore`` on MariaDB; one connection per thread, made by ``connect`` at first use.

    Every method may raise ``DatabaseError``."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._local = threading.local()

    @property
    def db(self) -> Connection:
        """This thread's connection."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
        return connection

    # Accounts

    def user_by_id(self, userid: int) -> Row | None:
        """The row, or None."""
        return self.db.one("web_account.user_by_id", id=userid)

    def user_by_email(self, email_addr: str) -> Row | None:
        """The row whose address is exactly this lower-case one (the column's collation is laxer)."""
        row = self.db.one("web_account.user_by_email", email_addr=email_addr)
        return row if row and row["email_addr"].lower() == email_addr else None

    def user_by_authenticator(self, authenticator: str) -> Row | None:
        """The row the collation finds; the caller compares the key in constant time."""
        return self.db.one("web_account.user_by_authenticator", authenticator=authenticator)

    def name_taken(self, name: str) -> bool:
        """True if some account has this screen name, by the column's collation."""
        return self.db.one("web_account.name_taken", name=name) is not None

    def names_like(self, prefix: str) -> list[str]:
        """Up to 1000 names that begin with ``prefix``."""
        rows = self.db.all("web_account.names_like", pattern=like_escape(prefix) + "%")
        return [row["name"] for row in rows]

    def previous_email_taken(self, email_addr: str, since: float) -> bool:
        """True if somebody gave up this address after ``since``."""
        return self.db.one("web_account.previous_email_taken", email_addr=email_addr, since=since) is not None

    def insert_user(self, values: Row, consent: Row | None, team: Row | None) -> int:
        """New account with its consent and team membership in one transaction; its id. ``Duplicate`` if the
        address, the name or the key exists."""
        def work() -> int:
            userid = self.db.insert("web_account.insert_user", **values)
            if consent:
                self.db.run("web_account.insert_consent", userid=userid, **consent)
            if team:
                self.db.run("web_account.set_team", id=userid, teamid=team["id"])
                self.db.run("web_account.insert_team_delta", userid=userid, teamid=team["id"],
                            timestamp=values["create_time"], joining=1, total_credit=0)
            return userid
        try:
            return self.db.retrying(work)
        except DuplicateKeyError as error:
            raise Duplicate(str(error)) from error

    def set_passwd_hash(self, userid: int, old_hash: str, new_hash: str) -> bool:
        """Replace the hash that was checked; False if it had changed meanwhile."""
        return self.db.run("web_account.set_passwd_hash", id=userid, old_hash=old_hash, new_hash=new_hash) == 1

    def set_user_info(self, userid: int, name: str, url: str, country: str, postal_code: str) -> None:
        """Store the editable fields; ``Duplicate`` if the name is another account's."""
        try:
            self.db.run("web_account.set_user_info", id=userid, name=name, url=url, country=country,
                        postal_code=postal_code)
        except DuplicateKeyError as error:
            raise Duplicate(str(error)) from error

    def insert_token(self, token: str, userid: int, kind: str, now: int, expires: int) -> None:
        """Store a token of type ``kind``; drops the user's expired ones of that type."""
        self.db.run("web_account.delete_stale_tokens", userid=userid, type=kind, now=now)
        self.db.run("web_account.insert_token", token=token, userid=userid, type=kind, create_time=now,
                    expire_time=expires)

    def token(self, token: str, kind: str, now: int) -> Row | None:
        """userid, create_time, expire_time of a token that has not expired."""
        return self.db.one("web_account.token", token=token, type=kind, now=now)

    def delete_token(self, token: str, kind: str) -> None:
        """Forget one token."""
        self.db.run("web_account.delete_token", token=token, type=kind)

    def delete_tokens_of_user(self, userid: int, kind: str) -> None:
        """Forget all tokens of a type."""
        self.db.run("web_account.delete_tokens_of_user", userid=userid, type=kind)

    def consent_type(self, shortname: str) -> Row | None:
        """id and enabled."""
        return self.db.one("web_account.consent_type", shortname=shortname)

    def team_by_id(self, teamid: int) -> Row | None:
        """The row, or None."""
        return self.db.one("web_account.team_by_id", id=teamid)

    def team_by_name(self, name: str) -> Row | None:
        """The team of exactly this name."""
        row = self.db.one("web_account.team_by_name", name=name)
        return row if row and row["name"] == name else None

    def teams_by_ids(self, ids: Sequence[int]) -> list[Row]:
        """The teams that exist among ``ids``."""
        return self.db.all("web_account.teams_by_ids", ids=list(ids)) if ids else []

    def teams_like(self, text: str) -> list[Row]:
        """Up to 100 teams whose name contains the text, best first."""
        return self.db.all("web_account.teams_like", pattern=f"%{like_escape(text)}%")

    def team_members(self, teamid: int) -> list[Row]:
        """Up to 1000 members, best first."""
        return self.db.all("web_pages.team_members", teamid=teamid)

    def set_host_venue(self, hostid: int, userid: int, venue: str) -> bool:
        """False if the host is not this user's."""
        return self.db.run("web_account.set_host_venue", id=hostid, userid=userid, venue=venue) == 1

    # Pages

    def platforms(self) -> list[Row]:
        """Distinct platform and plan class of what clients can get."""
        return self.db.all("web_pages.platforms")

    def apps(self) -> list[Row]:
        """Applications that are not deprecated."""
        return self.db.all("web_pages.apps")

    def app_versions(self) -> list[Row]:
        """The newest version per app, platform and plan class."""
        return self.db.all("web_pages.app_versions")

    def hosts_of_user(self, userid: int, seen_since: int) -> list[Row]:
        """Up to 1000 computers in contact since then."""
        return self.db.all("web_pages.hosts_of_user", userid=userid, seen_since=seen_since)

    def count_hosts_of_user(self, userid: int) -> int:
        """Number of computers."""
        return int(self.db.value("web_pages.count_hosts_of_user", userid=userid) or 0)

    def host(self, hostid: int) -> Row | None:
        """The row, or None."""
        return self.db.one("web_pages.host", id=hostid)

    def top_users(self, by_average: bool, start: int, size: int) -> list[Row]:
        """A page of the leader board, with team names."""
        name = "web_pages.top_users_average" if by_average else "web_pages.top_users_total"
        return self.db.all(name, start=start, size=size)

    def top_hosts(self, by_average: bool, start: int, size: int) -> list[Row]:
        """A page of the leader board, with ``owner`` and the owner's ``show_hosts``."""
        name = "web_pages.top_hosts_average" if by_average else "web_pages.top_hosts_total"
        return self.db.all(name, start=start, size=size)

    def results_of(self, kind: str, owner: int, state: int, start: int, size: int) -> list[Row]:
        """Tasks of a ``user`` or ``host``, newest first, of one state (0 = all)."""
        name = "web_pages.results_of_host" if kind == "host" else "web_pages.results_of_user"
        return self.db.all(name, owner=owner, state=state, start=start, size=size)

    def result_counts(self, kind: str, owner: int) -> list[int]:
        """Number of tasks per state of ``RESULT_STATES`` among the newest 10,000."""
        name = "web_pages.result_states_of_host" if kind == "host" else "web_pages.result_states_of_user"
        counts = [0] * len(RESULT_STATES)
        for row in self.db.all(name, owner=owner):
            state = result_state(row["server_state"], row["outcome"], row["validate_state"])
            counts[0] += row["n"]
            if state:
                counts[state] += row["n"]
        return counts

    def result(self, resultid: int) -> Row | None:
        """The row with app, version_num, plan_class and platform, or None."""
        return self.db.one("web_pages.result_by_id", id=resultid)

    def result_id_by_name(self, name: str) -> int | None:
        """The id, or None."""
        value = self.db.value("web_pages.result_by_name", name=name)
        return None if value is None else int(value)

    def results_by(self, ids: Sequence[int], names: Sequence[str]) -> list[Row]:
        """Rows by ids, or else by names."""
        if ids:
            return self.db.all("web_pages.results_by_ids", ids=list(ids))
        return self.db.all("web_pages.results_by_names", names=list(names)) if names else []

    def workunit(self, wuid: int) -> Row | None:
        """The row with the app's name and ``adaptive``, or None."""
        return self.db.one("web_pages.workunit", id=wuid)

    def results_of_workunit(self, wuid: int) -> list[Row]:
        """Its instances."""
        return self.db.all("web_pages.results_of_workunit", id=wuid)

    def news(self, since: int, size: int) -> list[Row]:
        """News, newest first: id, title, create_time, status (1 = not a notice), content."""
        return self.db.all("web_pages.news", since=since, size=size)

    def news_item(self, threadid: int) -> Row | None:
        """One piece of news."""
        return self.db.one("web_pages.news_item", id=threadid)

    # Status

    def status_numbers(self, now: int) -> Row:
        """Everything that ``boincdock.web.status`` shows; about twenty indexed counts."""
        value, since = self.db.value, now - 86400
        apps = self.db.all("web_status.all_apps")
        ids = [app["id"] for app in apps] or [0]
        by_app: dict[tuple[int, int], int] = {
            (row["appid"], row["server_state"]): row["n"] for row in self.db.all("web_status.results_by_app")}
        oldest = value("web_status.oldest_transition")
        numbers = {
            "unsent": sum(n for (_, state), n in by_app.items() if state == 2),
            "in_progress": sum(n for (_, state), n in by_app.items() if state == 4),
            "need_validate": int(value("web_status.need_validate", apps=ids)),
            "need_assimilate": int(value("web_status.need_assimilate", apps=ids)),
            "wus_need_delete": int(value("web_status.wus_need_delete")),
            "results_need_delete": int(value("web_status.results_need_delete")),
            "backlog_seconds": max(0, now - int(oldest)) if oldest is not None else 0,
            "users_recent": int(value("web_status.users_recent")),
            "users_with_credit": int(value("web_status.users_with_credit")),
            "users_new": int(value("web_status.users_new", since=since)),
            "hosts_recent": int(value("web_status.hosts_recent")),
            "hosts_with_credit": int(value("web_status.hosts_with_credit")),
            "hosts_new": int(value("web_status.hosts_new", since=since)),
            "gflops": float(value("web_status.credit_per_day") or 0) / 200,
            "total_credit": float(value("web_status.total_credit") or 0),
            "revision": value("web_status.revision"),
        }
        numbers["apps"] = [
            self._app_numbers(app, by_app, since) for app in apps
            if not app["deprecated"] or (app["id"], 2) in by_app or (app["id"], 4) in by_app]
        return numbers

    def _app_numbers(self, app: Row, by_app: dict[tuple[int, int], int], since: int) -> Row:
        times = self.db.one("web_status.runtimes", appid=app["id"], since=since) or {}
        numbers = {"id": app["id"], "name": app["name"], "user_friendly_name": app["user_friendly_name"],
                   "unsent": by_app.get((app["id"], 2), 0), "in_progress": by_app.get((app["id"], 4), 0),
                   "runtime": None}
        if times.get("n"):
            numbers["runtime"] = {"average": float(times["average"]), "shortest": float(times["shortest"]),
                                  "longest": float(times["longest"]), "users": int(times["users"])}
        return numbers

    # Ops

    def recent_results(self, filters: Row, start: int, size: int) -> list[Row]:
        """The newest results; ``filters``: server_state (0 any), outcome (-1 any), appid (0 any)."""
        return self.db.all("web_ops.recent_results", start=start, size=size, **filters)

    def cancel_workunit(self, wuid: int, now: int) -> Row | None:
        """Cancel a job (spec 06 section 8): unsent instances become not needed, the workunit an error that the
        transitioner handles now. Its row before, or None if there is no such job. Idempotent."""
        def work() -> Row | None:
            row = self.db.one("web_ops.workunit_for_update", id=wuid)
            if row and not int(row["error_mask"]) & WuError.CANCELLED and not row["assimilate_state"]:
                self.db.run("web_ops.drop_unsent", id=wuid)
                self.db.run("web_ops.cancel_workunit", id=wuid, now=now)
            return row
        return self.db.retrying(work)

    def recent_users(self) -> list[Row]:
        """The 50 newest accounts."""
        return self.db.all("web_ops.recent_users")

    def recent_hosts(self) -> list[Row]:
        """The 50 newest computers."""
        return self.db.all("web_ops.recent_hosts")

    def publish_news(self, title: str, content: str, as_notice: bool, now: int) -> int:
        """A new thread in the News forum (made if there is none); its id."""
        def work() -> int:
            forum = self.db.value("web_ops.news_forum")
            if forum is None:
                category = self.db.insert("web_ops.insert_category", name="Project")
                forum = self.db.insert("web_ops.insert_news_forum", category=category, now=now)
            thread = self.db.insert("web_ops.insert_thread", forum=forum, title=title, now=now,
                                    status=0 if as_notice else 1)
            self.db.run("web_ops.insert_post", thread=thread, content=content, now=now)
            self.db.run("web_ops.count_post", id=forum, now=now)
            return thread
        return self.db.retrying(work)

    def hide_news(self, threadid: int) -> None:
        """Take a piece of news down."""
        self.db.run("web_ops.hide_thread", id=threadid, hidden=1)
