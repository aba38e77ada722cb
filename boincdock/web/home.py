"""Front page, news, rules (spec 06 sections 2 and 7.1)."""
from __future__ import annotations

from flask import Blueprint, Response, abort, make_response, render_template

from boincdock.errors import DatabaseError
from boincdock.web.accounts import read_text
from boincdock.web.master import scheduler_lines
from boincdock.web.repository import Row
from boincdock.web.site import int_arg, site

blueprint = Blueprint("home", __name__)
SCHEDULER_MARK = "<!--schedulers-->\n"
"""Where the front page's template wants the scheduler lines; replaced after rendering, so that no template
setting can ever indent or join them."""


@blueprint.route("/index.php")
@blueprint.route("/")
def index() -> Response:
    """The master page: shown to people, read by clients; needs neither login nor database."""
    here = site()
    news: list[Row] = []
    apps: list[Row] = []
    leaders: list[Row] = []
    offline = here.stopped()
    numbers = None
    if not offline:
        try:
            numbers = here.status.numbers()
            news = here.store.news(0, 5)
            apps = here.store.apps()
            leaders = here.store.top_users(True, 0, 5)
        except DatabaseError as error:
            here.log.error("front page without database: %s", error)
            offline = True
    html = render_template(
        "index.html", numbers=numbers, news=news, apps=apps, leaders=leaders, offline=offline,
        about=read_text(here.project, "html/project/about.txt", 65536),
        can_join=here.accounts.creation_problem(from_client=False) is None)
    return make_response(html.replace(SCHEDULER_MARK, scheduler_lines(here.scheduler_urls), 1))


@blueprint.route("/forum_index.php")
@blueprint.route("/old_news.php")
def old_news() -> str:
    """All news; also where the Manager's "message boards" button leads while there are no boards."""
    return render_template("news.html", news=site().store.news(0, 200))


@blueprint.route("/forum_thread.php")
def thread() -> str:
    """One piece of news, where notices and feeds link to."""
    item = site().store.news_item(int_arg("id"))
    if item is None:
        abort(404)
    return render_template("news.html", news=[item])


@blueprint.route("/info.php")
def info() -> str:
    """Rules and policies."""
    return render_template("info.html", terms=site().accounts.terms_text())


@blueprint.route("/welcome.php")
@blueprint.route("/download_software.php")
def download() -> str:
    """How to get the client and attach it."""
    return render_template("download.html")
