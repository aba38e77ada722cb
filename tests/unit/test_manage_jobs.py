"""create-work, jobs, the demo's and the volunteer's pure parts."""
from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from manage_fakes import FakeRunner, Result, failed, healthy, make_app, ok, with_containers

from boincdock.errors import BoincdockError, InputError
from boincdock.jobs import create_work as server_create_work
from boincdock.jobs import docker_run as server_docker_run
from boincdock.manage import jobs, webrpc
from boincdock.manage.cli import main
from boincdock.manage.demo import Demo
from boincdock.manage.volunteer import (
    Client,
    ensure_hello_image,
    parse_tasks,
    project_folder,
    remove_hello_image,
    remove_job_containers,
    remove_job_images,
)

INSIDE = "docker exec -w /home/boincadm/project -u boincadm id-apache "
INSIDE_STDIN = INSIDE.replace("exec ", "exec -i ")


def _job(name: str, state: str, credit: float = 0.0, **more: Any) -> dict[str, Any]:
    result = {"name": f"{name}_0", "state": "over", "outcome": "success", "validate_state": "valid", "host": "h",
              "credit": credit, "exit_status": 0, "stderr": "line 1\nboom"}
    job = {"id": 1, "name": name, "app": "worker", "batch": 0, "state": state, "error": "", "created": 1}
    return {**job, "outputs": [], "results": [result], **more}


def _answer(*found: dict[str, Any]) -> Result:
    return ok(json.dumps({"jobs": list(found), "counts": {}}))


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> FakeRunner:
    monkeypatch.setattr(jobs, "_POLL", 0.001)
    for key in ("PORT", "URL_BASE", "PROJECT", "COMPOSE_PROJECT_NAME", "BOINCDOCK_SETTINGS"):
        monkeypatch.delenv(key, raising=False)
    return FakeRunner(with_containers(healthy()))


def _run(root: Path, runner: FakeRunner, *words: str) -> int:
    return main(words, make_app(root, runner))


# ---- the words of create-work -----------------------------------------------------------------------------------

OURS = {"app", "input", "wait", "timeout", "json"}


@pytest.mark.parametrize(("words", "expected"), [
    (["alpine", "echo", "--wait"], ["alpine", "echo", "--wait"]),
    (["--env", "A=1", "--wait", "alpine"], ["--wait", "--env", "A=1", "alpine"]),
    (["-e", "--wait", "alpine"], ["-e", "--wait", "alpine"]),  # the value of -e
    (["--memory=1g", "--input", "f", "--rm", "alpine", "--input", "g"],
     ["--input", "f", "--memory=1g", "--rm", "alpine", "--input", "g"]),
    (["--entrypoint", "sh", "--", "alpine"], ["--entrypoint", "sh", "--", "alpine"]),
    (["--rm", "--init", "--json", "x"], ["--json", "--rm", "--init", "x"]), ([], []), (["--env"], ["--env"]),
])
def test_our_options_may_stand_anywhere_before_image(words: list[str], expected: list[str]) -> None:
    assert jobs.ours_first(words, OURS) == expected


def test_switches_are_those_of_the_commands_inside() -> None:
    theirs = server_docker_run._SWITCHES | set(server_create_work._SWITCHES) - {"stdin"}
    assert theirs <= jobs.SWITCHES
    assert not jobs.SWITCHES & server_docker_run._VALUES


def test_create_work_passes_the_command_line_on_untouched(tmp_path: Path, runner: FakeRunner,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE + "bin/docker_create_work"] = ok('{"id": 7, "name": "docker_1"}')
    evil = "print('$(touch x)'); \"; rm -rf /"
    assert _run(tmp_path, runner, "create-work", "-e", "A=b c", "python:alpine", "python", "-c", evil, "--wait") == 0
    assert runner.calls[-1][-8:] == ["--json", "-e", "A=b c", "python:alpine", "python", "-c", evil, "--wait"]
    assert capsys.readouterr().out == "docker_1\n"


def test_input_files_travel_as_a_tar(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_bytes(b"\0one")
    (tmp_path / "b").write_text("two")
    runner.answers[INSIDE_STDIN + "bin/docker_create_work"] = ok('{"id": 7, "name": "docker_1"}')
    assert _run(tmp_path, runner, "create-work", "--json", "--input", str(tmp_path / "a.txt"), "--input",
                f"{tmp_path / 'b'}:data.bin", "alpine", "ls") == 0
    assert json.loads(capsys.readouterr().out) == {"id": 7, "name": "docker_1"}
    assert "--stdin-files alpine ls" in runner.lines()[-1]
    sent = runner.stdin[-1]
    assert sent is not None
    with tarfile.open(fileobj=io.BytesIO(sent)) as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert content == {"a.txt": b"\0one", "data.bin": b"two"}


@pytest.mark.parametrize(("words", "message"), [
    (["no/such"], "does not exist"), (["."], "does not exist or is no file"), (["a", "a"], "both be called 'a'"),
    (["a:x/y"], "not a usable file name"), (["a:.."], "not a usable"), (["a:"], "not a usable"),
])
def test_bad_input_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str],
                                   message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("x")
    with pytest.raises(InputError, match=message):
        jobs.pack(words)


