"""The macros of gui_urls.xml (spec 01 section 4.5)."""
from __future__ import annotations

import re
from functools import lru_cache

_IFTEAM = re.compile(r"<ifteam>(.*?)</ifteam>", re.S)
_MACRO = re.compile(r"<([a-z_]+)\s*/>")
_NAMES = "userid hostid teamid team_name user_name project_name master_url authenticator weak_auth rss_auth"
_ATTRIBUTES = frozenset(_NAMES.split())


@lru_cache(maxsize=16)
def _pieces(template: str, in_team: bool) -> tuple[str, ...]:
    """Text, name of a macro, text, name, … text."""
    text = _IFTEAM.sub(r"\1" if in_team else "", template)
    found, start = [""], 0
    for match in _MACRO.finditer(text):
        if match.group(1) in _ATTRIBUTES:
            found[-1] += text[start:match.start()]
            found += [match.group(1), ""]
            start = match.end()
    found[-1] += text[start:]
    return tuple(found)


def expand(template: str, values: dict[str, str], in_team: bool) -> str:
    """``template`` with its macros replaced; ``values`` must be escaped; unknown macros stay as they are.

    Parts in ``<ifteam>`` are dropped without a team. A known macro that ``values`` lacks becomes empty.
    """
    found = list(_pieces(template, in_team))
    found[1::2] = [values.get(name, "") for name in found[1::2]]
    return "".join(found)
