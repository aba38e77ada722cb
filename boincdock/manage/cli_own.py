"""The verbs about a project of one's own: init, create-app; and a volunteer for it: volunteer attach."""
from __future__ import annotations

from pathlib import Path

import click

from boincdock.manage.cli import json_option, pass_app
from boincdock.manage.context import App


@click.command("init")
@click.argument("name")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="The folder (default: ./NAME).")
@click.option("--port", default="80", show_default=True, help="TCP port to publish the project on.")
@click.option("--url-base", help="URL the world reaches this machine by (default: http://127.0.0.1 and the port).")
@click.option("--app", "own_app", metavar="APP", help="Also an own app with a validator, to start from.")
@click.option("--no-docker-apps", is_flag=True, help="Without boincdock's sample apps (create-app adds them later).")
@json_option
@pass_app
def init_command(app: App, name: str, folder: Path | None, port: str, url_base: str | None, own_app: str | None,
                 no_docker_apps: bool, as_json: bool) -> None:
    """Make the folder of a project of your own: images FROM boincdock's, your files copied over ours.

    NAME becomes part of the project's URLs.
    """
    from boincdock import names
    from boincdock.manage import init
    from boincdock.manage.settings import check_port

    check_port(port)
    url = names.check_url_base(url_base or ("http://127.0.0.1" + ("" if port == "80" else f":{port}")))
    settings = app.settings()
    target = folder or Path.cwd() / name
    lines = init.init(target, project=name, url_base=url, port=port, version=settings["VERSION"], tag=settings["TAG"],
                      app=own_app, docker_apps=not no_docker_apps)
    if as_json:
        app.ui.data({"folder": str(target), "project": name, "url": f"{url}/{name}/"})
        return
    for line in lines:
        app.ui.say(line)
    app.ui.say(f"next: cd {target} && ./manage.py up")


@click.command("create-app")
@click.argument("names", nargs=-1)
@json_option
@pass_app
def create_app(app: App, names: tuple[str, ...], as_json: bool) -> None:
    """Add boincdock's sample apps (worker, docker, sweep, montecarlo ...) to this project of your own.

    Without NAMES: which there are, and which this project has. They take effect with the next `up`.
    """
    from boincdock.manage import init

    if not names:
        present = init.chosen_apps(app.root / init.DOCKERFILE) if app.root != init.CHECKOUT else ["worker", "docker"]
        table = {name: name in present for name in init.sample_app_names()}
        if as_json:
            app.ui.data(table)
        else:
            for name, chosen in table.items():
                click.echo(f"{name}{' (in this project)' if chosen else ''}")
        return
    fresh = init.create_app(app.root, list(names))
    if as_json:
        app.ui.data({"added": fresh})
    else:
        app.ui.say(f"added {', '.join(fresh)}; next: ./manage.py up" if fresh else "they are there already")


@click.command("attach")
@json_option
@pass_app
def volunteer_attach(app: App, as_json: bool) -> None:
    """Start it, make an account for it, and attach it to this project."""
    from boincdock.manage.demo import Demo

    compose = app.compose()
    compose.container("apache")
    client = Demo(compose, app.ui).prepare()
    if as_json:
        app.ui.data({"container": client.container, "url": compose.settings.master_url})


COMMANDS: tuple[click.Command, ...] = (init_command, create_app)
VOLUNTEER_COMMANDS: tuple[click.Command, ...] = (volunteer_attach,)
