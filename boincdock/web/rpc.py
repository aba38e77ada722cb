"""The web RPCs of clients, the Manager, account managers and statistics sites (spec 06 sections 4 and 5).

They identify callers by the arguments alone and never look at cookies. Whatever goes wrong is HTTP 200 with an
<error> (a client reads nothing else), but for the rate limit, which is HTTP 429 with the same body.
"""
from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from flask import Blueprint, Response, request

import boincdock
from boincdock.protocol import account_xml as ax
from boincdock.web.accounts import AccountError, NewAccount, is_disabled, read_text
from boincdock.web.repository import Row
from boincdock.web.show import VENUES, paragraphs
from boincdock.web.site import Site, site, text_arg

blueprint = Blueprint("rpc", __name__)

NEWS_DAYS = 30
LOGIN_TOKEN_LIFE = 86400
_BOTH = ["GET", "POST"]


def xml(body: str, status: int = 200) -> Response:
    """An XML reply."""
    response = Response(body, status=status, content_type="text/xml; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def rpc(path: str) -> Callable[[Callable[[], str]], Callable[[], Response]]:
    """Register a function that returns a document, for GET and POST, closed while the web site is stopped."""
    def register(function: Callable[[], str]) -> Callable[[], Response]:
        @wraps(function)
        def view() -> Response:
            if site().stopped():
                return xml(ax.error_document(ax.ERR_PROJECT_DOWN))
            return xml(function())
        blueprint.add_url_rule(path, endpoint=function.__name__, view_func=view, methods=_BOTH)
        return view
    return register


def mandatory(name: str) -> str:
    """An argument that must be there (it may be empty): −1 with upstream's text otherwise."""
    value = request.values.get(name)
    if value is None:
        raise AccountError(ax.ERR_GENERIC, f"missing or bad parameter: {name}")
    return value[:4096]


def number_arg(name: str, default: int | None = None) -> int:
    """A non-negative number; −1 with upstream's text if it is none."""
    value = request.values.get(name, "")
    if value == "" and default is not None:
        return default
    if not re.fullmatch(r"\d{1,18}", value, re.ASCII):
        raise AccountError(ax.ERR_GENERIC, f"missing or bad parameter: {name}")
    return int(value)


def account_key() -> str:
    """The strong key from the argument, or from an ``Authorization: Bearer`` header (spec 06 5.2)."""
    header = request.headers.get("Authorization", "")
    return text_arg("account_key") or text_arg("auth") or header.removeprefix("Bearer ").strip()


def keyed_user() -> Row:
    """The account of ``account_key``; −136 if there is none (weak keys are none)."""
    user = site().by_key(account_key())
    if user is None:
        raise AccountError(ax.ERR_NOT_FOUND)
    return user


# Project and accounts

@blueprint.route("/get_project_config.php", methods=_BOTH)
def get_project_config() -> Response:
    """What a client asks before it attaches; works while stopped and without a database."""
    return xml(ax.project_config_document(project_config(site())))


def project_config(here: Site) -> ax.ProjectConfig:
    """The reply's content, from configuration, trigger files and (if it answers) the database."""
    config, accounts = here.project.config, here.accounts
    revision = read_text(here.project, "local.revision", 100).strip()
    no_creation = bool(config.disable_account_creation
                       or (config.disable_account_creation_rpc and config.no_web_account_creation))
    return ax.ProjectConfig(
        name=here.name, master_url=here.master_url, web_rpc_url_base=here.master_url,
        server_version=getattr(boincdock, "__version__", "1.0.0"),
        local_revision=int(revision) if re.fullmatch(r"\d{1,9}", revision) else None,
        account_manager=config.account_manager, web_stopped=here.stopped(),
        sched_stopped=here.project.trigger("stop_sched").exists(), account_creation_disabled=no_creation,
        client_account_creation_disabled=bool(config.disable_account_creation_rpc) and not no_creation,
        invite_code_required=bool(accounts.invite_pattern(from_client=True)),
        min_passwd_length=config.min_passwd_length, min_client_version=config.min_core_client_version,
        platforms=here.platforms.get(), terms_of_use=accounts.terms_text(),
        keywords_xml=read_text(here.project, "project_keywords.xml", 1 << 20))


@rpc("/lookup_account.php")
def lookup_account() -> str:
    """E-mail and password hash -> account key; without a hash only whether the account exists."""
    if text_arg("ldap_auth") == "1":
        raise AccountError(ax.ERR_BAD_USER_NAME, "This project has no LDAP login.")
    if text_arg("server_assigned_cookie") == "1":
        raise AccountError(ax.ERR_GENERIC, "This project does not use server-assigned cookies.")
    email_addr, here = mandatory("email_addr"), site()
    passwd_hash = text_arg("passwd_hash")
    if not passwd_hash:
        here.demand_lookup()
        found = here.accounts.exists(email_addr)
        here.count_lookup(found)
        if not found:
            raise AccountError(ax.ERR_NOT_FOUND)
        return ax.account_out(None)
    return ax.account_out(here.check_password(email_addr, passwd_hash)["authenticator"])


@rpc("/create_account.php")
def create_account() -> str:
    """Make an account, or give the key of the one with this e-mail and password."""
    here = site()
    if problem := here.accounts.creation_problem(from_client=True):
        raise AccountError(ax.ERR_GENERIC, problem)
    new = NewAccount(
        email_addr=mandatory("email_addr"), passwd_hash=mandatory("passwd_hash"), name=mandatory("user_name"),
        invite_code=text_arg("invite_code"), team_name=text_arg("team_name"),
        consent_flag=text_arg("consent_flag") not in ("", "0") if "consent_flag" in request.values else None,
        source=text_arg("source"))
    here.count_creation()
    return ax.account_out(here.accounts.create(new, from_client=True)["authenticator"])


@rpc("/login_token_lookup.php")
def login_token_lookup() -> str:
    """The token in an installer's file name -> account key (spec 06 section 4.4)."""
    here = site()
    userid, token = number_arg("user_id"), mandatory("token")
    here.demand_lookup()
    user = here.store.user_by_id(userid)
    stored = (user["login_token"] or "") if user else ""
    fresh = user is not None and 0 <= here.now() - user["login_token_time"] < LOGIN_TOKEN_LIFE
    same = hmac.compare_digest(stored.encode(), token.encode("utf-8", "replace"))
    if user is None or not stored or not same or not fresh or is_disabled(user):
        here.count_lookup(False)
        raise AccountError(ax.ERR_NOT_FOUND if user is None else ax.ERR_BAD_PASSWORD,
                           None if user is None else "The login token is not valid (any more).")
    team = here.store.team_by_id(user["teamid"]) if user["teamid"] else None
    fields: list[tuple[str, object]] = [("authenticator", user["authenticator"]), ("user_name", user["name"])]
    if team:
        fields.append(("team_name", team["name"]))
    return ax.document("login_token_reply", ax.elements(fields, "   "))


# Account managers

@rpc("/am_get_info.php")
def am_get_info() -> str:
    """The account's settings for its account manager."""
    user = keyed_user()
    return ax.am_get_info_document(user, ax.public_cpid(user["cross_project_id"], user["email_addr"]),
                                   ax.weak_key(user["id"], user["authenticator"], user["passwd_hash"]))


@rpc("/am_set_info.php")
def am_set_info() -> str:
    """Not offered, as upstream has it (spec 06 section 5.1)."""
    raise AccountError(ax.ERR_GENERIC, "am_set_info is not supported by this project.")


@rpc("/am_set_host_info.php")
def am_set_host_info() -> str:
    """Set the venue of one's own computer."""
    user, hostid, venue = keyed_user(), number_arg("hostid"), text_arg("venue")
    if venue not in VENUES:
        raise AccountError(ax.ERR_GENERIC, "venue must be empty, home, work or school")
    if not site().store.set_host_venue(hostid, user["id"], venue):
        raise AccountError(ax.ERR_NOT_FOUND)
    return ax.document("am_set_host_info_reply", "<success/>\n")


# Public XML

def user_document() -> str:
    """show_user.php?format=xml, by ``userid`` or by account key (then with computers)."""
    here = site()
    key = account_key()
    user = keyed_user() if key else here.store.user_by_id(number_arg("userid"))
    if user is None or is_disabled(user):
        raise AccountError(ax.ERR_NOT_FOUND)
    body = ax.elements((
        ("id", user["id"]), ("cpid", ax.public_cpid(user["cross_project_id"], user["email_addr"])),
        ("create_time", user["create_time"]), ("name", user["name"]), ("total_credit", user["total_credit"]),
        ("expavg_credit", user["expavg_credit"]), ("expavg_time", user["expavg_time"]), ("teamid", user["teamid"]),
        ("has_profile", user["has_profile"])))
    if key:
        body += ax.element("venue", user["venue"])
        body += "".join(host_element(host, private=True) for host in here.store.hosts_of_user(user["id"], -1))
    if here.project.config.user_country:
        body += ax.element("country", user["country"])
    if here.project.config.user_url:
        body += ax.element("url", user["url"])
    return ax.document("user", body)


def host_element(host: Row, private: bool) -> str:
    """A computer; names and identifiers only for its owner."""
    tags = ["id", "create_time", "rpc_seqno", "rpc_time", "host_cpid", "total_credit", "expavg_credit",
            "expavg_time", "domain_name", "p_ncpus", "p_vendor", "p_model", "p_fpops", "p_iops", "os_name",
            "os_version", "m_nbytes", "d_free", "d_total", "venue"]
    hidden = set() if private else {"rpc_seqno", "host_cpid", "domain_name", "venue"}
    return "<host>\n" + ax.elements(((tag, host[tag]) for tag in tags if tag not in hidden), "    ") + "</host>\n"


def host_document() -> str:
    """show_host_detail.php?format=xml."""
    host = site().store.host(number_arg("hostid"))
    if host is None or not host["userid"]:
        raise AccountError(ax.ERR_NOT_FOUND)
    return ax.PROLOG + host_element(host, private=False)


def team_element(team: Row) -> str:
    """A team."""
    tags = ("id", "create_time", "userid", "name", "url", "type", "country", "total_credit", "expavg_credit",
            "expavg_time")
    return "<team>\n" + ax.elements(((tag, team[tag]) for tag in tags), "    ") + "</team>\n"


@rpc("/team_lookup.php")
def team_lookup() -> str:
    """One team by id, several by ids, or a search by name (spec 06 section 5.2)."""
    store = site().store
    if "team_id" in request.values:
        team = store.team_by_id(number_arg("team_id"))
        if team is None:
            raise AccountError(ax.ERR_NOT_FOUND)
        return ax.PROLOG + team_element(team)
    if "team_ids" in request.values:
        teams = store.teams_by_ids(id_list("team_ids"))
    else:
        teams = store.teams_like(mandatory("team_name"))
    return ax.document("teams", "".join(map(team_element, teams)))


def id_list(name: str) -> list[int]:
    """Up to 100 comma-separated ids; −1 if something else is among them."""
    words = [word.strip() for word in mandatory(name).split(",") if word.strip()]
    if not all(re.fullmatch(r"\d{1,18}", word, re.ASCII) for word in words):
        raise AccountError(ax.ERR_GENERIC, f"missing or bad parameter: {name}")
    return [int(word) for word in words[:100]]


def team_members_document() -> str:
    """team_email_list.php?xml=1; no addresses in it."""
    here = site()
    team = here.store.team_by_id(number_arg("teamid"))
    if team is None:
        raise AccountError(ax.ERR_NOT_FOUND)
    credit_only = text_arg("creditonly") not in ("", "0")
    parts = []
    for user in here.store.team_members(team["id"]):
        if credit_only and not user["total_credit"]:
            continue
        fields: list[tuple[str, object]] = [
            ("id", user["id"]), ("cpid", ax.public_cpid(user["cross_project_id"], user["email_addr"])),
            ("total_credit", user["total_credit"])]
        if not credit_only:
            fields += [(tag, user[tag]) for tag in (
                "create_time", "name", "expavg_credit", "expavg_time", "has_profile", "country", "url")]
        parts.append("<user>\n" + ax.elements(fields, "    ") + "</user>\n")
    return ax.document("users", "".join(parts))


_RESULT_TAGS = ("id", "create_time", "workunitid", "server_state", "outcome", "client_state", "hostid", "userid",
                "report_deadline", "sent_time", "received_time", "name", "cpu_time", "batch", "file_delete_state",
                "validate_state", "granted_credit", "app_version_num", "appid", "exit_status", "elapsed_time",
                "flops_estimate", "peak_working_set_size", "peak_swap_size", "peak_disk_usage")


@rpc("/result_status.php")
def result_status() -> str:
    """The state of results by ids or names."""
    by_id = "ids" in request.values
    wanted: list[Any] = id_list("ids") if by_id else [n for n in mandatory("names").split(",") if n.strip()][:100]
    rows = site().store.results_by(wanted, []) if by_id else site().store.results_by([], wanted)
    known = {row["id" if by_id else "name"]: row for row in rows}
    parts = []
    for key in wanted:
        row = known.get(key)
        if row is None:
            parts.append(ax.element("error", f"{'ID' if by_id else 'name'} {key} unknown"))
        else:
            parts.append("<result>\n" + ax.elements(((tag, row[tag]) for tag in _RESULT_TAGS), "    ") + "</result>\n")
    return ax.document("results", "".join(parts))


def apps_document() -> str:
    """apps.php?xml=1."""
    store = site().store
    versions = store.app_versions()
    parts = []
    for app in store.apps():
        parts.append("<application>\n" + ax.elements(
            [("user_friendly_name", app["user_friendly_name"]), ("name", app["name"]), ("id", app["id"])], "    "))
        if app["beta"]:
            parts.append("    <beta/>\n")
        for row in versions:
            if row["appid"] == app["id"]:
                parts.append("    <version>\n" + ax.elements((
                    ("platform_short", row["platform"]), ("platform_long", row["platform_name"]),
                    ("version_num", row["version_num"]), ("plan_class", row["plan_class"]),
                    ("date", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(row["create_time"]))),
                    ("date_unix", row["create_time"])), "        ")
                    + ("        <beta/>\n" if row["beta"] else "") + "    </version>\n")
        parts.append("</application>\n")
    return ax.document("app_versions", "".join(parts))


