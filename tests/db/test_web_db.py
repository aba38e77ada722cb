"""The cases of tests/unit/web_cases.py on MariaDB, and what only a database can show: indexes, races, collations."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from web_cases import *  # noqa: F403
from web_cases import ANN_HASH, NOW, create, key_of
from web_world import COLUMNS, World

from boincdock.db import Connection, connect
from boincdock.db.named import query
from boincdock.web.repository import DbStore


class DbWorld(World):
    """``World`` on MariaDB."""

    def __init__(self, directory: Path, settings: SimpleNamespace) -> None:
        self.connection = connect(settings)
        super().__init__(directory, DbStore(lambda: connect(settings)))

    def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self.connection.raw().cursor()
        cursor.execute(statement, values or None)
        rows = list(cursor.fetchall()) if cursor.description else [{"id": cursor.lastrowid}]
        cursor.close()
        return rows

    def insert(self, table: str, **values: Any) -> int:
        assert values.keys() <= COLUMNS[table].keys()
        names = ", ".join(f"`{name}`" for name in values)
        marks = ", ".join(["%s"] * len(values))
        new = self.sql(f"INSERT INTO `{table}` ({names}) VALUES ({marks})", *values.values())[0]["id"]
        return int(values.get("id") or new)

    def row(self, table: str, rowid: int) -> dict[str, Any]:
        return self.sql(f"SELECT * FROM `{table}` WHERE id = %s", rowid)[0]

    def count(self, table: str) -> int:
        return int(self.sql(f"SELECT COUNT(*) AS n FROM `{table}`")[0]["n"])


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> Iterator[DbWorld]:
    """A project on an empty schema."""
    found = DbWorld(tmp_path, db_settings)
    yield found
    found.connection.close()
    found.store.db.close()


def test_two_clients_make_the_same_account_at_once(world: DbWorld) -> None:
    barrier, replies = threading.Barrier(4), []

    def one() -> None:
        barrier.wait()
        replies.append(create(world))
        world.store.db.close()

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key_of(reply) for reply in replies}) == 1
    assert world.count("user") == 1


def test_same_name_at_once(world: DbWorld) -> None:
    barrier, replies = threading.Barrier(4), []

    def one(n: int) -> None:
        barrier.wait()
        replies.append(create(world, email_addr=f"j{n}@example.org", user_name="John"))
        world.store.db.close()

    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key_of(reply) for reply in replies}) == 4
    assert world.count("user") == 4


def test_collation_does_not_mix_accounts(world: DbWorld) -> None:
    """The column folds accents and trailing blanks; addresses and keys are compared byte by byte."""
    world.ann()
    assert world.store.user_by_email("ann@éxample.org") is None
    assert world.store.user_by_email("ann@example.org ") is None
    assert world.store.user_by_email("ann@example.org")["id"] == 42
    assert world.store.team_by_name("x") is None
    world.insert("team", name="Éclair")
    assert world.store.team_by_name("Eclair") is None


def test_names_differing_in_accents_only(world: DbWorld) -> None:
    key_of(create(world, email_addr="a@example.org", user_name="Zoe"))
    key_of(create(world, email_addr="b@example.org", user_name="Zoë"))
    assert world.store.user_by_email("b@example.org")["name"] == "Zoë 2"


def test_password_change_in_between_is_not_undone(world: DbWorld) -> None:
    world.ann()
    assert world.store.set_passwd_hash(42, ANN_HASH, "new") is True
    assert world.store.set_passwd_hash(42, ANN_HASH, "other") is False
    assert world.row("user", 42)["passwd_hash"] == "new"


def test_one_news_forum(world: DbWorld) -> None:
    for n in range(3):
        world.store.publish_news(f"n{n}", "x", True, NOW + n)
    assert world.count("forum") == 1
    assert world.sql("SELECT threads FROM forum")[0]["threads"] == 3


def fill(world: DbWorld) -> None:
    """Enough rows that the optimizer would rather not read them all."""
    world.sql("INSERT INTO app (id, name) VALUES (1, 'a'), (2, 'b')")
    world.sql(
        "INSERT INTO workunit (name, appid, transition_time) "
        "SELECT CONCAT('w', seq), 1 + seq % 2, 2147483647 FROM seq_1_to_20000"
    )
    world.sql(
        "INSERT INTO result (name, workunitid, appid, server_state, hostid, userid, validate_state, outcome) "
        "SELECT CONCAT('r', seq), seq, 1 + seq % 2, IF(seq % 10 = 0, 2 + 2 * (seq % 20 = 0), 5), "
        "seq % 500, seq % 100, 1, 1 FROM seq_1_to_20000"
    )
    world.sql(
        "INSERT INTO user (email_addr, name, authenticator, total_credit, expavg_credit) "
        "SELECT CONCAT('u', seq, '@x.y'), CONCAT('u', seq), MD5(seq), IF(seq % 20, 0, seq), IF(seq % 20, 0, seq) "
        "FROM seq_1_to_5000"
    )
    world.sql(
        "INSERT INTO host (userid, total_credit, expavg_credit) "
        "SELECT seq, IF(seq % 20, 0, seq), IF(seq % 20, 0, seq) FROM seq_1_to_5000"
    )
    world.sql("ANALYZE TABLE result, workunit, user, host")


EXPECTED = {
    "web_status.results_by_app": {},
    "web_status.need_validate": {"apps": [1, 2]},
    "web_status.need_assimilate": {"apps": [1, 2]},
    "web_status.wus_need_delete": {},
    "web_status.results_need_delete": {},
    "web_status.oldest_transition": {},
    "web_status.users_recent": {},
    "web_status.users_with_credit": {},
    "web_status.hosts_recent": {},
    "web_status.hosts_with_credit": {},
    "web_status.credit_per_day": {},
    "web_status.total_credit": {},
}


def test_counts_are_answered_by_indexes_alone(world: DbWorld) -> None:
    """No count of the status page reads a table's rows."""
    fill(world)
    for name, parameters in EXPECTED.items():
        cursor = world.connection.raw().cursor()
        cursor.execute("EXPLAIN " + query(name), parameters)
        plan = cursor.fetchall()[0]
        cursor.close()
        assert plan["key"], (name, plan)
        assert "Using index" in plan["Extra"], (name, plan)
        assert "filesort" not in plan["Extra"], (name, plan)


