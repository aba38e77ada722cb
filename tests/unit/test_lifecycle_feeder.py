"""The feeder takes all options of BOINC's, and says which of them have no effect here (spec 02 section 1.2)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from boincdock.config import Config, Project
from boincdock.lifecycle.daemon import add_common_options
from boincdock.lifecycle.feeder import Feeder


def feeder(tmp_path: Path, *argv: str) -> Feeder:
    parser = argparse.ArgumentParser()
    add_common_options(parser, Feeder)
    database: Any = None
    return Feeder(Project(tmp_path, Config()), database, parser.parse_args(["--one_pass", *argv]))


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["--random_order", "--allapps"], ["--random_order", "--allapps"]),
        (["--by_batch"], ["--by_batch"]),
        (["--priority_asc"], ["--priority_asc"]),
        (["--wmod", "2", "1"], ["--wmod"]),
        (["--purge_stale", "5"], ["--purge_stale"]),
        (["--appids", "1,2"], ["--appids"]),
    ],
)
def test_options_without_effect_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, argv: list[str], named: list[str]
) -> None:
    feeder(tmp_path, *argv)
    assert len(caplog.records) == 1
    assert all(name in caplog.text for name in named)
    assert "no effect" in caplog.text


@pytest.mark.parametrize("argv", [[], ["--priority_order"], ["--priority_order_create_time"], ["--batch_accel"]])
def test_options_that_ask_for_what_is_done_anyway_say_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, argv: list[str]
) -> None:
    feeder(tmp_path, *argv)
    assert not caplog.records
