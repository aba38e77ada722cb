"""Keys and passwords change under an attached stock client: nothing is lost, and new app versions run (spec 04 §1.7).

One project, one client, in the order of a project's life: a version from the operator's folder; while a job runs,
new database password, new upload key, new code-signing key; the private key leaves the server; a version signed
elsewhere by the new key.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_world import Stock, World, docker, wait_for

LINUX = "x86_64-pc-linux-gnu"
PROGRAM = """#!/bin/sh
# Copies its input; if that says so, only once the test lets it.
if grep -q hold in; then
    touch ../../holding
    while [ ! -e ../../go ]; do sleep 0.2; done
fi
{ cat in; echo "by version VERSION"; } > out
echo 0 > boinc_finish_called
"""


def _version(folder: Path, number: str) -> Path:
    top = folder / "plain" / number / LINUX
    top.mkdir(parents=True)
    program = top / f"copy_{number}"
    program.write_text(PROGRAM.replace("VERSION", number))
    program.chmod(0o755)
    (top / "version.xml").write_text(
        f"<version>\n<file><physical_name>copy_{number}</physical_name><main_program/></file>\n"
        "<api_version>8.2.0</api_version>\n</version>\n")
    return top


def _submit(world: World, folder: Path, text: str) -> str:
    source = folder / "in"
    source.write_text(text)
    name: str = world.json("create-work", "--json", "--app", "plain", "--input", str(source))["name"]
    return name


def _output(world: World, job: dict[str, Any]) -> str:
    return world.output(job["outputs"][0]).decode()


def _clients_key(client: Stock) -> str:
    """The code-signing key that the client has stored."""
    state = docker("exec", client.name, "cat", f"{client.folder}/client_state.xml").stdout.decode()
    found = re.search(r"<code_sign_key>(.*?)</code_sign_key>", state, re.DOTALL)
    return "".join(found[1].split()) if found else ""


def _projects_key(world: World) -> str:
    return "".join(world.run("shell", "cat", "keys/code_sign_public").stdout.split())


def _gets_in(world: World, password: str) -> bool:
    words = ["-e", f"MYSQL_PWD={password}", world.container("mysql"), "mariadb", "--protocol=tcp", "--host=127.0.0.1",
             "--user=boincadm", "--skip-ssl", "--execute=SELECT 1", "boincserver"]
    return docker("exec", *words, check=False).returncode == 0


@pytest.mark.long
def test_keys_and_passwords_change_under_an_attached_client(
    fresh_world: World, new_client: Callable[[World, str], Stock], tmp_path: Path
) -> None:
    world = fresh_world
    client = new_client(world, "7.20.5")
    client.attach(world, world.account())
    apps = tmp_path / "apps"
    world.run("app", "version", "add", str(_version(apps, "1.10")), "--yes")
    held = _submit(world, tmp_path, "hold\n")

    def holding() -> bool:
        client.poke(world.master_url)
        return (client.folder / "holding").exists()

    wait_for("the job to run", holding, 120)
    first_key = _clients_key(client)
    assert first_key == _projects_key(world) != ""

    _everything_changes(world)
    (client.folder / "go").touch()
    (job,) = world.finished(held, client=client)
    assert _output(world, job) == "hold\nby version 1.10\n" and job["results"][0]["credit"] > 0

    # The client takes the new key because the old one signs it, and runs what only the new one signs.
    _sign_elsewhere(world, _version(apps, "1.11"), tmp_path / "stick")
    (job,) = world.finished(_submit(world, tmp_path, "second\n"), client=client)
    assert _output(world, job) == "second\nby version 1.11\n"
    wait_for("the client to store the new key", lambda: _clients_key(client) == _projects_key(world), 60)
    assert _clients_key(client) != first_key
    assert world.run("shell", "bin/keys").returncode == 0

    log = client.client.log(2000)
    assert not re.search(r"signature|key has been changed|not verif|security key", log, re.IGNORECASE), log
    assert world.sql("SELECT COUNT(*) FROM result WHERE outcome <> 1") == [["0"]]
    assert world.json("files", "check", "--json")["ok"]


def _everything_changes(world: World) -> None:
    """While a job is in progress: database password, upload key, code-signing key."""
    before = world.json("secrets", "show", "--json")["passwords"]["DB_PASSWD"]
    asked = world.run("secrets", "rotate", "DB_PASSWD", check=False)
    assert asked.returncode == 1 and "Nobody was there to answer" in asked.stderr
    world.run("secrets", "rotate", "DB_PASSWD", "--yes")
    after = world.json("secrets", "show", "--json")["passwords"]
    assert after["DB_PASSWD"] != before and not any(name.startswith("DB_PASSWD_") for name in after)
    assert _gets_in(world, after["DB_PASSWD"]) and not _gets_in(world, before)

    upload = world.json("keys", "rotate", "upload", "--yes", "--json")
    signing = world.json("keys", "rotate", "code-sign", "--yes", "--json")
    shown = world.json("keys", "show", "--json")["project"]
    assert shown["upload"] == {"fingerprint": upload["fingerprint"], "former": [
        {"fingerprint": upload["before"], "unfinished_results": 1}]}
    assert shown["code_sign"] == {"fingerprint": signing["fingerprint"], "former": [signing["before"]], "problems": []}
    names = world.run("shell", "ls", "keys").stdout.split()
    assert not any("private" in name and name != "upload_private" for name in names), names


def _sign_elsewhere(world: World, top: Path, stick: Path) -> None:
    """The private key leaves the server; a version signed on a machine without Docker is published."""
    world.run("keys", "offline-init", str(stick), "--yes")
    volume = docker("run", "--rm", "--network", "none", "-u", "0", "-v", f"{world.name}_secrets:/v:ro", "--entrypoint",
                    "ls", "debian:trixie-slim", "/v/keys").stdout.decode().split()
    assert [name for name in volume if "private" in name] == ["upload_private"]
    refused = world.run("app", "version", "add", str(top), "--yes", check=False)
    assert refused.returncode == 1 and "is not on this machine" in refused.stderr
    assert "keys sign --export" in refused.stderr

    listed, signed = stick / "list", stick / "list.signed"
    world.run("keys", "sign", str(top), "--export", str(listed))
    elsewhere = {"PATH": "/nonexistent", "DOCKER_HOST": "unix:///nonexistent"}
    world.run("keys", "offline-sign", str(listed), "--keys", str(stick), **elsewhere)
    program = next(top.glob("copy_*"))
    content = program.read_bytes()
    program.write_bytes(content + b"# changed after signing\n")
    changed = world.run("keys", "sign", str(top), "--import", str(signed), check=False)
    assert changed.returncode == 1 and f"{program.name} has changed since it was listed" in changed.stderr
    program.write_bytes(content)
    world.run("keys", "sign", str(top), "--import", str(signed))
    world.run("app", "version", "add", str(top), "--yes")
