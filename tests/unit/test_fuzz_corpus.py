"""The corpus of tests/fuzz again, a short random run of every target, and that the fuzzer notices what it should."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.client_view import Broken, read
from tests.fuzz.engine import Fuzzer
from tests.fuzz.targets import TARGETS, Target

ROOT = Path(__file__).resolve().parents[2]
SHORT = {
    "parser": 800,
    "reply": 700,
    "upload": 1500,
    "upload_handler": 500,
    "scheduler": 100,
    "preferences": 500,
    "web": 150,
}


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    """The targets silence the log of boincdock."""
    logger = logging.getLogger("boincdock")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_corpus_and_a_short_random_run(name: str, tmp_path: Path) -> None:
    fuzzer = Fuzzer(TARGETS[name], seed=20261121, faults=tmp_path)
    summary = fuzzer.run(len(fuzzer.corpus) + SHORT[name])
    assert not summary.faults
    assert summary.executions >= SHORT[name]
    assert summary.lines > 20


def test_every_target_has_a_stored_corpus() -> None:
    for target in TARGETS.values():
        assert any(target.folder.iterdir()), target.name


def test_a_fault_is_found_stored_and_counted(tmp_path: Path) -> None:
    def start() -> object:
        def run(data: bytes) -> None:
            if b"<no_cpu/>" in data:
                raise ValueError("found it")

        return run

    target = Target("broken", start, ("nothing",), (b"<no_cpu/>",))  # type: ignore[arg-type]
    summary = Fuzzer(target, seed=1, faults=tmp_path).run(3000)
    assert summary.faults
    assert all(b"<no_cpu/>" in path.read_bytes() for path in tmp_path.iterdir())
    assert f"{len(summary.faults)} crashes" in summary.text()


@pytest.mark.parametrize(
    "reply",
    [
        b"<scheduler_reply>\n<user_name>a<hostid>3</hostid></user_name>\n</scheduler_reply>\n",
        b"<scheduler_reply>\n<user_name>a & b</user_name>\n</scheduler_reply>\n",
        b"<scheduler_reply>\n<user_name>" + b"a" * 256 + b"</user_name>\n</scheduler_reply>\n",
        b"<scheduler_reply>\n<request_delay>nan</request_delay>\n</scheduler_reply>\n",
        b"<scheduler_reply>\n<userid>010</userid>\n</scheduler_reply>\n",
        b"<scheduler_reply>\n<code_sign_key>\n1\n</scheduler_reply>\n",
        b'<scheduler_reply>\n<message priority="a/b">x</message>\n</scheduler_reply>\n',
        b"<scheduler_reply>\n</scheduler_reply>\n<scheduler_reply>\n</scheduler_reply>\n",
        b"<scheduler_reply>\n<team_name>a\0b</team_name>\n</scheduler_reply>\n",
        b"<scheduler_reply>\n<unknown>1</unknown>\n</scheduler_reply>\n",
    ],
)
def test_the_reader_of_replies_refuses_what_a_client_would_misread(reply: bytes) -> None:
    with pytest.raises(Broken):
        read(reply)


def test_command_line() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "upload", "--executions", "300", "--seed", "5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "executions" in run.stdout
    assert "0 crashes" in run.stdout
    assert "max RSS" in run.stdout
    bad = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert bad.returncode == 2
