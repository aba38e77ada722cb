"""create_work against a real database (spec 04 section 3, 05 C6, I9)."""
from __future__ import annotations

import io
import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jobs_world
import pytest

from boincdock.apps.xadd import xadd
from boincdock.bin import _run, create_work
from boincdock.config import Project
from boincdock.db import Connection
from boincdock.enums import NEVER, TargetType
from boincdock.errors import InputError
from boincdock.jobs.create import create_jobs
from boincdock.jobs.model import JobKind, JobLimits, JobSpec, RemoteFile, Target


@pytest.fixture
def project(tmp_path: Path, db: Connection, db_settings: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = jobs_world.make_project(tmp_path, db_settings)
    xadd(db, made, lambda _line: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOINC_PROJECT_DIR", raising=False)
    return made


def rows(db: Connection) -> list[dict]:
    cursor = db.raw().cursor()
    cursor.execute("SELECT * FROM workunit ORDER BY id")
    found = list(cursor.fetchall())
    cursor.close()
    return found


def run(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = _run.run(create_work.main, argv)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def spec(**more: object) -> JobSpec:
    shared = {"app": "sieve", "input_template": jobs_world.NO_FILES.format(""),
              "result_template_file": "templates/sieve_out"}
    shared |= {name: more.pop(name) for name in JobKind.__slots__ if name in more}
    return JobSpec(JobKind(**shared), **more)  # type: ignore[arg-type]


def test_one_job(project: Project, db: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    before = int(time.time())
    status, out, err = run(["-appname", "sieve", "--command_line", "--upto '1 000' & <x>", "--priority", "-3",
                            "--min_quorum", "1", "--credit", "12.5", "sieve_17.txt"], capsys)
    assert (status, err) == (0, "")
    name = re.fullmatch(r"workunit name: (sieve_\d+_\d+\.\d{6})\n", out)
    assert name
    (row,) = rows(db)
    assert row["name"] == name.group(1)
    assert row["rsc_fpops_est"] == 3e12 and row["delay_bound"] == 259200
    assert (row["rsc_fpops_bound"], row["rsc_memory_bound"], row["rsc_disk_bound"]) == (86400e9, 5e8, 1e9)
    assert before <= row["transition_time"] <= int(time.time())
    assert (row["priority"], row["canonical_credit"], row["size_class"]) == (-3, 12.5, -1)
    assert row["result_template_file"] == "templates/sieve_out"
    xml = row["xml_doc"].decode()
    assert "<workunit>\n<command_line>\n--upto '1 000' &amp; &lt;x&gt;\n</command_line>\n" in xml
    assert "<url>http://127.0.0.1:8080/testproject/download/" in xml
    assert re.search(r"<url>(.*)</url>\n    <gzipped_url>\1\.gz</gzipped_url>\n", xml)
    assert "    <md5_cksum>4d095eeac8ed659b1ce69dcef32ed0dc</md5_cksum>\n    <nbytes>3</nbytes>\n" in xml
    assert xml.count("<md5_cksum>") == 2 and "    <sticky/>\n    <no_delete/>\n    <name>primes_table_v3</name>" in xml
    assert ("<file_ref>\n    <file_name>sieve_17.txt</file_name>\n    <open_name>in</open_name>\n"
            "    <copy_file/>\n</file_ref>\n") in xml


@pytest.mark.parametrize(("argv", "words"), [
    (["sieve_17.txt"], "--appname is missing"),
    (["--appname", "nope", "--wu_template", "templates/sieve_in", "--result_template", "templates/sieve_out",
      "sieve_17.txt"], "no app 'nope'"),
    (["--appname", "sieve"], "needs 1 input files, 0 given"),
    (["--appname", "sieve", "missing.txt"], "missing.txt is not staged"),
    (["--appname", "sieve", "../config.xml"], "letters, digits"),
    (["--appname", "sieve", "--wu_template", "templates/none", "a"], "no input template"),
    (["--appname", "sieve", "--result_template", "templates/none", "sieve_17.txt"], "no result template"),
    (["--appname", "sieve", "--result_template", "/etc/passwd", "sieve_17.txt"], "not inside the project"),
    (["--appname", "sieve", "--result_template", "templates/../../x", "sieve_17.txt"], "not inside the project"),
    (["--appname", "sieve", "--frobnicate", "3", "sieve_17.txt"], "unknown option '--frobnicate'"),
    (["--appname", "sieve", "sieve_17.txt", "--priority"], "--priority needs a value"),
    (["--appname", "sieve", "sieve_17.txt", "--priority", "1.5"], "not a whole number"),
    (["--appname", "sieve", "sieve_17.txt", "--rsc_disk_bound", "0"], "rsc_disk_bound"),
    (["--appname", "sieve", "sieve_17.txt", "--rsc_disk_bound", "nan"], "not a number"),
    (["--appname", "sieve", "sieve_17.txt", "--target_host", "0"], "greater than 0"),
    (["--appname", "sieve", "sieve_17.txt", "--target_host", "77"], "no host with id 77"),
    (["--appname", "sieve", "sieve_17.txt", "--target_host", "1", "--broadcast"], "only one"),
    (["--appname", "sieve", "sieve_17.txt", "--wu_name", "a b"], "workunit name"),
    (["--appname", "sieve", "sieve_17.txt", "--wu_name", "x" * 151], "longer than 150"),
    (["--appname", "sieve", "sieve_17.txt", "--command_line", "a '' b"], "empty quoted word"),
    (["--appname", "sieve", "sieve_17.txt", "--wu_id", "999"], "no workunit with id 999"),
])
def test_bad_input_makes_nothing(project: Project, db: Connection, capsys: pytest.CaptureFixture[str],
                                 argv: list[str], words: str) -> None:
    status, out, err = run(argv, capsys)
    assert status == 1 and out == ""
    assert words in err and err.startswith("error: ") and "Traceback" not in err
    assert rows(db) == []


@pytest.mark.parametrize(("template", "expected"), [
    ("", (1, 1, 1, 1)),
    ("<target_nresults>3</target_nresults>", (3, 1, 3, 3)),
    ("<target_nresults>2</target_nresults><max_total_results>8</max_total_results>"
     "<max_error_results>3</max_error_results><max_success_results>4</max_success_results>", (2, 3, 8, 4)),
    ("<max_error_results>2</max_error_results>", None),
    ("<max_success_results>5</max_success_results><max_total_results>4</max_total_results>", None),
    ("<rsc_fpops_est>0</rsc_fpops_est>", None),
    ("<min_quorum>2</min_quorum>", None),
])
def test_vector_05_i9(project: Project, db: Connection, template: str, expected: tuple[int, ...] | None) -> None:
    job = spec(input_template=jobs_world.NO_FILES.format(template), name="j")
    if expected is None:
        with pytest.raises(InputError):
            create_jobs(db, project, [job])
        assert rows(db) == []
        return
    create_jobs(db, project, [job])
    (row,) = rows(db)
    assert tuple(row[c] for c in ("target_nresults", "max_error_results", "max_total_results",
                                  "max_success_results")) == expected


def test_template_path_of_64_bytes(project: Project, db: Connection) -> None:
    for length in (64, 63):
        path = "templates/" + "t" * (length - 10)
        (project.dir / path).write_text(jobs_world.OUT)
        if length == 64:
            with pytest.raises(InputError, match="longer than 63"):
                create_jobs(db, project, [spec(result_template_file=path)])
        else:
            create_jobs(db, project, [spec(result_template_file=str(project.dir / path))])
    assert [r["result_template_file"] for r in rows(db)] == [path]


def test_template_wins_over_option(project: Project, db: Connection) -> None:
    template = jobs_world.NO_FILES.format("<rsc_memory_bound>7e8</rsc_memory_bound><batch>4</batch>")
    create_jobs(db, project, [spec(input_template=template, limits=JobLimits(rsc_memory_bound=1, batch=9))])
    assert [(r["rsc_memory_bound"], r["batch"]) for r in rows(db)] == [(7e8, 4)]


def test_targeted_and_broadcast(project: Project, db: Connection) -> None:
    cursor = db.raw().cursor()
    cursor.execute("INSERT INTO host (id, userid) VALUES (5, 1)")
    jobs = create_jobs(db, project, [spec(name="t", target=Target(TargetType.HOST, 5)),
                                     spec(name="b", target=Target(TargetType.ALL, 0, True)), spec(name="n")])
    assert [(r["transitioner_flags"], r["transition_time"] == NEVER) for r in rows(db)] == \
        [(2, True), (1, True), (0, False)]
    cursor.execute("SELECT target_id, target_type, multi, workunitid FROM assignment ORDER BY id")
    assert [tuple(r.values()) for r in cursor.fetchall()] == [(5, 1, 0, jobs[0].id), (0, 0, 1, jobs[1].id)]


def test_all_or_nothing(project: Project, db: Connection) -> None:
    create_jobs(db, project, [spec(name="Taken")])
    with pytest.raises(InputError, match="taken"):
        create_jobs(db, project, [spec(name="new"), spec(name="taken"), spec(name="b", target=Target(
            TargetType.ALL, 0, True))])
    with pytest.raises(InputError, match="job 2: workunit name 'A' is given twice"):
        create_jobs(db, project, [spec(name="a"), spec(name="A")])
    assert [r["name"] for r in rows(db)] == ["Taken"]
    assert db.value("jobs.ids_by_names", names=["new"]) is None


def test_remote_file_and_bulk_ids(project: Project, db: Connection) -> None:
    remote = RemoteFile("https://data.example/x?a=1&b=2", 10, "D41D8CD98F00B204E9800998ECF8427E")
    template = ("<input_template><file_info/><workunit><file_ref><open_name>r</open_name></file_ref></workunit>"
                "</input_template>")
    jobs = create_jobs(db, project, [spec(name=f"bulk_{n}", input_template=template, files=(remote,))
                                     for n in range(2500)])
    made = rows(db)
    assert [(j.id, j.name) for j in jobs] == [(r["id"], r["name"]) for r in made] and len(made) == 2500
    xml = made[7]["xml_doc"].decode()
    assert "<name>jf_d41d8cd98f00b204e9800998ecf8427e</name>" in xml
    assert "<url>https://data.example/x?a=1&amp;b=2</url>" in xml


def test_fill_existing_row(project: Project, db: Connection) -> None:
    (old,) = create_jobs(db, project, [spec(name="reserved")])
    create_jobs(db, project, [spec(name="filled", wu_id=old.id)])
    assert [(r["id"], r["name"]) for r in rows(db)] == [(old.id, "filled")]


class _Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def test_stdin(project: Project, db: Connection, capsys: pytest.CaptureFixture[str],
               monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"""--command_line "-n 1" --wu_name first sieve_17.txt
--priority 9 sieve_17.txt

sieve_17.txt
"""
    monkeypatch.setattr(sys, "stdin", _Stdin(lines))
    status, out, err = run(["--appname", "sieve", "--stdin", "--wu_name", "base", "--command_line", "-g", "--json"],
                           capsys)
    assert (status, err) == (0, "")
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["first", "base_1", "base_3"]
    made = {r["name"]: r for r in rows(db)}
    assert b"\n-g -n 1\n" in made["first"]["xml_doc"] and made["base_1"]["priority"] == 9
    assert b"\n-g\n" in made["base_3"]["xml_doc"]


@pytest.mark.parametrize("on_error", [False, True])
def test_stdin_bad_line(project: Project, db: Connection, capsys: pytest.CaptureFixture[str],
                        monkeypatch: pytest.MonkeyPatch, on_error: bool) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(b"sieve_17.txt\nmissing.txt\n--min_quorum 3 x\nsieve_17.txt\n"))
    status, _out, err = run(["--appname", "sieve", "--stdin", "--wu_name", "b"]
                            + (["--continue_on_error"] if on_error else []), capsys)
    assert status == 1
    assert [r["name"] for r in rows(db)] == (["b_0", "b_3"] if on_error else [])
    assert ("line 2: file missing.txt is not staged" in err) == on_error
    assert "line 3: unknown option '--min_quorum'" in err


@pytest.mark.parametrize(("line", "name"), [(500, "taken"), (1500, "taken"), (2400, "taken"), (1500, "base_700"),
                                            (2400, "base_1600")])
def test_stdin_chunks_after_a_failed_one_do_not_exist(
    project: Project, db: Connection, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: int,
    name: str,
) -> None:
    """Several chunks of 1000 are being written at once."""
    create_jobs(db, project, [spec(name="Taken")])
    lines = ["sieve_17.txt\n"] * 3000
    lines[line] = f"--wu_name {name} sieve_17.txt\n"
    monkeypatch.setattr(sys, "stdin", _Stdin("".join(lines).encode()))
    status, _out, err = run(["--appname", "sieve", "--stdin", "--wu_name", "base"], capsys)
    made = line // 1000 * 1000
    assert status == 1 and "in use already" in err and f"({made} jobs were created before)" in err
    assert {row["name"] for row in rows(db)} == {"Taken", *(f"base_{n}" for n in range(made))}


def test_bulk_speed(project: Project, db: Connection) -> None:
    jobs = [spec(name=f"s_{n}") for n in range(5000)]
    start = time.monotonic()
    create_jobs(db, project, jobs)
    rate = len(jobs) / (time.monotonic() - start)
    assert rate > 1000, f"{rate:.0f} jobs/s"
    print(f"{rate:.0f} jobs/s")
