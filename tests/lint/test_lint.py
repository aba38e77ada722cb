"""The style of the whole checkout: ruff, and mypy --strict on the package and manage.py."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 600


def _tool(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{arguments[0]}:\n{done.stdout}{done.stderr}", pytrace=False)


def test_ruff_has_nothing_to_say() -> None:
    _tool("ruff", "check", "--no-cache", ".")


def test_types_hold() -> None:
    _tool("mypy", "manage.py", "boincdock")


def test_modules_stay_readable() -> None:
    files = [*ROOT.glob("boincdock/**/*.py"), ROOT / "manage.py"]
    long = {str(f.relative_to(ROOT)): n for f in files if (n := len(f.read_text().splitlines())) > MAX_LINES}
    assert not long, f"modules above {MAX_LINES} lines: {long}"


def test_no_shell_is_started_with_a_string() -> None:
    for path in ROOT.glob("boincdock/**/*.py"):
        assert not re.search(r"shell\s*=\s*True|os\.system\(|os\.popen\(", path.read_text()), path
