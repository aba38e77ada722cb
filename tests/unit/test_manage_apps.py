"""`manage.py app`, `app version`, `files check`: which folders are versions, what is sent, what comes back."""
from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from manage_fakes import FakeRunner, failed, healthy, inspected, make_app, ok, with_containers

from boincdock.errors import InputError
from boincdock.manage import apps
from boincdock.manage.cli import main
from boincdock.manage.shell import Result

LINUX = "x86_64-pc-linux-gnu"
ADD = "docker-compose run --rm --no-deps -T makeproject python3 -m boincdock.project.operate add-versions"
DONE = {"added": [{"id": 7, "title": f"sieve 1.01 {LINUX}"}], "known": 0, "problems": [], "warnings": [],
        "unsigned": []}


def folder(root: Path, name: str, *files: str) -> Path:
    top = root / name
    top.mkdir(parents=True)
    for file in files or ("program",):
        path = top / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)
    return top


def run(tmp_path: Path, runner: FakeRunner, *words: str) -> int:
    root = tmp_path / "checkout"
    root.mkdir(exist_ok=True)
    return main(words, make_app(root, runner))


# ---- which folders are versions ----------------------------------------------------------------------------------


def test_names_come_from_the_path_and_options_win(tmp_path: Path) -> None:
    top = folder(tmp_path, f"apps/sieve/1.01/{LINUX}__mt", "a", "lib/b", ".git/x", ".hidden")
    (found,) = apps.find_versions(top)
    assert found.name == f"sieve/1.01/{LINUX}__mt" and [p.as_posix() for p in found.files()] == ["a", "lib/b"]
    (found,) = apps.find_versions(top, app="other", version="3", platform="windows_x86_64")
    assert found.name == "other/3/windows_x86_64"
    (found,) = apps.find_versions(top, plan_class="docker")
    assert found.name == f"sieve/1.01/{LINUX}__docker"
    (found,) = apps.find_versions(folder(tmp_path, "plain"), "sieve", "1", LINUX)
    assert found.name == f"sieve/1/{LINUX}"


def test_all_versions_below_a_folder(tmp_path: Path) -> None:
    for name in (f"sieve/1.01/{LINUX}", "sieve/1.01/windows_x86_64", f"prime/2/{LINUX}"):
        folder(tmp_path / "apps", name)
    assert [v.name for v in apps.find_versions(tmp_path / "apps")] == [
        f"prime/2/{LINUX}", "sieve/1.01/windows_x86_64", f"sieve/1.01/{LINUX}"]
    assert len(apps.find_versions(tmp_path / "apps" / "sieve")) == 2
    with pytest.raises(InputError, match="holds 3 versions"):
        apps.find_versions(tmp_path / "apps", app="sieve")


