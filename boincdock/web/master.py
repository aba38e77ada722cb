"""The scheduler tags of the front page, and the client's way of reading them (spec 06 section 2, 01 section 1.1)."""
from __future__ import annotations

import re

from boincdock.config import Project

CHUNK = 255
"""The client reads the page in lines, but at most so many bytes at a time."""

_COMMENT = re.compile(r"<scheduler>(.*?)</scheduler>", re.DOTALL)
_LINK = re.compile(r'<link\s+rel="boinc_scheduler"\s+href="([^"\s]*)')
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&"))


def scheduler_urls(page: str) -> list[str]:
    """The scheduler URLs a client collects from a page, in order, each once."""
    found: list[str] = []
    for line in page.encode("utf-8", "replace").split(b"\n"):
        data = line + b"\n"
        for at in range(0, len(data), CHUNK):
            chunk = data[at:at + CHUNK].decode("utf-8", "replace")
            for url in _urls_in(chunk):
                if url and url not in found:
                    found.append(url)
    return found


def _urls_in(chunk: str) -> list[str]:
    urls = [_decode(text.strip()) for text in _COMMENT.findall(chunk)]
    at = 0
    while True:
        match = _LINK.match(chunk, at)
        if match:
            urls.append(match.group(1))
        closing = chunk.find(">", at)
        at = chunk.find("<", closing + 1) if closing >= 0 else -1
        if at < 0:
            return urls


def _decode(text: str) -> str:
    for entity, char in _ENTITIES:
        text = text.replace(entity, char)
    return text


def project_schedulers(project: Project) -> list[str]:
    """The URLs of html/user/schedulers.txt, or else the one that follows from the configuration."""
    try:
        text = (project.dir / "html" / "user" / "schedulers.txt").read_bytes()[:65536].decode("utf-8", "replace")
    except OSError:
        text = ""
    usable = [url for url in scheduler_urls(text) if len(url) < 200 and re.fullmatch(r"https?://[^\s<>\"']+", url)]
    if usable:
        return usable
    configured: str = project.config.scheduler_url or project.config.master_url.rstrip("/") + "_cgi/cgi"
    return [configured]


def scheduler_lines(urls: list[str]) -> str:
    """Both notations of every URL, each on its own short line from column 0. One with ``&`` has the comment
    form only, because clients do not decode the other."""
    lines = []
    for url in urls:
        lines.append(f"<!-- <scheduler>{url.replace('&', '&amp;')}</scheduler> -->\n")
        if "&" not in url:
            lines.append(f'<link rel="boinc_scheduler" href="{url}">\n')
    return "".join(lines)
