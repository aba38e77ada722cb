"""Docker and compose as found on all sorts of machines; the base image; the doctor."""
from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from manage_fakes import COMPOSE_CONFIG, NO_ENGINE, FakeRunner, failed, healthy, make_app, ok, with_containers

from boincdock.errors import BoincdockError
from boincdock.manage import baseimage, compose
from boincdock.manage.doctor import Doctor, taken
from boincdock.manage.engine import Engine, EngineError
from boincdock.manage.shell import CommandError, Result, Runner
from boincdock.manage.ui import Ui


@pytest.mark.parametrize(("result", "message", "hint"), [
    (Result(127, b"", b"docker: not found"), "not installed", "apt-get install"),
    (NO_ENGINE, "not running", "systemctl start"),
    (failed("permission denied while trying to connect to the Docker API"), "permission denied", "usermod"),
    (Result(124, b"", b""), "does not answer", "start it"),
    (failed("error: something odd\n"), "something odd", "start it"),
])
def test_why_the_engine_cannot_be_used(result: Result, message: str, hint: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        Engine(FakeRunner({"docker version": result})).version()
    assert hint in (caught.value.hint or "")


def test_containers_by_label() -> None:
    found = {c.service: c for c in Engine(FakeRunner(with_containers(healthy(8080)))).containers("p")}
    assert found["apache"].ports == (8080,)
    assert found["apache"].running
    assert found["makeproject"].exit_code == 0
    assert not found["makeproject"].running
    assert found["mysql"].health == "healthy"
    assert Engine(FakeRunner()).containers("p") == []


@pytest.mark.parametrize(("v2", "v1", "command"), [
    (ok("2.26.1\n"), ok("1.29.2\n"), ["docker", "compose"]),
    (ok("v2.32.4\n"), failed(""), ["docker", "compose"]),
    (failed("not a docker command"), ok("1.29.2\n"), ["docker-compose"]),
    (failed("unknown flag", 125), ok("2.3.3\n"), ["docker-compose"]),
])
def test_both_compose_versions_are_found(v2: Result, v1: Result, command: list[str]) -> None:
    runner = FakeRunner({"docker compose version": v2, "docker-compose version": v1})
    assert compose.detect(runner)[0] == command


def test_no_or_old_compose_is_refused() -> None:
    with pytest.raises(BoincdockError, match="not installed"):
        compose.detect(FakeRunner({"docker-compose version": failed("", 127)}))
    with pytest.raises(BoincdockError, match="too old"):
        compose.detect(FakeRunner({"docker-compose version": ok("1.25.0")}))


def test_image_names_come_from_composes_config() -> None:
    assert compose.parse_images(COMPOSE_CONFIG.decode()) == {
        "apache": "boincdock/server_apache:latest", "makeproject": "boincdock/server_makeproject:latest",
        "mysql": "boincdock/server_mysql:latest",
    }


def test_compose_gets_the_settings_and_the_override_file(tmp_path: Path) -> None:
    app = make_app(tmp_path, FakeRunner(), PORT="8080")
    (tmp_path / "docker-compose.override.yml").write_text("services: {}\n")
    project = app.compose()
    argv = project.argv("up", "-d")
    assert argv[:1] == ["docker-compose"]
    assert str(tmp_path / "docker-compose.override.yml") in argv
    assert argv[-2:] == ["up", "-d"]
    assert project.environment["URL_BASE"] == "http://127.0.0.1:8080"


@pytest.mark.parametrize(("name", "suite"), [
    ("debian:trixie-slim", "trixie"), ("debian:forky", "forky"), ("docker.io/library/debian:bookworm-slim", "bookworm"),
    ("debian:latest", None), ("debian:12-slim", None), ("ubuntu:noble", None), ("registry/debian:trixie-slim", None),
])
def test_which_images_can_be_made(name: str, suite: str | None) -> None:
    assert baseimage.suite_of(name) == suite


class Base:
    """What ensure() does on a machine described by answers."""

    def __init__(self, **answers: Result) -> None:
        table = {key.replace("_", " "): value for key, value in answers.items()}
        self.runner = FakeRunner({"docker image inspect": failed("No such image"), **table})

    def ensure(self, name: str = "debian:trixie-slim") -> str:
        return baseimage.ensure(self.runner, Ui(), name)


def test_a_present_base_image_is_used() -> None:
    base = Base(docker_image_inspect=ok("sha256:1"))
    assert base.ensure() == "present"
    assert not base.runner.did("docker pull")


def test_a_pullable_base_image_is_pulled() -> None:
    base = Base()
    assert base.ensure() == "pulled"
    assert not base.runner.did("mmdebstrap")


def test_otherwise_it_is_made_under_the_same_name() -> None:
    base = Base(docker_pull=failed("dial tcp: lookup registry-1.docker.io"))
    assert base.ensure() == "made"
    assert base.runner.did("mmdebstrap --variant=minbase")
    assert "docker tag boincdock-new-base:trixie debian:trixie-slim" in base.runner.lines()


def test_expired_or_partial_mirrors_are_coped_with_and_nothing_else() -> None:
    tried: list[list[str]] = []

    def mmdebstrap(argv: list[str]) -> Result:
        tried.append(argv)
        if not any("Check-Valid-Until" in word for word in argv):
            return failed("E: Release file for http://x/InRelease is expired (invalid since 3d)")
        if any("security" in word for word in argv):
            return failed("E: The repository 'http://x trixie-security Release' does not have a Release file.")
        return ok()

    base = Base(docker_pull=failed("no"))
    base.runner.answers["mmdebstrap"] = mmdebstrap
    assert base.ensure() == "made"
    assert len(tried) == 3
    base = Base(docker_pull=failed("no"), mmdebstrap=failed("E: disk full"))
    with pytest.raises(CommandError, match="disk full"):
        base.ensure()
    assert not base.runner.did("docker tag")


def test_without_mmdebstrap_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    base = Base(docker_pull=failed("no"))
    base.runner.programs = {"docker", "apt-get"}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BoincdockError, match="mmdebstrap is not installed") as caught:
        base.ensure()
    assert "apt-get install mmdebstrap" in (caught.value.hint or "")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert base.ensure() == "made"
    assert base.runner.did("apt-get install -y --no-install-recommends mmdebstrap")


