"""The containers: order, health, hardening, who sees which secret (DESIGN sections 2 and 7, issue 3 point 5)."""
from __future__ import annotations

import json
import subprocess

import pytest
from stack_project import Project, wait_for

LONG_RUNNING = ("mysql", "apache", "daemons")


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_hardening(stack: Project, service: str) -> None:
    info = stack.inspect(service)
    host = info["HostConfig"]
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["ReadonlyRootfs"] is True and host["Privileged"] is False
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Memory"] > 0 and host["PidsLimit"] > 0
    assert not any("docker.sock" in m["Source"] for m in info["Mounts"])
    assert stack.run_in(service, "id", "-u").strip() != "0"
    for status in stack.run_in(service, "sh", "-c", "cat /proc/[0-9]*/status").splitlines():
        if status.startswith(("CapEff", "CapPrm", "CapBnd")):
            assert int(status.split()[1], 16) == 0, status
        if status.startswith("Uid:"):
            assert "0" not in status.split()[1:]


def test_only_apache_is_reachable_from_outside(stack: Project) -> None:
    def ports(service: str) -> list[str]:
        return [p for p, bound in stack.inspect(service)["NetworkSettings"]["Ports"].items() if bound]

    assert ports("apache") == ["8080/tcp"]
    assert ports("mysql") == ports("daemons") == []
    network = json.loads(subprocess.run(["docker", "network", "inspect", f"{stack.name}_backend"],
                                        capture_output=True, check=True).stdout)[0]
    assert network["Internal"] is True
    names = {service: set(stack.inspect(service)["NetworkSettings"]["Networks"]) for service in
             (*LONG_RUNNING, "makeproject")}
    backend, frontend = f"{stack.name}_backend", f"{stack.name}_frontend"
    assert names == {"mysql": {backend}, "daemons": {backend}, "makeproject": {backend},
                     "apache": {backend, frontend}}


