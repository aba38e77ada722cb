"""docs/coverage: every test and every file that a page names exists, and every chapter has a page."""
from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "coverage").glob("*.md"))
_TEST = re.compile(r"^\s*(?:async )?def (test_\w+)", re.M)
_GO_TEST = re.compile(r"^func (Test\w+)", re.M)


@cache
def tests_by_file() -> dict[str, frozenset[str]]:
    """Path below tests/ (or the repository) -> names of its tests."""
    found = {str(path.relative_to(ROOT)): frozenset(_TEST.findall(path.read_text(encoding="utf-8")))
             for path in sorted((ROOT / "tests").rglob("*.py"))}
    found |= {str(path.relative_to(ROOT)): frozenset(_GO_TEST.findall(path.read_text(encoding="utf-8")))
              for path in sorted((ROOT / "wrapper").rglob("*_test.go"))}
    return found


def names_of(page: str) -> list[str]:
    """Names of tests; one that ends in ``*`` or ``…`` stands for all that begin so."""
    return re.findall(r"(?<![\w/.])(test_\w+(?:\*|…)?|Test[A-Z]\w+(?:\*|…)?)(?![\w.]*\.py)", page)


def exists(name: str, among: frozenset[str]) -> bool:
    """Whether there is such a test."""
    start = name.rstrip("*…")
    # Names of Go tests may be cut: the number of a reported problem is enough.
    short = start != name or start.startswith("Test")
    return any(test.startswith(start) for test in among) if short else name in among


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_test_that_is_named_exists(path: Path) -> None:
    everything = frozenset().union(*tests_by_file().values())
    files = {Path(name).stem for name in tests_by_file()}
    text = path.read_text(encoding="utf-8")
    named = [n for n in names_of(text) if n not in files]
    assert len(named) > 5
    missing = [n for n in named if not exists(n, everything)]
    assert not missing, f"{path.name} names tests that are not there"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_tests_are_in_the_files_that_are_named(path: Path) -> None:
    for file, name in re.findall(r"([\w/]+\.py)::(test_\w+(?:\*|…)?)", path.read_text(encoding="utf-8")):
        found = [tests for known, tests in tests_by_file().items() if known.endswith("/" + file)]
        assert found, f"{path.name}: there is no {file}"
        assert any(exists(name, tests) for tests in found), f"{path.name}: {file} has no {name}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_files_that_are_named_exist(path: Path) -> None:
    known = list(tests_by_file())
    for file in re.findall(r"(?<![\w/*])((?:tests/)?(?:unit|db|stack|e2e|wrapper|fuzz)/[\w/]+\.py|test_\w+\.py)",
                           path.read_text(encoding="utf-8")):
        assert any(name.endswith("/" + file) or name == file for name in known), f"{path.name}: there is no {file}"


def test_letters_of_files_are_right() -> None:
    """Chapters 1 and 2 name files by a letter: a test behind ``R`` is in R's file."""
    text = (ROOT / "docs/coverage/01-scheduler-rpc.md").read_text(encoding="utf-8")
    letters = dict(re.findall(r"\b([A-Z]) = (?:tests/\w+/)?(test_\w+\.py)", text.split("|", 1)[0]))
    letters["C"] = "test_scheduler_plan_class.py"
    assert len(letters) > 8
    for page in ("01-scheduler-rpc.md", "02-dispatch.md"):
        for line in (ROOT / "docs/coverage" / page).read_text(encoding="utf-8").splitlines():
            if not line.startswith("|"):
                continue
            cell = line.strip().strip("|").split("|")[-1]
            for group in re.findall(r"(?:^|[;,:] ?|\s)([A-Z](?:, [A-Z])*) (test_\w+(?:, test_\w+)*)", cell):
                files = [letters[letter] for letter in group[0].split(", ")]
                for name in group[1].split(", "):
                    places = [Path(f).name for f, tests in tests_by_file().items() if name in tests]
                    assert set(files) <= set(places) or set(files) & set(places), f"{page}: {name} is not in {files}"


def test_the_index_lists_all_pages() -> None:
    index = (ROOT / "docs/coverage.md").read_text(encoding="utf-8")
    for path in PAGES:
        assert f"coverage/{path.name}" in index