def test_create_for_another_app_stages_first(tmp_path: Path, runner: FakeRunner) -> None:
    (tmp_path / "in").write_text("text")
    runner.answers |= {
        INSIDE_STDIN + "bin/stage_file": lambda argv: ok(json.dumps({"name": argv[argv.index("--name") + 1]})),
        INSIDE + "bin/create_work": ok('{"id": 8, "name": "w_1"}'),
    }
    for _ in range(2):
        assert _run(tmp_path, runner, "create-work", "--app", "worker", "--input", str(tmp_path / "in"),
                    "--priority", "3") == 0
    created = [argv for argv in runner.calls if "bin/create_work" in argv]
    assert created[0][-6:-1] == ["--json", "--appname", "worker", "--priority", "3"]
    assert created[0][-1].startswith("worker_in_")
    assert created[0][-1] != created[1][-1]
    assert b"text" in runner.stdin


def test_what_the_command_inside_says_is_what_we_say(tmp_path: Path, runner: FakeRunner,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    inside = b"warning: x\nerror: there is no app 'nope'\nhint: bin/xadd adds apps\n"
    runner.answers[INSIDE + "bin/create_work"] = Result(1, b"", inside)
    assert _run(tmp_path, runner, "create-work", "--app", "nope") == 1
    assert capsys.readouterr().err == "error: there is no app 'nope'\nhint: bin/xadd adds apps\n"
    runner.answers[INSIDE + "bin/create_work"] = Result(137, b"", b"")
    assert _run(tmp_path, runner, "create-work", "--app", "nope") == 1
    assert "bin/create_work failed with status 137" in capsys.readouterr().err
    runner.answers[INSIDE + "bin/create_work"] = ok("<html>")
    assert _run(tmp_path, runner, "create-work", "--app", "nope") == 1
    assert "did not answer in JSON" in capsys.readouterr().err


def test_create_work_without_image_or_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(tmp_path, FakeRunner(), "create-work") == 1
    assert "which image?" in capsys.readouterr().err
    assert _run(tmp_path, FakeRunner(), "create-work", "alpine") == 1
    assert "apache is not running" in capsys.readouterr().err


# ---- jobs --------------------------------------------------------------------------------------------------------


def test_wait_follows_every_change_until_the_end(tmp_path: Path, runner: FakeRunner,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    answers = [_answer(_job("j", state)) for state in ("unsent", "unsent", "in_progress", "validating")]
    answers.append(_answer(_job("j", "done", 1.5, outputs=["/results/worker/j"])))
    remaining = iter(answers)
    runner.answers[INSIDE + "bin/query_jobs"] = lambda _: next(remaining)
    assert _run(tmp_path, runner, "jobs", "--wait", "j") == 0
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("  j: ")]
    assert [line.removeprefix("  j: ") for line in lines] == [
        "waiting for a volunteer", "computing", "reported, to be validated", "done, 1.5 credit granted",
    ]
    assert "/results/worker/j" in shown.out
    assert list(remaining) == []


def test_wait_ends_with_failure_if_a_job_failed(tmp_path: Path, runner: FakeRunner,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE + "bin/query_jobs"] = _answer(_job("j", "error", error="too many failures"))
    assert _run(tmp_path, runner, "jobs", "--wait", "j") == 1
    shown = capsys.readouterr()
    assert "failed: too many failures" in shown.err
    assert "boom" in shown.out


def test_wait_has_a_limit(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE + "bin/query_jobs"] = _answer(_job("j", "unsent"))
    assert _run(tmp_path, runner, "jobs", "--wait", "--timeout", "1", "j") == 1
    assert "not finished after 1 s: j (unsent)" in capsys.readouterr().err


def test_wait_without_names_takes_the_unfinished(tmp_path: Path, runner: FakeRunner,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE + "bin/query_jobs"] = _answer(_job("j", "done"))
    assert _run(tmp_path, runner, "jobs", "--wait") == 0
    assert "no unfinished jobs" in capsys.readouterr().err


def test_jobs_as_json_and_an_unknown_job(tmp_path: Path, runner: FakeRunner,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE + "bin/query_jobs"] = _answer(_job("j", "done"))
    assert _run(tmp_path, runner, "jobs", "--json") == 0
    assert json.loads(capsys.readouterr().out)["jobs"][0]["name"] == "j"
    runner.answers[INSIDE + "bin/query_jobs"] = failed("error: there is no job 'k'\n")
    assert _run(tmp_path, runner, "jobs", "k") == 1
    assert "error: there is no job 'k'\nhint: ./manage.py jobs" in capsys.readouterr().err


# ---- demo --------------------------------------------------------------------------------------------------------


def _demo(root: Path, runner: FakeRunner) -> Demo:
    app = make_app(root, runner)
    return Demo(app.compose(), app.ui, token="t")


def test_demo_checks_state_credit_and_content(tmp_path: Path, runner: FakeRunner) -> None:
    runner.answers[INSIDE + "cat /results/x"] = ok("HELLO\n")
    demo = _demo(tmp_path, runner)
    right = _job("w", "done", 2.0, outputs=["/results/x"])
    assert demo.check(right, "HELLO\n")["credit"] == 2.0
    with pytest.raises(BoincdockError, match="returned 'HELLO"):
        demo.check(right, "OTHER\n")
    with pytest.raises(BoincdockError, match="no credit"):
        demo.check(_job("w", "done", 0.0, outputs=["/results/x"]), "HELLO\n")
    with pytest.raises(BoincdockError, match="job failed: bad\nline 1\nboom"):
        demo.check(_job("w", "error", 2.0, error="bad"), "HELLO\n")


def test_demo_reads_the_file_in_the_archive(tmp_path: Path, runner: FakeRunner) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (("results/stdout.txt", b""), ("results/hello.txt", b"Hello\n")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    runner.answers[INSIDE + "cat /results/r.tgz"] = Result(0, buffer.getvalue(), b"")
    job = _job("d", "done", 1.0, outputs=["/results/r.tgz"])
    assert _demo(tmp_path, runner).check(job, "Hello\n")["content"] == "Hello\n"


def test_password_hash_is_the_clients() -> None:
    # Spec 05 I8.
    assert webrpc.password_hash("Ann@Example.org", "s3cret!") == "33bc5a78e3ae72e59e9fdacc566dd204"


def test_elements_are_unescaped() -> None:
    assert webrpc.element("<e><m>a &lt; b</m></e>", "m") == "a < b"
    assert webrpc.element("<e/>", "m") is None


# ---- the volunteer -----------------------------------------------------------------------------------------------

TASKS = """
======== Tasks ========
1) -----------
   name: worker_1_0
   WU name: worker_1
   project URL: http://127.0.0.1:8080/boincserver/
   received: Sat Nov 21 12:00:00 2026
   state: downloaded
   scheduler state: scheduled
   active_task_state: EXECUTING
   fraction done: 0.500000
   exit_status: 0
2) -----------
   name: docker_2_0
   WU name: docker_2
   state: compute error
   active_task_state: UNINITIALIZED
   exit_status: 195
"""


def test_boinccmds_tasks_are_understood() -> None:
    first, second = parse_tasks(TASKS)
    assert (first.name, first.stage()) == ("worker_1_0", "running, 50%")
    assert (second.name, second.stage(), second.exit_status) == ("docker_2_0", "compute error", 195)
    assert parse_tasks("\n======== Tasks ========\n") == []


def test_the_hello_image_is_made_only_if_missing_and_removed_only_if_ours() -> None:
    present = FakeRunner()
    assert ensure_hello_image(present, "debian:forky-slim") is False
    assert not present.did("docker commit")
    pulled = FakeRunner({"docker image inspect": failed("No such image")})
    assert ensure_hello_image(pulled, "debian:forky-slim") is False
    made = FakeRunner({"docker image inspect": failed("No such image"), "docker pull": failed("no"),
                       "docker create": ok("c1\n")})
    assert ensure_hello_image(made, "debian:forky-slim") is True
    assert made.did("docker commit")
    assert made.lines()[-1] == "docker rm c1"
    theirs = FakeRunner({"docker image inspect": ok("<no value>\n")})
    remove_hello_image(theirs)
    assert not theirs.did("docker rmi")
    remove_hello_image(made_before := FakeRunner({"docker image inspect": ok("1\n")}))
    assert made_before.did("docker rmi hello-world")


def test_only_our_jobs_containers_are_removed() -> None:
    runner = FakeRunner({
        "docker ps -aq --filter name=boinc__": ok("a\nb\nc\n"),
        "docker inspect": ok("a /data/v/slots/0\nb /var/lib/boinc/slots/0\nc /data/v2/slots/0\n"),
    })
    remove_job_containers(runner, "/data/v")
    assert [line for line in runner.lines() if line.startswith("docker rm")] == ["docker rm -f a"]


def test_only_images_of_this_projects_jobs_are_removed() -> None:
    listed = ["boinc_127.0.0.1_80_p:abc", "boinc_127.0.0.1_80_p_worker_docker_1:1", "boinc__127.0.0.1_80_p__w:latest",
              "boinc_127.0.0.1_80_p2:abc", "boinc_127x0.0.1_80_p:abc", "boincdock/volunteer:latest", "<none>:<none>"]
    runner = FakeRunner({"docker images": ok("\n".join(listed))})
    remove_job_images(runner, "http://127.0.0.1:80/p/")
    assert runner.calls[-1] == ["docker", "rmi", "-f", *listed[:3]]
    assert project_folder("https://sim.example.org/alpha/") == "sim.example.org_alpha"


def test_a_clients_complaint_becomes_an_error_line() -> None:
    runner = FakeRunner({"docker exec": Result(1, b"", b"can't connect to local host\n")})
    with pytest.raises(BoincdockError, match="refused `boinccmd --project_attach`: can't connect"):
        Client(runner, "c", "/d").attach("http://a.b/", "key")
