"""The WSGI entry point without a database: bad requests, size limits, outages, the log (spec 01 section 1)."""
from __future__ import annotations

import io
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from scheduler_world import example

from boincdock.scheduler.wsgi import MAX_BODY, Application, Truncated, read_body

CONFIG = """<boinc><config><host>test</host><master_url>http://boinc.test/p/</master_url>
<long_name>P &amp; Q</long_name>
<db_host>127.0.0.1:1</db_host><db_name>none</db_name><db_user>u</db_user><db_passwd>hush</db_passwd>
</config></boinc>"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "config.xml").write_text(CONFIG)
    return tmp_path


class Chunks(io.RawIOBase):
    """A stream of ``size`` zero bytes that counts what was read."""

    def __init__(self, size: int) -> None:
        self.size, self.taken, self.largest = size, 0, 0

    def read(self, n: int = -1) -> bytes:
        n = min(n, self.size - self.taken)
        self.largest = max(self.largest, n)
        self.taken += n
        return b"x" * n


def call(app: Application, body: bytes | Any = b"", method: str = "POST", **environ: str) -> tuple[str, dict, bytes]:
    stream = io.BytesIO(body) if isinstance(body, bytes) else body
    length = len(body) if isinstance(body, bytes) else body.size
    seen: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        seen.update(status=status, headers=dict(headers))

    out = b"".join(app({"REQUEST_METHOD": method, "CONTENT_LENGTH": str(length), "REMOTE_ADDR": "192.0.2.9",
                        "wsgi.input": stream, **environ}, start_response))
    return seen["status"], seen["headers"], out


def log_of(project: Path) -> str:
    return (project / "log_test" / "scheduler.log").read_text()


@pytest.mark.parametrize("content_type", ["text/xml", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("body", [b"", b"a=b&c=d", example().encode()[:4000], bytes(range(256)) * 40])
def test_bad_requests_get_a_clear_answer(project: Path, content_type: str, body: bytes) -> None:
    (project / "stop_sched").unlink(missing_ok=True)
    status, headers, out = call(Application(project), body, CONTENT_TYPE=content_type)
    assert status == "200 OK"
    assert headers["Content-Type"] == "text/xml"
    assert int(headers["Content-Length"]) == len(out)
    # The database of this project is down: a request that is read as one is answered with an outage.
    assert out.startswith(b"<scheduler_reply>")
    assert b"Incomplete or unreadable request" in out
    assert b"Traceback" not in out


def test_a_browser_gets_a_valid_reply(project: Path) -> None:
    status, _, out = call(Application(project), method="GET")
    assert status == "200 OK"
    assert b"Incomplete or unreadable request: the request is empty" in out


def test_a_request_of_50_mb_is_drained_in_pieces_and_refused(project: Path) -> None:
    stream = Chunks(50 * 1024 * 1024)
    status, _, out = call(Application(project), stream)
    assert status == "200 OK"
    assert b"larger than 40 MB" in out
    assert stream.taken == stream.size
    assert stream.largest <= 1 << 16
    assert "refused" in log_of(project)


def test_a_body_without_length_is_bounded_too() -> None:
    stream = Chunks(MAX_BODY + 100)
    with pytest.raises(Exception, match=r"^$"):
        read_body({"wsgi.input": stream, "CONTENT_LENGTH": ""})
    assert read_body({"wsgi.input": io.BytesIO(b"abc"), "CONTENT_LENGTH": ""}) == b"abc"
    assert read_body({"wsgi.input": io.BytesIO(b"abcdef"), "CONTENT_LENGTH": "3"}) == b"abc"


def test_a_connection_that_breaks_is_a_truncated_request(project: Path) -> None:
    class Broken(io.RawIOBase):
        size = 100

        def read(self, n: int = -1) -> bytes:
            raise OSError("connection lost")

    with pytest.raises(Truncated):
        read_body({"wsgi.input": Broken(), "CONTENT_LENGTH": "100"})
    assert call(Application(project), Broken())[0] == "200 OK"


def test_database_down_is_an_outage_without_secrets(project: Path) -> None:
    status, _, out = call(Application(project), example().encode())
    assert status == "200 OK"
    assert b"<project_is_down/>" in out
    assert b"<request_delay>3600.000000</request_delay>" in out
    assert b"hush" not in out
    assert b"127.0.0.1" not in out
    line = log_of(project).splitlines()[-1]
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{4} UTC \[PID=\d+ *\]"
    assert re.match(stamp + r" \[CRITICAL\] from 192.0.2.9: database:", line)


def test_no_project_is_an_outage(tmp_path: Path) -> None:
    status, _, out = call(Application(tmp_path), example().encode())
    assert status == "200 OK"
    assert b"<project_is_down/>" in out


def test_changes_of_config_xml_count_at_once(project: Path) -> None:
    app = Application(project)
    assert b"<project_name>P &amp; Q</project_name>" in call(app)[2]
    (project / "config.xml").write_text(CONFIG.replace("P &amp; Q", "Changed"))
    assert b"<project_name>Changed</project_name>" in call(app)[2]


def test_one_line_a_request_and_no_forged_lines(project: Path) -> None:
    app = Application(project)
    before = len(log_of(project).splitlines()) if (project / "log_test").exists() else 0
    call(app, b"x")
    call(app, b"<evil\n2026 UTC forged>")
    lines = log_of(project).splitlines()
    assert len(lines) == before + 2
    assert all(re.match(r"\d{4}-\d\d-\d\d .* UTC \[PID=\d+ *\]  from 192", line) for line in lines)


class Slow(Chunks):
    """A sender that says nothing until it is let go."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.asked, self.go = threading.Event(), threading.Event()

    def read(self, n: int = -1) -> bytes:
        self.asked.set()
        assert self.go.wait(20)
        return super().read(n)


def test_slow_senders_hold_no_worker(project: Path) -> None:
    """Decision 0118: with one worker and a sender under way, another request is answered."""
    app, slow = Application(project, workers=1), Slow(50)
    out: list[str] = []
    thread = threading.Thread(target=lambda: out.append(call(app, slow)[0]))
    thread.start()
    assert slow.asked.wait(20)
    other = threading.Thread(target=lambda: out.append(call(app, b"<x/>")[2].decode()))
    other.start()
    other.join(20)
    assert len(out) == 1 and "<scheduler_reply>" in out[0]
    slow.go.set()
    thread.join(20)
    assert out[1:] == ["200 OK"]


def test_a_process_answers_as_many_at_a_time_as_it_has_workers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if some of them fail, which gives the worker back too."""
    app = Application(project, workers=2)
    inside, most = 0, 0
    both = threading.Barrier(2, timeout=20)

    def handle(_self: Any, body: bytes, peer: str = "") -> bytes:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        both.wait()
        inside -= 1
        both.wait()
        raise RuntimeError("broken")

    monkeypatch.setattr("boincdock.scheduler.handler.Scheduler.handle", handle)
    threads = [threading.Thread(target=call, args=(app, b"<x/>")) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads) and most == 2
