"""The scheduler on a real MariaDB: the same rules as in memory, and what only a database can show."""
from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boincdock.config import Config, Project
from boincdock.crypto.keys import generate_private
from boincdock.crypto.rotation import CodeSignKeys
from boincdock.db import Connection, RetryableError
from boincdock.db.batched import BatchConnection, connect_batched
from boincdock.db.named import all_names, bind_style, query
from boincdock.scheduler.handler import Scheduler
from boincdock.scheduler.repository import SqlRepository
from boincdock.scheduler.window import JobWindows

NOW = 1787108640
KEYS = CodeSignKeys(generate_private().public)
VERSION_XML = b"<file_info><name>f</name></file_info>\n<app_version>\n<app_name>a</app_name>\n</app_version>\n"
WU_XML = b"<workunit>\n<command_line>x</command_line>\n</workunit>\n"
RESULT_XML = b"<result>\n</result>\n"


@pytest.fixture
def db(db: Connection, db_settings: Any) -> Iterator[BatchConnection]:
    """As the scheduler's processes connect."""
    connection = connect_batched(db_settings)
    yield connection
    connection.close()


@pytest.fixture
def new_connection(db: Connection, db_settings: Any) -> Iterator[Callable[[], BatchConnection]]:
    """More of the kind."""
    opened: list[BatchConnection] = []

    def make() -> BatchConnection:
        opened.append(connect_batched(db_settings))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()


def insert(db: Connection, table: str, **values: Any) -> int:
    cursor = db.raw().cursor()
    columns = ", ".join(f"`{c}`" for c in values)
    marks = ", ".join(["%s"] * len(values))
    cursor.execute(f"INSERT INTO `{table}` ({columns}) VALUES ({marks})", list(values.values()))
    return int(cursor.lastrowid)


def rows(db: Connection, sql: str, **params: Any) -> list[dict[str, Any]]:
    cursor = db.raw().cursor()
    cursor.execute(bind_style(sql), params)
    return list(cursor.fetchall())


def jobs(db: Connection, count: int, priority: int = 0, quorum: int = 1, appid: int = 3, prefix: str = "w") -> None:
    cursor = db.raw().cursor()
    for i in range(count):
        cursor.execute("INSERT INTO workunit (appid, name, xml_doc, rsc_fpops_est, rsc_memory_bound, rsc_disk_bound,"
                       " delay_bound, min_quorum, target_nresults, transition_time) VALUES"
                       " (%s, %s, %s, 1e12, 1e8, 1e8, 86400, %s, %s, 2000000000)",
                       (appid, f"{prefix}_{priority}_{i}", WU_XML, quorum, quorum))
        wu = cursor.lastrowid
        for k in range(quorum):
            cursor.execute("INSERT INTO result (workunitid, appid, name, xml_doc_in, server_state, priority)"
                           " VALUES (%s, %s, %s, %s, 2, %s)", (wu, appid, f"{prefix}_{priority}_{i}_{k}", RESULT_XML,
                                                               priority))


@pytest.fixture
def project(db: Connection, tmp_path: Path) -> Project:
    insert(db, "platform", id=1, name="x86_64-pc-linux-gnu")
    insert(db, "app", id=3, name="a", user_friendly_name="A")
    insert(db, "app_version", id=22, appid=3, version_num=100, platformid=1, xml_doc=VERSION_XML)
    config = Config()
    config.master_url, config.long_name = "http://boinc.test/p/", "P"
    config.version_select_random_factor, config.resend_lost_results, config.send_result_abort = 0.0, True, True
    config.daily_result_quota, config.max_wus_to_send = 500, 50
    return Project(tmp_path, config)


def account(db: Connection, n: int) -> int:
    insert(db, "user", id=n, email_addr=f"u{n}@x.y", name=f"u{n}", authenticator=f"{n:032}", venue="",
           cross_project_id=f"{n:032x}")
    return n


