"""Platforms, apps and app versions in the database; SQL is in db/queries/apps.sql."""
from __future__ import annotations

import time
from typing import Any

from boincdock.db import Connection

Row = dict[str, Any]


class AppRepository:
    """What xadd and update_versions read and write. Writers belong in a transaction of the caller."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def platforms(self) -> dict[str, Row]:
        """{name: row} of all platforms."""
        return {row["name"]: row for row in self._db.all("apps.platforms")}

    def apps(self) -> dict[str, Row]:
        """{name: row} of all apps."""
        return {row["name"]: row for row in self._db.all("apps.apps")}

    def insert_platform(self, name: str, friendly: str) -> int:
        """The new id."""
        return self._db.insert("apps.insert_platform", create_time=int(time.time()), name=name,
                               user_friendly_name=friendly)

    def update_platform(self, platform_id: int, friendly: str) -> None:
        """Change the friendly name."""
        self._db.run("apps.update_platform", id=platform_id, user_friendly_name=friendly)

    def insert_app(self, **columns: Any) -> int:
        """The new id; columns as the query names them."""
        return self._db.insert("apps.insert_app", create_time=int(time.time()), **columns)

    def update_app(self, app_id: int, friendly: str, min_version: int) -> None:
        """Change the friendly name and the least version."""
        self._db.run("apps.update_app", id=app_id, user_friendly_name=friendly, min_version=min_version)

    def known_versions(self, app_id: int) -> set[tuple[int, int, str]]:
        """(platform id, version number, plan class) of all versions of an app."""
        return {(row["platformid"], row["version_num"], row["plan_class"])
                for row in self._db.all("apps.versions_of_app", appid=app_id)}

    def insert_version(self, **columns: Any) -> int:
        """The new id; DuplicateKeyError if there is one with the same app, platform, number, plan class."""
        return self._db.insert("apps.insert_version", create_time=int(time.time()), **columns)

    def plan_classes(self, app_name: str) -> list[str]:
        """Plan classes of an app's versions that are not deprecated."""
        return [row["plan_class"] for row in self._db.all("apps.plan_classes_of_app", name=app_name)]

    def documents(self, *, lock: bool = False) -> list[Row]:
        """All versions with their documents and the names of app and platform; ``lock`` until the transaction ends."""
        return self._db.all("apps.versions_for_signing" if lock else "apps.version_documents")

    def set_document(self, version_id: int, xml_doc: bytes) -> None:
        """Replace what clients are told of a version."""
        self._db.run("apps.set_version_document", id=version_id, xml_doc=xml_doc)

    def app_details(self) -> dict[str, Row]:
        """{name: all columns, and ``versions``: how many are offered}."""
        return {row["name"]: row for row in self._db.all("apps.app_details")}

    def change_app(self, row: Row) -> None:
        """Write the columns that an operator may change."""
        names = ("id", "user_friendly_name", "min_version", "deprecated", "weight", "homogeneous_redundancy",
                 "homogeneous_app_version", "target_nresults", "non_cpu_intensive", "beta", "fraction_done_exact")
        self._db.run("apps.change_app", **{name: row[name] for name in names})

    def versions(self) -> list[Row]:
        """All versions of all apps, without their documents."""
        return self._db.all("apps.version_list")

    def change_version(self, row: Row) -> None:
        """Write the columns that an operator may change."""
        names = ("id", "deprecated", "beta", "min_core_version", "max_core_version")
        self._db.run("apps.change_version", **{name: row[name] for name in names})

    def unfinished(self) -> dict[int, int]:
        """{app id: number of results that are not over}."""
        return {row["appid"]: row["n"] for row in self._db.all("apps.unfinished_by_app")}

    def certified_before(self, moment: int) -> int:
        """How many results hold upload certificates made before ``moment`` (Unix seconds) and may still use them."""
        return int(self._db.value("apps.certified_before", moment=moment) or 0)
