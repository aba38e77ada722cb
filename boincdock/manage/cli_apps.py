"""The verbs about what volunteers get: app, app version, files."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from boincdock.errors import BoincdockError
from boincdock.manage.cli import json_option, pass_app, with_yes
from boincdock.manage.context import App

flag_value = click.IntRange(0, 1)


def app_options(command: Any) -> Any:
    """Columns of an app that `app add` and `app set` take."""
    for option in reversed((
        click.option("--friendly-name", metavar="TEXT", help="Name that volunteers see."),
        click.option("--weight", type=click.FloatRange(0), help="Share of jobs sent, relative to other apps."),
        click.option("--beta", type=flag_value, help="1: only for volunteers who allow test apps."),
        click.option("--min-version", type=click.IntRange(0), help="Least version number jobs may still use."),
        click.option("--target-nresults", type=click.IntRange(0), help="Above 0: adaptive replication."),
        click.option("--homogeneous-redundancy", type=click.IntRange(0, 2),
                     help="1 or 2: copies of a job go to similar hosts."),
        click.option("--homogeneous-app-version", type=flag_value, help="1: copies of a job use one app version."),
        click.option("--non-cpu-intensive", type=flag_value, help="1: always runs, needs hardly any CPU."),
        click.option("--fraction-done-exact", type=flag_value, help="1: the app's progress can be relied on."),
    )):
        command = option(command)
    return command


def _words(values: dict[str, Any]) -> list[str]:
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]


@click.group("app")
def app_group() -> None:
    """Apps and their versions: what volunteers' computers run."""


@app_group.command("list")
@click.option("--all", "everything", is_flag=True, help="Deprecated apps too.")
@json_option
@pass_app
def app_list(app: App, everything: bool, as_json: bool) -> None:
    """The apps, with how many versions and unfinished results they have."""
    from boincdock.manage import apps, views

    answer = apps.call(app.compose(), "list", *(["--all"] if everything else []))
    app.ui.data(answer) if as_json else views.apps(app.ui.out, answer["apps"])


@app_group.command("show")
@click.argument("name")
@json_option
@pass_app
def app_show(app: App, name: str, as_json: bool) -> None:
    """One app: its settings, its versions and their files."""
    from boincdock.manage import apps, views

    answer = apps.call(app.compose(), "show", name)
    app.ui.data(answer) if as_json else views.app(app.ui.out, answer)


def _report(app: App, answer: dict[str, Any], said: str, as_json: bool) -> None:
    for warning in answer["warnings"]:
        app.ui.warn(warning)
    if as_json:
        app.ui.data(answer)
    else:
        app.ui.say(said if answer["changed"] else "nothing to change")


@app_group.command("add")
@click.argument("name")
@app_options
@json_option
@pass_app
def app_add(app: App, /, name: str, as_json: bool, **values: Any) -> None:
    """Register an app. Versions of it come with `app version add`."""
    from boincdock.manage import apps

    answer = apps.call(app.compose(), "add", name, *_words(values))
    _report(app, answer, f"added {name}; next: ./manage.py app version add DIR", as_json)


@app_group.command("set")
@click.argument("name")
@app_options
@json_option
@pass_app
def app_set(app: App, /, name: str, as_json: bool, **values: Any) -> None:
    """Change settings of an app; they count from the next request on."""
    from boincdock.manage import apps

    _report(app, apps.call(app.compose(), "set", name, *_words(values)), f"changed {name}", as_json)


@app_group.command("deprecate")
@click.argument("name")
@click.option("--undo", is_flag=True, help="Offer it again.")
@with_yes
@json_option
@pass_app
def app_deprecate(app: App, name: str, undo: bool, as_json: bool) -> None:
    """Withdraw an app: no more jobs of it are sent. Nothing is removed."""
    from boincdock.manage import apps

    compose = app.compose()
    if not undo:
        app.ui.confirm(f"Send no more jobs of {name}?")
    answer = apps.call(compose, "deprecate", name, *(["--undo"] if undo else []))
    _report(app, answer, f"{name} is {'offered again' if undo else 'deprecated'}", as_json)


