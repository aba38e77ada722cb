"""WSGI entry point of the upload handler, mounted at ``URL_BASE/PROJECT_cgi/file_upload_handler``.

Finds its project by ``$BOINC_PROJECT_DIR``, and reads config.xml again when it changes. The body is taken raw
from ``wsgi.input``: older clients label it as a form, and nothing may parse it as one (spec 04 section 5.1).
"""
from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boincdock import counters
from boincdock import log as boinc_log
from boincdock.config import Project, find_project_dir, load_project
from boincdock.db.batched import connect_batched
from boincdock.errors import BoincdockError
from boincdock.files.issued import IssuedNames
from boincdock.files.upload_handler import Body, UploadHandler
from boincdock.protocol.upload import Reply, Status

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger("boincdock.upload")


class ThreadLookup:
    """Looks results up with one connection for each thread."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._local = threading.local()

    def results_by_name(self, names: list[str]) -> list[Mapping[str, Any]]:
        """The rows of these results; DatabaseError."""
        if not hasattr(self._local, "db"):
            self._local.db = connect_batched(self._config)
        return list(self._local.db.all("upload.results_by_name", names=names))


class Application:
    """The WSGI application for one project directory (default: the one of the environment)."""

    def __init__(self, project_dir: Path | None = None) -> None:
        self._given = project_dir
        self._lock = threading.Lock()
        self._state: tuple[tuple[Path, int, int], UploadHandler] | None = None
        self._counters: counters.Counters | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request: always HTTP 200, whatever the reply says (spec 04 section 5.1)."""
        started = time.perf_counter()
        body = Body(environ["wsgi.input"], _content_length(environ))
        reply = self._reply(environ, body)
        if self._counters is not None:
            self._counters.count(_outcome(reply), time.perf_counter() - started, bytes_received=body.received)
        data = reply.encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(data))),
                                  ("Cache-Control", "no-store")])
        return [data]

    def _reply(self, environ: WSGIEnvironment, body: Body) -> Reply:
        encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
        if encoding not in ("", "identity"):
            body.drain()
            return Reply(Status.TRANSIENT, "compressed requests are not supported")
        try:
            handler = self._handler()
        except (BoincdockError, OSError) as error:
            log.critical("upload handler cannot start: %s", error)
            body.drain()
            return Reply(Status.TRANSIENT, "the server's configuration cannot be read")
        return handler.handle(body, environ.get("REMOTE_ADDR", "-"))

    def _handler(self) -> UploadHandler:
        directory = self._state[0][0] if self._state else find_project_dir(self._given)
        info = (directory / "config.xml").stat()
        stamp = (directory, info.st_mtime_ns, info.st_ino)
        state = self._state
        if state and state[0] == stamp:
            return state[1]
        with self._lock:
            if self._state is None or self._state[0] != stamp:
                project = load_project(directory)
                if self._counters is None:
                    self._counters = counters.Counters(counters.directory_of(project.tmp_dir), counters.UPLOAD)
                self._state = (stamp, make_handler(project))
            return self._state[1]


def _outcome(reply: Reply) -> str:
    """The reply in the words of ``boincdock.counters.UPLOAD``."""
    if reply.status is Status.OK:
        return "stored" if reply.file_size is None else "query"
    return "later" if reply.status is Status.TRANSIENT else "rejected"


def make_handler(project: Project) -> UploadHandler:
    """The handler of a project, its log sent to ``log_HOST/file_upload_handler.log``."""
    project.log_dir.mkdir(parents=True, exist_ok=True)
    boinc_log.setup(project.config.fuh_debug_level, project.log_dir / "file_upload_handler.log", with_pid=True)
    config = project.config
    check = IssuedNames(ThreadLookup(config)) if config.fuh_check_names else None
    return UploadHandler(project, check, min_free_bytes=int(config.fuh_min_free_bytes), durable=config.fuh_fsync)


def _content_length(environ: WSGIEnvironment) -> int | None:
    """Length of the body; None: up to the end of the stream; nonsense counts as no body."""
    text = str(environ.get("CONTENT_LENGTH") or "")
    if text.isascii() and text.isdigit():
        return int(text)
    return None if not text and environ.get("wsgi.input_terminated") else 0


application = Application()
