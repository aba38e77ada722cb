"""What operators get wrong: one clear error, exit status 1, nothing started, nothing made."""
from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from e2e_world import World, docker


def _refused(world: World, *words: str, message: str, **environment: str) -> None:
    done = world.run(*words, check=False, **environment)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def _nothing_there(world: World) -> None:
    label = f"label=com.docker.compose.project={world.name}"
    for what in (("ps", "-a"), ("volume", "ls"), ("network", "ls")):
        assert docker(*what, "-q", "--filter", label).stdout == b""


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of a program that is not ours."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_port_taken(unstarted_world: World, listener: int) -> None:
    _refused(unstarted_world, "up", "--no-build", "--port", str(listener), message=f"port {listener} is taken")
    _nothing_there(unstarted_world)


@pytest.mark.parametrize(("environment", "message"), [
    ({"DOCKER_HOST": "tcp://127.0.0.1:9"}, "the Docker engine is not running"),
    ({"URL_BASE": "http://localhost:8080"}, "has no dot"),
    ({"URL_BASE": "boinc.example.org"}, "http:// or https://"),
    ({"URL_BASE": "https://boinc.example.org/ x"}, "white space"),
    ({"PROJECT": "../evil"}, "not a usable project name"),
    ({"PROJECT": "Two Words"}, "not a usable project name"),
    ({"PORT": "http"}, "not a TCP port"),
])
def test_bad_settings_start_nothing(unstarted_world: World, environment: dict[str, str], message: str) -> None:
    _refused(unstarted_world, "up", "--no-build", message=message, **environment)
    _nothing_there(unstarted_world)


@pytest.mark.parametrize(("words", "message"), [
    (["create-work", "--app", "nope"], "nope"),
    (["create-work", "--app", "worker", "--wu_template", "templates/none"], "none"),
    (["create-work", "--app", "worker", "--input", __file__, "--result_template", "templates/none"], "none"),
    (["create-work", "--app", "worker"], "input"),
    (["create-work", "--app", "worker", "--input", "/no/such/file"], "does not exist"),
    (["create-work", "Not An Image", "x"], "Not An Image"),
    (["create-work", "--privileged", "debian:trixie-slim", "x"], "privileged"),
    (["jobs", "no_such_job"], "no_such_job"),
    (["jobs", "--state", "sideways"], "sideways"),
])
def test_bad_jobs_make_nothing(world: World, words: list[str], message: str) -> None:
    before = world.sql("SELECT COUNT(*) FROM workunit")
    _refused(world, *words, message=message)
    assert world.sql("SELECT COUNT(*) FROM workunit") == before


def test_verbs_that_need_a_running_project_say_so(unstarted_world: World) -> None:
    for words in (["jobs"], ["shell", "true"], ["create-work", "debian:trixie-slim"]):
        _refused(unstarted_world, *words, message="apache is not running")
    _refused(unstarted_world, "secrets", "show", message="there are no secrets yet")
    assert unstarted_world.run("status", check=False).returncode == 1
    _nothing_there(unstarted_world)
