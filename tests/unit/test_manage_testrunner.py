"""Which tests `manage.py test` runs, and that a run without tests is no success."""
from __future__ import annotations

from pathlib import Path

import pytest
from manage_fakes import NO_ENGINE, FakeRunner, make_app

from boincdock.errors import BoincdockError, InputError
from boincdock.manage.cli import main
from boincdock.manage.testrunner import TIERS, TestRun, count_passed

PASSING = "def test_a():\n    pass\n\ndef test_b():\n    pass\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for tier in TIERS:
        (tmp_path / "tests" / tier).mkdir(parents=True)
    return tmp_path


def _run(root: Path, *words: str, quick: bool = False) -> TestRun:
    return TestRun(make_app(root, FakeRunner({"docker version": NO_ENGINE})), list(words), quick)


@pytest.mark.parametrize(("words", "quick", "tiers", "arguments"), [
    ((), False, list(TIERS), [f"tests/{tier}" for tier in TIERS]),
    ((), True, ["lint", "unit"], ["tests/lint", "tests/unit"]),
    (("db", "unit"), False, ["db", "unit"], ["tests/unit", "tests/db"]),
    (("unit", "-k", "x", "-x"), False, ["unit"], ["tests/unit", "-k", "x", "-x"]),
    (("db",), True, ["db", "lint", "unit"], ["tests/lint", "tests/unit", "tests/db"]),
    (("tests/unit/test_x.py::test_a", "-q"), False, ["unit"], ["tests/unit/test_x.py::test_a", "-q"]),
])
def test_tiers_and_arguments(checkout: Path, words: tuple[str, ...], quick: bool, tiers: list[str],
                             arguments: list[str]) -> None:
    (checkout / "tests" / "unit" / "test_x.py").write_text(PASSING)
    assert _run(checkout, *words, quick=quick).split() == (tiers, arguments)


def test_quick_tiers_are_spread_over_the_cores_and_projects_run_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    everything = [f"tests/{tier}" for tier in TIERS]
    spread = ["-n", "2", "--dist", "loadfile"]
    assert TestRun.sessions([*everything, "-k", "a"]) == [
        [*spread, "tests/lint", "tests/unit", "tests/db", "-k", "a"],
        ["tests/wrapper", "tests/stack", "tests/e2e", "-k", "a"],
    ]
    assert TestRun.sessions(["tests/e2e"]) == [["tests/e2e"]]
    assert TestRun.sessions(["tests/unit/test_x.py::test_a"]) == [["tests/unit/test_x.py::test_a"]]
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert TestRun.sessions(everything) == [everything]


def test_an_empty_session_beside_one_that_passes_is_no_failure(checkout: Path) -> None:
    (checkout / "tests" / "unit" / "test_x.py").write_text(PASSING)
    run = _run(checkout, "unit")
    run.sessions = lambda arguments: [["tests/unit"], ["tests/lint"]]  # type: ignore[method-assign]
    assert run.run() == 0


def test_an_unknown_tier_is_named(checkout: Path) -> None:
    with pytest.raises(InputError, match="no such test tier: e2") as caught:
        _run(checkout, "e2").split()
    assert "lint unit db" in (caught.value.hint or "")


def test_without_docker_the_tiers_that_need_it_do_not_run(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = FakeRunner({"docker version": NO_ENGINE})
    assert main(["test", "unit", "db"], make_app(checkout, runner)) == 1
    assert "the Docker engine is not running" in capsys.readouterr().err


def test_runs_pytest_and_hands_on_its_verdict(checkout: Path) -> None:
    tests = checkout / "tests" / "unit" / "test_x.py"
    tests.write_text(PASSING)
    assert _run(checkout, "unit", "-q").run() == 0
    tests.write_text(PASSING + "\ndef test_c():\n    assert False\n")
    assert _run(checkout, "unit", "-q").run() == 1
    tests.write_text("import pytest\n\n@pytest.mark.skip\ndef test_a():\n    pass\n")
    with pytest.raises(BoincdockError, match="no test ran"):
        _run(checkout, "unit", "-q").run()
    tests.unlink()
    assert _run(checkout, "unit", "-q").run() == 5


def test_passed_are_counted(tmp_path: Path) -> None:
    report = tmp_path / "r.xml"
    assert count_passed(report) == 0
    report.write_text("<testsuites><testsuite><testcase/><testcase><failure/></testcase><testcase><skipped/></testcase>"
                      "<testcase><error/></testcase></testsuite></testsuites>")
    assert count_passed(report) == 1
    report.write_text("<cut off")
    assert count_passed(report) == 0
