"""Preferences documents: venues, modification times, and what the scheduler reads of them.

Spec 01 sections 3.2 and 5.5, spec 02 section 2. Pure functions on text.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import TypeVar, cast

from boincdock.protocol.scanner import to_number

_REMEMBERED = 128
"""Texts whose meaning a process remembers: most hosts send and have the same few."""
_LONGEST_REMEMBERED = 8192
"""Characters. Longer texts (up to 64 KiB are legal) are read each time, lest somebody fill the memory with them."""

_F = TypeVar("_F", bound=Callable[..., object])


def _remember_short(function: _F) -> _F:
    """Remember the answers for short texts (the first argument)."""
    remembered = lru_cache(maxsize=_REMEMBERED)(function)

    @wraps(function)
    def answer(text: str, *more: object) -> object:
        return function(text, *more) if len(text) > _LONGEST_REMEMBERED else remembered(text, *more)

    return cast(_F, answer)


_VENUES = re.compile(r"<venue\s+name=\"([^\"]*)\"\s*>(.*?)</venue>", re.S)
_NUMBER = re.compile(r"<mod_time>\s*([^<]*)")


@_remember_short
def for_venue(prefs: str, venue: str) -> str:
    """The body of the ``<venue name="...">`` block if there is one, else the text without any venue block."""
    if venue:
        for name, body in _VENUES.findall(prefs):
            if name == venue:
                return str(body)
    return _VENUES.sub("", prefs)


def mod_time(prefs: str, now: float) -> float:
    """The first ``<mod_time>`` in seconds, at most ``now``; 0 if absent or unreadable."""
    return min(max(_stored_mod_time(prefs), 0.0), now)


@_remember_short
def _stored_mod_time(prefs: str) -> float:
    found = _NUMBER.search(prefs)
    return (to_number(found.group(1).encode("utf-8", "replace")) if found else None) or 0.0


def number_of(prefs: str, tag: str, default: float = 0.0) -> float:
    """The number after the first ``<tag>``; ``default`` if absent or unreadable."""
    found = re.search(rf"<{re.escape(tag)}>\s*([^<]*)", prefs)
    if not found:
        return default
    value = to_number(found.group(1).encode("utf-8", "replace"))
    return default if value is None else value


def flag_of(prefs: str, tag: str) -> bool:
    """A boolean: ``<x/>``, ``<x />`` or ``<x>non-zero int</x>``."""
    if re.search(rf"<{re.escape(tag)}\s*/>", prefs):
        return True
    found = re.search(rf"<{re.escape(tag)}>\s*([+-]?\d+)", prefs)
    return bool(found and int(found.group(1)[:18]))


def text_of(prefs: str, tag: str) -> str | None:
    """The trimmed text of the first ``<tag>``; ``None`` if there is no such element."""
    found = re.search(rf"<{re.escape(tag)}>([^<]*)</{re.escape(tag)}>", prefs)
    return found.group(1).strip() if found else None


@dataclass(slots=True, frozen=True)
class GlobalPrefs:
    """The limits the scheduler respects; 0 means "no information" (spec 01 section 3.2).

    Fractions 0..1 for RAM, percent for the others, gigabytes (2^30) for disk, days for the buffer.
    """

    disk_max_used_gb: float = 0.0
    disk_max_used_pct: float = 0.0
    disk_min_free_gb: float = 0.0
    work_buf_min_days: float = 0.0
    ram_max_used_busy: float = 0.0
    ram_max_used_idle: float = 0.0
    max_ncpus_pct: float = 0.0

    @classmethod
    def parse(cls, prefs: str) -> GlobalPrefs:
        """From a ``<global_preferences>`` text whose venue is already chosen."""
        return _global_prefs(prefs)

    @classmethod
    def read(cls, prefs: str) -> GlobalPrefs:
        """As ``parse``, without looking whether the same text was read before."""
        values: dict[str, str] = dict(_LEAVES.findall(prefs))

        def num(tag: str) -> float:
            return to_number(values.get(tag, "").encode("utf-8", "replace")) or 0.0

        return cls(
            num("disk_max_used_gb"),
            num("disk_max_used_pct"),
            num("disk_min_free_gb"),
            num("work_buf_min_days"),
            num("ram_max_used_busy_pct") / 100,
            num("ram_max_used_idle_pct") / 100,
            num("max_ncpus_pct"),
        )


@_remember_short
def _global_prefs(prefs: str) -> GlobalPrefs:
    return GlobalPrefs.read(prefs)


_LEAVES = re.compile(
    r"<(disk_max_used_gb|disk_max_used_pct|disk_min_free_gb|work_buf_min_days|"
    r"ram_max_used_busy_pct|ram_max_used_idle_pct|max_ncpus_pct)>([^<]*)<"
)
_APP_ID = re.compile(r"<app_id>\s*(\d{1,18})\s*</app_id>")
_EXCLUDES = ("no_cpu", "no_cuda", "no_ati", "no_intel_gpu", "no_apple_gpu")


@dataclass(slots=True, frozen=True)
class ProjectPrefs:
    """What a user wants from this project on hosts of one venue (spec 02 section 2)."""

    app_ids: frozenset[int] = frozenset()
    allow_non_preferred_apps: bool = False
    allow_beta_work: bool = False
    excluded_types: frozenset[int] = frozenset()
    max_cpus: int = 0
    max_jobs: int = 0
    text: str = field(default="", repr=False)

    @classmethod
    def parse(cls, prefs: str, venue: str) -> ProjectPrefs:
        """From ``user.project_prefs`` and the host's venue."""
        return _project_prefs(prefs, venue)

    @classmethod
    def read(cls, prefs: str, venue: str) -> ProjectPrefs:
        """As ``parse``, without looking whether the same text was read before."""
        text = for_venue(prefs, venue)
        if not text.strip():
            return cls()
        excluded = {t for t, tag in enumerate(_EXCLUDES) if tag in text and flag_of(text, tag)}
        if "no_gpus" in text and flag_of(text, "no_gpus"):
            excluded.update(range(1, 5))
        return cls(
            frozenset(int(n) for n in _APP_ID.findall(text)),
            flag_of(text, "allow_non_preferred_apps"),
            flag_of(text, "allow_beta_work"),
            frozenset(excluded),
            max(0, int(number_of(text, "max_cpus"))),
            max(0, int(number_of(text, "max_jobs"))),
            text,
        )


@_remember_short
def _project_prefs(prefs: str, venue: str) -> ProjectPrefs:
    return ProjectPrefs.read(prefs, venue)
