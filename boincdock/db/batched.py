"""A connection that sends several statements in one packet, for programs that answer one request per transaction.

Decision 0088. A round trip to the server costs more processor time on both sides than most statements, so
- a transaction begins with its first statement that locks or writes; what is only read before that is read outside,
  which is the same under READ COMMITTED;
- :meth:`BatchConnection.defer` keeps a write whose outcome nothing depends on until the next statement or the commit;
- a *guarded* write must match a row, or else nothing is committed: the server checks that, between it and COMMIT;
- statements read with :meth:`BatchConnection.prepared` are parsed once per connection.
"""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from boincdock.db import binding
from boincdock.db.connector import LOST, Connection, DbSettings, Row, client_flags, driver, split_host, translate
from boincdock.db.named import query
from boincdock.errors import DatabaseError

_GUARD = b"IF ROW_COUNT() < 1 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'guard %d'; END IF"
_GUARD_FAILED = 1644
_BEGIN = b"START TRANSACTION"

Result = tuple[int, int, Sequence[Row] | None]
"""(rows matched, new id, rows of a SELECT)"""


@cache
def _only_reads(name: str) -> bool:
    sql = query(name)
    return sql[:6].upper() == "SELECT" and "FOR UPDATE" not in sql.upper()


class BatchConnection(Connection):
    """See the module. Not thread-safe. Statements that fail, fail as those of :class:`Connection`."""

    def __init__(self, host: str, port: int, user: str, password: str, database: str,
                 connect_timeout: int = 10) -> None:
        super().__init__(host, port, user, password, database, connect_timeout)
        self._arguments["client_flag"] |= client_flags.MULTI_STATEMENTS
        self._waiting: list[tuple[bytes, Callable[[], Exception] | None]] = []
        self._begun = False
        self._plans: dict[str, bytes] = {}
        self._planned_for: Any = None

    # ---- statements

    def all(self, name: str, /, **params: Any) -> list[Row]:
        """All rows of a named query as dicts."""
        return list(self._one(name, params)[2] or ())

    def one(self, name: str, /, **params: Any) -> Row | None:
        """The first row, or None."""
        rows = self._one(name, params)[2]
        return rows[0] if rows else None

    def run(self, name: str, /, **params: Any) -> int:
        """Execute; the number of rows matched."""
        return self._one(name, params)[0]

    def insert(self, name: str, /, **params: Any) -> int:
        """Execute an INSERT; the AUTO_INCREMENT value."""
        return self._one(name, params)[1]

    def run_each(self, calls: Sequence[tuple[str, Row]]) -> list[int]:
        """Execute several statements in one round trip; the rows each matched."""
        if not calls:
            return []
        return [found[0] for found in self._send(lambda: [self._render(name, params) for name, params in calls])]

    def defer(self, name: str, guard: Callable[[], Exception] | None = None, /, **params: Any) -> None:
        """Execute later, at the latest with the commit. ``guard``: makes the exception to raise, with everything
        rolled back, if no row matches. Outside of a transaction: at once."""
        if self._in_transaction:
            self.raw()
            self._waiting.append((self._render(name, params), guard))
        elif not self.run(name, **params) and guard is not None:
            raise guard()

    def prepared(self, name: str, /, **params: Any) -> list[Row]:
        """As ``all`` for a query that is asked again and again."""
        return list(self._send(lambda: [self._plan(name, params)], _only_reads(name))[0][2] or ())

    # ---- packets

    def _render(self, name: str, params: Row) -> bytes:
        return binding.template(query(name)).render(params, self._literal)

    def _plan(self, name: str, params: Row) -> bytes:
        if self._planned_for is not self._raw:
            self._planned_for, self._plans = self._raw, {}
        template = binding.template(query(name))
        plan = self._plans.get(name)
        if plan is None:
            plan = b"q%d" % len(self._plans)
            # Only MariaDB takes values, not just variables, in EXECUTE.
            if not self._is_mariadb():
                plan = b""
            else:
                text = template.render(dict.fromkeys(template.names, _Mark()), lambda _: b"?")
                self._exchange([b"PREPARE " + plan + b" FROM " + self._literal(text.decode())])
            self._plans[name] = plan
        if not plan:
            return template.render(params, self._literal)
        return b"EXECUTE " + plan + b" USING " + b",".join([self._literal(params[each]) for each in template.names])

    def _one(self, name: str, params: Row) -> Result:
        return self._send(lambda: [self._render(name, params)], _only_reads(name))[0]

    def _send(self, make: Callable[[], list[bytes]], only_reads: bool = False) -> list[Result]:
        """Send what waits and then the statements of ``make``; the results of the latter."""
        waiting, self._waiting = self._waiting, []
        begins = self._in_transaction and not self._begun and bool(waiting or not only_reads)
        for attempt in (1, 2):
            try:
                self.raw()
                front = [_BEGIN] if begins else []
                front += [text for text, _ in waiting]
                statements = make()
                self._begun = self._begun or begins
                results = self._exchange(front + statements)
                self._check(waiting, results[len(front) - len(waiting):])
                return results[len(front):]
            except driver.Error as error:
                if _is_lost(error):
                    inside = self._in_transaction
                    self.close()
                    # What was begun with this packet is not committed: all of it may be sent again.
                    if attempt == 1 and (begins or not self._begun):
                        self._in_transaction, self._begun = inside, False
                        continue
                raise translate(error) from error
        raise AssertionError("unreachable")

    @staticmethod
    def _check(waiting: list[tuple[bytes, Callable[[], Exception] | None]], results: list[Result]) -> None:
        for (_, guard), result in zip(waiting, results, strict=False):
            if guard is not None and not result[0]:
                raise guard()

    def _exchange(self, statements: list[bytes]) -> list[Result]:
        raw = self._raw
        text = b";\n".join(statements)
        found: list[Result] = []
        if hasattr(raw, "string_literal"):  # mysqlclient, without its cursors
            raw.query(text)
            while True:
                rows = raw.store_result()
                found.append((raw.affected_rows(), raw.insert_id(), None) if rows is None
                             else (0, 0, rows.fetch_row(0, 1)))
                if raw.next_result() != 0:
                    return found
        cursor = raw.cursor()
        cursor.execute(text)
        while True:
            rows = list(cursor.fetchall()) if cursor.description else None
            found.append((int(cursor.rowcount), int(cursor.lastrowid or 0), rows))
            if not cursor.nextset():
                cursor.close()
                return found

    # ---- transactions

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """As :meth:`Connection.transaction`, begun late and committed together with the last writes."""
        if self._in_transaction:
            raise AssertionError("transactions do not nest")
        self._in_transaction, self._begun, self._waiting = True, False, []
        try:
            yield
            self._commit()
        except BaseException:
            self._waiting = []
            if self._begun and self._raw is not None:
                try:
                    self._raw.rollback()
                except Exception:
                    self.close()
            raise
        finally:
            self._in_transaction = self._begun = False

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not self._begun and not waiting:
            return
        if self._raw is None:
            raise DatabaseError("database: the connection was lost")
        statements: list[bytes] = [] if self._begun else [_BEGIN]
        guards = [guard for _, guard in waiting if guard is not None]
        self._begun = True
        try:
            if guards and not self._is_mariadb():
                # No conditions outside of stored programs: look at the counts, then commit.
                results = self._exchange([*statements, *(text for text, _ in waiting)])
                self._check(waiting, results[len(statements):])
                self._exchange([b"COMMIT"])
            elif not waiting or not self._is_mariadb():
                self._exchange([*statements, *(text for text, _ in waiting), b"COMMIT"])
            else:
                # One compound statement: one answer, where statements of a packet are answered one by one.
                for text, guard in waiting:
                    statements.append(text)
                    if guard is not None:
                        statements.append(_GUARD % guards.index(guard))
                self._exchange([b"BEGIN NOT ATOMIC\n" + b";\n".join([*statements, b"COMMIT"]) + b";\nEND"])
        except driver.Error as error:
            if _is_lost(error):
                self.close()
            if error.args and error.args[0] == _GUARD_FAILED:
                raise guards[int(str(error.args[1]).rpartition(" ")[2])]() from error
            raise translate(error) from error

    def _is_mariadb(self) -> bool:
        return "MariaDB" in str(self._raw.get_server_info())


class _Mark:
    """Stands for a parameter of a prepared statement."""


def _is_lost(error: Exception) -> bool:
    code = error.args[0] if error.args else 0
    return code in LOST or code == 0


def connect_batched(settings: DbSettings) -> BatchConnection:
    """A connection for the project's database; opened at the first statement."""
    host, port = split_host(settings.db_host)
    return BatchConnection(host, port, settings.db_user, settings.db_passwd, settings.db_name)
