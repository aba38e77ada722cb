"""What docs/keys.md and docs/apps.md show can be typed, and every verb and option of theirs is shown."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from boincdock.manage.cli import cli

DOCS = Path(__file__).parents[2] / "docs"
LINES = [line for name in ("keys.md", "apps.md")
         for line in re.findall(r"(?m)^    (\./manage\.py .*?)(?:\s+#.*)?$", (DOCS / name).read_text("utf-8"))]


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    return command, words


@pytest.mark.parametrize("line", LINES)
def test_what_is_shown_can_be_typed(line: str) -> None:
    command, words = _command(shlex.split(line)[1:])
    assert command.make_context(command.name, words).command is command


@pytest.mark.parametrize("group", ["keys", "app"])
def test_every_verb_is_shown(group: str) -> None:
    shown = {_command(shlex.split(line)[1:])[0] for line in LINES}
    top = cli.commands[group]
    assert isinstance(top, click.Group)
    verbs = [c for c in top.commands.values() if not isinstance(c, click.Group)]
    nested = [c for g in top.commands.values() if isinstance(g, click.Group) for c in g.commands.values()]
    assert set(verbs + nested) <= shown