def scheduler(project: Project, db: Connection, now: Callable[[], float] = lambda: float(NOW)) -> Scheduler:
    return Scheduler(project, SqlRepository(db), keys=lambda: KEYS, wall=now)


def request(user: int, hostid: int = 0, seqno: int = 0, cpus: int = 1, extra: str = "", secs: float = 1.0) -> bytes:
    return f"""<scheduler_request>
<authenticator>{user:032}</authenticator><hostid>{hostid}</hostid><rpc_seqno>{seqno}</rpc_seqno>
<core_client_major_version>8</core_client_major_version><core_client_minor_version>2</core_client_minor_version>
<core_client_release>15</core_client_release><work_req_seconds>{secs}</work_req_seconds>
<cpu_req_secs>{secs}</cpu_req_secs><cpu_req_instances>{cpus}</cpu_req_instances>
<client_cap_plan_class>1</client_cap_plan_class><platform_name>x86_64-pc-linux-gnu</platform_name>
<time_stats><on_frac>1</on_frac><active_frac>1</active_frac></time_stats>
<host_info><host_cpid>{user:032x}</host_cpid><p_ncpus>8</p_ncpus><p_vendor>Intel</p_vendor><p_model>M'; --</p_model>
<p_fpops>4e9</p_fpops><m_nbytes>16e9</m_nbytes><d_total>1e12</d_total><d_free>5e11</d_free><os_name>Linux</os_name>
<os_version>6 &#195;&#169;</os_version></host_info>{extra}</scheduler_request>""".encode()


def texts(reply: bytes, tag: str) -> list[str]:
    return re.findall(rf"<{tag}>\s*(.*?)\s*</{tag}>", reply.decode(), re.S)


def names(reply: bytes) -> list[str]:
    """Names of the results in a reply."""
    return re.findall(r"<wu_name>.*?</wu_name>\s*<name>(.*?)</name>", reply.decode())


def test_host_is_made_job_sent_reported_acknowledged(db: Connection, project: Project) -> None:
    account(db, 1)
    jobs(db, 1)
    s = scheduler(project, db)
    first = s.handle(request(1), "192.0.2.1")
    hostid = int(texts(first, "hostid")[0])
    assert names(first) == ["w_0_0_0"]
    [r] = rows(db, "SELECT * FROM result")
    assert (r["server_state"], r["hostid"], r["userid"], r["sent_time"]) == (4, hostid, 1, NOW)
    assert (r["report_deadline"], r["app_version_id"], r["flops_estimate"]) == (NOW + 86400, 22, 4e9)
    assert rows(db, "SELECT transition_time AS t FROM workunit")[0]["t"] == NOW + 86400
    [h] = rows(db, "SELECT * FROM host")
    assert (h["rpc_seqno"], h["p_model"], h["os_version"], h["external_ip_addr"]) == (0, "M'; --", "6 é", "192.0.2.1")
    report = ("<result><name>w_0_0_0</name><final_cpu_time>5</final_cpu_time><final_elapsed_time>6</final_elapsed_time>"
              "<exit_status>0</exit_status><state>5</state><stderr_out>\n<![CDATA[\xff'\"]]>\n</stderr_out><file_info>"
              "<name>o</name></file_info></result>")
    second = scheduler(project, db, lambda: NOW + 100.0).handle(
        request(1, hostid, 1, extra=report.replace("\xff", "&#233;"), secs=0, cpus=0))
    assert texts(second, "result_ack") == ["<name>w_0_0_0</name>"]
    [r] = rows(db, "SELECT * FROM result")
    assert (r["server_state"], r["outcome"], r["received_time"], r["elapsed_time"]) == (5, 1, NOW + 100, 6.0)
    assert r["xml_doc_out"] == b"<file_info><name>o</name></file_info>\n"
    assert r["stderr_out"] == b"<![CDATA[&#233;'\"]]>"
    assert rows(db, "SELECT transition_time AS t FROM workunit")[0]["t"] == NOW + 100
    [hav] = rows(db, "SELECT * FROM host_app_version")
    assert (hav["host_id"], hav["app_version_id"], hav["n_jobs_today"], hav["max_jobs_per_day"]) == (hostid, 22, 1, 500)
    third = s.handle(request(1, hostid, 2, extra=report, secs=0, cpus=0))
    assert texts(third, "result_ack") == ["<name>w_0_0_0</name>"]
    assert rows(db, "SELECT received_time AS t FROM result")[0]["t"] == NOW + 100


