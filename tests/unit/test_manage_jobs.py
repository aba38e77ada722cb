"""create-work, jobs, the demo's and the volunteer's pure parts."""
from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from manage_fakes import FakeRunner, Result, failed, healthy, make_app, ok, with_containers

from boincdock.errors import BoincdockError, InputError
from boincdock.jobs import create_work as server_create_work
from boincdock.jobs import docker_run as server_docker_run
from boincdock.manage import jobs, submit, webrpc
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


MADE = ok('{"batch": 0, "jobs": [{"id": 7, "name": "docker_1"}]}')
SUBMIT = INSIDE_STDIN + "bin/submit_jobs"


def _sent(runner: FakeRunner) -> tuple[Any, dict[str, bytes]]:
    """The manifest and the files of the last submission."""
    raw = [data for argv, data in zip(runner.calls, runner.stdin, strict=True) if "bin/submit_jobs" in argv][-1]
    assert raw is not None
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    return json.loads(files.pop("jobs.json")), files


def test_create_work_passes_the_command_line_on_untouched(tmp_path: Path, runner: FakeRunner,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[SUBMIT] = MADE
    evil = "print('$(touch x)'); \"; rm -rf /"
    assert _run(tmp_path, runner, "create-work", "-e", "A=b c", "python:alpine", "python", "-c", evil, "--wait") == 0
    manifest, files = _sent(runner)
    assert manifest == {"jobs": [{"args": ["-e", "A=b c", "python:alpine", "python", "-c", evil, "--wait"],
                                  "files": []}]}
    assert files == {}
    assert capsys.readouterr().out == "docker_1\n"


def test_input_files_travel_as_a_tar(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_bytes(b"\0one")
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "b").write_text("two")
    (tmp_path / "d" / "sub" / "c").write_text("three")
    (tmp_path / "vars").write_text("# comment\nA=x y\n")
    runner.answers[SUBMIT] = MADE
    assert _run(tmp_path, runner, "create-work", "--json", "--input", f"{tmp_path / 'a.txt'}:data.bin", "-v",
                f"{tmp_path / 'd'}:/data/:ro", "-v", f"{tmp_path / 'a.txt'}:/x/a", "--env-file", str(tmp_path / "vars"),
                "--name", "j1", "alpine", "ls") == 0
    assert json.loads(capsys.readouterr().out) == {"id": 7, "name": "docker_1"}
    manifest, files = _sent(runner)
    (job,) = manifest["jobs"]
    assert (job["args"], job["name"]) == (["--env", "A=x y", "alpine", "ls"], "j1")
    content = {item["name"]: files[item["member"]] for item in job["files"]}
    assert content == {"data.bin": b"\0one", "/data/b": b"two", "/data/sub/c": b"three", "/x/a": b"\0one"}
    assert len(files) == 3, "a file that is used twice travels once"


@pytest.mark.parametrize(("words", "volumes", "message"), [
    (["no/such"], [], "does not exist"), (["."], [], "does not exist or is no file"),
    (["a", "a"], [], "both be called 'a'"), (["a:x/y"], [], "not a usable file name"), (["a:.."], [], "not a usable"),
    (["a:"], [], "not a usable"), ([], ["a"], "must be FILE:/PATH"), ([], ["a:rel"], "must be FILE:/PATH"),
    ([], ["none:/x"], "none does not exist"), ([], ["a:/x:exec"], "must be FILE:/PATH"),
    ([], ["a:/x", "a:/x"], "both be called '/x'"), ([], ["empty:/x"], "holds no files"),
])
def test_bad_input_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str],
                                   volumes: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        submit.inputs(words, volumes)


def test_a_job_of_another_app(tmp_path: Path, runner: FakeRunner) -> None:
    (tmp_path / "in").write_text("text")
    runner.answers[SUBMIT] = MADE
    assert _run(tmp_path, runner, "create-work", "--app", "worker", "--input", str(tmp_path / "in"), "--priority",
                "3") == 0
    manifest, files = _sent(runner)
    assert manifest == {"jobs": [{"app": "worker", "args": ["--priority", "3"],
                                  "files": [{"member": "f0", "name": "in"}]}]}
    assert files == {"f0": b"text"}


