"""Which files a result or workunit has, and where they lie (spec 03 section 6.7)."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boincdock.config import Project
from boincdock.errors import InputError
from boincdock.files.hierarchy import upload_path
from boincdock.protocol.markup import Element, parse


@dataclass(frozen=True, slots=True)
class OutputFile:
    """An output file as the result template declares it; it need not exist."""

    name: str
    logical_name: str
    path: Path
    optional: bool = False
    no_validate: bool = False


@dataclass(frozen=True, slots=True)
class DeclaredFile:
    """A ``<file_info>`` of a workunit or result."""

    name: str
    no_delete: bool
    gzip: bool


def _text(document: bytes | str) -> str:
    return document if isinstance(document, str) else document.decode("utf-8", "replace")


def _child_text(element: Element, name: str) -> str:
    child = element.find(name)
    return child.text if child else ""


def _flag(element: Element, name: str) -> bool:
    child = element.find(name)
    return child is not None and child.flag()


def safe_name(name: str) -> str:
    """``name`` if it can be a plain file name; ``InputError`` if it could lead out of its folder."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise InputError(f"file name {name!r} is not allowed")
    return name


def output_files(project: Project, xml_doc_in: bytes | str) -> list[OutputFile]:
    """The output files of a result in the template's order. ``InputError``: the document is damaged."""
    files: list[OutputFile] = []
    for top in parse(_text(xml_doc_in), "result.xml_doc_in"):
        if top.name != "result":
            continue
        for ref in (c for c in top.children if c.name == "file_ref"):
            name, logical = _child_text(ref, "file_name"), _child_text(ref, "open_name")
            if not name or not logical:
                raise InputError("result.xml_doc_in: a <file_ref> lacks <file_name> or <open_name>")
            files.append(OutputFile(name, logical, upload_path(project, safe_name(name)), _flag(ref, "optional"),
                                    _flag(ref, "no_validate")))
    return files


def declared_files(document: bytes | str, origin: str) -> list[DeclaredFile]:
    """All ``<file_info>`` elements of a workunit's ``xml_doc`` or a result's ``xml_doc_in``."""
    return [DeclaredFile(safe_name(_child_text(top, "name")), _flag(top, "no_delete"),
                         top.find("gzipped_url") is not None)
            for top in parse(_text(document), origin) if top.name == "file_info"]