@app_group.group("version")
def version_group() -> None:
    """Versions of apps: add, list, deprecate."""


@version_group.command("list")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Deprecated versions too.")
@json_option
@pass_app
def version_list(app: App, name: str | None, everything: bool, as_json: bool) -> None:
    """Registered versions (of app NAME), newest first."""
    from boincdock.manage import apps, views

    answer = apps.call(app.compose(), "versions", *([name] if name else []), *(["--all"] if everything else []))
    app.ui.data(answer) if as_json else views.versions(app.ui.out, answer["versions"])


@version_group.command("add")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--app", "app_name", help="App; default: from the path.")
@click.option("--version", help="Version, N or N.M; default: from the path.")
@click.option("--platform", help="BOINC platform, e.g. x86_64-pc-linux-gnu; default: from the path.")
@click.option("--plan-class", help="Plan class; default: from the path.")
@click.option("--dry-run", is_flag=True, help="Only check; nothing is signed, staged or registered.")
@with_yes
@json_option
@pass_app
def version_add(app: App, folder: Path, app_name: str | None, version: str | None, platform: str | None,
                plan_class: str | None, dry_run: bool, as_json: bool) -> None:
    """Register the version in FOLDER (…/APP/VERSION/PLATFORM[__PLANCLASS]), or all versions below it.

    Its files are signed, staged and made known in one go: a version is there whole or not at all. The signing key
    stays in a one-shot container; if it is on another machine, see `keys sign`.
    """
    from boincdock.manage import apps

    versions = apps.find_versions(folder, app_name, version, platform, plan_class)
    compose = app.compose()
    if not dry_run:
        app.ui.confirm(f"Publish {', '.join(v.name for v in versions)}? Published files can never be changed.")
    answer = apps.add_versions(compose, versions, dry_run=dry_run)
    for warning in answer["warnings"]:
        app.ui.warn(warning)
    if as_json:
        app.ui.data(answer)
    for added in answer["added"] if not as_json else []:
        app.ui.say(f"would add {added['title']}" if dry_run else f"added {added['title']}: app version {added['id']}")
    if answer["known"] and not as_json:
        app.ui.say(f"{answer['known']} registered already")
    if answer["problems"]:
        raise BoincdockError("\n  ".join(["not published:", *answer["problems"]]))


@version_group.command("deprecate")
@click.argument("version", nargs=-1, required=True)
@click.option("--undo", is_flag=True, help="Offer it again.")
@with_yes
@json_option
@pass_app
def version_deprecate(app: App, version: tuple[str, ...], undo: bool, as_json: bool) -> None:
    """Withdraw a version: an id, or APP VERSION [PLATFORM[__PLANCLASS]]. The next lower one is offered again."""
    from boincdock.manage import apps

    compose = app.compose()
    if not undo:
        app.ui.confirm(f"Withdraw app version {' '.join(version)}?")
    answer = apps.call(compose, "deprecate_version", *version, *(["--undo"] if undo else []))
    _report(app, answer, "offered again" if undo else "withdrawn", as_json)


@click.group("files")
def files_group() -> None:
    """Files that clients download."""


@files_group.command("check")
@click.option("--quick", is_flag=True, help="Compare sizes only, not contents.")
@json_option
@pass_app
def files_check(app: App, quick: bool, as_json: bool) -> None:
    """Is every file there that clients are told to fetch, with the right contents? Exit status 1 if not."""
    from boincdock.manage import apps, views

    answer = apps.check_files(app.compose(), quick=quick)
    app.ui.data(answer) if as_json else views.files(app.ui.out, answer)
    if not answer["ok"]:
        raise SystemExit(1)


COMMANDS: tuple[click.Command, ...] = (app_group, files_group)
