"""What the operator sees: steps with a spinner on a terminal, plain lines elsewhere; data goes to stdout."""
from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from boincdock.errors import BoincdockError, InputError


class Step:
    """A step in progress; ``update`` shows what it is at."""

    def __init__(self, title: str, status: Status | None) -> None:
        self._title = title
        self._status = status
        self.note = ""

    def update(self, line: str) -> None:
        """Show the latest line (on a terminal only)."""
        if self._status and (line := line.strip()):
            self._status.update(f"{escape(self._title)} [dim]{escape(line[:100])}[/dim]")


class Ui:
    """The terminal. Progress and messages go to stderr, so that ``--json`` output can be piped."""

    def __init__(self, *, yes: bool = False) -> None:
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)
        # In a pipe nobody's window limits a table.
        self.out = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=250)
        self.yes = yes

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """A step that takes a while; ends with a line saying how long it took."""
        start = time.monotonic()
        if self.err.is_terminal:
            with self.err.status(escape(title)) as status:
                step = Step(title, status)
                yield step
        else:
            self.err.print(f"{escape(title)} ...")
            step = Step(title, None)
            yield step
        note = f": {step.note}" if step.note else ""
        self.err.print(f"[green]✓[/green] {escape(title + note)} [dim]({time.monotonic() - start:.1f} s)[/dim]")

    def say(self, text: str) -> None:
        """A line for the operator (not data)."""
        self.err.print(escape(text))

    def warn(self, text: str) -> None:
        """Something that is not an error but deserves a look."""
        self.err.print(f"[yellow]warning:[/yellow] {escape(text)}")

    def data(self, value: Any) -> None:
        """One JSON document on stdout."""
        click.echo(json.dumps(value, indent=2, sort_keys=True))

    def confirm(self, question: str) -> None:
        """Go on only if the operator agrees (or said --yes); raises InputError otherwise."""
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise InputError(f"{question} Nobody was there to answer.", "--yes goes on without asking")
        if not click.confirm(question, default=False, err=True):
            raise InputError("stopped: nothing was changed")


def report(error: BoincdockError) -> None:
    """The error as two lines on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error:[/bold red] {escape(error.message)}")
    if error.hint:
        console.print(f"[bold]hint:[/bold] {escape(error.hint)}")
