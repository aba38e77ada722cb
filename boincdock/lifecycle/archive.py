"""Archive files of purged jobs, as BOINC's tools know them (spec 03 section 13)."""
from __future__ import annotations

import gzip
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from boincdock.errors import BoincdockError


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WORKUNIT_FIELDS = _words(
    "id create_time appid name xml_doc batch rsc_fpops_est rsc_fpops_bound rsc_memory_bound rsc_disk_bound"
    " need_validate canonical_resultid canonical_credit transition_time delay_bound error_mask file_delete_state"
    " assimilate_state hr_class opaque min_quorum target_nresults max_error_results max_total_results"
    " max_success_results result_template_file priority mod_time")
RESULT_FIELDS = _words(
    "id create_time workunitid server_state outcome client_state hostid userid report_deadline sent_time"
    " received_time name cpu_time xml_doc_in xml_doc_out stderr_out batch file_delete_state validate_state"
    " claimed_credit granted_credit opaque random app_version_num app_version_id appid exit_status teamid priority"
    " mod_time")
_RAW = {"xml_doc", "xml_doc_in", "xml_doc_out"}
_KINDS = ("wu_archive", "result_archive", "wu_index", "result_index")
_CONTROLS = {code: f"&#{code};" if chr(code) in "\t\n\r" else None for code in range(32)}
FORMATS = {"": "", "gzip": ".gz", "zlib": ".gz", "zip": ".zip"}


def escape(text: str) -> str:
    """Text for an archive: markup and line breaks escaped, other control characters dropped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("]]>", "]]&gt;").translate(_CONTROLS)


def value_text(name: str, value: Any) -> str:
    """A column's value as archives show it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:f}" if name == "opaque" else f"{value:.15e}"
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if name in _RAW else escape(text)


def record(tag: str, fields: Sequence[str], row: Mapping[str, Any]) -> str:
    """One ``<workunit_archive>`` or ``<result_archive>``."""
    body = "".join(f"  <{f}>{value_text(f, row[f])}</{f}>\n" for f in fields)
    return f"<{tag}>\n{body}</{tag}>\n"


class _File:
    """One archive file, plain, gzip or zip."""

    def __init__(self, path: Path, suffix: str) -> None:
        self._raw: IO[bytes] = path.open("xb")
        self._zip: zipfile.ZipFile | None = None
        self._out: IO[bytes] = self._raw
        if suffix == ".gz":
            self._out = gzip.GzipFile(fileobj=self._raw, mode="wb", filename="")  # type: ignore[assignment]
        elif suffix == ".zip":
            self._zip = zipfile.ZipFile(self._raw, "w", zipfile.ZIP_DEFLATED)
            self._out = self._zip.open(path.name.removesuffix(".zip"), "w", force_zip64=True)

    def write(self, text: str) -> None:
        self._out.write(text.encode())

    def sync(self) -> None:
        """Everything written so far is on disk and readable (zip: only once closed)."""
        if self._zip is None:
            self._out.flush()
        self._raw.flush()
        os.fsync(self._raw.fileno())

    def close(self) -> None:
        if self._out is not self._raw:
            self._out.close()
        if self._zip is not None:
            self._zip.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()


class ArchiveSet:
    """The four files of one time stamp T, which no other set shares; made at once."""

    def __init__(self, folder: Path, kind: str, now: int) -> None:
        suffix = FORMATS[kind]
        folder.mkdir(parents=True, exist_ok=True)
        self.stamp, self._files = self._open(folder, suffix, now)
        self.workunits = 0
        for name in ("wu_archive", "result_archive"):
            self._files[name].write("<archive>\n")

    @staticmethod
    def _open(folder: Path, suffix: str, now: int) -> tuple[int, dict[str, _File]]:
        for stamp in range(now, now + 3600):
            # The first file, made exclusively, decides whose the stamp is.
            if any(folder.glob(f"*_{stamp}.xml*")):
                continue
            try:
                first = _File(folder / f"{_KINDS[0]}_{stamp}.xml{suffix}", suffix)
            except FileExistsError:
                continue
            rest = {name: _File(folder / f"{name}_{stamp}.xml{suffix}", suffix) for name in _KINDS[1:]}
            return stamp, {_KINDS[0]: first, **rest}
        raise BoincdockError(f"cannot find a free name for an archive in {folder}")

    def _index(self, row: Mapping[str, Any]) -> str:
        return f"{row['id']}     {self.stamp}    {row['name']}\n"

    def add_workunit(self, row: Mapping[str, Any]) -> None:
        """Append a workunit."""
        self._files["wu_archive"].write(record("workunit_archive", WORKUNIT_FIELDS, row))
        self._files["wu_index"].write(self._index(row))
        self.workunits += 1

    def add_result(self, row: Mapping[str, Any]) -> None:
        """Append a result."""
        self._files["result_archive"].write(record("result_archive", RESULT_FIELDS, row))
        self._files["result_index"].write(self._index(row))

    def sync(self) -> None:
        """Force everything to disk."""
        for each in self._files.values():
            each.sync()

    def close(self) -> None:
        """End the files properly."""
        for name in ("wu_archive", "result_archive"):
            self._files[name].write("</archive>\n")
        for each in self._files.values():
            each.close()


def day_folder(base: Path, now: int) -> Path:
    """``archives/YYYY_MM_DD`` (UTC)."""
    return base / time.strftime("%Y_%m_%d", time.gmtime(now))


__all__ = ["FORMATS", "ArchiveSet", "day_folder", "escape", "record", "value_text"]
