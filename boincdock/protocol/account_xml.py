"""Account hashes and the XML bodies of the web RPCs (spec 06 sections 1, 3 and 4). Pure functions, no I/O."""
from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote
from xml.parsers import expat

PROLOG = '<?xml version="1.0" encoding="UTF-8" ?>\n'
TERMS_LIMIT = 65535
"""Bytes of ``terms_of_use`` a client can hold (spec 06 section 1.3)."""

ERR_GENERIC = -1
ERR_XML_PARSE = -112
ERR_NOT_FOUND = -136
ERR_NOT_UNIQUE = -137
ERR_DB_DOWN = -138
ERR_AUTHENTICATOR = -155
ERR_PROJECT_DOWN = -183
ERR_BAD_USER_NAME = -188
ERR_BAD_EMAIL = -205
ERR_BAD_PASSWORD = -206
ERR_NEED_CONSENT = -242

_DEFAULT_TEXT = {
    ERR_XML_PARSE: "Invalid XML",
    ERR_NOT_FOUND: "Not found",
    ERR_NOT_UNIQUE: "Name or email address is not unique",
    ERR_DB_DOWN: "Can't access database",
    ERR_PROJECT_DOWN: "Project is temporarily offline",
    ERR_BAD_EMAIL: "Email address has invalid syntax",
    ERR_BAD_PASSWORD: "Invalid password",
    -207: "Email address is not unique",
    -208: "Account creation is disabled",
    -209: "Invalid invitation code",
    -210: "Invalid request method",
}
_ILLEGAL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_HEX32 = re.compile(r"[0-9a-fA-F]{32}\Z")


def md5hex(text: str) -> str:
    """Lower-case hex MD5 of the UTF-8 text; BOINC's identifiers need it, nothing here relies on its strength."""
    return hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def is_hash(text: str) -> bool:
    """True for exactly 32 hex digits, the only form a password hash may have on the wire (spec 06 3.3)."""
    return _HEX32.match(text) is not None


def wire_hash(password: str, email_addr: str) -> str:
    """``passwd_hash`` as clients send it: md5(password + lower-case email) (spec 06 section 3.3)."""
    return md5hex(password + email_addr.lower())


def weak_key(userid: int, authenticator: str, stored_hash: str) -> str:
    """The account's weak key (spec 06 section 3.2); ``stored_hash`` is the column ``passwd_hash``."""
    return f"{userid}_{md5hex(authenticator + stored_hash)}"


def notice_key(userid: int, authenticator: str, stored_hash: str) -> str:
    """The key of the account's notices feed (spec 06 section 3.2)."""
    return f"{userid}_{md5hex(authenticator + stored_hash + 'notify_rss')}"


def public_cpid(cross_project_id: str, email_addr: str) -> str:
    """The user's CPID as the public sees it (spec 06 section 3.8)."""
    return md5hex(cross_project_id + email_addr)


def account_file_name(master_url: str) -> str:
    """``account_<url>.xml`` as the client names it for a project (spec 06 section 3.2)."""
    rest = re.sub(r"[^A-Za-z0-9._-]", "_", master_url.partition("://")[2])
    return f"account_{rest.removesuffix('_')}.xml"


def clean(text: str) -> str:
    """Without the characters that XML forbids or that break the client's GUI channel (spec 06 section 1.3)."""
    return _ILLEGAL.sub("", text.replace("\r\n", "\n"))


