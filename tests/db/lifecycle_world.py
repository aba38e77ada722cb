"""A small project with rows to play the life of jobs on a real database; used by test_lifecycle_*.py."""
from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from boincdock.config import Project, parse_config
from boincdock.crypto import generate_keypair
from boincdock.db import Connection
from boincdock.lifecycle import daemon
from boincdock.lifecycle.daemon import Daemon

T = 1800000000
D = TypeVar("D", bound=Daemon)

TEMPLATE = """<output_template>
<file_info><name><OUTFILE_0/></name><generated_locally/><upload_when_present/><max_nbytes>5000000</max_nbytes>
<url><UPLOAD_URL/></url></file_info>
<result><file_ref><file_name><OUTFILE_0/></file_name><open_name>out.txt</open_name><copy_file/></file_ref></result>
</output_template>
"""
_KEYS: list[tuple[str, str]] = []


def execute(db: Connection, statement: str, *args: Any) -> list[dict[str, Any]]:
    cursor = db.raw().cursor()
    cursor.execute(statement, args or None)
    rows = list(cursor.fetchall())
    cursor.close()
    return rows


def insert(db: Connection, table: str, **columns: Any) -> int:
    cursor = db.raw().cursor()
    names = ", ".join(f"`{c}`" for c in columns)
    cursor.execute(f"INSERT INTO `{table}` ({names}) VALUES ({', '.join(['%s'] * len(columns))})",
                   tuple(columns.values()))
    new_id = cursor.lastrowid
    cursor.close()
    return int(columns.get("id") or new_id)


def update(db: Connection, table: str, row_id: int, **columns: Any) -> None:
    execute(db, f"UPDATE `{table}` SET " + ", ".join(f"`{c}` = %s" for c in columns) + " WHERE id = %s",
            *columns.values(), row_id)


class World:
    """Project folder, clock and shorthand for rows. Scenario base of spec 03 section 19."""

    def __init__(self, root: Path, db: Connection, settings: SimpleNamespace, extra: str = "") -> None:
        self.db = db
        self.clock = T
        for part in ("templates", "keys", "upload", "download"):
            (root / part).mkdir()
        (root / "templates" / "wu_out").write_text(TEMPLATE)
        if not _KEYS:
            _KEYS.append(generate_keypair())
        (root / "keys" / "upload_private").write_text(_KEYS[0][0])
        (root / "keys" / "upload_private").chmod(0o600)
        (root / "keys" / "upload_public").write_text(_KEYS[0][1])
        text = f"""<boinc><config><host>test</host><master_url>http://127.0.0.1/test/</master_url>
            <upload_url>http://127.0.0.1/test_cgi/file_upload_handler</upload_url>
            <db_name>{settings.db_name}</db_name><db_user>{settings.db_user}</db_user>
            <db_passwd>{settings.db_passwd}</db_passwd><db_host>{settings.db_host}</db_host>
            <daily_result_quota>100</daily_result_quota><report_grace_period>3600</report_grace_period>
            <uldl_dir_fanout>1024</uldl_dir_fanout>
            <delete_delay_hours>24</delete_delay_hours>
            <reliable_priority_on_over>2</reliable_priority_on_over>{extra}</config></boinc>"""
        (root / "config.xml").write_text(text)
        self.project: Project = parse_config(text.encode(), root)
        insert(db, "app", id=7, name="worker", user_friendly_name="Worker", min_avg_pfc=1)
        insert(db, "platform", id=1, name="x86_64-pc-linux-gnu", user_friendly_name="Linux")
        insert(db, "app_version", id=3, appid=7, version_num=100, platformid=1, plan_class="docker")
        for user, host in ((1, 11), (2, 12), (3, 13)):
            insert(db, "user", id=user, email_addr=f"u{user}@example.org", name=f"u{user}", authenticator=f"a{user}",
                   expavg_time=T, create_time=T, cross_project_id="", passwd_hash="")
            insert(db, "host", id=host, userid=user, expavg_time=T, create_time=T)
            insert(db, "host_app_version", host_id=host, app_version_id=3, max_jobs_per_day=100)

    def options(self, kind: type[Daemon], *argv: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        daemon.add_common_options(parser, kind)
        return parser.parse_args(["--one_pass", *(["--app", "worker"] if kind.needs_app else []), *argv])

    def daemon(self, kind: type[D], *argv: str, db: Connection | None = None) -> D:
        made = kind(self.project, db or self.db, self.options(kind, *argv), clock=lambda: self.clock)
        made.setup()
        return made

    def run(self, kind: type[Daemon], at: int, *argv: str) -> None:
        """Let a daemon do what is due at T+at."""
        self.clock = T + at
        assert self.daemon(kind, *argv).run() == 0

    def workunit(self, **columns: Any) -> int:
        row: dict[str, Any] = {
            "id": 101, "name": "wu_b", "appid": 7, "min_quorum": 2, "target_nresults": 2, "max_error_results": 3,
            "max_total_results": 8, "max_success_results": 4, "delay_bound": 100000, "priority": 5,
            "size_class": -1, "transition_time": T, "create_time": T, "result_template_file": "templates/wu_out",
            "rsc_fpops_est": 1e13, "rsc_fpops_bound": 1e17, "xml_doc": ""}
        return insert(self.db, "workunit", **{**row, **columns})

    def wu(self, wu_id: int = 101) -> dict[str, Any]:
        return execute(self.db, "SELECT * FROM workunit WHERE id = %s", wu_id)[0]

    def results(self, wu_id: int = 101) -> list[dict[str, Any]]:
        return execute(self.db, "SELECT * FROM result WHERE workunitid = %s ORDER BY id", wu_id)

    def states(self, wu_id: int = 101) -> list[tuple[int, int, int]]:
        return [(r["server_state"], r["outcome"], r["validate_state"]) for r in self.results(wu_id)]

    def host_version(self, host: int) -> dict[str, Any]:
        return execute(self.db, "SELECT * FROM host_app_version WHERE host_id = %s AND app_version_id = 3", host)[0]

    def send(self, index: int, host: int, at: int, wu_id: int = 101) -> None:
        """What the scheduler does when it sends an instance (spec 03 section 2.2)."""
        wu, result = self.wu(wu_id), self.results(wu_id)[index]
        deadline = T + at + wu["delay_bound"] + 3600
        update(self.db, "workunit", wu_id, transition_time=min(wu["transition_time"], deadline))
        update(self.db, "result", result["id"], server_state=4, hostid=host, userid=host - 10, sent_time=T + at,
               report_deadline=deadline, flops_estimate=4e9, app_version_id=3)

    def report(self, index: int, at: int, exit_status: int = 0, client_state: int = 5, output: bytes | None = b"A",
               elapsed: float = 3600, wu_id: int = 101) -> None:
        """What the scheduler does when an instance is reported (spec 03 section 2.3), and the upload before."""
        result = self.results(wu_id)[index]
        ok = exit_status == 0 and client_state == 5
        if ok and output is not None:
            path = self.output_path(result)
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(output)
        update(self.db, "result", result["id"], server_state=5, outcome=1 if ok else 3, validate_state=0 if ok else 2,
               exit_status=exit_status, client_state=client_state, received_time=T + at, elapsed_time=elapsed,
               cpu_time=elapsed, stderr_out="some stderr")
        update(self.db, "workunit", wu_id, transition_time=T + at)

    def output_path(self, result: dict[str, Any]) -> Path:
        from boincdock.lifecycle.outputs import output_files

        return output_files(self.project, result["xml_doc_in"])[0].path
