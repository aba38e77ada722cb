"""The Windows programs under Wine: their own Go tests; docker_wrapper with the engine behind a stand-in for
wsl.exe. Long: Wine is 2 GB of packages, and slow."""
from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_wrapper_go import BASE, IMAGE, ROOT

from boincdock.manage import baseimage
from boincdock.manage.shell import Runner
from boincdock.manage.ui import Ui

WINE = "boincdock/test-wine"
SECONDS = 3000
SCRIPT = r"""
set -e
cd /src
GOOS=windows go test -c -o "$D/tests.exe" "./$1"
if [ "$1" = cmd/docker_wrapper ]; then
    go test -c -o "$D/server" "./$1"
    BOINCDOCK_WSL_SERVER=127.0.0.1:7001 "$D/server" &
fi
export BOINCDOCK_WSL_SERVER=127.0.0.1:7001 BOINCDOCK_TEST_DIR="Z:$(printf %s "$D" | tr / '\\')"
wine wineboot --init >/dev/null 2>&1
cd "$D"
exec timeout 2400 wine tests.exe -test.v -test.run "$2"
"""


@pytest.fixture(scope="module")
def wine() -> str:
    """The image with Wine."""
    baseimage.ensure(Runner(), Ui(), BASE)
    folder = Path(__file__).parent
    for tag, context in ((IMAGE, folder), (WINE, folder / "wine")):
        done = subprocess.run(["docker", "build", "-q", "-t", tag, str(context)], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, done.stderr
    return WINE


@pytest.fixture
def shared(tmp_path: Path, wine: str) -> Iterator[Path]:
    """A folder with the same path here and in the container, so that the engine can mount from it."""
    tmp_path.chmod(0o755)
    yield tmp_path
    subprocess.run(["docker", "run", "--rm", "--network", "none", "-v", f"{tmp_path}:/x", wine, "find", "/x",
                    "-mindepth", "1", "-delete"], capture_output=True, check=False)


@pytest.mark.long
@pytest.mark.parametrize(("package", "tests", "least"), [
    ("internal/boinc", ".", 20), ("cmd/wrapper", ".", 20), ("cmd/docker_wrapper", "Real", 12)])
def test_windows_programs_under_wine(wine: str, shared: Path, package: str, tests: str, least: int) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "--init", "-v", f"{ROOT / 'wrapper'}:/src:ro", "-v", f"{shared}:{shared}",
         "-v", "/var/run/docker.sock:/var/run/docker.sock", "-e", f"D={shared}", "-e", f"BOINCDOCK_TEST_IMAGE={BASE}",
         "-e", "GOFLAGS=-mod=readonly", "-e", "GOPROXY=off", "-e", "GOTOOLCHAIN=local",
         "-e", f"GOCACHE={shared}/cache", "-e", "CGO_ENABLED=0", "-e", "BOINCDOCK_KILLS=2", wine,
         "sh", "-c", SCRIPT, "sh", package, tests],
        capture_output=True, text=True, check=False, timeout=SECONDS)
    verdicts = re.findall(r"(?m)^--- (PASS|FAIL|SKIP): (\S+)", done.stdout)
    print("\n".join(f"{verdict} {name}" for verdict, name in verdicts))
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    assert sum(verdict == "PASS" for verdict, _ in verdicts) >= least
