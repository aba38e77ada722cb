"""manage.py makes its own environment: once, completely or not at all, again when the requirements change."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLI = """\
import sys

def main():
    print("ran", sys.prefix, *sys.argv[1:])
    return int("fail" in sys.argv)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """manage.py in a folder with a blank in its name, a command line that only prints, and no requirements."""
    folder = tmp_path / "my checkout"
    (folder / "boincdock" / "manage").mkdir(parents=True)
    shutil.copy(ROOT / "manage.py", folder)
    (folder / "boincdock" / "manage" / "cli.py").write_text(CLI)
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "requirements-dev.txt").write_text("# nothing either\n")
    return folder


def _manage(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("BOINCDOCK_NO_VENV", "VIRTUAL_ENV")}
    base = sys._base_executable  # type: ignore[attr-defined]  # a Python outside any environment
    return subprocess.run([base, str(folder / "manage.py"), *words], capture_output=True, text=True, check=False,
                          env={**clean, **environment}, cwd="/", timeout=300)


def test_first_use_next_use_and_changed_requirements(checkout: Path) -> None:
    first = _manage(checkout, "up", "--port", "8080")
    assert first.returncode == 0, first.stderr
    assert first.stdout.split("\n")[0] == f"ran {checkout / '.venv'} up --port 8080"
    assert "Setting up" in first.stderr
    second = _manage(checkout, "fail")
    assert second.returncode == 1
    assert second.stderr == ""
    scripts = [path for path in (checkout / ".venv" / "bin").iterdir() if path.is_file() and not path.is_symlink()]
    assert scripts
    for script in scripts:
        assert b"venv.new" not in script.read_bytes(), script

    # An unreachable index: a clear error, and the environment that works is still there afterwards.
    working = (checkout / "requirements.txt").read_text()
    (checkout / "requirements.txt").write_text("boincdock-no-such-package==1\n")
    unreachable = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_FIND_LINKS": "",
                   "PIP_NO_INDEX": "", "PIP_CONFIG_FILE": "/dev/null"}
    broken = _manage(checkout, "up", **unreachable)
    assert broken.returncode == 1
    assert "\nerror: the Python packages of requirements.txt could not be installed" in broken.stderr
    assert "hint: PyPI (or the index pip is set to) could not be reached" in broken.stderr
    assert "Traceback" not in broken.stderr
    (checkout / "requirements.txt").write_text(working)
    assert _manage(checkout, "up").stderr == ""

    # Other requirements: a new environment. The test tools are added for `test` only.
    (checkout / "requirements.txt").write_text("# nothing, said otherwise\n")
    assert "Setting up" in _manage(checkout, "up").stderr
    assert "Adding the test tools" in _manage(checkout, "test").stderr
    assert _manage(checkout, "-v", "test").stderr == ""


def test_a_folder_where_one_may_not_write(checkout: Path) -> None:
    (checkout / ".boincdock").write_text("in the way")
    done = _manage(checkout, "up")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write to ")
    assert "hint: " in done.stderr


def test_too_old_python_is_named(checkout: Path) -> None:
    script = ("import sys, runpy; sys.version_info = (3, 9, 2); sys.argv = ['manage.py', 'up']; "
              f"runpy.run_path({str(checkout / 'manage.py')!r}, run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: boincdock needs Python 3.11 or newer")
    assert not (checkout / ".venv").exists()
