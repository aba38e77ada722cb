"""The programs of the sample apps, run as they are: checkpoint, progress, bad input, and the plot of a sweep."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

APPS = Path(__file__).parents[2] / "apps"
MONTECARLO = APPS / "montecarlo" / "files" / "montecarlo.py"


def environment(slot: Path) -> dict[str, str]:
    return {**os.environ, "MONTECARLO_DIR": str(slot), "BOINC_NCPUS": "2", "BOINC_CHECKPOINT_PERIOD": "0"}


def montecarlo(slot: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    slot.mkdir(exist_ok=True)
    if text:
        (slot / "in").write_text(text)
    return subprocess.run([sys.executable, MONTECARLO], env=environment(slot), capture_output=True, text=True,
                          check=False, timeout=60)


def test_montecarlo_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    text = "samples 700000\nseed 3\ndimensions 4\n"
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert montecarlo(whole, text).returncode == 0
    broken.mkdir()
    (broken / "in").write_text(text)
    with subprocess.Popen([sys.executable, MONTECARLO], env=environment(broken), start_new_session=True,
                          stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + 30
        while not (broken / "checkpoint.json").exists() and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        os.killpg(first.pid, signal.SIGKILL)
    assert not (broken / "out").exists(), "it was too fast for this test: give it more samples"
    known = len(json.loads((broken / "checkpoint.json").read_text())["blocks"])
    again = montecarlo(broken)
    assert again.returncode == 0
    assert f"resuming: {known} of 35 blocks are done\n{35 - known} blocks on 2 CPUs" in again.stderr
    assert (broken / "out").read_bytes() == (whole / "out").read_bytes()
    assert float((broken / "fraction_done").read_text()) == 1


@pytest.mark.parametrize("checkpoint", ["", "{", "[]", '{"input": {}, "blocks": {}}', '{"blocks": {"0": 1}}'])
def test_montecarlo_does_without_a_checkpoint_of_no_use(tmp_path: Path, checkpoint: str) -> None:
    (tmp_path / "checkpoint.json").write_text(checkpoint)
    done = montecarlo(tmp_path, "samples 20001\nseed 3\n")
    assert done.returncode == 0 and "resuming" not in done.stderr
    assert "samples 20001\n" in (tmp_path / "out").read_text()


@pytest.mark.parametrize(("text", "says"), [("samples 10\nseeds 3\n", "in:2: "), ("samples\n", "in:1: "),
                                            ("samples 0\n", "in:1: "), ("seed -1\n", "in:1: ")])
def test_montecarlo_names_the_line_of_a_mistake(tmp_path: Path, text: str, says: str) -> None:
    done = montecarlo(tmp_path, text)
    assert done.returncode == 1 and done.stderr.startswith(says)
    assert not (tmp_path / "out").exists()


def test_a_sweep_is_drawn(tmp_path: Path) -> None:
    for name, lines in (("a", "2.0 0.500000\n"), ("b", "3.2 0.513045\n3.2 0.799455\n")):
        (tmp_path / "map" / name).mkdir(parents=True)
        (tmp_path / "map" / name / "out").write_text(lines)
    drawn = subprocess.run([sys.executable, APPS / "sweep" / "plot.py", tmp_path / "map", tmp_path / "map.svg"],
                           capture_output=True, text=True, check=False)
    assert drawn.returncode == 0 and "2 values of r, 3 dots" in drawn.stdout
    assert (tmp_path / "map.svg").read_text().startswith("<svg")
