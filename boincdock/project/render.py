"""From the files of the makeproject image to the files of the project volume (spec 05 D2, D3, F3).

Placeholders such as ``${URL_BASE}`` are filled in, in file names too. What the admin changed in the volume
stays: a file is only replaced while it is what was written last, which the state file remembers as hashes.
In an edited file, changed values (an old URL_BASE, an old password) are still replaced by the new ones. A file
that the operator put into an image of his own replaces what is in the volume whenever the image's copy is new
or changed; an edited one is kept beside it.
"""
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from xml.sax.saxutils import escape

from boincdock.errors import ConfigError
from boincdock.project.tree import Tree

STATE_FILE = ".boincdock/state.json"
PHRASE = "REPLACE WITH PROJECT NAME"
RENDERED = ("config.xml", "html/user/schedulers.txt", "html/project/*", "html/ops/.htaccess",
            "*.httpd.conf", "*.readme", "*.cronjob")
"""Files whose contents have placeholders; a pattern without / is for the project's root only."""
PRIVATE_MODES = {"config.xml": 0o640}
_VALUE_LIKE = ("URL_BASE", "PROJECT_ROOT")


@dataclass(frozen=True)
class Source:
    """A file of the image: its content before rendering, and whether the operator put it there."""

    data: bytes
    mode: int
    overlay: bool


@dataclass
class State:
    """What earlier runs wrote into the volume.

    ``files[path]`` = {"source": hash, "written": [hashes]}; ``values[name]`` = values that files may still
    hold. Lists have several entries only while a run is under way, or after one was interrupted.
    """

    project: str = ""
    values: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    database_url_base: str = ""

    @classmethod
    def load(cls, tree: Tree) -> State:
        """The state of this volume; a fresh one if there is none. ConfigError if it cannot be read."""
        data = tree.read(STATE_FILE)
        if data is None:
            return cls()
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            raise ConfigError(f"{tree.root}/{STATE_FILE} is damaged",
                              "remove it: files you edited are then kept as they are") from None

    def save(self, tree: Tree) -> None:
        """Write it; it holds passwords, as config.xml does."""
        tree.write(STATE_FILE, (json.dumps(self.__dict__, indent=1, sort_keys=True) + "\n").encode(), 0o600)


