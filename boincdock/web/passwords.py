"""Passwords at rest: bcrypt over the 32-hex wire hash, compatible with PHP's password_hash (spec 06 section 3.3)."""
from __future__ import annotations

import hmac
import re
from enum import Enum

import bcrypt

from boincdock.protocol.account_xml import is_hash, md5hex

_BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53}\Z")


class Verdict(Enum):
    """Outcome of a password check."""

    WRONG = 0
    OK = 1
    OK_REHASH = 2
    """Right, but the row should get a fresh hash (legacy MD5, empty, or an outdated cost)."""


class Passwords:
    """Hashing and checking; ``cost`` is bcrypt's logarithmic work factor."""

    def __init__(self, cost: int = 10) -> None:
        self._cost = cost
        self._dummy = self.hash("0" * 32)

    def hash(self, wire: str) -> str:
        """The value to store for a wire hash; ``$2y$`` because PHP-based tools know no ``$2b$``."""
        hashed = bcrypt.hashpw(wire.lower().encode("ascii"), bcrypt.gensalt(self._cost)).decode("ascii")
        return "$2y$" + hashed[4:]

    def verify(self, offered: str, stored: str, authenticator: str, email_addr: str) -> Verdict:
        """Check an offered ``passwd_hash`` against the stored column in constant time.

        Accepted besides the password's hash, as upstream does: md5(authenticator + email). The stored value
        itself is never accepted unless it is a legacy 32-hex hash; anything but 32 hex digits is wrong.
        """
        if not is_hash(offered):
            self.waste_time()
            return Verdict.WRONG
        offered = offered.lower()
        by_key = hmac.compare_digest(offered, md5hex(authenticator + email_addr))
        if not stored:
            self.waste_time()
            return Verdict.OK_REHASH if by_key else Verdict.WRONG
        if is_hash(stored):
            self.waste_time()
            same = hmac.compare_digest(offered, stored.lower())
            return Verdict.OK_REHASH if same else Verdict.OK if by_key else Verdict.WRONG
        match = _BCRYPT.match(stored)
        if match is None:
            self.waste_time()
            return Verdict.OK if by_key else Verdict.WRONG
        if bcrypt.checkpw(offered.encode("ascii"), stored.encode("ascii")):
            return Verdict.OK if int(match.group(1)) >= self._cost else Verdict.OK_REHASH
        return Verdict.OK if by_key else Verdict.WRONG

    def waste_time(self) -> None:
        """Take as long as a real check, so that the reply time does not tell whether an account exists."""
        bcrypt.checkpw(b"1" * 32, self._dummy.encode("ascii"))


def check_htpasswd(text: str, name: str, password: str) -> bool:
    """True if ``name:password`` is in the text of an .htpasswd file with bcrypt lines; others never match."""
    found = False
    for line in text.splitlines():
        user, _, hashed = line.strip().partition(":")
        if not user or user.startswith("#"):
            continue
        if hmac.compare_digest(user.encode(), name.encode()) and _BCRYPT.match(hashed):
            found |= bcrypt.checkpw(password.encode()[:72], hashed.encode("ascii"))
    return found
