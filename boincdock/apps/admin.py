"""What an operator does with apps and registered versions: add, list, set, deprecate (spec 04 section 7.3).

Changes reach the scheduler at once (``reread_db``). Saying again what is so already changes nothing.
"""
from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from boincdock.apps.repository import AppRepository, Row
from boincdock.apps.signatures import signed_files
from boincdock.apps.xadd import check_title, parse_project_xml, read_text
from boincdock.config import Project
from boincdock.db import Connection, DuplicateKeyError
from boincdock.errors import InputError
from boincdock.protocol.version_xml import parse_version_number

OPTIONS: dict[str, tuple[float, float]] = {
    "min_version": (0, 2**31 - 1), "weight": (0, 1e9), "homogeneous_redundancy": (0, 2),
    "homogeneous_app_version": (0, 1), "target_nresults": (0, 32767), "non_cpu_intensive": (0, 1), "beta": (0, 1),
    "fraction_done_exact": (0, 1),
}
"""Columns of ``app`` that an operator sets, with the least and the greatest value."""


@dataclass
class Changed:
    """What a change did: whether anything changed, the app or versions as they are now, and what to think of."""

    changed: bool
    rows: list[Row]
    warnings: list[str] = field(default_factory=list)

    def json(self, name: str) -> dict[str, Any]:
        """For ``--json``."""
        return {"changed": self.changed, name: self.rows, "warnings": self.warnings}


def _checked(options: Mapping[str, float]) -> dict[str, float]:
    for name, value in options.items():
        least, most = OPTIONS[name]
        if not least <= value <= most:
            raise InputError(f"{name} must be from {least:g} to {most:g}, not {value:g}")
    return {name: value if name == "weight" else int(value) for name, value in options.items()}


