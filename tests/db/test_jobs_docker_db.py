"""docker_create_work, query_jobs, cancel_jobs, rebase_urls, shared files against a real database."""
from __future__ import annotations

import io
import json
import re
import sys
import tarfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jobs_world
import pytest

from boincdock.apps.install import build_tree
from boincdock.apps.update_versions import update_versions
from boincdock.apps.xadd import xadd
from boincdock.bin import _run, cancel_jobs, docker_create_work, query_jobs
from boincdock.config import Project
from boincdock.crypto import generate_keypair, read_public
from boincdock.db import Connection
from boincdock.files.certificates import verify_certificate
from boincdock.files.hierarchy import download_path
from boincdock.jobs.create import create_jobs
from boincdock.jobs.job_files import delete_expired
from boincdock.jobs.model import JobKind, JobSpec
from boincdock.jobs.query import output_paths
from boincdock.jobs.rebase import ProjectUrls, rebase_urls
from boincdock.jobs.results import make_result_xml

APPS = Path(__file__).parents[2] / "apps"
LINUX = "x86_64-pc-linux-gnu"


@pytest.fixture
def project(tmp_path: Path, db: Connection, db_settings: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with the sample apps laid out, registered and signed, as makeproject leaves it."""
    made = jobs_world.make_project(tmp_path, db_settings)
    wrappers = tmp_path / "wrappers"
    wrappers.mkdir()
    (wrappers / f"docker_wrapper_1_{LINUX}").write_bytes(b"\0API_VERSION_8.2.15\0")
    build_tree(APPS, wrappers, tmp_path)
    xadd(db, made, lambda _line: None)
    outcome = update_versions(db, made, lambda _question: True, lambda _line: None)
    assert len(outcome.added) == 2 and not outcome.problems
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOINC_PROJECT_DIR", raising=False)
    return made


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(main: _run.Main, *argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = _run.run(main, list(argv))
        captured = capsys.readouterr()
        return status, captured.out, captured.err
    return call


def sql(db: Connection, statement: str, *values: object) -> list[dict]:
    cursor = db.raw().cursor()
    cursor.execute(statement, values)
    found = list(cursor.fetchall())
    cursor.close()
    return found


def inputs_of(project: Project, xml: str) -> dict[str, bytes]:
    """{open_name: contents} of a workunit's files, from the download tree; the names in it checked."""
    refs = re.findall(r"<file_name>(.*)</file_name>\n    <open_name>(.*)</open_name>", xml)
    for physical, _name in refs:
        assert f"<url>{project.config.download_url}/" in xml and f"<name>{physical}</name>" in xml
    return {name: download_path(project, physical).read_bytes() for physical, name in refs}


def test_hello_boinc(project: Project, db: Connection, run: Run) -> None:
    status, out, err = run(docker_create_work.main, "--json", "python:alpine", "python", "-c", "print('Hello BOINC')")
    assert (status, err) == (0, "")
    job = json.loads(out)
    (row,) = sql(db, "SELECT w.*, a.name AS app FROM workunit w JOIN app a ON a.id = w.appid")
    assert (row["id"], row["name"], row["app"]) == (job["id"], job["name"], "docker")
    files = inputs_of(project, row["xml_doc"].decode())
    assert files["Dockerfile"] == b"FROM python:alpine\n"
    assert tomllib.loads(files["job.toml"].decode())["command"] == ["python", "-c", "print('Hello BOINC')"]
    assert row["result_template_file"] == "templates/docker_out" and row["max_error_results"] == 3
    run(docker_create_work.main, "python:alpine", "true")
    names = [r["name"] for r in sql(db, "SELECT name FROM job_file")]
    assert len(names) == 3, "both jobs share the Dockerfile"
    xml = (project.dir / "templates" / "docker_out").read_text()
    _name, result = make_result_xml(project, xml, row, 0)
    assert "<open_name>results.tgz</open_name>" in result and "<xml_signature>" in result


def tar_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("_dot_", "."))
            member.size, member.mode = len(data), 0o755 if data.startswith(b"#!") else 0o644
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def test_inputs_from_tar_and_disk(project: Project, db: Connection, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.dir / "data.txt").write_bytes(b"data")
    packed = tar_of(run_dot_sh=b"#!/bin/sh\n", sub__x=b"x", Dockerfile=b"FROM debian\nCOPY run.sh /r\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(packed)))
    status, out, err = run(docker_create_work.main, "--name", "my-job.1", "--stdin-files", "--input", "data.txt:/in/d",
                           "--dockerfile", "Dockerfile", "-e", "A=$(rm -rf /)", "-m", "64m", "--cpus", "2", "sh", "/r")
    assert (status, err, out) == (0, "", "workunit name: my-job.1\n")
    (row,) = sql(db, "SELECT * FROM workunit")
    xml = row["xml_doc"].decode()
    files = inputs_of(project, xml)
    assert files.keys() == {"Dockerfile", "job.toml", "d", "run.sh", "x"}
    assert files["Dockerfile"] == b"FROM debian\nCOPY run.sh /r\n" and files["run.sh"] == b"#!/bin/sh\n"
    table = tomllib.loads(files["job.toml"].decode())
    assert {c["dst"] for c in table["copy_to_container"]} == {"/in/d", "/root/shared/run.sh", "/root/shared/sub/x"}
    assert table["env"] == {"A": "$(rm -rf /)"} and table["command"] == ["sh", "/r"]
    assert row["rsc_memory_bound"] == 64 << 20 and "<avg_ncpus>2.000000</avg_ncpus>" in xml and "<flops>" in xml
    assert xml.count("<executable/>") == 1


@pytest.mark.parametrize(("argv", "words"), [
    ([], ""), (["-e", "A=1"], "which image"), (["Debian"], "no image name"),
    (["--appname", "nope", "debian"], "no app 'nope'"),
    (["--name", "A B", "debian"], "job name"), (["--input", "missing", "debian"], "does not exist"),
    (["--gpus", "all", "debian"], "without a GPU"), (["--cpus", "x", "debian"], "--cpus"),
    (["--min_quorum", "2", "debian"], "min_quorum"), (["--dockerfile", "missing"], "cannot be read"),
    (["--stdin-files", "debian"], "tar on standard input"), (["--input-tar", "none.tar", "debian"], "none.tar"),
    (["--result_template", "templates/none", "debian"], "no result template"),
    (["--priority", "a", "debian"], "--priority"),
    (["--target_host", "12", "debian"], "no host with id 12"), (["-w", "rel", "debian"], "absolute path"),
    (["debian", "a\0b"], "NUL"), (["debian", "\udcff"], "not UTF-8"),
])
def test_bad_docker_jobs(project: Project, db: Connection, run: Run, monkeypatch: pytest.MonkeyPatch,
                         argv: list[str], words: str) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"this is no tar")))
    status, _out, err = run(docker_create_work.main, *argv)
    assert status == 1 and words in err and "Traceback" not in err and "defect" not in err
    assert sql(db, "SELECT id FROM workunit") == []


