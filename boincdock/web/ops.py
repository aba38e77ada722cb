"""The operators' site: status, recent results with their stderr, accounts, computers, logs, news, cancelling
jobs (spec 06 section 8). HTTP basic auth against html/ops/.htpasswd; every change is a POST with a form token and
one line in log_HOST/ops_audit.log."""
from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable
from pathlib import Path

from flask import Blueprint, Flask, Response, abort, g, make_response, render_template, request, url_for

from boincdock.config import Project
from boincdock.enums import WuError
from boincdock.web import metrics
from boincdock.web.app import base_app, build_site
from boincdock.web.passwords import check_htpasswd
from boincdock.web.ratelimit import Limit, RateLimiter, network_of
from boincdock.web.repository import WebStore
from boincdock.web.site import TooMany, int_arg, see_other, site, text_arg
from boincdock.web.status import daemon_statuses, supervisor_age

blueprint = Blueprint("ops", __name__)

PAGE = 50
LOG_TAIL = 200_000
"""Bytes at the end of a log that are searched."""
OPS_FAILURES = Limit(10, 6)
REALM = 'Basic realm="operators", charset="UTF-8"'

_OUTCOMES = ("INIT", "SUCCESS", "COULDNT_SEND", "CLIENT_ERROR", "NO_REPLY", "DIDNT_NEED", "VALIDATE_ERROR",
             "CLIENT_DETACHED")


def create_ops_app(project: Project, store: WebStore | None = None, limiter: RateLimiter | None = None,
                   clock: Callable[[], float] = time.time, password_cost: int = 10) -> Flask:
    """The ops site as a WSGI application."""
    app = base_app(build_site(project, store, limiter, clock, password_cost))
    app.register_blueprint(blueprint)
    metrics.install(app)
    app.before_request(_authenticate)
    return app


def _credentials() -> tuple[str, str] | None:
    kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic" or len(encoded) > 1000:
        return None
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None


def _authenticate() -> Response | None:
    if request.endpoint == "static" or metrics.is_open():
        return None
    here, given = site(), _credentials()
    g.operator = ""
    if given is None:
        return _ask()
    net = f"ops/{network_of(request.remote_addr or '')}"
    wait = here.limiter.wait(OPS_FAILURES, net)
    if wait > 0:
        raise TooMany(wait)
    try:
        text = (here.project.dir / "html" / "ops" / ".htpasswd").read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        text = ""
    if not check_htpasswd(text, *given):
        here.limiter.take(OPS_FAILURES, net)
        here.log.warning("ops: wrong password for %r from %s", given[0], request.remote_addr)
        return _ask()
    g.operator = given[0]
    return None


def _ask() -> Response:
    page = render_template("message.html", title="Operators only",
                           text="Log in with the name and password of html/ops/.htpasswd.")
    response = make_response(page, 401)
    response.headers["WWW-Authenticate"] = REALM
    return response


def audit(action: str, before: object = "", after: object = "") -> None:
    """Append who did what, and what it was before and after."""
    here = site()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(here.now()))
    line = f"{stamp} {g.operator!r} {request.remote_addr} {action} before={before!r} after={after!r}\n"
    here.log.info("ops: %s by %s", action, g.operator)
    try:
        with (here.project.log_dir / "ops_audit.log").open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        here.log.error("ops_audit.log: %s", error)


def _demand_form(form: str) -> None:
    if not site().sessions.check_form(form):
        abort(403, "This form is too old or came from another site. Please reload the page and try again.")


@blueprint.route("/")
@blueprint.route("/index.php")
def index() -> str:
    """Warnings, programs, queues, newest failures."""
    here = site()
    return render_template(
        "ops_index.html", warnings=_warnings(), numbers=here.status.numbers(),
        daemons=daemon_statuses(here.project, here.clock()),
        supervisor_age=supervisor_age(here.project, here.clock()),
        failures=here.store.recent_results({"server_state": 5, "outcome": 3, "appid": 0}, 0, 10))


def _warnings() -> list[str]:
    here = site()
    config, found = here.project.config, list(here.project.warnings)
    if config.disable_account_creation:
        found.append("Nobody can create an account (disable_account_creation).")
    if config.master_url.startswith("http://"):
        found.append("The project is published over plain http.")
    for name, text in (("stop_web", "The web site is closed"), ("stop_sched", "The scheduler is stopped"),
                       ("stop_upload", "Uploads are stopped"), ("stop_daemons", "The daemons are stopped")):
        if here.project.trigger(name).exists():
            found.append(f"{text} (file {name}).")
    return found


