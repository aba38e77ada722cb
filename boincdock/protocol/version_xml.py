"""version.xml, names of version folders, and ``app_version.xml_doc`` (spec 04 sections 6.1, 6.2, 6.4). Pure."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from boincdock.errors import InputError
from boincdock.protocol.markup import Element, escape, parse
from boincdock.protocol.templates import check_logical_name, check_url

MAX_PLAN_CLASS = 63
"""Longest plan class that clients keep, in characters."""

_VERSION = re.compile(r"([0-9]{1,7})(?:\.([0-9]{1,7}))?")
_API = re.compile(r"[0-9]{1,5}\.[0-9]{1,5}\.[0-9]{1,5}")
# A printable run must end right behind the numbers, as `strings` prints it.
_API_MARK = re.compile(rb"API_VERSION_([0-9]+\.[0-9]+\.[0-9]+)(?![\t -~])")
_PHYSICAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def parse_version_number(folder: str) -> int | None:
    """100·MAJOR+MINOR of a version folder (``2.4`` -> 204, ``1.07`` -> 107, ``107`` -> 107); None if the
    name is no version. InputError for a minor number above 99."""
    match = _VERSION.fullmatch(folder)
    if match is None:
        return None
    if match.group(2) is None:
        return int(match.group(1))
    if int(match.group(2)) > 99:
        raise InputError(f"version {folder}: the part after the dot must be below 100")
    number = 100 * int(match.group(1)) + int(match.group(2))
    if number >= 2**31:
        raise InputError(f"version {folder} is too large")
    return number


def parse_platform_folder(folder: str) -> tuple[str, str]:
    """(platform, plan class) of a platform folder; InputError for a second ``__`` or a bad plan class."""
    platform, mark, plan_class = folder.partition("__")
    if "__" in plan_class:
        raise InputError(f"{folder}: a second '__' is not allowed")
    if mark and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", plan_class):
        raise InputError(f"{folder}: {plan_class!r} is no plan class")
    if len(plan_class) > MAX_PLAN_CLASS:
        raise InputError(f"{folder}: the plan class is longer than {MAX_PLAN_CLASS} characters")
    return platform, plan_class


def find_api_version(program: bytes) -> str | None:
    """The ``MAJOR.MINOR.RELEASE`` behind the first ``API_VERSION_`` that ends a printable run, or None."""
    match = _API_MARK.search(program)
    return match.group(1).decode() if match else None


def check_physical_name(name: str, where: str = "") -> None:
    """InputError, beginning with ``where``, unless ``name`` is safe on every host; sub-folders are allowed for app
    files."""
    if not _PHYSICAL.fullmatch(name) or ".." in name or len(name) > 150 or \
            any(part.endswith(".") or _RESERVED.fullmatch(part) for part in name.split("/")):
        raise InputError(f"{where}physical name {name!r}: letters, digits and . _ - are allowed (and / for folders), no"
                         " '..', at most 150 characters, no Windows device name")


@dataclass(frozen=True, slots=True)
class VersionFile:
    """A ``<file>`` of version.xml."""

    physical_name: str
    logical_name: str = ""
    main_program: bool = False
    copy_file: bool = False
    gzip: bool = False
    urls: tuple[str, ...] = ()
    line: int = field(default=0, compare=False)
    """Where version.xml lists it; 0 if it does not."""


@dataclass(frozen=True, slots=True)
class VersionSpec:
    """What version.xml says; with no file, everything has its default."""

    files: tuple[VersionFile, ...] = ()
    api_version: str = ""
    is_wrapper: bool = False
    needs_network: bool = False
    dont_throttle: bool = False
    file_prefix: str = ""
    beta: bool = False


_FLAGS = ("is_wrapper", "needs_network", "dont_throttle", "beta")


def parse_version_xml(text: str, origin: str = "version.xml") -> VersionSpec:
    """Read a version.xml. InputError names the line; unknown elements are errors too, because a
    misspelt flag of a published version can never be corrected."""
    top = parse(text, origin)
    if len(top) != 1 or top[0].name != "version":
        raise InputError(f"{origin}: must be one <version> element")
    spec = VersionSpec()
    files: list[VersionFile] = []
    for child in top[0].children:
        where = f"{origin}, line {child.line}"
        if child.name == "file":
            files.append(_version_file(child, origin))
        elif child.name in _FLAGS:
            spec = replace(spec, **{child.name: _flag(child, origin)})  # type: ignore[arg-type]
        elif child.name == "api_version":
            if not _API.fullmatch(child.text) or len(child.text) > 15:
                raise InputError(f"{where}: <api_version> must be like 8.2.0, not {child.text[:40]!r}")
            spec = replace(spec, api_version=child.text)
        elif child.name == "file_prefix":
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,15}", child.text) or ".." in child.text:
                raise InputError(f"{where}: <file_prefix> must be 1 to 15 letters, digits and . _ -")
            spec = replace(spec, file_prefix=child.text)
        else:
            raise InputError(f"{where}: <{child.name}> is unknown in <version>")
    names = [f.physical_name.lower() for f in files]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{origin}: {name} is listed twice (upper and lower case are one)")
    return replace(spec, files=tuple(files))


def _flag(element: Element, origin: str) -> bool:
    try:
        return element.flag()
    except InputError as error:
        raise InputError(f"{origin}, {error.message}") from None


def _version_file(element: Element, origin: str) -> VersionFile:
    made = VersionFile("", line=element.line)
    urls: list[str] = []
    for child in element.children:
        where = f"{origin}, line {child.line}"
        if child.name == "physical_name":
            check_physical_name(child.text, f"{where}: ")
            made = replace(made, physical_name=child.text)
        elif child.name == "logical_name":
            check_logical_name(child.text, f"{where}: logical_name")
            made = replace(made, logical_name=child.text)
        elif child.name in ("main_program", "copy_file", "gzip"):
            made = replace(made, **{child.name: _flag(child, origin)})  # type: ignore[arg-type]
        elif child.name == "url":
            urls.append(check_url(child.text, where))
        else:
            raise InputError(f"{where}: <{child.name}> is unknown in <file>")
    if not made.physical_name:
        raise InputError(f"{origin}, line {element.line}: <file> without <physical_name>")
    return replace(made, urls=tuple(urls))


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of a version as it will be published: full URLs, size in bytes, signature text."""

    file: VersionFile
    urls: tuple[str, ...]
    nbytes: int
    md5: str
    signature: str
    executable: bool
    gzipped_nbytes: int | None = None


