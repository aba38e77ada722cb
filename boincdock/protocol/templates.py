"""Input and output templates: reading them and expanding them to what clients get (spec 04 section 2).

Pure functions: no files, no database. ``parse_input_template`` and ``parse_output_template`` refuse with
an ``InputError`` that names the line; the expanded documents are canonical XML that every targeted client
reads (no attributes, no comments, empty elements as ``<x/>``, text escaped).
"""
from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from boincdock.errors import InputError
from boincdock.protocol.markup import Element, escape, parse, write
from boincdock.protocol.words import breaks_clients

MAX_DOCUMENT = 65535
"""Bytes that the columns workunit.xml_doc and result.xml_doc_in hold."""

DOUBLE_COLUMNS = ("rsc_fpops_est", "rsc_fpops_bound", "rsc_memory_bound", "rsc_disk_bound",
                  "rsc_bandwidth_bound")
INT_COLUMNS = ("delay_bound", "min_quorum", "target_nresults", "max_error_results", "max_total_results",
               "max_success_results", "batch", "size_class")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LOGICAL = re.compile(r"[^\x00-\x1f\x7f%\\]+")
_INT = re.compile(r"[+-]?[0-9]{1,10}")
_DOUBLE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_OUTFILE = re.compile(r"OUTFILE_([A-Za-z0-9._-]{1,60})")
_RANDOM_PART = re.compile(r"_r[0-9]+(_|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_name(name: str, what: str, max_bytes: int = 150) -> None:
    """InputError unless ``name`` is safe as a file name on every host and in a URL (spec 04 section 3.4)."""
    if not _NAME.fullmatch(name) or ".." in name or name.endswith("."):
        raise InputError(f"{what} {name!r}: letters, digits and . _ - are allowed, the first must be a letter or"
                         " digit, no '..', no '.' at the end")
    if len(name) > max_bytes:
        raise InputError(f"{what} {name[:40]!r}…: longer than {max_bytes} bytes")


def check_logical_name(name: str, what: str = "open_name") -> None:
    """InputError unless ``name`` may be opened in the slot: relative, no ``..``, no ``%``."""
    if not _LOGICAL.fullmatch(name) or ".." in name or name.startswith("/") or len(name.encode()) > 255:
        raise InputError(f"{what} {name!r}: must be a relative path without '..', '%' or control characters")


def stable_name(result_or_file_name: str) -> str:
    """The name without its random part: ``wu_b_0_r77_1`` -> ``wu_b_0_1`` (spec 03 section 4)."""
    return _RANDOM_PART.sub(r"\1", result_or_file_name, count=1)


@dataclass(frozen=True, slots=True)
class ResolvedFile:
    """A physical file of a job as clients are told of it: sizes in bytes, MD5 as lower-case hex."""

    name: str
    urls: tuple[str, ...]
    md5: str
    nbytes: int
    gzipped_nbytes: int | None = None


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """A ``<file_info>`` of an input template.

    ``physical_name`` is set for a constant file; ``urls`` (folders), ``md5``, ``nbytes`` for a remote file
    described in the template. ``passthrough`` is XML for the client.
    """

    physical_name: str = ""
    gzip: bool = False
    urls: tuple[str, ...] = ()
    md5: str = ""
    nbytes: int = 0
    gzipped_nbytes: int = 0
    no_delete: bool = False
    passthrough: str = ""

    @property
    def is_remote(self) -> bool:
        """The template says where the file is."""
        return bool(self.urls)


@dataclass(frozen=True, slots=True)
class TemplateRef:
    """A ``<file_ref>``: logical name ('' = the physical one) and ready-made XML of the rest."""

    open_name: str
    tail: str


@dataclass(frozen=True, slots=True)
class InputTemplate:
    """A parsed input template; ``columns`` holds only what the template sets."""

    files: tuple[TemplateFile, ...]
    refs: tuple[TemplateRef, ...]
    command_line: str | None = None
    columns: Mapping[str, float | int] = field(default_factory=dict)
    passthrough: str = ""

    @property
    def n_arguments(self) -> int:
        """How many file arguments a job must give: one for each file that is not constant."""
        return sum(1 for f in self.files if not f.physical_name)


def _integer(element: Element, origin: str, low: int = -2**31, high: int = 2**31 - 1) -> int:
    if not _INT.fullmatch(element.text) or not low <= int(element.text) <= high:
        raise InputError(f"{origin}, line {element.line}: <{element.name}> must be a whole number from {low} to"
                         f" {high}, not {element.text[:40]!r}")
    return int(element.text)


def _double(element: Element, origin: str) -> float:
    value = float(element.text) if _DOUBLE.fullmatch(element.text) else math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{origin}, line {element.line}: <{element.name}> must be a number >= 0, not"
                         f" {element.text[:40]!r}")
    return value


