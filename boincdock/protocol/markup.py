"""A small reader and writer for the XML dialect of templates and version.xml (spec 04 section 2).

Lenient where files in circulation need it: an XML declaration, comments and blank lines anywhere,
attributes (dropped), CDATA. Strict about nesting: a stray tag is an ``InputError`` that names the line.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from boincdock.errors import InputError

_TOKEN = re.compile(r"<!--.*?-->|<\?.*?\?>|<!\[CDATA\[(.*?)\]\]>|<!DOCTYPE[^>]*>|<(/?)([^\s<>/]+)([^<>]*?)(/?)>|[^<]+",
                    re.DOTALL)
_ENTITY = re.compile(r"&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,7}));")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def escape(text: str) -> str:
    """Text for an element of a document that a client reads; tab, LF and CR stay as they are."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unescape(text: str) -> str:
    """Undo the five standard entities and decimal character references; anything else stays."""
    if "&" not in text:
        return text
    def one(match: re.Match[str]) -> str:
        if match.group(1):
            return _NAMED[match.group(1)]
        code = int(match.group(2))
        return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else match.group(0)
    return _ENTITY.sub(one, text)


@dataclass(slots=True)
class Element:
    """An element: its name, its content in order (text is unescaped) and the line it starts on."""

    name: str
    line: int = 0
    content: list[str | Element] = field(default_factory=list)

    @property
    def children(self) -> list[Element]:
        """The child elements."""
        return [part for part in self.content if isinstance(part, Element)]

    @property
    def text(self) -> str:
        """The element's own text, without outer white space."""
        return "".join(part for part in self.content if isinstance(part, str)).strip()

    def find(self, name: str) -> Element | None:
        """The last child of that name (a repeated element replaces the earlier one), or None."""
        found = [child for child in self.children if child.name == name]
        return found[-1] if found else None

    def flag(self) -> bool:
        """Boolean value: empty or a non-zero integer is true. InputError for anything else."""
        if not self.text and not self.children:
            return True
        try:
            return int(self.text) != 0
        except ValueError:
            raise InputError(f"line {self.line}: <{self.name}> must be empty, 0 or 1, not {self.text!r}") from None


def parse(text: str, origin: str) -> list[Element]:
    """The top-level elements of ``text``; text between them is refused unless it is white space.

    ``origin`` names the source in errors. InputError: a tag that does not match, or text outside.
    """
    root = Element("", 1)
    stack = [root]
    line = 1
    at = 0
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise InputError(f"{origin}: holds a NUL character")
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InputError(f"{origin}, line {line}: a '<' that starts no tag (write &lt; in text)")
        token = match.group(0)
        _take(match, token, stack, line, origin)
        line += token.count("\n")
        at = match.end()
    if len(stack) > 1:
        raise InputError(f"{origin}: <{stack[-1].name}> of line {stack[-1].line} is never closed")
    return root.children


def _take(match: re.Match[str], token: str, stack: list[Element], line: int, origin: str) -> None:
    top = stack[-1]
    if match.group(3):
        name = match.group(3)
        if match.group(2):
            if len(stack) == 1 or top.name != name:
                opened = f"<{top.name}> of line {top.line} is open" if len(stack) > 1 else "nothing is open"
                raise InputError(f"{origin}, line {line}: </{name}> where {opened}")
            stack.pop()
            return
        element = Element(name, line)
        top.content.append(element)
        if not match.group(5):
            stack.append(element)
    elif token.startswith("<![CDATA["):
        top.content.append(match.group(1))
    elif not token.startswith("<"):
        if len(stack) > 1:
            top.content.append(unescape(token))
        elif token.strip():
            raise InputError(f"{origin}, line {line}: text outside of any element: {token.strip()[:40]!r}")


def write(element: Element, indent: str = "") -> str:
    """The element as a client can read it: no attributes, no comments, an empty one as ``<x/>`` (never
    ``<x></x>``, which makes a client skip the rest of its reply), ended by LF."""
    return "".join(_write(element, indent)) + "\n"


def _write(element: Element, indent: str) -> Iterator[str]:
    if not element.children:
        text = "".join(part for part in element.content if isinstance(part, str))
        yield f"{indent}<{element.name}>{escape(text)}</{element.name}>" if text.strip() \
            else f"{indent}<{element.name}/>"
        return
    yield f"{indent}<{element.name}>"
    mixed = any(isinstance(part, str) and part.strip() for part in element.content)
    for part in element.content:
        if isinstance(part, Element):
            yield from _write(part, "") if mixed else ["\n", *_write(part, indent + "    ")]
        elif mixed:
            yield escape(part)
    yield f"</{element.name}>" if mixed else f"\n{indent}</{element.name}>"
