"""The daily statistics export for third-party sites: db_dump (spec 03 section 14, 06 section 5.4).

Files are written to ``output_dir`` and moved into ``final_output_dir`` one by one, each at once, so that a reader never
sees half a file or an empty folder; one whose contents did not change keeps its time stamp (conditional requests
are answered "not modified"); files of an older export that are not part of the new one are removed. With
``archive_dir`` the previous files are kept there in a dated folder, the newest ``KEEP_ARCHIVES`` of them.
"""
from __future__ import annotations

import contextlib
import filecmp
import gzip
import hashlib
import itertools
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from boincdock.config import Element, Project, parse_xml
from boincdock.db import Connection
from boincdock.errors import ConfigError
from boincdock.lifecycle import dump_records as records

logger = logging.getLogger("boincdock.db_dump")

PAGE = 1000
KEEP_ARCHIVES = 30
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
ROOTS = {"user": "users", "team": "teams", "host": "hosts", "user_deleted": "users_deleted",
         "host_deleted": "hosts_deleted"}
SORTS = ("none", "id", "total_credit", "expavg_credit")
COMPRESSIONS = {"": "", "none": "", "gzip": ".gz", "zip": ".zip"}


@dataclass(frozen=True, slots=True)
class Output:
    """One file, or numbered ones of ``recs_per_file`` records, of an enumeration."""

    compression: str = ""
    detail: bool = False
    recs_per_file: int = 0


@dataclass(frozen=True, slots=True)
class Enumeration:
    """A table to export and the forms in which it is written."""

    table: str
    filename: str
    sort: str = "id"
    outputs: tuple[Output, ...] = (Output(),)


@dataclass(frozen=True, slots=True)
class DumpSpec:
    """What to export, and where to."""

    output_dir: Path
    final_output_dir: Path
    archive_dir: Path | None = None
    enumerations: tuple[Enumeration, ...] = field(default_factory=tuple)


def default_enumerations() -> tuple[Enumeration, ...]:
    """What projects usually export: everything gzipped, hosts with detail."""
    return tuple(Enumeration(t, t, "id", (Output("gzip", t.startswith("host")),))
                 for t in ("user", "user_deleted", "host", "host_deleted", "team"))


def default_spec(project: Project) -> DumpSpec:
    """The usual files in html/stats."""
    html = project.dir / "html"
    return DumpSpec(html / "stats_tmp", html / "stats", None, default_enumerations())


def parse_spec(project: Project, data: bytes, origin: str) -> DumpSpec:
    """Read a dump specification; relative folders count from the project's temporary folder, where daemons run.
    ``ConfigError``: not XML, no output folders, an unknown table, sort or compression."""
    root = parse_xml(data, origin)
    folders: dict[str, Path] = {}
    enumerations = []
    for child in root.children:
        if child.tag in ("output_dir", "final_output_dir", "archive_dir") and child.text.strip():
            folders[child.tag] = Path(os.path.normpath(project.tmp_dir / child.text.strip()))
        elif child.tag == "enumeration":
            enumerations.append(_enumeration(child, origin))
    for name in ("output_dir", "final_output_dir"):
        if name not in folders:
            raise ConfigError(f"{origin}: <{name}> is missing")
    if folders["output_dir"] == folders["final_output_dir"]:
        raise ConfigError(f"{origin}: <output_dir> and <final_output_dir> must differ")
    return DumpSpec(folders["output_dir"], folders["final_output_dir"], folders.get("archive_dir"),
                    tuple(enumerations))


def _enumeration(node: Element, origin: str) -> Enumeration:
    values = {c.tag: c.text.strip() for c in node.children}
    table, filename, sort = values.get("table", ""), values.get("filename", ""), values.get("sort", "") or "none"
    if table not in ROOTS:
        raise ConfigError(f"{origin}: <table> {table!r} is not one of {', '.join(ROOTS)}")
    if not filename or "/" in filename or filename.startswith("."):
        raise ConfigError(f"{origin}: <filename> {filename!r} is no plain file name")
    if sort not in SORTS:
        raise ConfigError(f"{origin}: <sort> {sort!r} is not one of {', '.join(SORTS)}")
    outputs = []
    for child in (c for c in node.children if c.tag == "output"):
        inner = {c.tag: c.text.strip() for c in child.children}
        compression = inner.get("compression", "")
        if compression not in COMPRESSIONS:
            raise ConfigError(f"{origin}: <compression> {compression!r} is not gzip or zip")
        count = inner.get("recs_per_file", "0") or "0"
        if not count.isdecimal() or (int(count) and sort != "id"):
            raise ConfigError(f"{origin}: <recs_per_file> must be a number and needs <sort>id</sort>")
        outputs.append(Output(compression, "detail" in inner, int(count)))
    return Enumeration(table, filename, sort, tuple(outputs) or (Output(),))


