"""Numbered plain-SQL migrations, ``pre`` (before the new code runs) and ``post`` (after), kept in a table of
the database itself (spec 05 A8 "Do better").

MariaDB commits at every DDL statement, so a migration cannot be one transaction. Instead each finished
statement is counted in the table: after a crash the next run goes on behind the last one counted. Rows and
their count are committed together; of a DDL statement that finished uncounted, the next run finds the effect.
"""
from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boincdock.db.connector import Connection
from boincdock.errors import DatabaseError

MIGRATION_DIR = Path(__file__).with_name("migrations")
SCHEMA_FILE = Path(__file__).with_name("schema.sql")
BOINC_REVISION = 27032
"""Upstream's number of the schema that migration 1 makes; written to PROJECT_ROOT/db_revision."""

_FILE = re.compile(r"^(\d{4})_([a-z0-9_]+)\.(pre|post)\.sql$")
_LOCK_SECONDS = 120


@dataclass(frozen=True)
class Migration:
    """One file of ``migrations/``."""

    number: int
    phase: str
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, to notice a file changed after it was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def split_statements(text: str) -> list[str]:
    """Statements of an SQL file; each ends with a semicolon at the end of a line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [part.strip() for part in re.split(r";[ \t]*(?:\n|$)", "\n".join(lines)) if part.strip()]


def load_migrations(directory: Path = MIGRATION_DIR) -> list[Migration]:
    """All migrations in the order of their numbers, ``pre`` before ``post``; a stray file is an error."""
    found = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE.match(path.name)
        if not match:
            raise DatabaseError(f"{path}: not named NNNN_name.pre.sql or NNNN_name.post.sql")
        found.append(Migration(int(match[1]), match[3], match[2], path.read_text(encoding="utf-8")))
    return sorted(found, key=lambda m: (m.number, m.phase != "pre"))


@contextmanager
def _locked(db: Connection) -> Iterator[None]:
    if db.value("migrate.lock", seconds=_LOCK_SECONDS) != 1:
        raise DatabaseError("another process has been migrating the database for two minutes",
                            "wait until it is done, or look for a hung makeproject container")
    try:
        yield
    finally:
        db.value("migrate.unlock")


_DONE_ALREADY = {1050, 1060, 1061, 1091}
"""MariaDB's answers to a DDL statement that was carried out before: table, column or index exists; is gone."""


def _execute(db: Connection, statement: str, maybe_done: bool = False) -> None:
    cursor: Any = db.raw().cursor()
    try:
        cursor.execute(statement)
    except Exception as error:
        if maybe_done and error.args and error.args[0] in _DONE_ALREADY:
            return
        raise DatabaseError(f"migration statement failed: {error}: {' '.join(statement.split())[:120]}") from error
    finally:
        cursor.close()


def pending(db: Connection, phase: str | None = None) -> list[Migration]:
    """Migrations not yet finished in this database. An unknown newer migration, or one whose file was
    changed after it was applied, is an error: this code must not run on that schema."""
    db.run("migrate.create_table")
    rows = {(r["number"], r["phase"]): r for r in db.all("migrate.applied")}
    known = load_migrations()
    for key in rows.keys() - {(m.number, m.phase) for m in known}:
        raise DatabaseError(f"the database has migration {key[0]} ({key[1]}), which this version does not know",
                            "run the newer version again, or restore a backup made before the upgrade")
    for m in known:
        row = rows.get((m.number, m.phase))
        if row and row["checksum"] != m.checksum:
            raise DatabaseError(f"migration {m.number:04d}_{m.name} was changed after it had been applied")
    return [m for m in known if phase in (None, m.phase)
            and not rows.get((m.number, m.phase), {}).get("finished_at")]


def migrate(db: Connection, phase: str | None = None) -> list[str]:
    """Apply what is pending (only ``phase`` if given) behind a lock; the names applied, in order.
    Idempotent, and safe to interrupt anywhere."""
    with _locked(db):
        done = []
        for m in pending(db, phase):
            _apply(db, m)
            done.append(f"{m.number:04d}_{m.name}.{m.phase}")
        return done


def _apply(db: Connection, m: Migration) -> None:
    rows = {(r["number"], r["phase"]): r for r in db.all("migrate.applied")}
    row = rows.get((m.number, m.phase))
    if row is None:
        db.run("migrate.begin", number=m.number, phase=m.phase, name=m.name, checksum=m.checksum)
    start = int(row["statements_done"]) if row else 0
    for index, statement in enumerate(split_statements(m.text)):
        if index >= start:
            with db.transaction():
                _execute(db, statement, maybe_done=row is not None and index == start)
                db.run("migrate.progress", number=m.number, phase=m.phase, done=index + 1)
    db.run("migrate.finish", number=m.number, phase=m.phase, now=int(time.time()))
