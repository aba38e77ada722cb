"""A small project for the tests of the web site: a store in memory with the columns and defaults of schema.sql, and
``World``, which holds the applications, a clock, and browsers. tests/db puts the real store in its place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache

from boincdock.config import Project, load_project
from boincdock.errors import DatabaseError
from boincdock.web.app import create_app
from boincdock.web.ops import create_ops_app
from boincdock.web.passwords import Passwords
from boincdock.web.ratelimit import MemoryRateLimiter
from boincdock.web.repository import RESULT_STATES, Duplicate, Row, WebStore, result_state

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_700_000_000
ANN = {
    "id": 42,
    "create_time": NOW - 1000,
    "email_addr": "ann@example.org",
    "name": "Ann Example",
    "authenticator": "0123456789abcdef0123456789abcdef",
    "country": "France",
    "cross_project_id": "fedcba9876543210fedcba9876543210",
    "passwd_hash": "782394328243fe00696be7548b103000",
    "send_email": 1,
    "show_hosts": 1,
}
"""The account of spec 06 section 3.10."""
ANN_HASH = "782394328243fe00696be7548b103000"
ANN_KEY = "0123456789abcdef0123456789abcdef"
ANN_WEAK = "42_09bf2a9f9cdab53241cd90349ccf1959"


def columns() -> dict[str, Row]:
    """Table -> column -> default, from schema.sql."""
    tables: dict[str, Row] = {}
    current: Row = {}
    for line in (ROOT / "boincdock/db/schema.sql").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"CREATE TABLE `(\w+)`", line):
            current = tables[match[1]] = {}
        elif match := re.match(r"\s+`(\w+)` (\w+)(.*)", line):
            default = re.search(r"DEFAULT \(?('[^']*'|-?[\d.]+)", match[3])
            kind = match[2].upper()
            value: Any = None if default is None else default[1]
            if isinstance(value, str):
                value = (
                    value.strip("'") if value.startswith("'") else float(value) if kind == "DOUBLE" else int(value)
                )
            current[match[1]] = value
    return tables


COLUMNS = columns()


class MemoryStore:
    """``WebStore`` in lists of dicts. ``broken`` makes every access fail like a database that is down."""

    def __init__(self) -> None:
        self._data: dict[str, list[Row]] = {name: [] for name in COLUMNS}
        self.broken = False

    def rows(self, table: str) -> list[Row]:
        if self.broken:
            raise DatabaseError("database: gone")
        return self._data[table]

    def add(self, table: str, **values: Any) -> int:
        assert values.keys() <= COLUMNS[table].keys(), values.keys() - COLUMNS[table].keys()
        row = {**COLUMNS[table], **values}
        if "id" in COLUMNS[table] and not row.get("id"):
            row["id"] = max((r["id"] for r in self._data[table]), default=0) + 1
        self._data[table].append(row)
        return int(row.get("id") or 0)

    def _first(self, table: str, **match: Any) -> Row | None:
        for row in self.rows(table):
            if all(row[k] == v for k, v in match.items()):
                return dict(row)
        return None

    def _update(self, table: str, match: Row, values: Row) -> int:
        hits = [row for row in self.rows(table) if all(row[k] == v for k, v in match.items())]
        for row in hits:
            row.update(values)
        return len(hits)

    def user_by_id(self, userid: int) -> Row | None:
        return self._first("user", id=userid)

    def user_by_email(self, email_addr: str) -> Row | None:
        return self._first("user", email_addr=email_addr)

    def user_by_authenticator(self, authenticator: str) -> Row | None:
        rows = [r for r in self.rows("user") if (r["authenticator"] or "").lower() == authenticator.lower()]
        return dict(rows[0]) if rows else None

    def name_taken(self, name: str) -> bool:
        return any((r["name"] or "").casefold() == name.casefold() for r in self.rows("user"))

    def names_like(self, prefix: str) -> list[str]:
        return [r["name"] for r in self.rows("user") if r["name"].casefold().startswith(prefix.casefold())]

    def previous_email_taken(self, email_addr: str, since: float) -> bool:
        return any(
            r["previous_email_addr"] == email_addr and r["email_addr_change_time"] > since for r in self.rows("user")
        )

    def insert_user(self, values: Row, consent: Row | None, team: Row | None) -> int:
        if self.name_taken(values["name"]) or self.user_by_email(values["email_addr"]):
            raise Duplicate
        userid = self.add(
            "user", **values, send_email=1, expavg_time=values["create_time"], teamid=team["id"] if team else 0
        )
        if consent:
            self.add("consent", userid=userid, **consent)
        if team:
            self.add("team_delta", userid=userid, teamid=team["id"], timestamp=values["create_time"], joining=1)
        return userid

    def set_passwd_hash(self, userid: int, old_hash: str, new_hash: str) -> bool:
        return self._update("user", {"id": userid, "passwd_hash": old_hash}, {"passwd_hash": new_hash}) == 1

    def set_user_info(self, userid: int, name: str, url: str, country: str, postal_code: str) -> None:
        if any(r["name"].casefold() == name.casefold() and r["id"] != userid for r in self.rows("user")):
            raise Duplicate
        self._update(
            "user", {"id": userid}, {"name": name, "url": url, "country": country, "postal_code": postal_code}
        )

    def insert_token(self, token: str, userid: int, kind: str, now: int, expires: int) -> None:
        self.rows("token")
        self.add("token", token=token, userid=userid, type=kind, create_time=now, expire_time=expires)

    def token(self, token: str, kind: str, now: int) -> Row | None:
        row = self._first("token", token=token, type=kind)
        return row if row and row["expire_time"] > now else None

    def delete_token(self, token: str, kind: str) -> None:
        self._data["token"] = [r for r in self.rows("token") if (r["token"], r["type"]) != (token, kind)]

    def delete_tokens_of_user(self, userid: int, kind: str) -> None:
        self._data["token"] = [r for r in self.rows("token") if (r["userid"], r["type"]) != (userid, kind)]

    def consent_type(self, shortname: str) -> Row | None:
        return self._first("consent_type", shortname=shortname)

    def team_by_id(self, teamid: int) -> Row | None:
        return self._first("team", id=teamid)

    def team_by_name(self, name: str) -> Row | None:
        return self._first("team", name=name)

    def teams_by_ids(self, ids: Sequence[int]) -> list[Row]:
        return [dict(r) for r in self.rows("team") if r["id"] in ids]

    def teams_like(self, text: str) -> list[Row]:
        found = [dict(r) for r in self.rows("team") if text.casefold() in r["name"].casefold()]
        return sorted(found, key=lambda r: -r["expavg_credit"])[:100]

    def team_members(self, teamid: int) -> list[Row]:
        return sorted(
            (dict(r) for r in self.rows("user") if r["teamid"] == teamid), key=lambda r: -r["expavg_credit"]
        )

    def set_host_venue(self, hostid: int, userid: int, venue: str) -> bool:
        return self._update("host", {"id": hostid, "userid": userid}, {"venue": venue}) == 1

    def platforms(self) -> list[Row]:
        found = {}
        for v in self.rows("app_version"):
            app, platform = self._first("app", id=v["appid"]), self._first("platform", id=v["platformid"])
            if app and platform and not (v["deprecated"] or app["deprecated"] or platform["deprecated"]):
                found[platform["name"], v["plan_class"]] = {
                    "name": platform["name"],
                    "user_friendly_name": platform["user_friendly_name"],
                    "plan_class": v["plan_class"],
                }
        return [found[key] for key in sorted(found)]

    def apps(self) -> list[Row]:
        return [dict(r) for r in self.rows("app") if not r["deprecated"]]

    def app_versions(self) -> list[Row]:
        found = []
        for v in self.rows("app_version"):
            platform = self._first("platform", id=v["platformid"]) or {}
            newer = any(
                o["version_num"] > v["version_num"]
                and all(o[k] == v[k] for k in ("appid", "platformid", "plan_class"))
                for o in self.rows("app_version")
                if not o["deprecated"]
            )
            if not newer and not v["deprecated"]:
                found.append(
                    {**v, "platform": platform.get("name"), "platform_name": platform.get("user_friendly_name")}
                )
        return found

    def hosts_of_user(self, userid: int, seen_since: int) -> list[Row]:
        return [dict(r) for r in self.rows("host") if r["userid"] == userid and r["rpc_time"] > seen_since]

    def count_hosts_of_user(self, userid: int) -> int:
        return sum(r["userid"] == userid for r in self.rows("host"))

    def host(self, hostid: int) -> Row | None:
        return self._first("host", id=hostid)

    def top_users(self, by_average: bool, start: int, size: int) -> list[Row]:
        key = "expavg_credit" if by_average else "total_credit"
        rows = sorted((r for r in self.rows("user") if r[key] > 0), key=lambda r: -r[key])[start : start + size]
        return [{**r, "team_name": (self.team_by_id(r["teamid"]) or {}).get("name")} for r in rows]

    def top_hosts(self, by_average: bool, start: int, size: int) -> list[Row]:
        key = "expavg_credit" if by_average else "total_credit"
        rows = sorted((r for r in self.rows("host") if r[key] > 0), key=lambda r: -r[key])[start : start + size]
        owners = {r["id"]: r for r in self.rows("user")}
        return [
            {
                **r,
                "owner": owners.get(r["userid"], {}).get("name"),
                "show_hosts": owners.get(r["userid"], {}).get("show_hosts"),
            }
            for r in rows
        ]

    def results_of(self, kind: str, owner: int, state: int, start: int, size: int) -> list[Row]:
        rows = [
            {**r, "app": (self._first("app", id=r["appid"]) or {}).get("user_friendly_name")}
            for r in self.rows("result")
            if r[f"{kind}id"] == owner
            and state in (0, result_state(r["server_state"], r["outcome"], r["validate_state"]))
        ]
        return sorted(rows, key=lambda r: -r["id"])[start : start + size]

    def result_counts(self, kind: str, owner: int) -> list[int]:
        return [len(self.results_of(kind, owner, state, 0, 10**9)) for state in range(len(RESULT_STATES))]

    def result(self, resultid: int) -> Row | None:
        row = self._first("result", id=resultid)
        if row:
            version = self._first("app_version", id=row["app_version_id"]) or {}
            platform = self._first("platform", id=version.get("platformid")) or {}
            app = self._first("app", id=row["appid"]) or {}
            row.update(
                app=app.get("user_friendly_name"),
                version_num=version.get("version_num"),
                plan_class=version.get("plan_class"),
                platform=platform.get("name"),
            )
        return row

    def result_id_by_name(self, name: str) -> int | None:
        row = self._first("result", name=name)
        return row["id"] if row else None

    def results_by(self, ids: Sequence[int], names: Sequence[str]) -> list[Row]:
        return [dict(r) for r in self.rows("result") if r["id"] in ids or r["name"] in names]

    def workunit(self, wuid: int) -> Row | None:
        row = self._first("workunit", id=wuid)
        if row:
            app = self._first("app", id=row["appid"]) or {}
            row.update(app=app.get("user_friendly_name"), adaptive=app.get("target_nresults"))
        return row

    def results_of_workunit(self, wuid: int) -> list[Row]:
        return [dict(r) for r in self.rows("result") if r["workunitid"] == wuid]

    def news(self, since: int, size: int) -> list[Row]:
        forums = {f["id"] for f in self.rows("forum") if f["is_dev_blog"] and not f["parent_type"]}
        found = [
            {**t, "content": p["content"]}
            for t in self.rows("thread")
            for p in self.rows("post")
            if t["forum"] in forums and p["thread"] == t["id"] and not t["hidden"] and t["create_time"] > since
        ]
        return sorted(found, key=lambda t: (-t["create_time"], -t["id"]))[:size]

    def news_item(self, threadid: int) -> Row | None:
        return next((t for t in self.news(0, 10**6) if t["id"] == threadid), None)

    def status_numbers(self, now: int) -> Row:
        def count(table: str, **match: Any) -> int:
            return sum(all(r[k] == v for k, v in match.items()) for r in self.rows(table))

        def above(table: str, column: str, least: float) -> int:
            return sum(r[column] > least for r in self.rows(table))

        times = [w["transition_time"] for w in self.rows("workunit")]
        numbers: Row = {
            "unsent": count("result", server_state=2),
            "in_progress": count("result", server_state=4),
            "need_validate": count("workunit", need_validate=1),
            "need_assimilate": count("workunit", assimilate_state=1),
            "wus_need_delete": count("workunit", file_delete_state=1),
            "results_need_delete": count("result", file_delete_state=1),
            "backlog_seconds": max(0, now - min(times)) if times else 0,
            "gflops": sum(u["expavg_credit"] for u in self.rows("user")) / 200,
            "total_credit": sum(u["total_credit"] for u in self.rows("user")),
            "revision": 1,
            "apps": [],
        }
        for kind in ("user", "host"):
            numbers[f"{kind}s_recent"] = above(kind, "expavg_credit", 1)
            numbers[f"{kind}s_with_credit"] = above(kind, "total_credit", 1)
            numbers[f"{kind}s_new"] = above(kind, "create_time", now - 86400)
        for app in self.apps():
            times = [
                r["elapsed_time"]
                for r in self.rows("result")
                if r["appid"] == app["id"]
                and r["server_state"] == 5
                and r["validate_state"] == 1
                and r["received_time"] > now - 86400
            ]
            users = {r["userid"] for r in self.rows("result") if r["appid"] == app["id"] and r["validate_state"] == 1}
            numbers["apps"].append(
                {
                    "id": app["id"],
                    "name": app["name"],
                    "user_friendly_name": app["user_friendly_name"],
                    "unsent": count("result", appid=app["id"], server_state=2),
                    "in_progress": count("result", appid=app["id"], server_state=4),
                    "runtime": {
                        "average": sum(times) / len(times),
                        "shortest": min(times),
                        "longest": max(times),
                        "users": len(users),
                    }
                    if times
                    else None,
                }
            )
        return numbers

    def recent_results(self, filters: Row, start: int, size: int) -> list[Row]:
        found = []
        for r in sorted(self.rows("result"), key=lambda r: -r["id"]):
            if (
                filters["server_state"] in (0, r["server_state"])
                and filters["outcome"] in (-1, r["outcome"])
                and filters["appid"] in (0, r["appid"])
            ):
                found.append(
                    {
                        **r,
                        "app": (self._first("app", id=r["appid"]) or {}).get("name"),
                        "domain_name": (self.host(r["hostid"]) or {}).get("domain_name"),
                        "error_mask": (self._first("workunit", id=r["workunitid"]) or {}).get("error_mask"),
                    }
                )
        return found[start : start + size]

    def cancel_workunit(self, wuid: int, now: int) -> Row | None:
        row = self._first("workunit", id=wuid)
        if row and not row["error_mask"] & 16 and not row["assimilate_state"]:
            for state in (1, 2):
                self._update("result", {"workunitid": wuid, "server_state": state}, {"server_state": 5, "outcome": 5})
            self._update("workunit", {"id": wuid}, {"error_mask": row["error_mask"] | 16, "transition_time": now})
        return row

    def recent_users(self) -> list[Row]:
        return sorted((dict(r) for r in self.rows("user")), key=lambda r: -r["id"])[:50]

    def recent_hosts(self) -> list[Row]:
        return [{**r, "owner": (self.user_by_id(r["userid"]) or {}).get("name")} for r in self.rows("host")]

    def publish_news(self, title: str, content: str, as_notice: bool, now: int) -> int:
        forum = next((f["id"] for f in self.rows("forum") if f["is_dev_blog"]), None) or self.add(
            "forum", title="News", is_dev_blog=1
        )
        thread = self.add("thread", forum=forum, title=title, create_time=now, status=0 if as_notice else 1)
        self.add("post", thread=thread, content=content)
        return thread

    def hide_news(self, threadid: int) -> None:
        self._update("thread", {"id": threadid}, {"hidden": 1})


class Form(HTMLParser):
    """Reads the forms of a page: action -> {field: value}."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self._current: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._current = self.forms.setdefault(given.get("action") or "", {})
        elif tag in ("input", "textarea") and given.get("name") and given.get("type") != "checkbox":
            self._current[given["name"] or ""] = given.get("value") or ""


