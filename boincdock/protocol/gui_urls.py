"""The macros of gui_urls.xml (spec 01 section 4.5)."""
from __future__ import annotations

import re

_IFTEAM = re.compile(r"<ifteam>(.*?)</ifteam>", re.S)
_MACRO = re.compile(r"<([a-z_]+)\s*/>")
_NAMES = "userid hostid teamid team_name user_name project_name master_url authenticator weak_auth rss_auth"
_ATTRIBUTES = frozenset(_NAMES.split())


def expand(template: str, values: dict[str, str], in_team: bool) -> str:
    """``template`` with its macros replaced; ``values`` must be escaped; unknown macros stay as they are.

    Parts in ``<ifteam>`` are dropped without a team. A known macro that ``values`` lacks becomes empty.
    """
    text = _IFTEAM.sub(r"\1" if in_team else "", template)
    return _MACRO.sub(
        lambda m: values.get(m.group(1), "") if m.group(1) in _ATTRIBUTES else m.group(0), text
    )
