"""The application factory of the web site: services, blueprints, headers, error pages."""
from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, current_app, g, make_response, render_template, request, url_for
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException

import boincdock
from boincdock.config import Project
from boincdock.db import connect
from boincdock.errors import DatabaseError
from boincdock.protocol import account_xml as ax
from boincdock.web import account, badge_images, computing, home, own, rpc
from boincdock.web.accounts import AccountError, Accounts
from boincdock.web.passwords import Passwords
from boincdock.web.ratelimit import FileRateLimiter, RateLimiter
from boincdock.web.repository import DbStore, Row, WebStore
from boincdock.web.sessions import Sessions
from boincdock.web.show import FILTERS
from boincdock.web.site import PlatformCache, Site, TooMany, asks_for, is_https, site
from boincdock.web.status import StatusCache

MAX_BODY = 1 << 20
"""Bytes of a posted form."""

_POLICY = ("default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
           "frame-ancestors 'none'")
Environ = dict[str, Any]


class SqueezeSlashes:
    """WSGI wrapper that makes one slash of several in the path (spec 06 section 1.1: Android's URLs), and proper
    query strings of those with bare bytes, which the framework cannot decode."""

    def __init__(self, inner: Callable[..., Iterable[bytes]]) -> None:
        self._inner = inner

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The wrapped application's answer."""
        environ["PATH_INFO"] = re.sub(r"//+", "/", environ.get("PATH_INFO") or "")
        query = environ.get("QUERY_STRING") or ""
        if not query.isascii():
            environ["QUERY_STRING"] = quote(query, safe="%&=+;/?:@!$'()*,~-._[]", encoding="latin-1")
        return self._inner(environ, start_response)


def build_site(project: Project, store: WebStore | None = None, limiter: RateLimiter | None = None,
               clock: Callable[[], float] = time.time, password_cost: int = 10) -> Site:
    """The services of a site; by default on the project's database and in tmp_HOST/web."""
    store = store or DbStore(lambda: connect(project.config))
    passwords = Passwords(password_cost)
    work = project.tmp_dir / "web"
    return Site(project=project, store=store, accounts=Accounts(project, store, passwords, clock),
                passwords=passwords, sessions=Sessions(store, is_https(project.config.master_url), clock),
                limiter=limiter or FileRateLimiter(work, clock), status=StatusCache(store, work, 60, clock),
                platforms=PlatformCache(store, 300, clock), clock=clock)


def create_app(project: Project, store: WebStore | None = None, limiter: RateLimiter | None = None,
               clock: Callable[[], float] = time.time, password_cost: int = 10) -> Flask:
    """The public site of a project as a WSGI application that works below any mount point."""
    app = base_app(build_site(project, store, limiter, clock, password_cost))
    for blueprint in (home.blueprint, own.blueprint, account.blueprint, computing.blueprint, rpc.blueprint,
                      badge_images.blueprint):
        app.register_blueprint(blueprint)
    app.before_request(_closed)
    return app


def base_app(services: Site) -> Flask:
    """What the public and the ops site share."""
    app = Flask("boincdock.web", static_url_path="/static")
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY, MAX_FORM_PARTS=200, SEND_FILE_MAX_AGE_DEFAULT=86400)
    app.extensions["boincdock"] = services
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(FILTERS)
    app.url_map.strict_slashes = False
    app.context_processor(_context)
    app.after_request(_headers)
    app.register_error_handler(AccountError, _account_error)
    app.register_error_handler(TooMany, _too_many)
    app.register_error_handler(DatabaseError, _database_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _bug)
    app.wsgi_app = SqueezeSlashes(app.wsgi_app)  # type: ignore[method-assign]
    return app


def wants_xml() -> bool:
    """True if the caller is a program that reads XML."""
    return request.blueprint == "rpc" or asks_for("format", "xml") or asks_for("xml", "1") or asks_for("counts", "1")


def viewer() -> Row | None:
    """Whoever is logged in; None also while there is no database (pages must render then, too)."""
    if request.blueprint == "rpc":
        return None
    try:
        return site().sessions.user()
    except DatabaseError:
        g.user = None
        return None


def _context() -> dict[str, Any]:
    here = site()
    return {"blueprints": list(current_app.blueprints), "project_name": here.name,
            "project_url": here.master_url, "viewer": viewer(), "form_token": here.sessions.form_token,
            "config": here.project.config, "now": here.now(), "version_text": boincdock.__version__,
            "asset": _asset, "logo": own.logo() or _asset("logo.svg"), "own_pages": own.pages(),
            "page_stopped": here.stopped()}


def _asset(name: str) -> str:
    return url_for("static", filename=name, v=boincdock.__version__)


def _closed() -> Response | None:
    """While stop_web exists only the front page, the RPCs (which say so themselves) and styles answer."""
    if not site().stopped() or request.endpoint in ("home.index", "static") or request.blueprint == "rpc":
        return None
    if wants_xml():
        return rpc.xml(ax.error_document(ax.ERR_PROJECT_DOWN))
    return _page(503, "Down for maintenance", "The project's web site is closed for a while. Your computers "
                 "keep working; please come back later.", retry=600)


def _page(status: int, title: str, text: str, retry: int | None = None) -> Response:
    response = make_response(render_template("message.html", title=title, text=text), status)
    if retry is not None:
        response.headers["Retry-After"] = str(retry)
    return response


def _headers(response: Response) -> Response:
    site().sessions.finish(response)
    headers = response.headers
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    if request.is_secure or is_https(site().master_url):
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.endpoint != "static":
        headers.setdefault("Cache-Control", "private, no-store" if g.get("user") else "no-cache")
    return response


def _account_error(error: AccountError) -> Response:
    if wants_xml():
        return rpc.xml(ax.error_document(error.number, error.message or None))
    return _page(400, "That did not work", error.message or "The request could not be carried out.")


def _too_many(error: TooMany) -> Response:
    if wants_xml():
        response = rpc.xml(ax.error_document(ax.ERR_GENERIC, error.message), 429)
    else:
        response = _page(429, "Slow down, please", error.message)
    response.headers["Retry-After"] = str(error.seconds)
    return response


def _database_error(error: DatabaseError) -> Response:
    site().log.error("%s: %s", request.path, error)
    g.user = None
    if wants_xml():
        return rpc.xml(ax.error_document(ax.ERR_DB_DOWN))
    return _page(503, "Database not available", "The project's database does not answer at the moment. "
                 "Please try again in a few minutes.", retry=60)


def _http_error(error: HTTPException) -> Response:
    code = error.code or 500
    if wants_xml() and code < 500:
        return rpc.xml(ax.error_document(ax.ERR_GENERIC, error.description))
    if 300 <= code < 400:
        return make_response(error.get_response())
    titles = {400: "Bad request", 403: "Not allowed", 404: "Page not found", 405: "Not allowed",
              413: "Too large"}
    texts = {404: "There is no page at this address.", 405: "This page cannot be used in this way."}
    response = _page(code, titles.get(code, error.name), texts.get(code, error.description or ""))
    if code == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="operators", charset="UTF-8"'
    return response


def _bug(error: Exception) -> Response:
    site().log.critical("%s: %s", request.path, type(error).__name__, exc_info=error)
    if wants_xml():
        return rpc.xml(ax.error_document(ax.ERR_GENERIC, "Internal error; the project has been told."))
    return _page(500, "Something broke", "An error happened in the project's web site. It has been logged.")