def test_what_is_no_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        apps.find_versions(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is no folder"):
        apps.find_versions(tmp_path / "file")
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    with pytest.raises(InputError, match="there are no files of an app version"):
        apps.find_versions(tmp_path / "empty")
    for name, words in ((f"sieve/beta/{LINUX}", "is no version"), (f"sieve/1.234/{LINUX}", "is no version"),
                        ("sieve/1/my platform", "is no platform"), (f"-x/1/{LINUX}", "is no app")):
        with pytest.raises(InputError, match=words):
            apps.find_versions(folder(tmp_path / "bad", name))


def test_the_tar_holds_the_files_with_their_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = folder(tmp_path, f"sieve/1.01/{LINUX}", "program", "lib/data")
    (top / "program").chmod(0o755)
    (top / "link").symlink_to(top / "program")
    blob = apps.pack(apps.find_versions(top))
    with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
        shown = {m.name: (m.mode, m.isfile(), archive.extractfile(m).read()) for m in archive}  # type: ignore[union-attr]
    base = f"sieve/1.01/{LINUX}"
    assert shown == {f"{base}/program": (0o755, True, b"program"), f"{base}/lib/data": (0o644, True, b"lib/data"),
                     f"{base}/link": (0o755, True, b"program")}
    monkeypatch.setattr(apps, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="larger than"):
        apps.pack(apps.find_versions(top))


# ---- adding ------------------------------------------------------------------------------------------------------


def test_add_asks_then_sends_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = folder(tmp_path, f"sieve/1.01/{LINUX}")
    runner = FakeRunner(with_containers(healthy()) | {ADD: ok(json.dumps(DONE))})
    assert run(tmp_path, runner, "app", "version", "add", str(top)) == 1
    assert "Published files can never be changed. Nobody was there to answer" in capsys.readouterr().err
    assert not runner.did(ADD)
    assert run(tmp_path, runner, "app", "version", "add", str(top), "--yes") == 0
    assert f"added sieve 1.01 {LINUX}: app version 7" in capsys.readouterr().err
    sent = runner.stdin[[line.startswith(ADD) for line in runner.lines()].index(True)]
    assert sent and f"sieve/1.01/{LINUX}/program".encode() in sent
    assert run(tmp_path, runner, "app", "version", "add", str(top), "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out) == DONE and runner.lines()[-1].endswith("--dry-run")


def test_problems_of_versions_are_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = folder(tmp_path, f"sieve/1.01/{LINUX}")
    bad = {**DONE, "added": [], "known": 1, "problems": ["sieve 1.01: version.xml, line 3: <x> is unknown"],
           "warnings": ["plan class y is not in plan_class_spec.xml"]}
    runner = FakeRunner(with_containers(healthy()) | {ADD: ok(json.dumps(bad))})
    assert run(tmp_path, runner, "app", "version", "add", str(top), "--yes") == 1
    err = capsys.readouterr().err
    assert "error: not published:" in err and "version.xml, line 3" in err and "1 registered already" in err
    assert "warning: plan class y" in err
    runner.answers[ADD] = failed("Creating x ... done\nerror: the project folder is empty\nhint: make it\n")
    assert run(tmp_path, runner, "app", "version", "add", str(top), "--yes") == 1
    assert "error: the project folder is empty\nhint: make it" in capsys.readouterr().err
    runner.answers[ADD] = ok("no JSON")
    assert run(tmp_path, runner, "app", "version", "add", str(top), "--yes") == 1
    assert "did not answer in JSON" in capsys.readouterr().err


def test_nothing_is_sent_to_a_project_that_is_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = folder(tmp_path, f"sieve/1.01/{LINUX}")
    runner = FakeRunner(with_containers([inspected("mysql", "exited", None)]))
    assert run(tmp_path, runner, "app", "version", "add", str(top), "--yes") == 1
    assert "mysql is not running" in capsys.readouterr().err and not runner.did(ADD)


# ---- the other verbs ---------------------------------------------------------------------------------------------


def test_verbs_are_those_of_the_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[list[str]] = []
    answer = {"changed": True, "apps": [], "versions": [], "warnings": ["think of it"]}

    def execute(argv: list[str]) -> Result:
        asked.append(argv[argv.index("bin/app") + 1:])
        return ok(json.dumps(answer))

    runner = FakeRunner(with_containers(healthy()) | {"docker exec": execute})
    for words, wanted in (
        (["app", "add", "x", "--weight", "2", "--friendly-name", "A b", "--beta", "1"],
         ["add", "--json", "x", "--friendly_name", "A b", "--weight", "2.0", "--beta", "1"]),
        (["app", "set", "x", "--min-version", "3"], ["set", "--json", "x", "--min_version", "3"]),
        (["app", "deprecate", "x", "--yes"], ["deprecate", "--json", "x"]),
        (["app", "deprecate", "x", "--undo"], ["deprecate", "--json", "x", "--undo"]),
        (["app", "list", "--all"], ["list", "--json", "--all"]),
        (["app", "version", "list", "x"], ["versions", "--json", "x"]),
        (["app", "version", "deprecate", "x", "1.01", "--yes"], ["deprecate_version", "--json", "x", "1.01"]),
    ):
        assert run(tmp_path, runner, *words) == 0, words
        said = asked[-1]
        assert [said[0], sorted(said[1:])] == [wanted[0], sorted(wanted[1:])], words
    assert "warning: think of it" in capsys.readouterr().err
    for words in (["app", "deprecate", "x"], ["app", "version", "deprecate", "7"]):
        before = len(asked)
        assert run(tmp_path, runner, *words) == 1 and len(asked) == before


def test_files_check_shows_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = {"ok": False, "checked": 2, "missing": [{"path": "a", "of": "job j", "why": "missing"}], "changed": [],
              "orphaned": [], "orphans": 1, "orphaned_bytes": 5}
    runner = FakeRunner(with_containers(healthy()) | {"docker exec": Result(1, json.dumps(report).encode(), b"")})
    assert run(tmp_path, runner, "files", "check", "--quick") == 1
    assert "a: missing job j" in capsys.readouterr().out
    assert runner.lines()[-1].endswith("bin/check_files --json --quick")
    runner.answers["docker exec"] = Result(1, b"", b"error: the database is away\n")
    assert run(tmp_path, runner, "files", "check") == 1
    assert "the database is away" in capsys.readouterr().err
