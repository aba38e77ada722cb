"""Files an operator may ask for: copies of requests and replies, clients' time logs (spec 01 sections 3.1, 5.12)."""
from __future__ import annotations

import logging
import os
import secrets
import time
from pathlib import Path

from boincdock.config import Project
from boincdock.scheduler.rpc import Rpc

log = logging.getLogger(__name__)

MAX_TIME_LOG = 1 << 20


class Records:
    """Writes what config.xml asks for. A failure is logged and never disturbs the request."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def keep_copies(self, body: bytes, reply: bytes) -> None:
        """Option ``debug_req_reply_dir``: both documents, readable by the project's user only (they hold keys)."""
        directory = self._project.config.debug_req_reply_dir
        if not directory:
            return
        stem = f"{time.time():.3f}_{secrets.token_hex(4)}"
        folder = self._project.dir / directory
        _write(folder / f"{stem}_request.xml", body)
        _write(folder / f"{stem}_reply.xml", reply)

    def time_stats(self, rpc: Rpc) -> None:
        """Option ``request_time_stats_log``: keep a host's log once, ask those that have sent none."""
        if not self._project.config.request_time_stats_log or not rpc.hostid or not rpc.user.id:
            return
        path = self._project.dir / "time_stats_log" / str(rpc.hostid)
        if path.exists():
            return
        if rpc.request.time_stats_log:
            _write(path, rpc.request.time_stats_log[:MAX_TIME_LOG])
        else:
            rpc.reply.send_time_stats_log = 1


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        log.warning("cannot write %s: %s", path, error.strerror)