def choose_main_program(files: Sequence[VersionFile], where: str) -> tuple[VersionFile, ...]:
    """The files with exactly one main program; a single file is it by itself. InputError otherwise."""
    mains = [f for f in files if f.main_program]
    if not mains and len(files) == 1:
        return (replace(files[0], main_program=True),)
    if len(mains) != 1:
        raise InputError(f"{where}: exactly one file must be the main program, {len(mains)} of {len(files)} are",
                         "mark it with <main_program/> in version.xml")
    if mains[0].physical_name.lower().endswith((".jpg", ".jpeg", ".png")):
        raise InputError(f"{where}: clients refuse to run a main program named {mains[0].physical_name}")
    return tuple(files)


def app_version_xml(app_name: str, version_num: int, spec: VersionSpec, files: Sequence[PublishedFile]) -> str:
    """``app_version.xml_doc`` (spec 04 section 6.4): file_infos, then one ``<app_version>``."""
    parts: list[str] = []
    for made in files:
        parts.append(f"<file_info>\n    <name>{made.file.physical_name}</name>\n")
        for url in made.urls:
            parts.append(f"    <url>{escape(url)}</url>\n")
            if made.gzipped_nbytes:
                parts.append(f"    <gzipped_url>{escape(url)}.gz</gzipped_url>\n")
        if made.executable:
            parts.append("    <executable/>\n")
        parts.append(f"    <file_signature>\n{made.signature.strip()}\n    </file_signature>\n")
        if made.gzipped_nbytes:
            parts.append(f"    <gzipped_nbytes>{made.gzipped_nbytes}</gzipped_nbytes>\n")
        parts.append(f"    <md5_cksum>{made.md5}</md5_cksum>\n    <nbytes>{made.nbytes}</nbytes>\n</file_info>\n")
    parts.append(f"<app_version>\n    <app_name>{escape(app_name)}</app_name>\n"
                 f"    <version_num>{version_num}</version_num>\n")
    if spec.api_version:
        parts.append(f"    <api_version>{spec.api_version}</api_version>\n")
    for made in files:
        parts.append(f"<file_ref>\n    <file_name>{made.file.physical_name}</file_name>\n")
        if made.file.logical_name:
            parts.append(f"    <open_name>{escape(made.file.logical_name)}</open_name>\n")
        for flag in ("main_program", "copy_file"):
            if getattr(made.file, flag):
                parts.append(f"    <{flag}/>\n")
        parts.append("</file_ref>\n")
    for flag in ("is_wrapper", "needs_network", "dont_throttle"):
        if getattr(spec, flag):
            parts.append(f"    <{flag}/>\n")
    if spec.file_prefix:
        parts.append(f"    <file_prefix>{spec.file_prefix}</file_prefix>\n")
    parts.append("</app_version>\n")
    return "".join(parts)
