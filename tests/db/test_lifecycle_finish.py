"""Assimilation, file deletion and the feeder on a real database."""
from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import T, World, execute, insert, update

from boincdock.db import Connection
from boincdock.enums import NEVER
from boincdock.errors import InputError
from boincdock.files.hierarchy import download_path, upload_path
from boincdock.lifecycle.assimilator import Assimilator, Defer, Job
from boincdock.lifecycle.assimilators import BatchCollectAssimilator, DummyAssimilator, ResultsAssimilator
from boincdock.lifecycle.feeder import Feeder
from boincdock.lifecycle.file_deleter import FileDeleter
from boincdock.lifecycle.transitioner import Transitioner
from boincdock.lifecycle.validators import TrivialValidator

INPUT_XML = "<file_info><name>in_{0}</name></file_info><file_info><name>const</name><no_delete/></file_info>" \
            "<workunit><file_ref><file_name>in_{0}</file_name><open_name>in</open_name></file_ref></workunit>"


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


@pytest.fixture
def outdir(tmp_path: Path) -> Path:
    return tmp_path / "results"


def finished(world: World, wu_id: int = 101, at: int = 0, **columns: object) -> None:
    """A workunit with a canonical result and its output ``A``."""
    columns = {"name": f"wu_{wu_id}", "xml_doc": INPUT_XML.format(wu_id), **columns}
    world.workunit(id=wu_id, min_quorum=1, target_nresults=1, **columns)
    world.run(Transitioner, at + 1)
    world.send(0, 11, at + 100, wu_id)
    world.report(0, at + 50000, wu_id=wu_id)
    world.run(Transitioner, at + 50001)
    world.run(TrivialValidator, at + 50002)
    assert world.wu(wu_id)["canonical_resultid"]


def test_outputs_appear_under_the_logical_name(world: World, outdir: Path) -> None:
    finished(world)
    world.run(ResultsAssimilator, 50010, "--outdir", str(outdir))
    assert (outdir / "worker" / "wu_101" / "out.txt").read_bytes() == b"A"
    assert [p.name for p in (outdir / "worker").iterdir()] == ["wu_101"], "no temporary folder is left"
    assert (world.wu()["assimilate_state"], world.wu()["transition_time"]) == (2, T + 50010)


def test_batches_have_folders_of_their_own(world: World, outdir: Path) -> None:
    finished(world, batch=9)
    world.run(ResultsAssimilator, 50010, "--outdir", str(outdir))
    assert (outdir / "worker" / "batch_9" / "wu_101" / "out.txt").read_bytes() == b"A"


def test_a_second_call_replaces_what_is_there(world: World, outdir: Path) -> None:
    finished(world)
    folder = outdir / "worker" / "wu_101"
    folder.mkdir(parents=True)
    (folder / "error.json").write_text("{}")
    (folder / "out.txt").write_text("old")
    world.run(ResultsAssimilator, 50010, "--outdir", str(outdir))
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"out.txt": b"A"}


def test_failed_workunit_leaves_an_error_report(world: World, outdir: Path) -> None:
    world.workunit(min_quorum=1, target_nresults=1, max_error_results=1, max_total_results=1)
    world.run(Transitioner, 1)
    world.send(0, 11, 100)
    world.report(0, 200, exit_status=195, client_state=3)
    execute(world.db, "UPDATE result SET stderr_out = %s", b"x" * 9000 + b"\xff end")
    world.run(Transitioner, 201)
    world.run(ResultsAssimilator, 202, "--outdir", str(outdir))
    document = json.loads((outdir / "worker" / "wu_b" / "error.json").read_text())
    assert (document["error_mask"], document["errors"]) == (8, ["too_many_total_results"])
    result = document["results"][0]
    assert (result["outcome_name"], result["exit_status"]) == ("client_error", 195)
    assert result["stderr_tail"].endswith("� end") and len(result["stderr_tail"]) == 4096
    assert world.wu()["assimilate_state"] == 2


def test_missing_output_puts_the_job_off_and_the_others_go_on(world: World, outdir: Path) -> None:
    finished(world, 101)
    finished(world, 102, at=60000)
    world.output_path(world.results(101)[0]).unlink()
    world.clock = T + 120000
    daemon = world.daemon(ResultsAssimilator, "--outdir", str(outdir))
    daemon.run()
    assert [world.wu(i)["assimilate_state"] for i in (101, 102)] == [1, 2]
    assert not (outdir / "worker" / "wu_101").exists()
    world.output_path(world.results(101)[0]).write_bytes(b"back")
    daemon.run()
    assert world.wu(101)["assimilate_state"] == 1, "not before the pause is over"
    world.clock += 31
    daemon.run()
    assert (outdir / "worker" / "wu_101" / "out.txt").read_bytes() == b"back"


