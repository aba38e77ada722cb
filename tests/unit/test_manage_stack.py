"""up, down and status against a machine that is not there: what is started, what is refused, what is said."""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from manage_fakes import NO_ENGINE, FakeRunner, failed, healthy, inspected, make_app, ok, with_containers

from boincdock.errors import BoincdockError
from boincdock.manage import stack as stack_module
from boincdock.manage.cli import main
from boincdock.manage.stack import StackError, condition, source_digest

PORT = "48233"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "_POLL", 0.001)
    for key in ("PORT", "URL_BASE", "PROJECT", "COMPOSE_PROJECT_NAME", "BOINCDOCK_SETTINGS"):
        monkeypatch.delenv(key, raising=False)


def _run(root: Path, runner: FakeRunner, *words: str) -> int:
    return main(words, make_app(root, runner))


def _starting(answers: list[list[dict[str, Any]]]) -> Callable[[list[str]], Any]:
    """docker inspect answers one list after the other, then the last for ever."""
    remaining = list(answers)

    def inspect(_: list[str]) -> Any:
        return ok(json.dumps(remaining.pop(0) if len(remaining) > 1 else remaining[0]))

    return inspect


def test_up_builds_starts_waits_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = iter([failed("No such image")] * 3)
    runner = FakeRunner({
        **with_containers(healthy()), "docker image inspect": lambda _: next(images, ok("sha256:1")),
        "docker inspect": _starting([[], [inspected("secrets", "exited", None)], healthy()]),
    })
    assert _run(tmp_path, runner, "up", "--port", PORT) == 0
    lines = runner.lines()
    build = next(i for i, line in enumerate(lines) if line.startswith("docker-compose build"))
    start = next(i for i, line in enumerate(lines) if line.startswith("docker-compose up -d"))
    assert build < start
    assert runner.env[start]["PORT"] == PORT
    assert runner.env[start]["URL_BASE"] == f"http://127.0.0.1:{PORT}"
    assert f"http://127.0.0.1:{PORT}/boincserver/" in capsys.readouterr().err


def test_second_up_builds_nothing_and_remembers_the_port(tmp_path: Path) -> None:
    runner = FakeRunner(with_containers(healthy(int(PORT))))
    assert _run(tmp_path, runner, "up", "--port", PORT) == 0
    assert runner.did("docker-compose build")
    runner.calls.clear()
    runner.env.clear()
    assert _run(tmp_path, runner, "up") == 0
    assert not runner.did("docker-compose build")
    assert runner.env[runner.lines().index("docker-compose up -d --no-build --remove-orphans")]["PORT"] == PORT


def test_changed_sources_are_rebuilt_unless_told_not_to(tmp_path: Path) -> None:
    runner = FakeRunner(with_containers(healthy(int(PORT))))
    assert _run(tmp_path, runner, "up", "--port", PORT) == 0
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "new").write_text("x")
    for words, built in ((("--no-build",), False), ((), True), ((), False), (("--build",), True)):
        runner.calls.clear()
        assert _run(tmp_path, runner, "up", *words) == 0
        assert runner.did("docker-compose build") is built


def test_no_build_with_missing_images_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = FakeRunner({"docker image inspect": failed("No such image")})
    assert _run(tmp_path, runner, "up", "--no-build", "--port", PORT) == 1
    assert "images are missing: boincdock/server_" in capsys.readouterr().err
    assert not runner.did("docker-compose up")


@pytest.mark.parametrize(("words", "environ", "message"), [
    (("--port", "70000"), {}, "PORT '70000'"),
    (("--url-base", "http://localhost"), {}, "no dot"),
    (("--url-base", "gopher://a.b"), {}, "http:// or https://"),
    (("--url-base", "http://a.b /x"), {}, "white space"),
    ((), {"PROJECT": "Not A Name"}, "PROJECT 'Not A Name'"),
    ((), {"PROJECT": "mysql"}, "database"),
])
def test_bad_choices_start_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...],
    environ: dict[str, str], message: str,
) -> None:
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    runner = FakeRunner()
    assert _run(tmp_path, runner, "up", *words) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert message in shown
    assert "hint: " in shown
    assert "Traceback" not in shown
    assert runner.calls == []


@pytest.mark.parametrize("verb", ["up", "down", "status", "logs", "shell", "jobs", "demo"])
def test_without_docker_every_verb_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    runner = FakeRunner({"docker version": NO_ENGINE})
    assert _run(tmp_path, runner, verb) == 1
    assert "error: the Docker engine is not running" in capsys.readouterr().err
    assert runner.lines() == ["docker version --format '{{.Server.Version}}'"]


def test_a_failed_one_shot_shows_its_own_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [inspected("secrets", "exited", None), inspected("mysql"), inspected("makeproject", "exited", None, 1)]
    runner = FakeRunner({
        **with_containers(found), "docker-compose up": failed('service "makeproject" did not complete successfully'),
        "docker-compose logs": ok("makeproject_1 | error: the schema is newer than this code\n"),
    })
    assert _run(tmp_path, runner, "up", "--port", PORT) == 1
    shown = capsys.readouterr().err
    assert "did not start: makeproject" in shown
    assert "error: the schema is newer than this code" in shown
    assert "./manage.py logs makeproject" in shown


