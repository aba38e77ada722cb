"""Fixtures shared by all tiers. ``db`` is a real MariaDB named by BOINCDOCK_TEST_DB
(mysql://user:password@host:port); ``./manage.py test`` starts one and sets the variable."""
from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from boincdock.db import Connection, connect
from boincdock.db.migrate import migrate
from boincdock.scheduler import stamps


def _settings(name: str) -> SimpleNamespace:
    url = os.environ.get("BOINCDOCK_TEST_DB")
    if not url:
        pytest.fail("BOINCDOCK_TEST_DB is not set: run the db tier through ./manage.py test db", pytrace=False)
    parts = urlsplit(url)
    return SimpleNamespace(db_name=name, db_user=parts.username or "root", db_passwd=parts.password or "",
                           db_host=f"{parts.hostname}:{parts.port or 3306}")


def _execute(db: Connection, statement: str) -> list[dict]:
    cursor = db.raw().cursor()
    cursor.execute(statement)
    rows = list(cursor.fetchall())
    cursor.close()
    return rows


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked long run when asked for: all of CI shall stay under 40 minutes."""
    if item.get_closest_marker("long") and os.environ.get("BOINCDOCK_TEST_LONG", "0") in ("", "0"):
        pytest.skip("long: set BOINCDOCK_TEST_LONG=1")


@pytest.fixture(autouse=True)
def no_old_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a test changes count at once."""
    monkeypatch.setattr(stamps, "RECHECK", 0.0)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What a test (or the program it runs) sets up of the package's log is undone for the tests that follow."""
    logger = logging.getLogger("boincdock")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    for handler in set(logger.handlers) - set(handlers):
        handler.close()
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture(scope="session")
def db_settings() -> Iterator[SimpleNamespace]:
    """Settings (db_name, db_user, db_passwd, db_host) of a migrated schema of this session's own."""
    name = f"bdtest_{uuid.uuid4().hex[:12]}"
    server = connect(_settings("mysql"))
    _execute(server, f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    settings = _settings(name)
    try:
        connection = connect(settings)
        migrate(connection)
        connection.close()
        yield settings
    finally:
        _execute(server, f"DROP DATABASE {name}")
        server.close()


@pytest.fixture
def db(db_settings: SimpleNamespace) -> Iterator[Connection]:
    """A connection to a schema whose tables are empty (but for the initial content)."""
    connection = connect(db_settings)
    keep = {"boincdock_migration", "consent_type"}
    tables = _execute(connection, "SELECT table_name AS t FROM information_schema.tables WHERE table_schema ="
                                  " DATABASE() AND table_type = 'BASE TABLE'")
    _execute(connection, "SET foreign_key_checks = 0")
    for row in tables:
        if row["t"] not in keep and _execute(connection, f"SELECT 1 AS x FROM `{row['t']}` LIMIT 1"):
            _execute(connection, f"TRUNCATE TABLE `{row['t']}`")
    _execute(connection, "SET foreign_key_checks = 1")
    yield connection
    connection.close()


@pytest.fixture
def new_connection(db: Connection, db_settings: SimpleNamespace) -> Iterator:
    """A factory of further connections to the same schema, closed at the end of the test."""
    opened: list[Connection] = []

    def make() -> Connection:
        opened.append(connect(db_settings))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()
