"""Connector and migrations on a real MariaDB (docs/architecture.md)."""
from __future__ import annotations

import contextlib
import re
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from boincdock.db import Connection, DuplicateKeyError, connect, named
from boincdock.db.migrate import SCHEMA_FILE, load_migrations, migrate, pending, split_statements
from boincdock.errors import DatabaseError

ADD_USER = "INSERT INTO user (email_addr, name) VALUES (:email, :name)"


@pytest.fixture
def query(monkeypatch: pytest.MonkeyPatch):
    """Register throw-away named queries."""
    def add(name: str, sql: str) -> str:
        blocks = dict(getattr(add, "blocks", {}))
        blocks[name] = named.bind_style(sql)
        add.blocks = blocks
        real = named.query
        monkeypatch.setattr("boincdock.db.connector.query",
                            lambda n: blocks[n[5:]] if n.startswith("test.") else real(n))
        return f"test.{name}"
    return add


def _dump(settings: SimpleNamespace, name: str) -> dict[str, str]:
    c = connect(SimpleNamespace(**{**vars(settings), "db_name": name}))
    cursor = c.raw().cursor()
    cursor.execute("SELECT table_name AS t FROM information_schema.tables WHERE table_schema = DATABASE()")
    tables = [r["t"] for r in cursor.fetchall() if r["t"] != "boincdock_migration"]
    out = {}
    for table in tables:
        cursor.execute(f"SHOW CREATE TABLE `{table}`")
        text = next(v for k, v in cursor.fetchone().items() if k.startswith("Create "))
        out[table] = re.sub(r" AUTO_INCREMENT=\d+", "", text).replace(f"`{name}`.", "")
    c.close()
    return out


