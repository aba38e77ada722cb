"""mod_wsgi's entry point for the public site and the ops site.

One file is mounted twice, ``/PROJECT`` and ``/PROJECT_ops``: ``SCRIPT_NAME`` says which is wanted. The project is
found by ``$BOINC_PROJECT_DIR`` and is read again when config.xml changes. Run as a program it is a development
server: ``python -m boincdock.web.wsgi [PORT]`` on 127.0.0.1.
"""
from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from boincdock import log
from boincdock.config import Project, find_project_dir, load_project
from boincdock.errors import BoincdockError

Wsgi = Callable[..., Iterable[bytes]]


class Applications:
    """Both sites of the project, made at the first request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._sites: tuple[Wsgi, Wsgi] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request; 503 without a traceback if the project's configuration cannot be read."""
        try:
            public, ops = self._current()
        except BoincdockError as error:
            print(f"boincdock.web: {error}", file=environ.get("wsgi.errors", sys.stderr))
            start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Retry-After", "60")])
            return [b"The project is not configured yet.\n"]
        mount = (environ.get("SCRIPT_NAME") or "").rstrip("/")
        return (ops if mount.endswith("_ops") else public)(environ, start_response)

    def _current(self) -> tuple[Wsgi, Wsgi]:
        status = (find_project_dir() / "config.xml").stat()
        stamp = (status.st_mtime_ns, status.st_size)
        with self._lock:
            if self._sites is None or stamp != self._stamp:
                self._sites, self._stamp = make(load_project()), stamp
            return self._sites


def make(project: Project) -> tuple[Wsgi, Wsgi]:
    """(public site, ops site) of a project."""
    from boincdock.web.app import create_app
    from boincdock.web.ops import create_ops_app
    log.setup(3, project.log_dir / "web.log" if project.log_dir.is_dir() else None, with_pid=True)
    return create_app(project), create_ops_app(project)


application = Applications()


def main(argv: list[str]) -> int:
    """Serve both mounts on 127.0.0.1 for development."""
    from werkzeug.middleware.dispatcher import DispatcherMiddleware
    from werkzeug.serving import run_simple
    name = load_project().name
    run_simple("127.0.0.1", int(argv[0]) if argv else 8000, threaded=True, application=DispatcherMiddleware(
        lambda environ, start: _nowhere(start, name),
        {f"/{name}_ops": application, f"/{name}": application}))
    return 0


def _nowhere(start_response: Callable[..., Any], name: str) -> Iterable[bytes]:
    start_response("302 Found", [("Location", f"/{name}/")])
    return [b""]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
