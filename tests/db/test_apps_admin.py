"""bin/app, bin/check_files: what an operator does with apps, and whether clients find their files (spec 04 §4, 7.3)."""
from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jobs_world
import pytest

from boincdock.bin import _run, app, check_files, create_work, update_versions, xadd
from boincdock.config import Project
from boincdock.db import Connection
from boincdock.files.hierarchy import download_path

LINUX = "x86_64-pc-linux-gnu"
Call = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path, db: Connection, db_settings: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = jobs_world.make_project(tmp_path, db_settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOINC_PROJECT_DIR", raising=False)
    assert _run.run(xadd.main, []) == 0
    return made


@pytest.fixture
def call(project: Project, capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*words: str, status: int = 0) -> Any:
        capsys.readouterr()
        assert _run.run(app.main, [*words, "--json"]) == status
        captured = capsys.readouterr()
        return captured.err if status else json.loads(captured.out)
    return run


def publish(project: Project, *numbers: str, platform: str = LINUX, gzip: bool = False) -> None:
    for number in numbers:
        folder = project.apps_dir / "sieve" / number / platform
        folder.mkdir(parents=True)
        name = f"sieve_{number}_{platform}"
        (folder / name).write_text(number)
        flag = "<gzip/>" if gzip else ""
        listed = f"<file><physical_name>{name}</physical_name>{flag}</file>"
        (folder / "version.xml").write_text(f"<version>{listed}</version>")
    assert _run.run(update_versions.main, ["--noconfirm"]) == 0


# ---- apps --------------------------------------------------------------------------------------------------------


def test_app_is_added_once_and_again_without_effect(call: Call, project: Project, db: Connection) -> None:
    done = call("add", "prime", "--friendly_name", "Prime's & <co>", "--weight", "2.5", "--beta", "1",
                "--non_cpu_intensive", "1")
    assert done["changed"] and done["warnings"] == [
        "config.xml starts no validator for prime: its jobs do not get past that step (docs/plugins.md)",
        "config.xml starts no assimilator for prime: its jobs do not get past that step (docs/plugins.md)"]
    (row,) = done["apps"]
    assert (row["user_friendly_name"], row["weight"], row["beta"], row["non_cpu_intensive"]) == (
        "Prime's & <co>", 2.5, 1, 1)
    assert project.trigger("reread_db").exists()
    assert call("add", "prime", "--weight", "2.5")["changed"] is False
    assert "exists with another weight" in call("add", "prime", "--weight", "3", status=1)
    assert "differs only in upper and lower case from the app prime" in call("add", "PRIME", status=1)
    assert [a["name"] for a in call("list")["apps"]] == ["prime", "sieve"]


@pytest.mark.parametrize(("words", "said"), [
    (("add", "a b"), "'a b' is no app name"), (("add", "../x"), "is no app name"), (("add", "x", "y"), "one app name"),
    (("add", "x", "--weight", "-1"), "weight must be from 0"),
    (("add", "x", "--beta", "2"), "beta must be from 0 to 1"),
    (("add", "x", "--weight", "heavy"), "invalid float value"), (("set", "nobody"), "there is no app 'nobody'"),
    (("add", "x", "--friendly_name", " "), "friendly name must have"), (("deprecate", "nobody"), "there is no app"),
    (("deprecate_version", "99"), "there is no app version 99"), (("deprecate_version",), "which version?"),
    (("deprecate_version", "sieve", "2.200"), "part after the dot"), (("show",), "one app name"),
])
def test_bad_input_changes_nothing(call: Call, db: Connection, words: tuple[str, ...], said: str) -> None:
    before = db.all("apps.apps")
    assert said in call(*words, status=1)
    assert db.all("apps.apps") == before


def test_set_changes_what_is_said_and_warns_of_project_xml(call: Call, db: Connection) -> None:
    done = call("set", "sieve", "--friendly_name", "Other", "--homogeneous_redundancy", "1")
    assert done["changed"] and any("project.xml calls sieve \"Eve's sieve\"" in w for w in done["warnings"])
    (row,) = done["apps"]
    assert (row["user_friendly_name"], row["homogeneous_redundancy"], row["min_version"]) == ("Other", 1, 200)
    assert call("set", "sieve", "--homogeneous_redundancy", "1")["changed"] is False


def test_deprecated_app_and_back(call: Call, db: Connection) -> None:
    (row,) = call("list")["apps"]
    db.raw().cursor().execute("INSERT INTO result (name, appid, server_state) VALUES ('r', %s, 2)", (row["id"],))
    done = call("deprecate", "sieve")
    assert done["apps"][0]["deprecated"] == 1 and "1 results of sieve are not over" in done["warnings"][0]
    assert call("list")["apps"] == [] and len(call("list", "--all")["apps"]) == 1
    assert call("deprecate", "sieve")["changed"] is False
    assert call("deprecate", "sieve", "--undo")["apps"][0]["deprecated"] == 0


# ---- versions ----------------------------------------------------------------------------------------------------


def test_withdrawing_a_version_makes_the_next_lower_one_current(call: Call, project: Project) -> None:
    publish(project, "2.04", "2.05")
    publish(project, "2.05", platform="windows_x86_64")

    def current() -> list[tuple[str, str]]:
        return sorted((v["version"], v["platform"]) for v in call("versions", "sieve")["versions"] if v["current"])

    assert current() == [("2.05", "windows_x86_64"), ("2.05", LINUX)]
    done = call("deprecate_version", "sieve", "2.05", LINUX)
    assert done["changed"] and done["warnings"] == [] and current() == [("2.04", LINUX), ("2.05", "windows_x86_64")]
    assert len(call("versions")["versions"]) == 2 and len(call("versions", "--all")["versions"]) == 3
    (row,) = [v for v in call("versions")["versions"] if v["platform"] == LINUX]
    assert call("deprecate_version", str(row["id"]))["warnings"] == [f"no version of sieve is left for {LINUX}"]
    assert call("deprecate_version", "sieve", "2.05", LINUX, "--undo")["changed"]
    assert call("deprecate_version", "sieve", "2.05", f"{LINUX}__docker", status=1)
    shown = call("show", "sieve")
    (lower,) = [v for v in shown["versions"] if v["version"] == "2.04"]
    assert [f["name"] for f in lower["files"]] == [f"sieve_2.04_{LINUX}"]


# ---- the download tree -------------------------------------------------------------------------------------------


@pytest.fixture
def checked(project: Project, capsys: pytest.CaptureFixture[str]) -> Call:
    """A project with a version and a job; runs check_files."""
    publish(project, "2.04", gzip=True)
    assert _run.run(create_work.main, ["--appname", "sieve", "--wu_name", "job1", "sieve_17.txt"]) == 0

    def run(*words: str, status: int = 0) -> Any:
        capsys.readouterr()
        assert _run.run(check_files.main, [*words, "--json"]) == status
        return json.loads(capsys.readouterr().out)
    return run


def test_a_whole_tree_is_whole(checked: Call) -> None:
    for words in ((), ("--quick",)):
        found = checked(*words)
        assert (found["ok"], found["checked"], found["missing"], found["changed"], found["orphans"]) == (
            True, 3, [], [], 0), found


def test_missing_changed_and_orphaned_files(checked: Call, project: Project,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    name = f"sieve_2.04_{LINUX}"
    (project.download_dir / name).write_text("2.05")
    job = download_path(project, "sieve_17.txt")
    job.unlink()
    (project.download_dir / "left_over").write_bytes(b"x" * 7)
    found = checked(status=1)
    assert [(f["path"], f["why"]) for f in found["changed"]] == [(name, "its contents are not what clients were told")]
    assert re.match(rf"app version \d+ \(sieve 2\.04 {LINUX}\)", found["changed"][0]["of"])
    assert [(f["path"], f["of"]) for f in found["missing"]] == [
        (job.relative_to(project.download_dir).as_posix(), "job job1")]
    assert [(f["path"], f["nbytes"]) for f in found["orphaned"]] == [("left_over", 7)] and found["orphaned_bytes"] == 7
    capsys.readouterr()
    assert _run.run(check_files.main, ["--orphans"]) == 1
    out = capsys.readouterr().out
    assert "left_over: orphaned, 7 bytes" in out and "3 files checked, 1 missing, 1 changed, 1 orphaned" in out


def test_damaged_gzip_and_size(checked: Call, project: Project) -> None:
    name = f"sieve_2.04_{LINUX}"
    packed = project.download_dir / f"{name}.gz"
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-5])
    assert "is damaged" in checked(status=1)["changed"][0]["why"]
    packed.unlink()
    assert f"{name}.gz is missing" in checked("--quick", status=1)["changed"][0]["why"]
    packed.write_bytes(whole)
    (project.download_dir / name).write_text("2.04 longer")
    assert "11 bytes where clients expect 4" in checked("--quick", status=1)["changed"][0]["why"]


def test_finished_jobs_need_no_files_and_templates_keep_theirs(checked: Call, project: Project, db: Connection) -> None:
    db.raw().cursor().execute("UPDATE workunit SET file_delete_state = 2")
    download_path(project, "sieve_17.txt").unlink()
    found = checked()
    assert found["checked"] == 1
    assert {Path(f["path"]).name for f in found["orphaned"]} == {"sieve_17.txt.md5", "sieve_17.txt.gz"}
    assert download_path(project, "primes_table_v3").exists()


def test_remote_inputs_are_not_looked_for(checked: Call, project: Project) -> None:
    (project.templates_dir / "remote_in").write_text(
        "<input_template><file_info></file_info><workunit><file_ref><open_name>in</open_name></file_ref></workunit>"
        "</input_template>")
    assert _run.run(create_work.main, [
        "--appname", "sieve", "--wu_name", "job2", "--wu_template", "templates/remote_in", "--remote_file",
        "https://data.example/x", "5", "0" * 32]) == 0
    assert checked()["checked"] == 3
