"""The check of plan_class_spec.xml: file and line of what the scheduler could not use (spec 02 section 6.2)."""
from __future__ import annotations

from pathlib import Path

import pytest

from boincdock.bin import _run, check_plan_classes
from boincdock.errors import ConfigError
from boincdock.scheduler.plan_check import check_plan_classes as check
from boincdock.scheduler.plan_class import PlanClasses
from boincdock.scheduler.plan_spec import parse_plan_classes

SHIPPED = Path(__file__).parents[2] / "apps" / "plan_class_spec.xml"


def spec(body: str) -> bytes:
    return f"<plan_classes>\n<plan_class>\n<name>a</name>\n{body}\n</plan_class>\n</plan_classes>\n".encode()


def test_the_shipped_file_is_clean() -> None:
    found = check(SHIPPED.read_bytes())
    assert (found.errors, found.warnings) == ([], []) and "docker" in found.names
    assert set(found.names) == set(parse_plan_classes(SHIPPED.read_bytes()))


@pytest.mark.parametrize(("data", "said"), [
    (spec("<min_ncpus>many</min_ncpus>"), "line 4: <min_ncpus> has the unusable value 'many'"),
    (spec("\n<min_ncpus></min_ncpus>"), "line 5: <min_ncpus> has the unusable value ''"),
    (spec("<docker>yes</docker>"), "line 4: <docker> has the unusable value 'yes'"),
    (spec("<os_regex>(</os_regex>"), "line 4: <os_regex> '(' is no regular expression"),
    (spec("<docker>"), "line 5: </plan_class> where <docker> of line 4 is open"),
    (b"<plan_classes>\n<plan_class>\n<docker/>\n</plan_class>\n</plan_classes>", "line 2: <plan_class> without <name>"),
    (b"<plan_classes>\n<plan_class>\n", "line 2 is never closed"),
    (b"\n\n<plan_class/>", "line 3: must be one <plan_classes> element"),
    (b"", "line 1: must be one <plan_classes> element"),
    (b"<plan_classes>\n\xff</plan_classes>", "line 2: not UTF-8 text"),
])
def test_errors_name_the_line(data: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert any(said in error for error in check(data).errors), check(data)
    path = tmp_path / "spec.xml"
    path.write_bytes(data)
    assert _run.run(check_plan_classes.main, [str(path)]) == 1
    assert f"error: {path}" in capsys.readouterr().err


def test_what_tests_nothing_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = check(spec("<dokcer/>\n<min_ncpus>1</min_ncpus>\n<min_ncpus>2</min_ncpus>\n<cpu_feature>sse</cpu_feature>\n"
                       "<cpu_feature>avx</cpu_feature>"))
    assert found.errors == [] and found.names == ["a"]
    assert [w.partition(": ")[2] for w in found.warnings] == [
        "<dokcer> is unknown in <plan_class> and tests nothing", "<min_ncpus> is there twice; the last counts"]
    one = b"<plan_class><name>a</name></plan_class>"
    twice = b"<plan_classes>" + one + b"\n" + one + b"<x/></plan_classes>"
    assert [w.partition(", ")[2] for w in check(twice).warnings] == [
        "line 2: plan class a is there twice; the first counts", "line 2: <x> where <plan_class> is expected"]
    path = tmp_path / "spec.xml"
    path.write_bytes(spec("<dokcer/>"))
    assert _run.run(check_plan_classes.main, [str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "a\n" and "line 4: <dokcer> is unknown" in captured.err


def test_an_element_behind_a_comment_counts() -> None:
    assert parse_plan_classes(b"<plan_classes><plan_class><!-- c --><!-- d -->\n<name>a</name><!----><docker/>"
                              b"<!-- e --><min_ncpus>2</min_ncpus></plan_class></plan_classes>")["a"].min_ncpus == 2


@pytest.mark.parametrize(("data", "line"), [
    (spec("<os_regex>(</os_regex>"), 4), (b"<plan_classes>\n<plan_class>\n<name>x</name>", 2), (b"\n<x>", 2),
    (b"<plan_classes>\n<plan_class><name>a</name></plan_class>\n", 2),
])
def test_the_scheduler_names_the_line_too(data: bytes, line: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"plan_class_spec\.xml, line {line}:"):
        parse_plan_classes(data)
    (tmp_path / "plan_class_spec.xml").write_bytes(data)
    assert f"line {line}" in PlanClasses.load(tmp_path).broken


def test_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run.run(check_plan_classes.main, [str(tmp_path / "none.xml")]) == 1
    assert "cannot be read" in capsys.readouterr().err
