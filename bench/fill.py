"""Fills a bench project's database, with MariaDB's sequence tables, so that a million rows take seconds.

Made here: application ``bench`` with one version for x86_64-pc-linux-gnu, accounts, computers, and jobs in the
state that a bench needs. Jobs for a whole cycle are made by the project's own create_work instead.
"""
from __future__ import annotations

from pathlib import Path

from stack import LOADGEN, Stack, say

SIGNATURE = "\n".join(f"{n:x}" * 64 for n in (5, 10, 2, 8)) + "\n."
"""As long as a real one. Only uploads look at it, and they get real ones (:func:`upload_jobs`)."""

_CHUNK = 250_000
_FAST = "SET SESSION unique_checks = 0, foreign_key_checks = 0; SET GLOBAL innodb_flush_log_at_trx_commit = {};\n"

_VERSION_XML = f"""<file_info>
    <name>bench_100</name>
    <url>URL/download/bench_100</url>
    <executable/>
    <file_signature>
{SIGNATURE}
    </file_signature>
    <nbytes>1843200</nbytes>
</file_info>
<app_version>
    <app_name>bench</app_name>
    <version_num>100</version_num>
    <api_version>8.3.0</api_version>
    <file_ref>
        <file_name>bench_100</file_name>
        <main_program/>
    </file_ref>
</app_version>
"""
_WORKUNIT_XML = """<file_info>
    <name>bench_input_NAME</name>
    <url>URL/download/1a3/bench_input_NAME</url>
    <md5_cksum>2c6f00854b4702a9da9a18e5fcfdf279</md5_cksum>
    <nbytes>4096</nbytes>
</file_info>
<workunit>
    <file_ref>
        <file_name>bench_input_NAME</file_name>
        <open_name>in</open_name>
    </file_ref>
    <command_line>--seed NAME</command_line>
</workunit>
"""
_RESULT_XML = """<file_info>
    <name>NAME_0_r1234567_0</name>
    <generated_locally/>
    <upload_when_present/>
    <max_nbytes>65536</max_nbytes>
    <url>CGI/file_upload_handler</url>
    <xml_signature>
SIGNATURE
</xml_signature>
</file_info>
<result>
    <file_ref>
        <file_name>NAME_0_r1234567_0</file_name>
        <open_name>out</open_name>
    </file_ref>
</result>
"""


def _text(template: str, stack: Stack, name: str) -> str:
    """A SQL expression for a document in which NAME is the expression ``name``."""
    text = template.replace("URL", f"{stack.url_base}/{stack.project}").replace("CGI", stack.cgi)
    parts = text.replace("SIGNATURE", SIGNATURE).replace("'", "''").split("NAME")
    return "CONCAT(" + f", {name}, ".join(f"'{part}'" for part in parts) + ")"


def accounts(stack: Stack, hosts: int = 2000) -> Path:
    """Application, version, ``hosts`` computers and half as many accounts; the file for loadgen's ``-hosts``."""
    version = _VERSION_XML.replace("URL", f"{stack.url_base}/{stack.project}")
    stack.sql(f"""
        INSERT INTO app (create_time, name, user_friendly_name) VALUES (UNIX_TIMESTAMP(), 'bench', 'Bench');
        INSERT INTO app_version (create_time, appid, version_num, platformid, xml_doc)
            SELECT UNIX_TIMESTAMP(), a.id, 100, p.id, '{version}' FROM app a JOIN platform p
            WHERE a.name = 'bench' AND p.name = 'x86_64-pc-linux-gnu';
        INSERT INTO user (id, create_time, email_addr, name, authenticator, passwd_hash, cross_project_id, send_email)
            SELECT seq, UNIX_TIMESTAMP(), CONCAT('bench', seq, '@example.org'), CONCAT('Volunteer ', seq),
                MD5(CONCAT('key', seq)), MD5(seq), MD5(CONCAT('cpid', seq)), 1
            FROM seq_100001_to_{100000 + max(1, hosts // 2)};
        INSERT INTO host (id, create_time, userid, host_cpid, domain_name, total_credit, expavg_credit)
            SELECT seq, UNIX_TIMESTAMP(), u.id, MD5(CONCAT(MD5(CONCAT('host', seq)), u.email_addr)),
                CONCAT('bench-', seq), 100, 1
            FROM seq_100001_to_{100000 + hosts} JOIN user u ON u.id = 100001 + (seq - 100001) MOD {max(1, hosts // 2)};
    """)
    rows = stack.sql("SELECT h.id, u.authenticator FROM host h JOIN user u ON u.id = h.userid WHERE h.id > 100000")
    return _file(stack, "hosts.tsv", "".join(f"{host}\t{key}\n" for host, key in rows))