@pytest.mark.parametrize("logical", ["../escape", "/etc/x", "a/../../b"])
def test_logical_names_cannot_leave_the_folder(world: World, outdir: Path, logical: str) -> None:
    finished(world)
    execute(world.db, "UPDATE result SET xml_doc_in = REPLACE(xml_doc_in, 'out.txt', %s)", logical)
    world.run(ResultsAssimilator, 50010, "--outdir", str(outdir))
    assert world.wu()["assimilate_state"] == 1
    assert list(outdir.rglob("*")) == [outdir / "worker"]


def test_logical_names_with_folders(world: World, outdir: Path) -> None:
    finished(world)
    execute(world.db, "UPDATE result SET xml_doc_in = REPLACE(xml_doc_in, 'out.txt', 'shared/a b.txt')")
    world.run(ResultsAssimilator, 50010, "--outdir", str(outdir))
    assert (outdir / "worker" / "wu_101" / "shared" / "a b.txt").read_bytes() == b"A"


def test_unwritable_outdir_is_a_clear_error(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make"):
        world.daemon(ResultsAssimilator, "--outdir", str(tmp_path / "file" / "x"))


def test_unknown_app_is_a_clear_error(world: World) -> None:
    world_options = world.options(DummyAssimilator)
    world_options.app = "nonsense"
    with pytest.raises(InputError, match="nonsense"):
        DummyAssimilator(world.project, world.db, world_options).setup()


def test_neither_result_nor_error_is_noted(world: World, outdir: Path) -> None:
    world.workunit(assimilate_state=1, transition_time=NEVER)
    world.run(ResultsAssimilator, 5, "--outdir", str(outdir))
    assert (world.wu()["error_mask"], world.wu()["assimilate_state"]) == (32, 2)
    assert json.loads((outdir / "worker" / "wu_b" / "error.json").read_text())["errors"] == ["no_canonical_result"]


def test_defer_comes_again_when_all_is_over(world: World) -> None:
    seen: list[int] = []

    class Later(Assimilator):
        def handle(self, job: Job) -> None:
            seen.append(sum(r.over for r in job.results))
            if not all(r.over for r in job.results):
                raise Defer

    finished(world)
    other = insert(world.db, "result", workunitid=101, name="wu_101_1", server_state=4, appid=7,
                   report_deadline=T + 900000)
    world.run(Later, 50010)
    assert world.wu()["assimilate_state"] == 0
    world.run(Transitioner, 50011)
    assert world.wu()["assimilate_state"] == 0
    update(world.db, "result", other, server_state=5, outcome=3, validate_state=2)
    update(world.db, "workunit", 101, transition_time=T + 60000)
    world.run(Transitioner, 60001)
    world.run(Later, 60002)
    assert seen == [1, 2] and world.wu()["assimilate_state"] == 2


def test_batch_collect(world: World, outdir: Path) -> None:
    finished(world, batch=3)
    world.run(BatchCollectAssimilator, 50010, "--outdir", str(outdir))
    assert (outdir / "3" / "wu_101__file_out.txt").read_bytes() == b"A"
    world.workunit(id=200, name="bad", assimilate_state=1, error_mask=18, batch=3)
    world.run(BatchCollectAssimilator, 50011, "--outdir", str(outdir))
    assert (outdir / "3" / "bad_error").read_text() == "0x12\n"


def test_5_files_are_deleted_after_the_delay(world: World, outdir: Path) -> None:
    for name in ("in_101", "const"):
        path = download_path(world.project, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix in ("", ".md5", ".gz"):
            path.with_name(path.name + suffix).write_text("x")
    finished(world)
    output = world.output_path(world.results()[0])
    world.run(ResultsAssimilator, 50010, "--outdir", str(outdir))
    world.run(Transitioner, 50011)
    assert world.wu()["transition_time"] == T + 136400
    world.run(Transitioner, 136400)
    world.run(FileDeleter, 136400)
    assert output.exists() and world.wu()["file_delete_state"] == 0
    world.run(Transitioner, 136401)
    assert (world.wu()["file_delete_state"], world.wu()["transition_time"]) == (1, NEVER)
    world.run(FileDeleter, 136402)
    assert not output.exists()
    path = download_path(world.project, "in_101")
    assert [path.with_name(path.name + s).exists() for s in ("", ".md5", ".gz")] == [False] * 3
    assert download_path(world.project, "const").exists()
    assert world.wu()["file_delete_state"] == 2
    assert [r["file_delete_state"] for r in world.results()] == [2]


def test_failed_deletion_is_tried_again_after_an_hour(world: World) -> None:
    finished(world)
    path = world.output_path(world.results()[0])
    path.unlink()
    path.mkdir()
    execute(world.db, "UPDATE result SET file_delete_state = 1")
    world.clock = T + 60000
    deleter = world.daemon(FileDeleter)
    deleter.run()
    assert world.results()[0]["file_delete_state"] == 3
    path.rmdir()
    deleter.run()
    assert world.results()[0]["file_delete_state"] == 3
    world.clock += 3600
    deleter.run()
    assert world.results()[0]["file_delete_state"] == 2


def test_file_names_cannot_lead_out(world: World, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("x")
    world.workunit(file_delete_state=1, xml_doc="<file_info><name>../victim</name></file_info>")
    world.run(FileDeleter, 5)
    assert victim.exists() and world.wu()["file_delete_state"] == 3


@pytest.mark.parametrize(("argv", "gone"), [
    (["--preserve_result_files"], (False, True)), (["--preserve_wu_files"], (True, False)),
    (["--input_files_only"], (False, True)), (["--output_files_only"], (True, False)),
    (["--xml_doc_like", "%in_101%"], (False, True)), (["--xml_doc_like", "%nothing%"], (False, False)),
    (["--app", "worker"], (True, True)), (["--appid", "8"], (False, False)), ([], (True, True))])
def test_deleter_options(world: World, argv: list[str], gone: tuple[bool, bool]) -> None:
    finished(world)
    for path in (download_path(world.project, "in_101"), world.output_path(world.results()[0])):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    execute(world.db, "UPDATE result SET file_delete_state = 1")
    update(world.db, "workunit", 101, file_delete_state=1)
    world.run(FileDeleter, 60000, *argv)
    outputs, inputs = world.output_path(world.results()[0]), download_path(world.project, "in_101")
    assert (not outputs.exists(), not inputs.exists()) == gone


def test_nodelete_in_the_name_protects_inputs(world: World) -> None:
    world.workunit(name="wu_nodelete_1", file_delete_state=1, xml_doc=INPUT_XML.format(1))
    path = download_path(world.project, "in_1")
    path.parent.mkdir(parents=True)
    path.write_text("x")
    world.run(FileDeleter, 5)
    assert path.exists() and world.wu()["file_delete_state"] == 2


def test_feeder_scales_versions(world: World) -> None:
    for vid, plan_class, n, avg in ((21, "", 1000, 2), (22, "mt", 300, 3), (23, "sse2", 50, 9),
                                    (24, "cuda102", 200, 20)):
        insert(world.db, "app_version", id=vid, appid=7, version_num=100, platformid=1, plan_class=plan_class, pfc_n=n,
               pfc_avg=avg)
    insert(world.db, "app_version", id=20, appid=7, version_num=99, platformid=1, plan_class="", pfc_n=9999, pfc_avg=99)
    world.project.trigger("reread_db").write_text("")
    world.run(Feeder, 0)
    rows = execute(world.db, "SELECT id, pfc_scale FROM app_version WHERE id >= 20 ORDER BY id")
    assert [r["pfc_scale"] for r in rows] == pytest.approx([0, 1.115385, 0.743590, 0, 0.111538], rel=1e-5)
    assert execute(world.db, "SELECT min_avg_pfc FROM app WHERE id = 7")[0]["min_avg_pfc"] == pytest.approx(2.230769)
    assert not world.project.trigger("reread_db").exists()


def test_uploads_that_were_cut_off_go_too(world: World) -> None:
    finished(world)
    path = upload_path(world.project, world.output_path(world.results()[0]).name)
    from boincdock.files.hierarchy import partial_path

    partial_path(path).write_bytes(b"half")
    execute(world.db, "UPDATE result SET file_delete_state = 1")
    world.run(FileDeleter, 60000)
    assert not partial_path(path).exists() and not path.exists()