def digest(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def is_rendered(rel: str) -> bool:
    """True if placeholders in the contents of this file are filled in."""
    return any(fnmatchcase(rel, p) and rel.count("/") == p.count("/") for p in RENDERED)


def substitute(text: str, values: Mapping[str, str], xml: bool = False) -> str:
    """Fill in ``${NAME}`` for the names in ``values``, whatever their case; others stay."""
    upper = {name.upper(): escape(value) if xml else value for name, value in values.items()}

    def fill(match: re.Match[str]) -> str:
        return upper.get(match[1].upper(), match[0])

    text = re.sub(r"\$\{(\w+)\}", fill, text)
    return re.sub(re.escape(PHRASE), lambda _: upper.get("PROJECT", PHRASE), text, flags=re.IGNORECASE)


def substitute_name(rel: str, values: Mapping[str, str]) -> str:
    """The same in a path; only values that are plain names are filled in."""
    return substitute(rel, {"PROJECT": values["PROJECT"]})


def replace_values(text: str, old: Mapping[str, list[str]], new: Mapping[str, str], xml: bool) -> str:
    """Replace old values by the new ones in a text somebody edited.

    URLs and paths are replaced wherever they stand whole or as the beginning of a longer one; other values
    (a password may be any word) only where they are the whole content of an element, a quoted string or an
    assignment.
    """
    for name, value in new.items():
        for before in old.get(name, []):
            if not before or before == value:
                continue
            a, b = (escape(before), escape(value)) if xml else (before, value)
            if name in _VALUE_LIKE:
                pattern = re.escape(a) + r"(?![\w.:-])"
            else:
                pattern = rf"(?<=[>\"'=]){re.escape(a)}(?=[<\"'\s]|\Z)"
            text = re.sub(pattern, lambda _, b=b: b, text)  # type: ignore[misc]
    return text


def collect(image_root: Path, stock_root: Path, values: Mapping[str, str]) -> dict[str, Source]:
    """The files of the image by their names in the volume.

    ``image_root`` is what the image has at PROJECT_ROOT, ``stock_root`` our own copy of the default files: a
    file that differs from its twin there, or has none, is the operator's. ``${project}.httpd.conf`` gives way
    to a file that bears the project's name already. apps/ is left out: it may be large and needs no rendering.
    """
    found: dict[str, Source] = {}
    literal: set[str] = set()
    for path in sorted(image_root.rglob("*")):
        raw = path.relative_to(image_root).as_posix()
        if path.is_symlink() or not path.is_file() or raw.startswith("apps/"):
            continue
        rel = substitute_name(raw, values)
        if rel in literal:
            continue
        data = path.read_bytes()
        stock = stock_root / raw
        overlay = not (stock.is_file() and stock.read_bytes() == data)
        if rel in found and rel != raw:
            continue
        if rel == raw:
            literal.add(rel)
        found[rel] = Source(data, 0o755 if path.stat().st_mode & 0o100 else 0o644, overlay)
    return found


class Renderer:
    """One run over all files. ``messages`` is what an operator should know."""

    def __init__(self, tree: Tree, state: State, values: Mapping[str, str]) -> None:
        self.tree = tree
        self.state = state
        self.values = dict(values)
        self.messages: list[str] = []
        self.changed: list[str] = []

    def content(self, rel: str, data: bytes) -> bytes:
        """``data`` with placeholders filled in if it is that kind of file."""
        if not is_rendered(rel):
            return data
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"{rel} is not UTF-8 text") from None
        return substitute(text, self.values, xml=rel.endswith(".xml")).encode()

    def run(self, sources: Mapping[str, Source]) -> None:
        """Bring all files up to date. Interrupted, it is simply run again."""
        outcome = {rel: self.content(rel, source.data) for rel, source in sources.items()}
        # First remember what is going to be written: a run that dies between two files must not make its own
        # work look like an admin's edit to the next one.
        before = json.dumps(self.state.__dict__, sort_keys=True)
        for rel, data in outcome.items():
            entry = self.state.files.setdefault(rel, {"source": [], "written": []})
            entry["written"] = [*(h for h in entry["written"] if h != digest(data)), digest(data)]
        for name, value in self.values.items():
            self.state.values[name] = [*(v for v in self.state.values.get(name, []) if v != value), value]
        if json.dumps(self.state.__dict__, sort_keys=True) != before:
            self.state.save(self.tree)
        for rel, source in sources.items():
            self._one(rel, source, outcome[rel])
        self.state.values = {name: [value] for name, value in self.values.items()}
        if json.dumps(self.state.__dict__, sort_keys=True) != before:
            self.state.save(self.tree)

    def _write(self, rel: str, data: bytes, mode: int) -> None:
        if self.tree.write(rel, data, PRIVATE_MODES.get(rel, mode)):
            self.changed.append(rel)

    def _one(self, rel: str, source: Source, data: bytes) -> None:
        entry = self.state.files[rel]
        source_hash = digest(source.data)
        known = source_hash in entry["source"]
        current = self.tree.read(rel)
        if current is None or digest(current) in entry["written"]:
            self._write(rel, data, source.mode)
        elif source.overlay and not known:
            self.messages.append(f"{rel}: the image's file replaces the edited one, kept as {rel}.edited")
            self._write(f"{rel}.edited", current, 0o600)
            self._write(rel, data, source.mode)
        else:
            self._update_edited(rel, current)
            if entry["source"] and not known:
                self.messages.append(f"{rel} was edited and is kept; the new default is in {rel}.new")
                self._write(f"{rel}.new", data, 0o600)
            entry["written"] = [h for h in entry["written"] if h != digest(data)]
        if current is None or self.tree.read(rel) == data:
            entry["written"] = [digest(data)]
        entry["source"] = [source_hash]

    def _update_edited(self, rel: str, current: bytes) -> None:
        if not is_rendered(rel):
            return
        try:
            text = current.decode("utf-8")
        except UnicodeDecodeError:
            self.messages.append(f"{rel} was edited and is no UTF-8 text: left alone")
            return
        xml = rel.endswith(".xml")
        new = substitute(replace_values(text, self.state.values, self.values, xml), self.values, xml)
        if new != text:
            self._write(rel, new.encode(), 0o640 if rel in PRIVATE_MODES else 0o644)
            self.messages.append(f"{rel} was edited and is kept; changed settings were filled in")