def test_a_job_for_each_row(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "sweep.csv"
    table.write_text("X,label\n1,one\n\n2.5,\"two, and {more}\"\n")
    runner.answers[SUBMIT] = ok('{"batch": 4, "jobs": [{"id": 7, "name": "a"}, {"id": 8, "name": "b"}]}')
    assert _run(tmp_path, runner, "create-work", "--each", str(table), "alpine", "sh", "-c", "echo {X} {other}") == 0
    manifest, _files = _sent(runner)
    assert manifest["batch"] == {"name": "sweep", "description": ""}
    assert [job["args"] for job in manifest["jobs"]] == [
        ["--env", "X=1", "--env", "label=one", "alpine", "sh", "-c", "echo 1 {other}"],
        ["--env", "X=2.5", "--env", "label=two, and {more}", "alpine", "sh", "-c", "echo 2.5 {other}"]]
    assert capsys.readouterr().out == "4\n"
    assert _run(tmp_path, runner, "create-work", "--each", str(table), "--batch", "9", "alpine") == 0
    assert _sent(runner)[0]["batch"] == {"id": 9}


@pytest.mark.parametrize(("text", "message"), [
    ("", "is empty"), ("X\n", "no rows"), ("X,X\n1,2\n", "t.csv:1: a column is named twice"),
    ("X,Y\n1,2\n3\n", "t.csv:3: 1 values for 2 columns"), ("a b\n1\n", "t.csv:1: 'a b' is no usable column"),
    ("\udcff\n1\n", "not UTF-8"),
])
def test_bad_tables_name_the_line(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str], text: str,
                                  message: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert _run(tmp_path, runner, "create-work", "--each", str(tmp_path / "t.csv"), "alpine") == 1
    assert message in capsys.readouterr().err
    assert not runner.did(SUBMIT)


def _folders(root: Path) -> Path:
    for name, text in (("Job A", "1"), ("b", "2")):
        (root / "jobs" / name / "sub").mkdir(parents=True)
        (root / "jobs" / name / "sub" / "data").write_text(text)
    (root / "jobs" / "b" / "cmdline").write_text("--mode 'x y'\n")
    return root / "jobs"


@pytest.mark.parametrize("packed", ["", "tgz", "zip", "flat.tgz"])
def test_a_job_for_each_folder(tmp_path: Path, runner: FakeRunner, packed: str) -> None:
    source = _folders(tmp_path)
    if packed:
        kind, base = ("zip", "jobs") if packed == "zip" else ("gztar", None if "flat" in packed else "jobs")
        source = Path(shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "jobs" if base is None else tmp_path,
                                          base))
    runner.answers[SUBMIT] = ok('{"batch": 4, "jobs": [{"id": 7, "name": "a"}, {"id": 8, "name": "b"}]}')
    assert _run(tmp_path, runner, "create-work", "--jobs", str(source), "--batch", "set", "alpine", "run") == 0
    manifest, files = _sent(runner)
    first, second = manifest["jobs"]
    assert (first["args"], first["suffix"]) == (["alpine", "run"], "job-a")
    assert (second["args"], second["suffix"]) == (["alpine", "run", "--mode", "x y"], "b")
    assert [[(f["name"], files[f["member"]]) for f in job["files"]] for job in (first, second)] == [
        [("sub/data", b"1")], [("sub/data", b"2")]]


def test_bad_job_folders(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "a").mkdir(parents=True)
    evil = tmp_path / "evil.tgz"
    with tarfile.open(evil, "w:gz") as archive:
        member = tarfile.TarInfo("../../outside")
        archive.addfile(member, io.BytesIO(b""))
    for source, message in (("none", "no folder or archive"), ("empty", "no sub-folders"), ("hollow", "holds no files"),
                            ("evil.tgz", "not a safe file name"), ("docker-compose.yml", "cannot be unpacked")):
        assert _run(tmp_path, runner, "create-work", "--jobs", str(tmp_path / source), "alpine") == 1
        assert message in capsys.readouterr().err
    assert not runner.did(SUBMIT)
    assert not (tmp_path.parent / "outside").exists()