# Feeds

@rpc("/notices.php")
def notices() -> str:
    """A user's notices: the project's news of the last 30 days (spec 06 section 4.5)."""
    here = site()
    user = here.store.user_by_id(number_arg("userid"))
    if user is None or is_disabled(user):
        raise AccountError(ax.ERR_AUTHENTICATOR, "Invalid notice key")
    expected = ax.notice_key(user["id"], user["authenticator"], user["passwd_hash"])
    if not hmac.compare_digest(expected.encode(), text_arg("auth").encode("utf-8", "replace")):
        raise AccountError(ax.ERR_AUTHENTICATOR, "Invalid notice key")
    return feed(here, (item for item in here.store.news(here.now() - NEWS_DAYS * 86400, 50)
                       if item["status"] != 1))


@rpc("/rss_main.php")
def rss_main() -> str:
    """The project's news for everybody."""
    here = site()
    days = min(number_arg("ndays", NEWS_DAYS), 3650)
    return feed(here, here.store.news(here.now() - max(1, days) * 86400, 50))


def feed(here: Site, items: Iterable[Row]) -> str:
    """RSS 2.0 as the client reads it: no URL in any attribute, short titles, text in CDATA."""
    parts = ['<rss version="2.0">\n<channel>\n', ax.element("title", f"{here.name} notices"[:250]),
             ax.element("link", here.master_url), ax.element("description", f"News from {here.name}"),
             ax.element("lastBuildDate", rss_date(here.now()))]
    for item in items:
        link = f"{here.master_url}forum_thread.php?id={item['id']}"
        text = "".join(f"<p>{ax.escape(part).replace(chr(10), '<br>')}</p>" for part in paragraphs(item["content"]))
        parts += ["<item>\n", ax.element("title", utf8_cut(item["title"], 240)), ax.element("link", link),
                  ax.element("guid", link), f"<description><![CDATA[{text}]]></description>\n",
                  ax.element("pubDate", rss_date(item["create_time"])), "</item>\n"]
    return ax.PROLOG + "".join(parts) + "</channel>\n</rss>\n"


def utf8_cut(text: str, limit: int) -> str:
    """At most ``limit`` bytes once escaped, never within a character."""
    while len(ax.escape(text).encode()) > limit:
        text = text[:-1]
    return text


def rss_date(stamp: float) -> str:
    """``Tue, 04 Mar 2025 10:20:30 GMT`` whatever the locale."""
    t = time.gmtime(stamp)
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return (f"{days[t.tm_wday]}, {t.tm_mday:02d} {months[t.tm_mon - 1]} {t.tm_year} "
            f"{t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT")
