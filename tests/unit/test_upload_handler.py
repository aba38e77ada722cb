"""The upload handler against spec 04 sections 5.4, 5.5, 10.4, and what can go wrong around it."""
from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boincdock import crypto
from boincdock.errors import DatabaseError
from boincdock.files import partial as partial_module
from boincdock.files.hierarchy import partial_path, upload_path
from boincdock.files.partial import PartialFile
from boincdock.files.upload_handler import Body, UploadHandler, Verdict
from boincdock.protocol.upload import MAX_HEADER, Reply, Status, certificate_text
from tests.unit.test_crypto_keys import worked_example
from tests.unit.test_files_hierarchy import make_project
from tests.unit.test_upload_parser import NAME, signature_of, size_query, upload_request


class Server:
    """A project directory with a handler, and shorthands to talk to it."""

    def __init__(self, root: Path, *, min_free_bytes: int = 0, durable: bool = False, **options: Any) -> None:
        self.project = make_project(root)
        for name, value in options.items():
            setattr(self.project.config, name, value)
        crypto.write_key_file(root / "keys" / "upload_public", worked_example().public.file_text, secret=False,
                              overwrite=True)
        self.handler = UploadHandler(self.project, min_free_bytes=min_free_bytes, durable=durable)

    def send(self, request: bytes, announced: int | None = None) -> Reply:
        return self.handler.handle(Body(io.BytesIO(request), len(request) if announced is None else announced))

    def put(self, data: bytes, *, sent: int | None = None, **fields: Any) -> Reply:
        """Upload ``data`` (its first ``sent`` bytes behind the offset, if given)."""
        offset = fields.get("offset", 0)
        fields.setdefault("nbytes", len(data))
        fields.setdefault("md5", hashlib.md5(data).hexdigest())
        fields.setdefault("signature", signature_of(fields.get("name", NAME), fields.get("max_nbytes", 5000000)))
        whole = upload_request(data[offset:], **fields)
        cut = len(whole) if sent is None else len(whole) - len(data[offset:]) + sent
        return self.send(whole[:cut], len(whole))

    def size(self, name: str = NAME) -> Reply:
        return self.send(size_query(name))

    def path(self, name: str = NAME) -> Path:
        return upload_path(self.project, name)

    def files(self) -> list[str]:
        return sorted(p.name for p in self.project.upload_dir.rglob("*") if p.is_file())


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def big(nbytes: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(1000)) * (nbytes // 1000 + 1)


def test_dialogue_of_the_spec(server: Server) -> None:
    assert server.size() == Reply(Status.OK, file_size=0)
    signed = upload_request(signature=signature_of())
    assert server.send(signed) == Reply(Status.OK)
    assert server.path() == server.project.upload_dir / "25c" / NAME and server.path().read_bytes() == b"hello\n"
    assert server.size() == Reply(Status.OK, file_size=6)
    assert server.files() == [NAME] and stat.S_IMODE(server.path().stat().st_mode) == 0o664


def test_resume_as_in_the_spec(server: Server) -> None:
    assert server.put(b"hello\n", sent=3).status == Status.TRANSIENT
    assert server.size() == Reply(Status.OK, file_size=3)
    assert server.put(b"hello\n", offset=7).status == Status.OK
    assert server.put(b"hello\n", offset=5).status == Status.TRANSIENT
    assert server.size().file_size == 3 and not server.path().exists()
    assert server.put(b"hello\n", offset=3) == Reply(Status.OK)
    assert server.path().read_bytes() == b"hello\n" and server.files() == [NAME]


@pytest.mark.parametrize("fields", [
    {"signature": ""}, {"signature": "junk"}, {"signature": signature_of("other_0_r1_0")},
    {"signature": signature_of(max_nbytes=6)}, {"max_nbytes": ""}, {"nbytes": 5000001}, {"name": "demo_0_r918273645_1"},
    {"name": ".."}, {"name": "../../keys/upload_public"}, {"nbytes": -1}, {"nbytes": ""},
])
def test_wrong_requests_are_permanent_and_store_nothing(server: Server, fields: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"signature": signature_of()} | fields
    assert server.send(upload_request(**arguments)).status == Status.PERMANENT
    assert server.files() == []


def test_another_key_is_refused(server: Server) -> None:
    other = crypto.generate_keypair()[1]
    crypto.write_key_file(server.project.key_dir / "upload_public", other, secret=False, overwrite=True)
    assert server.send(upload_request(signature=signature_of())).status == Status.PERMANENT


def test_a_replaced_key_stays_valid_for_jobs_in_progress(server: Server) -> None:
    keys, new = server.project.key_dir, crypto.generate_private()
    (keys / "upload_public").rename(keys / "old_upload_public_0")
    crypto.write_key_file(keys / "upload_public", new.public.file_text, secret=False)
    assert server.put(b"hello\n") == Reply(Status.OK)
    fresh = crypto.sign_bytes(certificate_text(NAME, 5000000), new)
    assert server.put(b"hello\n", signature=fresh) == Reply(Status.OK)
    (keys / "old_upload_public_0").unlink()
    assert server.put(b"hello\n").status == Status.PERMANENT


def test_refused_bodies_are_read_to_their_end(server: Server) -> None:
    request = upload_request(b"x" * 300_000, nbytes=300_000)
    stream = io.BytesIO(request)
    reply = server.handler.handle(Body(stream, len(request)))
    assert reply.status == Status.PERMANENT and stream.tell() == len(request)


def test_without_certificates(tmp_path: Path) -> None:
    server = Server(tmp_path, ignore_upload_certificates=True)
    assert server.send(upload_request()) == Reply(Status.OK)
    assert server.put(b"x" * 100, signature="", max_nbytes=10) == Reply(Status.OK)
    assert server.put(b"x", signature="", name="../x").status == Status.PERMANENT


def test_our_own_problems_are_transient(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = upload_request(signature=signature_of())
    (tmp_path / "stop_upload").touch()
    assert server.send(good).status == Status.TRANSIENT and server.size().status == Status.TRANSIENT
    (tmp_path / "stop_upload").unlink()
    key = server.project.key_dir / "upload_public"
    text = key.read_text()
    for broken in ("junk", None):
        key.unlink(missing_ok=True)
        if broken:
            key.write_text(broken)
        assert server.send(good).status == Status.TRANSIENT
    key.write_text(text)
    shutil.rmtree(server.project.upload_dir)
    assert server.send(good).status == Status.TRANSIENT and server.size().status == Status.TRANSIENT
    server.project.upload_dir.write_text("a file is in the way")
    assert server.send(good).status == Status.TRANSIENT
    server.project.upload_dir.unlink()
    server.project.upload_dir.mkdir()
    assert server.send(good).status == Status.OK
    assert "Traceback" not in caplog.text


def test_nearly_full_disk(tmp_path: Path) -> None:
    server = Server(tmp_path, min_free_bytes=2**62)
    assert server.size().status == Status.TRANSIENT
    assert server.put(b"hello\n").status == Status.TRANSIENT and server.files() == []


@pytest.mark.parametrize("failing_write", [1, 3, 5])
def test_disk_full_while_writing(server: Server, monkeypatch: pytest.MonkeyPatch, failing_write: int) -> None:
    data = big(300_000)[:300_000]
    real, calls = os.pwrite, [0]

    def pwrite(fd: int, view: Any, at: int) -> int:
        calls[0] += 1
        if calls[0] == failing_write + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, view[:len(view) // 2] if calls[0] == failing_write else view, at)

    with monkeypatch.context() as patch:
        patch.setattr(partial_module.os, "pwrite", pwrite)
        reply = server.put(data)
    assert reply.status == Status.TRANSIENT and "disk is full" in reply.message
    stored = server.size().file_size
    assert stored and not server.path().exists()
    assert data.startswith(partial_path(server.path()).read_bytes())
    assert server.put(data, offset=stored) == Reply(Status.OK)
    assert server.path().read_bytes() == data and server.files() == [NAME]


@pytest.mark.parametrize("nbytes", [0, 1, MAX_HEADER - 694, MAX_HEADER - 693, 65536, 65537, 1_000_000])
def test_sizes(server: Server, nbytes: int) -> None:
    data = big(nbytes)[:nbytes]
    assert server.put(data) == Reply(Status.OK)
    assert server.path().read_bytes() == data and server.files() == [NAME]
    assert server.size().file_size == nbytes


def test_bytes_behind_the_file_are_ignored(server: Server) -> None:
    request = upload_request(b"hello\n" + b"tail" * 50_000, signature=signature_of())
    assert server.send(request) == Reply(Status.OK) and server.path().read_bytes() == b"hello\n"


def test_damaged_files_are_asked_for_again_and_given_up_at_last(server: Server) -> None:
    for _ in range(2):
        assert server.put(b"hello\n", md5="0" * 32).status == Status.TRANSIENT
        assert server.size() == Reply(Status.OK, file_size=0)
    assert server.put(b"hello\n", md5="0" * 32).status == Status.PERMANENT
    assert server.files() == []
    assert server.put(b"hello\n", md5="0" * 32).status == Status.TRANSIENT
    assert server.put(b"hello\n") == Reply(Status.OK) and server.files() == [NAME]


def test_a_longer_new_file_meets_an_older_complete_one(server: Server) -> None:
    assert server.put(b"old result") == Reply(Status.OK)
    new = b"a longer new result"
    assert server.size().file_size == 10
    assert server.put(new, offset=10).status == Status.TRANSIENT
    assert server.path().read_bytes() == b"old result"
    assert server.size().file_size == 0
    assert server.put(new) == Reply(Status.OK) and server.path().read_bytes() == new
    assert server.files() == [NAME]


def test_the_same_head_of_an_older_file_is_reused(server: Server) -> None:
    server.put(b"same head")
    assert server.put(b"same head and tail", offset=9) == Reply(Status.OK)
    assert server.path().read_bytes() == b"same head and tail"


def test_a_shorter_new_file_leaves_no_tail(server: Server) -> None:
    server.put(big(100_000), sent=70_000)
    server.put(b"short")
    assert server.path().read_bytes() == b"short" and server.files() == [NAME]


def test_wrong_offset_of_an_unknown_file_leaves_nothing(server: Server) -> None:
    assert server.put(b"hello\n", offset=3).status == Status.TRANSIENT
    assert server.files() == [] and server.size().file_size == 0


def test_going_back_overwrites(server: Server) -> None:
    data = big(200_000)[:200_000]
    server.put(data, sent=150_000)
    assert server.put(data, offset=1000) == Reply(Status.OK) and server.path().read_bytes() == data


def test_a_file_in_the_making_is_busy(server: Server) -> None:
    server.put(b"hello\n", sent=3)
    with PartialFile.open(server.path(), 0o664):
        assert server.put(b"hello\n", offset=3).status == Status.TRANSIENT
        assert server.size().status == Status.TRANSIENT
    assert server.put(b"hello\n", offset=3) == Reply(Status.OK)


def test_links_are_not_followed(server: Server, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    server.path().parent.mkdir(exist_ok=True)
    partial_path(server.path()).symlink_to(victim)
    assert server.put(b"hello\n").status == Status.TRANSIENT and victim.read_text() == "precious"


def test_permissions(tmp_path: Path) -> None:
    server = Server(tmp_path, fuh_set_initial_permission=0o600, fuh_set_completed_permission=0o777)
    server.put(b"hello\n", sent=3)
    assert stat.S_IMODE(partial_path(server.path()).stat().st_mode) == 0o600
    server.put(b"hello\n", offset=3)
    assert stat.S_IMODE(server.path().stat().st_mode) == 0o666


def test_a_completed_read_only_file_is_final(tmp_path: Path) -> None:
    server = Server(tmp_path, fuh_set_completed_permission=0o444)
    assert server.put(b"hello\n") == Reply(Status.OK)
    assert stat.S_IMODE(server.path().stat().st_mode) == 0o444
    assert server.put(b"other bytes") == Reply(Status.OK)
    assert server.path().read_bytes() == b"hello\n" and server.files() == [NAME]


def test_fsync_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    lax, strict = Server(tmp_path), Server(tmp_path, durable=True)
    monkeypatch.setattr(partial_module.os, "fsync", synced.append)
    lax.put(b"hello\n")
    assert not synced
    strict.put(b"hello\n")
    assert len(synced) == 2  # the file, then its folder


@pytest.mark.parametrize("verdict", list(Verdict))
def test_names_are_checked(server: Server, verdict: Verdict) -> None:
    asked: list[tuple[str, int, bool]] = []

    def check(name: str, nbytes: int, *, certified: bool) -> Verdict:
        asked.append((name, nbytes, certified))
        return verdict

    server.handler = UploadHandler(server.project, check)
    reply = server.put(big(100_000)[:100_000])
    assert asked == [(NAME, 100_000, True)]
    assert reply.status == (Status.PERMANENT if verdict is Verdict.REFUSE else Status.OK)
    assert server.files() == ([NAME] if verdict is Verdict.STORE else [])


def test_a_failing_name_check_is_transient(server: Server) -> None:
    def check(name: str, nbytes: int, *, certified: bool) -> Verdict:
        raise RuntimeError("database is gone")

    server.handler = UploadHandler(server.project, check)
    assert server.put(b"hello\n") == Reply(Status.TRANSIENT, "internal error") and server.files() == []


def test_a_database_that_is_away_is_one_log_line(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    def check(name: str, nbytes: int, *, certified: bool) -> Verdict:
        raise DatabaseError("database: gone away")

    server.handler = UploadHandler(server.project, check)
    assert server.put(b"hello\n").status == Status.TRANSIENT and server.files() == []
    assert "gone away" in caplog.text and "Traceback" not in caplog.text


def test_discarded_uploads_that_end_early_are_repeated(server: Server) -> None:
    server.handler = UploadHandler(server.project, lambda name, nbytes, *, certified: Verdict.DISCARD)
    assert server.put(big(100_000), sent=50_000).status == Status.TRANSIENT


class Failing(io.BytesIO):
    """A connection that breaks: the web server raises instead of ending the stream."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise OSError("request data read error")
        return data


@pytest.mark.parametrize("cut", [0, 10, 300, 500, 694, 700, 20_000, 90_000])
def test_broken_connections(server: Server, cut: int) -> None:
    data = big(100_000)[:100_000]
    whole = upload_request(data, nbytes=len(data), md5=hashlib.md5(data).hexdigest(), signature=signature_of())
    header = len(whole) - len(data)
    reply = server.handler.handle(Body(Failing(whole[:cut]), len(whole)))
    assert reply.status == Status.TRANSIENT
    stored = server.size().file_size
    assert stored == max(0, cut - header)
    assert server.put(data, offset=stored) == Reply(Status.OK) and server.path().read_bytes() == data


def test_a_body_of_unknown_length(server: Server) -> None:
    request = upload_request(signature=signature_of())
    assert server.handler.handle(Body(io.BytesIO(request), None)) == Reply(Status.OK)


class Endless:
    """A body generated while it is read: its bytes are never together in memory."""

    def __init__(self, head: bytes, block: bytes, blocks: int) -> None:
        self._pending, self._block, self.left = head, block, blocks

    def read(self, size: int) -> bytes:
        if not self._pending and self.left:
            self.left -= 1
            self._pending = self._block
        data, self._pending = self._pending[:size], self._pending[size:]
        return data


def test_large_files_are_not_held_in_memory(server: Server) -> None:
    block, blocks = bytes(1 << 14), 4096
    nbytes = len(block) * blocks
    digest = hashlib.md5()
    for _ in range(blocks):
        digest.update(block)
    head = upload_request(b"", nbytes=nbytes, max_nbytes=10**9, md5=digest.hexdigest(),
                          signature=signature_of(max_nbytes=10**9))
    tracemalloc.start()
    reply = server.handler.handle(Body(Endless(head, block, blocks), len(head) + nbytes))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reply == Reply(Status.OK) and server.path().stat().st_size == nbytes
    assert peak < 2_000_000


def test_one_name_from_many_threads(server: Server) -> None:
    data = big(400_000)[:400_000]
    replies: list[Reply] = []
    threads = [threading.Thread(target=lambda: replies.append(server.put(data))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {r.status for r in replies} <= {Status.OK, Status.TRANSIENT} and Reply(Status.OK) in replies
    assert server.path().read_bytes() == data and server.files() == [NAME]


KILLED = """
import io, os, signal, sys
from pathlib import Path
from boincdock.files import partial
from tests.unit.test_upload_handler import Server, big
server = Server(Path(sys.argv[1]))
point, count = sys.argv[2], int(sys.argv[3])
real = getattr(os, point) if point != "rename" else Path.rename
def die(*args, **kwargs):
    global count
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
if point == "rename":
    Path.rename = die
else:
    setattr(os, point, die)
server.put(big(int(sys.argv[4]))[:int(sys.argv[4])])
"""


@pytest.mark.parametrize(("point", "count", "nbytes"), [
    ("pwrite", 1, 100), ("rename", 1, 100), ("fchmod", 1, 100), ("pwrite", 2, 200_000), ("pwrite", 3, 200_000),
    ("fchmod", 1, 200_000), ("fchmod", 2, 200_000), ("rename", 1, 200_000), ("pwrite", 4, 200_000),
])
def test_killed_at_any_point_the_client_gets_it_stored(tmp_path: Path, point: str, count: int, nbytes: int) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), point, str(count), str(nbytes)],
                          cwd=root, timeout=60)
    assert done.returncode == -signal.SIGKILL
    data, server = big(nbytes)[:nbytes], Server(tmp_path)
    stored = server.size().file_size
    assert stored is not None
    if stored >= nbytes:
        assert server.path().read_bytes() == data
    else:
        assert server.put(data, offset=stored) == Reply(Status.OK)
    assert server.path().read_bytes() == data and server.files() == [NAME]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 200_000), max_size=5), nbytes=st.integers(0, 200_000))
def test_any_series_of_interruptions_ends_with_the_file(server: Server, cuts: list[int], nbytes: int) -> None:
    """A client that asks for the size and goes on from there, until it is told that all is done."""
    server.path().unlink(missing_ok=True)
    partial_path(server.path()).unlink(missing_ok=True)
    data = big(nbytes)[:nbytes]
    for cut in [*cuts, nbytes]:
        offset = server.size().file_size
        assert offset is not None and offset <= nbytes
        left = nbytes - offset
        if (server.put(data, offset=offset, sent=min(cut, left)) if cut < left
                else server.put(data, offset=offset)).status == Status.OK:
            break
    assert server.path().read_bytes() == data


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.integers(0, 1000))
def test_any_body_gets_a_reply(server: Server, data: bytes, announced: int) -> None:
    assert server.send(data, announced).encode().startswith(b"<data_server_reply>")
    assert server.send(b"<file_upload>" + data, announced).status != Status.OK


def test_log_lines(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "boincdock.upload")
    body = upload_request(signature=signature_of())
    server.handler.handle(Body(io.BytesIO(body), len(body)), "192.0.2.7")
    assert f"{NAME} 192.0.2.7 offset 0 nbytes 6: 0 ok" in caplog.text


def test_draining_is_limited() -> None:
    stream = Endless(b"", bytes(1000), 10**9)
    Body(stream, None).drain(5_000_000)
    assert stream.left > 10**9 - 10_000


def test_the_lock_is_one_that_other_processes_see(server: Server) -> None:
    server.put(b"hello\n", sent=3)
    with partial_path(server.path()).open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert server.put(b"hello\n", offset=3).status == Status.TRANSIENT
    assert server.put(b"hello\n", offset=3).status == Status.OK