def test_an_image_that_does_not_exist(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers |= {SUBMIT: MADE, "docker image inspect": failed("No such image"),
                       "docker manifest inspect": failed("no such manifest: docker.io/library/nosuch:1")}
    assert _run(tmp_path, runner, "create-work", "-e", "A=1", "nosuch:1", "true") == 1
    assert "there is no image 'nosuch:1': no such manifest" in capsys.readouterr().err
    assert not runner.did(SUBMIT)
    assert _run(tmp_path, runner, "create-work", "--no-check", "nosuch:1") == 0
    runner.answers["docker manifest inspect"] = failed('Get "https://r/": dial tcp: lookup r: no such host')
    assert _run(tmp_path, runner, "create-work", "nosuch:1") == 0
    assert "its registry does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(("output", "line"), [
    ("Step 1/3 : FROM x\nStep 2/3 : RUN false\nThe command '/bin/sh -c false' returned a non-zero code: 1", 3),
    ("failed to parse Dockerfile: dockerfile parse error line 6: unknown instruction: COPPY", 6),
    ("Dockerfile:3\n--------------------\nERROR: failed to solve: process did not complete successfully", 3),
    ("something else failed", 0), ("", 0),
])
def test_the_line_of_a_dockerfile_that_does_not_build(tmp_path: Path, runner: FakeRunner, output: str, line: int,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "My.Dockerfile"
    path.write_text("# comment\nFROM debian\nRUN a \\\n  # inside\n  b\nCOPY x /x\n")
    (tmp_path / "x").write_text("x")
    runner.answers |= {SUBMIT: MADE, "docker build": failed(output)}
    words = ("create-work", "--dockerfile", str(path), "--input", str(tmp_path / "x"))
    assert _run(tmp_path, runner, *words) == 1
    assert f"{path}:{line}: does not build" in capsys.readouterr().err if line else True
    assert not runner.did(SUBMIT)
    runner.answers["docker build"] = ok()
    assert _run(tmp_path, runner, *words, "--cpus", "2") == 0
    manifest, files = _sent(runner)
    assert manifest["jobs"][0]["args"] == ["--cpus", "2"]
    assert files[manifest["jobs"][0]["dockerfile"]] == path.read_bytes()


def test_what_the_command_inside_says_is_what_we_say(tmp_path: Path, runner: FakeRunner,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    inside = b"warning: x\nerror: there is no app 'nope'\nhint: bin/xadd adds apps\n"
    runner.answers[SUBMIT] = Result(1, b"", inside)
    assert _run(tmp_path, runner, "create-work", "--app", "nope") == 1
    assert capsys.readouterr().err == "error: there is no app 'nope'\nhint: bin/xadd adds apps\n"
    runner.answers[SUBMIT] = Result(137, b"", b"")
    assert _run(tmp_path, runner, "create-work", "--app", "nope") == 1
    assert "bin/submit_jobs failed with status 137" in capsys.readouterr().err
    runner.answers[SUBMIT] = ok("<html>")
    assert _run(tmp_path, runner, "create-work", "--app", "nope") == 1
    assert "did not answer in JSON" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "message"), [
    (["create-work"], "which image?"), (["create-work", "-e", "A=1"], "which image?"),
    (["create-work", "--app", "x", "-v", "a:/b"], "not for --app"),
    (["create-work", "--each", "a", "--jobs", "b", "alpine"], "exclude each other"),
    (["create-work", "alpine"], "apache is not running"),
])
def test_create_work_without_image_or_project(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str],
                                              message: str) -> None:
    assert _run(tmp_path, FakeRunner(), *words) == 1
    assert message in capsys.readouterr().err


# ---- jobs --------------------------------------------------------------------------------------------------------


