"""xadd and update_versions against a real database (spec 04 sections 6, 7; 05 C5)."""
from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import jobs_world
import pytest

from boincdock.apps.update_versions import update_versions
from boincdock.bin import _run
from boincdock.bin import update_versions as command
from boincdock.bin import xadd as xadd_command
from boincdock.config import Project
from boincdock.crypto import generate_keypair, read_private, read_public, sign_file, verify_file
from boincdock.db import Connection

PLATFORM = "x86_64-pc-linux-gnu"


@pytest.fixture
def project(tmp_path: Path, db: Connection, db_settings: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = jobs_world.make_project(tmp_path, db_settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOINC_PROJECT_DIR", raising=False)
    assert _run.run(xadd_command.main, []) == 0
    return made


def add_version(project: Project, version: str = "2.04", platform: str = f"{PLATFORM}__docker", suffix: str = "",
                xml: bool = True) -> Path:
    folder = project.apps_dir / "sieve" / version / platform
    folder.mkdir(parents=True)
    (folder / f"sieve_{suffix}").write_bytes(b"#!program\0API_VERSION_8.1.0\0")
    (folder / f"data_{suffix}").write_bytes(b"data" * 100)
    if xml:
        (folder / "version.xml").write_text(
            f"<version><file><physical_name>sieve_{suffix}</physical_name><main_program/></file><file><physical_name>"
            f"data_{suffix}</physical_name><logical_name>data</logical_name><gzip/></file><is_wrapper/></version>")
    return folder


def versions(db: Connection) -> list[dict]:
    cursor = db.raw().cursor()
    cursor.execute("SELECT v.*, a.name AS app, p.name AS platform FROM app_version v JOIN app a ON a.id = v.appid"
                   " JOIN platform p ON p.id = v.platformid ORDER BY v.id")
    return list(cursor.fetchall())


def test_xadd_twice_then_changes(project: Project, db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in db.all("apps.platforms")] == ["x86_64-pc-linux-gnu", "windows_x86_64"]
    assert project.trigger("reread_db").exists()
    assert db.all("apps.apps")[0]["user_friendly_name"] == "Eve's sieve"
    assert db.all("apps.apps")[0]["min_version"] == 200
    assert _run.run(xadd_command.main, []) == 0 and capsys.readouterr().out == ""
    path = project.dir / "project.xml"
    path.write_text(path.read_text().replace("<min_version>200", "<min_version>0").replace("Windows", "Win"))
    assert _run.run(xadd_command.main, []) == 0
    assert capsys.readouterr().out.splitlines() == ["updated platform windows_x86_64", "updated app sieve"]
    path.write_text("<boinc><platform>")
    assert _run.run(xadd_command.main, []) == 1 and "never closed" in capsys.readouterr().err


def test_publish_and_repeat(project: Project, db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    folder = add_version(project)
    (folder / ".hidden").write_text("x")
    assert _run.run(command.main, ["--noconfirm"]) == 0
    (row,) = versions(db)
    assert (row["app"], row["version_num"], row["platform"], row["plan_class"]) == ("sieve", 204, PLATFORM, "docker")
    xml = row["xml_doc"].decode()
    public = read_public(project.key_dir / "code_sign_public")
    for name in ("sieve_", "data_"):
        staged = project.download_dir / name
        assert staged.read_bytes() == (folder / name).read_bytes()
        found = re.search(rf"<name>{name}</name>.*?<file_signature>\n(.*?)\n    </file_signature>", xml, re.DOTALL)
        assert found and verify_file(staged, found.group(1), public)
        assert f"<url>http://127.0.0.1:8080/testproject/download/{name}</url>" in xml
    assert xml.count("<executable/>") == 1 and "<api_version>8.1.0</api_version>" in xml and "<is_wrapper/>" in xml
    assert "<gzipped_url>http://127.0.0.1:8080/testproject/download/data_.gz</gzipped_url>" in xml
    assert (project.download_dir / "data_.gz").exists() and ".hidden" not in xml
    capsys.readouterr()
    assert _run.run(command.main, ["--yes", "--verbose"]) == 0
    captured = capsys.readouterr()
    assert "0 added, 1 registered before" in captured.out and len(versions(db)) == 1 and captured.err == ""
    (folder / "data_").write_bytes(b"edited")
    assert _run.run(command.main, ["--yes"]) == 0
    assert "2.04/x86_64-pc-linux-gnu__docker/data_ is not what was published" in capsys.readouterr().err


def test_signature_files_need_no_key(project: Project, db: Connection, tmp_path: Path,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    folder = add_version(project)
    private = project.key_dir / "code_sign_private"
    for name in ("sieve_", "data_"):
        (folder / f"{name}.sig").write_text(sign_file(folder / name, read_private(private)))
    elsewhere = tmp_path / "offline_key"
    private.rename(elsewhere)
    assert _run.run(command.main, ["--noconfirm"]) == 0
    assert len(versions(db)) == 1 and ".sig" not in versions(db)[0]["xml_doc"].decode()
    add_version(project, "2.05", suffix="b")
    assert _run.run(command.main, ["--noconfirm"]) == 1
    assert "is not on this machine" in capsys.readouterr().err
    assert len(versions(db)) == 1 and not (project.download_dir / "sieve_b").exists()
    assert _run.run(command.main, ["--noconfirm", "--sign_key", str(elsewhere)]) == 0 and len(versions(db)) == 2


def test_bad_signature_and_foreign_key(project: Project, db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    folder = add_version(project)
    stranger, _public = generate_keypair()
    (project.dir / "stranger").write_text(stranger)
    (folder / "sieve_.sig").write_text(sign_file(folder / "sieve_", read_private(project.dir / "stranger")))
    assert _run.run(command.main, ["--noconfirm"]) == 1
    assert "is no signature of sieve_" in capsys.readouterr().err
    (folder / "sieve_.sig").unlink()
    assert _run.run(command.main, ["--noconfirm", "--sign_key", str(project.dir / "stranger")]) == 1
    assert "does not belong" in capsys.readouterr().err
    assert versions(db) == [] and not (project.download_dir / "sieve_").exists()


def test_changed_contents_are_refused(project: Project, db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    add_version(project)
    assert _run.run(command.main, ["--noconfirm"]) == 0
    other = add_version(project, "2.05")
    (other / "data_").write_bytes(b"other")
    third = add_version(project, "2.06", suffix="ok")
    (third / "SIEVE_").write_bytes(b"x")
    add_version(project, "2.07", suffix="fine")
    assert _run.run(command.main, ["--noconfirm"]) == 1
    err = capsys.readouterr().err
    assert "a different file named data_ is published already" in err
    assert "SIEVE_ differs only in upper and lower case" in err
    assert [v["version_num"] for v in versions(db)] == [204, 207]
    assert (project.download_dir / "data_").read_bytes() == b"data" * 100


def test_what_is_no_version(project: Project, db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    add_version(project, "beta", suffix="x1")
    add_version(project, "1.100", suffix="x2")
    add_version(project, "2.01", "sparc-sun-solaris", suffix="x3")
    add_version(project, "2.02", f"{PLATFORM}__a__b", suffix="x4")
    add_version(project, "2.03", suffix="x5", xml=False)
    (project.apps_dir / "unknown_app" / "1" / PLATFORM).mkdir(parents=True)
    (add_version(project, "2.09", suffix="x6") / "data_x6").unlink()
    assert _run.run(command.main, ["--noconfirm"]) == 1
    captured = capsys.readouterr()
    assert "apps/sieve/beta is no version number" in captured.out
    for words in ("below 100", "no platform sparc-sun-solaris", "second '__'", "exactly one file must be the main",
                  "no app of this name", "line 1: data_x6 is listed but not in the folder"):
        assert words in captured.err
    assert versions(db) == []


def test_consent(project: Project, db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    add_version(project)
    asked: list[str] = []

    def no(question: str) -> bool:
        asked.append(question)
        return False

    outcome = update_versions(db, project, no, lambda _line: None)
    assert outcome.declined == [f"sieve 2.04 {PLATFORM} plan class docker"] and len(asked) == 1
    assert "sieve_  28 bytes  main program, executable" in asked[0]
    outcome = update_versions(db, project, lambda q: q.startswith("sieve"), lambda _line: None)
    assert "no signature for" in outcome.problems[0]
    assert versions(db) == [] and not (project.download_dir / "sieve_").exists()
    assert _run.run(command.main, []) == 1 and "--noconfirm" in capsys.readouterr().err
