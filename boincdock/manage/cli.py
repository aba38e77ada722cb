"""manage.py: a complete BOINC project from one command.

Verbs are thin: each reads its options, calls one function of this package, and prints. Errors become one
``error:`` line and one ``hint:`` line, exit status 1; Ctrl-C is silent, status 130.
"""
from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from boincdock import __version__
from boincdock.errors import BoincdockError
from boincdock.manage import ui as ui_module
from boincdock.manage.context import App
from boincdock.manage.doctor import Doctor
from boincdock.manage.shell import Runner

F = TypeVar("F", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
pass_app = click.make_pass_decorator(App)


def with_yes(command: F) -> F:
    """--yes: do not ask."""

    def set_yes(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.find_object(App).ui.yes = True  # type: ignore[union-attr]

    option = click.option("-y", "--yes", is_flag=True, expose_value=False, callback=set_yes, help="Do not ask.")
    return option(command)


build_option = click.option("--build/--no-build", default=None,
                            help="Build images always / never; default: when the sources changed.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group(context_settings=CONTEXT)
@click.option("-v", "--verbose", is_flag=True, help="Show every external command.")
@click.version_option(__version__, prog_name="boincdock")
@click.pass_context
def cli(context: click.Context, verbose: bool) -> None:
    """boincdock: a BOINC project on this machine, with Docker jobs for volunteers.

    Start with `./manage.py up`, then see it work with `./manage.py demo`.
    """
    if context.obj is None:
        context.obj = App(runner=Runner(verbose=verbose))


# ---- the stack ---------------------------------------------------------------------------------------------------


@cli.command()
@click.option("--port", help="TCP port to publish the project on (remembered).")
@click.option("--url-base", help="URL the world reaches this machine by, e.g. https://boinc.example.org (remembered).")
@build_option
@click.option("--timeout", type=click.FloatRange(min=1), default=180.0, show_default=True,
              help="Seconds to wait until healthy (building not counted).")
@pass_app
def up(app: App, port: str | None, url_base: str | None, build: bool | None, timeout: float) -> None:
    """Bring the project up; returns when it is healthy.

    Builds what is missing. With nothing changed it changes nothing.
    """
    app.options |= {"PORT": port, "URL_BASE": url_base}
    stack = app.stack()
    stack.up(build=build, timeout=timeout)
    settings = stack.compose.settings
    app.ui.say(f"{settings['PROJECT']} is up: {settings.master_url}")
    app.ui.say(f"  operators: {settings.ops_url} (password: ./manage.py secrets show)")
    app.ui.say("  next:      ./manage.py demo, or ./manage.py create-work IMAGE COMMAND ...")


@cli.command()
@click.option("-v", "--volumes", is_flag=True, help="Erase the database, results, project folder and secrets too.")
@with_yes
@pass_app
def down(app: App, volumes: bool) -> None:
    """Stop the project. Data and secrets stay, unless -v says otherwise."""
    stack = app.stack()
    if any(c.service == "volunteer" for c in stack.compose.containers()):
        app.volunteer().stop()
    stack.down(volumes=volumes)


@cli.command()
@json_option
@pass_app
def status(app: App, as_json: bool) -> None:
    """Services, daemons and queue counts. Exit status 1 if the project is not healthy."""
    from boincdock.manage import views

    report = app.stack().status()
    if as_json:
        app.ui.data(report)
    else:
        views.status(app.ui.out, report)
    if not report["healthy"]:
        raise SystemExit(1)


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@pass_app
def logs(app: App, arguments: tuple[str, ...]) -> None:
    """The services' logs; takes docker-compose's options and service names (`logs -f daemons`)."""
    raise SystemExit(app.compose().interactive("logs", *(arguments or ("--tail=100",))))


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_app
def shell(app: App, command: tuple[str, ...]) -> None:
    """A shell in the project folder, in the apache container (or one COMMAND there)."""
    compose = app.compose()
    argv = compose.engine.exec_argv(
        compose.container("apache").id, command or ("bash",), tty=sys.stdin.isatty() and sys.stdout.isatty(),
        workdir=compose.settings["PROJECT_ROOT"], user=compose.settings["BOINC_USER"], stdin=True,
    )
    raise SystemExit(app.runner.interactive(argv))


@cli.command("compose", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@pass_app
def compose_command(app: App, arguments: tuple[str, ...]) -> None:
    """docker-compose with this project's settings, remembered ones included."""
    raise SystemExit(app.compose().interactive(*arguments))


@cli.command()
@json_option
@pass_app
def doctor(app: App, as_json: bool) -> None:
    """What is missing on this machine, and how to mend it. Exit status 1 if something is."""
    from boincdock.manage import views

    findings = Doctor(app.runner, app.settings()).run()
    if as_json:
        app.ui.data([vars(finding) for finding in findings])
    else:
        views.findings(app.ui.out, findings)
    if any(finding.level == "error" for finding in findings):
        raise SystemExit(1)


# ---- secrets -----------------------------------------------------------------------------------------------------


@cli.group("secrets")
def secrets_group() -> None:
    """Passwords and keys: show, back up (encrypted), restore."""


@secrets_group.command("show")
@json_option
@pass_app
def secrets_show(app: App, as_json: bool) -> None:
    """Passwords an operator needs, and the fingerprints of the keys. Never the keys themselves."""
    from boincdock.manage import secrets, views

    shown = secrets.summary(secrets.SecretsVolume(app.compose(), app.ui))
    if as_json:
        app.ui.data(shown)
    else:
        views.secrets(app.ui.out, shown)


def _passphrase(path: str | None, *, twice: bool) -> str:
    """From --passphrase-file, $BOINCDOCK_PASSPHRASE, or the terminal."""
    from boincdock.manage import secrets

    if path:
        return secrets.read_passphrase(path)
    if "BOINCDOCK_PASSPHRASE" in os.environ:
        return os.environ["BOINCDOCK_PASSPHRASE"]
    if not sys.stdin.isatty():
        raise BoincdockError("no passphrase", "use --passphrase-file FILE, or set BOINCDOCK_PASSPHRASE")
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True))


passphrase_option = click.option(
    "--passphrase-file", type=click.Path(exists=True, dir_okay=False),
    help="File whose first line is the passphrase (or set BOINCDOCK_PASSPHRASE).",
)


@secrets_group.command("backup")
@click.argument("file", type=click.Path(dir_okay=False))
@passphrase_option
@pass_app
def secrets_backup(app: App, file: str, passphrase_file: str | None) -> None:
    """Write all secrets and keys to FILE, encrypted with a passphrase."""
    from pathlib import Path

    from boincdock.manage.secrets import SecretsVolume

    volume = SecretsVolume(app.compose(), app.ui)
    count = volume.backup(Path(file), _passphrase(passphrase_file, twice=True))
    app.ui.say(f"{count} secrets saved in {file}; keep it and its passphrase in different places")


@secrets_group.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@passphrase_option
@with_yes
@pass_app
def secrets_restore(app: App, file: str, passphrase_file: str | None) -> None:
    """Put the secrets of a backup in place: before the first `up`, or after `down`."""
    from pathlib import Path

    from boincdock.manage.secrets import SecretsVolume

    volume = SecretsVolume(app.compose(), app.ui)
    count = volume.restore(Path(file), _passphrase(passphrase_file, twice=False))
    app.ui.say(f"{count} secrets restored; go on with: ./manage.py up")


# ---- demo, volunteer, tests --------------------------------------------------------------------------------------


@cli.command()
@click.option("--timeout", type=click.FloatRange(min=10), default=240.0, show_default=True,
              help="Seconds the jobs may take.")
@build_option
@json_option
@pass_app
def demo(app: App, timeout: float, build: bool | None, as_json: bool) -> None:
    """A volunteer, two Docker jobs, from submission to credit. Brings the project up if it is down."""
    from boincdock.manage import views
    from boincdock.manage.demo import Demo

    stack = app.stack()
    stack.up(build=build)
    finished = Demo(stack.compose, app.ui, timeout).run()
    if as_json:
        app.ui.data({"jobs": finished})
    else:
        views.demo(app.ui.out, finished)
    app.ui.say("The volunteer goes on computing for this project; to stop it: ./manage.py volunteer stop")


@cli.group()
def volunteer() -> None:
    """A stock BOINC client (8.2.15) in a container on this machine."""


@volunteer.command("start")
@pass_app
def volunteer_start(app: App) -> None:
    """Start it; `demo` also attaches it."""
    app.volunteer().start()


@volunteer.command("stop")
@pass_app
def volunteer_stop(app: App) -> None:
    """Stop it and remove its data."""
    app.volunteer().stop()


@cli.command("test", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--quick", is_flag=True, help="Only lint and unit: seconds, no Docker.")
@pass_app
def test_command(app: App, arguments: tuple[str, ...], quick: bool) -> None:
    """Run the tests: all tiers, or the named ones (lint unit db wrapper stack e2e).

    Anything else goes to pytest: `./manage.py test unit -k settings -x`.
    """
    from boincdock.manage.testrunner import TestRun

    raise SystemExit(TestRun(app, list(arguments), quick=quick).run())


def _register() -> None:
    """The verbs that have modules of their own."""
    from boincdock.manage import check, cli_apps, cli_jobs, cli_keys, cli_own

    for command in (*cli_jobs.COMMANDS, *cli_own.COMMANDS, *cli_apps.COMMANDS, *cli_keys.COMMANDS):
        cli.add_command(command)
    for command in cli_own.VOLUNTEER_COMMANDS:
        volunteer.add_command(command)
    cli.add_command(check.check)
    secrets_group.add_command(cli_keys.secrets_rotate)


_register()


def main(arguments: Sequence[str] | None = None, app: App | None = None) -> int:
    """Run manage.py; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        outcome = cli.main(args=words, prog_name="manage.py", obj=app, standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except BoincdockError as error:
        ui_module.report(error)
        return 1
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        message = error.format_message()
        usage = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "manage.py"
        ui_module.report(BoincdockError(message, f"see {usage} --help"))
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as request:
        return request.code if isinstance(request.code, int) else int(request.code is not None)
    except Exception as error:
        if "-v" in words or "--verbose" in words or os.environ.get("BOINCDOCK_TRACEBACK"):
            traceback.print_exc()
        ui_module.report(BoincdockError(f"{type(error).__name__}: {error}",
                                        "this is a defect of boincdock; BOINCDOCK_TRACEBACK=1 shows where it happened"))
        return 1