def test_wait_follows_every_change_until_the_end(tmp_path: Path, runner: FakeRunner,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    answers = [_answer(_job("j", state)) for state in ("unsent", "unsent", "in_progress", "validating")]
    answers.append(_answer(_job("j", "done", 1.5, outputs=["/results/worker/j"])))
    remaining = iter(answers)
    runner.answers[INSIDE_STDIN + "bin/query_jobs"] = lambda _: next(remaining)
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
    runner.answers[INSIDE_STDIN + "bin/query_jobs"] = _answer(_job("j", "error", error="too many failures"))
    assert _run(tmp_path, runner, "jobs", "--wait", "j") == 1
    shown = capsys.readouterr()
    assert "failed: too many failures" in shown.err
    assert "boom" in shown.out


def test_wait_has_a_limit(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE_STDIN + "bin/query_jobs"] = _answer(_job("j", "unsent"))
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
    runner.answers[INSIDE_STDIN + "bin/query_jobs"] = failed("error: there is no job 'k'\n")
    assert _run(tmp_path, runner, "jobs", "k") == 1
    assert "error: there is no job 'k'\nhint: ./manage.py jobs" in capsys.readouterr().err


def _tar(mode: str, **files: bytes | str) -> bytes:
    """A tar; a text is a symbolic link to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_results_come_to_a_folder_here(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    inner = _tar("w:gz", **{"a.csv": b"A", "sub/b.txt": b"B", "../../evil": b"E", "/abs": b"E", "link": "/etc/passwd"})
    paths = {"j": "/results/docker/j/results.tgz", "w": "/results/worker/w/out"}
    packed = _tar("w", **{paths["j"][1:]: inner, paths["w"][1:]: b"OUT", "etc/passwd": b"not asked for"})
    runner.answers |= {INSIDE_STDIN + "bin/query_jobs": _answer(*(_job(n, "done", outputs=[paths[n]]) for n in paths)),
                       INSIDE_STDIN + "tar": ok(packed)}
    to = tmp_path / "here"
    assert _run(tmp_path, runner, "jobs", "results", "j", "w", "--to", str(to), "--json") == 0
    shown = capsys.readouterr()
    assert {p.relative_to(to).as_posix(): p.read_bytes() for p in to.rglob("*") if p.is_file()} == {
        "j/a.csv": b"A", "j/sub/b.txt": b"B", "w/out": b"OUT"}
    assert json.loads(shown.out) == {"j": [str(to / "j/a.csv"), str(to / "j/sub/b.txt")], "w": [str(to / "w/out")]}
    assert shown.err.count("left out") == 3
    asked = next(d for a, d in zip(runner.calls, runner.stdin, strict=True) if "tar" in a)
    assert asked == "\0".join(path[1:] for path in paths.values()).encode()
    only = tmp_path / "only"
    assert _run(tmp_path, runner, "jobs", "results", "j", "w", "--to", str(only), "--only", "*.csv") == 0
    assert [p.name for p in only.rglob("*") if p.is_file()] == ["a.csv"]
    raw = tmp_path / "raw"
    assert _run(tmp_path, runner, "jobs", "results", "j", "w", "--to", str(raw), "--no-unpack") == 0
    assert (raw / "j" / "results.tgz").read_bytes() == inner
    (tmp_path / "file").write_text("")
    assert _run(tmp_path, runner, "jobs", "results", "j", "--to", str(tmp_path / "file")) == 1
    assert "error: " in capsys.readouterr().err


def test_results_of_jobs_that_are_not_done(tmp_path: Path, runner: FakeRunner,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE_STDIN + "bin/query_jobs"] = _answer(_job("j", "in_progress"))
    assert _run(tmp_path, runner, "jobs", "results", "j", "--to", str(tmp_path / "x")) == 1
    assert "1 of 1 jobs are not done: j" in capsys.readouterr().err
    assert _run(tmp_path, runner, "jobs", "results") == 1
    assert "which jobs?" in capsys.readouterr().err


def test_cancel_asks_for_several(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE + "bin/cancel_jobs"] = ok('{"cancelled": 1}')
    assert _run(tmp_path, runner, "jobs", "cancel", "j") == 0
    assert "cancelled 1 of 1 jobs" in capsys.readouterr().err
    assert _run(tmp_path, runner, "jobs", "cancel", "j", "k") == 1
    assert "Nobody was there to answer" in capsys.readouterr().err
    assert _run(tmp_path, runner, "jobs", "cancel", "--yes", "--json", "j", "k") == 0
    assert json.loads(capsys.readouterr().out) == {"cancelled": 1}
    assert runner.calls[-1][-5:] == ["--json", "--name", "j", "--name", "k"]


def _batch(**counts: int) -> str:
    base = {"jobs": 2, "done": 0, "error": 0, "in_progress": 0, "assimilating": 0}
    return json.dumps({"id": 4, "name": "sweep", "state": "in_progress", "njobs": 2, "nerror_jobs": 0, "created": 1,
                       "fraction_done": 0.5, "cancelled": 1, "counts": {**base, **counts}})


def test_a_batch_is_followed_and_ended(tmp_path: Path, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(jobs, "_POLL_MAX", 0.001)
    answers = iter([_batch(), _batch(), _batch(done=1), _batch(done=1, error=1)])
    runner.answers[INSIDE + "bin/batch show"] = lambda _: ok(next(answers))
    assert _run(tmp_path, runner, "batch", "show", "sweep", "--wait") == 1
    shown = capsys.readouterr()
    assert "1 of 2 jobs over" in shown.err and "2 of 2 jobs over, 0 instances computing, 1 failed" in shown.err
    assert "50.0%" in shown.out
    runner.answers |= {INSIDE + "bin/batch show": ok(_batch()), INSIDE + "bin/batch retire": ok(_batch()),
                       INSIDE + "bin/batch create": ok(_batch()), INSIDE + "bin/batch list": ok('{"batches": []}')}
    assert _run(tmp_path, runner, "batch", "retire", "sweep") == 1
    assert not runner.did(INSIDE + "bin/batch retire")
    assert _run(tmp_path, runner, "batch", "retire", "sweep", "--yes") == 0
    assert runner.calls[-1][-1] == "4"
    assert _run(tmp_path, runner, "batch", "create", "x") == 0
    assert _run(tmp_path, runner, "batch", "list") == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["4", "no batches"]
    assert _run(tmp_path, runner, "batch", "show", "sweep", "--wait", "--timeout", "1") == 1
    assert "not finished after 1 s: 2 of 2 jobs of batch 4" in capsys.readouterr().err


def test_follow_prints_what_the_job_wrote(tmp_path: Path, runner: FakeRunner,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    path = "/results/docker/docker_1/results.tgz"
    runner.answers |= {
        SUBMIT: MADE, INSIDE_STDIN + "bin/query_jobs": _answer(_job("docker_1", "done", 1, outputs=[path])),
        INSIDE + f"cat {path}": ok(_tar("w:gz", **{"stdout.txt": b"42\n", "stderr.txt": b"hm"}))}
    assert _run(tmp_path, runner, "create-work", "--follow", "alpine", "x") == 0
    shown = capsys.readouterr()
    assert shown.out == "42\n" and shown.err.endswith("hm\n")


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
