"""How values look on pages: numbers, times, states, exit statuses, computers. Pure functions."""
from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

Row = Mapping[str, Any]

EXIT_NAMES = {
    0: "normal end", 193: "the program crashed", 194: "aborted by the client", 195: "a child program failed",
    196: "disk limit exceeded", 197: "time limit exceeded", 198: "memory limit exceeded",
    199: "the client was shut down", 200: "not started by deadline", 201: "coprocessor missing",
    202: "cancelled by server", 203: "aborted by user", 204: "unknown error", 205: "wrapper: out of memory",
    206: "wrapper: could not start", 207: "wrapper: nothing to run", 208: "wrapper: the job failed",
    209: "too long overdue", -185: "could not start", -186: "download error", -187: "upload error",
    -221: "cancelled by server", -226: "too many exits", -233: "not started by deadline",
}
"""Exit statuses worth naming (spec 03 section 1.4)."""

VENUES = ("", "home", "work", "school")
ERROR_BITS = ("could not send", "too many errors", "too many successes", "too many tasks", "cancelled",
              "no canonical result")
"""Names of the bits of workunit.error_mask, lowest first."""


def grouped(value: float | int | None, digits: int = 0) -> str:
    """``1,234,567`` with a number of decimals; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}"


def credit(value: float | None) -> str:
    """Credit: two decimals below a thousand, else none."""
    value = value or 0.0
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def when(stamp: float | None) -> str:
    """``4 Mar 2025, 10:20 UTC``; a dash for 0."""
    if not stamp or stamp <= 0:
        return "–"
    t = time.gmtime(stamp)
    return f"{t.tm_mday} {time.strftime('%b %Y, %H:%M', t)} UTC"


def minute(stamp: float | None) -> str:
    """``4 Mar 2025, 10:20``, where the page says once that times are UTC."""
    return when(stamp).removesuffix(" UTC")


def day(stamp: float | None) -> str:
    """``4 Mar 2025``."""
    return when(stamp).partition(",")[0]


def iso(stamp: float | None) -> str:
    """For <time datetime>."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(0, stamp or 0)))


def duration(seconds: float | None) -> str:
    """The two largest units: ``3 d 4 h``, ``12 min 5 s``, ``4.2 s``."""
    if seconds is None or seconds < 0:
        return "–"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f} s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left, parts = int(seconds), list[str]()
    for name, size in units:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {name}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"


def size(number: float | None) -> str:
    """Bytes in binary units."""
    value = float(number or 0)
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if abs(value) < 1024 or unit == "TB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def speed(flops: float | None) -> str:
    """Operations a second in G or T."""
    value = (flops or 0) / 1e9
    return f"{value / 1000:,.2f} TFLOPS" if value >= 1000 else f"{value:,.2f} GFLOPS"


def exit_status(status: int) -> str:
    """Signed decimal, eight hex digits, and the name if there is one."""
    text = f"{status} (0x{status & 0xFFFFFFFF:08X})"
    return f"{text} {EXIT_NAMES[status]}" if status in EXIT_NAMES else text


def result_phrase(row: Row) -> tuple[str, str]:
    """(what happened to a task, its kind: wait, busy, good, bad or off) (spec 06 section 7.2)."""
    state, outcome, valid = row["server_state"], row["outcome"], row["validate_state"]
    if state == 1:
        return "Held back", "wait"
    if state == 2:
        return "Waiting to be sent", "wait"
    if state == 4:
        return "In progress", "busy"
    if state != 5:
        return "Unknown", "off"
    if outcome == 1:
        return {0: ("Completed, waiting for validation", "wait"), 1: ("Completed and validated", "good"),
                2: ("Completed, marked as invalid", "bad"), 3: ("Completed, can't validate", "bad"),
                4: ("Completed, validation inconclusive", "wait"),
                5: ("Completed, too late to validate", "bad")}.get(valid, ("Completed", "wait"))
    if outcome == 3:
        return _error_phrase(row), "bad"
    return {2: ("Couldn't send", "bad"), 4: ("Timed out - no response", "bad"), 5: ("Didn't need", "off"),
            6: ("Validate error", "bad"), 7: ("Abandoned", "off")}.get(outcome, ("Over", "off"))


def _error_phrase(row: Row) -> str:
    status = row["exit_status"]
    if status in (202, -221):
        return "Cancelled by server"
    if status in (200, -233):
        return "Not started by deadline - canceled"
    if status == 203:
        return "Aborted by user"
    client_state = row["client_state"]
    if client_state == 1:
        return "Error while downloading"
    if client_state in (4, 7):
        return "Error while uploading"
    return "Aborted" if client_state == 6 else "Error while computing"


def error_mask(mask: int) -> str:
    """The set bits of a workunit's error mask in words; "" if none."""
    return ", ".join(name for bit, name in enumerate(ERROR_BITS) if mask >> bit & 1)


def host_facts(row: Row) -> dict[str, Any]:
    """Client version, GPUs, container engine and VirtualBox out of ``host.misc`` (spec 01 section 5.4);
    whatever the client sent, the values are short strings."""
    try:
        misc = json.loads(row["misc"] or "{}")
    except (ValueError, RecursionError):
        misc = {}
    misc = misc if isinstance(misc, dict) else {}
    docker, vbox = misc.get("docker"), misc.get("vbox")
    facts: dict[str, Any] = {"client": _short(misc.get("client_version")), "docker": "", "vbox": "", "gpus": []}
    if isinstance(docker, dict) and docker.get("version"):
        engine = "Podman" if docker.get("type") == 2 else "Docker"
        facts["docker"] = f"{engine} {_short(docker['version'])}"
    if isinstance(vbox, dict) and vbox.get("version"):
        facts["vbox"] = _short(vbox["version"])
    gpus = misc.get("gpus")
    for gpu in gpus[:8] if isinstance(gpus, list) else []:
        if isinstance(gpu, dict):
            count = gpu.get("count")
            prefix = f"{count} × " if isinstance(count, int) and count > 1 else ""
            facts["gpus"].append(prefix + (_short(gpu.get("model")) or _short(gpu.get("type")) or "GPU"))
    return facts


def _short(value: Any) -> str:
    return str(value)[:80] if isinstance(value, str | int | float) else ""


def version(number: int | None) -> str:
    """App version number 107 as ``1.07``."""
    return f"{(number or 0) // 100}.{(number or 0) % 100:02d}"


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a plain text, to be escaped one by one."""
    return [part.strip() for part in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")) if part.strip()]


def safe_link(url: str | None) -> str:
    """A user's home page as an http(s) link, or "" if it is anything else."""
    text = (url or "").strip()
    if text and "://" not in text and ":" not in text.partition("/")[0]:
        text = "http://" + text
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s<>\"'\x00-\x1f]", text):
        return ""
    return text


def stderr_text(raw: bytes | str | None) -> str:
    """A task's stderr for display: decoded, without control characters but newline and tab."""
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw or ""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "�", text.replace("\r\n", "\n"))


FILTERS = {"grouped": grouped, "credit": credit, "when": when, "minute": minute, "day": day, "iso": iso,
           "duration": duration, "size": size, "speed": speed, "exit_status": exit_status, "phrase": result_phrase,
           "error_mask": error_mask, "facts": host_facts, "version": version, "paragraphs": paragraphs,
           "safe_link": safe_link, "stderr_text": stderr_text}
"""Jinja filters by name."""
