"""What the scheduler and the upload handler count for /metrics: every request once, under the right outcome."""
from __future__ import annotations

from pathlib import Path

import pytest
from scheduler_world import World, change, example, quiet
from test_scheduler_wsgi import CONFIG, Chunks, call

from boincdock import counters, crypto
from boincdock.config import load_project
from boincdock.files import upload_wsgi
from boincdock.scheduler import wsgi
from tests.unit.test_crypto_keys import worked_example
from tests.unit.test_upload_parser import signature_of, size_query, upload_request
from tests.unit.test_upload_wsgi import CONFIG as UPLOAD_CONFIG


def rpc(world: World, request: str) -> tuple[str, int, int]:
    world.rpc(request)
    world.now += 1000
    return world.scheduler.outcome, world.scheduler.sent, world.scheduler.reported


def counted(project_dir: Path, layout: counters.Layout) -> dict[str, float]:
    values = counters.read(counters.directory_of(load_project(project_dir).tmp_dir), layout)
    rows = {name: sum(values[i * layout.width : (i + 1) * layout.width - 1]) for i, name in enumerate(layout.outcomes)}
    return {name: n for name, n in rows.items() if n} | dict(
        zip(layout.numbers, values[len(layout.outcomes) * layout.width :], strict=True))


def test_outcome_of_an_rpc(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.job(130)
    world.job(118, state=4, host=17, sent=int(world.now) - 5000)
    whole = change(example(), code_sign_key=None)
    assert rpc(world, whole) == ("jobs", 1, 1)
    asking = change(quiet(whole), rpc_seqno=6)
    assert rpc(world, asking)[0] == "jobs"  # the job of the reply before, which this request does not list
    world.repo.find("result", name="fold_000130_0")[0]["server_state"] = 5
    silent = change(change(quiet(whole), rpc_seqno=8), work_req_seconds=0, cpu_req_secs=0, cpu_req_instances=0)
    silent = silent.replace("<req_secs>", "<was_secs>").replace("</req_secs>", "</was_secs>")
    assert rpc(world, silent) == ("contact", 0, 0)
    assert rpc(world, change(asking, rpc_seqno=9))[0] == "no_jobs"
    assert rpc(world, change(asking, authenticator="f" * 32)) == ("refused", 0, 0)
    assert rpc(world, "<scheduler_request>") == ("malformed", 0, 0)
    (tmp_path / "stop_sched").touch()
    assert rpc(world, asking) == ("stopped", 0, 0)
    (tmp_path / "stop_sched").unlink()
    world.scheduler.repo = None  # type: ignore[assignment]
    assert rpc(world, asking) == ("failed", 0, 0)


def test_the_scheduler_counts_each_request_once(tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text(CONFIG)
    app = wsgi.Application(tmp_path)
    call(app, b"nonsense")
    call(app, method="GET")  # a browser or a health check: no RPC
    call(app, Chunks(wsgi.MAX_BODY + 1))
    call(app, example().encode())  # there is no database
    (tmp_path / "stop_sched").touch()
    call(app, example().encode())
    found = counted(tmp_path, counters.SCHEDULER)
    outcomes = {k: v for k, v in found.items() if k in counters.SCHEDULER.outcomes}
    assert outcomes == {"malformed": 2, "failed": 1, "stopped": 1}
    assert found["bytes_received"] == 8 + 2 * len(example())
    assert found["jobs_sent"] == 0


def test_a_project_that_cannot_be_read_is_answered_without_counting(tmp_path: Path) -> None:
    status, _, body = call(wsgi.Application(tmp_path), b"x")
    assert status == "200 OK"
    assert b"scheduler_reply" in body


@pytest.mark.parametrize("tmp_is_a_file", [False, True])
def test_uploads_are_counted_by_outcome_and_bytes(tmp_path: Path, tmp_is_a_file: bool) -> None:
    for name in ("upload", "download", "keys"):
        (tmp_path / name).mkdir()
    crypto.write_key_file(tmp_path / "keys/upload_public", worked_example().public.file_text, secret=False)
    (tmp_path / "config.xml").write_text(UPLOAD_CONFIG.format(""))
    if tmp_is_a_file:
        (tmp_path / "tmp_p").write_text("in the way")
    app = upload_wsgi.Application(tmp_path)
    bodies = [upload_request(signature=signature_of()), size_query(), b"nonsense", upload_request(name="../x")]
    answers = [call(app, body)[2] for body in bodies]
    assert [b"<status>%d<" % n in a for n, a in zip((0, 0, 1, -1), answers, strict=True)] == [True] * 4
    found = counted(tmp_path, counters.UPLOAD)
    if tmp_is_a_file:  # nothing can be counted, and nobody notices
        assert not any(found.values())
        return
    assert {k: v for k, v in found.items() if k in counters.UPLOAD.outcomes} == {
        "stored": 1, "query": 1, "later": 1, "rejected": 1}
    assert found["bytes_received"] == sum(map(len, bodies))
