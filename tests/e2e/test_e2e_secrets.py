"""A project is lost and comes back from its secrets: the client attached before goes on as if nothing had happened."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from e2e_world import Stock, World, docker, wait_for

PASSPHRASE = "a phrase nobody guesses"
VOLUME_SUM = "cd /v && find . -type f -exec sha256sum {} + | sort -k 2"


def _sums(world: World) -> str:
    return docker("run", "--rm", "--network", "none", "-u", "0", "-v", f"{world.name}_secrets:/v:ro", "--entrypoint",
                  "sh", "debian:trixie-slim", "-c", VOLUME_SUM).stdout.decode()


def test_backup_wipe_restore_and_a_client_that_goes_on(
    fresh_world: World, new_client: Callable[[World, str], Stock], tmp_path: Path
) -> None:
    world = fresh_world
    client = new_client(world, "8.2.15")
    key = world.account()
    client.attach(world, key)
    source = tmp_path / "in"
    source.write_text("before\n")
    first = world.json("create-work", "--json", "--app", "worker", "--input", str(source))["name"]
    world.finished(first, client=client)
    host = world.sql("SELECT id, userid, host_cpid FROM host")
    assert len(host) == 1

    saved = tmp_path / "secrets.backup"
    world.run("secrets", "backup", str(saved), BOINCDOCK_PASSPHRASE=PASSPHRASE)
    before = _sums(world)
    assert "keys/code_sign_private" in before
    accounts = {table: world.sql(f"SELECT * FROM {table}") for table in ("user", "host")}
    dump = _dump(world, "user", "host")

    world.run("down", "-v", "--yes")
    wrong = world.run("secrets", "restore", str(saved), BOINCDOCK_PASSPHRASE="another phrase", check=False)
    assert wrong.returncode == 1
    assert "wrong passphrase" in wrong.stderr
    world.run("secrets", "restore", str(saved), BOINCDOCK_PASSPHRASE=PASSPHRASE)
    assert _sums(world) == before
    again = world.run("secrets", "restore", str(saved), BOINCDOCK_PASSPHRASE=PASSPHRASE, check=False)
    assert again.returncode == 1
    assert "Overwrite the present secrets" in again.stderr
    world.run("up", "--no-build")
    assert _sums(world) == before

    # Accounts and hosts are not among the secrets; here they come back as rows.
    assert world.sql("SELECT COUNT(*) FROM user") == [["0"]]
    _load(world, dump)
    assert {table: world.sql(f"SELECT * FROM {table}") for table in ("user", "host")} == accounts
    source.write_text("after\n")
    second = world.json("create-work", "--json", "--app", "worker", "--input", str(source))["name"]
    job = world.finished(second, client=client)[0]
    assert world.output(job["outputs"][0]) == b"AFTER\n"
    assert job["results"][0]["credit"] > 0
    assert world.sql("SELECT id, userid, host_cpid FROM host") == host
    assert client.client.projects() == [world.master_url]
    assert client.client.log(2000).count("Master file download succeeded") == 1


def test_down_and_up_keep_every_secret_and_the_account(
    fresh_world: World, new_client: Callable[[World, str], Stock]
) -> None:
    world = fresh_world
    client = new_client(world, "8.0.4")
    client.attach(world, world.account())
    before, rpcs = _sums(world), _rpc_time(world)
    world.run("up", "--no-build")
    world.run("down")
    world.run("up", "--no-build")
    assert _sums(world) == before

    def heard() -> bool:
        client.poke(world.master_url)
        return _rpc_time(world) > rpcs

    wait_for("the client to be heard again", heard, 90, poll=2)


def _rpc_time(world: World) -> int:
    return int(world.sql("SELECT rpc_time FROM host")[0][0])


def _dump(world: World, *tables: str) -> bytes:
    return docker("exec", "-u", "root", world.container("mysql"), "mariadb-dump", "--no-create-info",
                  "--complete-insert", "--skip-triggers", "boincserver", *tables).stdout


def _load(world: World, dump: bytes) -> None:
    docker("exec", "-i", "-u", "root", world.container("mysql"), "mariadb", "boincserver", stdin=dump)