def test_highest_priority_first_and_several_jobs_in_one_reply(db: Connection, project: Project) -> None:
    account(db, 1)
    jobs(db, 3, priority=1)
    jobs(db, 2, priority=9)
    reply = scheduler(project, db).handle(request(1, cpus=4))
    assert names(reply) == ["w_9_0_0", "w_9_1_0", "w_1_0_0", "w_1_1_0"]
    assert reply.count(b"<app_version>") == 1


def test_an_rpc_that_sends_a_job_talks_to_the_database_three_times(db: BatchConnection, project: Project,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Decision 0088: the host; the lock, which begins the transaction; all writes with the commit."""
    account(db, 1)
    jobs(db, 30)
    s = scheduler(project, db)
    hostid = int(texts(s.handle(request(1)), "hostid")[0])
    packets: list[list[bytes]] = []
    real = db._exchange

    def exchange(statements: list[bytes]) -> Any:
        packets.append(statements)
        return real(statements)

    monkeypatch.setattr(db, "_exchange", exchange)
    reply = s.handle(request(1, hostid, 1, extra="", cpus=1))
    assert len(names(reply)) == 1
    assert [len(packet) for packet in packets if not packet[0].startswith(b"PREPARE")] == [1, 2, 1]
    assert packets[-2][0] == b"START TRANSACTION" and b"FOR UPDATE SKIP LOCKED" in packets[-2][1]
    assert len(packets[-1]) == 1 and b"\nCOMMIT;" in packets[-1][0]


def test_racing_schedulers_send_no_result_twice(db: Connection, project: Project, new_connection: Any) -> None:
    n_threads, per_thread, n_jobs = 6, 30, 150
    for n in range(1, n_threads * 3 + 1):
        account(db, n)
    jobs(db, n_jobs)
    db.raw().commit()
    sent: list[str] = []
    lock = threading.Lock()
    errors: list[Exception] = []

    def worker(index: int, connection: Connection) -> None:
        try:
            s = scheduler(project, connection)
            hosts: dict[int, tuple[int, int]] = {}
            for i in range(per_thread):
                user = index * 3 + i % 3 + 1
                hostid, seqno = hosts.get(user, (0, 0))
                reply = s.handle(request(user, hostid, seqno, extra="", cpus=1))
                assert b"project_is_down" not in reply, reply
                new = texts(reply, "hostid")
                hosts[user] = (int(new[0]), 1) if new else (hostid, seqno + 1)
                with lock:
                    sent.extend(names(reply))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=worker, args=(i, new_connection())) for i in range(n_threads)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert errors == []
    # Whoever lost all its races got nothing, so on a busy machine the contacts may end before the jobs do; but every
    # job that is left can be had.
    left = n_jobs - len(sent)
    for n in range(100, 100 + left):
        account(db, n)
        found = names(scheduler(project, db).handle(request(n, cpus=50, secs=1e9)))
        sent.extend(found)
        if not found:
            break
    assert max(Counter(sent).values()) == 1
    assert len(sent) == n_jobs
    state = rows(db, "SELECT server_state AS s, COUNT(*) AS n, COUNT(DISTINCT hostid) AS h FROM result GROUP BY 1")
    assert [(r["s"], r["n"]) for r in state] == [(4, n_jobs)]
    total = rows(db, "SELECT SUM(n_jobs_today) AS n, COUNT(*) AS h FROM host_app_version")[0]
    assert int(total["n"]) == n_jobs


def test_parallel_first_contacts_of_one_machine_make_one_host(db: Connection, project: Project,
                                                             new_connection: Any) -> None:
    account(db, 1)
    replies: list[bytes] = []

    def contact(connection: Connection) -> None:
        replies.append(scheduler(project, connection).handle(request(1)))

    threads = [threading.Thread(target=contact, args=(new_connection(),)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert len(replies) == 4
    assert len(rows(db, "SELECT id FROM host")) == 1


def test_jobs_held_by_another_claimer_are_skipped_not_waited_for(db: Connection, project: Project,
                                                                new_connection: Any) -> None:
    account(db, 1)
    jobs(db, 2)
    other = SqlRepository(new_connection())
    first = rows(db, "SELECT MIN(id) AS id FROM result")[0]["id"]
    with other.db.transaction():
        assert [r["id"] for r in other.lock_jobs([first])] == [first]
        assert names(scheduler(project, db).handle(request(1))) == ["w_0_1_0"]


def test_a_deadlock_in_the_middle_is_retried_and_sends_once(db: Connection, project: Project,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    account(db, 1)
    jobs(db, 1)
    s = scheduler(project, db)
    real, tries = s.repo.claim_result, []

    def flaky(values: dict[str, Any]) -> None:
        tries.append(values["id"])
        real(values)
        if len(tries) == 1:
            raise RetryableError("deadlock")

    monkeypatch.setattr(s.repo, "claim_result", flaky)
    reply = s.handle(request(1))
    assert names(reply) == ["w_0_0_0"]
    assert len(tries) == 2
    assert rows(db, "SELECT n_jobs_today AS n FROM host_app_version")[0]["n"] == 1


def test_a_replicated_job_goes_to_a_host_once(db: Connection, project: Project) -> None:
    account(db, 1)
    account(db, 2)
    jobs(db, 1, quorum=2)
    s = scheduler(project, db)
    first = s.handle(request(1, cpus=4))
    hostid = int(texts(first, "hostid")[0])
    assert len(names(first)) == 1
    again = s.handle(request(1, hostid, 1, cpus=4))
    assert names(again) == []
    assert b"No tasks sent" in again
    s.windows.forget()
    assert len(names(s.handle(request(2, cpus=4)))) == 1


def test_lost_jobs_are_sent_again_and_old_ones_expire(db: Connection, project: Project) -> None:
    account(db, 1)
    jobs(db, 2)
    first = scheduler(project, db).handle(request(1, cpus=2))
    hostid = int(texts(first, "hostid")[0])
    held = "<other_results><other_result><name>w_0_0_0</name></other_result></other_results>"
    again = scheduler(project, db, lambda: NOW + 50.0).handle(request(1, hostid, 1, extra=held))
    assert names(again) == ["w_0_1_0"]
    assert b"Resent lost task w_0_1_0" in again
    assert rows(db, "SELECT n_jobs_today AS n FROM host_app_version")[0]["n"] == 2
    late = scheduler(project, db, lambda: NOW + 90000.0).handle(request(1, hostid, 2, extra=held))
    assert b"expired" in late
    [row] = rows(db, "SELECT r.report_deadline AS d, w.transition_time AS t FROM result r JOIN workunit w"
                     " ON w.id = r.workunitid WHERE r.name = 'w_0_1_0'")
    assert row["d"] == NOW + 90000 - 1
    assert row["t"] <= row["d"]


def test_adaptive_replication_and_homogeneous_app_version(db: Connection, project: Project) -> None:
    account(db, 1)
    rows(db, "UPDATE app SET target_nresults = 2, homogeneous_app_version = 1")
    jobs(db, 1)
    assert len(names(scheduler(project, db).handle(request(1)))) == 1
    [w] = rows(db, "SELECT * FROM workunit")
    assert (w["target_nresults"], w["min_quorum"], w["app_version_id"], w["transition_time"]) == (2, 2, 22, NOW)


def test_trickles_are_stored_once(db: Connection, project: Project) -> None:
    account(db, 1)
    up = "<msg_from_host>\n<result_name>r</result_name>\n<time>1</time>\n<variety>v</variety>\né\n</msg_from_host>"
    s = scheduler(project, db)
    first = s.handle(request(1, extra=up))
    assert b"<message_ack/>" in first
    s.handle(request(1, int(texts(first, "hostid")[0]), 1, extra=up))
    [row] = rows(db, "SELECT * FROM msg_from_host")
    assert row["xml"] == "<result_name>r</result_name>\n<time>1</time>\né\n"


def test_all_statements_of_the_scheduler_are_valid(db: Connection) -> None:
    lists = ("ids", "names", "classes", "versions")
    for name in all_names():
        if name.startswith("scheduler"):
            sql = re.sub(r"%\((\w+)\)s", lambda m: "(1)" if m.group(1) in lists else "1", query(name))
            rows(db, "EXPLAIN " + sql.replace("%%", "%"))


@pytest.mark.parametrize(
    ("name", "params", "key"),
    [
        ("scheduler_jobs.head_ids", {"appid": 3, "priority": 0, "n": 4096, "after": 0, "skip": 0}, "res_dispatch"),
        ("scheduler_jobs.lock_jobs", {"ids": (5, 9, 12)}, "PRIMARY"),
        ("scheduler_jobs.candidates_between", {"appid": 3, "priority": 0, "first": 3, "last": 90, "classes": (0, 5),
                                               "versions": (-1,), "n": 20}, "res_dispatch"),
        ("scheduler_jobs.instances", {"id": 7}, "res_wuid"),
        ("scheduler_jobs.candidates", {"ids": (5, 9, 12)}, "PRIMARY"),
        ("scheduler_jobs.host_jobs", {"hostid": 2}, "res_host_state"),
        ("scheduler_jobs.results_by_name", {"names": ("w_0_1_0", "w_0_2_0")}, "name"),
    ],
)
def test_hot_queries_use_their_index(db: Connection, project: Project, name: str, params: dict, key: str) -> None:
    jobs(db, 600)
    rows(db, "UPDATE result SET server_state = 5, hostid = 1 + id % 3 WHERE id % 2")
    rows(db, "UPDATE result SET server_state = 4 WHERE id % 50 = 1")
    rows(db, "ANALYZE TABLE result, workunit")
    plan = rows(db, "EXPLAIN " + query(name).replace("%(", ":").replace(")s", ""), **params)[0]
    assert plan["key"] == key
    assert "filesort" not in (plan["Extra"] or "")
    assert "temporary" not in (plan["Extra"] or "")


def reads(db: Connection) -> int:
    """Rows this session has read from indexes and tables so far."""
    found = rows(db, "SHOW SESSION STATUS LIKE 'Handler_read%'")
    return sum(int(r["Value"]) for r in found if r["Variable_name"] != "Handler_read_rnd_deleted")


def test_looking_for_work_does_not_read_the_queue(db: Connection, project: Project) -> None:
    jobs(db, 400, priority=1)
    jobs(db, 400, priority=2)
    rows(db, "ANALYZE TABLE result")
    repo = SqlRepository(db)
    for look in (lambda: repo.top_priority(3), lambda: repo.top_priority(3, below=2), lambda: repo.head_ids(3, 1, 5)):
        before = reads(db)
        overhead = reads(db) - before
        look()
        assert reads(db) - before - 2 * overhead <= 12


def test_targeted_job_on_the_database(db: Connection, project: Project, new_connection: Any) -> None:
    """Two hosts of one user ask at the same time for a job that wants one instance: one is made, already sent."""
    account(db, 1)
    project.config.enable_assignment = True
    project.config.dont_generate_upload_certificates = True
    (project.dir / "out").write_text("<file_info><name><OUTFILE_0/></name><generated_locally/><upload_when_present/>"
                                     "<max_nbytes>5</max_nbytes><url><UPLOAD_URL/></url></file_info><result>"
                                     "<file_ref><file_name><OUTFILE_0/></file_name><open_name>o</open_name></file_ref></result>")
    wu = insert(db, "workunit", appid=3, name="t", xml_doc=WU_XML, rsc_fpops_est=1e12, delay_bound=86400,
                transitioner_flags=2, target_nresults=1, transition_time=2000000000, result_template_file="out")
    insert(db, "assignment", target_type=2, target_id=1, workunitid=wu)
    insert(db, "assignment", target_type=2, target_id=1, workunitid=wu + 1)
    replies: list[bytes] = []

    def contact(cpid: int, connection: Connection) -> None:
        body = request(1).replace(f"<host_cpid>{1:032x}".encode(), f"<host_cpid>{cpid:032x}".encode())
        replies.append(scheduler(project, connection).handle(body))

    threads = [threading.Thread(target=contact, args=(i, new_connection())) for i in (5, 6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert sorted(len(names(r)) for r in replies) == [0, 1], replies
    [row] = rows(db, "SELECT * FROM result")
    assert (row["server_state"], row["workunitid"], row["report_deadline"]) == (4, wu, NOW + 86400)
    assert row["name"].startswith("t_")
    assert [r["workunitid"] for r in rows(db, "SELECT workunitid FROM assignment")] == [wu]


def test_windows_for_a_kind_of_host_on_the_database(db: Connection, project: Project) -> None:
    account(db, 1)
    rows(db, "UPDATE app SET homogeneous_redundancy = 2")
    jobs(db, 40, priority=5, prefix="win")
    rows(db, "UPDATE workunit SET hr_class = 386")
    jobs(db, 1, prefix="linux")
    s = scheduler(project, db)
    s.windows = JobWindows(window=10, head=20)
    assert names(s.handle(request(1))) == ["linux_0_0_0"]
    assert rows(db, "SELECT hr_class AS c FROM workunit WHERE name LIKE 'linux%%'".replace("%%", "%"))[0]["c"] == 258


def test_host_account_and_versions_come_in_one_read(db: Connection, project: Project,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of a known host takes eight round trips with a job, BEGIN and COMMIT included; four without."""
    account(db, 1)
    jobs(db, 3)
    s = scheduler(project, db)
    hostid = int(texts(s.handle(request(1)), "hostid")[0])
    rows(db, "UPDATE host_app_version SET et_n = 11, et_avg = 2.5e-10, pfc_avg = 1e-17, consecutive_valid = 7,"
             " max_jobs_per_day = 500")
    row = SqlRepository(db).host_with_owner(hostid)
    assert row is not None
    assert row["hav"] == SqlRepository(db).hav_rows(hostid)
    assert row["hav"][0]["et_avg"] == 2.5e-10
    rows(db, "SET SESSION group_concat_max_len = 64")
    short = SqlRepository(db).host_with_owner(hostid)
    assert short is not None
    assert short["hav"] == row["hav"]
    rows(db, "SET SESSION group_concat_max_len = 1048576")
    seen: list[str] = []
    real = Connection._cursor

    def counted(self: Connection, sql: str, params: Any) -> Any:
        seen.append(sql.split("\n")[0][:60])
        return real(self, sql, params)

    monkeypatch.setattr(Connection, "_cursor", counted)
    assert len(names(s.handle(request(1, hostid, 1)))) == 1
    # COMMIT is not a cursor's statement.
    assert len(seen) <= 7, seen
    seen.clear()
    s.handle(request(1, hostid, 2, cpus=0, secs=0))
    assert len(seen) <= 3, seen