def test_hostile_tar(project: Project, db: Connection, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("../x", "/etc/../x", "a//b"):
        member = tarfile.TarInfo(name)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(member, io.BytesIO(b""))
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(buffer.getvalue())))
        assert run(docker_create_work.main, "--input-tar", "-", "debian")[0] == 1
    link = tarfile.TarInfo("l")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(link)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(buffer.getvalue())))
    status, _out, err = run(docker_create_work.main, "--input-tar", "-", "debian")
    assert status == 1 and "no plain file" in err and sql(db, "SELECT id FROM workunit") == []


def test_gpu_app(project: Project, db: Connection, run: Run) -> None:
    sql(db, "UPDATE app_version SET plan_class = 'docker_nvidia'")
    assert run(docker_create_work.main, "--gpus", "all", "debian")[0] == 0
    (row,) = sql(db, "SELECT xml_doc FROM workunit")
    assert b"use_gpu = true" in inputs_of(project, row["xml_doc"].decode())["job.toml"]


def test_query_and_cancel(project: Project, db: Connection, run: Run, tmp_path: Path) -> None:
    for name in ("j0", "j1", "j2", "j3"):
        assert run(docker_create_work.main, "--name", name, "debian")[0] == 0
    ids = {r["name"]: r["id"] for r in sql(db, "SELECT id, name FROM workunit")}
    sql(db, "INSERT INTO host (id, domain_name) VALUES (7, 'myhost')")
    for name, state, outcome, host in (("j0", 5, 1, 7), ("j1", 4, 0, 7), ("j2", 2, 0, 0)):
        sql(db, "INSERT INTO result (workunitid, name, server_state, outcome, hostid, validate_state, granted_credit,"
                " stderr_out) VALUES (%s, %s, %s, %s, %s, 1, 2.5, '<stderr_txt>hi</stderr_txt>')",
            ids[name], f"{name}_0", state, outcome, host)
    sql(db, "UPDATE workunit SET assimilate_state = 2, canonical_resultid = 1 WHERE name = 'j0'")
    out_dir = tmp_path / "results" / "docker" / "j0"
    out_dir.mkdir(parents=True)
    (out_dir / "results.tgz").write_bytes(b"x")
    where = ("--results_dir", str(tmp_path / "results"))
    (tmp_path / "results" / "docker" / "batch_4" / "j9").mkdir(parents=True)
    (tmp_path / "results" / "docker" / "batch_4" / "j9" / "o").write_bytes(b"")
    assert output_paths(tmp_path / "results", "docker", "j9", 4) == [
        str(tmp_path / "results" / "docker" / "batch_4" / "j9" / "o")]
    status, out, _err = run(query_jobs.main, "--json", "--name", "j0", "j1", *where)
    answer = json.loads(out)
    first, second = answer["jobs"]
    assert (status, first["state"], second["state"]) == (0, "done", "in_progress")
    assert first["outputs"] == [str(out_dir / "results.tgz")] and first["app"] == "docker"
    assert first["results"][0] | {"id": 0, "elapsed_time": 0, "sent": 0, "received": 0, "deadline": 0} == {
        "id": 0, "name": "j0_0", "state": "over", "outcome": "success", "validate_state": "valid", "host": "myhost (7)",
        "host_id": 7, "credit": 2.5, "exit_status": 0, "stderr": "hi", "elapsed_time": 0, "sent": 0, "received": 0,
        "deadline": 0}
    counts = {"unsent": 1, "in_progress": 1, "over": 1, "need_validate": 0, "need_assimilate": 0}
    assert answer["counts"].items() >= counts.items()
    assert json.loads(run(query_jobs.main, "--json", "--limit", "0")[1])["jobs"] == []
    assert [j["name"] for j in json.loads(run(query_jobs.main, "--json", "--limit", "2")[1])["jobs"]] == ["j3", "j2"]
    assert [j["name"] for j in json.loads(run(query_jobs.main, "--json", "--state", "unsent", "--app",
                                              "docker")[1])["jobs"]] == ["j3", "j2"]
    status, _out, err = run(query_jobs.main, "j1", "nope")
    assert status == 1 and "no job 'nope'" in err
    assert run(query_jobs.main, "--app", "nope")[0] == 1 and run(query_jobs.main, "--state", "nope")[0] == 1

    assert run(cancel_jobs.main, "--name", "j2", "--name", "nope")[0] == 1
    assert run(cancel_jobs.main, "0", "5")[0] == 1 and run(cancel_jobs.main)[0] == 1
    before = int(time.time())
    assert run(cancel_jobs.main, "--name", "J2")[1] == "cancelled 1 jobs\n"
    assert run(cancel_jobs.main, str(ids["j0"]), str(ids["j1"]))[1] == "cancelled 1 jobs\n"
    state = {r["name"]: r for r in sql(db, "SELECT * FROM workunit")}
    assert [state[n]["error_mask"] for n in ("j0", "j1", "j2", "j3")] == [0, 16, 16, 0]
    assert state["j1"]["transition_time"] >= before
    results = {r["name"]: (r["server_state"], r["outcome"]) for r in sql(db, "SELECT * FROM result")}
    assert results == {"j0_0": (5, 1), "j1_0": (4, 0), "j2_0": (5, 5)}
    assert json.loads(run(query_jobs.main, "--json", "j2")[1])["jobs"][0]["error"] == "cancelled"


