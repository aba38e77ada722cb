"""Joining, logging in, one's own account (spec 06 section 7.1). Every change is a POST with a form token."""
from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Blueprint, Response, abort, make_response, render_template, request, url_for

from boincdock.protocol import account_xml as ax
from boincdock.web.accounts import AccountError, NewAccount, name_problem, valid_email
from boincdock.web.countries import COUNTRIES
from boincdock.web.repository import Duplicate, Row
from boincdock.web.show import VENUES, safe_link
from boincdock.web.site import int_arg, local_target, see_other, site, text_arg

blueprint = Blueprint("account", __name__)

LOGIN_FAILED = "The e-mail address or the password is not right."


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    """Send visitors to the login form and bring them back afterwards."""
    @wraps(view)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if site().sessions.user() is None:
            target = request.path.rpartition("/")[2] or "home.php"
            query = request.query_string.decode("ascii", "replace")
            wanted = f"{target}?{query}" if query and request.method == "GET" else target
            return see_other(url_for("account.login_form", next_url=local_target(wanted)))
        return view(*args, **kwargs)
    return wrapped


def me() -> Row:
    """The logged-in account."""
    user = site().sessions.user()
    if user is None:
        abort(403)
    return user


def demand_form(form: str) -> None:
    """HTTP 403 unless the POST carries this form's token."""
    if not site().sessions.check_form(form):
        abort(403, "This form is too old or came from another site. Please go back, reload the page and try again.")


def private(response: Response) -> Response:
    """Mark a page that shows keys: not stored anywhere, its address told to nobody."""
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def password_problem(password: str) -> str | None:
    """Why this cannot be a password, or None (spec 06 section 3.3)."""
    least = max(1, site().project.config.min_passwd_length)
    if len(password) < least:
        return f"The password must have at least {least} characters."
    if len(password) > 200 or not all(" " <= c <= "~" for c in password):
        return "Please use only plain letters, digits, blanks and punctuation (ASCII), at most 200."
    return None


# Joining

@blueprint.route("/create_account_form.php")
@blueprint.route("/signup.php")
def signup() -> Response:
    """The form to join."""
    return _signup_page({}, None)


def _signup_page(values: dict[str, str], problem: str | None, status: int = 200) -> Response:
    here = site()
    page = render_template(
        "signup.html", values=values, problem=problem, countries=COUNTRIES,
        closed=here.accounts.creation_problem(from_client=False),
        invite=bool(here.accounts.invite_pattern(from_client=False)), terms=here.accounts.terms_text())
    return make_response(page, status)


@blueprint.route("/create_account_action.php", methods=["POST"])
def signup_action() -> Response:
    """Make the account and log in."""
    demand_form("signup")
    here = site()
    values = {name: text_arg(name, limit=300) for name in ("new_name", "new_email_addr", "country", "invite_code")}
    password = text_arg("passwd", limit=1000)
    problem = _signup_problem(values, password)
    if problem:
        return _signup_page(values, problem, 400)
    here.count_creation()
    consented = text_arg("agree_to_terms_of_use") == "1"
    try:
        user = here.accounts.create(NewAccount(
            email_addr=values["new_email_addr"], passwd_hash=ax.wire_hash(password, values["new_email_addr"].strip()),
            name=values["new_name"].strip(), country=values["country"] or "International",
            invite_code=values["invite_code"], consent_flag=True if consented else None, source="Webreg"),
            from_client=False)
    except AccountError as error:
        text = error.message
        if error.number == ax.ERR_NOT_UNIQUE:
            # One text for a taken name and a taken address: the form must not tell who has an account.
            text = ("The name or the e-mail address is in use already. If you have an account, please log in; "
                    "otherwise choose another name.")
        elif error.number == ax.ERR_BAD_EMAIL:
            text = "This does not look like an e-mail address."
        return _signup_page(values, text, 400)
    response = see_other(url_for("account.home"))
    here.sessions.start(response, user, stay=False)
    return response


def _signup_problem(values: dict[str, str], password: str) -> str | None:
    here = site()
    if closed := here.accounts.creation_problem(from_client=False):
        return closed
    if values["country"] and values["country"] not in COUNTRIES:
        return "Please choose a country from the list."
    if not valid_email(values["new_email_addr"].strip()):
        return "This does not look like an e-mail address."
    if problem := name_problem(values["new_name"].strip()):
        return problem
    if problem := password_problem(password):
        return problem
    if password != text_arg("passwd2", limit=1000):
        return "The two passwords differ."
    if here.accounts.terms_text() and text_arg("agree_to_terms_of_use") != "1":
        return "Please read the terms of use and agree to them."
    return None


@blueprint.route("/account_finish.php")
def account_finish() -> Response:
    """Where the Manager brings a new volunteer: set name and country. The key in the address proves who it is,
    but only the POST logs in."""
    return _finish_page(text_arg("auth"), None)


def _finish_page(key: str, problem: str | None) -> Response:
    user = site().by_key(key)
    if user is None:
        abort(404, "There is no account with this key.")
    page = render_template("finish.html", user=user, key=key, countries=COUNTRIES, problem=problem)
    return private(make_response(page, 400 if problem else 200))


@blueprint.route("/account_finish_action.php", methods=["POST"])
def account_finish_action() -> Response:
    """Store name and country, log in."""
    demand_form("finish")
    here, key = site(), text_arg("auth")
    user = here.by_key(key)
    if user is None:
        abort(404, "There is no account with this key.")
    problem = _store_info(user, user["url"] or "")
    if problem:
        return _finish_page(key, problem)
    response = see_other(url_for("account.home"))
    here.sessions.start(response, user, stay=False)
    return response