def test_a_service_that_stays_unhealthy_ends_the_wait(tmp_path: Path) -> None:
    found = [*healthy()[:3], inspected("apache", health="starting"), inspected("daemons", health="starting")]
    app = make_app(tmp_path, FakeRunner(with_containers(found)), PORT=PORT)
    with pytest.raises(StackError, match=r"not healthy after 0 s: apache \(starting\), daemons"):
        app.stack().up(timeout=0.01)


def test_a_failed_start_is_not_remembered(tmp_path: Path) -> None:
    runner = FakeRunner({"docker-compose up": failed("no")})
    assert _run(tmp_path, runner, "up", "--port", PORT) == 1
    assert make_app(tmp_path, runner).settings().port == 80


@pytest.mark.parametrize(("container", "expected"), [
    (None, "not started"), (inspected("apache"), "ok"), (inspected("apache", health=None), "ok"),
    (inspected("apache", health="unhealthy"), "unhealthy"),
    (inspected("apache", "exited", None, 3), "exited with status 3"),
    (inspected("apache", "restarting", None), "restarting"),
    (inspected("makeproject", "exited", None), "ok"),
    (inspected("makeproject", "exited", None, 1), "exited with status 1"),
    (inspected("makeproject", "running", None), "running"),
])
def test_condition(container: dict[str, Any] | None, expected: str) -> None:
    from boincdock.manage.engine import _container

    made = _container(container) if container else None
    assert condition(made.service if made else "apache", made) == expected


def test_down_keeps_volumes_and_down_v_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = FakeRunner(with_containers(healthy()))
    assert _run(tmp_path, runner, "down") == 0
    assert "docker-compose --profile volunteer down --remove-orphans" in runner.lines()
    runner.calls.clear()
    assert _run(tmp_path, runner, "down", "-v") == 1
    assert "Erase the project" in capsys.readouterr().err
    assert not runner.did("docker-compose --profile volunteer down")
    assert _run(tmp_path, runner, "down", "-v", "--yes") == 0
    assert "docker-compose --profile volunteer down --remove-orphans --volumes" in runner.lines()


def test_status_as_json_and_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = {"enabled": True, "daemons": [{"name": "transitioner", "running": True, "pid": 12}], "tasks": []}
    counts = {"jobs": [], "counts": {"unsent": 3}}
    runner = FakeRunner({
        **with_containers(healthy()),
        "docker exec -w /home/boincadm/project -u boincadm id-apache bin/status": ok(json.dumps(status)),
        "docker exec -w /home/boincadm/project -u boincadm id-apache bin/query_jobs": ok(json.dumps(counts)),
    })
    assert _run(tmp_path, runner, "status", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is True
    assert report["counts"] == {"unsent": 3}
    assert report["daemons"][0]["name"] == "transitioner"
    assert _run(tmp_path, runner, "status") == 0
    assert "transitioner" in capsys.readouterr().out
    runner.answers |= with_containers([inspected("mysql")])
    assert _run(tmp_path, runner, "status", "--json") == 1
    assert json.loads(capsys.readouterr().out)["healthy"] is False


def test_source_digest_follows_content_mode_and_arguments(tmp_path: Path) -> None:
    folder = tmp_path / "boincdock"
    (folder / "__pycache__").mkdir(parents=True)
    file = folder / "a.py"
    file.write_text("1")
    first = source_digest(tmp_path, ["x"])
    (folder / "__pycache__" / "a.pyc").write_text("junk")
    assert source_digest(tmp_path, ["x"]) == first
    assert source_digest(tmp_path, ["y"]) != first
    file.chmod(0o755)
    changed = source_digest(tmp_path, ["x"])
    assert changed != first
    file.write_text("2")
    assert source_digest(tmp_path, ["x"]) not in (first, changed)


def test_shell_runs_in_the_project_folder(tmp_path: Path) -> None:
    runner = FakeRunner(with_containers(healthy()))
    assert _run(tmp_path, runner, "shell", "bin/status", "-v") == 0
    assert runner.lines()[-1] == "docker exec -i -w /home/boincadm/project -u boincadm id-apache bin/status -v"
    with pytest.raises(BoincdockError, match="apache is not running"):
        make_app(tmp_path, FakeRunner()).compose().container("apache")


def test_logs_and_compose_pass_everything_on(tmp_path: Path) -> None:
    runner = FakeRunner()
    assert _run(tmp_path, runner, "logs", "-f", "--tail=5", "apache") == 0
    assert runner.lines()[-1] == "docker-compose logs -f --tail=5 apache"
    assert _run(tmp_path, runner, "compose", "up", "-d", "--help") == 0
    assert runner.lines()[-1] == "docker-compose up -d --help"


def test_ctrl_c_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: list[str]) -> Any:
        raise KeyboardInterrupt

    runner = FakeRunner({**with_containers(healthy(int(PORT))), "docker-compose up": interrupted})
    assert _run(tmp_path, runner, "up", "--port", PORT, "--no-build") == 130
    shown = capsys.readouterr()
    assert "error" not in shown.err
    assert "Traceback" not in shown.err + shown.out


def test_a_defect_of_ours_is_one_line_unless_asked_for_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: list[str]) -> Any:
        raise ZeroDivisionError("oops")

    monkeypatch.delenv("BOINCDOCK_TRACEBACK", raising=False)
    assert _run(tmp_path, FakeRunner({"docker version": broken}), "status") == 1
    assert capsys.readouterr().err.startswith("error: ZeroDivisionError: oops\nhint: this is a defect of boincdock")
    assert _run(tmp_path, FakeRunner({"docker version": broken}), "-v", "status") == 1
    assert "Traceback" in capsys.readouterr().err
