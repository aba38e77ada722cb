"""The verbs about work: create-work, jobs, batch."""
from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from boincdock.errors import BoincdockError, InputError
from boincdock.manage.cli import json_option, pass_app, with_yes
from boincdock.manage.compose import Compose
from boincdock.manage.context import App
from boincdock.manage.submit import BatchChoice, Created, NewJob

timeout_option = click.option("--timeout", type=click.FloatRange(min=1), default=86400.0,
                              help="Seconds to wait (with --wait).")
names_argument = click.argument("names", nargs=-1)


class DockerRun(click.Command):
    """A command whose own options may stand anywhere among the options before IMAGE."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, with our options moved to the front."""
        from boincdock.manage import jobs

        ours = {name.lstrip("-") for option in self.get_params(ctx) for name in option.opts if name.startswith("-")}
        return super().parse_args(ctx, jobs.ours_first(args, ours))


@click.command("create-work", cls=DockerRun,
               context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--app", "app_name", help="An app other than the universal Docker one, e.g. worker.")
@click.option("--input", "inputs", multiple=True, metavar="FILE[:NAME]", help="Input file (repeatable).")
@click.option("-v", "--volume", "volumes", multiple=True, metavar="FILE:PATH",
              help="Input file, or all files of a folder, at PATH in the container (repeatable).")
@click.option("--env-file", "env_files", multiple=True, metavar="FILE",
              help="Variables, NAME=VALUE lines (repeatable).")
@click.option("--dockerfile", type=click.Path(path_type=Path), help="Build this instead of an IMAGE.")
@click.option("--ship", is_flag=True, help="Send IMAGE along, through the project: for private images and volunteers "
                                           "without a registry.")
@click.option("--name", help="Name of the job (of the batch, if there are several jobs).")
@click.option("--jobs", "folder", type=click.Path(path_type=Path), metavar="DIR",
              help="A job for each sub-folder of DIR (or of a .tgz or .zip): its files are inputs, its file `cmdline` "
                   "ends the command.")
@click.option("--each", "table", type=click.Path(path_type=Path), metavar="CSV",
              help="A job for each row: columns become variables, {COLUMN} in the command the value.")
@click.option("--batch", help="Batch to put the jobs into: number of an existing one, or name of a new one.")
@click.option("--no-check", is_flag=True, help="Do not look whether the image exists or the Dockerfile builds.")
@click.option("--wait", is_flag=True, help="Wait until all is done; exit status 1 if a job fails.")
@click.option("--follow", is_flag=True, help="As --wait; then print what the job wrote to standard output and error.")
@click.option("--results", "dest", type=click.Path(path_type=Path), metavar="FOLDER",
              help="As --wait; then bring the outputs to FOLDER.")
@timeout_option
@json_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@pass_app
def create_work(app: App, /, **options: Any) -> None:
    """Create jobs, as with `docker run`: create-work [OPTIONS] IMAGE [COMMAND ...].

    What the container writes to /root/shared/results comes back as results.tgz; --output '*.csv' chooses. Options
    before IMAGE may also be those of bin/docker_create_work (-e, -w, --entrypoint, --memory, --cpus, --gpus,
    --priority ...); with --app, the rest are options of bin/create_work.

    \b
      ./manage.py create-work python:alpine python -c "print('Hello BOINC')"
      ./manage.py create-work -v data.csv:/data.csv -e N=3 --follow my/image analyse /data.csv
      ./manage.py create-work --each params.csv --batch sweep debian:trixie-slim sh -c 'echo $X'
      ./manage.py create-work --app worker --input text.txt --results out
    """
    from boincdock.manage import submit

    new, batch, warnings = _new_jobs(options)
    compose = app.compose()
    if not options["no_check"] and not options["ship"]:
        warnings += _checks(compose, new)
    for warning in warnings:
        app.ui.warn(warning)
    with contextlib.ExitStack() as stack:
        if options["ship"]:
            new = _shipped(app, compose, new, stack)
        all_jobs = stack.enter_context(_Folders(options["folder"], new))
        if options["name"] and not batch:
            all_jobs = [replace(job, name=options["name"]) for job in all_jobs]
        made = submit.submit(compose, all_jobs, batch)
    _after(app, compose, made, options)


def _new_jobs(options: dict[str, Any]) -> tuple[list[NewJob], BatchChoice | None, list[str]]:
    """The jobs that the command line describes (one, or one for each row of a table), and their batch."""
    from boincdock.manage import submit

    words: tuple[str, ...] = options["arguments"]
    if not options["app_name"] and not options["dockerfile"] and not submit.image_of(words):
        raise BoincdockError("which image?", "./manage.py create-work IMAGE [COMMAND ...]; see create-work --help")
    if options["app_name"] and (options["volumes"] or options["dockerfile"] or options["env_files"]):
        raise InputError("-v, --dockerfile and --env-file are for Docker jobs, not for --app")
    if options["folder"] and options["table"]:
        raise InputError("--jobs and --each exclude each other")
    base = NewJob((*submit.read_env_files(options["env_files"]), *words),
                  submit.inputs(options["inputs"], options["volumes"]), app=options["app_name"] or "",
                  dockerfile=options["dockerfile"])
    new = submit.from_table(options["table"], base) if options["table"] else [base]
    source = options["folder"] or options["table"]
    wanted = options["batch"] or ((options["name"] or _stem(source)) if source else None)
    if wanted is None:
        return new, None, []
    if wanted.isascii() and wanted.isdigit():
        return new, BatchChoice(id=int(wanted)), []
    return new, BatchChoice(name=wanted), []


def _shipped(app: App, compose: Compose, new: Sequence[NewJob], stack: contextlib.ExitStack) -> list[NewJob]:
    """The jobs with their IMAGE as a file instead of a name."""
    from boincdock.manage import submit

    images = {submit.image_of(job.args) for job in new}
    if len(images) > 1 or "" in images or new[0].app or new[0].dockerfile:
        raise InputError("--ship needs one IMAGE for all jobs, without --app and --dockerfile")
    image = images.pop()
    with app.ui.step(f"Saving image {image}") as step:
        path = stack.enter_context(submit.saved_image(compose, image))
        step.note = f"{path.stat().st_size / 1e6:.0f} MB"
    return [replace(job, args=submit.without_image(job.args), image=path) for job in new]


def _stem(path: Path) -> str:
    return path.resolve().name.partition(".")[0] or "batch"


def _checks(compose: Compose, new: Sequence[NewJob]) -> list[str]:
    """What can be found out before the jobs exist; warnings, or InputError."""
    from boincdock.manage import submit

    first = new[0]
    if first.app:
        return []
    if first.dockerfile:
        submit.check_dockerfile(compose, first)
        return []
    images = dict.fromkeys(submit.image_of(job.args) for job in new)
    return [warning for image in images if (warning := submit.check_image(compose, image))]


class _Folders:
    """The jobs of --jobs DIR while its folders are there; the given ones without it."""

    def __init__(self, folder: Path | None, new: list[NewJob]) -> None:
        from boincdock.manage import submit

        self._context = submit.job_folders(folder) if folder else None
        self._new = new

    def __enter__(self) -> list[NewJob]:
        from boincdock.manage import submit

        if self._context is None:
            return self._new
        return [submit.from_folder(each, self._new[0]) for each in self._context.__enter__()]

    def __exit__(self, *error: Any) -> None:
        if self._context is not None:
            self._context.__exit__(*error)


def _after(app: App, compose: Compose, made: Created, options: dict[str, Any]) -> None:
    """Say what was made, or wait for it and show or fetch what came of it."""
    if options["wait"] or options["follow"] or options["dest"]:
        done = _wait(app, compose, made.names, options["timeout"], made.batch, as_json=options["as_json"],
                     quiet=options["follow"] or bool(made.batch))
        if options["follow"]:
            _print_streams(compose, done)
        if options["dest"]:
            _bring(app, compose, done, options["dest"], (), True, False)
        _exit_if_failed(done)
    elif options["as_json"]:
        app.ui.data({"batch": made.batch, "jobs": made.jobs} if made.batch else made.jobs[0])
    elif made.batch:
        click.echo(made.batch)
        app.ui.say(f"created {len(made.jobs)} jobs in batch {made.batch}; follow them with: ./manage.py batch show "
                   f"{made.batch} --wait")
    else:
        click.echo(made.names[0])
        app.ui.say(f"created; follow it with: ./manage.py jobs --wait {made.names[0]}")


def _wait(app: App, compose: Compose, names: list[str], timeout: float, batch: int = 0, *, as_json: bool = False,
          quiet: bool = False) -> list[dict[str, Any]]:
    """Wait for jobs, or for a batch; the jobs as ``query`` describes them, shown unless ``quiet``."""
    from boincdock.manage import jobs, views

    hurry = app.volunteer().hurry()
    if batch:
        with views.following_batch(app.ui, batch) as changed:
            jobs.wait_batch(compose, batch, timeout, changed, hurry)
        done = jobs.of_batch(compose, batch)
    else:
        with views.following(app.ui, names) as followed:
            done = jobs.wait(compose, names, timeout, followed, hurry)
    if as_json:
        app.ui.data({"jobs": done})
    elif not quiet:
        views.jobs(app.ui.out, {"jobs": done}, details=True)
    return done


def _exit_if_failed(done: Sequence[dict[str, Any]]) -> None:
    if any(job["state"] == "error" for job in done):
        raise SystemExit(1)


def _print_streams(compose: Compose, done: Sequence[dict[str, Any]]) -> None:
    from boincdock.manage import results

    for job in done:
        out, err = results.streams(compose, job)
        click.echo(out, nl=False)
        click.echo(err, nl=bool(err) and not err.endswith("\n"), err=True)


def _bring(app: App, compose: Compose, done: Sequence[dict[str, Any]], dest: Path, patterns: Sequence[str],
           unpack: bool, as_json: bool) -> None:
    from boincdock.manage import results

    with app.ui.step(f"Bringing outputs to {dest}") as step:
        brought = results.fetch(compose, done, dest, patterns=patterns, unpack=unpack)
        step.note = f"{brought.count} files of {len(brought.files)} jobs"
    for warning in brought.warnings:
        app.ui.warn(warning)
    if as_json:
        app.ui.data({name: [str(path) for path in paths] for name, paths in brought.files.items()})


# ---- jobs --------------------------------------------------------------------------------------------------------


class JobsGroup(click.Group):
    """`jobs` alone lists, `jobs NAME` shows: as before there were sub-commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, with `list` or `show` put in where no sub-command is named."""
        if not (args and (args[0] in self.commands or args[0] in ("-h", "--help"))):
            named = "--wait" not in args and any(not word.startswith("-") for word in _plain(args))
            args = ["show" if named else "list", *args]
        return super().parse_args(ctx, args)


def _plain(args: Sequence[str]) -> list[str]:
    """The words that are no options' values."""
    valued = {"--state", "--limit", "--timeout", "--batch"}
    return [word for before, word in zip(("", *args), args, strict=False) if before not in valued]


@click.group("jobs", cls=JobsGroup)
def jobs_group() -> None:
    """Jobs: list, show, cancel them, bring their results. Without a word: the newest ones."""


@jobs_group.command("list")
@names_argument
@click.option("--state", help="Only jobs in this state (unsent, in_progress, validating, assimilating, done, error).")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@click.option("--batch", help="All jobs of this batch (number or name).")
@click.option("--wait", is_flag=True, help="Wait until they are done; exit status 1 if one fails.")
@timeout_option
@json_option
@pass_app
def jobs_list(app: App, names: tuple[str, ...], state: str | None, limit: int, batch: str | None, wait: bool,
              timeout: float, as_json: bool) -> None:
    """The newest jobs; --wait follows the unfinished ones (or the named ones)."""
    from boincdock.manage import jobs, views

    compose = app.compose()
    found: dict[str, Any] = {"jobs": []}
    if batch is not None:
        found = {"jobs": jobs.of_batch(compose, batch, state=state)}
    elif not (wait and names):
        found = jobs.query(compose, names, state=state, limit=limit)
    if not wait:
        if as_json:
            app.ui.data(found)
        else:
            views.jobs(app.ui.out, found)
        return
    open_names = list(names) or [job["name"] for job in found["jobs"] if job["state"] not in jobs.FINAL]
    if not open_names:
        app.ui.say("no unfinished jobs")
        return
    _exit_if_failed(_wait(app, compose, open_names, timeout, as_json=as_json))


@jobs_group.command("show")
@click.argument("names", nargs=-1, required=True)
@click.option("--state", help="Only those in this state.")
@json_option
@pass_app
def jobs_show(app: App, names: tuple[str, ...], state: str | None, as_json: bool) -> None:
    """Jobs with their instances, outputs and errors."""
    from boincdock.manage import jobs, views

    answer = jobs.query(app.compose(), names, state=state)
    if as_json:
        app.ui.data(answer)
    else:
        views.jobs(app.ui.out, answer, details=True)


@jobs_group.command("cancel")
@click.argument("names", nargs=-1, required=True)
@with_yes
@json_option
@pass_app
def jobs_cancel(app: App, names: tuple[str, ...], as_json: bool) -> None:
    """Cancel jobs: unsent instances are over, running ones are aborted at their host's next contact."""
    from boincdock.manage import jobs

    compose = app.compose()
    if len(names) > 1:
        app.ui.confirm(f"Cancel {len(names)} jobs?")
    count = jobs.cancel(compose, names)
    if as_json:
        app.ui.data({"cancelled": count})
    else:
        rest = "" if count == len(names) else ": the others were over"
        app.ui.say(f"cancelled {count} of {len(names)} jobs{rest}")


@jobs_group.command("results")
@names_argument
@click.option("--batch", help="All jobs of this batch (number or name).")
@click.option("--to", "dest", type=click.Path(path_type=Path), default=Path("results"), show_default=True,
              metavar="FOLDER", help="Where to: files come to FOLDER/JOB/.")
@click.option("--only", "patterns", multiple=True, metavar="PATTERN", help="Only files such as '*.csv' (repeatable).")
@click.option("--unpack/--no-unpack", default=True, help="Unpack results.tgz (default), or leave archives as they are.")
@json_option
@pass_app
def jobs_results(app: App, names: tuple[str, ...], batch: str | None, dest: Path, patterns: tuple[str, ...],
                 unpack: bool, as_json: bool) -> None:
    """Bring the outputs of finished jobs to a folder here. Exit status 1 if a named job is not done."""
    from boincdock.manage import jobs

    if bool(names) == bool(batch):
        raise InputError("which jobs?", "give names, or --batch")
    compose = app.compose()
    found = jobs.of_batch(compose, batch) if batch else jobs.query(compose, names)["jobs"]
    _bring(app, compose, [job for job in found if job["outputs"]], dest, patterns, unpack, as_json)
    unfinished = [job["name"] for job in found if job["state"] != "done"]
    if unfinished:
        app.ui.warn(f"{len(unfinished)} of {len(found)} jobs are not done: {', '.join(unfinished[:5])}"
                    + (" …" if len(unfinished) > 5 else ""))
        if names:
            raise SystemExit(1)


# ---- batches -----------------------------------------------------------------------------------------------------


@click.group("batch")
def batch_group() -> None:
    """Batches: jobs that belong together."""


@batch_group.command("create")
@click.argument("name")
@click.option("--description", default="", help="What it is for.")
@json_option
@pass_app
def batch_create(app: App, name: str, description: str, as_json: bool) -> None:
    """An empty batch; prints its number, for create-work --batch."""
    from boincdock.manage import jobs

    made = jobs.batch(app.compose(), "create", "--description", description, name)
    if as_json:
        app.ui.data(made)
    else:
        click.echo(made["id"])


@batch_group.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@json_option
@pass_app
def batch_list(app: App, limit: int, as_json: bool) -> None:
    """The newest batches."""
    from boincdock.manage import jobs, views

    found = jobs.batch(app.compose(), "list", "--limit", str(limit))
    if as_json:
        app.ui.data(found)
    else:
        views.batches(app.ui.out, found["batches"])


@batch_group.command("show")
@click.argument("batch")
@click.option("--wait", is_flag=True, help="Wait until all jobs are over; exit status 1 if one failed.")
@timeout_option
@json_option
@pass_app
def batch_show(app: App, batch: str, wait: bool, timeout: float, as_json: bool) -> None:
    """How far a batch (number or name) is."""
    from boincdock.manage import jobs, views

    compose = app.compose()
    found = jobs.batch(compose, "show", batch)
    if wait:
        with views.following_batch(app.ui, found["id"]) as changed:
            found = jobs.wait_batch(compose, found["id"], timeout, changed, app.volunteer().hurry())
    if as_json:
        app.ui.data(found)
    else:
        views.batches(app.ui.out, [found])
    if wait and found["counts"]["error"]:
        raise SystemExit(1)


def _end_batch(app: App, command: str, batch: str, question: str, as_json: bool) -> None:
    from boincdock.manage import jobs

    compose = app.compose()
    found = jobs.batch(compose, "show", batch)
    app.ui.confirm(f"{question} batch {found['id']} ({found['name']}, {found['njobs']} jobs)?")
    ended = jobs.batch(compose, command, str(found["id"]))
    if as_json:
        app.ui.data(ended)
    else:
        app.ui.say(f"batch {ended['id']} is {ended['state']}; {ended['cancelled']} jobs cancelled")


@batch_group.command("abort")
@click.argument("batch")
@with_yes
@json_option
@pass_app
def batch_abort(app: App, batch: str, as_json: bool) -> None:
    """Cancel what is not finished. Finished jobs and their outputs stay."""
    _end_batch(app, "abort", batch, "Abort", as_json)


@batch_group.command("retire")
@click.argument("batch")
@with_yes
@json_option
@pass_app
def batch_retire(app: App, batch: str, as_json: bool) -> None:
    """The batch is not needed any more: its outputs under /results are removed, what runs is cancelled."""
    _end_batch(app, "retire", batch, "Remove all outputs of", as_json)


COMMANDS: tuple[click.Command, ...] = (create_work, jobs_group, batch_group)