# Logging in and out

@blueprint.route("/login_form.php")
def login_form() -> Response:
    """The login form."""
    return _login_page(None)


def _login_page(problem: str | None, status: int = 200) -> Response:
    page = render_template("login.html", problem=problem, email_addr=text_arg("email_addr", limit=300),
                           next_url=local_target(text_arg("next_url", limit=500)))
    return make_response(page, status)


@blueprint.route("/login_action.php", methods=["POST"])
def login_action() -> Response:
    """Log in with address and password, or with the account key in either field."""
    demand_form("login")
    here = site()
    email_addr, password = text_arg("email_addr", limit=300).strip(), text_arg("passwd", limit=1000)
    user: Row | None = None
    if ax.is_hash(text_arg("authenticator").strip()):
        user = here.by_key(text_arg("authenticator").strip())
    elif email_addr and password:
        try:
            user = here.check_password(email_addr, ax.wire_hash(password, email_addr))
        except AccountError:
            user = None
    if user is None:
        return _login_page(LOGIN_FAILED, 403)
    response = see_other(local_target(text_arg("next_url", limit=500)))
    here.sessions.start(response, user, stay=text_arg("stay_logged_in") == "1")
    return response


@blueprint.route("/logout.php", methods=["GET", "POST"])
def logout() -> Response:
    """End the session (POST), or ask (GET)."""
    here = site()
    if request.method == "GET":
        return make_response(render_template("logout.html"))
    demand_form("logout")
    response = see_other(url_for("home.index"))
    here.sessions.end(response, everywhere=text_arg("everywhere") == "1")
    return response


@blueprint.route("/get_passwd.php")
def get_passwd() -> Response:
    """Forgotten password: log in with the account key."""
    return private(make_response(render_template("get_passwd.html")))


# One's own account

@blueprint.route("/home.php")
@login_required
def home() -> Response:
    """The account page."""
    here, user = site(), me()
    hosts = here.store.hosts_of_user(user["id"], 0)
    hosts.sort(key=lambda host: host["rpc_time"], reverse=True)
    team = here.store.team_by_id(user["teamid"]) if user["teamid"] else None
    page = render_template(
        "home.html", user=user, hosts=hosts[:5], host_count=len(hosts), team=team,
        counts=here.store.result_counts("user", user["id"]),
        cpid=ax.public_cpid(user["cross_project_id"], user["email_addr"]))
    return private(make_response(page))


@blueprint.route("/weak_auth.php")
@login_required
def keys() -> Response:
    """Account keys and the account file."""
    user = me()
    weak = ax.weak_key(user["id"], user["authenticator"], user["passwd_hash"])
    return private(make_response(render_template(
        "keys.html", user=user, weak=weak, file_name=ax.account_file_name(site().master_url))))


@blueprint.route("/edit_user_info_form.php")
@login_required
def edit_info() -> Response:
    """The form for name, home page and country."""
    return make_response(render_template("edit_info.html", user=me(), countries=COUNTRIES, problem=None))


@blueprint.route("/edit_user_info_action.php", methods=["POST"])
@login_required
def edit_info_action() -> Response:
    """Store them."""
    demand_form("edit_info")
    user = me()
    problem = _store_info(user, text_arg("url", limit=254).strip())
    if problem:
        return make_response(render_template("edit_info.html", user=user, countries=COUNTRIES, problem=problem), 400)
    return see_other(url_for("account.home"))


def _store_info(user: Row, url: str) -> str | None:
    name, country = text_arg("user_name", limit=300).strip(), text_arg("country", limit=100)
    if problem := name_problem(name):
        return problem
    if country not in COUNTRIES:
        return "Please choose a country from the list."
    if url and not safe_link(url):
        return "The home page must be an http or https address."
    try:
        site().store.set_user_info(user["id"], name, url, country, user["postal_code"] or "")
    except Duplicate:
        return "This name is in use already. Please choose another."
    return None


@blueprint.route("/edit_passwd_form.php")
@login_required
def edit_password() -> Response:
    """The form for a new password."""
    return make_response(render_template("edit_password.html", problem=None))


@blueprint.route("/edit_passwd_action.php", methods=["POST"])
@login_required
def edit_password_action() -> Response:
    """Check the old password, store the new one, end all other sessions."""
    demand_form("edit_password")
    here, user = site(), me()
    password = text_arg("passwd", limit=1000)
    problem = password_problem(password)
    if not problem and password != text_arg("passwd2", limit=1000):
        problem = "The two passwords differ."
    if not problem:
        try:
            old = text_arg("old_passwd", limit=1000)
            checked = here.check_password(user["email_addr"], ax.wire_hash(old, user["email_addr"]))
            here.accounts.change_password(checked, ax.wire_hash(password, user["email_addr"]))
        except AccountError as error:
            problem = "The old password is not right." if error.number == ax.ERR_BAD_PASSWORD else error.message
    if problem:
        return make_response(render_template("edit_password.html", problem=problem), 400)
    response = see_other(url_for("account.home"))
    here.sessions.start(response, user, stay=False)
    return response


@blueprint.route("/host_venue_action.php", methods=["POST"])
@login_required
def host_venue() -> Response:
    """Set the venue of one's own computer."""
    demand_form("venue")
    hostid, venue = int_arg("hostid"), text_arg("venue", limit=20)
    if venue not in VENUES or not site().store.set_host_venue(hostid, me()["id"], venue):
        abort(400, "There is no such computer or venue.")
    return see_other(url_for("computing.host", hostid=hostid))
