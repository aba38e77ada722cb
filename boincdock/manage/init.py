"""A project of one's own: the folder that `manage.py init` makes, and sample apps for it (spec 05 D2)."""
from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path

import boincdock
from boincdock import names
from boincdock.errors import InputError

CHECKOUT = Path(__file__).resolve().parents[2]
TEMPLATE = CHECKOUT / "example_project"
DOCKERFILE = "images/makeproject/Dockerfile"
APPS_DIR = "images/makeproject/apps"
ROOT_DIR = "images/makeproject/project_root"
_LEFT_OUT = {"new_app", "plugins"}
_APPS_LINE = re.compile(r"(?m)^RUN python3 -m boincdock\.project apps((?: +(?!--from)\S+)*)[ \t]*$")
_APP = re.compile(r"[a-z][a-z0-9_]{0,39}")

_LAUNCHER = '''\
#!/usr/bin/env python3
"""boincdock's manage.py for the project in this folder."""
import os
import sys
from pathlib import Path

checkout = Path(os.environ.get("BOINCDOCK_CHECKOUT") or {checkout!r})
if not (checkout / "manage.py").is_file():
    sys.exit(f"error: boincdock is not in {{checkout}}\\nhint: BOINCDOCK_CHECKOUT says where it is")
os.environ["BOINCDOCK_CHECKOUT"] = str(checkout)
os.environ["BOINCDOCK_ROOT"] = str(Path(__file__).resolve().parent)
os.execv(sys.executable, [sys.executable, str(checkout / "manage.py"), *sys.argv[1:]])
'''


def pinned_version(version: str) -> str:
    """The release a new project is pinned to: this checkout's, unless the operator's settings name one."""
    return boincdock.__version__ if version == "latest" else version


def init(folder: Path, *, project: str, url_base: str, port: str, version: str, tag: str = "", app: str | None = None,
         docker_apps: bool = True) -> list[str]:
    """Make the folder of a new project; a line for each thing in it. All of it or nothing.

    ``app``: also an own app of this name, with a validator. InputError: a name that cannot be used, or the folder
    exists and is not empty.
    """
    names.check_project(project)
    if app is not None and (not _APP.fullmatch(app) or app in ("docker", "worker")):
        raise InputError(f"{app!r} is no usable app name", "a lower-case letter, then letters, digits and _; not docker"
                         " or worker")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already", "choose another name, or remove it")
    if not folder.parent.is_dir():
        raise InputError(f"there is no folder {folder.parent}")
    part = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        shutil.copytree(TEMPLATE, part, ignore=lambda at, found: _LEFT_OUT if Path(at) == TEMPLATE else set())
        shutil.copytree(TEMPLATE / "plugins", part / "plugins")
        _settings(part / ".env", {"URL_BASE": url_base, "PORT": port, "PROJECT": project, "TAG": tag,
                                  "VERSION": pinned_version(version)})
        launcher = part / "manage.py"
        launcher.write_text(_LAUNCHER.format(checkout=str(CHECKOUT)), encoding="utf-8")
        launcher.chmod(0o755)
        (part / ".gitignore").write_text(".boincdock/\n", encoding="utf-8")
        lines = [f"{folder}/.env: PROJECT={project}, {url_base}, boincdock {pinned_version(version)}"]
        if not docker_apps:
            set_sample_apps(part / DOCKERFILE, ["--none"])
            lines.append("no sample apps; ./manage.py create-app adds them")
        if app:
            lines += [f"{folder}/{line}" for line in new_app(part, app)]
        if folder.is_dir():
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: {error.strerror}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return lines


def _settings(path: Path, values: dict[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        text, count = re.subn(rf"(?m)^{key}=.*$", lambda _, k=key, v=value: f"{k}={v}", text)  # type: ignore[misc]
        assert count == 1, key
    path.write_text(text, encoding="utf-8")


def new_app(root: Path, app: str) -> list[str]:
    """Put an own app with its validator into a project folder, to start from; the files' names."""
    made = []
    source = TEMPLATE / "new_app"
    target = root / APPS_DIR / app
    validator = root / ROOT_DIR / "bin" / f"{app}_validator"
    for path in sorted(p for p in source.rglob("*") if p.is_file()):
        relative = path.relative_to(source)
        new = validator if relative == Path("validator") else target / str(relative).replace("@APP@", app)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(path.read_text(encoding="utf-8").replace("@APP@", app), encoding="utf-8")
        new.chmod(path.stat().st_mode & 0o777)
        made.append(new.relative_to(root).as_posix())
    return made


# ---- sample apps -------------------------------------------------------------------------------------------------


def sample_app_names() -> list[str]:
    """The sample apps of boincdock."""
    return sorted(path.parent.name for path in (CHECKOUT / "apps").glob("*/app.toml"))


def chosen_apps(dockerfile: Path) -> list[str]:
    """The words of the project's `apps` line. InputError: there is no such line."""
    try:
        text = dockerfile.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{dockerfile}: {error.strerror}", "create-app works in a project of your own:"
                         " ./manage.py init NAME makes one") from None
    found = _APPS_LINE.findall(text)
    if len(found) != 1:
        raise InputError(f"{dockerfile} has {len(found)} lines `RUN python3 -m boincdock.project apps ...`",
                         "one is needed, after the COPY of project_root")
    return str(found[0]).split()


def set_sample_apps(dockerfile: Path, words: list[str]) -> None:
    """Write the words of the project's `apps` line."""
    chosen_apps(dockerfile)
    line = " ".join(["RUN python3 -m boincdock.project apps", *words])
    text = _APPS_LINE.sub(lambda _: line, dockerfile.read_text(encoding="utf-8"))
    part = dockerfile.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(dockerfile)


def create_app(root: Path, wanted: list[str]) -> list[str]:
    """Add sample apps to a project folder; those that are new. InputError: no such app, or not an own project."""
    unknown = sorted(set(wanted) - set(sample_app_names()))
    if unknown:
        raise InputError(f"there is no sample app {unknown[0]!r}", f"apps: {', '.join(sample_app_names())}")
    dockerfile = root / DOCKERFILE
    if root.resolve() == CHECKOUT:
        raise InputError("this is boincdock itself, not a project of your own", "./manage.py init NAME makes one;"
                         " create-app works there")
    present = chosen_apps(dockerfile)
    fresh = [name for name in dict.fromkeys(wanted) if name not in present]
    if fresh:
        set_sample_apps(dockerfile, [*present, *fresh])
    return fresh
