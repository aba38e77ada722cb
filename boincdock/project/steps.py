"""makeproject: bring the project volume and the database up to date (spec 05 C1, D3, F).

Every step looks at what is there and does what is missing, so the whole can be interrupted anywhere and run
again; a run that finds everything done changes nothing. The signing key is only used on files that come with
the image, never on what web processes could have put into the volume.
"""
from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boincdock
from boincdock.apps.signatures import FOLDER
from boincdock.apps.update_versions import Outcome
from boincdock.config import Project, load_project, parse_config
from boincdock.db import Connection, connect
from boincdock.db import migrate as migrations
from boincdock.errors import BoincdockError, ConfigError, DatabaseError, InputError
from boincdock.project import publish
from boincdock.project import secrets as secret_store
from boincdock.project.render import Renderer, Source, State, collect
from boincdock.project.settings import LIBRARY, STOCK_ROOT, Settings
from boincdock.project.tree import Tree

DATABASE_WAIT = 60.0
DIRECTORIES = {
    "apps": 0o755, "bin": 0o755, "templates": 0o755, "keys": 0o700, "html": 0o755, "html/ops": 0o755,
    "download": 0o2775, "upload": 0o2770, "html/cache": 0o2770, "html/stats": 0o755, "html/stats_archive": 0o755,
    "html/user": 0o755, "html/user/img": 0o755, "html/user_profile": 0o755, "html/user_profile/images": 0o2770,
    "html/languages": 0o2770, "html/project": 0o755, "archives": 0o755,
    "log_{host}": 0o2770, "pid_{host}": 0o2770, "tmp_{host}": 0o2770,
}
"""Spec 05 C2, C3. Web server and daemons run as the same user, so group rights are for operators only."""

_BIN_SCRIPT = """\
#!/usr/bin/python3 -I
# The command {name}; its program is boincdock/bin/{name}.py in the image.
import os
import sys

sys.path.insert(0, "{python}")
here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("BOINC_PROJECT_DIR", here)

from boincdock.bin._run import entry, find_command

entry(find_command("{name}"))
"""


@dataclass
class Run:
    """One run of makeproject: its settings and what it changed."""

    settings: Settings
    secrets_dir: Path = secret_store.SECRETS_DIR
    library: Path = LIBRARY
    stock_root: Path = STOCK_ROOT
    report: Callable[[str], None] = print
    changes: list[str] = field(default_factory=list)
    grace: float = publish.GRACE

    def changed(self, text: str) -> None:
        """Note a change and tell it."""
        self.changes.append(text)
        self.report(text)


def makeproject(run: Run) -> None:
    """All steps in their order; BoincdockError if one cannot be done."""
    tree, vault = Tree(run.settings.volume), Tree(run.secrets_dir)
    try:
        with locked(run.settings.volume):
            values = run.settings.placeholders(secret_store.load_env(vault))
            state = State.load(tree)
            _check_owner(run, state)
            _make_directories(run, tree)
            _render(run, tree, state, values)
            publish.publish_secrets(tree, vault, run.changed)
            project = volume_project(run)
            db = wait_for_database(project, run.report)
            try:
                _prepare_database(run, tree, db)
                publish.publish_upload_keys(tree, vault, db, run.changed)
                _follow_url(run, tree, state, db, project)
                stage_job_files(run, project)
                if follow_keys(run, tree, vault, db, project):
                    register_apps(run, tree, db, project)
            finally:
                db.close()
            mark(run, tree)
    finally:
        tree.close()
        vault.close()


