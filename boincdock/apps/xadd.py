"""project.xml: the platforms and apps a project has, and putting them into the database (spec 04 section 7.1)."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boincdock.apps.repository import AppRepository
from boincdock.config import Project
from boincdock.db import Connection
from boincdock.errors import InputError
from boincdock.protocol.markup import Element, parse

_MAX_BYTES = 1 << 20
_INT_OPTIONS = ("min_version", "fraction_done_exact", "target_nresults", "homogeneous_redundancy",
                "homogeneous_app_version", "beta")


@dataclass(frozen=True, slots=True)
class PlatformEntry:
    """A ``<platform>`` of project.xml."""

    name: str
    friendly: str


@dataclass(frozen=True, slots=True)
class AppEntry:
    """An ``<app>`` of project.xml; ``options`` are the numeric columns that it names."""

    name: str
    friendly: str
    options: dict[str, float] = field(default_factory=dict)


def parse_project_xml(text: str, origin: str = "project.xml") -> tuple[list[PlatformEntry], list[AppEntry]]:
    """Platforms and apps of a project.xml. InputError names the line."""
    top = parse(text, origin)
    if len(top) != 1 or top[0].name != "boinc":
        raise InputError(f"{origin}: must be one <boinc> element")
    platforms: list[PlatformEntry] = []
    apps: list[AppEntry] = []
    for element in top[0].children:
        if element.name not in ("platform", "app"):
            raise InputError(f"{origin}, line {element.line}: <{element.name}> where <platform> or <app> is expected")
        name, friendly = _names(element, origin)
        if element.name == "platform":
            platforms.append(PlatformEntry(name, friendly))
        else:
            apps.append(AppEntry(name, friendly, _options(element, origin)))
    for kind, names in (("platform", [p.name for p in platforms]), ("app", [a.name for a in apps])):
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{origin}: {kind} {name} is listed twice")
    return platforms, apps


def _names(element: Element, origin: str) -> tuple[str, str]:
    where = f"{origin}, line {element.line}"
    name, friendly = element.find("name"), element.find("user_friendly_name")
    if name is None or not name.text:
        raise InputError(f"{where}: <{element.name}> without <name>")
    title = friendly.text if friendly is not None and friendly.text else name.text
    check_title(element.name, name.text, title, where)
    return name.text, title


def check_title(kind: str, name: str, friendly: str, where: str) -> None:
    """InputError unless both can be names of an app or platform."""
    if not name or len(name) > 191 or name.startswith(".") or \
            any(c.isspace() or c in "/\\<>&'\"" or not c.isprintable() for c in name):
        raise InputError(f"{where}: {name[:60]!r} is no {kind} name")
    if not friendly.strip() or len(friendly) > 254 or not friendly.isprintable():
        raise InputError(f"{where}: the friendly name must have 1 to 254 printable characters")


def _options(element: Element, origin: str) -> dict[str, float]:
    options: dict[str, float] = {}
    for child in element.children:
        if child.name in ("name", "user_friendly_name"):
            continue
        if child.name not in (*_INT_OPTIONS, "weight"):
            raise InputError(f"{origin}, line {child.line}: <{child.name}> is unknown in <app>")
        try:
            options[child.name] = float(child.text) if child.name == "weight" else int(child.text or "1")
        except ValueError:
            raise InputError(f"{origin}, line {child.line}: <{child.name}> must be a number") from None
        if not 0 <= options[child.name] < 2**31:
            raise InputError(f"{origin}, line {child.line}: <{child.name}> is out of range")
    return options


def xadd(db: Connection, project: Project, report: Callable[[str], None]) -> int:
    """Bring platforms and apps of PROJECT/project.xml into the database: insert what is missing, update a
    changed friendly name or min_version; never delete. All or nothing. Reports each change in a line and
    returns their number; touches ``reread_db`` if there was one."""
    platforms, apps = parse_project_xml(read_text(project.dir / "project.xml"))
    lines = db.retrying(lambda: _apply(AppRepository(db), platforms, apps))
    for line in lines:
        report(line)
    if lines:
        project.trigger("reread_db").touch()
    return len(lines)


def read_text(path: Path) -> str:
    """A UTF-8 file of at most 1 MiB; InputError if it cannot be had."""
    try:
        data = path.read_bytes()
        if len(data) > _MAX_BYTES:
            raise InputError(f"{path} is larger than {_MAX_BYTES} bytes")
        return data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None


def _apply(repository: AppRepository, platforms: list[PlatformEntry], apps: list[AppEntry]) -> list[str]:
    lines: list[str] = []
    known = repository.platforms()
    for platform in platforms:
        row = known.get(platform.name)
        if row is None:
            repository.insert_platform(platform.name, platform.friendly)
            lines.append(f"added platform {platform.name}")
        elif row["user_friendly_name"] != platform.friendly:
            repository.update_platform(row["id"], platform.friendly)
            lines.append(f"updated platform {platform.name}")
    known = repository.apps()
    for app in apps:
        old = known.get(app.name)
        if old is None:
            repository.insert_app(name=app.name, user_friendly_name=app.friendly, **_columns(app))
            lines.append(f"added app {app.name}")
            continue
        least = int(app.options["min_version"]) if "min_version" in app.options else old["min_version"]
        if (old["user_friendly_name"], old["min_version"]) != (app.friendly, least):
            repository.update_app(old["id"], app.friendly, least)
            lines.append(f"updated app {app.name}")
    return lines


def _columns(app: AppEntry) -> dict[str, Any]:
    return {name: int(app.options.get(name, 0)) for name in _INT_OPTIONS} | {"weight": app.options.get("weight", 1.0)}