def test_an_image_of_unknown_make_must_be_pullable() -> None:
    with pytest.raises(BoincdockError, match="neither here nor can it be pulled: manifest unknown"):
        Base(docker_pull=failed("manifest unknown")).ensure("example/base:1")


# ---- doctor ------------------------------------------------------------------------------------------------------


def _doctor(tmp_path: Path, answers: dict[str, object] | None = None, port: str = "48231") -> Doctor:
    app = make_app(tmp_path, FakeRunner(answers), PORT=port)  # type: ignore[arg-type]
    return Doctor(app.runner, app.settings())


@pytest.fixture
def listener() -> socket.socket:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def test_a_taken_port_is_found_on_any_address(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert taken(port)
    listener.close()
    assert not taken(port)


def test_preflight_stops_at_a_taken_port_and_names_another(tmp_path: Path, listener: socket.socket) -> None:
    doctor = _doctor(tmp_path, port=str(listener.getsockname()[1]))
    with pytest.raises(BoincdockError, match="is taken by another program") as caught:
        doctor.preflight()
    assert "--port 8080" in (caught.value.hint or "")


def test_our_own_port_is_not_taken(tmp_path: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    _doctor(tmp_path, with_containers(healthy(port)), str(port)).preflight()  # type: ignore[arg-type]


def test_doctor_goes_on_after_a_failure_and_hints(tmp_path: Path) -> None:
    findings = _doctor(tmp_path, {"docker version": NO_ENGINE, "docker-compose version": failed("", 127)}).run()
    by_name = {finding.name: finding for finding in findings}
    assert by_name["docker"].level == "error"
    assert by_name["compose"].level == "error"
    assert "apt-get" in (by_name["compose"].hint or "")
    assert by_name["python"].level == "ok"
    assert {"disk", "memory", "port"} <= set(by_name)


def test_doctor_on_a_good_machine(tmp_path: Path) -> None:
    assert [f for f in _doctor(tmp_path).run() if f.level == "error"] == []


def test_old_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BoincdockError, match="too old"):
        _doctor(tmp_path, {"docker version": ok("18.09.1")}).preflight()


# ---- the real Runner ---------------------------------------------------------------------------------------------


def test_runner_reports_what_failed() -> None:
    runner = Runner()
    with pytest.raises(CommandError, match=r"status 3: sh -c 'echo why >&2; exit 3'\n  why"):
        runner.run(["sh", "-c", "echo why >&2; exit 3"])
    assert runner.run(["boincdock-no-such-program"], check=False).status == 127
    assert runner.run(["cat"], stdin=b"a\0b").stdout == b"a\0b"
    assert runner.run(["sh", "-c", "echo $X"], env={"X": "a b; c"}).text == "a b; c\n"
    assert runner.run(["sleep", "5"], check=False, timeout=0.1).status == 124


def test_runner_shows_commands_when_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    Runner(verbose=True).run(["echo", "a b"])
    assert capsys.readouterr().err == "$ echo 'a b'\n"
    Runner().run(["echo", "a b"])
    assert capsys.readouterr().err == ""


def test_runner_streams_and_keeps_the_end() -> None:
    seen: list[str] = []
    Runner().stream(["sh", "-c", "echo a; echo b >&2"], seen.append)
    assert sorted(seen) == ["a", "b"]
    with pytest.raises(CommandError, match="\n  last words"):
        Runner().stream(["sh", "-c", "echo last words; exit 1"], seen.append)


def test_a_pipe_fails_with_the_side_that_failed() -> None:
    runner = Runner()
    runner.pipe(["echo", "x"], ["cat"])
    with pytest.raises(CommandError, match="left side"):
        runner.pipe(["sh", "-c", "echo left side >&2; exit 2"], ["cat"])
    with pytest.raises(CommandError, match="right side"):
        runner.pipe(["yes"], ["sh", "-c", "echo right side >&2; exit 2"])
