"""One connection class over mysqlclient (images) and PyMySQL (host tooling, tests).

Decisions (docs/decisions/0002): READ COMMITTED, autocommit outside ``transaction()``, and row counts are
rows *matched*, never rows changed, as BOINC's conditional updates expect (spec 05 A1, I10).
"""
from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from boincdock.db.named import query
from boincdock.errors import DatabaseError

try:
    import MySQLdb as _driver
    from MySQLdb.constants import CLIENT as _CLIENT
    from MySQLdb.cursors import DictCursor as _DictCursor
except ImportError:
    import pymysql as _driver
    from pymysql.constants import CLIENT as _CLIENT
    from pymysql.cursors import DictCursor as _DictCursor

T = TypeVar("T")
Row = dict[str, Any]

_DUPLICATE = {1062}
_RETRYABLE = {1213, 1205}
_LOST = {2006, 2013, 2055, 4031, 1927}
_MAX_TRIES = 3


class RetryableError(DatabaseError):
    """Deadlock or lock wait timeout: the transaction was rolled back and may be tried again."""


class DuplicateKeyError(DatabaseError):
    """A row with this unique key exists already."""


class DbSettings(Protocol):
    """The part of the project's configuration that names the database (spec 05 A7)."""

    db_name: str
    db_user: str
    db_passwd: str
    db_host: str


def split_host(db_host: str) -> tuple[str, int]:
    """``host`` or ``host:port`` -> (host, port); empty or this machine's own name means the local socket."""
    host, _, port = db_host.partition(":")
    if host in ("", socket.gethostname()):
        host = "localhost"
    try:
        return host, int(port) if port else 3306
    except ValueError:
        raise DatabaseError(f"db_host {db_host!r}: the port is not a number") from None


def _translate(error: Exception) -> DatabaseError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    if code in _RETRYABLE:
        return RetryableError(f"database: {text}")
    if code in _DUPLICATE:
        return DuplicateKeyError(f"database: {text}")
    return DatabaseError(f"database: {text} (error {code})")


class Connection:
    """A database connection; not thread-safe. A lost connection is re-made between transactions, never
    inside one. Errors are ``DatabaseError`` and its subclasses."""

    def __init__(self, host: str, port: int, user: str, password: str, database: str,
                 connect_timeout: int = 10) -> None:
        self._arguments: dict[str, Any] = {
            "host": host, "port": port, "user": user, "password": password, "database": database,
            "charset": "utf8mb4", "connect_timeout": connect_timeout, "autocommit": True,
            "client_flag": _CLIENT.FOUND_ROWS, "cursorclass": _DictCursor,
            "init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        }
        self._raw: Any = None
        self._in_transaction = False

    @property
    def in_transaction(self) -> bool:
        """True inside ``transaction()``."""
        return self._in_transaction

    def raw(self) -> Any:
        """The driver's connection, opened on demand; for migrations and tests only."""
        if self._raw is None:
            try:
                self._raw = _driver.connect(**self._arguments)
            except _driver.Error as error:
                raise _translate(error) from error
        return self._raw

    def close(self) -> None:
        """Close; a later call opens anew."""
        raw, self._raw, self._in_transaction = self._raw, None, False
        if raw is not None:
            with contextlib.suppress(Exception):
                raw.close()

    def _cursor(self, sql: str, params: Row | None) -> Any:
        for attempt in (1, 2):
            try:
                cursor = self.raw().cursor()
                cursor.execute(sql, params or {})
                return cursor
            except _driver.Error as error:
                code = error.args[0] if error.args else 0
                lost = code in _LOST or code == 0
                if lost:
                    was_in_transaction = self._in_transaction
                    self.close()
                    if attempt == 1 and not was_in_transaction:
                        continue
                raise _translate(error) from error
        raise AssertionError("unreachable")

    def all(self, name: str, /, **params: Any) -> list[Row]:
        """All rows of a named query as dicts."""
        cursor = self._cursor(query(name), params)
        rows = cursor.fetchall()
        cursor.close()
        return list(rows)

    def one(self, name: str, /, **params: Any) -> Row | None:
        """The first row, or None."""
        cursor = self._cursor(query(name), params)
        row: Row | None = cursor.fetchone()
        cursor.close()
        return row

    def value(self, name: str, /, **params: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.one(name, **params)
        return next(iter(row.values())) if row else None

    def run(self, name: str, /, **params: Any) -> int:
        """Execute; the number of rows matched (found-rows)."""
        cursor = self._cursor(query(name), params)
        count = int(cursor.rowcount)
        cursor.close()
        return count

    def insert(self, name: str, /, **params: Any) -> int:
        """Execute an INSERT; the (first) AUTO_INCREMENT value."""
        cursor = self._cursor(query(name), params)
        new_id = int(cursor.lastrowid or 0)
        cursor.close()
        return new_id

    def run_many(self, name: str, rows: Sequence[Row]) -> int:
        """Execute for every row; a single-row ``INSERT … VALUES (…)`` becomes multi-row statements."""
        if not rows:
            return 0
        try:
            cursor = self.raw().cursor()
            count = int(cursor.executemany(query(name), rows) or 0)
            cursor.close()
            return count
        except _driver.Error as error:
            if error.args and error.args[0] in _LOST:
                self.close()
            raise _translate(error) from error

    def stream(self, name: str, /, batch: int = 1000, **params: Any) -> Iterator[Row]:
        """Rows of a large result, buffered by the driver but handed over in batches."""
        cursor = self._cursor(query(name), params)
        try:
            while rows := cursor.fetchmany(batch):
                yield from rows
        finally:
            cursor.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN … COMMIT; ROLLBACK on any exception. Not nestable."""
        if self._in_transaction:
            raise AssertionError("transactions do not nest")
        self._cursor("START TRANSACTION", None).close()
        self._in_transaction = True
        try:
            yield
            try:
                self.raw().commit()
            except _driver.Error as error:
                raise _translate(error) from error
        except BaseException:
            if self._raw is not None:
                try:
                    self._raw.rollback()
                except Exception:
                    self.close()
            raise
        finally:
            self._in_transaction = False

    def retrying(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a transaction; on deadlock or lock wait timeout roll back and try again, three
        times in all. ``work`` must have no effect outside the database."""
        for attempt in range(1, _MAX_TRIES + 1):
            try:
                with self.transaction():
                    return work()
            except RetryableError:
                if attempt == _MAX_TRIES:
                    raise
                time.sleep(random.uniform(0.001, 0.01) * attempt)
        raise AssertionError("unreachable")


def connect(settings: DbSettings) -> Connection:
    """A connection for the project's database; opened at the first statement."""
    host, port = split_host(settings.db_host)
    return Connection(host, port, settings.db_user, settings.db_passwd, settings.db_name)


def like_escape(text: str) -> str:
    """Escape ``%``, ``_`` and the backslash for a LIKE pattern."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most ``size`` items, for IN lists and multi-row statements."""
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
