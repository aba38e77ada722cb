"""BUDA: science apps in containers under one BOINC app, described by files in ``buda_apps/`` (spec 02 section 8)."""
from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from boincdock.protocol.request_model import PROC_NAMES
from boincdock.protocol.scanner import escape
from boincdock.scheduler.model import Usage

log = logging.getLogger(__name__)

APP_NAME = "buda"
"""The BOINC app whose jobs are looked at for a ``<buda_app_name>``."""

MAX_JSON = 1 << 20
_NAME = re.compile(r"<buda_app_name>\s*([^<]*?)\s*</buda_app_name>")
_COMMAND_LINE = re.compile(r"(<command_line>[^<]*?)\s*</command_line>")
_NEEDED = ("file_infos", "file_refs", "cpu_type", "plan_class")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a science app: files for a CPU type and a plan class (empty: one CPU)."""

    app_name: str
    name: str
    cpu_type: str
    plan_class: str
    file_infos: str = field(repr=False)
    file_refs: str = field(repr=False)


def load_variants(project_dir: Path) -> dict[str, tuple[Variant, ...]]:
    """All science apps with at least one usable variant. What is incomplete is logged and left out."""
    found: dict[str, tuple[Variant, ...]] = {}
    root = project_dir / "buda_apps"
    for desc in sorted(root.glob("*/desc.json")) if root.is_dir() else ():
        name = _read(desc).get("name")
        if not isinstance(name, str) or not name:
            log.warning("%s: has no name; skipped", desc)
            continue
        variants = [v for path in sorted(desc.parent.glob("*/variant.json")) if (v := _variant(name, path))]
        if variants:
            found[name] = tuple(variants)
    return found


def _variant(app_name: str, path: Path) -> Variant | None:
    values = _read(path)
    if not all(isinstance(values.get(key), str) for key in _NEEDED):
        log.warning("%s: lacks one of %s; skipped", path, ", ".join(_NEEDED))
        return None
    return Variant(app_name, path.parent.name, str(values["cpu_type"]), str(values["plan_class"]),
                   str(values["file_infos"]), str(values["file_refs"]))


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(MAX_JSON))
        return values if isinstance(values, dict) else {}
    except (OSError, ValueError) as error:
        log.warning("%s: %s", path, error)
        return {}


def buda_app_of(document: str) -> str:
    """The science app that a workunit's document names; empty if none."""
    found = _NAME.search(document)
    return found.group(1) if found else ""


def cpu_type(platform: str) -> str:
    """``intel``, ``arm`` (also for aarch64) or empty."""
    if "x86_64" in platform:
        return "intel"
    return "arm" if "arm" in platform or "aarch64" in platform else ""


def workunit_with(variant: Variant, usage: Usage, document: str) -> str:
    """The workunit's document with the variant's files and usage. Clients before 8.2 skip the usage; newer ones
    use exactly this set. Arguments go into ``<command_line>``, the only place that survives a client restart."""
    lines = [f"    <avg_ncpus>{usage.avg_ncpus:f}</avg_ncpus>",
             f"    <flops>{max(usage.projected_flops, 1.0):f}</flops>"]
    if usage.proc_type:
        lines.append(f"    <coproc>\n        <type>{PROC_NAMES[usage.proc_type]}</type>\n"
                     f"        <count>{usage.gpu_usage:f}</count>\n    </coproc>")
    arguments = escape(usage.cmdline.strip())
    if arguments:
        document, replaced = _COMMAND_LINE.subn(
            lambda m: f"{m.group(1)} {arguments}</command_line>", document, count=1
        )
        if not replaced:
            lines.append(f"    <command_line>{arguments}</command_line>")
    start, end = document.find("<workunit>"), document.rfind("</workunit>")
    return (document[:start] + variant.file_infos.strip() + "\n" + document[start:end].rstrip() + "\n"
            + variant.file_refs.strip() + "\n" + "\n".join(lines) + "\n" + document[end:])
