"""The tables that job creation, cancelling and re-basing touch; SQL is in db/queries/jobs.sql."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from boincdock.db import Connection
from boincdock.db.connector import chunks
from boincdock.enums import TargetType

Row = dict[str, Any]
_IN_LIST = 1000
_SHORT_RUN = 8


class JobRow(NamedTuple):
    """A workunit to be: its name and document, and the other columns, which jobs of a kind share."""

    columns: Row
    name: str
    xml_doc: bytes

    def full(self) -> Row:
        """All columns."""
        return self.columns | {"name": self.name, "xml_doc": self.xml_doc}


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

    def insert_workunits(self, rows: Sequence[JobRow]) -> dict[str, int]:
        """Insert in multi-row statements, in order; {name: id}. DuplicateKeyError if a name exists."""
        runs = [list(run) for _, run in groupby(rows, key=lambda row: id(row.columns))]
        if len(runs) * _SHORT_RUN > len(rows):
            return self._insert([row.full() for row in rows], None)
        ids: dict[str, int] = {}
        for run in runs:
            ids.update(self._insert([{"name": row.name, "xml_doc": row.xml_doc} for row in run], run[0].columns))
        return ids

    def _insert(self, rows: Sequence[Row], shared: Row | None) -> dict[str, int]:
        """The server numbers the rows of a statement upwards in their order, so the first and last id tell whether
        all are consecutive (they are, unless the server is configured otherwise)."""
        ids: dict[str, int] = {}
        at = 0
        for count, first in self._db.insert_many("jobs.insert_workunit", rows, shared):
            names = [row["name"] for row in rows[at:at + count]]
            last = self._db.value("jobs.id_by_name", name=names[-1])
            ids.update(zip(names, range(first, first + count), strict=True) if last == first + count - 1
                       else self.ids(names).items())
            at += count
        return ids

    def fill_workunit(self, wu_id: int, row: JobRow) -> bool:
        """Overwrite an existing workunit; False if there is none with this id."""
        return self._db.run("jobs.fill_workunit", id=wu_id, **row.full()) == 1

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