def _flag(element: Element, origin: str) -> bool:
    try:
        return element.flag()
    except InputError as error:
        raise InputError(f"{origin}, {error.message}") from None


def _unwrap(text: str, wrapper: str, origin: str) -> list[Element]:
    top = parse(text, origin)
    if len(top) == 1 and top[0].name == wrapper:
        return top[0].children
    return top


def parse_input_template(text: str, origin: str = "input template") -> InputTemplate:
    """Read an input template (spec 04 section 2.1). ``origin`` (its path) is named in errors."""
    files: list[TemplateFile] = []
    jobs: list[Element] = []
    for element in _unwrap(text, "input_template", origin):
        if element.name == "file_info":
            if jobs:
                raise InputError(f"{origin}, line {element.line}: <file_info> must come before <workunit>")
            files.append(_template_file(element, origin))
        elif element.name == "workunit":
            jobs.append(element)
        else:
            raise InputError(f"{origin}, line {element.line}: <{element.name}> where <file_info> or <workunit> is"
                             " expected")
    if len(jobs) != 1:
        raise InputError(f"{origin}: needs exactly one <workunit>, has {len(jobs)}")
    template = _template_workunit(jobs[0], files, origin)
    if len(template.refs) != len(files):
        raise InputError(f"{origin}: {len(files)} <file_info> but {len(template.refs)} <file_ref>;"
                         " the i-th reference belongs to the i-th file")
    for info, ref in zip(files, template.refs, strict=True):
        if not ref.open_name and "<copy_file/>" not in ref.tail:
            where = info.physical_name or "a file argument"
            raise InputError(f"{origin}: the <file_ref> of {where} needs <open_name> (or <copy_file/>)")
    return template


def _template_file(info: Element, origin: str) -> TemplateFile:
    result = TemplateFile()
    urls: list[str] = []
    extra: list[str] = []
    for child in info.children:
        if child.name == "number":
            continue
        if child.name == "physical_name":
            check_name(child.text, f"{origin}, line {child.line}: physical name", 255)
            result = replace(result, physical_name=child.text)
        elif child.name == "gzip":
            result = replace(result, gzip=_flag(child, origin))
        elif child.name == "url":
            urls.append(_folder_url(child, origin))
        elif child.name == "md5_cksum":
            result = replace(result, md5=check_md5(child.text, f"{origin}, line {child.line}"))
        elif child.name == "nbytes":
            result = replace(result, nbytes=int(_double(child, origin)))
        elif child.name == "gzipped_nbytes":
            result = replace(result, gzipped_nbytes=int(_double(child, origin)))
        elif child.name in ("sticky", "no_delete", "executable", "report_on_rpc"):
            if _flag(child, origin):
                extra.append(f"    <{child.name}/>\n")
                result = replace(result, no_delete=result.no_delete or child.name == "no_delete")
        else:
            extra.append(write(child, "    "))
    result = replace(result, urls=tuple(urls), passthrough="".join(extra))
    _check_remote(result, info, origin)
    return result


def _check_remote(info: TemplateFile, element: Element, origin: str) -> None:
    where = f"{origin}, line {element.line}"
    described = bool(info.urls or info.md5 or info.nbytes)
    if not described:
        return
    if info.physical_name:
        raise InputError(f"{where}: <physical_name> and a remote description (<url>, <nbytes>, <md5_cksum>) exclude"
                         " each other")
    if not (info.urls and info.md5 and info.nbytes):
        raise InputError(f"{where}: a remote file needs all of <url>, <md5_cksum> and <nbytes>")
    if info.gzip and not info.gzipped_nbytes:
        raise InputError(f"{where}: a remote file with <gzip/> needs <gzipped_nbytes>")


def _folder_url(element: Element, origin: str) -> str:
    url = check_url(element.text, f"{origin}, line {element.line}")
    return url if url.endswith("/") else url + "/"


