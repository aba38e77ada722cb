"""The statistics export (spec 03 section 14, 06 section 5.4)."""
from __future__ import annotations

import gzip
import os
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from lifecycle_world import T, World, execute, insert, update

from boincdock.bin import db_dump
from boincdock.db import Connection
from boincdock.errors import ConfigError
from boincdock.lifecycle import dump
from boincdock.lifecycle.dump_records import escape

SPEC = """<boinc_db_dump_spec>
<output_dir>../html/stats_tmp</output_dir><final_output_dir>../html/stats</final_output_dir>
{}
</boinc_db_dump_spec>"""


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


def fill(world: World) -> None:
    db = world.db
    insert(db, "team", id=5, name="T & <team>", type=7, userid=1, total_credit=30.5, country="Germany",
           description="one\ntwo ]]> three", create_time=T)
    update(db, "user", 1, total_credit=20.25, cross_project_id="0123456789abcdef0123456789abcdef", teamid=5,
           email_addr="ann@example.org", name="Zoë \x01<b>", country="A&B", url="example.org", has_profile=1,
           show_hosts=1)
    update(db, "user", 2, total_credit=30, authenticator="deleted_x")
    update(db, "user", 3, total_credit=40)
    update(db, "host", 11, total_credit=20.25, misc='{"a": "]]>"}', p_ncpus=4, p_vendor="GenuineIntel", host_cpid="hc")
    update(db, "host", 12, total_credit=5, domain_name="deleted")
    update(db, "host", 13, total_credit=6)
    insert(db, "user_deleted", userid=90, public_cross_project_id="c90")
    insert(db, "host_deleted", hostid=91, public_cross_project_id="c91")


def export(world: World, spec: str | None = None) -> Path:
    parsed = (dump.default_spec(world.project) if spec is None
              else dump.parse_spec(world.project, SPEC.format(spec).encode(), "spec"))
    dump.Dumper(world.db, world.project, parsed, T + 7).run(b"<spec/>")
    return world.project.dir / "html" / "stats"


def root(path: Path) -> Any:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert data.startswith(b'<?xml version="1.0" encoding="utf-8"?>\n')
    return ElementTree.fromstring(data)


def shape(node: Any) -> list[tuple[str, str | None]]:
    return [(c.tag, c.text) for c in node]


def test_14_3_user(world: World) -> None:
    fill(world)
    users = root(export(world) / "user.gz")
    assert users.tag == "users" and [u.find("id").text for u in users] == ["1", "3"]
    assert shape(users[0]) == [
        ("id", "1"), ("name", "Zoë <b>"), ("create_time", str(T)), ("total_credit", "20.250000"),
        ("expavg_credit", "0.000000"), ("expavg_time", f"{T}.000000"), ("cpid", "b5b67eff9e29e678a4b9b41ecffd31ce"),
        ("country", "A&B"), ("url", "example.org"), ("teamid", "5"), ("has_profile", None)]


def test_14_3_team_with_and_without_members(world: World) -> None:
    fill(world)
    folder = export(world, "<enumeration><table>team</table><filename>team</filename><output><compression>gzip"
                           "</compression></output></enumeration><enumeration><table>team</table>"
                           "<filename>full</filename><sort>total_credit</sort><output><detail/></output></enumeration>")
    team = root(folder / "team.gz")[0]
    assert shape(team) == [
        ("id", "5"), ("type", "7"), ("name", "T & <team>"), ("userid", "1"), ("total_credit", "30.500000"),
        ("expavg_credit", "0.000000"), ("expavg_time", "0.000000"), ("founder_name", "Zoë <b>"),
        ("create_time", str(T)),
        ("description", "one\ntwo ]]> three"), ("country", "Germany")]
    assert [c.find("id").text for c in root(folder / "full")[0].findall("user")] == ["1"]