class AppAdmin:
    """The operator's verbs on one project."""

    def __init__(self, db: Connection, project: Project) -> None:
        self._db = db
        self._project = project
        self._repository = AppRepository(db)

    # ---- apps ----------------------------------------------------------------------------------------------------

    def apps(self, *, everything: bool = False) -> list[Row]:
        """All apps, without deprecated ones unless ``everything``; with counts of versions and unfinished results."""
        unfinished = self._repository.unfinished()
        rows = self._repository.app_details().values()
        return [{**row, "unfinished": unfinished.get(row["id"], 0)} for row in rows
                if everything or not row["deprecated"]]

    def app(self, name: str) -> Row:
        """One app; InputError if there is none of this name."""
        for row in self.apps(everything=True):
            if row["name"] == name:
                return row
        raise InputError(f"there is no app {name!r}", "./manage.py app list shows them; app add makes one")

    def add(self, name: str, friendly: str | None, options: Mapping[str, float]) -> Changed:
        """Register an app. One that is there as wanted is left alone; InputError if it is there otherwise."""
        check_title("app", name, friendly or name, "the app")
        wanted: dict[str, Any] = {"user_friendly_name": friendly or name, **_checked(options)}
        known = self._repository.app_details()
        same = [each for each in known if each.lower() == name.lower()]
        if same and same != [name]:
            raise InputError(f"{name} differs only in upper and lower case from the app {same[0]}")
        if name in known:
            given = {**({"user_friendly_name": friendly} if friendly else {}), **_checked(options)}
            other = [key for key, value in given.items() if known[name][key] != value]
            if other:
                raise InputError(f"the app {name} exists with another {', '.join(other)}",
                                 f"change it: ./manage.py app set {name} ...")
            return Changed(False, [self.app(name)], self._warnings(name))
        full = {**{option: 1.0 if option == "weight" else 0 for option in OPTIONS}, **wanted}
        try:
            self._db.retrying(lambda: self._insert(name, full))
        except DuplicateKeyError:
            raise InputError(f"the app {name} has just been added by somebody else") from None
        self._tell()
        return Changed(True, [self.app(name)], self._warnings(name))

    def _insert(self, name: str, columns: Mapping[str, Any]) -> None:
        basic = {key: value for key, value in columns.items() if key != "non_cpu_intensive"}
        number = self._repository.insert_app(name=name, **basic)
        if columns["non_cpu_intensive"]:
            self._repository.change_app({**columns, "id": number, "deprecated": 0})

    def change(self, name: str, friendly: str | None, options: Mapping[str, float],
               deprecated: bool | None = None) -> Changed:
        """Set columns of an app; InputError for a value out of range."""
        row = self.app(name)
        new = {**row, **_checked(options)}
        if friendly is not None:
            check_title("app", name, friendly, "the app")
            new["user_friendly_name"] = friendly
        if deprecated is not None:
            new["deprecated"] = int(deprecated)
        changed = new != row
        if changed:
            self._db.retrying(lambda: self._repository.change_app(new))
            self._tell()
        warnings = self._warnings(name)
        if new["deprecated"] and new["unfinished"]:
            warnings.append(f"{new['unfinished']} results of {name} are not over: unsent ones are not sent any more "
                            "(bin/cancel_jobs ends them)")
        return Changed(changed, [self.app(name)], warnings)

    def _warnings(self, name: str) -> list[str]:
        """What keeps jobs of this app from being done, or will undo what was set here."""
        row = self.app(name)
        if row["deprecated"]:
            return []
        found = []
        commands = [daemon.cmd for daemon in self._project.daemons if not daemon.disabled]
        for kind in ("validator", "assimilator"):
            if not any(kind in cmd.split()[0] and _names_app(cmd, name) for cmd in commands):
                found.append(f"config.xml starts no {kind} for {name}: its jobs do not get past that step "
                             "(docs/plugins.md)")
        path = self._project.dir / "project.xml"
        if path.is_file():
            listed = {app.name: app for app in parse_project_xml(read_text(path))[1]}
            if name in listed and listed[name].friendly != row["user_friendly_name"]:
                found.append(f"project.xml calls {name} {listed[name].friendly!r}: change it there too, or the next "
                             "xadd sets it back")
        return found

    def _tell(self) -> None:
        self._project.trigger("reread_db").touch()

    # ---- versions ------------------------------------------------------------------------------------------------

    def versions(self, app: str | None = None, *, everything: bool = False) -> list[Row]:
        """Registered versions, newest first; ``everything``: deprecated ones too. Each says whether it is
        ``current``: the one that hosts get of its app, platform and plan class."""
        if app is not None:
            self.app(app)
        newest: dict[tuple[Any, ...], int] = {}
        rows = self._repository.versions()
        for row in rows:
            key = (row["app"], row["platform"], row["plan_class"], row["beta"])
            if not row["deprecated"]:
                newest[key] = max(newest.get(key, 0), row["version_num"])
        shown = []
        for row in rows:
            key = (row["app"], row["platform"], row["plan_class"], row["beta"])
            row["current"] = not row["deprecated"] and newest[key] == row["version_num"]
            row["version"] = f"{row['version_num'] // 100}.{row['version_num'] % 100:02}"
            if (app is None or row["app"] == app) and (everything or not row["deprecated"]):
                shown.append(row)
        return shown

    def find(self, words: list[str]) -> list[Row]:
        """Versions named by an id, or by APP VERSION [PLATFORM[__PLANCLASS]]; InputError if there is none."""
        rows = self.versions(everything=True)
        if len(words) == 1 and words[0].isascii() and words[0].isdigit():
            found = [row for row in rows if row["id"] == int(words[0])]
        elif 2 <= len(words) <= 3:
            number = parse_version_number(words[1])
            platform, mark, plan_class = (words[2] if len(words) == 3 else "").partition("__")
            found = [row for row in rows if row["app"] == words[0] and row["version_num"] == number
                     and platform in ("", row["platform"]) and (not mark or plan_class == row["plan_class"])]
        else:
            raise InputError("which version? an id, or APP VERSION [PLATFORM[__PLANCLASS]]")
        if not found:
            raise InputError(f"there is no app version {' '.join(words)}",
                             "./manage.py app version list --all shows them")
        return found

    def deprecate(self, words: list[str], deprecated: bool) -> Changed:
        """Withdraw versions (the next lower one is offered again), or offer them again."""
        wanted = self.find(words)
        ids = {row["id"] for row in wanted}
        changed = [row for row in wanted if row["deprecated"] != int(deprecated)]

        def write() -> None:
            for row in changed:
                self._repository.change_version({**row, "deprecated": int(deprecated)})

        if changed:
            self._db.retrying(write)
            self._tell()
        now = self.versions(everything=True)
        warnings = []
        for row in changed if deprecated else []:
            if not any(r["current"] for r in now if (r["app"], r["platform"], r["plan_class"]) == (
                    row["app"], row["platform"], row["plan_class"])):
                warnings.append(f"no version of {row['app']} is left for {row['platform']}"
                                + (f" plan class {row['plan_class']}" if row["plan_class"] else ""))
        return Changed(bool(changed), [row for row in now if row["id"] in ids], warnings)

    def version_files(self, version_id: int) -> list[dict[str, Any]]:
        """Files of a version as clients are told of them."""
        for row in self._repository.documents():
            if row["id"] == version_id:
                document = bytes(row["xml_doc"] or b"").decode("utf-8", "replace")
                return [{"name": f.name, "md5": f.md5, "nbytes": f.nbytes} for f in signed_files(document)]
        raise InputError(f"there is no app version {version_id}")


def _names_app(cmd: str, name: str) -> bool:
    words = cmd.split()
    return any(a.lstrip("-") == "app" and b == name for a, b in itertools.pairwise(words))

