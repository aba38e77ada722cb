"""python3 -m boincdock.project {secrets|makeproject|serve|samples|apps|check}: what the containers run.

secrets      fill what is missing in the secrets volume; copy the database password to its own volume
makeproject  bring project folder and database up to date
serve        run the web server of the apache service
samples      while the image is built: add the sample apps to the default project folder
apps         while an operator's image is built: `apps NAME ...` adds sample apps to PROJECT_ROOT, `apps --none
             [NAME ...]` takes the others out, `apps --from FOLDER` adds the operator's own (FOLDER/APP/app.toml)
check        only check URL_BASE, PROJECT, BOINC_USER and PROJECT_ROOT
"""
from __future__ import annotations

import os
from pathlib import Path

from boincdock import names as names_module
from boincdock.bin._run import OptionParser, entry
from boincdock.errors import InputError
from boincdock.project.settings import from_environment


def _secrets() -> int:
    from boincdock.project import secrets

    made = secrets.fill()
    secrets.publish_db_password()
    print(f"secrets: made {', '.join(made)}" if made else "secrets: complete", flush=True)
    return 0


def _makeproject() -> int:
    from boincdock.project.steps import Run, makeproject

    run = Run(from_environment(), report=lambda text: print(f"makeproject: {text}", flush=True))
    makeproject(run)
    run.report("done" if run.changes else "nothing to do")
    return 0


def _serve() -> int:
    from boincdock.project.serve import Server

    root = Path(names_module.check_project_root(os.environ.get("PROJECT_ROOT", "")))
    return Server(root, names_module.check_project(os.environ.get("PROJECT", ""))).run()


def _samples() -> int:
    from boincdock.apps.install import build_tree
    from boincdock.project.settings import LIBRARY, STOCK_ROOT

    for line in build_tree(LIBRARY / "apps", LIBRARY / "wrapper", STOCK_ROOT):
        print(line)
    (STOCK_ROOT / "apps" / ".installed.json").unlink(missing_ok=True)
    return 0


def _apps(names: list[str], folder: Path | None, *, none: bool) -> int:
    from boincdock.project import sample_apps

    root = Path(names_module.check_project_root(os.environ.get("PROJECT_ROOT", "")))
    if folder and (names or none):
        raise InputError("apps: --from FOLDER, or NAMEs and --none, not both")
    lines = []
    if folder:
        lines = sample_apps.add_own(root, folder)
    elif not names and not none:
        lines = sample_apps.list_apps()
    if none:
        lines += sample_apps.remove(root)
    if names:
        lines += sample_apps.add(root, names)
    for line in lines:
        print(line)
    return 0


def _check() -> int:
    settings = from_environment()
    print(f"{settings.url_base}/{settings.project}/")
    return 0


def main(argv: list[str]) -> int:
    """Run one of the steps."""
    steps = {"secrets": _secrets, "makeproject": _makeproject, "serve": _serve, "samples": _samples, "check": _check}
    parser = OptionParser("boincdock.project", __doc__)
    parser.add_argument("step", choices=sorted([*steps, "apps"]), help="what to do")
    parser.add_argument("names", nargs="*", help="of apps: sample apps")
    parser.add_argument("--none", action="store_true", help="of apps: take the sample apps out")
    parser.add_argument("--from", dest="folder", type=Path, help="of apps: a folder of apps with app.toml")
    arguments = parser.parse_args(argv)
    step: str = arguments.step
    if step == "apps":
        return _apps(arguments.names, arguments.folder, none=arguments.none)
    if arguments.names or arguments.none or arguments.folder:
        raise InputError(f"{step} takes no further words")
    if step == "secrets":
        from_environment()  # bad settings are refused before anything is made
    return steps[step]()


if __name__ == "__main__":
    os.umask(0o022)
    entry(main)
