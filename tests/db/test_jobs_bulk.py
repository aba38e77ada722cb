"""submit_jobs, batch, query_jobs --batch against a real database."""
from __future__ import annotations

import io
import json
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs_world
import pytest
from test_jobs_docker_db import inputs_of, sql

from boincdock.apps.install import build_tree
from boincdock.apps.update_versions import update_versions
from boincdock.apps.xadd import xadd
from boincdock.bin import _run, batch, cancel_jobs, create_work, docker_create_work, query_jobs, submit_jobs
from boincdock.config import Project
from boincdock.db import Connection

APPS = Path(__file__).parents[2] / "apps"
LINUX = "x86_64-pc-linux-gnu"
Send = Callable[..., tuple[int, Any, str]]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(tmp_path: Path, db: Connection, db_settings: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with the sample apps laid out, registered and signed, as makeproject leaves it."""
    made = jobs_world.make_project(tmp_path, db_settings)
    (tmp_path / "wrappers").mkdir()
    (tmp_path / "wrappers" / f"docker_wrapper_1_{LINUX}").write_bytes(b"\0API_VERSION_8.2.15\0")
    build_tree(APPS, tmp_path / "wrappers", tmp_path)
    xadd(db, made, lambda _line: None)
    update_versions(db, made, lambda _question: True, lambda _line: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOINC_PROJECT_DIR", raising=False)
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(main: _run.Main, *argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = _run.run(main, list(argv))
        captured = capsys.readouterr()
        return status, captured.out, captured.err
    return call


def stream(manifest: Any, **files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in {"jobs.json": json.dumps(manifest).encode(), **files}.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755 if data.startswith(b"#!") else 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def send(run: Run, monkeypatch: pytest.MonkeyPatch) -> Send:
    def call(manifest: Any, raw: bytes | None = None, **files: bytes) -> tuple[int, Any, str]:
        data = stream(manifest, **files) if raw is None else raw
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        status, out, err = run(submit_jobs.main, "--json")
        return status, json.loads(out) if status == 0 else out, err
    return call


def test_a_batch_of_docker_jobs(project: Project, db: Connection, send: Send, run: Run) -> None:
    jobs = [{"args": ["-e", f"X={n}", "--output", "*.csv", "debian", "sh", "/root/shared/run.sh"],
             "files": [{"member": "f", "name": "run.sh"}]} for n in range(30)]
    status, made, err = send({"batch": {"name": "My Sweep!"}, "jobs": jobs}, f=b"#!/bin/sh\necho $X\n")
    assert (status, err) == (0, "")
    names = [job["name"] for job in made["jobs"]]
    assert names == [f"my-sweep_{made['batch']}_{n}" for n in range(30)]
    rows = sql(db, "SELECT * FROM workunit ORDER BY id")
    assert [row["batch"] for row in rows] == [made["batch"]] * 30 and [row["name"] for row in rows] == names
    assert [row["id"] for row in rows] == [job["id"] for job in made["jobs"]]
    files = inputs_of(project, rows[7]["xml_doc"].decode())
    table = tomllib.loads(files["job.toml"].decode())
    assert table["env"] == {"X": "7"} and table["results_archive"]["include"] == ["*.csv"]
    assert files["run.sh"] == b"#!/bin/sh\necho $X\n" and rows[7]["xml_doc"].count(b"<executable/>") == 1
    assert len(sql(db, "SELECT name FROM job_file")) == 32, "Dockerfile and run.sh are shared, job.toml is not"

    # More of them, under names that go on; by number.
    status, more, _err = send({"batch": {"id": made["batch"]}, "jobs": jobs[:2]}, f=b"#!/bin/sh\necho $X\n")
    assert status == 0 and [job["name"] for job in more["jobs"]] == [f"my-sweep_{made['batch']}_{n}" for n in (30, 31)]
    shown = json.loads(run(batch.main, "show", "My Sweep!", "--json")[1])
    assert (shown["njobs"], shown["state"], shown["app"]) == (32, "in_progress", "docker")
    assert shown["counts"] == {"jobs": 32, "error": 0, "done": 0, "assimilating": 0, "in_progress": 0}
    listed = json.loads(run(query_jobs.main, "--batch", str(made["batch"]), "--json")[1])["jobs"]
    assert [job["name"] for job in listed] == names + [job["name"] for job in more["jobs"]]
    assert json.loads(run(query_jobs.main, "--batch", "My Sweep!", "--state", "done", "--json")[1])["jobs"] == []


def test_jobs_of_an_app_get_inputs_of_their_own(project: Project, db: Connection, send: Send) -> None:
    jobs = [{"app": "worker", "args": ["--priority", str(n)], "files": [{"member": "f"}]} for n in range(2)]
    jobs[0]["name"] = "w_first"
    status, made, err = send({"batch": None, "jobs": jobs}, f=b"text")
    assert (status, err, made["batch"]) == (0, "", 0)
    assert made["jobs"][0]["name"] == "w_first" and made["jobs"][1]["name"].startswith("worker_")
    rows = sql(db, "SELECT xml_doc, priority FROM workunit ORDER BY id")
    assert [row["priority"] for row in rows] == [0, 1]
    assert rows[0]["xml_doc"] != rows[1]["xml_doc"]
    for row in rows:
        assert inputs_of(project, row["xml_doc"].decode()) == {"in": b"text"}


def test_a_dockerfile_for_the_job(project: Project, db: Connection, send: Send) -> None:
    job = {"args": ["--cpus", "2", "sh", "/r"], "dockerfile": "d", "files": [{"member": "f", "name": "r"}]}
    status, _made, err = send({"jobs": [job]}, d=b"FROM debian\nCOPY r /r\n", f=b"x")
    assert (status, err) == (0, "")
    files = inputs_of(project, sql(db, "SELECT xml_doc FROM workunit")[0]["xml_doc"].decode())
    assert files["Dockerfile"] == b"FROM debian\nCOPY r /r\n" and files["r"] == b"x"


def test_an_image_that_the_job_brings(project: Project, db: Connection, send: Send) -> None:
    jobs = [{"args": ["-e", f"X={n}", "true"], "image": "i"} for n in range(2)]
    status, _made, err = send({"jobs": jobs}, i=b"saved image")
    assert (status, err) == (0, "")
    rows = sql(db, "SELECT xml_doc FROM workunit")
    for row in rows:
        files = inputs_of(project, row["xml_doc"].decode())
        assert files.keys() == {"image.tar", "job.toml"} and files["image.tar"] == b"saved image"
        table = tomllib.loads(files["job.toml"].decode())
        assert table["image_file"] == "image.tar" and table["command"] == ["true"]
        assert row["xml_doc"].count(b"<sticky/>") == 1
    assert len(sql(db, "SELECT name FROM job_file")) == 3
    both = {"args": ["true"], "image": "i", "dockerfile": "d"}
    assert "not both" in send({"jobs": [both]}, i=b"x", d=b"FROM debian\n")[2]


GOOD = {"args": ["debian", "true"]}


@pytest.mark.parametrize(("manifest", "words"), [
    ([], "must be a JSON object"), ({"jobs": []}, "at least one job"), ({"jobs": 3}, "at least one job"),
    ({"jobs": [GOOD], "x": 1}, "unknown key 'x'"), ({"jobs": [GOOD, {"args": "x"}]}, "job 2: args"),
    ({"jobs": [GOOD, {"args": [], "picture": "x"}]}, "job 2: unknown key 'picture'"),
    ({"jobs": [GOOD, {"args": [], "image": "x"}]}, "job 2: the stream has no file 'x'"),
    ({"jobs": [GOOD, {"args": ["--image-file", "/etc/passwd"]}]}, "job 2: --image_file is not possible"),
    ({"jobs": [GOOD, {"args": ["Not An Image"]}]}, "job 2: 'Not An Image' is no image name"),
    ({"jobs": [GOOD, {"args": ["debian"], "name": "UPPER"}]}, "job 2: job name 'UPPER'"),
    ({"jobs": [GOOD, {"args": ["debian"], "name": "a"}, {"args": ["debian"], "name": "a"}]}, "job 3: workunit name"),
    ({"jobs": [GOOD, {"args": ["--input", "/etc/passwd", "debian"]}]}, "job 2: --input is not possible"),
    ({"jobs": [GOOD, {"args": ["--stdin-files", "debian"]}]}, "job 2: --stdin_files is not possible"),
    ({"jobs": [GOOD, {"args": ["--dockerfile", "/etc/passwd"]}]}, "job 2: --dockerfile is not possible"),
    ({"jobs": [GOOD, {"args": ["debian"], "files": [{"member": "nope"}]}]}, "job 2: the stream has no file 'nope'"),
    ({"jobs": [{"app": "worker", "files": [{"member": "f"}]}, {"app": "worker"}]}, "job 2: the input template needs 1"),
    ({"jobs": [{"app": "worker", "files": [{"member": "f"}]}, {"app": "nope"}]}, "job 2: there is no app 'nope'"),
    ({"jobs": [GOOD, {"app": "worker", "args": ["--stdin"]}]}, "job 2: --stdin"),
    ({"jobs": [GOOD, {"app": "worker", "args": ["--config_dir", "/etc"]}]}, "job 2: --config_dir is not possible"),
    ({"jobs": [GOOD, {"args": ["--output", "../x", "debian"]}]}, "job 2: --output '../x'"),
    ({"jobs": [GOOD, {"args": ["--output", "/a/*", "--output", "/b/*", "debian"]}]}, "one folder"),
    ({"batch": {"id": 99}, "jobs": [GOOD]}, "there is no batch 99"),
    ({"batch": {"name": " "}, "jobs": [GOOD]}, "batch name"),
    ({"batch": {"id": True}, "jobs": [GOOD]}, "batch: id"), ({"batch": {"name": "b", "x": 1}, "jobs": [GOOD]}, "'x'"),
])
def test_one_bad_job_and_nothing_exists(project: Project, db: Connection, send: Send, manifest: Any,
                                        words: str) -> None:
    before = sorted(p for p in (project.dir / "download").rglob("worker_in_*"))
    if isinstance(manifest, dict) and "batch" not in manifest:
        manifest = {**manifest, "batch": {"name": "b"}}
    status, _out, err = send(manifest, f=b"text")
    assert status == 1 and words in err and "Traceback" not in err and "defect" not in err
    assert sql(db, "SELECT id FROM workunit") == [] and sql(db, "SELECT id FROM batch") == []
    assert sorted(p for p in (project.dir / "download").rglob("worker_in_*")) == before


@pytest.mark.parametrize(("raw", "words"), [
    (b"no tar", "cannot be read"), (b"", "cannot be read"), (stream({})[:700], "cannot be read"),
])
def test_bad_streams(project: Project, send: Send, raw: bytes, words: str) -> None:
    status, _out, err = send(None, raw)
    assert status == 1 and words in err and "defect" not in err


def test_hostile_members_stay_in_the_scratch_folder(project: Project, send: Send, tmp_path: Path) -> None:
    status, _out, err = send({"jobs": [GOOD]}, **{"../../evil": b"x", "/etc/evil": b"x"})
    assert status == 0, err
    assert not list(tmp_path.parent.rglob("evil"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("jobs.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    status, _out, err = send(None, buffer.getvalue())
    assert status == 1 and "no plain file" in err


def test_the_life_of_a_batch(project: Project, db: Connection, run: Run, send: Send, tmp_path: Path) -> None:
    status, out, _err = run(batch.main, "create", "--description", "d", "one")
    number = out.strip()
    assert status == 0 and number.isdigit()
    assert run(docker_create_work.main, "--batch", number, "--name", "j1", "debian")[0] == 0
    assert run(create_work.main, "--appname", "sieve", "--batch", number, "--wu_name", "j2", "sieve_17.txt")[0] == 0
    where = ("--results_dir", str(tmp_path / "results"), "--json")
    shown = json.loads(run(batch.main, "show", number, *where)[1])
    assert (shown["njobs"], shown["state"], shown["counts"]["jobs"]) == (2, "in_progress", 2)
    assert json.loads(run(batch.main, "list", *where)[1])["batches"][0]["name"] == "one"
    status, out, err = run(cancel_jobs.main, "--name", "j1", "--json")
    assert (status, json.loads(out), err) == (0, {"cancelled": 1}, "")
    outputs = tmp_path / "results" / "docker" / f"batch_{number}" / "j1"
    outputs.mkdir(parents=True)
    aborted = json.loads(run(batch.main, "abort", "one", *where)[1])
    assert (aborted["state"], aborted["cancelled"], aborted["counts"]["error"]) == ("aborted", 1, 2)
    assert outputs.exists()
    status, _out, err = send({"batch": {"id": int(number)}, "jobs": [GOOD]})
    assert status == 1 and f"batch {number} is aborted" in err
    retired = json.loads(run(batch.main, "retire", number, *where)[1])
    assert (retired["state"], retired["cancelled"]) == ("retired", 0)
    assert not outputs.exists()
    for argv in (["show", "nope"], ["show", "77"], ["show"], ["list", "x"], ["abort", number], ["explode", "x"],
                 ["create", ""], ["list", "--limit", "-1"]):
        status, _out, err = run(batch.main, *argv)
        assert status == 1 and err.startswith("error: ") and "defect" not in err, argv
    run(batch.main, "create", "twice")
    run(batch.main, "create", "twice")
    assert "several batches" in run(batch.main, "show", "twice")[2]
