"""The operator's choices as makeproject's container sees them: environment variables (spec 05 D1)."""
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from boincdock import names
from boincdock.errors import ConfigError

LIBRARY = Path("/usr/local/lib/boincdock")
STOCK_ROOT = Path("/usr/local/share/boincdock/project_root")

_DB_HOST = re.compile(r"[A-Za-z0-9_.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:]+\]")
_DB_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Settings:
    """Checked values. ``root`` is PROJECT_ROOT as all other services see it, ``volume`` where the same
    volume is mounted here, ``image_root`` the default files with the operator's own copied over them."""

    url_base: str
    project: str
    boinc_user: str
    root: Path
    volume: Path
    image_root: Path
    db_host: str
    db_name: str
    db_user: str

    def placeholders(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """What ``${NAME}`` stands for in the project's files (spec 05 D3 step 2.2)."""
        values = {
            "URL_BASE": self.url_base, "PROJECT": self.project, "PROJECT_ROOT": str(self.root),
            "BOINC_USER": self.boinc_user, "DB_HOST": self.db_host, "DB_NAME": self.db_name,
            "DB_USER": self.db_user,
        }
        for name in ("DB_PASSWD", "MAILPASS", "RECAPTCHA_PUBLIC_KEY", "RECAPTCHA_PRIVATE_KEY"):
            values[name] = secrets.get(name, "")
        return values


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """Check every value; ConfigError names the first bad one."""
    root = names.check_project_root(environ.get("PROJECT_ROOT", "/home/boincadm/project"))
    project = names.check_project(environ.get("PROJECT", ""))
    user = names.check_boinc_user(environ.get("BOINC_USER", "boincadm"))
    db_host = environ.get("DB_HOST") or "mysql"
    if not _DB_HOST.fullmatch(db_host):
        raise ConfigError(f"DB_HOST {db_host!r} is no host name", "for instance DB_HOST=db.example.org:3306")
    db_name = environ.get("DB_NAME") or project
    if not _DB_NAME.fullmatch(db_name):
        raise ConfigError(f"DB_NAME {db_name!r} is not a usable database name")
    db_user = environ.get("DB_USER") or user
    if not _DB_NAME.fullmatch(db_user) or db_user == "root":
        raise ConfigError(f"DB_USER {db_user!r} is not a usable database user",
                          "the project has a user with rights on its own schema only")
    return Settings(
        url_base=names.check_url_base(environ.get("URL_BASE", "")), project=project, boinc_user=user,
        root=Path(root), volume=Path(environ.get("PROJECT_VOLUME") or f"{root}.dst"), image_root=Path(root),
        db_host=db_host, db_name=db_name, db_user=db_user)
