"""What Apache serves and how: downloads as clients need them, nothing private, clear limits (spec 04, 05 C3)."""
from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from stack_project import Project, wait_for

CONTENT = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def files(stack: Project) -> Iterator[Project]:
    """Some files in download/, of all sorts."""
    names = ("t.bin", "t.bin.gz", "t.bin.md5", "x.br", "y.Z", "page.html", "run.php", "run.cgi", "1b9/a")
    stack.run_in("apache", "mkdir", "-p", "download/1b9")
    for name in names:
        stack.run_in("apache", "sh", "-c", f"cat > 'download/{name}'", stdin=CONTENT)
    yield stack
    stack.run_in("apache", "sh", "-c", "cd download && rm -f " + " ".join(names))


def fetch(stack: Project, name: str, **headers: str) -> requests.Response:
    response = requests.get(f"{stack.url_base}/boincserver/download/{name}", stream=True, timeout=30,
                            headers={"Accept-Encoding": "gzip, deflate, br, zstd", **headers})
    response.body = response.raw.read(decode_content=False)  # type: ignore[attr-defined]
    return response


@pytest.mark.parametrize("name", ["t.bin", "t.bin.gz", "x.br", "y.Z", "page.html", "run.php", "run.cgi", "1b9/a"])
def test_files_come_byte_for_byte(files: Project, name: str) -> None:
    whole = fetch(files, name)
    assert whole.status_code == 200
    assert whole.body == CONTENT  # type: ignore[attr-defined]
    assert whole.headers["Content-Length"] == str(len(CONTENT))
    assert "Content-Encoding" not in whole.headers
    assert whole.headers["Content-Type"] == "application/octet-stream"
    part = fetch(files, name, Range="bytes=1000-")
    assert part.status_code == 206
    assert part.body == CONTENT[1000:]  # type: ignore[attr-defined]
    assert part.headers["Content-Length"] == str(len(CONTENT) - 1000)
    assert "Content-Encoding" not in part.headers


@pytest.mark.parametrize("start", [len(CONTENT), len(CONTENT) + 1, 10**12])
def test_a_range_behind_the_end_gives_the_whole_plain_file(files: Project, start: int) -> None:
    response = fetch(files, "t.bin", Range=f"bytes={start}-")
    assert (response.status_code, response.body) == (200, CONTENT)  # type: ignore[attr-defined]


def test_of_a_gz_file_never_the_whole_for_a_range(files: Project) -> None:
    response = fetch(files, "t.bin.gz", Range=f"bytes={len(CONTENT)}-")
    assert (response.status_code, response.body) == (416, b"")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["missing", "missing.gz", "1b9/missing", "t.bin.md5", ".hidden", "", "1b9/"])
def test_errors_have_no_body(files: Project, name: str) -> None:
    """Clients append it to the partial file."""
    response = fetch(files, name)
    assert response.status_code in (403, 404)
    assert response.body == b""  # type: ignore[attr-defined]


def test_only_reading(files: Project) -> None:
    for method in ("PUT", "DELETE", "POST", "PATCH"):
        response = requests.request(method, f"{files.url_base}/boincserver/download/t.bin", data=b"x", timeout=30)
        assert response.status_code in (403, 405), method
    assert fetch(files, "t.bin").body == CONTENT  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", [
    "/boincserver/keys/upload_private", "/boincserver/upload/", "/boincserver/config.xml", "/keys/upload_private",
    "/boincserver/download/../keys/upload_private", "/boincserver/download/%2e%2e/keys/upload_private",
    "/boincserver/download/..%2fkeys%2fupload_private", "/boincserver/stats/../../config.xml",
    "/boincserver/html/ops/.htpasswd", "/boincserver_ops/.htpasswd", "/boincserver_cgi/",
    "/boincserver_cgi/../config.xml",
    "/boincserver_cgi/cgi/../../config.xml", "/etc/passwd", "/.health/scheduler", "/boincserver/.boincdock/state.json",
])
def test_private_files_are_not_served(stack: Project, path: str) -> None:
    parts = urlsplit(stack.url_base)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        data = b""
        while piece := connection.recv(65536):
            data += piece
    assert data.split()[1] in (b"401", b"403", b"404", b"400"), data[:200]
    for secret in (b"db_passwd", b"1024\n", b"root:x", b"admin:$2y$", stack.secret("DB_PASSWD").encode()):
        assert secret not in data


