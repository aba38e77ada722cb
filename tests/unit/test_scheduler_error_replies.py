"""The table of spec 01 section 5.2: for each reason not to serve, the message's priority, delay, shape of the reply."""
from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from scheduler_world import NOW, World, change
from test_scheduler_rules import ask, names

from boincdock.errors import DatabaseError
from tests.fuzz.client_view import read

Setup = Callable[[World], str]


def _with(prepare: Callable[[World], object], request: str | None = None) -> Setup:
    def setup(world: World) -> str:
        prepare(world)
        return ask() if request is None else request

    return setup


def _database_down(world: World) -> str:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseError("the database does not answer")

    world.repo.transaction = fail  # type: ignore[method-assign]
    return ask()


def _stopped(world: World) -> str:
    (world.project.dir / "stop_sched").touch()
    return ask()


def _too_recent(world: World) -> str:
    world.config.min_sendwork_interval = 100
    world.host["rpc_time"] = NOW - 50
    return ask()


ROWS: dict[str, tuple[Setup, str, float, str, str]] = {
    "stop file": (_stopped, "low", 3600, "outage", "maintenance"),
    "cannot open the database": (_database_down, "low", 3600, "outage", "unable"),
    "malformed request": (lambda w: "<scheduler_request><hostid>", "low", 0, "nucleus", "request"),
    "bad key, hostid 0": (lambda w: change(ask(authenticator="0" * 32), hostid=0), "low", 3600, "nucleus", ""),
    "bad key, hostid known": (lambda w: ask(authenticator="0" * 32), "notice", 3600, "nucleus", ""),
    "unknown hostid": (lambda w: ask(hostid=4711, rpc_seqno=0), "low", 0, "full", ""),
    "client too old": (_with(lambda w: setattr(w.config, "min_core_client_version", 90000)), "notice", 86400, "nucleus",
                       "9.0.0"),
    "OS banned": (_with(lambda w: setattr(w.config, "ban_os", [re.compile("Ubuntu")])), "notice", 86400, "nucleus",
                  "operating systems"),
    "CPU banned": (_with(lambda w: setattr(w.config, "ban_cpu", [re.compile("i5-6500")])), "notice", 86400, "nucleus",
                   "CPUs"),
    "missing CPU type": (lambda w: ask(p_vendor=""), "notice", 0, "full", "CPU type"),
    "blacklisted host": (_with(lambda w: w.host.update(max_results_day=-1)), "low", 86400, "nucleus", ""),
    "unsupported platform": (lambda w: change(ask(platform_name="plan9-pdp11"), name="plan9"), "notice", 86400, "full",
                             "plan9-pdp11"),
    "unknown code-sign key": (lambda w: ask(code_sign_key="\n1024\nff\n.\n"), "notice", 0, "full", "remove and add"),
    "last request too recent": (_too_recent, "low", 101, "full", "too recent"),
    "no tasks": (lambda w: ask(), "low", 0, "full", ""),
}


@pytest.mark.parametrize("row", ROWS)
def test_5_2_error_replies(tmp_path: Path, row: str) -> None:
    setup, priority, delay, shape, says = ROWS[row]
    world = World(tmp_path, min_sendwork_interval=0)
    if row != "no tasks":
        world.job(130)
    request = setup(world)
    reply = world.scheduler.handle(request.encode(), "192.0.2.33")
    elements = read(reply)
    tags = [element.name for element in elements]
    assert ("project_is_down/" in tags) == (shape == "outage")
    assert ("project_name" in tags) == (shape != "outage")
    if row != "blacklisted host":  # a nucleus in the table; ours names the account too, which clients take as well
        assert ("userid" in tags) == (shape == "full")
    text = reply.decode()
    messages = re.findall(r'<message priority="(\w+)">(.*?)</message>', text)
    assert any(kind == priority and says in words for kind, words in messages), messages
    found = [float(element.text) for element in elements if element.name == "request_delay"]
    assert found == ([] if not delay else [pytest.approx(delay)])
    if row not in ("missing CPU type", "unknown hostid"):
        assert not names(text)
