"""Named SQL blocks: the only place where the project keeps SQL (docs/architecture.md)."""
from __future__ import annotations

import re
from functools import cache
from pathlib import Path

QUERY_DIR = Path(__file__).with_name("queries")

_NAME = re.compile(r"^--\s*name:\s*([a-z0-9_]+)\s*$")
# Quoted text and comments are matched first so that a colon inside them is left alone.
_TOKEN = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|--[^\n]*|::|:([a-z_][a-z0-9_]*)|%")


def bind_style(sql: str) -> str:
    """Turn ``:name`` into the drivers' ``%(name)s`` and a bare ``%`` into ``%%``."""
    def replace(match: re.Match[str]) -> str:
        if match.group(1):
            return f"%({match.group(1)})s"
        text = match.group(0)
        return "" if text.startswith("--") else text.replace("%", "%%")
    return _TOKEN.sub(replace, sql)


def parse_blocks(text: str, origin: str) -> dict[str, str]:
    """Split a query file into its named statements; ValueError names a duplicate or nameless block."""
    blocks: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        match = _NAME.match(line)
        if match:
            if match.group(1) in blocks:
                raise ValueError(f"{origin}: query {match.group(1)} is defined twice")
            current = blocks[match.group(1)] = []
        elif current is not None:
            current.append(line)
        elif line.strip() and not line.startswith("--"):
            raise ValueError(f"{origin}: text before the first '-- name:' line")
    return {name: bind_style("\n".join(lines)).strip().rstrip(";").strip() for name, lines in blocks.items()}


@cache
def _load_file(stem: str) -> dict[str, str]:
    path = QUERY_DIR / f"{stem}.sql"
    return parse_blocks(path.read_text(encoding="utf-8"), path.name)


@cache
def query(name: str) -> str:
    """The statement called ``<file>.<name>`` in the drivers' parameter style; KeyError if there is none."""
    stem, _, block = name.partition(".")
    try:
        return _load_file(stem)[block]
    except (KeyError, FileNotFoundError):
        raise KeyError(f"no query named {name!r}") from None


def all_names() -> list[str]:
    """Every query of the project, for tests that PREPARE or EXPLAIN them all."""
    return sorted(f"{p.stem}.{n}" for p in QUERY_DIR.glob("*.sql") for n in _load_file(p.stem))