class _File:
    """A file, or a numbered series, that is being written."""

    def __init__(self, folder: Path, name: str, root: str, output: Output, declaration: bool = True) -> None:
        self._folder, self._name, self._root, self._output = folder, name, root, output
        self._declaration = declaration
        self._stack: contextlib.ExitStack | None = None
        self._stream: IO[bytes] | None = None
        self._count = 0
        if not output.recs_per_file:
            self._open(name)

    def _open(self, name: str) -> None:
        self._stack = contextlib.ExitStack()
        path = self._folder / (name + COMPRESSIONS[self._output.compression])
        if self._output.compression == "zip":
            archive = self._stack.enter_context(zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED))
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            self._stream = self._stack.enter_context(archive.open(info, "w", force_zip64=True))
        elif self._output.compression == "gzip":
            raw = self._stack.enter_context(path.open("wb"))  # no name and time inside: equal data, equal files
            packed = self._stack.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))
            self._stream = cast(IO[bytes], packed)
        else:
            self._stream = self._stack.enter_context(path.open("wb"))
        self._stream.write(((DECLARATION if self._declaration else "") + f"<{self._root}>\n").encode())

    def add(self, text: str) -> None:
        per_file = self._output.recs_per_file
        if per_file and self._count % per_file == 0:
            self.close()
            self._open(f"{self._name}_{self._count // per_file}")
        self._count += 1
        if self._stream:
            self._stream.write(text.encode("utf-8", "replace"))

    def close(self) -> None:
        if self._output.recs_per_file and not self._count and not self._stream:
            self._open(f"{self._name}_0")  # an empty table gives an empty list, not a missing file
        stack, stream = self._stack, self._stream
        self._stack = self._stream = None
        if stack and stream:
            with stack:
                stream.write(f"</{self._root}>\n".encode())


