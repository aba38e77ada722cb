"""Trickle handlers (spec 03 section 15)."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lifecycle_world import T, World, execute, insert, update

from boincdock.db import Connection
from boincdock.errors import InputError
from boincdock.lifecycle import trickles
from boincdock.lifecycle.trickles import (
    Message,
    MessageHandler,
    TrickleCredit,
    TrickleDeadline,
    TrickleEcho,
    TrickleHandler,
    runtime_credit,
)


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


def message(world: World, xml: str, variety: str = "v", host: int = 11) -> int:
    return insert(world.db, "msg_from_host", create_time=T, hostid=host, variety=variety, xml=xml)


def handled(world: World) -> list[int]:
    return [r["handled"] for r in execute(world.db, "SELECT handled FROM msg_from_host ORDER BY id")]


def test_15_echo_handles_its_own_variety_only(world: World) -> None:
    message(world, "<result_name>r</result_name>\n<time>1</time>\nhello\n")
    message(world, "x", variety="other")
    world.run(TrickleEcho, 5, "--variety", "v")
    assert handled(world) == [1, 0]
    row = execute(world.db, "SELECT * FROM msg_to_host")[0]
    assert (row["hostid"], row["variety"], row["handled"], row["create_time"]) == (11, "v", 0, T + 5)
    assert row["xml"] == ("<trickle_down>\n<result_name>r</result_name>\n<time>1</time>\nhello\n</trickle_down>\n")
    world.run(TrickleEcho, 6, "--variety", "v")
    assert len(execute(world.db, "SELECT id FROM msg_to_host")) == 1


def test_15_message_handler_takes_every_variety(world: World) -> None:
    message(world, "a")
    message(world, "b", variety="other")
    world.run(MessageHandler, 5)
    assert handled(world) == [1, 1] and len(execute(world.db, "SELECT id FROM msg_to_host")) == 2


@pytest.mark.parametrize(("runtime", "maximum", "p_fpops", "credit"), [
    (3600, 1e6, 4e9, 33.3333), (3600, 1800, 4e9, 16.6667), (3600, 1e6, -1, 2 * 33.3333),
    (3600, 1e6, 1e15, 3 * 33.3333)])
def test_22_11_trickle_credit(runtime: float, maximum: float, p_fpops: float, credit: float) -> None:
    assert runtime_credit(runtime, maximum, p_fpops, 8e9, 12e9) == pytest.approx(credit, rel=1e-5)


def test_15_trickle_credit_reaches_host_user_and_team(world: World) -> None:
    insert(world.db, "team", id=4, name="t", userid=1)
    update(world.db, "user", 1, teamid=4)
    update(world.db, "host", 11, p_fpops=4e9, expavg_credit=11, avg_turnaround=77)
    for xml in ("<runtime>3600</runtime>", "<runtime>-1</runtime>", "<runtime>nan</runtime>", "nothing"):
        message(world, xml)
    message(world, "<runtime>3600</runtime>", host=999)
    world.run(TrickleCredit, 100, "--variety", "v", "--max_runtime", "7200")
    for table, row_id in (("host", 11), ("user", 1), ("team", 4)):
        row = execute(world.db, f"SELECT * FROM {table} WHERE id = %s", row_id)[0]
        assert row["total_credit"] == pytest.approx(33.3333, rel=1e-5), table
        assert row["expavg_credit"] > 0
    assert execute(world.db, "SELECT avg_turnaround AS t FROM host WHERE id = 11")[0]["t"] == 77
    assert handled(world) == [1] * 5


def test_15_trickle_credit_refuses_to_start_without_active_hosts(world: World) -> None:
    with pytest.raises(InputError):
        world.daemon(TrickleCredit, "--variety", "v", "--max_runtime", "1")


@pytest.mark.parametrize(("at", "host", "extended"), [(99000, 11, True), (90000, 11, False), (100001, 11, False),
                                                      (99000, 12, False)])
def test_15_trickle_deadline(world: World, at: int, host: int, extended: bool) -> None:
    insert(world.db, "result", name="r_0", workunitid=1, server_state=4, hostid=11, report_deadline=T + 100000)
    message(world, "<result_name>r_0</result_name>\n<cpu_time>1</cpu_time>", host=host)
    world.run(TrickleDeadline, at, "--variety", "v", "--extension_period", "500", "--extension_timeframe", "5000")
    deadline = execute(world.db, "SELECT report_deadline AS d FROM result")[0]["d"]
    assert deadline == T + 100000 + (500 if extended else 0) and handled(world) == [1]


def test_15_a_failing_handler_undoes_its_writes_and_goes_on(world: World) -> None:
    class Half(TrickleHandler):
        name = "half"

        def handle(self, message: Message) -> Any:
            self.send(message.hostid, "x", "body")
            if "bad" in message.xml:
                raise ZeroDivisionError

    message(world, "bad")
    message(world, "good")
    world.run(Half, 5, "--variety", "v")
    assert handled(world) == [1, 1] and len(execute(world.db, "SELECT id FROM msg_to_host")) == 1


def test_15_handled_messages_are_purged(world: World) -> None:
    for age, done in ((100, 1), (100, 0), (1, 1)):
        insert(world.db, "msg_from_host", create_time=T - age, hostid=1, variety="v", handled=done, xml="")
        insert(world.db, "msg_to_host", create_time=T - age, hostid=1, variety="v", handled=done, xml="")
    assert trickles.purge(world.db, 50, T) == 2
    assert handled(world) == [0, 1]