class _Bytecode(BytecodeCache):
    """Compiled templates shared by all applications of a test run: compiling them is most of a page's time."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


_BYTECODE = _Bytecode()


class World:
    """A project, its store, and its two applications mounted at /p and /p_ops."""

    def __init__(
        self, directory: Path, store: WebStore | None = None, options: str = "", url: str = "http://127.0.0.1:8080/p/"
    ) -> None:
        self.dir, self.now = directory, float(NOW)
        self.write_config(options, url)
        self.project: Project = load_project(directory)
        self.store: Any = store if store is not None else MemoryStore()
        self.limiter = MemoryRateLimiter(lambda: self.now)
        arguments: Any = {"store": self.store, "limiter": self.limiter, "clock": lambda: self.now, "password_cost": 4}
        self.app = create_app(self.project, **arguments)
        self.ops_app = create_ops_app(self.project, **arguments)
        for app in (self.app, self.ops_app):
            app.jinja_env.bytecode_cache = _BYTECODE
        self.app.testing = self.ops_app.testing = False
        self.passwords = Passwords(4)

    def write_config(self, options: str, url: str) -> None:
        for name in ("html/user", "html/ops", "html/project", "log_h", "pid_h", "tmp_h"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        (self.dir / "config.xml").write_text(
            f"<boinc><config><long_name>Test &amp; Try</long_name><host>h</host><master_url>{url}</master_url>"
            f"<show_results>1</show_results>{options}</config><daemons><daemon><cmd>transitioner</cmd></daemon>"
            "<daemon><cmd>sample_bitwise_validator --app worker</cmd></daemon></daemons></boinc>",
            encoding="utf-8",
        )

    def insert(self, table: str, **values: Any) -> int:
        """A row; the database's world overrides this."""
        found: int = self.store.add(table, **values)
        return found

    def row(self, table: str, rowid: int) -> Row:
        """A row by id."""
        return next(r for r in self.store.rows(table) if r["id"] == rowid)

    def count(self, table: str) -> int:
        """Number of rows."""
        return len(self.store.rows(table))

    def ann(self, **changes: Any) -> int:
        """The account of spec 06 section 3.10."""
        return self.insert("user", **{**ANN, **changes})

    def browser(self) -> Browser:
        """Somebody with cookies."""
        return Browser(self.app.test_client(), "/p")

    def ops(self, password: str | None = "secret") -> Browser:
        """An operator, or a stranger at the ops site."""
        return Browser(self.ops_app.test_client(), "/p_ops", ("admin", password) if password is not None else None)

    def get(self, path: str, **query: Any) -> str:
        """The body of an RPC, which must be HTTP 200 and XML."""
        response = self.browser().get(path, query_string=query)
        assert response.status_code == 200, response.text
        assert response.content_type == "text/xml; charset=utf-8"
        return response.text


