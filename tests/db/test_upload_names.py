"""Which uploads are wanted, asked of a real database with results as the transitioner makes them."""
from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from boincdock import crypto
from boincdock.db import Connection
from boincdock.enums import FileDeleteState, Outcome, ServerState
from boincdock.files.issued import IssuedNames, allowed_size, candidate_results
from boincdock.files.upload_handler import Body, UploadHandler, Verdict
from boincdock.files.upload_wsgi import ThreadLookup
from boincdock.jobs.results import make_result_xml
from tests.unit.test_crypto_keys import worked_example
from tests.unit.test_files_hierarchy import make_project
from tests.unit.test_upload_parser import upload_request

TEMPLATE = """<output_template>
<file_info><name><OUTFILE_0/></name><max_nbytes>1000</max_nbytes><url><UPLOAD_URL/></url></file_info>
<file_info><name><OUTFILE_1/>.tgz</name><max_nbytes>1e6</max_nbytes><url><UPLOAD_URL/></url></file_info>
<result><file_ref><file_name><OUTFILE_0/></file_name><open_name>out</open_name></file_ref>
<file_ref><file_name><OUTFILE_1/>.tgz</file_name><open_name>results.tgz</open_name></file_ref></result>
</output_template>"""


def insert(db: Connection, table: str, **values: Any) -> None:
    columns = ", ".join(f"`{name}`" for name in values)
    cursor = db.raw().cursor()
    cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(values))})",
                   list(values.values()))
    cursor.close()


@pytest.fixture
def issued(db: Connection, db_settings: SimpleNamespace, tmp_path: Path) -> Any:
    """A workunit with a result; ``names`` of its files and a ``set`` that changes its state."""
    (tmp_path / "keys").mkdir()
    crypto.write_key_file(tmp_path / "keys/upload_private", worked_example().file_text, secret=True)
    crypto.write_key_file(tmp_path / "keys/upload_public", worked_example().public.file_text, secret=False)
    project = make_project(tmp_path, dont_generate_upload_certificates=False)
    wu_name = "job_r5_x"
    name, document = make_result_xml(project, TEMPLATE, {"name": wu_name}, 0)
    insert(db, "workunit", id=7, name=wu_name, create_time=1, appid=1)
    insert(db, "result", id=9, name=name, workunitid=7, xml_doc_in=document, create_time=1, appid=1,
           server_state=int(ServerState.IN_PROGRESS))
    infos = [part.split("</name>")[0].strip() for part in document.split("<name>")[1:]]

    def change(server_state: ServerState, outcome: Outcome = Outcome.INIT,
               deleted: FileDeleteState = FileDeleteState.INIT) -> None:
        cursor = db.raw().cursor()
        cursor.execute("UPDATE result SET server_state=%s, outcome=%s", (int(server_state), int(outcome)))
        cursor.execute("UPDATE workunit SET file_delete_state=%s", (int(deleted),))
        cursor.close()

    return SimpleNamespace(names=infos[:2], document=document, set=change, project=project,
                           check=IssuedNames(ThreadLookup(db_settings)))


def verdict(issued: Any, name: str, nbytes: int = 10, certified: bool = True) -> Verdict:
    found: Verdict = issued.check(name, nbytes, certified=certified)
    return found


def test_files_of_a_result_in_progress(issued: Any) -> None:
    for name, limit in zip(issued.names, (1000, 1_000_000), strict=True):
        for certified in (True, False):
            assert verdict(issued, name, limit, certified) is Verdict.STORE
            assert verdict(issued, name, limit + 1, certified) is Verdict.REFUSE


def test_guessed_and_unknown_names(issued: Any) -> None:
    real = issued.names[0]
    for name in (real + "0", real.replace("_r", "_r1"), real.upper(), "nothing_0_r1_0", "plain", real[:-2]):
        assert verdict(issued, name, certified=True) is Verdict.DISCARD
        assert verdict(issued, name, certified=False) is Verdict.REFUSE


@pytest.mark.parametrize(("state", "certified", "plain"), [
    ((ServerState.UNSENT,), Verdict.STORE, Verdict.REFUSE),
    ((ServerState.OVER, Outcome.NO_REPLY), Verdict.STORE, Verdict.STORE),
    ((ServerState.OVER, Outcome.NO_REPLY, FileDeleteState.READY), Verdict.DISCARD, Verdict.DISCARD),
    ((ServerState.OVER, Outcome.SUCCESS), Verdict.DISCARD, Verdict.DISCARD),
    ((ServerState.OVER, Outcome.DIDNT_NEED), Verdict.DISCARD, Verdict.DISCARD),
])
def test_states(issued: Any, state: tuple[Any, ...], certified: Verdict, plain: Verdict) -> None:
    issued.set(*state)
    assert verdict(issued, issued.names[0], certified=True) is certified
    assert verdict(issued, issued.names[0], certified=False) is plain


def test_the_whole_way_with_the_certificate_that_the_client_was_given(issued: Any) -> None:
    handler = UploadHandler(issued.project, issued.check)
    signature = issued.document.split("<xml_signature>")[1].split("</xml_signature>")[0].strip()
    request = upload_request(name=issued.names[0], max_nbytes=1000, signature=signature)
    assert handler.handle(Body(io.BytesIO(request), len(request))).status == 0
    stored = [p for p in issued.project.upload_dir.rglob("*") if p.is_file()]
    assert [p.name for p in stored] == [issued.names[0]] and stored[0].read_bytes() == b"hello\n"
    issued.set(ServerState.OVER, Outcome.SUCCESS)
    changed = upload_request(b"HELLO\n", name=issued.names[0], max_nbytes=1000, signature=signature)
    assert handler.handle(Body(io.BytesIO(changed), len(changed))).status == 0
    assert stored[0].read_bytes() == b"hello\n"


def test_a_dead_database_is_a_transient_error(issued: Any, db_settings: SimpleNamespace) -> None:
    away = SimpleNamespace(**(vars(db_settings) | {"db_host": "127.0.0.1:1"}))
    handler = UploadHandler(issued.project, IssuedNames(ThreadLookup(away)))
    signature = issued.document.split("<xml_signature>")[1].split("</xml_signature>")[0].strip()
    request = upload_request(name=issued.names[0], max_nbytes=1000, signature=signature)
    reply = handler.handle(Body(io.BytesIO(request), len(request)))
    assert reply.status == 1 and not list(issued.project.upload_dir.iterdir())


def test_candidates() -> None:
    assert candidate_results("demo_0_r918273645_0") == ["demo_0"]
    assert candidate_results("a_r1_b_0_r22_x.tgz") == ["a", "a_r1_b_0"]
    assert candidate_results("plain") == [] and candidate_results("_r1_0") == []
    assert len(candidate_results("x" + "_r1_" * 50)) <= 4


def test_sizes_in_the_result() -> None:
    document = b"<file_info>\n<name> a&amp;b </name><max_nbytes>1e3</max_nbytes></file_info><file_info><name>c</name>"
    assert allowed_size(document, "a&b") == 1000 and allowed_size(document, "c") is None
    assert allowed_size("<file_info><name>d</name></file_info>", "d") == 0
