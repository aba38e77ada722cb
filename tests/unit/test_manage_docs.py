"""Every verb is explained by --help and mentioned in the README; what the README shows can be typed."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from boincdock.manage.cli import cli

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
LINES = re.findall(r"(?m)^    (\./manage\.py .*?)(?:\s+#.*)?$", README)


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += _commands(command, (*path, name))
        else:
            found.append(((*path, name), command))
    return found


@pytest.mark.parametrize(("path", "command"), _commands(cli), ids=lambda value: "-".join(value)
                         if isinstance(value, tuple) else "")
def test_each_verb_is_documented(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{path}: {option.name} has no help"
    assert re.search(rf"`[^`]*\b{path[0]}\b[^`]*`", README), f"README does not mention {path[0]}"
    assert all(word in README for word in path)


@pytest.mark.parametrize("line", LINES)
def test_what_the_readme_shows_can_be_typed(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    readable = [word if not word.endswith(".backup") else __file__ for word in words]
    context = command.make_context(command.name, readable, resilient_parsing=False)
    assert context.command is command


def test_the_readme_shows_something() -> None:
    assert len(LINES) >= 8