@contextmanager
def locked(volume: Path) -> Iterator[None]:
    """Two makeproject containers never work on one volume at a time."""
    fd = os.open(volume, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BoincdockError("another makeproject has been at work on this project for two minutes",
                                         "wait for it, or remove its container") from None
                time.sleep(0.5)
        yield
    finally:
        os.close(fd)


def _check_owner(run: Run, state: State) -> None:
    if state.project and state.project != run.settings.project:
        raise ConfigError(
            f"this project volume belongs to PROJECT={state.project}, not {run.settings.project}",
            "the name of a project cannot change; set PROJECT back, or use other volumes "
            "(another COMPOSE_PROJECT_NAME) for a new project")
    state.project = run.settings.project


def _make_directories(run: Run, tree: Tree) -> None:
    for name, mode in DIRECTORIES.items():
        tree.make_dir(name.format(host=run.settings.project), mode)


def _bin_scripts(run: Run) -> dict[str, Source]:
    from boincdock.bin import _run

    text = {name: _BIN_SCRIPT.format(name=name, python=run.library / "python") for name in _run.commands()}
    return {f"bin/{name}": Source(body.encode(), 0o755, False) for name, body in text.items()}


def _render(run: Run, tree: Tree, state: State, values: dict[str, str]) -> None:
    sources = _bin_scripts(run)
    sources |= collect(run.settings.image_root, run.stock_root, values)
    renderer = Renderer(tree, state, values)
    # A configuration that cannot be read must not take the place of one that works.
    parse_config(renderer.content("config.xml", sources["config.xml"].data), run.settings.volume,
                 "config.xml of the makeproject image")
    _check_plan_classes(run, sources)
    renderer.run(sources)
    for message in renderer.messages:
        run.report(f"note: {message}")
    if renderer.changed:
        run.changed(f"{len(renderer.changed)} of {len(sources)} project files written")
    _copy_apps(run, tree)


def _check_plan_classes(run: Run, sources: Mapping[str, Source]) -> None:
    """ConfigError, with file and line, for a plan_class_spec.xml that the scheduler could not use."""
    from boincdock.scheduler.plan_check import check_plan_classes

    source = sources.get("plan_class_spec.xml")
    if source is not None:
        found = check_plan_classes(source.data)
        for warning in found.warnings:
            run.report(f"warning: {warning}")
        if found.errors:
            raise ConfigError("; ".join(found.errors), "mend plan_class_spec.xml of the makeproject image, and "
                              "rebuild: ./manage.py up --build")


def _copy_apps(run: Run, tree: Tree) -> None:
    """Show the image's app versions in PROJECT_ROOT/apps; they are published from the image, not from there."""
    copied = 0
    for source in (run.stock_root / "apps", run.settings.image_root / "apps"):
        for path in sorted(source.rglob("*")) if source.is_dir() else []:
            if path.is_file() and not path.is_symlink():
                rel = f"apps/{path.relative_to(source).as_posix()}"
                copied += tree.copy_from(path, rel, 0o755 if path.stat().st_mode & 0o100 else 0o644)
    if copied:
        run.changed(f"{copied} app files copied into the project")


def volume_project(run: Run) -> Project:
    """The project with its folders where the volume is mounted here."""
    project = load_project(run.settings.volume)
    for warning in project.warnings:
        run.report(f"warning: {warning}")
    inside, here = str(run.settings.root), str(run.settings.volume)
    for name in ("download_dir", "upload_dir", "key_dir"):
        value: str = getattr(project.config, name)
        if value == inside or value.startswith(inside + "/"):
            setattr(project.config, name, here + value.removeprefix(inside))
    return project


def wait_for_database(project: Project, report: Callable[[str], None]) -> Connection:
    deadline = time.monotonic() + DATABASE_WAIT
    told = False
    while True:
        db = connect(project.config)
        try:
            db.raw()
            return db
        except DatabaseError as error:
            db.close()
            if time.monotonic() > deadline:
                raise DatabaseError(f"no database after {DATABASE_WAIT:.0f} s: {error.message}",
                                    "look at the log of the service mysql; if the password was changed, start "
                                    "'secrets' and 'mysql' again") from error
            if not told:
                report("waiting for the database")
                told = True
            time.sleep(0.5)


def _prepare_database(run: Run, tree: Tree, db: Connection) -> None:
    for name in migrations.migrate(db):
        run.changed(f"database migration {name} applied")
    tree.write("db_revision", f"{migrations.BOINC_REVISION}\n".encode())


def _follow_url(run: Run, tree: Tree, state: State, db: Connection, project: Project) -> None:
    """Give URLs in the database the new URL_BASE; remembered only once that is committed."""
    old, new = state.database_url_base, run.settings.url_base
    if old == new:
        return
    if old:
        from boincdock.jobs.rebase import rebase_urls

        rebase_urls(db, project, old, new)
        run.changed(f"URLs in the database follow URL_BASE: {old} -> {new}")
    state.database_url_base = new
    state.save(tree)


def follow_keys(run: Run, tree: Tree, vault: Tree, db: Connection, project: Project) -> bool:
    """See ``publish.follow_code_sign``; app versions can be registered if it says True."""
    return publish.follow_code_sign(tree, vault, db, project, run.changed, lambda text: run.report(f"warning: {text}"),
                                    run.grace)


@contextmanager
def image_apps(run: Run, tree: Tree) -> Iterator[Path]:
    """A project folder of links to the app versions of the image, which no web process can change under our
    hands (decision 0063)."""
    with tempfile.TemporaryDirectory(prefix="makeproject-") as name:
        stage = Path(name)
        (stage / "project.xml").write_bytes(tree.read("project.xml") or b"<boinc></boinc>")
        _stage_apps(run, stage)
        yield stage


def publish_versions(run: Run, db: Connection, project: Project, stage: Path, *, dry_run: bool = False) -> Outcome:
    """update_versions on ``stage``/apps, with the keys of the secrets volume; tells the scheduler."""
    from boincdock.apps.update_versions import update_versions

    here = copy.copy(project.config)
    setattr(here, "key_dir", str(run.secrets_dir / "keys"))  # noqa: B010 (options have no stubs)
    outcome = update_versions(db, Project(stage, here), lambda _question: True, lambda _line: None,
                              signed=run.settings.volume / "keys" / FOLDER, dry_run=dry_run)
    if outcome.added and not dry_run:
        with contextlib.suppress(OSError):
            project.trigger("reread_db").touch()
    return outcome


def stage_job_files(run: Run, project: Project) -> None:
    """Publish the image's job_files/: input files that all jobs of an app share, named by its input template as
    constant files (spec 04 section 2.1). InputError names a file whose contents changed under its name."""
    from boincdock.files.staging import stage_file

    folder = run.settings.image_root / "job_files"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.is_file() or path.is_symlink():
            continue
        try:
            staged = stage_file(project, path, copy=True)
        except InputError as error:
            raise InputError(f"job_files/{path.name} of the makeproject image: {error.message}", error.hint) from None
        if staged.is_new:
            run.changed(f"job_files/{path.name} published")


def register_apps(run: Run, tree: Tree, db: Connection, project: Project) -> Outcome:
    """xadd and update_versions with what the image holds."""
    from boincdock.apps.xadd import xadd

    with image_apps(run, tree) as stage:
        added = xadd(db, Project(stage, project.config), run.report)
        outcome = publish_versions(run, db, project, stage)
        for problem in outcome.problems:
            run.report(f"warning: app version not published: {problem}")
        for number, title in outcome.added:
            run.report(f"app version {number}: {title}")
        if added or outcome.added:
            run.changes.append("apps")
            with contextlib.suppress(OSError):
                project.trigger("reread_db").touch()
    return outcome


def _stage_apps(run: Run, stage: Path) -> None:
    """The app versions of the image in one tree of links: the operator's own, and the samples of apps that
    project.xml still names."""
    from boincdock.apps.xadd import parse_project_xml

    _, apps = parse_project_xml((stage / "project.xml").read_text(encoding="utf-8"))
    names = {app.name for app in apps}
    for source in (run.settings.image_root / "apps", run.stock_root / "apps"):
        for folder in sorted(source.glob("*/*/*")) if source.is_dir() else []:
            app, version, platform = folder.relative_to(source).parts
            link = stage / "apps" / app / version / platform
            if folder.is_dir() and not link.exists() and (source.parent != run.stock_root or app in names):
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(folder)
    (stage / "apps").mkdir(exist_ok=True)


def mark(run: Run, tree: Tree) -> None:
    """Touch .built_PROJECT if something changed: the other services then take it up."""
    marker = f".built_{run.settings.project}"
    content = (json.dumps({"version": boincdock.__version__}) + "\n").encode()
    present = tree.read(marker)
    if present is None or present != content or run.changes:
        tree.remove(marker)
        tree.write(marker, content)