def check_url(url: str, where: str) -> str:
    """The URL itself; InputError unless it is http(s) without white space or control characters."""
    if not re.fullmatch(r"https?://[^\s\x00-\x1f\x7f<>\"']{1,240}", url):
        raise InputError(f"{where}: {url[:80]!r} is no http:// or https:// URL (at most 250 characters)")
    return url


def check_md5(text: str, where: str) -> str:
    """The MD5 in lower case, as clients compare it; InputError unless it is 32 hex digits."""
    if not re.fullmatch(r"[0-9a-fA-F]{32}", text):
        raise InputError(f"{where}: {text[:40]!r} is no MD5 (32 hex digits)")
    return text.lower()


def _template_workunit(job: Element, files: Sequence[TemplateFile], origin: str) -> InputTemplate:
    refs: list[TemplateRef] = []
    columns: dict[str, float | int] = {}
    command_line: str | None = None
    extra: list[str] = []
    for child in job.children:
        if child.name == "file_ref":
            refs.append(_template_ref(child, origin))
        elif child.name == "command_line":
            command_line = child.text
            check_command_line(child.text, f"{origin}, line {child.line}")
        elif child.name in DOUBLE_COLUMNS:
            columns[child.name] = _double(child, origin)
        elif child.name in INT_COLUMNS:
            columns[child.name] = _integer(child, origin, -1 if child.name == "size_class" else 0)
        else:
            extra.append(write(child, "    "))
    return InputTemplate(tuple(files), tuple(refs), command_line, columns, "".join(extra))


def _template_ref(ref: Element, origin: str) -> TemplateRef:
    open_name = ""
    tail: list[str] = []
    for child in ref.children:
        if child.name in ("file_number", "file_name"):
            continue
        if child.name == "open_name":
            open_name = child.text
            check_logical_name(open_name, f"{origin}, line {child.line}: open_name")
        elif child.name in ("copy_file", "optional"):
            if _flag(child, origin):
                tail.append(f"    <{child.name}/>\n")
        else:
            tail.append(write(child, "    "))
    return TemplateRef(open_name, "".join(tail))


def check_command_line(text: str, where: str) -> None:
    """InputError if clients would misread the line: an empty quoted word, a control character, too long."""
    if breaks_clients(text):
        raise InputError(f"{where}: the command line holds an empty quoted word ('' or \"\"), which BOINC clients"
                         " misread: leave it out")
    if _CONTROL.search(text.replace("\t", " ").replace("\n", " ")):
        raise InputError(f"{where}: the command line holds a control character")
    if len(text.encode()) > 16384:
        raise InputError(f"{where}: the command line is longer than 16384 bytes")


def _file_info(info: TemplateFile, actual: ResolvedFile) -> str:
    parts = ["<file_info>\n", info.passthrough, f"    <name>{escape(actual.name)}</name>\n"]
    for url in actual.urls:
        parts.append(f"    <url>{escape(url)}</url>\n")
        if actual.gzipped_nbytes:
            parts.append(f"    <gzipped_url>{escape(url)}.gz</gzipped_url>\n")
    if actual.gzipped_nbytes:
        parts.append(f"    <gzipped_nbytes>{actual.gzipped_nbytes}</gzipped_nbytes>\n")
    parts.append(f"    <md5_cksum>{actual.md5}</md5_cksum>\n    <nbytes>{actual.nbytes}</nbytes>\n</file_info>\n")
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class InputDocument:
    """``workunit.xml_doc`` but for the command line, which is what jobs of a kind differ in."""

    head: str
    tail: str
    command_line: str | None

    def text(self, command_line: str = "") -> str:
        """The whole document (spec 04 section 2.2). ``command_line`` must be empty if the template has one.
        InputError: two command lines, more than 65535 bytes."""
        if command_line and self.command_line:
            raise InputError("the template has a <command_line> already, so none can be given for the job")
        line = command_line or self.command_line
        document = (f"{self.head}<command_line>\n{escape(line)}\n</command_line>\n{self.tail}" if line
                    else self.head + self.tail)
        if len(document) > MAX_DOCUMENT // 4 and len(document.encode()) > MAX_DOCUMENT:
            raise InputError(f"the job's XML document is larger than {MAX_DOCUMENT} bytes: use fewer input files"
                             " (pack them into an archive) or shorter names")
        return document