def test_the_front_door(stack: Project) -> None:
    for path in ("/", "/boincserver"):
        response = stack.get(path)
        assert (response.status_code, response.headers["Location"]) == (302, stack.master_url)
    page = requests.get(stack.url_base, timeout=30)
    assert page.url == stack.master_url and page.status_code == 200
    assert page.headers["Server"] == "Apache"


def test_the_master_page_has_both_scheduler_tags(stack: Project) -> None:
    lines = stack.get("/boincserver/").text.splitlines()
    url = f"{stack.url_base}/boincserver_cgi/cgi"
    assert f"<!-- <scheduler>{url}</scheduler> -->" in lines
    assert f'<link rel="boinc_scheduler" href="{url}">' in lines


def test_the_project_config_rpc_names_the_project(stack: Project) -> None:
    text = stack.get("/boincserver/get_project_config.php").text
    assert f"<master_url>{stack.master_url}</master_url>" in text or f"<web_rpc_url_base>{stack.master_url}" in text
    assert "<platform_name>x86_64-pc-linux-gnu</platform_name>" in text


def test_ops_pages_want_the_password(stack: Project) -> None:
    assert stack.get("/boincserver_ops/").status_code == 401
    for user, password in (("admin", ""), ("admin", "password"), ("", "")):
        assert stack.get("/boincserver_ops/", auth=(user, password)).status_code == 401
    assert stack.get("/boincserver_ops/", auth=("admin", stack.secret("OPS_PASSWD"))).status_code == 200


def test_the_upload_handler_and_the_scheduler_answer(stack: Project) -> None:
    reply = requests.post(f"{stack.url_base}/boincserver_cgi/file_upload_handler", data=b"nonsense", timeout=30)
    assert reply.status_code == 200 and "<status>" in reply.text
    reply = requests.post(f"{stack.url_base}/boincserver_cgi/cgi", data=b"nonsense", timeout=30)
    assert reply.status_code == 200 and "<scheduler_reply>" in reply.text


def test_a_huge_scheduler_request_gets_a_clear_answer(stack: Project) -> None:
    reply = requests.post(f"{stack.url_base}/boincserver_cgi/cgi", data=b"x" * (50 << 20), timeout=120)
    assert reply.status_code == 200 and "larger than" in reply.text
    assert stack.get("/boincserver/").status_code == 200


def test_a_huge_page_request_is_refused(stack: Project) -> None:
    reply = requests.post(f"{stack.url_base}/boincserver/create_account.php", data=b"x" * (20 << 20), timeout=60)
    assert reply.status_code == 413


def test_password_hashes_in_query_strings_do_not_reach_the_log(stack: Project) -> None:
    stack.get("/boincserver/lookup_account.php?email_addr=a%40example.org&passwd_hash=5ec3e75ec3e7")
    stack.get("/boincserver/no_such_page?passwd_hash=5ec3e75ec3e7")
    log = wait_for("both requests in the log", lambda: "/no_such_page" in (text := stack.logs("apache")) and text)
    assert "/boincserver/lookup_account.php" in log
    assert "5ec3e75ec3e7" not in log


def test_slow_senders_are_cut_off_and_hold_nobody_up(stack: Project) -> None:
    """Requests that never end, more than there are processes: everything is still served, then they are cut."""
    parts = urlsplit(stack.url_base)
    slow = []
    for _ in range(24):
        connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
        connection.sendall(f"POST /boincserver/create_account.php HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                           "Content-Length: 100000\r\n\r\nx".encode())
        slow.append(connection)
    assert stack.get("/boincserver_cgi/cgi").status_code == 200
    assert stack.get("/boincserver/").status_code == 200
    assert stack.get("/boincserver/download/zz").status_code == 404
    for connection in slow:
        assert connection.recv(65536)[:12] in (b"", b"HTTP/1.1 408", b"HTTP/1.1 400", b"HTTP/1.1 200", b"HTTP/1.1 413")
        connection.close()
