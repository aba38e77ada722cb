"""Upkeep tasks: decay of recent credit, purge to archives, antique files (spec 03 sections 8.7, 12, 13)."""
from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import T, World, execute, insert, update

from boincdock.db import Connection
from boincdock.errors import BoincdockError
from boincdock.files.hierarchy import upload_path
from boincdock.lifecycle import antiques, archive, update_stats
from boincdock.lifecycle.db_purge import DbPurge


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


def test_recent_credit_of_the_idle_decays(world: World, db: Connection) -> None:
    insert(db, "team", id=4, name="t", expavg_credit=100, expavg_time=T - 86400, nusers=77)
    for table, row in (("user", 1), ("host", 11), ("app_version", 3)):
        update(db, table, row, expavg_credit=100, expavg_time=T - 86400)
    update(db, "user", 2, expavg_credit=50, expavg_time=T - 100, teamid=4)
    update(db, "user", 3, expavg_credit=0.05, expavg_time=1)
    counts = update_stats.update(db, list(update_stats.KINDS.values()), T, 86400)
    assert counts == {"user": 1, "host": 1, "team": 1, "version": 1}
    for table, row in (("user", 1), ("host", 11), ("app_version", 3), ("team", 4)):
        found = execute(db, f"SELECT * FROM {table} WHERE id = %s", row)[0]
        assert (found["expavg_credit"], found["expavg_time"]) == (pytest.approx(90.5724, abs=5e-5), T)
    assert execute(db, "SELECT expavg_credit AS e FROM user WHERE id = 2")[0]["e"] == 50
    assert execute(db, "SELECT expavg_credit AS e FROM user WHERE id = 3")[0]["e"] == 0.05
    assert execute(db, "SELECT nusers FROM team")[0]["nusers"] == 1


def finished(world: World, wu_id: int, **columns: object) -> None:
    world.workunit(id=wu_id, name=f"wu_{wu_id}", file_delete_state=2, assimilate_state=2, transition_time=2147483647,
                   **{"opaque": 3, "rsc_fpops_est": 2e13, "xml_doc": "<workunit>\n</workunit>", **columns})
    insert(world.db, "result", workunitid=wu_id, name=f"wu_{wu_id}_0", server_state=5, outcome=1, file_delete_state=2,
           stderr_out="a<b> & c", app_version_id=-2)
    insert(world.db, "result", workunitid=wu_id, name=f"wu_{wu_id}_1", server_state=5, outcome=5)


def left(db: Connection) -> tuple[list[int], int]:
    return ([r["id"] for r in execute(db, "SELECT id FROM workunit ORDER BY id")],
            execute(db, "SELECT COUNT(*) AS n FROM result")[0]["n"])


def test_purge_archives_and_deletes(world: World, db: Connection) -> None:
    finished(world, 101)
    world.run(DbPurge, 0)
    assert left(db) == ([], 0)
    folder = world.project.dir / "archives"
    assert sorted(p.name for p in folder.iterdir()) == [
        f"{kind}_{T}.xml" for kind in ("result_archive", "result_index", "wu_archive", "wu_index")]
    text = (folder / f"wu_archive_{T}.xml").read_text()
    assert text.startswith("<archive>\n<workunit_archive>\n  <id>101</id>\n") and text.endswith("</archive>\n")
    assert "<rsc_fpops_est>2.000000000000000e+13</rsc_fpops_est>" in text and "<opaque>3.000000</opaque>" in text
    assert "<xml_doc><workunit>\n</workunit></xml_doc>" in text
    text = (folder / f"result_archive_{T}.xml").read_text()
    assert "<stderr_out>a&lt;b> &amp; c</stderr_out>" in text and "<app_version_id>-2</app_version_id>" in text
    assert (folder / f"wu_index_{T}.xml").read_text() == f"101     {T}    wu_101\n"


@pytest.mark.parametrize("change", [
    "UPDATE result SET file_delete_state = 1 WHERE name LIKE '%_0'",
    "UPDATE result SET server_state = 4 WHERE name LIKE '%_1'",
    "UPDATE workunit SET file_delete_state = 1", "UPDATE workunit SET name = 'x_nodelete_y'",
    "UPDATE workunit SET need_validate = 1"])
def test_what_is_not_finished_stays(world: World, db: Connection, change: str) -> None:
    finished(world, 101)
    execute(db, change)
    world.run(DbPurge, 0)
    assert left(db) == ([101], 2)
    assert not (world.project.dir / "archives").exists()


def test_purge_options(world: World, db: Connection) -> None:
    for wu_id in range(101, 106):
        finished(world, wu_id)
    insert(db, "batch", id=1, state=1)
    insert(db, "batch", id=2, state=4)
    update(db, "workunit", 101, batch=1)
    update(db, "workunit", 102, batch=2)
    execute(db, "UPDATE workunit SET mod_time = NOW() - INTERVAL 3 DAY WHERE id <> 105")
    world.run(DbPurge, 0, "--dont_delete", "--gzip")
    assert left(db)[0] == [101, 102, 103, 104, 105]
    data = gzip.decompress((world.project.dir / "archives" / f"wu_archive_{T}.xml.gz").read_bytes())
    assert data.count(b"<workunit_archive>") == 5 and data.endswith(b"</archive>\n")
    world.run(DbPurge, 1, "--batch", "--min_age_days", "2", "--max", "2", "--zip", "--daily_dir")
    assert left(db)[0] == [101, 104, 105]
    with zipfile.ZipFile(world.project.dir / "archives" / "2027_01_15" / f"wu_archive_{T + 1}.xml.zip") as opened:
        assert opened.read(opened.namelist()[0]).count(b"<workunit_archive>") == 2
    world.run(DbPurge, 2, "--batch", "--no_archive")
    assert left(db)[0] == [101]


def test_max_wu_per_file_and_stamps_are_never_shared(world: World, db: Connection) -> None:
    for wu_id in range(101, 106):
        finished(world, wu_id)
    world.run(DbPurge, 0, "--max_wu_per_file", "2")
    stamps = sorted(p.name for p in (world.project.dir / "archives").glob("wu_archive_*"))
    assert stamps == [f"wu_archive_{T + n}.xml" for n in range(3)]
    assert left(db) == ([], 0)


def test_purge_that_cannot_write_deletes_nothing(world: World, db: Connection) -> None:
    finished(world, 101)
    (world.project.dir / "archives").write_text("in the way")
    with pytest.raises(BoincdockError, match="nothing is purged"):
        world.run(DbPurge, 0)
    assert left(db) == ([101], 2)


def test_archive_escape() -> None:
    assert archive.escape('A<b>&"c"]]>') == 'A&lt;b>&amp;"c"]]&gt;'
    assert archive.escape("\t\x01é") == "&#9;é"


def test_antiques(world: World, db: Connection) -> None:
    assert antiques.cut_off(db, T) is None
    world.workunit(create_time=T - 10 * 86400)
    assert antiques.cut_off(db, T) == T - 32 * 86400
    update(db, "workunit", 101, create_time=T - 40 * 86400)
    before = antiques.cut_off(db, T)
    assert before is not None and before == T - 41 * 86400
    made = {}
    for name, age in (("old", 42), ("new", 40), (".hidden", 99)):
        path = upload_path(world.project, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        os.utime(path, (T - age * 86400, T - age * 86400))
        made[name] = path
    assert antiques.delete_antiques(world.project, before, dry_run=True) == [made["old"]]
    assert made["old"].exists()
    antiques.delete_antiques(world.project, before, pause=0)
    assert {n: p.exists() for n, p in made.items()} == {"old": False, "new": True, ".hidden": True}
