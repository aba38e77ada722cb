"""Files are looked at a few times a second, not several times a request (decision 0118)."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from boincdock.scheduler import stamps


def test_an_answer_holds_for_a_moment_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trigger"
    monkeypatch.setattr(stamps, "RECHECK", 0.2)
    now = [1000.0]
    monkeypatch.setattr(stamps.time, "monotonic", lambda: now[0])
    assert stamps.changed(str(path)) == 0
    path.touch()
    os.utime(path, ns=(5, 7))
    now[0] += 0.19
    assert stamps.changed(str(path)) == 0
    now[0] += 0.02
    assert stamps.changed(str(path)) == 7
    path.unlink()
    now[0] += 0.21
    assert stamps.changed(str(path)) == 0
