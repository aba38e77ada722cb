"""Account rules: what an address and a name may be, creating, looking up, changing (spec 06 sections 3 and 4)."""
from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from boincdock.config import Project
from boincdock.errors import BoincdockError
from boincdock.protocol import account_xml as ax
from boincdock.web.passwords import Passwords, Verdict
from boincdock.web.repository import AccountStore, Duplicate, Row

NAME_LIMIT = 191
EMAIL_LIMIT = 191
EMAIL_CHANGE_DELAY = 7 * 86400
"""Seconds for which a given-up address stays taken."""

_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f<>&\"'\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufffd\ud800-\udfff]")


class AccountError(BoincdockError):
    """A refused request; ``number`` is the RPC error number (spec 06 section 1.4)."""

    def __init__(self, number: int, message: str | None = None) -> None:
        super().__init__(message or "")
        self.number = number


def valid_email(address: str) -> bool:
    """True for ``local@domain.tld`` in ASCII of at most 191 characters; no quoting, no address literals."""
    local, at, domain = address.rpartition("@")
    labels = domain.split(".")
    return bool(at and len(address) <= EMAIL_LIMIT and len(local) <= 64 and _LOCAL.match(local) and len(labels) > 1
                and all(_LABEL.match(label) for label in labels) and not labels[-1].isdigit())


def name_problem(name: str) -> str | None:
    """Why this cannot be a screen name, or None if it can (spec 06 section 3.4)."""
    if not name.strip():
        return "The name must not be empty."
    if name != name.strip():
        return "The name must not begin or end with a blank."
    if _FORBIDDEN.search(name):
        return "The name must not contain any of < > & \" ' or control characters."
    if name.isdigit():
        return "The name must not be a number only."
    if len(name) > NAME_LIMIT:
        return f"The name must not be longer than {NAME_LIMIT} characters."
    return None


def cleaned_name(name: str) -> str:
    """The nearest permitted name to what a client sent (it sends the name of the operating system's user);
    empty if nothing is left."""
    name = " ".join(_FORBIDDEN.sub("", name).split())[:NAME_LIMIT - 10].strip()
    return f"User {name}" if name.isdigit() else name


def is_disabled(user: Row) -> bool:
    """True for an account an administrator disabled or that was deleted (spec 06 section 3.1)."""
    return str(user["authenticator"] or "x").startswith(("x", "deleted"))


@dataclass(frozen=True)
class NewAccount:
    """What a sign-up gives."""

    email_addr: str
    passwd_hash: str
    name: str
    country: str = "International"
    postal_code: str = ""
    invite_code: str = ""
    team_name: str = ""
    consent_flag: bool | None = None
    source: str = ""


