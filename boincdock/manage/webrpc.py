"""The project's web RPCs that the demo and the tests use, over HTTP (spec 06 section 4)."""
from __future__ import annotations

import hashlib
import html
import re
import urllib.error
import urllib.parse
import urllib.request

from boincdock.errors import BoincdockError

_TIMEOUT = 30.0
_MAX_REPLY = 1 << 20


def get(url: str, **parameters: str) -> str:
    """GET a page of this machine's project; BoincdockError if it does not answer with 200."""
    if parameters:
        url += "?" + urllib.parse.urlencode(parameters)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # 127.0.0.1 is behind no proxy
    try:
        with opener.open(url, timeout=_TIMEOUT) as reply:
            return str(reply.read(_MAX_REPLY).decode("utf-8", "replace"))
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        bare = url.partition("?")[0]
        raise BoincdockError(f"{bare} does not answer: {reason}", "is URL_BASE reachable from this machine?") from None


def element(text: str, name: str) -> str | None:
    """The text of the first ``<name>`` element; None without one."""
    match = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return html.unescape(match[1].strip()) if match else None


def password_hash(email: str, password: str) -> str:
    """What clients send instead of a password (spec 06 section 3.3)."""
    return hashlib.md5((password + email.lower()).encode(), usedforsecurity=False).hexdigest()


def create_account(master_url: str, email: str, password: str, name: str) -> str:
    """Make an account as BOINC Manager does; returns its authenticator."""
    reply = get(f"{master_url}create_account.php", email_addr=email, passwd_hash=password_hash(email, password),
                user_name=name)
    authenticator = element(reply, "authenticator")
    if not authenticator:
        raise BoincdockError(f"no account was made: {element(reply, 'error_msg') or reply.strip()[:200]}")
    return authenticator
