"""A strict look at plan_class_spec.xml, with line numbers (spec 02 section 6.2).

The scheduler reads the file as tolerantly as clients' files are read; a misspelt element there is simply no test,
and a class then goes to hosts that cannot run it. This is what tells the operator before.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field

from boincdock.errors import ConfigError, InputError
from boincdock.protocol.markup import Element, parse
from boincdock.protocol.scanner import to_bool, to_long, to_number
from boincdock.scheduler.plan_spec import element_kind, parse_plan_classes

ORIGIN = "plan_class_spec.xml"


@dataclass
class PlanCheck:
    """``errors``: the file cannot be used, or a test in it does not work; ``warnings``: it does not say what it
    seems to say. Each names file and line. ``names``: the classes."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def check_plan_classes(data: bytes, origin: str = ORIGIN) -> PlanCheck:
    """Check the content of a plan_class_spec.xml; never raises for what is in it."""
    found = PlanCheck()
    try:
        top = parse(data.decode("utf-8"), origin)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found.errors.append(f"{origin}, line {line}: not UTF-8 text")
        return found
    except InputError as error:
        found.errors.append(error.message)
        return found
    if len(top) != 1 or top[0].name != "plan_classes":
        found.errors.append(f"{origin}, line {top[0].line if top else 1}: must be one <plan_classes> element")
        return found
    for element in top[0].children:
        if element.name == "plan_class":
            _class(element, origin, found)
        else:
            found.warnings.append(f"{origin}, line {element.line}: <{element.name}> where <plan_class> is expected")
    try:
        parse_plan_classes(data)
    except ConfigError as error:
        if not found.errors:
            found.errors.append(error.message)
    return found


def _class(element: Element, origin: str, found: PlanCheck) -> None:
    name = element.find("name")
    if name is None or not name.text:
        found.errors.append(f"{origin}, line {element.line}: <plan_class> without <name>")
    elif name.text in found.names:
        found.warnings.append(f"{origin}, line {element.line}: plan class {name.text} is there twice; the first counts")
    else:
        found.names.append(name.text)
    seen: set[str] = set()
    for child in element.children:
        where = f"{origin}, line {child.line}"
        kind = element_kind(child.name)
        if kind is None:
            found.warnings.append(f"{where}: <{child.name}> is unknown in <plan_class> and tests nothing")
            continue
        if child.name in seen and kind not in ("feature", "exclude"):
            found.warnings.append(f"{where}: <{child.name}> is there twice; the last counts")
        seen.add(child.name)
        _value(child, kind, where, found)


def _value(child: Element, kind: str, where: str, found: PlanCheck) -> None:
    raw = child.text.encode()
    if kind == "b":
        good = (not raw and not child.children) or to_bool(raw) is not None
    elif kind in ("i", "exclude"):
        good = bool(raw) and to_long(raw) is not None
    elif kind == "d":
        good = bool(raw) and to_number(raw) is not None
    elif kind == "re":
        try:
            re.compile(child.text)
        except re.error as error:
            found.errors.append(f"{where}: <{child.name}> {child.text!r} is no regular expression: {error}")
        return
    else:
        good = bool(raw)
    if not good:
        found.errors.append(f"{where}: <{child.name}> has the unusable value {child.text[:40]!r}")
