"""The choices an operator makes, in layers: option > environment > remembered (.boincdock/settings.env) > .env.

All of them go to compose through the environment, which beats .env in every compose version. What `up --port`
and `up --url-base` were told is remembered, so that the next `up`, `status` or `demo` means the same project.
"""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from boincdock import names
from boincdock.errors import ConfigError

DEFAULTS = {
    "URL_BASE": "http://127.0.0.1",
    "PROJECT": "boincserver",
    "BOINC_USER": "boincadm",
    "PROJECT_ROOT": "/home/boincadm/project",
    "PORT": "80",
    "BASE_IMAGE": "debian:trixie-slim",
    "TAG": "",
    "VERSION": "latest",
}
REMEMBERED = ("PORT", "URL_BASE")
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")


def read_env_file(path: Path) -> dict[str, str]:
    """The KEY=VALUE lines of an env file as compose reads them; {} if there is none.

    Quotes around a value are taken off; ` #` starts a comment in an unquoted one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if not match:
            raise ConfigError(f"{path}:{number}: not a KEY=VALUE line: {line.strip()[:60]!r}")
        value = match[2]
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        else:
            value = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
        found[match[1]] = value
    return found


@dataclass(frozen=True)
class Settings:
    """The values in force. ``chosen`` are those of options, to be remembered after a successful start."""

    root: Path
    values: Mapping[str, str]
    chosen: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, key: str) -> str:
        return self.values[key]

    @property
    def compose_name(self) -> str:
        """Compose's project name: prefix of containers and volumes."""
        return self.values["COMPOSE_PROJECT_NAME"]

    @property
    def port(self) -> int:
        """The published TCP port."""
        return int(self.values["PORT"])

    @property
    def master_url(self) -> str:
        """The URL volunteers attach to (spec 01 section 1.1)."""
        return f"{self.values['URL_BASE']}/{self.values['PROJECT']}/"

    @property
    def ops_url(self) -> str:
        """The administrators' web site."""
        return f"{self.values['URL_BASE']}/{self.values['PROJECT']}_ops/"

    @property
    def state_dir(self) -> Path:
        """Where manage.py keeps what it knows about this machine (untracked)."""
        return self.root / ".boincdock"

    @property
    def environment(self) -> dict[str, str]:
        """What compose gets."""
        return dict(self.values)


def load_settings(
    root: Path, environ: Mapping[str, str] | None = None, options: Mapping[str, str | None] | None = None
) -> Settings:
    """Merge the layers and check every value; raises ConfigError naming the bad one, before anything is started."""
    environ = os.environ if environ is None else environ
    chosen = {key: value for key, value in (options or {}).items() if value is not None}
    shipped = read_env_file(root / ".env")
    remembered = read_env_file(remembered_path(root, environ))
    keys = {*DEFAULTS, *shipped, *remembered}
    named = {key: environ[key] for key in keys | {"COMPOSE_PROJECT_NAME"} if key in environ}
    values = {**DEFAULTS, **shipped, **remembered, **named, **chosen}
    if "URL_BASE" not in chosen and "URL_BASE" not in named and "URL_BASE" not in remembered:
        values["URL_BASE"] = _follow_port(values["URL_BASE"], values["PORT"])
    if not values.get("COMPOSE_PROJECT_NAME"):
        values["COMPOSE_PROJECT_NAME"] = _default_name(root)
    values = _checked(values)
    return Settings(root, values, {key: values[key] for key in REMEMBERED if key in chosen})


def remembered_path(root: Path, environ: Mapping[str, str] | None = None) -> Path:
    """The file of remembered choices; BOINCDOCK_SETTINGS names another one (tests beside a user's stack)."""
    environ = os.environ if environ is None else environ
    return Path(environ.get("BOINCDOCK_SETTINGS") or root / ".boincdock" / "settings.env")


def remember(settings: Settings, environ: Mapping[str, str] | None = None) -> None:
    """Keep the options of this call for the next ones."""
    if not settings.chosen:
        return
    path = remembered_path(settings.root, environ)
    known = {**read_env_file(path), **settings.chosen}
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["# Written by manage.py: the choices of `up --port` and `up --url-base`. They override .env."]
    lines += [f"{key}={value}" for key, value in sorted(known.items())]
    fresh = path.with_suffix(".new")
    fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
    fresh.replace(path)


def _follow_port(url_base: str, port: str) -> str:
    """The shipped URL_BASE names this machine without a port; it means the published one."""
    parts = urlsplit(url_base)
    if parts.scheme == "http" and parts.netloc == "127.0.0.1" and port != "80":
        return f"http://127.0.0.1:{port}{parts.path}"
    return url_base


def _default_name(root: Path) -> str:
    """Compose's own default: the folder's name, reduced to what it allows."""
    return re.sub(r"[^a-z0-9_-]", "", root.name.lower()).lstrip("_-") or "boincdock"


def _checked(values: dict[str, str]) -> dict[str, str]:
    """The values in the form to use; ConfigError for the first that cannot be."""
    check_port(values["PORT"])
    if not _NAME.match(values["COMPOSE_PROJECT_NAME"]):
        raise ConfigError(
            f"COMPOSE_PROJECT_NAME {values['COMPOSE_PROJECT_NAME']!r} is not usable",
            "lower-case letters, digits, - and _; a letter or digit first",
        )
    for key in ("BASE_IMAGE", "VERSION"):
        _check_plain(key, values[key])
    return values | {
        "URL_BASE": names.check_url_base(values["URL_BASE"]),
        "PROJECT": names.check_project(values["PROJECT"]),
        "BOINC_USER": names.check_boinc_user(values["BOINC_USER"]),
        "PROJECT_ROOT": names.check_project_root(values["PROJECT_ROOT"]),
    }


def check_port(text: str) -> None:
    """ConfigError unless the text is a TCP port."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ConfigError(f"PORT {text!r} is not a TCP port", "a number from 1 to 65535, for instance --port 8080")


def _check_plain(key: str, value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", value):
        raise ConfigError(f"{key} {value!r} is not usable as (part of) an image name")
