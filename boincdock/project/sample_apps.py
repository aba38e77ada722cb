"""Sample apps in an operator's own image: ``python3 -m boincdock.project apps NAME …`` in its Dockerfile.

Works on PROJECT_ROOT of the makeproject image, with the operator's files copied over it: templates, project.xml,
plan_class_spec.xml, app versions, job_files/, and the daemons of config.xml (spec 05 E1: merged by their text). An
operator's own apps are added in the same way, with ``--from FOLDER``.
"""
from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from boincdock.apps.install import SampleApp, build_tree, read_app, sample_apps
from boincdock.apps.xadd import read_text
from boincdock.bin._run import commands
from boincdock.errors import InputError
from boincdock.project.settings import LIBRARY
from boincdock.protocol.markup import escape
from boincdock.protocol.templates import parse_input_template, parse_output_template

_LIKELY = "sample_bitwise_validator, sample_trivial_validator, results_assimilator …"
_DAEMON = """\
        <daemon>
            <cmd>{cmd}</cmd>
            <output>{name}.log</output>
            <pid_file>{name}.pid</pid_file>
        </daemon>
"""


def list_apps(library: Path = LIBRARY) -> list[str]:
    """A line for each sample app there is."""
    every = [app.folder.name for app in sample_apps(library / "apps")]
    names = sorted(path.parent.name for path in (library / "apps").glob("*/app.toml"))
    found = sample_apps(library / "apps", names)
    return [f"{app.name}: {app.friendly}{'' if app.name in every else ' (optional)'}" for app in found]


def add(root: Path, names: Sequence[str], library: Path = LIBRARY) -> list[str]:
    """Add these sample apps to the project files at ``root``; a line for each change, none if all was there.
    InputError: no such app, or config.xml has no daemons."""
    return _install(root, library / "apps", library, names)


def add_own(root: Path, folder: Path, library: Path = LIBRARY) -> list[str]:
    """Add the operator's own apps, ``folder``/APP/app.toml; a line for each change. Their validators and assimilators
    must be in ``root``/bin or boincdock's own. InputError names the file that is wrong."""
    names = sorted(path.parent.name for path in folder.glob("*/app.toml"))
    if not names:
        return []
    for app in (read_app(folder / name) for name in names):
        if app.folder.name != app.name:
            raise InputError(f"{app.folder}/app.toml: name is {app.name!r}, the folder's is {app.folder.name!r}")
        check_templates(app)
        for cmd in app.daemons:
            program = cmd.split()[0] if cmd.split() else ""
            own = root / "bin" / program
            if program not in commands() and not (own.is_file() and own.stat().st_mode & 0o100):
                raise InputError(f"{app.folder}/app.toml: daemon {cmd!r}: there is no executable bin/{program}",
                                 f"put it into project_root/bin/ and chmod +x it; those of boincdock: {_LIKELY}")
    return _install(root, folder, library, names)


def check_templates(app: SampleApp) -> None:
    """InputError, naming file and line, unless both templates of an app can be used."""
    for kind, check in (("in", parse_input_template), ("out", parse_output_template)):
        path = app.folder / "templates" / kind
        if not path.is_file():
            raise InputError(f"{path} is missing", "every app needs templates/in and templates/out")
        try:
            check(read_text(path), str(path))
        except InputError as error:
            prefix = "" if error.message.startswith(str(path)) else f"{path}: "
            raise InputError(prefix + error.message, error.hint) from None
    for file in app.files:
        if not (app.folder / "files" / file.name).is_file():
            raise InputError(f"{app.folder}/app.toml: there is no file files/{file.name}")


def _install(root: Path, apps_dir: Path, library: Path, names: Sequence[str]) -> list[str]:
    text = read_text(root / "config.xml")
    merged, lines = merge_daemons(text, sample_apps(apps_dir, names), "config.xml")
    changes = build_tree(apps_dir, library / "wrapper", root, names)
    (root / "apps" / ".installed.json").unlink(missing_ok=True)
    if merged != text:
        (root / "config.xml").write_text(merged, encoding="utf-8")
    return changes + lines


def merge_daemons(text: str, apps: Sequence[SampleApp], origin: str) -> tuple[str, list[str]]:
    """A config.xml's text with the daemons of these apps that it lacks, and a line for each of them."""
    present = {" ".join(cmd.split()) for cmd in re.findall(r"<cmd>(.*?)</cmd>", text, re.DOTALL)}
    missing = [(app, cmd) for app in apps for cmd in app.daemons if escape(cmd) not in present]
    if not missing:
        return text, []
    if text.count("</daemons>") != 1:
        raise InputError(f"{origin}: must have one <daemons> element")
    blocks = "".join(_DAEMON.format(cmd=escape(cmd), name=f"{cmd.split()[0]}_{app.name}") for app, cmd in missing)
    head, tail = text.split("</daemons>")
    return f"{head.rstrip()}\n{blocks}    </daemons>{tail}", [f"{origin}: added daemon {cmd}" for _, cmd in missing]


def remove(root: Path, library: Path = LIBRARY) -> list[str]:
    """Take the sample apps out of the project files at ``root``; a line for each app. What the operator's own
    config.xml and project.xml say besides stays."""
    lines = []
    for app in sample_apps(library / "apps"):
        name = re.escape(app.name)
        changed = _cut(root / "project.xml", rf"\s*<app>(?:(?!</app>).)*?<name>\s*{name}\s*</name>.*?</app>")
        changed |= _cut(root / "config.xml",
                        rf"\s*<daemon>(?:(?!</daemon>).)*?<cmd>[^<]*--?app {name}\b[^<]*</cmd>.*?</daemon>")
        for path in (*(root / "templates" / f"{app.name}_{kind}" for kind in ("in", "out")),
                     *(root / "job_files" / file.name for file in (app.folder / "job_files").glob("*"))):
            changed |= path.exists()
            path.unlink(missing_ok=True)
        if (root / "apps" / app.name).is_dir():
            shutil.rmtree(root / "apps" / app.name)
            changed = True
        if changed:
            lines.append(f"removed {app.name}")
    return lines


def _cut(path: Path, pattern: str) -> bool:
    text = read_text(path)
    new = re.sub(pattern, "", text, flags=re.DOTALL)
    if new != text:
        path.write_text(new, encoding="utf-8")
    return new != text
