"""One connection class over mysqlclient (images) and PyMySQL (host tooling, tests).

Decisions (docs/decisions/0002): READ COMMITTED, autocommit outside ``transaction()``, and row counts are
rows *matched*, never rows changed, as BOINC's conditional updates expect (spec 05 A1, I10).
"""
from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from boincdock.db import binding
from boincdock.db.named import query
from boincdock.errors import DatabaseError

try:
    import MySQLdb as driver
    from MySQLdb.constants import CLIENT as client_flags
    from MySQLdb.cursors import DictCursor as _DictCursor
except ImportError:
    import pymysql as driver
    from pymysql.constants import CLIENT as client_flags
    from pymysql.cursors import DictCursor as _DictCursor

__all__ = ["LOST", "Connection", "DbSettings", "DuplicateKeyError", "RetryableError", "Row", "chunks", "client_flags",
           "connect", "driver", "like_escape", "split_host", "translate"]

T = TypeVar("T")
Row = dict[str, Any]

_DUPLICATE = {1062}
_DEADLOCK = 1213
_RETRYABLE = {_DEADLOCK, 1205}
LOST = {2006, 2013, 2055, 4031, 1927}
_LOST_ON_THE_WAY = 2013
_MAX_TRIES = 3
MAX_STATEMENT = 1 << 20
"""Bytes after which a multi-row INSERT is cut; the server takes 16 MiB and more."""


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


def _socket_of(host: str) -> str:
    """The path that DB_SOCKET (``host=path``) gives for this host, or nothing."""
    named, _, path = os.environ.get("DB_SOCKET", "").partition("=")
    return path if named == host else ""


