"""Scheduler processes for a run without Apache: ``python3 -m tests.stress.worker PROCESSES PORT_FILE``.

Serves the real WSGI applications of scheduler and upload handler of ``$BOINC_PROJECT_DIR`` on 127.0.0.1, each process
one request at a time, as mod_wsgi does with one thread. The port is written to PORT_FILE.
"""
from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from boincdock.files.upload_wsgi import application as upload
from boincdock.scheduler.wsgi import application as scheduler


class _Handler(WSGIRequestHandler):
    def log_message(self, *_args: Any) -> None:
        pass

    def address_string(self) -> str:
        return str(self.client_address[0])


def _serve(listening: socket.socket) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        chosen = upload if environ["PATH_INFO"].endswith("/file_upload_handler") else scheduler
        return chosen(environ, start_response)

    server = WSGIServer(("127.0.0.1", 0), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.server_name, server.server_port = "127.0.0.1", listening.getsockname()[1]
    server.setup_environ()
    server.set_app(application)
    server.serve_forever(poll_interval=3600)


def main(argv: list[str]) -> int:
    """Fork the processes and wait; SIGTERM ends all of them."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    children: list[int] = []
    for _ in range(int(argv[0])):
        pid = os.fork()
        if pid == 0:
            _serve(listening)
            os._exit(0)
        children.append(pid)

    def end(_number: int, _frame: FrameType | None) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    port_file = Path(argv[1])
    temporary = port_file.with_suffix(".tmp")
    temporary.write_text(str(listening.getsockname()[1]))
    temporary.replace(port_file)
    pid, status = os.wait()
    print(f"scheduler process {pid} ended: {os.waitstatus_to_exitcode(status)}", file=sys.stderr)
    for child in children:
        if child != pid:
            os.kill(child, signal.SIGKILL)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
