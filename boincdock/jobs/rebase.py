"""Moving a project to another URL: rewriting the URLs that the database holds (docs/architecture.md).

App versions, unfinished workunits and results that are not over carry full URLs, as upstream's tools expect.
Upload certificates do not cover URLs; they are made anew where the present upload key did not make them.
"""
from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from boincdock.config import Project
from boincdock.crypto import PrivateKey, read_private
from boincdock.db import Connection
from boincdock.errors import InputError
from boincdock.files.certificates import make_certificate, verify_certificate
from boincdock.protocol.markup import escape, unescape
from boincdock.protocol.templates import MAX_DOCUMENT

BATCH = 500
_URL = re.compile(r"(<(url|gzipped_url|download_url|upload_url)>\s*)([^<]*?)(\s*</\2>)")
_FILE_INFO = re.compile(r"<file_info>.*?</file_info>", re.DOTALL)
_SIGNATURE = re.compile(r"(<xml_signature>)(.*?)(</xml_signature>)", re.DOTALL)
_NAME = re.compile(r"<name>\s*([^<]*?)\s*</name>")
_MAX_NBYTES = re.compile(r"<max_nbytes>\s*([0-9.eE+]+)\s*</max_nbytes>")
_log = logging.getLogger("boincdock.jobs")


@dataclass(frozen=True, slots=True)
class ProjectUrls:
    """The two URLs that jobs and app versions hold: of the download directory and of the upload handler."""

    download: str
    upload: str


@dataclass(slots=True)
class RebaseCounts:
    """Rows rewritten, certificates made anew, rows left as they were because the new text is too long."""

    app_versions: int = 0
    workunits: int = 0
    results: int = 0
    certificates: int = 0
    too_long: int = 0


def rebase_text(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    """``text`` with every URL element that equals an old URL, or lies below it, moved to the new one."""
    def move(match: re.Match[str]) -> str:
        url = unescape(match.group(3))
        for old, new in pairs:
            if url == old or url.startswith(old + "/"):
                return match.group(1) + escape(new + url[len(old):]) + match.group(4)
        return match.group(0)
    return _URL.sub(move, text)


def certify_anew(text: str, key: PrivateKey) -> tuple[str, int]:
    """(the result's XML, number of certificates replaced): those that ``key`` did not make."""
    made = 0

    def one(match: re.Match[str]) -> str:
        nonlocal made
        info = match.group(0)
        name, size, signature = _NAME.search(info), _MAX_NBYTES.search(info), _SIGNATURE.search(info)
        if not (name and size and signature):
            return info
        physical, limit = unescape(name.group(1)), float(size.group(1))
        if verify_certificate(physical, limit, signature.group(2), key.public):
            return info
        made += 1
        fresh = make_certificate(physical, limit, key).strip()
        return _SIGNATURE.sub(lambda found: f"{found.group(1)}\n{fresh}\n    {found.group(3)}", info, count=1)

    return _FILE_INFO.sub(one, text), made


def _pairs(old: ProjectUrls, new: ProjectUrls) -> list[tuple[str, str]]:
    pairs = [(old.download.rstrip("/"), new.download.rstrip("/")), (old.upload.rstrip("/"), new.upload.rstrip("/"))]
    for name in (*pairs[0], *pairs[1]):
        if not name.startswith(("http://", "https://")):
            raise InputError(f"{name!r} is no URL")
    if "file_upload_handler" not in new.upload:
        raise InputError("the new upload URL must contain 'file_upload_handler', or clients never upload")
    return pairs


def urls_below(project: Project, base: str, other: str) -> ProjectUrls:
    """The project's two URLs if its URL_BASE were ``base``; config.xml says what follows URL_BASE, which there is
    ``base`` or ``other``. InputError if it is neither."""
    made: list[str] = []
    for url in (project.config.download_url, project.config.upload_url):
        for candidate in (base.rstrip("/"), other.rstrip("/")):
            if url.startswith(candidate + "/"):
                made.append(base.rstrip("/") + url[len(candidate):])
                break
        else:
            raise InputError(f"config.xml: {url!r} is below neither {base} nor {other}")
    return ProjectUrls(*made)


def rebase_urls(db: Connection, project: Project, old_urls: ProjectUrls | str, new_urls: ProjectUrls | str,
                ) -> RebaseCounts:
    """Rewrite download and upload URLs in app versions, unfinished workunits and results that are not over.

    The URLs, or two values of URL_BASE (config.xml may have the old or the new one already).
    Safe to repeat and to interrupt: works in transactions of 500 rows, and what is rewritten is not found again.
    The scheduler may run meanwhile. Touches ``reread_db``. InputError: something is no URL; CryptoError: the
    upload key cannot be read (only if the project makes certificates).
    """
    if isinstance(old_urls, str) or isinstance(new_urls, str):
        if not (isinstance(old_urls, str) and isinstance(new_urls, str)):
            raise InputError("old and new URLs must be given in the same form")
        bases = old_urls, new_urls
        old_urls, new_urls = urls_below(project, *bases), urls_below(project, bases[1], bases[0])
    pairs = _pairs(old_urls, new_urls)
    key = None if project.config.dont_generate_upload_certificates else read_private(project.key_dir / "upload_private")
    counts = RebaseCounts()

    def plain(text: str) -> str:
        return rebase_text(text, pairs)

    def with_certificates(text: str) -> str:
        moved = rebase_text(text, pairs)
        if key is None:
            return moved
        moved, made = certify_anew(moved, key)
        counts.certificates += made
        return moved

    counts.app_versions = _rewrite(db, "app_version", plain, 1 << 24, counts)
    counts.workunits = _rewrite(db, "workunit", plain, MAX_DOCUMENT, counts)
    counts.results = _rewrite(db, "result", with_certificates, MAX_DOCUMENT, counts)
    if counts.app_versions or counts.workunits or counts.results:
        project.trigger("reread_db").touch()
    return counts


def _rewrite(db: Connection, table: str, change: Callable[[str], str], limit: int, counts: RebaseCounts) -> int:
    """Change the XML of all rows of interest of a table, page by page; the number of rows changed."""
    total, after = 0, 0
    while rows := db.all(f"jobs.rebase_{table}_page", after=after, count=BATCH):
        after = rows[-1]["id"]
        changed: list[dict[str, object]] = []
        for row in rows:
            old = (row["xml"] or b"").decode("utf-8", "surrogateescape")
            new = change(old)
            data = new.encode("utf-8", "surrogateescape")
            if new == old:
                continue
            if len(data) > limit:
                counts.too_long += 1
                _log.warning("%s %d: its XML would become longer than %d bytes; left as it is", table, row["id"], limit)
                continue
            changed.append({"id": row["id"], "xml": data})
        if changed:
            with db.transaction():
                db.run_many(f"jobs.rebase_{table}", changed)
            total += len(changed)
    return total
