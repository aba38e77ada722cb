"""Laying the sample apps out in a project tree: version folders, templates, plan classes, project.xml.

Safe to repeat, and to run over a tree that its owner has changed: a file that we wrote is replaced only while it
still is what we wrote (``apps/.installed.json`` remembers), everything else is kept.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boincdock.apps.xadd import parse_project_xml, read_text
from boincdock.errors import InputError
from boincdock.protocol.markup import Element, escape, parse, write

API_VERSION = "8.2.0"
"""What our wrappers implement; at least 7.5, or clients use another way to talk to them (spec 07 section 4)."""

WRAPPERS = ("docker_wrapper", "wrapper")
"""Main programs that an app.toml may name (wrapper/README.md)."""
_REMEMBERED = "apps/.installed.json"


@dataclass(frozen=True, slots=True)
class AppFile:
    """A file of the app version, besides the wrapper."""

    name: str
    logical_name: str
    copy_file: bool


@dataclass(frozen=True, slots=True)
class SampleApp:
    """An app.toml."""

    folder: Path
    name: str
    friendly: str
    version: int
    platforms: tuple[str, ...]
    plan_classes: tuple[str, ...]
    files: tuple[AppFile, ...]
    options: dict[str, int] = field(default_factory=dict)
    optional: bool = False
    daemons: tuple[str, ...] = ()
    wrapper: str = "docker_wrapper"


def _need(table: dict[str, Any], key: str, kind: type, where: str, default: Any = None) -> Any:
    value = table.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{where}: {key} must be a {kind.__name__}")
    return value


def read_app(folder: Path) -> SampleApp:
    """The app described by ``folder``/app.toml. InputError names file and key."""
    where = str(folder / "app.toml")
    try:
        table = tomllib.loads(read_text(folder / "app.toml"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: {error}") from None
    files = tuple(AppFile(_need(f, "name", str, where), _need(f, "logical_name", str, where, f.get("name")),
                          _need(f, "copy_file", bool, where, False)) for f in table.get("file", []))
    version = _need(table, "version", int, where)
    if version < 1:
        raise InputError(f"{where}: version must be at least 1")
    wrapper = _need(table, "wrapper", str, where, WRAPPERS[0])
    if wrapper not in WRAPPERS:
        raise InputError(f"{where}: wrapper must be {' or '.join(WRAPPERS)}, not {wrapper!r}")
    return SampleApp(
        folder, _need(table, "name", str, where), _need(table, "user_friendly_name", str, where), version,
        tuple(_need(table, "platforms", list, where)), tuple(_need(table, "plan_classes", list, where)), files,
        _need(table, "app", dict, where, {}), _need(table, "optional", bool, where, False),
        tuple(_need(table, "daemons", list, where, [])), wrapper)


def sample_apps(src_apps_dir: Path, names: Sequence[str] | None = None) -> list[SampleApp]:
    """The apps of a folder: those named, or all that are not optional. InputError names one that is not there."""
    found = [read_app(path.parent) for path in sorted(src_apps_dir.glob("*/app.toml"))]
    if names is None:
        return [app for app in found if not app.optional]
    unknown = sorted(set(names) - {app.name for app in found})
    if unknown:
        raise InputError(f"there is no sample app {unknown[0]!r}", f"apps: {', '.join(app.name for app in found)}")
    return [app for app in found if app.name in names]


def find_wrappers(wrapper_dir: Path, program: str = WRAPPERS[0]) -> tuple[int, dict[str, Path]]:
    """(version, {platform: binary}) of the newest ``program`` in a folder that holds
    ``PROGRAM_<version>_<platform>[.exe]``. InputError if there is none."""
    pattern = re.compile(rf"{program}_([0-9]+)_([A-Za-z0-9._-]+?)(\.exe)?")
    found: dict[int, dict[str, Path]] = {}
    for path in sorted(wrapper_dir.glob(f"{program}_*")) if wrapper_dir.is_dir() else []:
        match = pattern.fullmatch(path.name)
        if match and path.is_file():
            found.setdefault(int(match.group(1)), {})[match.group(2)] = path
    if not found:
        raise InputError(f"no {program}_<version>_<platform> in {wrapper_dir}")
    newest = max(found)
    if newest > 99:
        raise InputError(f"{program} version {newest}: must be below 100, it is the minor version of the apps")
    return newest, found[newest]


class _Tree:
    """Writes into the project tree, all at once and only over what we wrote ourselves."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lines: list[str] = []
        record = root / _REMEMBERED
        self._known: dict[str, str] = json.loads(read_text(record)) if record.exists() else {}

    def put(self, relative: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file unless its owner changed it."""
        path = self._root / relative
        digest = hashlib.sha256(data).hexdigest()
        if path.exists():
            current = hashlib.sha256(path.read_bytes()).hexdigest()
            if current == digest:
                self._known[relative] = digest
                return
            if self._known.get(relative) != current:
                self._lines.append(f"kept {relative}: it was changed here")
                return
        self._lines.append(f"{'updated' if path.exists() else 'wrote'} {relative}")
        self.replace(relative, data, mode)
        self._known[relative] = digest

    def replace(self, relative: str, data: bytes, mode: int = 0o644) -> None:
        """Write a file, whatever is there."""
        path = self._root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(prefix=".install.", dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
                os.fchmod(stream.fileno(), mode)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def note(self, line: str) -> None:
        """Add a line to the report."""
        self._lines.append(line)

    def finish(self) -> list[str]:
        """Remember what was written; the report."""
        self.replace(_REMEMBERED, (json.dumps(self._known, indent=1, sort_keys=True) + "\n").encode())
        return self._lines


def build_tree(src_apps_dir: Path, wrapper_dir: Path, dest_project_dir: Path,
               names: Sequence[str] | None = None) -> list[str]:
    """Lay out apps of ``src_apps_dir`` (folders with an app.toml) in a project directory: those named, or all that
    are not optional.

    Writes apps/APP/VERSION/PLATFORM[__PLANCLASS]/ with the newest docker_wrapper or wrapper of ``wrapper_dir``,
    templates/APP_in and APP_out, job_files/ (what makeproject stages for all jobs); adds missing plan classes to
    plan_class_spec.xml, missing platforms and apps to project.xml. Returns a line for each change. InputError: a
    description is wrong or there is no wrapper for any of an app's platforms; nothing was written then.
    """
    apps = sample_apps(src_apps_dir, names)
    if not apps:
        raise InputError(f"no app.toml below {src_apps_dir}")
    wrappers = {program: find_wrappers(wrapper_dir, program) for program in sorted({app.wrapper for app in apps})}
    for app in apps:
        if not set(app.platforms) & set(wrappers[app.wrapper][1]):
            raise InputError(f"app {app.name}: no {app.wrapper} for any of {', '.join(app.platforms)}")
    tree = _Tree(dest_project_dir)
    for app in apps:
        _put_app(tree, app, *wrappers[app.wrapper])
    _merge(tree, dest_project_dir, "plan_class_spec.xml", "plan_classes", _children(src_apps_dir /
                                                                                   "plan_class_spec.xml"))
    _merge(tree, dest_project_dir, "project.xml", "boinc", _children(src_apps_dir / "project.xml")
           + [_app_element(app) for app in apps])
    parse_project_xml(read_text(dest_project_dir / "project.xml"))
    return tree.finish()


def _put_app(tree: _Tree, app: SampleApp, wrapper_version: int, wrappers: dict[str, Path]) -> None:
    for kind in ("in", "out"):
        tree.put(f"templates/{app.name}_{kind}", (app.folder / "templates" / kind).read_bytes())
    for path in sorted((app.folder / "job_files").glob("*")):
        tree.put(f"job_files/{path.name}", path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)
    for platform in app.platforms:
        if platform not in wrappers:
            tree.note(f"app {app.name}: no {app.wrapper} for {platform}, left out")
            continue
        for plan_class in app.plan_classes:
            folder = f"apps/{app.name}/{app.version}.{wrapper_version:02}/{platform}" \
                     + (f"__{plan_class}" if plan_class else "")
            binary = wrappers[platform]
            tree.put(f"{folder}/{binary.name}", binary.read_bytes(), 0o755)
            for file in app.files:
                tree.put(f"{folder}/{_physical(app, file)}", (app.folder / "files" / file.name).read_bytes())
            tree.put(f"{folder}/version.xml", _version_xml(app, binary.name).encode())


def _physical(app: SampleApp, file: AppFile) -> str:
    return f"{app.name}_{app.version}_{file.name}"


def _version_xml(app: SampleApp, binary: str) -> str:
    lines = ["<version>", f"    <file> <physical_name>{binary}</physical_name> <main_program/> </file>"]
    for file in app.files:
        copy = " <copy_file/>" if file.copy_file else ""
        lines.append(f"    <file> <physical_name>{escape(_physical(app, file))}</physical_name>"
                     f" <logical_name>{escape(file.logical_name)}</logical_name>{copy} </file>")
    lines += [f"    <api_version>{API_VERSION}</api_version>", "    <is_wrapper/>", "</version>", ""]
    return "\n".join(lines)


def _children(path: Path) -> list[Element]:
    if not path.exists():
        return []
    top = parse(read_text(path), str(path))
    return top[0].children


def _app_element(app: SampleApp) -> Element:
    parts: list[str | Element] = [Element("name", 0, [app.name]), Element("user_friendly_name", 0, [app.friendly])]
    parts += [Element(key, 0, [str(int(value))]) for key, value in app.options.items()]
    return Element("app", 0, parts)


def _named(element: Element) -> tuple[str, str]:
    name = element.find("name")
    return element.name, name.text if name else ""


def _merge(tree: _Tree, root: Path, relative: str, wrapper: str, wanted: list[Element]) -> None:
    """Add to an XML file the elements whose <name> it lacks, before its last end tag; the rest of the file
    stays as its owner wrote it."""
    path = root / relative
    text = read_text(path) if path.exists() else f"<{wrapper}>\n</{wrapper}>\n"
    top = parse(text, str(path))
    if len(top) != 1 or top[0].name != wrapper:
        raise InputError(f"{path}: must be one <{wrapper}> element")
    there = {_named(element) for element in top[0].children}
    missing = [element for element in wanted if _named(element) not in there]
    if not missing and path.exists():
        return
    head, _, tail = text.rpartition(f"</{wrapper}>")
    added = "".join(write(element, "    ") for element in missing)
    tree.replace(relative, f"{head.rstrip()}\n{added}</{wrapper}>{tail}".encode())
    tree.note(f"{relative}: added {', '.join(' '.join(_named(e)) for e in missing)}")
