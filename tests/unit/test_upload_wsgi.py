"""The upload handler behind a real HTTP server: transport rules of spec 04 section 5.1."""
from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from boincdock import crypto
from boincdock.files.upload_wsgi import Application
from tests.unit.test_crypto_keys import worked_example
from tests.unit.test_upload_parser import NAME, signature_of, size_query, upload_request

CONFIG = """<boinc><config>
<master_url>http://127.0.0.1/p/</master_url><host>p</host><uldl_dir_fanout>1024</uldl_dir_fanout>
<fuh_check_names>0</fuh_check_names><fuh_min_free_bytes>0</fuh_min_free_bytes>{}
</config></boinc>
"""


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing on the test's output."""


@pytest.fixture
def project_dir(tmp_path: Path) -> Path:
    for name in ("upload", "download", "keys"):
        (tmp_path / name).mkdir()
    crypto.write_key_file(tmp_path / "keys/upload_public", worked_example().public.file_text, secret=False)
    (tmp_path / "config.xml").write_text(CONFIG.format(""))
    return tmp_path


@pytest.fixture
def port(project_dir: Path) -> Iterator[int]:
    application = Application(project_dir)
    server: WSGIServer = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def post(port: int, body: bytes, **headers: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    sent = {"Content-Type": "text/xml"} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/p_cgi/file_upload_handler", body, sent)
    reply = connection.getresponse()
    try:
        return reply.status, reply.headers["Content-Type"], reply.read()
    finally:
        connection.close()


OK = b"<data_server_reply>\n    <status>0</status>\n</data_server_reply>\n"


@pytest.mark.parametrize("content_type", ["text/xml", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_the_content_type_does_not_matter(port: int, project_dir: Path, content_type: str) -> None:
    status, kind, body = post(port, upload_request(signature=signature_of()), Content_Type=content_type)
    assert (status, kind, body) == (200, "text/plain", OK)
    assert (project_dir / "upload/25c" / NAME).read_bytes() == b"hello\n"
    assert b"<file_size>6</file_size>" in post(port, size_query(), Content_Type=content_type)[2]


def test_every_answer_is_http_200(port: int) -> None:
    for request, status in ((b"", b"1"), (b"\0\xff" * 500, b"1"), (upload_request(name=".."), b"-1"),
                            (upload_request(), b"-1"), (b"<html>" * 100_000, b"1")):
        code, _, body = post(port, request)
        assert code == 200 and b"<status>%s</status>" % status in body


def test_expect_100_continue(port: int) -> None:
    request = upload_request(signature=signature_of())
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /p_cgi/file_upload_handler HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(request))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(request)
        answer = b""
        while b"</data_server_reply>" not in answer:
            data = connection.recv(1000)
            assert data, answer
            answer += data
    assert b" 200 OK" in answer and answer.endswith(OK)


def test_a_sender_that_goes_away_can_go_on(port: int, project_dir: Path) -> None:
    data = bytes(100_000)
    import hashlib

    request = upload_request(data, nbytes=len(data), md5=hashlib.md5(data).hexdigest(), signature=signature_of())
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(request))
        connection.sendall(request[:-40_000])
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(1000):
            answer += chunk
    assert b"<status>1</status>" in answer
    assert b"<file_size>60000</file_size>" in post(port, size_query())[2]
    rest = upload_request(data[60_000:], nbytes=len(data), offset=60_000, md5=hashlib.md5(data).hexdigest(),
                          signature=signature_of())
    assert post(port, rest)[2] == OK
    assert (project_dir / "upload/25c" / NAME).read_bytes() == data


def test_compressed_requests_are_put_off(port: int, project_dir: Path) -> None:
    code, _, body = post(port, upload_request(signature=signature_of()), Content_Encoding="gzip")
    assert code == 200 and b"<status>1</status>" in body
    assert post(port, upload_request(signature=signature_of()), Content_Encoding="identity")[2] == OK


def test_config_is_read_again_when_it_changes(port: int, project_dir: Path) -> None:
    assert b"<status>-1</status>" in post(port, upload_request())[2]
    config = project_dir / "config.xml"
    new = project_dir / "new.xml"
    for text, wanted in (("<broken", b"<status>1</status>"),
                         (CONFIG.format("<ignore_upload_certificates/>"), b"<status>0</status>"),
                         (CONFIG.format(""), b"<status>-1</status>")):
        new.write_text(text)
        os.replace(new, config)  # noqa: PTH105
        assert wanted in post(port, upload_request())[2]
    config.unlink()
    assert b"<status>1</status>" in post(port, upload_request())[2]


def test_log(port: int, project_dir: Path) -> None:
    post(port, upload_request(signature=signature_of()))
    post(port, upload_request(name="x&#10;y"))
    lines = (project_dir / "log_p/file_upload_handler.log").read_text().splitlines()
    assert len(lines) == 2 and f"{NAME} 127.0.0.1 offset 0 nbytes 6: 0 ok" in lines[0] and "[PID=" in lines[0]
    assert "refused: -1 file name not allowed" in lines[1]


@pytest.mark.parametrize("length", ["", "-5", "abc", "1e3", "\u0661"])
def test_nonsense_lengths(project_dir: Path, length: str) -> None:
    import io

    seen: list[str] = []
    body = Application(project_dir)({"wsgi.input": io.BytesIO(b"x" * 100), "CONTENT_LENGTH": length},
                                    lambda status, headers: seen.append(status))  # type: ignore[arg-type,return-value]
    assert seen == ["200 OK"] and b"<status>1</status>" in b"".join(body)