class Dumper:
    """Writes one export. ``beat`` is called now and then (a daemon's heartbeat)."""

    def __init__(self, db: Connection, project: Project, spec: DumpSpec, now: int,
                 beat: Callable[[], None] = lambda: None) -> None:
        self.db, self.project, self.spec, self.now, self._beat = db, project, spec, now, beat
        self._consent = int(db.value("dump.consent_type") or 0)

    def run(self, spec_text: bytes | None = None) -> list[str]:
        """Write everything and publish it; the names of the files. ``spec_text`` is published as db_dump.xml."""
        out = self.spec.output_dir
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        for enumeration in self.spec.enumerations:
            self._enumerate(enumeration)
        badges = self.db.all("dump.badges")
        apps = self.db.all("dump.apps")
        if badges:
            for kind in ("user", "team"):
                self._simple(f"badge_{kind}", f"badge_{kind}s", self._badges(kind))
        if self.project.config.credit_by_app:
            names = {a["id"]: a["user_friendly_name"] for a in apps}
            for kind in ("user", "team"):
                self._simple(f"{kind}_work", f"{kind}s", self._work(kind, names), declaration=False)
        totals = self.db.one("dump.totals") or {}
        text = records.tables(totals, self.now, bool(self.project.config.credit_by_app), apps, badges)
        (out / "tables.xml").write_text(DECLARATION + text, encoding="utf-8", errors="replace")
        if spec_text is not None:
            (out / "db_dump.xml").write_bytes(spec_text)
        _write_sums(out)
        return publish(self.spec, self.now)

    def _enumerate(self, enumeration: Enumeration) -> None:
        with contextlib.ExitStack() as stack:
            files = []
            for output in enumeration.outputs:
                file = _File(self.spec.output_dir, enumeration.filename, ROOTS[enumeration.table], output)
                stack.callback(file.close)
                files.append((file, output.detail))
            count = 0
            for row in self._rows(enumeration.table, "id" if enumeration.sort == "none" else enumeration.sort):
                texts: dict[bool, str] = {}
                for file, detail in files:
                    if detail not in texts:
                        texts[detail] = self._record(enumeration.table, row, detail)
                    file.add(texts[detail])
                count += 1
        logger.info("%s: %d records", enumeration.filename, count)

    def _rows(self, table: str, sort: str) -> Iterator[Mapping[str, Any]]:
        """All rows to export, in pages, so that neither memory nor a statement grows with the table."""
        if table.endswith("_deleted"):
            sort = "id"
        after, value = 0, 1e300
        while True:
            self._beat()
            params: dict[str, Any] = {"after": after, "limit": PAGE}
            if table in ("user", "host"):
                params["consent"] = self._consent
            if sort != "id":
                params["value"] = value
            rows = self.db.all(f"dump.{table}_by_{sort}", **params)
            yield from rows
            if len(rows) < PAGE:
                return
            after, value = rows[-1]["id"], rows[-1].get(sort, 0.0)

    def _record(self, table: str, row: Mapping[str, Any], detail: bool) -> str:
        config = self.project.config
        if table == "user":
            return records.user(row, bool(config.user_country), bool(config.user_url))
        if table == "host":
            return records.host(row, detail)
        if table == "team":
            return records.team(row, list(self._members(row["id"])) if detail else ())
        return records.deleted(table.removesuffix("_deleted"), row)

    def _members(self, team_id: int) -> Iterator[str]:
        config, after = self.project.config, 0
        while rows := self.db.all("dump.members", team=team_id, after=after, limit=PAGE, consent=self._consent):
            for row in rows:
                yield records.user(row, bool(config.user_country), bool(config.user_url), "    ")
            after = rows[-1]["id"]

    def _badges(self, kind: str) -> Iterator[str]:
        after = 0
        while rows := self.db.all(f"dump.badge_{kind}_by_id", after=after, limit=PAGE):
            if len(rows) == PAGE:  # the last owner may have more badges than this page holds
                rows = [r for r in rows if r["id"] != rows[-1]["id"]] or rows
            yield from (records.badge(kind, row) for row in rows)
            after = rows[-1]["id"]

    def _work(self, kind: str, apps: Mapping[int, str]) -> Iterator[str]:
        last = int(self.db.value(f"dump.last_work_{kind}") or 0)
        for after in range(0, last, PAGE):
            rows = self.db.all(f"dump.work_{kind}", after=after, last=after + PAGE)
            for owner, group in itertools.groupby(rows, key=lambda r: int(r["id"])):
                yield records.work(kind, owner, list(group), apps)

    def _simple(self, name: str, root: str, texts: Iterator[str], declaration: bool = True) -> None:
        file = _File(self.spec.output_dir, name, root, Output("gzip"), declaration)
        with contextlib.closing(file):
            for text in texts:
                file.add(text)


def _write_sums(folder: Path) -> None:
    """``md5sums.txt``, as md5sum prints and checks it."""
    lines = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            lines.append(f"{hashlib.file_digest(stream, 'md5').hexdigest()}  {path.name}\n")
    (folder / "md5sums.txt").write_text("".join(lines))


def publish(spec: DumpSpec, now: int) -> list[str]:
    """Move the new files to their place; tables.xml, whose update_time tells readers that there is news, last."""
    final = spec.final_output_dir
    final.mkdir(parents=True, exist_ok=True)
    if spec.archive_dir and any(final.iterdir()):
        _archive(final, spec.archive_dir, now)
    names = sorted((p.name for p in spec.output_dir.iterdir()), key=lambda n: (n == "tables.xml", n))
    for name in names:
        new, old = spec.output_dir / name, final / name
        if old.is_file() and filecmp.cmp(new, old, shallow=False):
            new.unlink()
        else:
            new.chmod(0o644)
            new.replace(old)
    for stray in final.iterdir():
        if stray.name not in names and stray.is_file():
            stray.unlink()
    spec.output_dir.rmdir()
    return names


def _archive(final: Path, archive_dir: Path, now: int) -> None:
    t = time.localtime(now)
    target = archive_dir / f"stats_{t.tm_year}_{t.tm_mon}_{t.tm_mday}_{t.tm_hour}_{t.tm_min}_{t.tm_sec}"
    archive_dir.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copytree(final, target)
    old = sorted((p for p in archive_dir.glob("stats_*") if p.is_dir()), key=lambda p: p.stat().st_ctime_ns)
    for path in old[:-KEEP_ARCHIVES]:
        shutil.rmtree(path, ignore_errors=True)