def translate(error: Exception) -> DatabaseError:
    """A driver's error as ours."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    if code in _RETRYABLE:
        return RetryableError(f"database: {text}")
    if code in _DUPLICATE:
        return DuplicateKeyError(f"database: {text}")
    return DatabaseError(f"database: {text} (error {code})")


def _literals(raw: Any) -> binding.Literal:
    """How this driver writes literals."""
    if hasattr(raw, "string_literal"):  # mysqlclient
        return binding.Literal(raw.string_literal, raw.literal)

    def quote(text: bytes) -> bytes:
        return bytes(raw.escape(text.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"))

    return binding.Literal(quote, lambda value: bytes(raw.escape(value).encode()))


class Connection:
    """A database connection; not thread-safe. A lost connection is re-made between transactions, never
    inside one. Errors are ``DatabaseError`` and its subclasses."""

    def __init__(self, host: str, port: int, user: str, password: str, database: str,
                 connect_timeout: int = 10) -> None:
        self._arguments: dict[str, Any] = {
            "host": host, "port": port, "user": user, "password": password, "database": database,
            "charset": "utf8mb4", "connect_timeout": connect_timeout, "autocommit": True,
            "client_flag": client_flags.FOUND_ROWS, "cursorclass": _DictCursor,
            "init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        }
        self._socket = _socket_of(host)
        self._raw: Any = None
        self._literal: binding.Literal  # of the open connection
        self._in_transaction = False

    @property
    def in_transaction(self) -> bool:
        """True inside ``transaction()``."""
        return self._in_transaction

    def raw(self) -> Any:
        """The driver's connection, opened on demand; for migrations and tests only."""
        if self._raw is None:
            try:
                self._raw = driver.connect(**{**self._arguments, **self._way()})
            except driver.Error as error:
                raise translate(error) from error
            self._literal = _literals(self._raw)
        return self._raw

    def _way(self) -> Row:
        # The C library looks at the socket for "localhost" only.
        there = self._socket and Path(self._socket).is_socket()
        return {"unix_socket": self._socket, "host": "localhost"} if there else {}

    def close(self) -> None:
        """Close; a later call opens anew."""
        raw, self._raw, self._in_transaction = self._raw, None, False
        if raw is not None:
            with contextlib.suppress(Exception):
                raw.close()

    def _live(self) -> Any:
        """The driver's connection for a statement; within a transaction never another than it began with, even if
        the caller did not mind the error that told of the loss."""
        if self._raw is None and self._in_transaction:
            raise DatabaseError("database: the connection was lost in the middle of a transaction")
        return self.raw()

    def _drop(self) -> None:
        """Forget a lost connection, but not that a transaction was under way."""
        inside = self._in_transaction
        self.close()
        self._in_transaction = inside

    def _cursor(self, sql: str, params: Row | None) -> Any:
        """The cursor of an executed statement. Outside a transaction a lost connection is replaced once, and a
        statement that a deadlock undid is tried again, three times in all."""
        replaced = False
        tries = 1
        while True:
            try:
                cursor = self._live().cursor()
                cursor.execute(binding.template(sql).render(params or {}, self._literal))
                return cursor
            except driver.Error as error:
                code = error.args[0] if error.args else 0
                if code in LOST or code == 0:
                    self._drop()
                    # Of an INSERT that was under way when the connection broke nobody knows whether it was done.
                    doubtful = code == _LOST_ON_THE_WAY and sql[:6].upper() == "INSERT"
                    if not replaced and not self._in_transaction and not doubtful:
                        replaced = True
                        continue
                elif code == _DEADLOCK and not self._in_transaction and tries < _MAX_TRIES:
                    _pause(tries)
                    tries += 1
                    continue
                raise translate(error) from error

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

    def run_each(self, calls: Sequence[tuple[str, Row]]) -> list[int]:
        """Execute several statements; the rows each matched."""
        return [self.run(name, **params) for name, params in calls]

    def defer(self, name: str, guard: Callable[[], Exception] | None = None, /, **params: Any) -> None:
        """Execute; ``guard`` makes the exception to raise if no row matches. (A batched connection does it later.)"""
        if not self.run(name, **params) and guard is not None:
            raise guard()

    def prepared(self, name: str, /, **params: Any) -> list[Row]:
        """As ``all``, for a query that is asked again and again. (A batched connection has it prepared.)"""
        return self.all(name, **params)

    def run_many(self, name: str, rows: Sequence[Row], shared: Row | None = None) -> int:
        """Execute for every row; a single-row ``INSERT … VALUES (…)`` becomes multi-row statements. Parameters
        that are the same for all rows may be given once, in ``shared``."""
        return sum(count for count, _ in self._many(name, rows, shared))

    def insert_many(self, name: str, rows: Sequence[Row], shared: Row | None = None) -> list[tuple[int, int]]:
        """As ``run_many`` for an INSERT: (rows, id of the first one) of each statement."""
        return self._many(name, rows, shared)

    def _many(self, name: str, rows: Sequence[Row], shared: Row | None) -> list[tuple[int, int]]:
        if not rows:
            return []
        done: list[tuple[int, int]] = []
        try:
            cursor = self._live().cursor()
            for statement in self._statements(query(name), rows, shared):
                cursor.execute(statement)
                done.append((int(cursor.rowcount), int(cursor.lastrowid or 0)))
            cursor.close()
            return done
        except driver.Error as error:
            if error.args and error.args[0] in LOST:
                self._drop()
            raise translate(error) from error

    def _statements(self, sql: str, rows: Sequence[Row], shared: Row | None) -> Iterator[bytes]:
        parts = binding.insert_parts(sql)
        row = parts.row if parts else sql
        one = binding.Template(binding.fix(row, shared, self._literal)) if shared else binding.template(row)
        texts = (one.render(values, self._literal) for values in rows)
        if parts is None:
            yield from texts
            return
        head, tail = (binding.template(text).render({}, self._literal) for text in (parts.head, parts.tail))
        chunk: list[bytes] = []
        size = 0
        for text in texts:
            if chunk and size + len(text) > MAX_STATEMENT:
                yield head + b",".join(chunk) + tail
                chunk, size = [], 0
            chunk.append(text)
            size += len(text) + 1
        yield head + b",".join(chunk) + tail

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
                self._live().commit()
            except driver.Error as error:
                raise translate(error) from error
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
                _pause(attempt)
        raise AssertionError("unreachable")


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0.001, 0.01) * attempt)


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
