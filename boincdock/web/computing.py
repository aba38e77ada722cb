"""Users, computers, tasks, applications, statistics (spec 06 section 7.2). Reading only."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, make_response, render_template, url_for

from boincdock.protocol import account_xml as ax
from boincdock.web import rpc
from boincdock.web.accounts import is_disabled
from boincdock.web.repository import RESULT_STATES, Row
from boincdock.web.site import int_arg, see_other, site, text_arg
from boincdock.web.status import counts_document, daemon_statuses, status_document, supervisor_age

blueprint = Blueprint("computing", __name__)

PAGE = 20
MAX_OFFSET = 10000
HOSTS_SHOWN = 100
RECENT = 30 * 86400

_SORTS: dict[str, Callable[[Row], Any]] = {
    "id": lambda h: h["id"], "name": lambda h: (h["domain_name"] or "").lower(), "venue": lambda h: h["venue"],
    "total_credit": lambda h: -h["total_credit"], "expavg_credit": lambda h: -h["expavg_credit"],
    "cpu": lambda h: (h["p_vendor"] or "", h["p_model"] or ""),
    "os": lambda h: (h["os_name"] or "", h["os_version"] or ""), "rpc_time": lambda h: -h["rpc_time"]}


def public_user(userid: int) -> Row:
    """An account that has a public page; HTTP 404 if there is none."""
    user = site().store.user_by_id(userid)
    if user is None or is_disabled(user):
        abort(404, "There is no such user.")
    return user


def is_me(userid: int) -> bool:
    """True if the visitor is this user."""
    user = site().sessions.user()
    return user is not None and user["id"] == userid


@blueprint.route("/show_user.php", methods=["GET", "POST"])
def user() -> Response:
    """A user's public page, or the same as XML."""
    if text_arg("format") == "xml":
        return rpc.xml(rpc.user_document())
    here, shown = site(), public_user(int_arg("userid"))
    team = here.store.team_by_id(shown["teamid"]) if shown["teamid"] else None
    return make_response(render_template(
        "user.html", user=shown, team=team, mine=is_me(shown["id"]),
        host_count=here.store.count_hosts_of_user(shown["id"]),
        cpid=ax.public_cpid(shown["cross_project_id"], shown["email_addr"])))


@blueprint.route("/hosts_user.php")
def hosts() -> Response:
    """A user's computers; one's own without ``userid``."""
    here = site()
    viewer = here.sessions.user()
    userid = int_arg("userid", viewer["id"] if viewer else 0)
    if not userid:
        return see_other(url_for("account.login_form", next_url="hosts_user.php"))
    owner = public_user(userid)
    mine, show_all = is_me(userid), text_arg("show_all") == "1"
    sort = text_arg("sort", "rpc_time")
    rows: list[Row] = []
    hidden = not mine and not owner["show_hosts"]
    if not hidden:
        rows = here.store.hosts_of_user(userid, 0 if show_all else here.now() - RECENT)
        rows.sort(key=_SORTS.get(sort, _SORTS["rpc_time"]), reverse=text_arg("rev") == "1")
    return make_response(render_template(
        "hosts.html", owner=owner, mine=mine, hidden=hidden, hosts=rows[:HOSTS_SHOWN], more=len(rows) > HOSTS_SHOWN,
        show_all=show_all, sort=sort if sort in _SORTS else "rpc_time", rev=text_arg("rev") == "1"))


def visible_host(hostid: int) -> tuple[Row, Row | None, bool]:
    """(computer, its owner or None if hidden, whether it is the visitor's); HTTP 404 if there is none."""
    row = site().store.host(hostid)
    if row is None or not row["userid"]:
        abort(404, "There is no such computer. It may have been merged with another one.")
    mine = is_me(row["userid"])
    owner = site().store.user_by_id(row["userid"])
    if owner is not None and not mine and not owner["show_hosts"]:
        owner = None
    return row, owner, mine


@blueprint.route("/show_host_detail.php")
def host() -> Response:
    """A computer; private parts for its owner only."""
    if text_arg("format") == "xml":
        return rpc.xml(rpc.host_document())
    row, owner, mine = visible_host(int_arg("hostid"))
    return make_response(render_template(
        "host.html", host=row, owner=owner, mine=mine, show_ip=mine and text_arg("ipprivate") == "1",
        counts=site().store.result_counts("host", row["id"])))


