"""Statements sent together keep the meaning of statements sent one by one (decision 0088)."""
from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from boincdock.db import Connection, RetryableError
from boincdock.db.batched import BatchConnection, connect_batched
from boincdock.errors import DatabaseError

HOST = {"create_time": 1, "userid": 1, "rpc_time": 0, "expavg_time": 0, "venue": "", "host_cpid": ""}


class ChangedError(Exception):
    """What a guard raises."""


@pytest.fixture
def batch(db: Connection, db_settings: SimpleNamespace) -> Iterator[BatchConnection]:
    connection = connect_batched(db_settings)
    yield connection
    connection.close()


def packets(batch: BatchConnection, monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    seen: list[list[bytes]] = []
    real = batch._exchange

    def exchange(statements: list[bytes]) -> Any:
        seen.append(statements)
        return real(statements)

    monkeypatch.setattr(batch, "_exchange", exchange)
    return seen


def names(db: Connection) -> list[str]:
    cursor = db.raw().cursor()
    cursor.execute("SELECT domain_name AS n FROM host ORDER BY id")
    return [row["n"] for row in cursor.fetchall()]


def rename(batch: BatchConnection, hostid: int, guard: Any = None) -> None:
    batch.defer("scheduler.set_user_cpid", guard, id=hostid, cpid="c" * 32)


def test_reads_begin_no_transaction_and_writes_go_with_the_commit(batch: BatchConnection, db: Connection,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    batch.raw()
    sent = packets(batch, monkeypatch)
    with batch.transaction():
        assert batch.one("scheduler.user_by_id", id=1) is None
        batch.defer("scheduler.insert_host", None, **HOST, domain_name="a")
        batch.defer("scheduler.insert_host", ChangedError, **HOST, domain_name="b")
        assert len(sent) == 1 and not any(s.startswith(b"START") for s in sent[0])
    assert len(sent) == 2
    assert len(sent[1]) == 1, "one statement, so one answer"
    assert sent[1][0].startswith(b"BEGIN NOT ATOMIC\nSTART TRANSACTION;") and b"\nCOMMIT;" in sent[1][0]
    assert names(db) == ["a", "b"]
    with batch.transaction():
        batch.all("scheduler.platforms")
    assert len(sent) == 3


def test_what_waits_is_sent_before_the_next_statement(batch: BatchConnection) -> None:
    with batch.transaction():
        batch.defer("scheduler.insert_host", None, **HOST, domain_name="a")
        found = batch.one("scheduler.host_by_cpid", userid=1, host_cpid="")
        assert found is not None and found["domain_name"] == "a"
        assert batch.insert("scheduler.insert_host", **HOST, domain_name="b") > 0
    assert names(batch) == ["a", "b"]


@pytest.mark.parametrize("flushed", [False, True])
def test_a_failed_guard_keeps_nothing(batch: BatchConnection, db: Connection, flushed: bool) -> None:
    with pytest.raises(ChangedError), batch.transaction():
        batch.defer("scheduler.insert_host", ChangedError, **HOST, domain_name="a")
        rename(batch, 12345, ChangedError)
        batch.defer("scheduler.insert_host", None, **HOST, domain_name="b")
        if flushed:
            batch.all("scheduler.platforms")
    assert names(db) == []
    with batch.transaction():
        batch.defer("scheduler.insert_host", ChangedError, **HOST, domain_name="c")
    assert names(db) == ["c"]


def test_each_guard_raises_its_own(batch: BatchConnection) -> None:
    for wrong in range(3):
        errors = [type(f"E{n}", (Exception,), {}) for n in range(3)]
        with pytest.raises(errors[wrong]), batch.transaction():
            for n in range(3):
                if n == wrong:
                    rename(batch, 12345, errors[n])
                else:
                    batch.defer("scheduler.insert_host", errors[n], **HOST, domain_name=f"{n}")
    assert names(batch) == []


def test_without_mariadb_the_counts_are_checked_before_the_commit(batch: BatchConnection,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchConnection, "_is_mariadb", lambda self: False)
    with pytest.raises(ChangedError), batch.transaction():
        batch.defer("scheduler.insert_host", ChangedError, **HOST, domain_name="a")
        rename(batch, 12345, ChangedError)
    assert names(batch) == []
    with batch.transaction():
        batch.defer("scheduler.insert_host", ChangedError, **HOST, domain_name="a")
        assert batch.prepared("scheduler.user_by_id", id=1) == []
    assert names(batch) == ["a"]


def test_an_error_in_the_middle_rolls_back_all(batch: BatchConnection) -> None:
    with pytest.raises(DatabaseError), batch.transaction():
        batch.defer("scheduler.insert_host", None, **HOST, domain_name="a")
        batch.defer("scheduler.insert_host", None, **{**HOST, "userid": 1 << 70}, domain_name="b")
        batch.defer("scheduler.insert_host", None, **HOST, domain_name="c")
    assert names(batch) == []
    with pytest.raises(ZeroDivisionError), batch.transaction():
        batch.insert("scheduler.insert_host", **HOST, domain_name="a")
        raise ZeroDivisionError
    assert names(batch) == []


def test_outside_of_a_transaction_everything_happens_at_once(batch: BatchConnection, db: Connection) -> None:
    batch.defer("scheduler.insert_host", None, **HOST, domain_name="a")
    assert names(db) == ["a"]
    with pytest.raises(ChangedError):
        rename(batch, 12345, ChangedError)
    calls: list[tuple[str, dict[str, Any]]] = [("scheduler.hav_new_day", {"hostid": 1}),
                                               ("scheduler.set_user_cpid", {"id": 9, "cpid": ""})]
    assert batch.run_each(calls) == [0, 0]
    assert batch.run_each([]) == []


def test_prepared_queries_survive_a_new_connection(batch: BatchConnection) -> None:
    first = batch.insert("scheduler.insert_host", **HOST, domain_name="it's 100% \\")
    for _ in range(3):
        assert batch.prepared("scheduler.host_with_owner", id=first)[0]["id"] == first
    message = {"hostid": first, "variety": "100%", "xml": "it's ;\\ é"}
    batch.run("scheduler.insert_trickle", **message, now=1)
    assert len(batch.prepared("scheduler.trickle_known", **message)) == 1
    assert batch.prepared("scheduler.trickle_known", **{**message, "xml": "it's"}) == []
    batch.close()
    with batch.transaction():
        assert batch.prepared("scheduler.host_with_owner", id=first)[0]["venue"] == ""


def test_a_connection_that_was_cut_is_made_anew_before_but_not_within(batch: BatchConnection, db: Connection) -> None:
    def cut() -> None:
        cursor = db.raw().cursor()
        cursor.execute(f"KILL {batch.raw().thread_id()}")

    batch.raw()
    cut()
    with batch.transaction():
        assert batch.all("scheduler.platforms") is not None
        cut()
        # Only read so far: what is written begins on a new connection.
        batch.insert("scheduler.insert_host", **HOST, domain_name="a")
    assert names(db) == ["a"]
    with pytest.raises(DatabaseError), batch.transaction():
        batch.insert("scheduler.insert_host", **HOST, domain_name="b")
        cut()
        batch.insert("scheduler.insert_host", **HOST, domain_name="c")
    assert names(db) == ["a"]
    with batch.transaction():
        batch.insert("scheduler.insert_host", **HOST, domain_name="d")
    assert names(db) == ["a", "d"]


def test_a_deadlock_at_the_commit_is_tried_again(batch: BatchConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = batch._exchange, []

    def exchange(statements: list[bytes]) -> Any:
        if b"COMMIT" in statements[-1]:
            tries.append(1)
            if len(tries) == 1:
                real([statements[0].replace(b"COMMIT;", b"")])
                raise RetryableError("deadlock")
        return real(statements)

    monkeypatch.setattr(batch, "_exchange", exchange)
    batch.retrying(lambda: batch.defer("scheduler.insert_host", None, **HOST, domain_name="a"))
    assert len(tries) == 2
    assert names(batch) == ["a"]
