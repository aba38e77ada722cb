"""`secrets rotate`: the order of the steps is what keeps every service able to get in (decision 0111)."""
from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from manage_fakes import FakeRunner, failed, healthy, inspected, make_app, ok, with_containers

from boincdock.manage import stack
from boincdock.manage.cli import main
from boincdock.manage.shell import Result
from boincdock.project import secrets

RUN = "docker-compose run --rm --no-deps -T"
OPERATE = "python3 -m boincdock.project.operate"


class Server(FakeRunner):
    """Secrets in a folder, and a database that knows which passwords it accepts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(with_containers(healthy()))
        self.vault, self.dbsecret = folder / "vault", folder / "dbsecret"
        for path in (self.vault, self.dbsecret):
            path.mkdir()
        secrets.fill(self.vault, folder / "none")
        secrets.publish_db_password(self.vault, self.dbsecret, None)
        self.accepted = {self.values()["DB_PASSWD"]}
        self.configured = self.values()["DB_PASSWD"]
        self.running = self.configured
        self.die_at = -1
        self.steps: list[str] = []
        self.answers |= {
            "docker run": lambda _: ok(self.tar()),
            f"{RUN} secrets {OPERATE} db-password": self._secrets,
            f"{RUN} secrets {OPERATE} ops-password":
                lambda _: (secrets.rotate_ops_password(self.vault), ok('{"changed": true}'))[1],
            f"{RUN} makeproject {OPERATE} publish": lambda _: self._step("publish"),
            "docker-compose restart": lambda _: self._step("restart"),
            "docker exec id-mysql boincdock-mariadb --user-sql": lambda argv: self._step(
                "only" if "--only" in argv else "both"),
        }

    def values(self) -> dict[str, str]:
        return secrets.parse_env((self.vault / "secrets.env").read_text())

    def tar(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(self.vault, ".")
        return buffer.getvalue()

    def files(self) -> set[str]:
        return {p.read_text().strip() for p in self.dbsecret.iterdir() if not p.name.startswith(".")}

    def _secrets(self, argv: list[str]) -> Result:
        self._died(argv[-1])
        state = secrets.db_password(argv[-1], self.vault, self.dbsecret, None)
        self.everybody_gets_in()
        return ok(json.dumps({"state": state}))

    def _died(self, name: str) -> None:
        if len(self.steps) == self.die_at:
            raise KeyboardInterrupt
        self.steps.append(name)

    def _step(self, name: str) -> Result:
        self._died(name)
        password = self.values()["DB_PASSWD"]
        if name == "both":
            self.accepted = self.files()
        elif name == "only":
            self.accepted = {password}
        elif name == "publish":
            assert password in self.accepted, "makeproject cannot get in"
            self.configured = password
        else:
            self.running = self.configured
        self.everybody_gets_in()
        return ok("{}")

    def everybody_gets_in(self) -> None:
        """Services at work, services started now; and both if the database is restarted now."""
        for accepted in (self.accepted, self.files()):
            assert self.running in accepted and self.configured in accepted, self.steps


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(stack, "_POLL", 0.0)
    monkeypatch.delenv("DB_HOST", raising=False)
    return Server(tmp_path)


def run(tmp_path: Path, server: FakeRunner, *words: str) -> int:
    root = tmp_path / "checkout"
    root.mkdir(exist_ok=True)
    return main(("secrets", "rotate", *words), make_app(root, server))


def finished(server: Server, old: str) -> bool:
    new = server.values()["DB_PASSWD"]
    return new != old and server.accepted == server.files() == {new} and server.configured == server.running == new \
        and set(server.values()) == set(secrets.KEYS)


def test_database_password_changes_without_anybody_left_outside(tmp_path: Path, server: Server,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    old = server.values()["DB_PASSWD"]
    assert run(tmp_path, server, "DB_PASSWD") == 1 and server.steps == []
    assert run(tmp_path, server, "DB_PASSWD", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"rotated": "DB_PASSWD", "resumed": False}
    assert finished(server, old)
    assert server.steps == ["begin", "both", "switch", "publish", "restart", "only", "finish"]
    shown = json.dumps(server.calls)
    assert old not in shown and server.values()["DB_PASSWD"] not in shown, "no password on a command line"


@pytest.mark.parametrize("die_at", range(7))
def test_interrupted_at_any_step_it_is_completed_by_running_it_again(
    tmp_path: Path, server: Server, die_at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    old = server.values()["DB_PASSWD"]
    server.die_at = die_at
    assert run(tmp_path, server, "DB_PASSWD", "--yes") == 130
    server.die_at = -1
    # What `up` does in between must do no harm: the one-shot `secrets` completes the volumes.
    secrets.fill(server.vault, tmp_path / "none")
    secrets.publish_db_password(server.vault, server.dbsecret, None)
    server.everybody_gets_in()
    capsys.readouterr()
    assert run(tmp_path, server, "DB_PASSWD", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out)["resumed"] is (die_at > 0)
    assert finished(server, old)


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DB_HOST", "db.example.org:3306")
    assert run(tmp_path, server, "DB_PASSWD", "--yes") == 1
    assert "the database is on db.example.org:3306" in capsys.readouterr().err and server.steps == []


def test_an_old_image_or_a_stopped_project_is_told_so(tmp_path: Path, server: Server,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    server.answers["docker exec id-mysql grep"] = failed("")
    assert run(tmp_path, server, "DB_PASSWD", "--yes") == 1
    assert "too old for this" in capsys.readouterr().err and server.steps == []
    server.answers |= with_containers([inspected("mysql", "exited", None)])
    for name in ("DB_PASSWD", "OPS_PASSWD"):
        assert run(tmp_path, server, name, "--yes") == 1
        assert "mysql is not running" in capsys.readouterr().err


def test_operators_password(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    old: Any = server.values()["OPS_PASSWD"]
    assert run(tmp_path, server, "OPS_PASSWD", "--yes") == 0
    assert server.values()["OPS_PASSWD"] != old and server.steps == ["publish"]
    assert server.values()["OPS_PASSWD"] not in json.dumps(server.calls)
    assert run(tmp_path, server, "MAILPASS", "--yes") == 1