def _file(stack: Stack, name: str, text: str) -> Path:
    folder = LOADGEN.parent / stack.name
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def unsent(stack: Stack, n: int, first: int = 1_000_000_001) -> None:
    """``n`` workunits with one unsent result each, ids from ``first``."""
    say(f"filling: {n:,} unsent jobs")
    name = "CONCAT('bench_', seq)"
    for low in range(first, first + n, _CHUNK):
        high = min(low + _CHUNK, first + n) - 1
        stack.sql(_FAST.format(0) + f"""
            INSERT INTO workunit (id, create_time, appid, name, xml_doc, rsc_fpops_est, rsc_fpops_bound,
                    rsc_memory_bound, rsc_disk_bound, transition_time, delay_bound, min_quorum, target_nresults,
                    max_error_results, max_total_results, max_success_results, result_template_file)
                SELECT seq, UNIX_TIMESTAMP(), a.id, {name}, {_text(_WORKUNIT_XML, stack, name)}, 1.48e13, 2.96e14, 1e9,
                    4e9, 2147483647, 604800, 1, 1, 3, 10, 6, 'templates/bench_out'
                FROM seq_{low}_to_{high} JOIN app a ON a.name = 'bench';
            INSERT INTO result (id, create_time, workunitid, server_state, name, xml_doc_in, appid, random)
                SELECT seq, UNIX_TIMESTAMP(), seq, 2, CONCAT({name}, '_0'), {_text(_RESULT_XML, stack, name)}, a.id, 7
                FROM seq_{low}_to_{high} JOIN app a ON a.name = 'bench';
        """)
    _settle(stack)


def finished(stack: Stack, n: int, first: int = 1, hosts: int = 2000, kept: bool = False) -> None:
    """``n`` results that are over, validated, their files deleted, two to a workunit, as they wait for db_purge.
    Short documents (a project's own are longer, but nobody reads those of finished jobs). ``kept``: assimilated, but
    their files are kept, so that no daemon has anything to do with them."""
    say(f"filling: {n:,} finished results")
    state = 0 if kept else 2
    for low in range(first, first + n, _CHUNK):
        high = min(low + _CHUNK, first + n) - 1
        if (low - first) % (10 * _CHUNK) == 0 and low > first:
            say(f"  {low - first:,}")
        stack.sql(_FAST.format(0) + f"""
            INSERT INTO workunit (id, create_time, appid, name, xml_doc, rsc_fpops_est, canonical_resultid,
                    canonical_credit, transition_time, file_delete_state, assimilate_state, delay_bound, min_quorum,
                    target_nresults, max_total_results)
                SELECT seq, 1780000000, a.id, CONCAT('old_', seq), '<workunit>\\n</workunit>\\n', 1.48e13, 2 * seq,
                    10, 2147483647, {state}, 2, 604800, 2, 2, 10
                FROM seq_{(low + 1) // 2}_to_{high // 2} JOIN app a ON a.name = 'bench';
            INSERT INTO result (id, create_time, workunitid, server_state, outcome, client_state, hostid, userid,
                    sent_time, received_time, report_deadline, name, xml_doc_in, xml_doc_out, file_delete_state,
                    validate_state, granted_credit, appid, app_version_num)
                SELECT seq, 1780000000, (seq + 1) DIV 2, 5, 1, 5, 100001 + seq MOD {hosts},
                    100001 + seq MOD {max(1, hosts // 2)}, 1780000100, 1780003700, 1780604900,
                    CONCAT('old_', (seq + 1) DIV 2, '_', (seq + 1) MOD 2),
                    '<result>\\n</result>\\n', '', {state}, 1, 10, a.id, 100
                FROM seq_{low}_to_{high} JOIN app a ON a.name = 'bench';
        """)
    _settle(stack)


