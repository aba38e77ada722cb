"""The templates under example_project/plugins, run as the daemons run them: as programs of the project's bin/."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import World, execute

from boincdock.db import Connection
from boincdock.lifecycle.transitioner import Transitioner

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    shutil.copytree(ROOT / "example_project" / "plugins", tmp_path / "bin")
    return World(tmp_path, db, db_settings)


def program(world: World, name: str, *argv: str) -> str:
    """Run one pass of a plug-in or stock daemon as a process; its log."""
    environment = {**os.environ, "BOINC_PROJECT_DIR": str(world.project.dir), "PYTHONPATH": str(ROOT),
                   "KEEP_RESULT_DIR": str(world.project.dir / "kept")}
    path = world.project.dir / "bin" / name
    command = [sys.executable, str(path)] if path.exists() else [sys.executable, "-m", "boincdock.bin._run", name]
    done = subprocess.run([*command, "--app", "worker", "--one_pass", *argv], env=environment, timeout=60,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def reported(world: World, first: bytes, second: bytes) -> None:
    world.workunit()
    world.run(Transitioner, 1)
    for i, output in enumerate((first, second)):
        world.send(i, 11 + i, 100)
        world.report(i, 50000 + i, output=output)
    world.run(Transitioner, 50010)


@pytest.mark.parametrize(("second", "argv", "states"), [
    (b"1.00000001 2", [], [1, 1]), (b"1.1 2", [], [4, 4]), (b"1.1 2", ["--tolerance", "0.2"], [1, 1]),
    (b"one two", [], [4, 2]), (b"", [], [4, 2])])
def test_number_validator(world: World, second: bytes, argv: list[str], states: list[int]) -> None:
    reported(world, b"1 2\n", second)
    program(world, "number_validator", *argv)
    assert [s[2] for s in world.states()] == states


def test_csv_assimilator(world: World) -> None:
    reported(world, b"1.5 2", b"1.5 2")
    program(world, "number_validator")
    outdir = world.project.dir / "out"
    program(world, "csv_assimilator", "--outdir", str(outdir))
    assert (outdir / "wu_b.csv").read_text() == "wu_b,ok,1.5\n" and world.wu()["assimilate_state"] == 2
    execute(world.db, "UPDATE workunit SET assimilate_state = 1, canonical_resultid = 0, error_mask = 3")
    program(world, "csv_assimilator", "--outdir", str(outdir))
    assert (outdir / "wu_b.csv").read_text() == "wu_b,failed,couldnt_send_result too_many_error_results\n"


def test_scripts(world: World) -> None:
    reported(world, b"a\nb\n", b"b\na\n")
    program(world, "script_validator", "--compare_script", "same_lines")
    assert [s[2] for s in world.states()] == [1, 1]
    program(world, "script_assimilator", "--script", "keep_result wu_name files")
    kept = list((world.project.dir / "kept" / "wu_b").iterdir())
    assert [p.read_bytes() for p in kept] == [b"a\nb\n"] and world.wu()["assimilate_state"] == 2
    execute(world.db, "UPDATE workunit SET assimilate_state = 1, canonical_resultid = 0, error_mask = 2")
    program(world, "script_assimilator", "--script", "keep_result wu_name files")
    assert (world.project.dir / "kept" / "wu_b" / "failed").read_text() == "error mask 2\n"