def test_14_3_host_names_its_owner_only_if_he_shows_it(world: World) -> None:
    fill(world)
    hosts = root(export(world) / "host.gz")
    assert [h.find("id").text for h in hosts] == ["11", "13"]
    assert [c.tag for c in hosts[0]] == [
        "id", "userid", "total_credit", "expavg_credit", "expavg_time", "p_vendor", "p_model", "os_name", "os_version",
        "misc", "create_time", "rpc_time", "timezone", "ncpus", "p_fpops", "p_iops", "p_membw", "m_nbytes", "m_cache",
        "m_swap", "d_total", "d_free", "n_bwup", "n_bwdown", "avg_turnaround", "credit_per_cpu_sec", "host_cpid"]
    assert hosts[0].find("misc").text == '{"a": "]]>"}' and hosts[0].find("ncpus").text == "4"
    assert hosts[1].find("userid") is None


def test_14_3_deleted_accounts_and_hosts(world: World) -> None:
    fill(world)
    folder = export(world)
    users, hosts = root(folder / "user_deleted.gz"), root(folder / "host_deleted.gz")
    assert (users.tag, shape(users[0])) == ("users_deleted", [("id", "90"), ("cpid", "c90")])
    assert (hosts.tag, shape(hosts[0])) == ("hosts_deleted", [("id", "91"), ("host_cpid", "c91")])


def test_14_3_tables_and_badges(world: World) -> None:
    fill(world)
    badge = insert(world.db, "badge", name="user_pct_0", title="Top 1%", image_url="img/pct_1.png")
    insert(world.db, "badge_user", badge_id=badge, user_id=1, create_time=T)
    folder = export(world)
    tables = root(folder / "tables.xml")
    assert shape(tables)[:7] == [
        ("update_time", str(T + 7)), ("nusers_total", "2"), ("nteams_total", "1"), ("nhosts_total", "2"),
        ("nusers_deleted_total", "1"), ("nhosts_deleted_total", "1"), ("total_credit", "60.250000")]
    assert tables.find("applications/application/name").text == "Worker"
    assert [c.tag for c in tables.find("badges/badge")] == ["id", "name", "title", "image_url"]
    given = root(folder / "badge_user.gz")
    assert (given.tag, shape(given[0])) == ("badge_users", [("user_id", "1"), ("badge_id", str(badge)),
                                                            ("create_time", str(T))])
    assert len(root(folder / "badge_team.gz")) == 0


def test_14_3_empty_project_has_all_files_and_no_zero_totals(world: World) -> None:
    folder = export(world)
    assert sorted(p.name for p in folder.iterdir()) == [
        "db_dump.xml", "host.gz", "host_deleted.gz", "md5sums.txt", "tables.xml", "team.gz", "user.gz",
        "user_deleted.gz"]
    assert [c.tag for c in root(folder / "tables.xml")] == ["update_time", "applications", "badges"]


def test_14_3_consent_limits_users_and_hosts_but_not_totals(world: World) -> None:
    fill(world)
    execute(world.db, "UPDATE consent_type SET enabled = 1 WHERE shortname = 'STATSEXPORT'")
    try:
        kind = execute(world.db, "SELECT id FROM consent_type WHERE shortname = 'STATSEXPORT'")[0]["id"]
        for user, flag, when in ((1, 1, T), (3, 1, T), (3, 0, T + 1)):
            insert(world.db, "consent", userid=user, consent_type_id=kind, consent_flag=flag, consent_time=when)
        folder = export(world)
    finally:
        execute(world.db, "UPDATE consent_type SET enabled = 0")
    assert [u.find("id").text for u in root(folder / "user.gz")] == ["1"]
    assert [h.find("id").text for h in root(folder / "host.gz")] == ["11"]
    assert root(folder / "tables.xml").find("nusers_total").text == "2"