def reset(stack: Stack) -> None:
    """Make the jobs of :func:`unsent` unsent again, and the hosts forget them."""
    stack.sql(_FAST.format(0) + """
        UPDATE result FORCE INDEX (PRIMARY) SET server_state = 2, outcome = 0, client_state = 0, validate_state = 0,
            hostid = 0, userid = 0, teamid = 0, sent_time = 0, received_time = 0, report_deadline = 0
            WHERE id > 1000000000 AND server_state IN (4, 5);
        UPDATE workunit SET transition_time = 2147483647 WHERE id > 1000000000 AND transition_time < 2147483647;
        TRUNCATE host_app_version;
    """)
    _settle(stack)


def _settle(stack: Stack) -> None:
    """Statistics, durable commits again, and what the filling left behind written out or purged (at most 3 min)."""
    stack.sql(_FAST.format(1) + """
        SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0.001, innodb_max_dirty_pages_pct = 0, innodb_io_capacity = 20000,
            innodb_io_capacity_max = 40000;
        ANALYZE TABLE result, workunit, host, user;
    """)
    waiting = ("SELECT variable_value FROM information_schema.global_status WHERE variable_name IN "
               "('INNODB_BUFFER_POOL_PAGES_DIRTY', 'INNODB_HISTORY_LIST_LENGTH')")
    stack.sql(f"""
        DELIMITER //
        BEGIN NOT ATOMIC
            DECLARE n INT DEFAULT 0;
            WHILE n < 360 AND (SELECT MAX(CAST(variable_value AS INTEGER)) FROM ({waiting}) AS w) > 300 DO
                DO SLEEP(0.5);
                SET n = n + 1;
            END WHILE;
        END //
        DELIMITER ;
        SET GLOBAL innodb_max_dirty_pages_pct_lwm = DEFAULT, innodb_max_dirty_pages_pct = DEFAULT,
            innodb_io_capacity = DEFAULT, innodb_io_capacity_max = DEFAULT;
    """)


_SIGN = """
import sys
from boincdock.config import load_project
from boincdock.crypto import read_private
from boincdock.files.certificates import make_certificate
key = read_private(load_project().key_dir / "upload_private")
first, n = int(sys.argv[1]), int(sys.argv[2])
for i in range(first, first + n):
    name = f"up_{i}_0_r1234567_0"
    print(name, 65536, make_certificate(name, 65536, key).strip().replace("\\n", "|"), sep="\\t")
"""


def upload_jobs(stack: Stack, n: int, first: int) -> Path:
    """``n`` results in progress, each with one output file to come, and the file for loadgen's ``-files``."""
    say(f"filling: {n:,} jobs with upload certificates")
    listing = stack.run_in("apache", "python3", "-c", _SIGN, str(first), str(n))
    rows = [line.split("\t") for line in listing.splitlines()]
    template = _RESULT_XML.replace("CGI", stack.cgi)
    for low in range(0, n, 2000):
        values = []
        for index, (name, _, signature) in enumerate(rows[low:low + 2000], first + low):
            document = template.replace("NAME_0_r1234567_0", name).replace("SIGNATURE", signature.replace("|", "\n"))
            number = 2_000_000_000 + index
            values.append(f"({number}, {number}, 4, 'up_{index}_0', '{document}', 100001)")
        stack.sql("INSERT INTO result (id, workunitid, server_state, name, xml_doc_in, hostid) VALUES "
                  + ",\n".join(values) + ";")
    stack.sql(f"""INSERT INTO workunit (id, name, transition_time) SELECT seq, CONCAT('up_', seq), 2147483647
        FROM seq_{2_000_000_000 + first}_to_{2_000_000_000 + first + n - 1}""")
    return _file(stack, f"files{first}.tsv", listing)
