"""Login sessions and form tokens (spec 06 sections 9.2 and 9.3 "Do better").

A session is a random number in a cookie; the table ``token`` (type S) holds only its SHA-256, so that a copy of
the database logs nobody in. The account key is never a cookie. A form token is an HMAC of the form's name under
the session's number (or, before login, under a random number in a cookie of its own).
"""
from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

from flask import Request, Response, g, request

from boincdock.web.accounts import is_disabled
from boincdock.web.repository import AccountStore, Row

COOKIE = "boinc_session"
FORM_COOKIE = "boinc_form"
KIND = "S"
SHORT = 86400
"""Seconds a session lasts on the server if the visitor does not ask to stay logged in."""
LONG = 90 * 86400


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


class Sessions:
    """Sessions of one site; ``secure`` marks the cookies for https only."""

    def __init__(self, store: AccountStore, secure: bool, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._secure = secure
        self._clock = clock

    def user(self) -> Row | None:
        """The account of the current request's session, looked up once per request."""
        if "user" not in g:
            g.user = self._find(request.cookies.get(COOKIE, ""))
        found: Row | None = g.user
        return found

    def _find(self, secret: str) -> Row | None:
        if not 20 <= len(secret) <= 64:
            return None
        row = self._store.token(_digest(secret), KIND, int(self._clock()))
        user = self._store.user_by_id(row["userid"]) if row else None
        return None if user is None or is_disabled(user) else user

    def start(self, response: Response, user: Row, stay: bool) -> None:
        """Log in: a new number, whatever the browser had before."""
        old = request.cookies.get(COOKIE)
        if old:
            self._store.delete_token(_digest(old), KIND)
        secret, now = secrets.token_urlsafe(32), int(self._clock())
        self._store.insert_token(_digest(secret), user["id"], KIND, now, now + (LONG if stay else SHORT))
        self._set(response, COOKIE, secret, LONG if stay else None)

    def end(self, response: Response, everywhere: bool = False) -> None:
        """Log out here, or end every session of the account."""
        user, secret = self.user(), request.cookies.get(COOKIE)
        if everywhere and user:
            self._store.delete_tokens_of_user(user["id"], KIND)
        elif secret:
            self._store.delete_token(_digest(secret), KIND)
        response.delete_cookie(COOKIE, path=_path(request))

    def form_token(self, form: str) -> str:
        """The token of a form, to be sent back as the field ``token``."""
        return hmac.new(self._form_key().encode(), form.encode(), hashlib.sha256).hexdigest()

    def check_form(self, form: str) -> bool:
        """True if the current POST carries this form's token and comes from this site's own pages."""
        origin = request.headers.get("Origin")
        if origin and origin != "null" and origin.partition("://")[2] != request.host:
            return False
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            return False
        if not (request.cookies.get(COOKIE) or request.cookies.get(FORM_COOKIE)):
            return False
        given = request.form.get("token", "")
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.form_token(form).encode())

    def _form_key(self) -> str:
        if self.user() is not None:
            return request.cookies[COOKIE]
        key: str = request.cookies.get(FORM_COOKIE, "")
        if len(key) < 20:
            key = g.get("form_key") or secrets.token_urlsafe(24)
            g.form_key = key
        return key

    def finish(self, response: Response) -> None:
        """Set the form cookie if a page of this request used a fresh one."""
        if "form_key" in g:
            self._set(response, FORM_COOKIE, g.form_key, None)

    def _set(self, response: Response, name: str, value: str, seconds: int | None) -> None:
        response.set_cookie(name, value, max_age=seconds, path=_path(request), httponly=True, samesite="Lax",
                            secure=self._secure or request.is_secure)


def _path(current: Request) -> str:
    return (current.root_path or "") + "/"
