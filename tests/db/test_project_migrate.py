"""A makeproject killed in the middle of a migration: between a statement and the note that it is done."""
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from boincdock.db import Connection, connect
from boincdock.db.migrate import load_migrations, migrate, pending, split_statements


class Died(BaseException):
    """A kill -9."""


def test_killed_after_every_single_statement(db: Connection, db_settings: SimpleNamespace,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{db_settings.db_name}_k"
    server = db.raw().cursor()
    server.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    real = Connection.run
    counted = 0

    def dying(self: Connection, query: str, /, **params: Any) -> int:
        nonlocal counted
        if query == "migrate.progress":
            counted += 1
            if counted == 2:  # the first one makes good for the run before
                self.close()
                raise Died
        return real(self, query, **params)

    monkeypatch.setattr(Connection, "run", dying)
    try:
        statements = sum(len(split_statements(m.text)) for m in load_migrations())
        for _ in range(statements + 2):
            counted = 0
            connection = connect(SimpleNamespace(**{**vars(db_settings), "db_name": name}))
            try:
                migrate(connection)
                break
            except Died:
                connection.close()
        else:
            pytest.fail("never got through")
        assert pending(connection) == []
        cursor = connection.raw().cursor()
        cursor.execute("SELECT shortname FROM consent_type ORDER BY id")
        assert [row["shortname"] for row in cursor.fetchall()] == ["ENROLL", "STATSEXPORT"]
        connection.close()
    finally:
        monkeypatch.undo()
        server.execute(f"DROP DATABASE {name}")