def input_document(template: InputTemplate, files: Sequence[ResolvedFile], extra_xml: str = "") -> InputDocument:
    """The document of jobs with these files.

    ``files`` has one entry for each ``<file_info>`` of the template, in order. ``extra_xml`` (well-formed, ours) goes
    before ``</workunit>``. InputError: wrong number of files.
    """
    if len(files) != len(template.files):
        raise InputError(f"the template needs {len(template.files)} files, got {len(files)}")
    head = [_file_info(info, actual) for info, actual in zip(template.files, files, strict=True)]
    head.append("<workunit>\n")
    tail: list[str] = []
    for ref, actual in zip(template.refs, files, strict=True):
        name = escape(actual.name)
        tail.append(f"<file_ref>\n    <file_name>{name}</file_name>\n"
                    f"    <open_name>{escape(ref.open_name) or name}</open_name>\n{ref.tail}</file_ref>\n")
    tail += [template.passthrough, extra_xml, "</workunit>\n"]
    return InputDocument("".join(head), "".join(tail), template.command_line)


def expand_input(template: InputTemplate, files: Sequence[ResolvedFile], command_line: str = "",
                 extra_xml: str = "") -> str:
    """``workunit.xml_doc``; see ``input_document`` and ``InputDocument.text``."""
    return input_document(template, files, extra_xml).text(command_line)


@dataclass(frozen=True, slots=True)
class OutputFile:
    """An output file of a template: ``suffix`` follows the random part of its name (``_r<R>_<suffix>``)."""

    suffix: str
    open_name: str
    max_nbytes: int
    uploaded: bool


@dataclass(frozen=True, slots=True)
class OutputTemplate:
    """A parsed output template. Expanding is string joining only, so that results are cheap to make."""

    files: tuple[OutputFile, ...]
    _parts: tuple[str, ...]

    def expand(self, result_name: str, random_number: int, upload_url: str,
               certify: Callable[[str, int], str] | None) -> str:
        """``result.xml_doc_in`` (spec 04 section 2.4).

        ``random_number``: a fresh, unguessable one in [0, 2^31). ``certify(physical name, max_nbytes)`` gives
        the signature text of an upload certificate; None leaves certificates out.
        InputError: more than 65535 bytes.
        """
        base = f"{result_name}_r{random_number}_"
        url = escape(upload_url)
        out: list[str] = []
        for number, part in enumerate(self._parts):
            if number % 2 == 0:
                out.append(part)
            elif part[0] == "O":
                out.append(base + part[1:])
            elif part[0] == "U":
                out.append(url)
            elif certify is not None:
                made = self.files[int(part[1:])]
                signature = certify(base + made.suffix, made.max_nbytes).strip()
                out.append(f"    <xml_signature>\n{signature}\n    </xml_signature>\n")
        document = "".join(out)
        if len(document) > MAX_DOCUMENT // 4 and len(document.encode()) > MAX_DOCUMENT:
            raise InputError(f"the result's XML document is larger than {MAX_DOCUMENT} bytes: too many output files")
        return document


def parse_output_template(text: str, origin: str = "output template") -> OutputTemplate:
    """Read an output template (spec 04 section 2.3). Names of output files must hold ``<OUTFILE_x/>``;
    uploaded files need ``<max_nbytes>``; each ``<file_ref>`` needs ``<file_name>`` (one of the files) and
    ``<open_name>``. InputError says what is wrong and where."""
    infos: list[Element] = []
    results: list[Element] = []
    for element in _unwrap(text, "output_template", origin):
        _mark_macros(element, origin)
        if element.name == "file_info":
            infos.append(element)
        elif element.name == "result":
            results.append(element)
        else:
            raise InputError(f"{origin}, line {element.line}: <{element.name}> where <file_info> or <result> is"
                             " expected")
    if len(results) != 1:
        raise InputError(f"{origin}: needs exactly one <result>, has {len(results)}")
    names = [_output_name(info, origin) for info in infos]
    if len(set(names)) != len(names):
        raise InputError(f"{origin}: two <file_info> have the same <name>")
    opened, result_xml = _output_result(results[0], set(names), origin)
    files: list[OutputFile] = []
    body: list[str] = []
    for number, (info, name) in enumerate(zip(infos, names, strict=True)):
        made, xml = _output_file(info, name, opened.get(name, ""), origin)
        files.append(made)
        body.append(f"<file_info>\n{xml}\0S{number}\0</file_info>\n")
    return OutputTemplate(tuple(files), tuple(("".join(body) + result_xml).split("\0")))


