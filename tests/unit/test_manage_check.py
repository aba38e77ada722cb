"""manage.py check: what it runs inside, how it shows what is broken, its exit status."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from manage_fakes import FakeRunner, Result, failed, healthy, make_app, ok, with_containers

from boincdock.manage.cli import main

INSIDE = "docker exec -w /home/boincadm/project -u boincadm id-apache bin/check"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> FakeRunner:
    for key in ("PORT", "URL_BASE", "PROJECT", "COMPOSE_PROJECT_NAME", "BOINCDOCK_SETTINGS"):
        monkeypatch.delenv(key, raising=False)
    return FakeRunner(with_containers(healthy()))


def rule(name: str, *offences: tuple[int, str], more: bool = False) -> dict[str, Any]:
    return {"rule": name, "text": f"{name} holds", "more": more, "seconds": 0.1,
            "offences": [{"id": number, "detail": detail} for number, detail in offences]}


def answer(*rules: dict[str, Any]) -> Result:
    broken = any(r["offences"] for r in rules)
    return Result(int(broken), json.dumps({"ok": not broken, "rules": list(rules)}).encode(), b"")


def test_clean_project(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE] = answer(rule("result_states"), rule("batch_states"))
    assert main(["check"], make_app(tmp_path, runner)) == 0
    assert "2 rules checked, 0 broken" in capsys.readouterr().out
    assert runner.did(f"{INSIDE} --json --grace 3600")


def test_broken_rules_are_a_table_and_exit_status_1(tmp_path: Path, runner: FakeRunner,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    many = tuple((n, f"case [{n}]") for n in range(1, 101))
    runner.answers[INSIDE] = answer(rule("result_states"), rule("two_results", *many, more=True),
                                    rule("files", (0, "/x/[red]file")))
    assert main(["check"], make_app(tmp_path, runner)) == 1
    out = capsys.readouterr().out
    assert "two_results" in out
    assert "100 or more" in out
    assert "case [10]" in out
    assert "case [11]" not in out
    assert "/x/[red]file" in out  # not taken for markup
    assert "result_states" not in out
    assert "3 rules checked, 2 broken" in out


def test_json_and_options(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE] = answer(rule("files", (0, "/x")))
    arguments = ["check", "--json", "--only", "files", "--only", "other", "--all", "--grace", "0"]
    assert main(arguments, make_app(tmp_path, runner)) == 1
    assert json.loads(capsys.readouterr().out)["rules"][0]["offences"] == [{"detail": "/x", "id": 0}]
    assert runner.did(f"{INSIDE} --json --grace 0 --only files --only other --all")


def test_list(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[f"{INSIDE} --list"] = ok("result_states   every result has states that exist\n")
    assert main(["check", "--list"], make_app(tmp_path, runner)) == 0
    assert capsys.readouterr().out.startswith("result_states ")


@pytest.mark.parametrize(("result", "says"), [
    (failed("error: there is no rule 'x'\nhint: --list shows all rules\n"), "there is no rule 'x'"),
    (failed("error: the database does not answer\n"), "the database does not answer"),
    (Result(137, b"", b"Killed\n"), "bin/check failed with status 137"),
    (ok("no document"), "nothing that can be read"),
    (ok("[]"), "nothing that can be read"),
])
def test_a_check_that_cannot_be_made_is_an_error(tmp_path: Path, runner: FakeRunner, result: Result, says: str,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    runner.answers[INSIDE] = result
    assert main(["check", "--json"], make_app(tmp_path, runner)) == 1
    captured = capsys.readouterr()
    assert says in captured.err
    assert not captured.out


def test_bad_options(tmp_path: Path, runner: FakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--grace", "-1"], make_app(tmp_path, runner)) == 1
    assert "grace" in capsys.readouterr().err
    assert not runner.did(INSIDE)