def test_14_3_credit_by_app(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> None:
    world = World(tmp_path, db, db_settings, "<credit_by_app/><user_country>0</user_country><user_url>0</user_url>")
    fill(world)
    insert(db, "credit_user", userid=1, appid=7, njobs=3, total=20, expavg=1)
    folder = export(world)
    work = ElementTree.fromstring(gzip.decompress((folder / "user_work.gz").read_bytes()))
    assert shape(work[0][1]) == [("workunits", "3"), ("credit", "20.000000"), ("expavg_credit", "1.000000")]
    assert root(folder / "tables.xml").find("credit_by_app") is not None
    assert root(folder / "user.gz")[0].find("country") is None and root(folder / "user.gz")[0].find("url") is None


def test_14_2_sort_compression_and_split(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "PAGE", 2)
    fill(world)
    for i in range(20, 25):
        insert(world.db, "user", id=i, name=f"n{i}", email_addr=f"e{i}", authenticator=f"x{i}", total_credit=25)
    folder = export(world, "<enumeration><table>user</table><filename>top</filename><sort>total_credit</sort>"
                           "<output><compression>zip</compression></output></enumeration>"
                           "<enumeration><table>user</table><filename>part</filename><sort>id</sort>"
                           "<output><recs_per_file>3</recs_per_file></output></enumeration>")
    with zipfile.ZipFile(folder / "top.zip") as archive:
        ids = [u.find("id").text for u in ElementTree.fromstring(archive.read("top"))]
    assert ids == ["3", "20", "21", "22", "23", "24", "1"]
    assert [len(root(folder / f"part_{i}")) for i in range(3)] == [3, 3, 1] and not (folder / "part_3").exists()


@pytest.mark.parametrize("spec", ["<enumeration><table>password</table><filename>x</filename></enumeration>",
                                  "<enumeration><table>user</table><filename>../x</filename></enumeration>",
                                  "<enumeration><table>user</table><filename>x</filename><sort>name</sort></enumeration>",
                                  "<enumeration><table>user</table><filename>x</filename><output><compression>lzma"
                                  "</compression></output></enumeration>",
                                  "<final_output_dir>../html/stats_tmp</final_output_dir>"])
def test_14_2_bad_specification_is_a_clear_error(world: World, spec: str) -> None:
    with pytest.raises(ConfigError):
        dump.parse_spec(world.project, SPEC.format(spec).encode(), "spec")


def test_14_1_unchanged_files_keep_their_time_and_strays_go(world: World) -> None:
    fill(world)
    folder = export(world)
    (folder / "old.gz").write_text("of an older export")
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    update(world.db, "team", 5, total_credit=99)
    export(world)
    assert folder.joinpath("user.gz").stat().st_mtime == 1 and folder.joinpath("team.gz").stat().st_mtime > 1
    assert not (folder / "old.gz").exists() and not (folder.parent / "stats_tmp").exists()


def test_14_1_archive_keeps_the_previous_files(world: World) -> None:
    fill(world)
    spec = "<archive_dir>../html/old</archive_dir>" + (
        "<enumeration><table>user</table><filename>user</filename></enumeration>")
    export(world, spec)
    export(world, spec)
    kept = list((world.project.dir / "html" / "old").iterdir())
    assert [re.fullmatch(r"stats_\d+_\d+_\d+_\d+_\d+_\d+", p.name) is not None for p in kept] == [True]
    assert (kept[0] / "tables.xml").is_file()


def test_14_1_the_command(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world)
    monkeypatch.setenv("BOINC_PROJECT_DIR", str(world.project.dir))
    (world.project.dir / "db_dump_spec.xml").write_text(SPEC.format(
        "<enumeration><table>user</table><filename>user</filename><sort>id</sort></enumeration>"))
    assert db_dump.main(["-d", "1"]) == 0
    folder = world.project.dir / "html" / "stats"
    assert (folder / "db_dump.xml").read_text().startswith("<boinc_db_dump_spec>") and len(root(folder / "user")) == 2


@pytest.mark.parametrize(("text", "escaped"), [
    ('A<b>&"c"]]>', 'A&lt;b>&amp;"c"]]&gt;'), ("\t\n\r", "&#9;&#10;&#13;"), ("\x01\x7f\x85\ufffe", ""), ("é", "é")])
def test_22_10_escaping(text: str, escaped: str) -> None:
    assert escape(text) == escaped