def test_rebase(project: Project, db: Connection, run: Run) -> None:
    for name in ("r0", "r1", "r2"):
        assert run(docker_create_work.main, "--name", name, "debian")[0] == 0
    template = (project.dir / "templates" / "docker_out").read_text()
    for name, state in (("r0", 2), ("r1", 4), ("r2", 5)):
        (wu,) = sql(db, "SELECT id, name FROM workunit WHERE name = %s", name)
        result_name, xml = make_result_xml(project, template, wu, 0)
        sql(db, "INSERT INTO result (workunitid, name, server_state, xml_doc_in) VALUES (%s, %s, %s, %s)", wu["id"],
            result_name, state, xml)
    sql(db, "UPDATE workunit SET assimilate_state = 2 WHERE name = 'r2'")
    old = "http://127.0.0.1:8080"
    before = {r["name"]: r["xml_doc_in"] for r in sql(db, "SELECT * FROM result")}
    counts = rebase_urls(db, project, old, "https://new.example.org")
    assert (counts.app_versions, counts.workunits, counts.results, counts.certificates) == (2, 2, 2, 0)
    for row in sql(db, "SELECT xml_doc FROM app_version"):
        assert b"https://new.example.org/testproject/download/docker_wrapper" in row["xml_doc"]
        assert old.encode() not in row["xml_doc"]
    texts = {r["name"]: r["xml_doc"].decode() for r in sql(db, "SELECT name, xml_doc FROM workunit")}
    assert all(texts[n].count("<url>https://new.example.org/testproject/download/") == 2 for n in ("r0", "r1"))
    assert old in texts["r2"]
    after = {r["name"]: r["xml_doc_in"] for r in sql(db, "SELECT * FROM result")}
    assert after["r2_0"] == before["r2_0"]
    for name in ("r0_0", "r1_0"):
        assert after[name] == before[name].replace(old.encode(), b"https://new.example.org")
    again = rebase_urls(db, project, old, "https://new.example.org")
    assert (again.app_versions, again.workunits, again.results) == (0, 0, 0)

    private, public = generate_keypair()
    (project.key_dir / "upload_private").write_text(private)
    (project.key_dir / "upload_public").write_text(public)
    new = ProjectUrls("https://new.example.org/testproject/download",
                      "https://new.example.org/testproject_cgi/file_upload_handler")
    counts = rebase_urls(db, project, new, new)
    assert (counts.results, counts.certificates) == (2, 2)
    (row,) = sql(db, "SELECT xml_doc_in FROM result WHERE name = 'r0_0'")
    xml = row["xml_doc_in"].decode()
    name = re.findall(r"<name>(.*)</name>", xml)[0]
    signature = re.findall(r"<xml_signature>(.*?)</xml_signature>", xml, re.DOTALL)[0]
    assert verify_certificate(name, 1e9, signature, read_public(project.key_dir / "upload_public"))


