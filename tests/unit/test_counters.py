"""Counters in mapped files: nothing lost by kill -9, nothing twice, no heap of files (decision 0095)."""
from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from boincdock import counters
from boincdock.counters import BUCKETS, SCHEDULER, UPLOAD, Counters, Layout, read

ROOT = Path(__file__).resolve().parents[2]


def outcome(directory: Path, name: str, layout: Layout = SCHEDULER) -> list[float]:
    """The histogram's classes and the sum of seconds."""
    at = layout.outcomes.index(name) * layout.width
    return read(directory, layout)[at : at + layout.width]


def test_counts_durations_and_numbers(tmp_path: Path) -> None:
    one = Counters(tmp_path / "c", SCHEDULER)
    one.count("jobs", 0.004, jobs_sent=3, results_reported=0)
    one.count("jobs", 0.005)
    one.count("jobs", 0.0051)
    one.count("failed", 1000.0, bytes_received=7)
    row = outcome(tmp_path / "c", "jobs")
    assert row[BUCKETS.index(0.005)] == 2  # an upper bound belongs to its class
    assert row[BUCKETS.index(0.01)] == 1
    assert row[-1] == pytest.approx(0.0141)
    assert outcome(tmp_path / "c", "failed")[len(BUCKETS)] == 1
    assert read(tmp_path / "c", SCHEDULER)[-3:] == [3, 0, 7]


def test_processes_have_slots_of_their_own_and_the_dead_ones_are_taken_over(tmp_path: Path) -> None:
    first, second = Counters(tmp_path, UPLOAD), Counters(tmp_path, UPLOAD)
    first.count("stored", 0.1)
    second.count("stored", 0.1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["upload.0", "upload.1"]
    first.close()
    third = Counters(tmp_path, UPLOAD)
    third.count("stored", 0.1)
    assert sum(outcome(tmp_path, "stored", UPLOAD)[:-1]) == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_kill_9_loses_nothing_and_leaks_no_file(tmp_path: Path) -> None:
    code = ("import sys, pathlib; from boincdock.counters import *\n"
            "c = Counters(pathlib.Path(sys.argv[1]), SCHEDULER)\n"
            "for _ in range(1000): c.count('no_jobs', 0.01, bytes_received=10)\n"
            "print('counted', flush=True)\n"
            "import time; time.sleep(60)")
    for life in range(1, 4):
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE,
                                 text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "counted\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert sum(outcome(tmp_path, "no_jobs")[:-1]) == 1000 * life
    assert [p.name for p in tmp_path.iterdir()] == ["scheduler.0"]
    assert read(tmp_path, SCHEDULER)[-1] == 30000


def test_threads_lose_no_count(tmp_path: Path) -> None:
    shared = Counters(tmp_path, UPLOAD)

    def work() -> None:
        for _ in range(5000):
            shared.count("query", 0.0001, bytes_received=1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcome(tmp_path, "query", UPLOAD)[:-1]) == 20000
    assert read(tmp_path, UPLOAD)[-1] == 20000


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * SCHEDULER.file_size, b"\0" * (1 << 20)])
def test_a_damaged_or_older_file_begins_again_at_zero(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "scheduler.0").write_bytes(damage)
    assert sum(read(tmp_path, SCHEDULER)) == 0
    Counters(tmp_path, SCHEDULER).count("contact", 0.5)
    assert sum(outcome(tmp_path, "contact")[:-1]) == 1
    assert (tmp_path / "scheduler.0").stat().st_size == SCHEDULER.file_size


def test_without_a_usable_directory_nothing_breaks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "c").write_text("a file")
    Counters(tmp_path / "c", SCHEDULER).count("jobs", 0.1, jobs_sent=1)
    assert "nothing is counted" in caplog.text
    known = Counters(tmp_path / "d", SCHEDULER)
    known.count("no such outcome", 0.1, jobs_sent=1)
    known.count("jobs", 0.1, no_such_number=1)
    assert sum(read(tmp_path / "d", SCHEDULER)) == pytest.approx(1.1)
    assert sum(read(tmp_path / "none", SCHEDULER)) == 0


def test_a_full_disk_is_noticed_before_the_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    Counters(tmp_path, SCHEDULER).count("jobs", 0.1)
    assert sum(read(tmp_path, SCHEDULER)) == 0


def test_cost_of_a_count_and_mode_of_the_file(tmp_path: Path) -> None:
    one = Counters(tmp_path, SCHEDULER)
    began = time.thread_time()
    for _ in range(20000):
        one.count("jobs", 0.004, jobs_sent=1, results_reported=2, bytes_received=9000)
    assert (time.thread_time() - began) / 20000 < 20e-6
    assert stat.S_IMODE((tmp_path / "scheduler.0").stat().st_mode) & 0o022 == 0
    assert counters.directory_of(Path("/p/tmp_x")) == Path("/p/tmp_x/counters")
