"""WSGI entry point of the scheduler (docs/architecture.md, "Files and URLs").

Under mod_wsgi there are several processes with one or a few threads each; every thread has its own
connection and caches. Answers are always HTTP 200: clients take anything else for a network failure.
"""
from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from boincdock import log as logs
from boincdock.config import Project, load_project
from boincdock.db import connect
from boincdock.errors import BoincdockError
from boincdock.protocol.scheduler_reply import Reply, outage
from boincdock.scheduler.handler import Scheduler
from boincdock.scheduler.repository import SqlRepository

log = logging.getLogger(__name__)

MAX_BODY = 40 * 1024 * 1024
"""Largest request in bytes; real ones stay below 32 MiB (spec 01 section 1.2)."""

MAX_DRAIN = 1 << 30
_CHUNK = 1 << 16
OUTAGE_DELAY = 3600.0

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Environ = dict[str, Any]


class TooLarge(Exception):
    """The body exceeds MAX_BODY."""


class Truncated(Exception):
    """The body ended before its announced length."""


def read_body(environ: Environ, limit: int = MAX_BODY) -> bytes:
    """The request body; a too large one is read to its end, so that the client hears the answer."""
    stream = environ["wsgi.input"]
    text = environ.get("CONTENT_LENGTH") or ""
    length = int(text) if text.isdigit() and len(text) < 16 else None
    if length is not None and length > limit:
        _drain(stream, min(length, MAX_DRAIN))
        raise TooLarge
    pieces: list[bytes] = []
    size = 0
    while length is None or size < length:
        try:
            piece = stream.read(_CHUNK if length is None else min(_CHUNK, length - size))
        except OSError as error:
            raise Truncated from error
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            _drain(stream, MAX_DRAIN)
            raise TooLarge
    return b"".join(pieces)


def _drain(stream: Any, length: int) -> None:
    left = length
    try:
        while left > 0:
            piece = stream.read(min(_CHUNK, left))
            if not piece:
                return
            left -= len(piece)
    except OSError:
        return


class _Worker(threading.local):
    """What each thread owns."""

    scheduler: Scheduler | None = None
    stamp: tuple[int, int] = (0, 0)


class Application:
    """The WSGI callable. The project is found and read at the first request, and again when config.xml or
    config_aux.xml changes."""

    def __init__(self, project_dir: Path | None = None) -> None:
        self._dir = project_dir
        self._worker = _Worker()
        self._logged: tuple[Path, int] | None = None
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            body = self._respond(environ)
        except Exception:
            log.critical("unexpected error", exc_info=True)
            body = outage("Server error: project is temporarily unable to answer", OUTAGE_DELAY)
        headers = [("Content-Type", "text/xml"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        start_response("200 OK", headers)
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]

    def _respond(self, environ: Environ) -> bytes:
        peer = str(environ.get("REMOTE_ADDR", ""))[:64]
        try:
            scheduler = self._scheduler()
        except BoincdockError as error:
            log.critical("from %s: %s", peer, error.message)
            return outage("Server can't open its configuration", OUTAGE_DELAY)
        try:
            body = read_body(environ) if environ.get("REQUEST_METHOD") == "POST" else b""
        except TooLarge:
            log.warning("from %s: request larger than %d bytes refused", peer, MAX_BODY)
            reply = Reply(project_name=scheduler.config.long_name, master_url=scheduler.config.master_url)
            reply.message(f"Error in request message: it is larger than {MAX_BODY // 1048576} MB", delay=OUTAGE_DELAY)
            return reply.render()
        except Truncated:
            body = b""
        return scheduler.handle(body, peer)

    def _scheduler(self) -> Scheduler:
        worker = self._worker
        if worker.scheduler is not None and worker.stamp == _stamp(worker.scheduler.project):
            return worker.scheduler
        project = load_project(self._dir)
        self._set_up_log(project)
        for warning in project.warnings:
            log.warning("%s", warning)
        worker.scheduler = Scheduler(project, SqlRepository(connect(project.config)))
        worker.stamp = _stamp(project)
        return worker.scheduler

    def _set_up_log(self, project: Project) -> None:
        path = project.log_dir / "scheduler.log"
        wanted = (path, int(project.config.sched_debug_level))
        with self._lock:
            if self._logged != wanted:
                path.parent.mkdir(parents=True, exist_ok=True)
                logs.setup(wanted[1], path, with_pid=True)
                self._logged = wanted


def _stamp(project: Project) -> tuple[int, int]:
    def mtime(name: str) -> int:
        try:
            return (project.dir / name).stat().st_mtime_ns
        except OSError:
            return 0

    return mtime("config.xml"), mtime("config_aux.xml")


application = Application()
