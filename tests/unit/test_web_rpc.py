"""The cases of web_cases.py on the store in memory, and what needs no second store."""

from __future__ import annotations

from pathlib import Path

import pytest
from web_cases import *  # noqa: F403
from web_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A project without accounts."""
    return World(tmp_path)