def escape(value: object) -> str:
    """Element text: cleaned, with ``& < >`` as entities."""
    return clean(str(value)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def number(value: float | int | None) -> str:
    """A number as BOINC prints it: integers plain, reals with six decimals."""
    if value is None:
        return "0"
    return str(value) if isinstance(value, int) else f"{float(value):.6f}"


def element(tag: str, value: object, indent: str = "") -> str:
    """``<tag>escaped value</tag>`` and a newline."""
    text = number(value) if isinstance(value, float) else escape("" if value is None else value)
    return f"{indent}<{tag}>{text}</{tag}>\n"


def elements(fields: Iterable[tuple[str, object]], indent: str = "") -> str:
    """One ``element`` per line, in order."""
    return "".join(element(tag, value, indent) for tag, value in fields)


def document(root: str, body: str) -> str:
    """Prolog, ``<root>``, the body, ``</root>``."""
    return f"{PROLOG}<{root}>\n{body}</{root}>\n"


def error_body(error_num: int, message: str | None = None, indent: str = "") -> str:
    """The ``<error>`` element (spec 06 section 1.2), to nest or to send after the prolog."""
    text = message or _DEFAULT_TEXT.get(error_num, "Unknown error")
    return (f"{indent}<error>\n{indent}    <error_num>{error_num}</error_num>\n"
            f"{element('error_msg', text, indent + '    ')}{indent}</error>\n")


def error_document(error_num: int, message: str | None = None) -> str:
    """A complete error reply."""
    return PROLOG + error_body(error_num, message)


def account_out(authenticator: str | None) -> str:
    """Reply of lookup_account and create_account; None means the mere existence test succeeded."""
    inner = "<success/>\n" if authenticator is None else element("authenticator", authenticator)
    return document("account_out", inner)


def terms_element(text: str, url: str) -> str:
    """The ``terms_of_use`` element, or "" without terms (spec 06 section 4.1).

    A text without ``&`` and ``<`` goes out as it is. Any other becomes HTML first, because escaping switches
    the GUI to HTML. One that would not fit into a client's buffer is replaced by a pointer to ``url``.
    """
    text = clean(text).strip()
    if not text:
        return ""
    if "&" in text or "<" in text:
        text = escape(escape(text).replace("\n", "<br>\n"))
    if len(text.encode()) >= TERMS_LIMIT:
        text = f"Please read the terms of use of this project at {escape(url)}"
    return f"    <terms_of_use>\n{text}\n    </terms_of_use>\n"


@dataclass(frozen=True)
class ProjectConfig:
    """What ``get_project_config.php`` tells (spec 06 section 4.1)."""

    name: str
    master_url: str
    web_rpc_url_base: str
    server_version: str
    local_revision: int | None = None
    account_manager: bool = False
    web_stopped: bool = False
    sched_stopped: bool = False
    account_creation_disabled: bool = False
    client_account_creation_disabled: bool = False
    invite_code_required: bool = False
    min_passwd_length: int = 6
    min_client_version: int = 0
    platforms: Sequence[tuple[str, str, str]] = field(default_factory=tuple)
    """(platform name, user-friendly name, plan class), each once."""
    terms_of_use: str = ""
    keywords_xml: str = ""


def project_config_document(config: ProjectConfig) -> str:
    """The reply of ``get_project_config.php``; complete and well-formed whatever the texts hold."""
    i = "    "
    parts = [element("name", config.name, i), element("master_url", config.master_url, i),
             element("web_rpc_url_base", config.web_rpc_url_base, i),
             element("server_version", config.server_version, i)]
    if config.local_revision is not None:
        parts.append(element("local_revision", config.local_revision, i))
    if config.account_manager:
        parts.append(f"{i}<account_manager/>\n")
    parts.append(element("web_stopped", int(config.web_stopped), i))
    if config.web_stopped:
        parts.append(element("error_num", ERR_PROJECT_DOWN, i))
        parts.append(element("error_msg", _DEFAULT_TEXT[ERR_PROJECT_DOWN], i))
    if config.account_creation_disabled or config.invite_code_required:
        parts.append(f"{i}<account_creation_disabled/>\n")
    if config.client_account_creation_disabled:
        parts.append(f"{i}<client_account_creation_disabled/>\n")
    if config.invite_code_required:
        parts.append(f"{i}<invite_code_required/>\n")
    parts.append(element("min_passwd_length", config.min_passwd_length, i))
    parts.append(element("sched_stopped", int(config.sched_stopped), i))
    if config.min_client_version:
        parts.append(element("min_client_version", config.min_client_version, i))
    parts.append(_platforms(config.platforms))
    parts.append(terms_element(config.terms_of_use, config.master_url + "info.php"))
    if config.keywords_xml and well_formed(config.keywords_xml):
        parts.append(clean(config.keywords_xml).strip() + "\n")
    return document("project_config", "".join(parts))


def _platforms(rows: Sequence[tuple[str, str, str]]) -> str:
    parts = ["    <platforms>\n"]
    for name, friendly, plan_class in rows:
        parts.append("        <platform>\n")
        parts.append(element("platform_name", name, " " * 12))
        parts.append(element("user_friendly_name", friendly, " " * 12))
        if plan_class:
            parts.append(element("plan_class", plan_class, " " * 12))
        parts.append("        </platform>\n")
    parts.append("    </platforms>\n")
    return "".join(parts)


def well_formed(fragment: str) -> bool:
    """True if the fragment, wrapped in one root, is well-formed XML without a DOCTYPE or entities of its own."""
    parser = expat.ParserCreate()
    forbidden = False

    def refuse(*_: object) -> None:
        nonlocal forbidden
        forbidden = True
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(f"<r>{fragment}</r>".encode(), True)
    except (expat.ExpatError, UnicodeError, ValueError):
        return False
    return not forbidden


def am_get_info_document(user: Mapping[str, object], cpid: str, weak: str) -> str:
    """The reply of ``am_get_info.php`` (spec 06 section 5.1); ``user`` is a row of the table ``user``.

    Stored preferences that are not well-formed are left out, so that the document always parses.
    """
    def urlencoded(key: str) -> str:
        return element(key, quote(clean(str(user[key] or "")), safe=""))

    def wrapped(key: str) -> str:
        raw = user[key]
        text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw or "")
        text = clean(text).strip()
        return f"<{key}>\n{text + chr(10) if text and well_formed(text) else ''}</{key}>\n"

    return document("am_get_info_reply", "".join([
        "    <success/>\n", element("id", user["id"], "    "),
        urlencoded("name"), urlencoded("country"),
        element("weak_auth", weak), element("cpid", cpid),
        element("has_profile", user["has_profile"]), element("create_time", user["create_time"]),
        wrapped("global_prefs"), wrapped("project_prefs"), urlencoded("url"),
        element("send_email", user["send_email"]), element("show_hosts", user["show_hosts"]),
        element("teamid", user["teamid"]), element("venue", user["venue"]),
    ]))
