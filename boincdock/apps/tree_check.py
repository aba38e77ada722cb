"""Does the download tree hold what the database tells clients to fetch? (spec 04 section 4; immutability.)

Files of app versions lie flat, input files of jobs in the fan-out hierarchy. A file that clients are told of and
that is missing or has other contents fails every job that needs it, on every host.
"""
from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boincdock.apps.repository import AppRepository
from boincdock.apps.signatures import title
from boincdock.config import Project
from boincdock.crypto import md5_of_file, md5_of_stream
from boincdock.db import Connection
from boincdock.files.hierarchy import download_path
from boincdock.files.staging import read_sidecar
from boincdock.protocol.markup import unescape

PORTION = 1000
MAX_SHOWN = 1000
_FILE_INFO = re.compile(r"<file_info>(.*?)</file_info>", re.DOTALL)
_NAME = re.compile(r"<name>\s*([^<]*?)\s*</name>")
_MD5 = re.compile(r"<md5_cksum>\s*([0-9a-fA-F]{32})\s*</md5_cksum>")
_NBYTES = re.compile(r"<nbytes>\s*([0-9]+)(?:\.[0-9]*)?\s*</nbytes>")
_URL = re.compile(r"<(?:url|download_url|gzipped_url)>\s*([^<]*?)\s*<")
_CONSTANT = re.compile(r"<physical_name>\s*([^<]*?)\s*</physical_name>")


@dataclass(slots=True)
class Wanted:
    """A file that clients are told of; sizes in bytes, ``of`` says by whom (the first that names it)."""

    md5: str
    nbytes: int | None
    gzipped: bool
    of: str


@dataclass(slots=True)
class TreeReport:
    """What was found; paths are relative to the download directory."""

    checked: int = 0
    missing: list[dict[str, str]] = field(default_factory=list)
    changed: list[dict[str, str]] = field(default_factory=list)
    orphaned: list[dict[str, Any]] = field(default_factory=list)
    orphans: int = 0
    orphaned_bytes: int = 0

    @property
    def ok(self) -> bool:
        """True if clients get everything they are told of; orphans only take room."""
        return not (self.missing or self.changed)

    def json(self) -> dict[str, Any]:
        """For ``--json``."""
        names = ("ok", "checked", "missing", "changed", "orphaned", "orphans", "orphaned_bytes")
        return {name: getattr(self, name) for name in names}


class TreeCheck:
    """One run. ``quick``: compare sizes, and trust the MD5 that is noted beside a file."""

    def __init__(self, db: Connection, project: Project, *, quick: bool = False) -> None:
        self._db = db
        self._project = project
        self._root = project.download_dir
        self._quick = quick
        self._report = TreeReport()
        self._wanted: dict[str, Wanted] = {}
        self._kept: set[str] = set()

    def run(self) -> TreeReport:
        """Compare everything; OSError if the tree cannot be read."""
        self._collect()
        for path, wanted in sorted(self._wanted.items()):
            self._report.checked += 1
            why = self._fault(self._root / path, wanted)
            if why:
                kind = self._report.missing if why == "missing" else self._report.changed
                kind.append({"path": path, "of": wanted.of, "why": why})
        self._orphans()
        return self._report

    # ---- what should be there ------------------------------------------------------------------------------------

    def _collect(self) -> None:
        for row in AppRepository(self._db).documents():
            text = bytes(row["xml_doc"] or b"").decode("utf-8", "replace")
            self._add(text, f"app version {row['id']} ({title(row)})", flat=True)
        after = 0
        while rows := self._db.all("apps.input_documents", after=after, count=PORTION):
            for row in rows:
                self._add(bytes(row["xml_doc"] or b"").decode("utf-8", "replace"), f"job {row['name']}", flat=False)
            after = rows[-1]["id"]
        for row in self._db.all("apps.job_file_names"):
            self._kept.add(self._relative(row["name"]))
        for template in sorted(self._project.templates_dir.glob("*")):
            if template.is_file():
                for name in _CONSTANT.findall(template.read_text("utf-8", "replace")):
                    self._kept.add(self._relative(unescape(name)))

    def _relative(self, name: str) -> str:
        return download_path(self._project, name).relative_to(self._root).as_posix()

    def _add(self, document: str, of: str, *, flat: bool) -> None:
        base = self._project.config.download_url.rstrip("/") + "/"
        for info in _FILE_INFO.findall(document):
            name = _NAME.search(info)
            if name is None or not (flat or any(unescape(u).startswith(base) for u in _URL.findall(info))):
                continue  # a remote input: it lies on somebody else's server
            text = unescape(name[1])
            md5, nbytes = _MD5.search(info), _NBYTES.search(info)
            wanted = Wanted(md5[1].lower() if md5 else "", int(nbytes[1]) if nbytes else None,
                            "<gzipped_url>" in info, of)
            path = text if flat else self._relative(text)
            known = self._wanted.setdefault(path, wanted)
            known.gzipped |= wanted.gzipped
            if wanted.md5 and known.md5 and wanted.md5 != known.md5:
                self._report.changed.append({"path": path, "of": of, "why": f"{known.of} has other contents under this "
                                                                            "name"})

    # ---- what is there -------------------------------------------------------------------------------------------

    def _fault(self, path: Path, wanted: Wanted) -> str:
        """Why clients cannot use the file; empty if they can."""
        try:
            nbytes = path.stat().st_size
            if wanted.nbytes not in (None, nbytes):
                return f"{nbytes} bytes where clients expect {wanted.nbytes}"
            noted = read_sidecar(path) if self._quick else None
            md5 = noted[0] if noted else md5_of_file(path)[0]
            if wanted.md5 and md5 != wanted.md5:
                return "its contents are not what clients were told"
            return self._gzip_fault(path, md5) if wanted.gzipped else ""
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    def _gzip_fault(self, path: Path, md5: str) -> str:
        packed = path.with_name(path.name + ".gz")
        if not packed.is_file():
            return f"{packed.name} is missing, which clients are told to fetch"
        if self._quick:
            return ""
        try:
            with gzip.open(packed, "rb") as stream:
                return "" if md5_of_stream(stream)[0] == md5 else f"{packed.name} holds something else"
        except (OSError, EOFError):
            return f"{packed.name} is damaged"

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = Path(folder, name)
                yield path.relative_to(self._root).as_posix(), path.lstat()

    def _orphans(self) -> None:
        known = self._wanted.keys() | self._kept
        for path, info in self._files():
            owner = path.removesuffix(".md5").removesuffix(".gz")
            if path in known or owner in known or path.removesuffix(".md5") in known:
                continue
            self._report.orphans += 1
            self._report.orphaned_bytes += info.st_size
            if len(self._report.orphaned) < MAX_SHOWN:
                self._report.orphaned.append({"path": path, "nbytes": info.st_size, "changed": int(info.st_mtime)})
        self._report.orphaned.sort(key=lambda each: str(each["path"]))
