"""Which files a result or workunit has, and where they lie (spec 03 section 6.7)."""
from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
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


@dataclass(frozen=True, slots=True)
class _Reference:
    name: str
    logical_name: str
    optional: bool
    no_validate: bool


# Results of one template differ in the file names' random part and the signatures only. With those taken out the
# parsed form can be kept, which makes reading a result's document some twenty times faster.
_SIGNATURE = re.compile(r"<xml_signature>[^<]*</xml_signature>")
_STEM = re.compile(r"<name>([^<>&\s\1]+_r\d+)(?:_[^<>&\s\1]*)?</name>")
_MARK = "\1"


def _normal_form(document: bytes | str) -> tuple[str, str]:
    """(document with the names' common stem replaced by a mark, the stem); without a stem as it is."""
    text = _text(document)
    match = _STEM.search(text)
    if match is None or _MARK in text:
        return text, ""
    return _SIGNATURE.sub("", text).replace(match.group(1), _MARK), match.group(1)


@lru_cache(maxsize=1024)
def _references(text: str) -> tuple[_Reference, ...]:
    found = []
    for top in parse(text, "result.xml_doc_in"):
        for ref in (c for c in top.children if top.name == "result" and c.name == "file_ref"):
            name, logical = _child_text(ref, "file_name"), _child_text(ref, "open_name")
            if not name or not logical:
                raise InputError("result.xml_doc_in: a <file_ref> lacks <file_name> or <open_name>")
            found.append(_Reference(name, logical, _flag(ref, "optional"), _flag(ref, "no_validate")))
    return tuple(found)


@lru_cache(maxsize=1024)
def _declared(text: str, origin: str) -> tuple[DeclaredFile, ...]:
    return tuple(DeclaredFile(_child_text(top, "name"), _flag(top, "no_delete"), top.find("gzipped_url") is not None)
                 for top in parse(text, origin) if top.name == "file_info")


def output_files(project: Project, xml_doc_in: bytes | str) -> list[OutputFile]:
    """The output files of a result in the template's order. ``InputError``: the document is damaged."""
    text, stem = _normal_form(xml_doc_in)
    files: list[OutputFile] = []
    for ref in _references(text):
        name = safe_name(ref.name.replace(_MARK, stem))
        files.append(OutputFile(name, ref.logical_name.replace(_MARK, stem), upload_path(project, name), ref.optional,
                                ref.no_validate))
    return files


def declared_files(document: bytes | str, origin: str) -> list[DeclaredFile]:
    """All ``<file_info>`` elements of a workunit's ``xml_doc`` or a result's ``xml_doc_in``."""
    text, stem = _normal_form(document)
    return [replace(f, name=safe_name(f.name.replace(_MARK, stem))) for f in _declared(text, origin)]


def stable_name(name: str) -> str:
    """A physical output name without its random part ``_r<digits>`` (spec 03 section 4): the same for every
    instance's file of that place, up to the instance number."""
    return _RANDOM.sub(r"\1", name)


_RANDOM = re.compile(r"_r\d+(_|\Z)")