class Accounts:
    """The account operations of one project. Methods raise ``AccountError`` with the number the RPCs send,
    and ``DatabaseError``."""

    def __init__(self, project: Project, store: AccountStore, passwords: Passwords,
                 clock: Callable[[], float] = time.time) -> None:
        self._project = project
        self._store = store
        self._passwords = passwords
        self._clock = clock

    # Looking up

    def by_key(self, authenticator: str) -> Row | None:
        """The enabled account with this strong key, else None."""
        if not authenticator or len(authenticator) > 191 or authenticator.startswith(("x", "deleted")):
            return None
        row = self._store.user_by_authenticator(authenticator)
        if row is None or not hmac.compare_digest(row["authenticator"].encode(),
                                                  authenticator.encode("utf-8", "replace")):
            return None
        return row

    def exists(self, email_addr: str) -> bool:
        """True if there is an account with this address."""
        return self._store.user_by_email(email_addr.strip().lower()) is not None

    def check(self, email_addr: str, passwd_hash: str) -> Row:
        """The account, if the hash is right: −136 no such address, −206 wrong password, −1 disabled."""
        email_addr = email_addr.strip().lower()
        user = self._store.user_by_email(email_addr)
        if user is None:
            self._passwords.waste_time()
            raise AccountError(ax.ERR_NOT_FOUND)
        if not self._verify(user, passwd_hash):
            raise AccountError(ax.ERR_BAD_PASSWORD)
        if is_disabled(user):
            raise AccountError(ax.ERR_GENERIC, "This account has been disabled by the project.")
        return user

    def _verify(self, user: Row, passwd_hash: str) -> bool:
        verdict = self._passwords.verify(passwd_hash, user["passwd_hash"] or "", user["authenticator"] or "",
                                         user["email_addr"])
        if verdict is Verdict.OK_REHASH:
            fresh = self._passwords.hash(passwd_hash)
            if self._store.set_passwd_hash(user["id"], user["passwd_hash"], fresh):
                user["passwd_hash"] = fresh
        return verdict is not Verdict.WRONG

    # Creating

    def creation_problem(self, from_client: bool) -> str | None:
        """Why nobody can sign up now, or None."""
        config = self._project.config
        if config.disable_account_creation:
            return "This project does not accept new accounts."
        if from_client and config.disable_account_creation_rpc:
            if config.no_web_account_creation:
                return "This project does not accept new accounts."
            return f"Please create your account on the project's web site: {config.master_url}"
        if not from_client and config.no_web_account_creation:
            return "Accounts of this project are made in the BOINC client, not on this site."
        return None

    def invite_pattern(self, from_client: bool) -> str:
        """The regular expression invitation codes must match; empty if none are asked for."""
        config = self._project.config
        return str((from_client and config.invite_codes_rpc) or config.invite_codes)

    def check_invite(self, code: str, from_client: bool) -> None:
        """−1 unless the code is one of the project's."""
        pattern = self.invite_pattern(from_client)
        if not pattern:
            return
        try:
            good = len(code) <= 254 and re.fullmatch(pattern, code) is not None
        except re.error:
            good = False
        if not good:
            raise AccountError(ax.ERR_GENERIC, "The invitation code is not valid.")

    def create(self, new: NewAccount, from_client: bool) -> Row:
        """Make an account; for a client an existing one with the same password is as good (spec 06 4.3).

        A client's name is cleaned and made unique; on the web a bad or taken name is an error.
        """
        if problem := self.creation_problem(from_client):
            raise AccountError(ax.ERR_GENERIC, problem)
        self.check_invite(new.invite_code, from_client)
        name = cleaned_name(new.name) if from_client else new.name
        if reason := name_problem(name):
            raise AccountError(ax.ERR_BAD_USER_NAME, reason)
        email_addr = new.email_addr.strip().lower()
        if not valid_email(email_addr):
            raise AccountError(ax.ERR_BAD_EMAIL)
        if not ax.is_hash(new.passwd_hash):
            raise AccountError(ax.ERR_GENERIC, "passwd_hash must be 32 hex digits")
        now = int(self._clock())
        if self._store.previous_email_taken(email_addr, now - EMAIL_CHANGE_DELAY):
            raise AccountError(ax.ERR_NOT_UNIQUE)
        existing = self._store.user_by_email(email_addr)
        if existing:
            return self._existing(existing, new.passwd_hash, from_client)
        config = self._project.config
        if from_client and config.account_creation_rpc_require_consent and (
                new.consent_flag is None or not new.source):
            raise AccountError(ax.ERR_NEED_CONSENT, "This project needs your consent to its terms of use. "
                               "Please update your BOINC client or create the account on the web site.")
        return self._insert(new, name, email_addr, now, from_client)

    def _existing(self, user: Row, passwd_hash: str, from_client: bool) -> Row:
        if not from_client:
            self._passwords.waste_time()
            raise AccountError(ax.ERR_NOT_UNIQUE)
        if not self._verify(user, passwd_hash) or is_disabled(user):
            raise AccountError(ax.ERR_NOT_UNIQUE)
        return user

    def _insert(self, new: NewAccount, name: str, email_addr: str, now: int, from_client: bool) -> Row:
        team = self._store.team_by_name(new.team_name) if new.team_name else None
        if team is not None and not team["joinable"]:
            team = None
        values: Row = {
            "create_time": now, "email_addr": email_addr, "authenticator": secrets.token_hex(16),
            "country": new.country, "postal_code": new.postal_code[:254], "signature": new.invite_code[:254],
            "show_hosts": 0 if self._project.config.enable_privacy_by_default else 1,
            "cross_project_id": secrets.token_hex(16), "passwd_hash": self._passwords.hash(new.passwd_hash)}
        for attempt in range(5):
            values["name"] = self.free_name(name) if from_client else name
            try:
                userid = self._store.insert_user(values, self._consent(new, now), team)
            except Duplicate:
                existing = self._store.user_by_email(email_addr)
                if existing:
                    return self._existing(existing, new.passwd_hash, from_client)
                if not from_client or attempt == 4:
                    raise AccountError(ax.ERR_NOT_UNIQUE) from None
                continue
            row = self._store.user_by_id(userid)
            if row is not None:
                return row
        raise AccountError(ax.ERR_NOT_UNIQUE)

    def _consent(self, new: NewAccount, now: int) -> Row | None:
        if new.consent_flag is None or not new.source or not self.terms_text():
            return None
        kind = self._store.consent_type("ENROLL")
        if kind is None or not kind["enabled"]:
            return None
        return {"consent_type_id": kind["id"], "consent_time": now, "consent_flag": int(new.consent_flag),
                "consent_not_required": int(not new.consent_flag), "source": new.source[:255]}

    def free_name(self, name: str) -> str:
        """The name itself, or with the first free number behind it."""
        if not self._store.name_taken(name):
            return name
        taken = {other.casefold() for other in self._store.names_like(name + " ")}
        n = 2
        while f"{name} {n}".casefold() in taken:
            n += 1
        candidate = f"{name} {n}"
        return candidate if not self._store.name_taken(candidate) else f"{name} {secrets.randbelow(10**8)}"

    # Changing

    def change_password(self, user: Row, new_hash: str) -> None:
        """Store a new password (its wire hash) and end all sessions of the account."""
        if not self._store.set_passwd_hash(user["id"], user["passwd_hash"], self._passwords.hash(new_hash)):
            raise AccountError(ax.ERR_GENERIC, "The password was changed elsewhere a moment ago. Please try again.")
        self._store.delete_tokens_of_user(user["id"], "S")

    def terms_text(self) -> str:
        """The project's terms of use, or ""."""
        return read_text(self._project, "terms_of_use.txt", 1 << 20)


def read_text(project: Project, name: str, limit: int) -> str:
    """A text file of the project directory, at most ``limit`` bytes of it; "" if there is none."""
    try:
        with (project.dir / name).open("rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""
