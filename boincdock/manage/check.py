"""The verb ``check``: the rules that must hold in a project's database and file trees (``bin/check``)."""
from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from boincdock.errors import BoincdockError
from boincdock.manage.cli import json_option, pass_app
from boincdock.manage.compose import Compose
from boincdock.manage.context import App
from boincdock.manage.jobs import from_inside

SHOWN = 10
"""Cases per rule in the table; --json has up to 100."""


def run(compose: Compose, only: Sequence[str], everything: bool, grace: int) -> dict[str, Any]:
    """``{"ok", "rules": [{"rule", "text", "offences": [{"id", "detail"}], "more", "seconds"}]}``; BoincdockError if
    the check itself cannot be made."""
    command = ["bin/check", "--json", "--grace", str(grace)]
    for rule in only:
        command += ["--only", rule]
    if everything:
        command.append("--all")
    result = compose.project_command(*command, check=False)
    # Status 1 says both "something is broken" and "it did not work": the document tells which.
    try:
        found = json.loads(result.text)
        assert isinstance(found["rules"], list)
        return dict(found)
    except (ValueError, TypeError, KeyError, AssertionError):
        if not result.ok:
            raise from_inside(result, "bin/check") from None
        raise BoincdockError("bin/check answered nothing that can be read", "see ./manage.py logs apache") from None


def rules(compose: Compose) -> str:
    """The list of rules, one a line."""
    result = compose.project_command("bin/check", "--list", check=False)
    if not result.ok:
        raise from_inside(result, "bin/check")
    return result.text


def show(console: Console, found: dict[str, Any]) -> None:
    """A table of the broken rules and their cases, and a last line that says how much was checked."""
    broken = [rule for rule in found["rules"] if rule["offences"]]
    if broken:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("rule", "id", "what"):
            table.add_column(column, overflow="fold")
        for rule in broken:
            count = len(rule["offences"])
            number = f"{count} or more" if rule["more"] else str(count)
            against = f"[bold]{number}[/bold] against: {escape(rule['text'])}"
            table.add_row(f"[red]✗[/red] {escape(rule['rule'])}", "", against)
            for offence in rule["offences"][:SHOWN]:
                table.add_row("", str(offence["id"] or ""), escape(str(offence["detail"])))
            if count > SHOWN:
                table.add_row("", "", f"… and {number} in all (--json shows more)")
        console.print(table)
    mark = "[red]✗[/red]" if broken else "[green]✓[/green]"
    console.print(f"{mark} {len(found['rules'])} rules checked, {len(broken)} broken")


@click.command("check")
@click.option("--only", multiple=True, metavar="RULE", help="Check only this rule (repeatable).")
@click.option("--all", "everything", is_flag=True, help="Also rules that do not hold for every project.")
@click.option("--grace", type=click.IntRange(min=0), default=3600, show_default=True,
              help="Seconds that work may be overdue before it counts as stuck.")
@click.option("--list", "listing", is_flag=True, help="Show the rules and exit.")
@json_option
@pass_app
def check(app: App, only: tuple[str, ...], everything: bool, grace: int, listing: bool, as_json: bool) -> None:
    """Look for what should never be: lost results, credit that does not add up, missing files, illegal states.

    Reads the database and the file trees of the running project and changes nothing. Exit status 1 if a rule is broken.
    """
    compose = app.compose()
    if listing:
        click.echo(rules(compose), nl=False)
        return
    found = run(compose, only, everything, grace)
    if as_json:
        app.ui.data(found)
    else:
        show(app.ui.out, found)
    if any(rule["offences"] for rule in found["rules"]):
        raise SystemExit(1)
