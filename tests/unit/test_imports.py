"""Imports point one way (docs/architecture.md)."""
from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "boincdock"

BASE = {"errors", "enums", "log", "counters"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(), "enums": set(), "log": set(), "counters": set(), "names": {"errors"},
    "protocol": {"errors", "enums"}, "crypto": {"errors"},
    "config": BASE | {"config_options"}, "config_options": set(),
    "db": BASE | {"config"},
    "files": BASE | {"config", "db", "protocol", "crypto"},
    "apps": BASE | {"config", "db", "protocol", "crypto", "files"},
    "jobs": BASE | {"config", "db", "protocol", "crypto", "files", "apps"},
    "scheduler": BASE | {"config", "db", "protocol", "crypto", "files", "apps"},
    "lifecycle": BASE | {"config", "db", "protocol", "crypto", "files", "apps", "jobs"},
    "project": BASE | {"config", "db", "protocol", "crypto", "files", "apps", "jobs", "scheduler", "lifecycle", "names",
                      "bin"},
    "web": BASE | {"config", "db", "protocol", "crypto", "files", "apps", "jobs", "lifecycle"},
    "bin": BASE | {"config", "db", "protocol", "crypto", "files", "apps", "jobs", "lifecycle", "scheduler", "web",
                   "names"},
    "manage": {"errors", "names", "crypto"},
    "client": {"errors", "manage"},  # the Python API: an outside of its own, boincdock.jobs leads to it by name
}
# bin and manage are mains: only makeproject's steps (project) may call a bin module.


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("boincdock.")}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "boincdock":
                found |= {parts[1]} if len(parts) > 1 else {a.name for a in node.names} - {"__version__"}
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    assert part in ALLOWED, f"{part} has no place in the import order"
    assert imports_of(path) <= ALLOWED[part] | {part}
