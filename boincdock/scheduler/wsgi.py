"""WSGI entry point of the scheduler (docs/architecture.md, "Files and URLs").

Under mod_wsgi there are several processes with several threads each. A thread reads a request, however slowly it comes,
and then takes one of the process's few workers, each with its own connection and caches, to answer it (decision
0118). Answers are always HTTP 200: clients take anything else for a network failure.
"""
from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from boincdock import counters
from boincdock import log as logs
from boincdock.config import Project, load_project
from boincdock.db.batched import connect_batched
from boincdock.errors import BoincdockError
from boincdock.protocol.scheduler_reply import Reply, outage
from boincdock.scheduler.handler import Scheduler
from boincdock.scheduler.repository import SqlRepository
from boincdock.scheduler.stamps import changed

log = logging.getLogger(__name__)

MAX_BODY = 40 * 1024 * 1024
"""Largest request in bytes; real ones stay below 32 MiB (spec 01 section 1.2)."""

GC_THRESHOLD = 20000
"""New objects between two looks for cycles: some ten requests."""

DEFAULT_WORKERS = 2
"""Requests that a process answers at the same time: one waits for the database while another runs Python."""

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


class _Worker:
    """A scheduler with its connection and caches; one request at a time has it."""

    scheduler: Scheduler | None = None
    settings: tuple[str, ...] = ()
    stamp: tuple[int, ...] = ()


class _Outcome:
    """What the counters are told of a request."""

    what = "failed"
    sent = reported = received = 0


class Application:
    """The WSGI callable. The project is found and read at the first request, and again when config.xml or
    config_aux.xml changes."""

    def __init__(self, project_dir: Path | None = None, workers: int | None = None) -> None:
        self._dir = project_dir
        count = workers or int(os.environ.get("SCHEDULER_WORKERS") or DEFAULT_WORKERS)
        self._free = [_Worker() for _ in range(count)]
        self._available = threading.Semaphore(count)
        self._logged: tuple[Path, int] | None = None
        self._counters: counters.Counters | None = None
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        started, outcome = time.perf_counter(), _Outcome()
        try:
            body = self._respond(environ, outcome)
        except Exception:
            log.critical("unexpected error", exc_info=True)
            body = outage("Server error: project is temporarily unable to answer", OUTAGE_DELAY)
        if self._counters is not None and environ.get("REQUEST_METHOD") == "POST":  # others are not RPCs
            self._counters.count(outcome.what, time.perf_counter() - started, jobs_sent=outcome.sent,
                                 results_reported=outcome.reported, bytes_received=outcome.received)
        headers = [("Content-Type", "text/xml"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        start_response("200 OK", headers)
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]

    def _respond(self, environ: Environ, outcome: _Outcome) -> bytes:
        body: bytes | None
        try:
            body = read_body(environ) if environ.get("REQUEST_METHOD") == "POST" else b""
        except TooLarge:
            body = None
        except Truncated:
            body = b""
        self._available.acquire()
        worker = self._free.pop()  # the one that was used last: its data are near
        try:
            return self._answer(worker, body, str(environ.get("REMOTE_ADDR", ""))[:64], outcome)
        finally:
            self._free.append(worker)
            self._available.release()

    def _answer(self, worker: _Worker, body: bytes | None, peer: str, outcome: _Outcome) -> bytes:
        try:
            scheduler = self._scheduler(worker)
        except BoincdockError as error:
            log.critical("from %s: %s", peer, error.message)
            return outage("Server can't open its configuration", OUTAGE_DELAY)
        if body is None:
            outcome.what = "malformed"
            log.warning("from %s: request larger than %d bytes refused", peer, MAX_BODY)
            reply = Reply(project_name=scheduler.config.long_name, master_url=scheduler.config.master_url)
            reply.message(f"Error in request message: it is larger than {MAX_BODY // 1048576} MB", delay=OUTAGE_DELAY)
            return reply.render()
        answer = scheduler.handle(body, peer)
        outcome.what, outcome.sent, outcome.reported = scheduler.outcome, scheduler.sent, scheduler.reported
        outcome.received = len(body)
        return answer

    def _scheduler(self, worker: _Worker) -> Scheduler:
        if worker.scheduler is not None and worker.stamp == _stamp(worker.settings):
            return worker.scheduler
        project = load_project(self._dir)
        self._set_up_log(project)
        for warning in project.warnings:
            log.warning("%s", warning)
        worker.scheduler = Scheduler(project, SqlRepository(connect_batched(project.config)))
        worker.settings = (str(project.dir / "config.xml"), str(project.dir / "config_aux.xml"))
        worker.stamp = _stamp(worker.settings)
        # What lives as long as the process need not be looked through again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, 20, 20)
        return worker.scheduler

    def _set_up_log(self, project: Project) -> None:
        path = project.log_dir / "scheduler.log"
        wanted = (path, int(project.config.sched_debug_level))
        with self._lock:
            if self._logged != wanted:
                path.parent.mkdir(parents=True, exist_ok=True)
                logs.setup(wanted[1], path, with_pid=True)
                logs.plain_records()
                self._logged = wanted
            if self._counters is None:
                self._counters = counters.Counters(counters.directory_of(project.tmp_dir), counters.SCHEDULER)


def _stamp(paths: tuple[str, ...]) -> tuple[int, ...]:
    return tuple([changed(path) for path in paths])


application = Application()
