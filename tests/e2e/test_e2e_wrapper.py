"""A stock client computes a job of the sample app ``shell``: `wrapper` and a script, without a container."""
from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from e2e_world import Stock, World, docker, wait_for

NewClient = Callable[[World, str], Stock]
LINES = [f"line {number} <&> ümläut" for number in range(20)]


def _lines_done(client: Stock, *, running: bool = True) -> int:
    """What the script has recorded; it stays in the slot when the client is killed."""
    script = f"cat {client.folder}/slots/*/state"
    words = ["exec", client.name] if running else ["run", "--rm", "--network", "none", "--entrypoint", "",
                                                   "-v", f"{client.folder}:{client.folder}:ro", client.image]
    text = docker(*words, "sh", "-c", script, check=False).stdout
    return int(text.split()[0]) if text.split() else 0


def _stands_still(client: Stock) -> bool:
    before = _lines_done(client)
    deadline = time.monotonic() + 3  # three lines
    while time.monotonic() < deadline:
        if _lines_done(client) != before:
            return False
    return True


def _cksum(line: str) -> str:
    done = subprocess.run(["cksum"], input=f"{line}\n".encode(), capture_output=True, check=True)
    return done.stdout.split()[0].decode()


def test_a_script_under_wrapper_survives_suspension_and_a_killed_client(
    world: World, new_client: NewClient, tmp_path: Path
) -> None:
    client = new_client(world, "7.20.5")
    client.attach(world, world.account())
    text = tmp_path / "in"
    text.write_text("".join(f"{line}\n" for line in LINES))
    name = world.json("create-work", "--json", "--app", "shell", "--command_line", "1", "--input", str(text))["name"]

    def begun() -> bool:
        client.poke(world.master_url)
        return _lines_done(client) >= 2

    wait_for("the first lines", begun, 90)
    client.client.boinccmd("--set_run_mode", "never")
    wait_for("the script to stand still", lambda: _stands_still(client), 30)
    before = _lines_done(client)
    client.client.boinccmd("--set_run_mode", "always")
    wait_for("it to go on", lambda: _lines_done(client) > before, 30)

    docker("kill", client.name)
    assert 0 < _lines_done(client, running=False) < len(LINES)
    docker("start", client.name)
    client.client.wait_ready()
    job = world.finished(name, client=client)[0]
    assert world.output(job["outputs"][0]).decode().splitlines() == [f"{_cksum(line)} {line}" for line in LINES]
    said = job["results"][0]["stderr"]
    assert said.count("wrapper: version") >= 2, said
    assert "starting task 1 of 1 (/bin/sh): " in said
    assert "going on after 0 of 1 tasks" in said
    assert "all tasks are done" in said
    assert job["results"][0]["credit"] > 0
