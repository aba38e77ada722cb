"""docker_wrapper's own tests (Go), in a container with Debian's Go: with a fake engine and with this machine's."""
from __future__ import annotations

import hashlib
import json
import os
import re
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
PROGRAMS = ["docker_wrapper", "wrapper"]
KINDS = {  # what file(1) says of the binaries, by BOINC's platform name
    "x86_64-pc-linux-gnu": r"ELF 64-bit LSB executable, x86-64.* statically linked.* stripped",
    "aarch64-unknown-linux-gnu": r"ELF 64-bit LSB executable, ARM aarch64.* statically linked.* stripped",
    "windows_x86_64": r"PE32\+ executable .*\(console\), x86-64",
    "x86_64-apple-darwin": r"Mach-O 64-bit x86_64 executable",
    "arm64-apple-darwin": r"Mach-O 64-bit arm64 executable",
}
LARGEST = 8 << 20
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
    """What `go test -json` said about all packages; those with the engine, which is then busy, at last."""
    test = "go test -json -count=1 -timeout 15m -parallel"
    done = _in_go(image, shared, f"{test} 8 -skip TestReal ./...; {test} 12 -run TestReal ./cmd/docker_wrapper")
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert sum("Test" not in event and event["Action"] == "start" for event in found) > 8, done.stdout + done.stderr
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_go_package(events: list[dict[str, str]], package: str) -> None:
    ours = [event for event in events if event.get("Package", "").endswith("/" + package)]
    whole = [event["Action"] for event in ours if "Test" not in event]
    verdicts = [action for action in whole if action in ("pass", "fail", "skip")]
    failed = {event["Test"] for event in ours if "Test" in event and event["Action"] == "fail"}
    output = "".join(event.get("Output", "") for event in ours if not failed or event.get("Test") in failed)
    assert set(verdicts) == {"pass"}, f"failed: {sorted(failed)}\n{output[-8000:]}"
    assert any(event["Action"] == "pass" for event in ours if "Test" in event), "no test ran"


def test_nothing_was_skipped(events: list[dict[str, str]]) -> None:
    skipped = sorted(event["Test"] for event in events if "Test" in event and event["Action"] == "skip")
    assert skipped == []


def test_go_vet(image: str, shared: Path) -> None:
    done = _in_go(image, shared, "go vet ./... && GOOS=windows go vet ./... && GOOS=darwin go vet ./...")
    assert done.returncode == 0, done.stderr


def test_staticcheck(image: str, shared: Path) -> None:
    script = "for GOOS in linux windows darwin; do go-staticcheck ./... || bad=1; done; exit ${bad:-0}"
    done = _in_go(image, shared, f"export GOOS XDG_CACHE_HOME={shared}/cache; {script}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def built(image: str, shared: Path) -> dict[str, Path]:
    """The binaries of all platforms, by name."""
    done = _in_go(image, shared, f"sh build.sh {shared}/built && chmod -R a+rX {shared}/built")
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path for path in sorted((shared / "built").iterdir())}


def test_all_platforms_are_built_static_and_small(built: dict[str, Path], image: str, shared: Path) -> None:
    version = (ROOT / "wrapper" / "VERSION").read_text().strip()
    assert sorted(built) == sorted(f"{program}_{version}_{platform}{'.exe' if 'windows' in platform else ''}"
                                   for program in PROGRAMS for platform in KINDS)
    assert {name: path.stat().st_size for name, path in built.items() if path.stat().st_size > LARGEST} == {}
    said = _in_go(image, shared, f"cd {shared}/built && file *").stdout
    for name in built:
        platform = next(p for p in KINDS if p in name)
        assert re.search(rf"(?m)^{re.escape(name)}: +{KINDS[platform]}", said), said


def test_binaries_say_which_interface_they_speak(built: dict[str, Path]) -> None:
    """BOINC's tools look for API_VERSION_x.y.z at the end of a line of strings(1)."""
    for name, path in built.items():
        lines = re.findall(rb"[\x20-\x7e]{4,}", path.read_bytes())
        assert [line for line in lines if re.fullmatch(rb"API_VERSION_\d+\.\d+\.\d+", line)], name


def test_a_second_build_gives_the_same_bytes(built: dict[str, Path], image: str, shared: Path) -> None:
    """From another folder and with an empty cache; CI does it for one platform, the others take too long."""
    targets = "" if os.environ.get("BOINCDOCK_ALL_TARGETS") else "linux/amd64"
    script = ("cp -r /src /tmp/elsewhere && GOCACHE=/tmp/empty sh /tmp/elsewhere/build.sh /tmp/b "
              f"{targets} >&2 && cd /tmp/b && sha256sum *")
    done = _in_go(image, shared, script)
    assert done.returncode == 0, done.stderr
    again = {name: digest for digest, name in (line.split() for line in done.stdout.splitlines())}
    assert len(again) >= len(PROGRAMS)
    assert again == {name: hashlib.sha256(built[name].read_bytes()).hexdigest() for name in again}