@blueprint.route("/results.php")
def results() -> str:
    """The newest results, filtered by state, outcome and application."""
    store, start = site().store, int_arg("offset", 0)
    filters = {"server_state": int_arg("server_state", 0), "outcome": _outcome(), "appid": int_arg("appid", 0)}
    if start > 20000:
        abort(400, "Only the newest 20,000 are listed.")
    rows = store.recent_results(filters, start, PAGE + 1)
    return render_template("ops_results.html", results=rows[:PAGE], more=len(rows) > PAGE, start=start, page=PAGE,
                           filters=filters, outcomes=_OUTCOMES, apps=store.apps())


def _outcome() -> int:
    text = text_arg("outcome", "-1")
    if text in ("-1", ""):
        return -1
    if not re.fullmatch(r"[0-7]", text):
        abort(400, "The outcome is a number from 0 to 7.")
    return int(text)


@blueprint.route("/result.php")
def result() -> str:
    """One result with everything, stderr first."""
    row = site().store.result(int_arg("resultid"))
    if row is None:
        abort(404, "There is no such result.")
    return render_template("ops_result.html", result=row, wu=site().store.workunit(row["workunitid"]))


@blueprint.route("/workunit.php")
def workunit() -> str:
    """A job, its instances, and the button to cancel it."""
    store = site().store
    row = store.workunit(int_arg("wuid"))
    if row is None:
        abort(404, "There is no such workunit.")
    return render_template("ops_workunit.html", wu=row, results=store.results_of_workunit(row["id"]),
                           can_cancel=not row["error_mask"] & WuError.CANCELLED and not row["assimilate_state"])


@blueprint.route("/cancel_wu_action.php", methods=["POST"])
def cancel() -> Response:
    """Cancel one job."""
    _demand_form("cancel")
    wuid = int_arg("wuid")
    before = site().store.cancel_workunit(wuid, site().now())
    if before is None:
        abort(404, "There is no such workunit.")
    audit(f"cancel workunit {wuid}", {"error_mask": before["error_mask"]}, {"error_mask": "|16"})
    return see_other(url_for("ops.workunit", wuid=wuid))


@blueprint.route("/list_new_users.php")
def people() -> str:
    """The newest accounts and computers."""
    return render_template("ops_people.html", users=site().store.recent_users(), hosts=site().store.recent_hosts())


@blueprint.route("/show_log.php")
def logs() -> str:
    """The end of a log, the lines that contain a text."""
    folder, wanted = site().project.log_dir, text_arg("f", limit=200)
    names = sorted(path.name for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    lines: list[str] = []
    if wanted:
        if wanted not in names:
            abort(404, "There is no such log.")
        needle = text_arg("text", limit=200)
        lines = [line for line in _tail(folder / wanted) if needle in line][-max(1, min(int_arg("l", 200), 5000)):]
    return render_template("ops_log.html", names=names, wanted=wanted, lines=lines, text=text_arg("text", limit=200))


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - LOG_TAIL))
            return file.read(LOG_TAIL).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


@blueprint.route("/news.php")
def news() -> str:
    """News, and the form to write some."""
    return render_template("ops_news.html", news=site().store.news(0, 50), problem=None, title="", content="")


@blueprint.route("/news_action.php", methods=["POST"])
def news_action() -> Response:
    """Publish a piece of news."""
    _demand_form("news")
    title, content = text_arg("title", limit=300).strip(), text_arg("content", limit=60000).strip()
    problem = ("A title and a text are needed." if not title or not content
               else "The title is longer than 200 characters." if len(title) > 200 else None)
    if problem:
        return make_response(render_template("ops_news.html", news=site().store.news(0, 50), problem=problem,
                                             title=title, content=content), 400)
    threadid = site().store.publish_news(title, content, text_arg("notice") == "1", site().now())
    audit(f"publish news {threadid}", "", title)
    return see_other(url_for("ops.news"))


@blueprint.route("/news_hide_action.php", methods=["POST"])
def news_hide() -> Response:
    """Take a piece of news down."""
    _demand_form("news_hide")
    threadid = int_arg("id")
    item = site().store.news_item(threadid)
    if item is None:
        abort(404, "There is no such piece of news.")
    site().store.hide_news(threadid)
    audit(f"hide news {threadid}", item["title"], "")
    return see_other(url_for("ops.news"))