@blueprint.route("/results.php")
def results() -> Response:
    """The tasks of a computer, or one's own."""
    here = site()
    if not here.project.config.show_results:
        abort(404, "This project does not show task lists.")
    state, start = int_arg("state", 0), int_arg("offset", 0)
    if state >= len(RESULT_STATES) or start > MAX_OFFSET:
        abort(400, "There is no such page.")
    hostid, userid = int_arg("hostid", 0), int_arg("userid", 0)
    if hostid:
        kind, owner_id = "host", hostid
        title = f"Tasks of computer {visible_host(hostid)[0]['id']}"
    else:
        viewer = here.sessions.user()
        if viewer is None:
            target = f"results.php?state={state}" + (f"&userid={userid}" if userid else "")
            return see_other(url_for("account.login_form", next_url=target))
        if userid and userid != viewer["id"]:
            abort(403, "Only their owner can see all tasks of an account.")
        kind, owner_id, title = "user", viewer["id"], "Your tasks"
    rows = here.store.results_of(kind, owner_id, state, start, PAGE + 1)
    return make_response(render_template(
        "results.html", title=title, results=rows[:PAGE], more=len(rows) > PAGE and start + PAGE <= MAX_OFFSET,
        start=start, page=PAGE, state=state, states=RESULT_STATES, kind=kind, owner_id=owner_id,
        counts=here.store.result_counts(kind, owner_id)))


@blueprint.route("/result.php")
def result() -> str:
    """One task in full."""
    here = site()
    name = text_arg("result_name")
    resultid = here.store.result_id_by_name(name) if name else int_arg("resultid")
    row = here.store.result(resultid) if resultid is not None else None
    if row is None:
        abort(404, "There is no such task. Finished tasks are removed after a while.")
    return render_template("result.html", result=row)


@blueprint.route("/workunit.php")
def workunit() -> str:
    """A job and its instances."""
    here = site()
    row = here.store.workunit(int_arg("wuid"))
    if row is None:
        abort(404, "There is no such workunit. Finished ones are removed after a while.")
    # With adaptive replication, the number of instances tells a cheat whether anybody will check (spec 06 7.2).
    hidden = bool(row["adaptive"] and not row["canonical_resultid"] and not row["error_mask"]
                  and not here.project.config.dont_suppress_pending)
    return render_template("workunit.html", wu=row, hidden=hidden,
                           results=[] if hidden else here.store.results_of_workunit(row["id"]))


def _leaders(configured: int) -> tuple[bool, int, int]:
    start, by_average = int_arg("offset", 0), text_arg("sort_by", "expavg_credit") != "total_credit"
    if start > MAX_OFFSET:
        abort(400, "Only the first 10,000 are listed.")
    return by_average, start, min(100, max(1, configured))


@blueprint.route("/top_users.php")
def top_users() -> str:
    """Volunteers by credit."""
    by_average, start, page = _leaders(site().project.config.users_per_page)
    rows = site().store.top_users(by_average, start, page + 1)
    return render_template("top_users.html", users=rows[:page], more=len(rows) > page and start + page <= MAX_OFFSET,
                           by_average=by_average, start=start, page=page)


@blueprint.route("/top_hosts.php")
def top_hosts() -> str:
    """Computers by credit."""
    by_average, start, page = _leaders(site().project.config.hosts_per_page)
    rows = site().store.top_hosts(by_average, start, page + 1)
    return render_template("top_hosts.html", hosts=rows[:page], more=len(rows) > page and start + page <= MAX_OFFSET,
                           by_average=by_average, start=start, page=page)


@blueprint.route("/team_display.php")
def team() -> str:
    """A team's page."""
    here = site()
    row = here.store.team_by_id(int_arg("teamid"))
    if row is None:
        abort(404, "There is no such team.")
    return render_template("team.html", team=row, members=here.store.team_members(row["id"])[:PAGE])


@blueprint.route("/team_email_list.php")
def team_members() -> Response:
    """The members of a team as XML (the page for founders comes with the team pages)."""
    if text_arg("xml") != "1":
        return see_other(url_for("computing.team", teamid=int_arg("teamid")))
    return rpc.xml(rpc.team_members_document())


@blueprint.route("/apps.php")
def apps() -> Response:
    """Applications and their versions, or the same as XML."""
    if text_arg("xml") == "1":
        return rpc.xml(rpc.apps_document())
    store = site().store
    return make_response(render_template("apps.html", apps=store.apps(), versions=store.app_versions()))


@blueprint.route("/server_status.php", methods=["GET", "POST"])
def server_status() -> Response:
    """Programs and queues: as a page, as XML, or (``counts=1``) only the uncached queue lengths."""
    here = site()
    if text_arg("counts") == "1":
        return rpc.xml(counts_document(here.status.fresh()))
    numbers = here.status.numbers()
    daemons = daemon_statuses(here.project, here.clock())
    if text_arg("xml") == "1":
        return rpc.xml(ax.error_document(ax.ERR_DB_DOWN) if numbers is None else status_document(daemons, numbers))
    response = make_response(render_template("status.html", numbers=numbers, daemons=daemons,
                                             supervisor_age=supervisor_age(here.project, here.clock())))
    response.headers["Refresh"] = "60"
    return response
