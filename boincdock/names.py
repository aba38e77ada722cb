"""What URL_BASE, PROJECT, BOINC_USER and PROJECT_ROOT may be (spec 05 D1, 01 section 1.1).

Pure functions: the host CLI asks them before anything starts, makeproject before it touches anything. Each
takes the text and returns the form to use, or raises ConfigError that says what is wrong and what would do.
"""
from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from boincdock.errors import ConfigError

MAX_PROJECT = 40
MAX_URL_BASE = 120
"""Clients read the front page in pieces of 255 bytes, and scheduler URLs must fit well inside (spec 05 C2)."""

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_PROJECT = re.compile(r"[a-z](?:[a-z0-9_-]*[a-z0-9])?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_ROOT = re.compile(r"(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+")
_DATABASES = {"information-schema", "information_schema", "mysql", "performance_schema", "sys"}
_SYSTEM_USERS = {
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data",
    "backup", "list", "irc", "nobody", "_apt", "mysql", "dbsecret",
}
_SYSTEM_DIRS = {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "results", "root", "run", "sbin",
                "sys", "tmp", "usr"}
_URL_HINT = "for instance URL_BASE=https://boinc.example.org or URL_BASE=http://192.168.1.20:8080"


def check_url_base(text: str) -> str:
    """URL_BASE in the form to use: scheme, host and port in lower case, no slash at the end.

    Refused is what BOINC clients would refuse later: another scheme than http(s), white space, a host
    without a dot (``localhost``), and what cannot be the root of the project's URLs: a path, a query, a user.
    """
    if not text:
        raise ConfigError("URL_BASE is empty", _URL_HINT)
    if any(c.isspace() or not c.isprintable() for c in text):
        raise ConfigError(f"URL_BASE {text!r} contains white space or control characters", _URL_HINT)
    if not text.isascii() or len(text) > MAX_URL_BASE:
        raise ConfigError(f"URL_BASE {text!r} is not plain ASCII of at most {MAX_URL_BASE} characters", _URL_HINT)
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in ("http", "https"):
        raise ConfigError(f"URL_BASE {text!r} must begin with http:// or https://", _URL_HINT)
    rest = rest.removesuffix("/").lower()
    if not rest or any(c in rest for c in "/?#@\\"):
        raise ConfigError(f"URL_BASE {text!r} must be scheme, host and port only; "
                          "the project's name is added by itself", _URL_HINT)
    host = _check_host_port(text, f"//{rest}")
    if "." not in host:
        raise ConfigError(f"URL_BASE {text!r}: the host {host!r} has no dot, so BOINC clients refuse it",
                          "use the machine's full name or its IP address; 127.0.0.1 if only this machine computes")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise ConfigError(f"URL_BASE {text!r}: {host} is no IPv4 address", _URL_HINT) from None
    elif not _HOST.fullmatch(host) or len(host) > 253:
        raise ConfigError(f"URL_BASE {text!r}: {host!r} is no host name", _URL_HINT)
    return f"{scheme}://{rest}"


def _check_host_port(text: str, netloc: str) -> str:
    try:
        parts = urlsplit(netloc)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError(f"URL_BASE {text!r}: the host or port cannot be read", _URL_HINT) from None
    if netloc.startswith("//["):
        raise ConfigError(f"URL_BASE {text!r}: BOINC clients do not accept IPv6 addresses in URLs",
                          "use a host name that has an IPv6 address")
    if (port is not None and not 1 <= port <= 65535) or netloc.endswith(":"):
        raise ConfigError(f"URL_BASE {text!r}: the port must be a number from 1 to 65535", _URL_HINT)
    return host


def check_project(text: str) -> str:
    """PROJECT: part of URLs, of file names, the database's name and the containers' host name."""
    hint = "lower-case letters, digits, - and _, a letter first; for instance PROJECT=boincserver"
    if not _PROJECT.fullmatch(text):
        raise ConfigError(f"PROJECT {text!r} is not a usable project name", hint)
    if len(text) > MAX_PROJECT:
        raise ConfigError(f"PROJECT {text!r} is longer than {MAX_PROJECT} characters", hint)
    if text in _DATABASES:
        raise ConfigError(f"PROJECT {text!r} is the name of a database of MariaDB's own", "choose another name")
    return text


def check_boinc_user(text: str) -> str:
    """BOINC_USER: a Unix user in the containers and the project's user in the database."""
    if not _USER.fullmatch(text) or text in _SYSTEM_USERS:
        raise ConfigError(f"BOINC_USER {text!r} is not a usable user name",
                          "lower-case letters, digits, - and _, and no name that a system has already; "
                          "for instance BOINC_USER=boincadm")
    return text


def check_project_root(text: str) -> str:
    """PROJECT_ROOT: where the project folder is inside the containers."""
    hint = "an absolute path such as PROJECT_ROOT=/home/boincadm/project, of letters, digits, . _ and -"
    if not _ROOT.fullmatch(text) or len(text) > 200:
        raise ConfigError(f"PROJECT_ROOT {text!r} is not a usable path", hint)
    parts = text.strip("/").split("/")
    if len(parts) < 2 or parts[0] in _SYSTEM_DIRS or parts[:2] in (["var", "lib"], ["var", "run"]):
        raise ConfigError(f"PROJECT_ROOT {text!r} would hide a folder of the system", hint)
    return text