def test_schema_file_equals_the_sum_of_all_migrations(db: Connection, db_settings: SimpleNamespace) -> None:
    fresh = db_settings.db_name + "_s"
    cursor = db.raw().cursor()
    cursor.execute(f"CREATE DATABASE {fresh} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    try:
        c = connect(SimpleNamespace(**{**vars(db_settings), "db_name": fresh}))
        for statement in split_statements(SCHEMA_FILE.read_text()):
            c.raw().cursor().execute(statement)
        c.close()
        assert _dump(db_settings, fresh) == _dump(db_settings, db_settings.db_name)
    finally:
        cursor.execute(f"DROP DATABASE {fresh}")


def test_schema_has_boincs_columns_at_boincs_positions(db: Connection) -> None:
    """Spec 05 I1."""
    cursor = db.raw().cursor()
    cursor.execute("SELECT table_name AS t, column_name AS c, ordinal_position AS p FROM"
                   " information_schema.columns WHERE table_schema = DATABASE()")
    at = {(r["t"], r["c"]): r["p"] for r in cursor.fetchall()}
    for table, positions in {
        "result": {4: "server_state", 12: "name", 15: "xml_doc_out", 21: "granted_credit", 29: "mod_time",
                   32: "app_version_id", 37: "peak_disk_usage"},
        "workunit": {12: "canonical_resultid", 14: "transition_time", 28: "mod_time",
                     32: "transitioner_flags", 35: "app_version_num"},
        "host": {6: "total_credit", 41: "host_cpid", 43: "max_results_day", 49: "misc"},
        "user": {5: "authenticator", 13: "teamid", 25: "cross_project_id", 29: "login_token"},
        "app_version": {10: "plan_class", 13: "pfc_scale", 16: "beta"},
    }.items():
        for position, column in positions.items():
            assert at[(table, column)] == position


def test_migrate_is_idempotent_and_refuses_an_unknown_schema(db: Connection) -> None:
    assert migrate(db) == []
    assert pending(db) == []
    cursor = db.raw().cursor()
    cursor.execute("INSERT INTO boincdock_migration (number, phase, name, checksum, finished_at)"
                   " VALUES (9999, 'pre', 'x', 'x', 1)")
    try:
        with pytest.raises(DatabaseError, match="9999"):
            migrate(db)
    finally:
        cursor.execute("DELETE FROM boincdock_migration WHERE number = 9999")


def test_an_interrupted_migration_goes_on_where_it_stopped(db: Connection, db_settings: SimpleNamespace) -> None:
    name = db_settings.db_name + "_i"
    cursor = db.raw().cursor()
    cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    try:
        c = connect(SimpleNamespace(**{**vars(db_settings), "db_name": name}))
        first = load_migrations()[0]
        c.run("migrate.create_table")
        c.run("migrate.begin", number=1, phase=first.phase, name=first.name, checksum=first.checksum)
        for done, statement in enumerate(split_statements(first.text)[:7], 1):
            c.raw().cursor().execute(statement)
            c.run("migrate.progress", number=1, phase=first.phase, done=done)
        assert migrate(c)[0].startswith("0001")
        assert pending(c) == []
        c.close()
        assert _dump(db_settings, name) == _dump(db_settings, db_settings.db_name)
    finally:
        cursor.execute(f"DROP DATABASE {name}")


def test_run_counts_rows_matched_not_changed(db: Connection, query) -> None:
    """Spec 05 I10: setting a column to the value it already has still counts 1."""
    db.insert(query("add", ADD_USER), email="a@x.org", name="Ann")
    set_name = query("set", "UPDATE user SET name = :name WHERE email_addr = :email AND posts = 0")
    assert db.run(set_name, name="Ann", email="a@x.org") == 1
    assert db.run(set_name, name="Ann", email="b@x.org") == 0


def test_transaction_rolls_back_on_error_and_duplicates_have_their_own_error(db: Connection, query) -> None:
    add = query("add", ADD_USER)
    count = query("count", "SELECT COUNT(*) AS n FROM user WHERE email_addr LIKE '%x.org'")
    with pytest.raises(DuplicateKeyError), db.transaction():
        db.insert(add, email="a@x.org", name="Ann")
        db.insert(add, email="A@X.ORG", name="Ann two")
    assert db.value(count) == 0
    db.insert(add, email="a@x.org", name="100% : 'quoted' \\ ümläut 🚀")
    assert db.value(count) == 1


def test_lists_bind_and_a_lost_connection_is_remade_outside_a_transaction(
        db: Connection, query, new_connection) -> None:
    ids = [db.insert(query("add", ADD_USER), email=f"{i}@x.org", name=f"u{i}") for i in range(3)]
    by_ids = query("by_ids", "SELECT id FROM user WHERE id IN :ids ORDER BY id")
    assert [r["id"] for r in db.all(by_ids, ids=ids[:2])] == ids[:2]
    me = query("me", "SELECT CONNECTION_ID() AS id")
    killer = new_connection()
    killer.raw().cursor().execute(f"KILL {db.value(me)}")
    assert [r["id"] for r in db.all(by_ids, ids=ids)] == ids
    with pytest.raises(DatabaseError), db.transaction():
        killer.raw().cursor().execute(f"KILL {db.value(me)}")
        db.all(by_ids, ids=ids)
    assert not db.in_transaction
    assert db.all(by_ids, ids=ids)


def test_all_bytes_and_characters_come_back(db: Connection, query) -> None:
    db.raw().cursor().execute("CREATE TABLE IF NOT EXISTS bytes_test (id INT AUTO_INCREMENT PRIMARY KEY, b MEDIUMBLOB,"
                              " t TEXT, f DOUBLE, n INT)")
    add = query("bytes", "INSERT INTO bytes_test (b, t, f, n) VALUES (:b, :t, :f, :n)")
    get = query("bytes_get", "SELECT b, t, f, n FROM bytes_test WHERE id = :id")
    text = "'\"\\\n\r\t\x00\x1a%s %(b)s %% ü€𝄞"
    row = {"b": bytes(range(256)) * 3, "t": text, "f": 0.1 + 0.2, "n": None}
    try:
        assert db.one(get, id=db.insert(add, **row)) == row
        rows = [{"b": bytes([n % 256]) * 3000, "t": str(n), "f": n / 3} for n in range(1000)]
        made = db.insert_many(add, rows, {"n": 9})
        assert len(made) > 1, "longer than one statement"
        assert sum(count for count, _ in made) == 1000
        first = made[0][1]
        assert db.one(get, id=first + 999) == rows[999] | {"n": 9}
        assert db.one(get, id=made[1][1]) == rows[made[0][0]] | {"n": 9}
    finally:
        db.raw().cursor().execute("DROP TABLE bytes_test")


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_the_socket_that_db_socket_names_is_used_for_its_host_only(
        db_settings: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decision 0118: a Unix socket that leads to the test's database counts who comes through it."""
    host, _, port = db_settings.db_host.partition(":")
    path = tmp_path / "mysqld.sock"
    through: list[int] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.create_connection((host, int(port)))
                through.append(1)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_forward, args=pair, daemon=True).start()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        for value, used in (("", 0), (f"{host}={path}", 1), (f"other={path}", 0),
                            (f"{host}={path}.missing", 0)):
            monkeypatch.setenv("DB_SOCKET", value)
            through.clear()
            connection = connect(db_settings)
            assert isinstance(connection.all("apps.apps"), list)
            connection.close()
            assert len(through) == used, value
        listener.shutdown(socket.SHUT_RDWR)