def _mark_macros(element: Element, origin: str) -> None:
    """Replace macro elements by marks that cannot occur in text: NUL, a letter, an argument, NUL."""
    for at, part in enumerate(element.content):
        if isinstance(part, str):
            continue
        macro = _OUTFILE.fullmatch(part.name)
        if macro:
            element.content[at] = f"\0O{macro.group(1)}\0"
        elif part.name == "UPLOAD_URL":
            element.content[at] = "\0U\0"
        elif part.name.startswith("OUTFILE_"):
            raise InputError(f"{origin}, line {part.line}: <{part.name}/>: letters, digits and . _ - may follow"
                             " OUTFILE_")
        else:
            _mark_macros(part, origin)


def _output_name(info: Element, origin: str) -> str:
    element = info.find("name")
    if element is None or not element.text:
        raise InputError(f"{origin}, line {info.line}: <file_info> without <name>")
    match = re.fullmatch(r"\0O([^\0]*)\0([A-Za-z0-9._-]*)", element.text)
    if match is None:
        raise InputError(f"{origin}, line {element.line}: the <name> of an output file must be <OUTFILE_0/> (or _1,"
                         " _2 …), perhaps followed by an extension")
    if ".." in match.group(1) + match.group(2):
        raise InputError(f"{origin}, line {element.line}: no '..' in a file name")
    return match.group(1) + match.group(2)


def _output_file(info: Element, name: str, open_name: str, origin: str) -> tuple[OutputFile, str]:
    max_nbytes: int | None = None
    uploaded = False
    lines: list[str] = []
    for child in info.children:
        if child.name in ("number", "xml_signature"):
            continue
        if child.name == "max_nbytes":
            max_nbytes = int(float(f"{_double(child, origin):.0f}"))
        elif child.name in ("url", "upload_url"):
            uploaded = True
            lines.append(write(Element(child.name, child.line, [child.text]), "    "))
        elif child.name == "name":
            lines.append(write(Element("name", child.line, [child.text]), "    "))
        elif not child.children and child.name in ("sticky", "no_delete", "gzip_when_done", "generated_locally",
                                                   "upload_when_present"):
            lines += [f"    <{child.name}/>\n"] if _flag(child, origin) else []
        else:
            lines.append(write(child, "    "))
    if uploaded and max_nbytes is None:
        raise InputError(f"{origin}, line {info.line}: an output file needs <max_nbytes>, without it every upload"
                         " is refused")
    lines.append(f"    <max_nbytes>{max_nbytes or 0}</max_nbytes>\n")
    return OutputFile(name, open_name, max_nbytes or 0, uploaded), "".join(lines)


def _output_result(result: Element, names: set[str], origin: str) -> tuple[dict[str, str], str]:
    """({suffix: open_name}, XML of the result block); always an open and a close tag, because the
    scheduler inserts after the one and before the other."""
    opened: dict[str, str] = {}
    lines: list[str] = ["<result>\n"]
    for child in result.children:
        if child.name != "file_ref":
            lines.append(write(child, "    "))
            continue
        file_name, open_name = child.find("file_name"), child.find("open_name")
        if file_name is None or open_name is None or not open_name.text:
            raise InputError(f"{origin}, line {child.line}: <file_ref> needs <file_name> and <open_name>")
        suffix = file_name.text.replace("\0O", "", 1).replace("\0", "", 1)
        if not file_name.text.startswith("\0O") or suffix not in names:
            raise InputError(f"{origin}, line {file_name.line}: this <file_name> is none of the template's files")
        check_logical_name(open_name.text, f"{origin}, line {open_name.line}: open_name")
        if open_name.text in opened.values():
            raise InputError(f"{origin}, line {open_name.line}: open_name {open_name.text!r} is used twice")
        opened[suffix] = open_name.text
        lines.append("    <file_ref>\n")
        for part in child.children:
            flag_off = part.name in ("copy_file", "optional", "no_validate") and not _flag(part, origin)
            if not flag_off:
                empty = part.name in ("copy_file", "optional", "no_validate")
                text = [] if empty else [part.text]
                lines.append(write(Element(part.name, part.line, part.content if part.children else list(text)),
                                   "        "))
        lines.append("    </file_ref>\n")
    lines.append("</result>\n")
    return opened, "".join(lines)