def test_shared_files_are_kept_while_needed(project: Project, db: Connection, run: Run) -> None:
    assert run(docker_create_work.main, "--name", "d0", "debian", "true")[0] == 0
    names = [r["name"] for r in sql(db, "SELECT name FROM job_file")]
    assert len(names) == 2 and delete_expired(db, project) == 0
    far = time.time() + 365 * 86400
    assert delete_expired(db, project, far) == 0, "an unfinished job needs them"
    assert all(r["delete_time"] > far for r in sql(db, "SELECT delete_time FROM job_file"))
    sql(db, "UPDATE workunit SET assimilate_state = 2")
    further = far + 365 * 86400
    assert all(download_path(project, name).exists() for name in names)
    assert delete_expired(db, project, further) == 2
    assert not any(download_path(project, name).exists() for name in names)
    assert not list(project.download_dir.glob("*/jf_*")) and sql(db, "SELECT id FROM job_file") == []
    assert run(docker_create_work.main, "--name", "d1", "debian", "true")[0] == 0, "and come back when wanted"
    assert all(download_path(project, name).exists() for name in names)


def test_worker_job_uses_the_installed_templates(project: Project, db: Connection) -> None:
    kind = JobKind(app="worker", input_template=(project.dir / "templates" / "worker_in").read_text(),
                   result_template_file="templates/worker_out")
    (job,) = create_jobs(db, project, [JobSpec(kind, "w0", files=("sieve_17.txt",))])
    (row,) = sql(db, "SELECT * FROM workunit WHERE id = %s", job.id)
    assert (row["rsc_fpops_est"], row["delay_bound"], row["max_total_results"]) == (1e11, 86400, 6)
    assert b"<open_name>in</open_name>\n    <copy_file/>" in row["xml_doc"]