def test_one_shots_are_done(stack: Project) -> None:
    for service in ("secrets", "makeproject"):
        state = stack.inspect(service)["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0)


def test_mounts_are_those_of_the_design(stack: Project) -> None:
    def mounts(service: str) -> dict[str, tuple[str, bool]]:
        return {m["Name"].removeprefix(stack.name + "_"): (m["Destination"], m["RW"])
                for m in stack.inspect(service)["Mounts"] if m["Type"] == "volume"}

    root = "/home/boincadm/project"
    assert mounts("apache") == mounts("daemons") == {
        "project": (root, True), "results": ("/results", True), "dbsocket": ("/run/dbsocket", False)}
    assert mounts("mysql") == {"mysql": ("/var/lib/mysql", True), "dbsecret": ("/run/dbsecret", False),
                               "dbsocket": ("/run/dbsocket", True)}
    assert mounts("makeproject") == {"project": (f"{root}.dst", True), "results": ("/results", True),
                                     "secrets": ("/run/secrets", False)}


CONNECT = """
import sys, MySQLdb
from boincdock.config import load_project
from boincdock.db import connect
cursor = connect(load_project().config).raw().cursor()
cursor.execute("SELECT SUBSTRING_INDEX(USER(), '@', -1) AS host")
print(cursor.fetchone()["host"])
try:
    MySQLdb.connect(user="root", unix_socket="/run/dbsocket/mysqld.sock")
except MySQLdb.OperationalError as error:
    print(error.args[0])
"""


@pytest.mark.parametrize("service", ["apache", "daemons"])
def test_programs_use_the_databases_socket_and_cannot_be_root_there(stack: Project, service: str) -> None:
    """Decision 0118."""
    assert stack.run_in(service, "python3", "-", stdin=CONNECT.encode()).split() == ["localhost", "1698"]


@pytest.mark.parametrize("service", LONG_RUNNING)
@pytest.mark.parametrize("user", ["root", "1000", "999"])
def test_the_signing_key_cannot_be_read(stack: Project, service: str, user: str) -> None:
    """Neither by name nor by content, as whatever user, anywhere in the container."""
    key = stack.volume_read("secrets", "keys/code_sign_private").decode()
    line = key.splitlines()[20]
    assert len(line) == 64
    upload = stack.volume_read("secrets", "keys/upload_private").decode().splitlines()[20]
    for path in ("/run/secrets/keys/code_sign_private", "/home/boincadm/project/keys/code_sign_private"):
        assert stack.run_in(service, "cat", path, user=user, check=False) == ""
    search = ["grep", "-rlsF", "--binary-files=text", "--exclude-dir=proc", "--exclude-dir=sys", "--exclude-dir=dev"]
    assert stack.run_in(service, *search, line, "/", user=user, check=False) == ""
    if user == "1000" and service != "mysql":
        # The search does find a key that is there.
        assert stack.run_in(service, *search, upload, "/home", check=False).strip() == \
            "/home/boincadm/project/keys/upload_private"


@pytest.mark.parametrize("service", ["apache", "daemons"])
def test_other_secrets_stay_out_too(stack: Project, service: str) -> None:
    ops = stack.secret("OPS_PASSWD")
    assert ops
    environment = stack.run_in(service, "sh", "-c", "cat /proc/1/environ")
    for secret in (ops, stack.secret("DB_PASSWD")):
        assert secret not in environment
    assert stack.run_in(service, "grep", "-rlsF", ops, "/home", "/run", "/tmp", check=False) == ""
    assert set(stack.run_in(service, "ls", "keys").split()) == {"code_sign_public", "upload_private", "upload_public"}


def test_the_project_folder_keeps_strangers_out(stack: Project) -> None:
    modes = dict(line.split()[::-1] for line in stack.run_in(
        "apache", "stat", "-c", "%a %n", "config.xml", "keys", "keys/upload_private", "html/ops/.htpasswd",
        ".boincdock/state.json", "upload", "log_boincserver").splitlines())
    assert modes == {"config.xml": "640", "keys": "700", "keys/upload_private": "600", "html/ops/.htpasswd": "640",
                     ".boincdock/state.json": "600", "upload": "2770", "log_boincserver": "2770"}


# ---- the database

def client(stack: Project, user: str, password: str, statement: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["docker", "exec", "-e", f"MYSQL_PWD={password}", stack.container("mysql"), "mariadb", "--protocol=tcp",
         "-h127.0.0.1", "--skip-ssl", f"-u{user}", "-Ns", "-e", statement], capture_output=True, check=False)


def test_no_way_in_without_the_password(stack: Project) -> None:
    for user, password in (("root", ""), ("root", "password"), ("boincadm", ""), ("boincadm", "password"), ("", ""),
                           ("mysql", "")):
        done = client(stack, user, password, "SELECT 1")
        assert done.returncode == 1 and b"Access denied" in done.stderr, (user, password)
    assert client(stack, "boincadm", stack.secret("DB_PASSWD"), "SELECT 1").stdout == b"1\n"


def test_the_projects_user_has_its_own_schema_only(stack: Project) -> None:
    done = client(stack, "boincadm", stack.secret("DB_PASSWD"), "SHOW DATABASES")
    assert set(done.stdout.decode().split()) == {"information_schema", "boincserver"}
    for statement in ("SELECT * FROM mysql.user", "CREATE DATABASE x", "CREATE USER x", "SET GLOBAL max_connections=1"):
        assert client(stack, "boincadm", stack.secret("DB_PASSWD"), statement).returncode == 1, statement


def test_the_database_is_durable_and_utf8(stack: Project) -> None:
    rows = dict(stack.sql(
        "SHOW VARIABLES WHERE variable_name IN ('innodb_flush_log_at_trx_commit', 'innodb_doublewrite', "
        "'character_set_server', 'collation_database', 'transaction_isolation', 'local_infile')"))
    assert rows == {"innodb_flush_log_at_trx_commit": "1", "innodb_doublewrite": "ON",
                    "character_set_server": "utf8mb4", "collation_database": "utf8mb4_unicode_ci",
                    "transaction_isolation": "READ-COMMITTED", "local_infile": "OFF"}


def test_mariadb_dies_and_comes_back(stack: Project) -> None:
    """kill -9 of the database: the engine restarts it, and pages work again without anybody's help."""
    stack.run_in("apache", "touch", "/tmp/still-the-same-container")
    before = stack.inspect("mysql")["State"]["StartedAt"]
    # From outside: inside a PID namespace the first process cannot be killed.
    subprocess.run(["docker", "kill", "--signal", "KILL", stack.container("mysql")], check=True, capture_output=True)
    subprocess.run(["docker", "start", stack.container("mysql")], check=True, capture_output=True)
    assert stack.inspect("mysql")["State"]["StartedAt"] != before
    stack.wait_healthy()
    wait_for("pages work again", lambda: stack.get("/boincserver/server_status.php").status_code == 200)
    stack.run_in("apache", "ls", "/tmp/still-the-same-container")
