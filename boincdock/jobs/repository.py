"""The tables that job creation, cancelling and re-basing touch; SQL is in db/queries/jobs.sql."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boincdock.db import Connection
from boincdock.db.connector import chunks
from boincdock.enums import TargetType

Row = dict[str, Any]
_IN_LIST = 1000


class JobRepository:
    """Workunits, assignments and what is looked up to make them."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def app(self, name: str) -> Row | None:
        """id, name and deprecated of an app."""
        return self._db.one("jobs.app_by_name", name=name)

    def app_names(self) -> list[str]:
        """Names of all apps that are not deprecated."""
        return [row["name"] for row in self._db.all("jobs.app_names")]

    def insert_workunits(self, rows: Sequence[Row]) -> None:
        """Insert in multi-row statements; DuplicateKeyError if a name exists."""
        self._db.run_many("jobs.insert_workunit", rows)

    def fill_workunit(self, wu_id: int, row: Row) -> bool:
        """Overwrite an existing workunit; False if there is none with this id."""
        return self._db.run("jobs.fill_workunit", id=wu_id, **row) == 1

    def ids(self, names: Sequence[str]) -> dict[str, int]:
        """{name: id} of the workunits that exist; keys are spelt as in ``names``."""
        spelling = {name.lower(): name for name in names}
        found: dict[str, int] = {}
        for part in chunks(names, _IN_LIST):
            for row in self._db.all("jobs.ids_by_names", names=part):
                found[spelling[row["name"].lower()]] = int(row["id"])
        return found

    def insert_assignments(self, rows: Sequence[Row]) -> None:
        """Insert assignment rows."""
        self._db.run_many("jobs.insert_assignment", rows)

    def target_exists(self, kind: TargetType, target_id: int) -> bool:
        """Whether the host, user or team exists."""
        return self._db.value(f"jobs.{kind.name.lower()}_exists", id=target_id) is not None