class Browser:
    """A Flask test client below a mount point, with cookies, as mod_wsgi would call the application."""

    def __init__(self, client: FlaskClient, mount: str, auth: tuple[str, str] | None = None) -> None:
        self.client, self.mount, self.auth = client, mount, auth

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        environ = {"SCRIPT_NAME": self.mount, "HTTP_HOST": "127.0.0.1:8080", **kwargs.pop("environ", {})}
        if self.auth:
            kwargs["auth"] = self.auth
        return self.client.open(
            "/" + path.removeprefix(self.mount + "/"), method=method, environ_overrides=environ, **kwargs
        )

    def get(self, path: str, **kwargs: Any) -> Any:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, data: Any = None, **kwargs: Any) -> Any:
        return self.request("POST", path, data=data or {}, **kwargs)

    def submit(self, page: str, action: str, **values: str) -> Any:
        """Open a page and send the form whose action ends with ``action``."""
        opened = self.get(page)
        forms = Form(opened.text).forms
        target = next((a for a in forms if a.partition("?")[0].endswith(action)), None)
        assert target is not None, f"{page} has no form {action}: {list(forms)}"
        return self.post(target, {**forms[target], **values})

    def log_in(self, email: str = "ann@example.org", password: str = "correcthorse") -> Any:
        return self.submit("login_form.php", "login_action.php", email_addr=email, passwd=password)
