"""The script protocols on a real database (spec 03 sections 6.9, 10.3, 22.10)."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import T, World

from boincdock.db import Connection
from boincdock.errors import InputError
from boincdock.lifecycle.assimilator import Job
from boincdock.lifecycle.model import Result, Workunit
from boincdock.lifecycle.outputs import OutputFile
from boincdock.lifecycle.scripts import (
    Output,
    Script,
    ScriptAssimilator,
    ScriptValidator,
    assimilate_command,
    compare_command,
    init_command,
)
from boincdock.lifecycle.transitioner import Transitioner


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    (tmp_path / "bin").mkdir()
    return World(tmp_path, db, db_settings)


def script(world: World, name: str, body: str) -> None:
    path = world.project.dir / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def to_quorum(world: World, first: bytes = b"A", second: bytes = b"A", wu_id: int = 101) -> None:
    world.workunit(id=wu_id, name=f"wu_{wu_id}")
    world.run(Transitioner, 1)
    for i, output in enumerate((first, second)):
        world.send(i, 11 + i, 100, wu_id)
        world.report(i, 50000 + i, output=output, wu_id=wu_id)
    world.run(Transitioner, 50002)


def test_22_10_command_lines() -> None:
    a = Output(Result(1, elapsed_time=3.0), [OutputFile("f", "out", Path("/a"))])
    b = Output(Result(2, elapsed_time=12.5), [OutputFile("f", "out", Path("/b"))])
    compare = compare_command(Script("cmp", ("files", "files2", "runtime2")), a, b)
    assert " ".join(compare) == "../bin/cmp /a /b 12.500000"
    assert init_command(Script("i", ("result_id", "files", "runtime")), a) == ["../bin/i", "1", "/a", "3.000000"]
    grab = Script("grab", ("files2", "wu_name"))
    files = [OutputFile("f1", "out", Path("/u/3/f1"))]
    assert " ".join(assimilate_command(grab, Job(Workunit(101, "wu_b"), [], Result(1)), files)) == (
        "../bin/grab /u/3/f1 out wu_b")
    failed = Job(Workunit(101, "wu_b", error_mask=2, batch=9), [], None)
    assert " ".join(assimilate_command(grab, failed, [])) == "../bin/grab --error 2 wu_b 101 9"


def test_6_9_compare_script_decides(world: World) -> None:
    script(world, "same", 'cmp -s "$1" "$2"')
    to_quorum(world)
    world.run(ScriptValidator, 50010, "--compare_script", "same")
    assert [s[2] for s in world.states()] == [1, 1] and world.wu()["assimilate_state"] == 1
    to_quorum(world, b"A", b"B", wu_id=102)
    world.run(ScriptValidator, 50010, "--compare_script", "same files files2")
    assert [s[2] for s in world.states(102)] == [4, 4]


def test_6_9_init_script_decides(world: World) -> None:
    script(world, "fine", 'grep -q A "$1"')
    to_quorum(world, b"A", b"B")
    world.run(ScriptValidator, 50010, "--init_script", "fine")
    assert world.states()[1] == (5, 6, 2) and world.states()[0] == (5, 1, 4)


@pytest.mark.parametrize("option", ["--init_script", "--compare_script"])
def test_6_9_exit_3_decides_nothing(world: World, option: str) -> None:
    script(world, "later", "exit 3")
    to_quorum(world)
    world.run(ScriptValidator, 50010, option, "later")
    assert [s[2] for s in world.states()] == [0, 0] and world.wu()["need_validate"] == 1


@pytest.mark.parametrize(("option", "states"), [("--init_script", [(5, 6, 2)] * 2),
                                                ("--compare_script", [(5, 1, 4)] * 2)])
@pytest.mark.parametrize("body", ["kill -9 $$", "sleep 60"])
def test_6_9_killed_scripts(world: World, option: str, states: list[tuple[int, ...]], body: str) -> None:
    script(world, "bad", body)
    to_quorum(world)
    world.run(ScriptValidator, 50010, option, "bad", "--script_timeout", "0.2")
    assert world.states() == states


@pytest.mark.parametrize("argv", [[], ["--init_script", ""], ["--init_script", "../x"], ["--init_script", "none"],
                                  ["--init_script", "ok files2"], ["--compare_script", "ok wu_id"],
                                  ["--init_script", "'ok"]])
def test_6_9_bad_options_are_clear_errors(world: World, argv: list[str]) -> None:
    script(world, "ok", "exit 0")
    with pytest.raises(InputError):
        world.daemon(ScriptValidator, *argv)


def test_6_9_names_reach_scripts_as_they_are(world: World) -> None:
    """No shell: what a volunteer or submitter puts into a name is an argument, never a command."""
    script(world, "log", f'printf "%s|" "$@" > {world.project.dir}/seen; pwd >> {world.project.dir}/seen')
    to_quorum(world)
    world.run(ScriptValidator, 50010, "--init_script", "log result_id runtime")
    text = (world.project.dir / "seen").read_text()
    assert text.endswith(f"|3600.000000|{world.project.tmp_dir}\n")


def valid(world: World) -> None:
    script(world, "same", "exit 0")
    to_quorum(world)
    world.run(ScriptValidator, 50010, "--compare_script", "same")


def test_10_3_script_assimilator(world: World) -> None:
    valid(world)
    script(world, "grab", f'echo "$@" >> {world.project.dir}/seen')
    world.run(ScriptAssimilator, 50011, "--script", "grab")
    path = world.output_path(world.results()[0])
    assert (world.project.dir / "seen").read_text() == f"101 {path}\n"
    assert world.wu()["assimilate_state"] == 2


def test_10_3_failed_job_and_exit_codes(world: World) -> None:
    valid(world)
    world.clock = T + 50011
    for body, state in (("exit 1", 1), ("exit 75", 1), ("kill -9 $$", 1), ("exit 76", 0)):
        script(world, "grab", body)
        world.daemon(ScriptAssimilator, "--script", "grab").run()
        assert world.wu()["assimilate_state"] == state
    world.workunit(id=102, name="wu_f", error_mask=2, batch=0, assimilate_state=1)
    script(world, "grab", f'echo "$@" > {world.project.dir}/seen')
    world.daemon(ScriptAssimilator, "--script", "grab files2 wu_name").run()
    assert (world.project.dir / "seen").read_text() == "--error 2 wu_f 102 0\n"