@pytest.mark.parametrize(
    ("name", "parameters", "index"),
    [
        ("web_pages.results_of_user", {"owner": 3, "state": 0, "start": 0, "size": 20}, "res_userid_id"),
        ("web_pages.results_of_host", {"owner": 3, "state": 0, "start": 0, "size": 20}, "res_hostid_id"),
        ("web_pages.top_users_average", {"start": 0, "size": 20}, "user_avg"),
        ("web_pages.top_users_total", {"start": 0, "size": 20}, "user_tot"),
        ("web_pages.top_hosts_average", {"start": 0, "size": 20}, "host_avg"),
        ("web_pages.top_hosts_total", {"start": 0, "size": 20}, "host_tot"),
        ("web_account.previous_email_taken", {"since": NOW, "email_addr": "x"}, "user_email_time"),
        ("web_account.user_by_authenticator", {"authenticator": "x"}, "authenticator"),
    ],
)
def test_lists_are_served_in_index_order(world: DbWorld, name: str, parameters: dict[str, Any], index: str) -> None:
    fill(world)
    cursor = world.connection.raw().cursor()
    cursor.execute("EXPLAIN " + query(name), parameters)
    plan = cursor.fetchall()[0]
    cursor.close()
    if plan["key"] is None:
        assert "no matching row" in plan["Extra"] or "Impossible WHERE" in plan["Extra"], plan
    else:
        assert plan["key"] == index, plan
    assert "filesort" not in (plan["Extra"] or ""), plan
