"""docker_wrapper's own tests (Go), in a container with Debian's Go: with a fake engine and with this machine's."""
from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from boincdock.manage import baseimage
from boincdock.manage.shell import Runner
from boincdock.manage.ui import Ui

ROOT = Path(__file__).parents[2]
BASE = "debian:trixie-slim"
IMAGE = "boincdock/test-wrapper"
PACKAGES = sorted({str(path.parent.relative_to(ROOT / "wrapper")) for path in (ROOT / "wrapper").rglob("*_test.go")})
TARGETS = ["linux/amd64", "linux/arm64"]
SECONDS = 1200


@pytest.fixture(scope="session")
def image() -> str:
    """The image with Go."""
    baseimage.ensure(Runner(), Ui(), BASE)
    done = subprocess.run(["docker", "build", "-q", "-t", IMAGE, "--build-arg", f"BASE_IMAGE={BASE}",
                           str(Path(__file__).parent)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return IMAGE


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[Path]:
    """A folder with the same path here and in the container, so that the engine can mount from it."""
    folder = tmp_path_factory.mktemp("wrapper")
    folder.chmod(0o755)  # a test becomes another user
    yield folder
    subprocess.run(["docker", "run", "--rm", "--network", "none", "-v", f"{folder}:/x", image,
                    "find", "/x", "-mindepth", "1", "-delete"], capture_output=True, check=False)


def _in_go(image: str, shared: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "run", "--rm", "--init", "-v", f"{ROOT / 'wrapper'}:/src:ro", "-v", f"{shared}:{shared}",
         "-v", "/var/run/docker.sock:/var/run/docker.sock", "-e", f"BOINCDOCK_TEST_DIR={shared}",
         "-e", f"BOINCDOCK_TEST_IMAGE={BASE}", "-e", "GOFLAGS=-mod=readonly", "-e", "GOPROXY=off",
         "-e", "GOTOOLCHAIN=local", "-e", f"GOCACHE={shared}/cache", "-e", "CGO_ENABLED=0", "-w", "/src", image,
         "sh", "-c", script],
        capture_output=True, text=True, check=False, timeout=SECONDS)


@pytest.fixture(scope="session")
def events(image: str, shared: Path) -> list[dict[str, str]]:
    """What `go test -json` said about all packages."""
    done = _in_go(image, shared, "go test -json -count=1 -timeout 15m ./...")
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert found, done.stdout + done.stderr
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_go_package(events: list[dict[str, str]], package: str) -> None:
    ours = [event for event in events if event.get("Package", "").endswith("/" + package)]
    whole = [event["Action"] for event in ours if "Test" not in event]
    verdicts = [action for action in whole if action in ("pass", "fail", "skip")]
    failed = {event["Test"] for event in ours if "Test" in event and event["Action"] == "fail"}
    output = "".join(event.get("Output", "") for event in ours if not failed or event.get("Test") in failed)
    assert verdicts == ["pass"], f"failed: {sorted(failed)}\n{output[-8000:]}"
    assert any(event["Action"] == "pass" for event in ours if "Test" in event), "no test ran"


def test_nothing_was_skipped(events: list[dict[str, str]]) -> None:
    skipped = sorted(event["Test"] for event in events if "Test" in event and event["Action"] == "skip")
    assert skipped == []


def test_go_vet(image: str, shared: Path) -> None:
    done = _in_go(image, shared, "go vet ./...")
    assert done.returncode == 0, done.stderr


def test_builds_for_all_targets_and_twice_the_same(image: str, shared: Path) -> None:
    script = f"sh build.sh /tmp/a {' '.join(TARGETS)} && cp -r /src /tmp/elsewhere && sh /tmp/elsewhere/build.sh /tmp/b"
    script += f" {' '.join(TARGETS)} && diff -r /tmp/a /tmp/b && ls /tmp/a && for f in /tmp/a/*; do"
    script += " grep -a -c -E 'API_VERSION_[0-9]+\\.[0-9]+\\.[0-9]+' $f; done"
    done = _in_go(image, shared, script)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("docker_wrapper_")]) == len(TARGETS)
    assert len([line for line in lines if line.isdigit() and int(line) >= 1]) == len(TARGETS)
