"""A project on a plain MariaDB with real scheduler processes and daemons, for runs without containers."""
from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any
from urllib.parse import urlsplit

from boincdock.config import Project, load_project
from boincdock.crypto import generate_keypair
from boincdock.db import Connection, connect
from boincdock.db.migrate import migrate
from boincdock.files.hierarchy import upload_path
from boincdock.jobs.create import JobFactory, create_jobs
from boincdock.jobs.model import JobKind, JobLimits, JobSpec
from tests.stress import wire
from tests.stress.hosts import Server

ROOT = Path(__file__).parents[2]
APP = "stress"
HOSTS_PER_USER = 2
INPUT_TEMPLATE = "<input_template><workunit></workunit></input_template>"
OUTPUT_TEMPLATE = """<output_template>
<file_info><name><OUTFILE_0/></name><generated_locally/><upload_when_present/><max_nbytes>1000000</max_nbytes>
<url><UPLOAD_URL/></url></file_info>
<result><file_ref><file_name><OUTFILE_0/></file_name><open_name>out</open_name><copy_file/></file_ref></result>
</output_template>
"""
VERSION_XML = (b"<file_info><name>stress_100</name><executable/></file_info>\n<app_version>\n"
               b"<app_name>stress</app_name>\n<version_num>100</version_num>\n</app_version>\n")
_CONFIG = """<boinc><config>
<long_name>Stress</long_name><host>stress</host><master_url>http://127.0.0.1/stress/</master_url>
<db_name>{db_name}</db_name><db_user>{db_user}</db_user><db_passwd>{db_passwd}</db_passwd><db_host>{db_host}</db_host>
<download_url>http://127.0.0.1/stress/download</download_url>
<upload_url>http://127.0.0.1/stress_cgi/file_upload_handler</upload_url>
<uldl_dir_fanout>256</uldl_dir_fanout><fuh_min_free_bytes>1e6</fuh_min_free_bytes>
<daily_result_quota>1000000</daily_result_quota><max_wus_to_send>50</max_wus_to_send>
<resend_lost_results>1</resend_lost_results><send_result_abort>1</send_result_abort>
<one_result_per_user_per_wu>1</one_result_per_user_per_wu><maintenance_delay>1</maintenance_delay>
<dont_generate_upload_certificates>{no_certificates}</dont_generate_upload_certificates>
<ignore_upload_certificates>{no_certificates}</ignore_upload_certificates>{extra}
</config><daemons></daemons><tasks></tasks></boinc>
"""


def execute(db: Connection, statement: str, *args: Any) -> list[dict[str, Any]]:
    """Rows of a statement."""
    cursor = db.raw().cursor()
    cursor.execute(statement, args or None)
    rows = list(cursor.fetchall())
    cursor.close()
    return rows


def account_key(number: int) -> str:
    """The account key of user ``number``."""
    return hashlib.md5(f"user {number}".encode(), usedforsecurity=False).hexdigest()


def key_of_host(host: int) -> str:
    """The account key of simulated host ``host`` (from 0)."""
    return account_key(host // HOSTS_PER_USER + 1)


def add_app_and_users(db: Connection, users: int) -> None:
    """The app ``stress`` with one version, and accounts 1 to ``users``, in teams of ten."""
    execute(db, "INSERT IGNORE INTO platform (name, user_friendly_name) VALUES (%s, 'Linux')", wire.PLATFORM)
    execute(db, "INSERT INTO app (name, user_friendly_name, min_avg_pfc) VALUES (%s, 'Stress', 1)", APP)
    execute(db, "INSERT INTO app_version (appid, version_num, platformid, xml_doc) SELECT a.id, %s, p.id, %s"
                " FROM app a, platform p WHERE a.name = %s AND p.name = %s", wire.VERSION_NUM, VERSION_XML, APP,
            wire.PLATFORM)
    teams = [execute(db, "INSERT INTO team (name, create_time, userid) VALUES (%s, UNIX_TIMESTAMP(), 0) RETURNING id",
                     f"team {n}")[0]["id"] for n in range(1 + users // 10)]
    cursor = db.raw().cursor()
    cursor.executemany("INSERT INTO user (email_addr, name, authenticator, create_time, expavg_time, teamid,"
                       " passwd_hash, cross_project_id) VALUES (%s, %s, %s, UNIX_TIMESTAMP(), UNIX_TIMESTAMP(), %s, '',"
                       " %s)", [(f"stress{n}@example.org", f"stress{n}", account_key(n), teams[n // 10],
                                 account_key(n)) for n in range(1, users + 1)])
    cursor.close()


def add_jobs(db: Connection, project: Project, jobs: range, delay_bound: int,
             files: Callable[[int], tuple[str, ...]] = lambda _: (), template: str = INPUT_TEMPLATE,
             quorum: int = 2) -> None:
    """Jobs ``stress_<number>``, a thousand in a transaction, as bulk submission does."""
    limits = JobLimits(rsc_fpops_est=1e12, rsc_fpops_bound=1e17, rsc_memory_bound=1e8, rsc_disk_bound=1e8,
                       delay_bound=delay_bound, min_quorum=quorum, target_nresults=quorum, max_error_results=3,
                       max_total_results=20, max_success_results=8)
    kind = JobKind(app=APP, input_template=template, result_template_file="templates/stress_out", limits=limits)
    factory = JobFactory(db, project)
    for first in range(jobs.start, jobs.stop, 1000):
        create_jobs(db, project, [
            JobSpec(kind, f"{APP}_{n}", files=files(n)) for n in range(first, min(first + 1000, jobs.stop))], factory)


_OURS = f"appid = (SELECT id FROM app WHERE name = '{APP}')"
QUIET = f"""
SELECT (SELECT COUNT(*) FROM workunit WHERE {_OURS} AND assimilate_state <> 2) AS unassimilated,
       (SELECT COUNT(*) FROM workunit WHERE {_OURS} AND need_validate = 1) AS unvalidated,
       (SELECT COUNT(*) FROM workunit WHERE {_OURS} AND file_delete_state <> 2) AS wu_files,
       (SELECT COUNT(*) FROM result WHERE {_OURS} AND server_state <> 5) AS not_over,
       (SELECT COUNT(*) FROM result WHERE {_OURS} AND file_delete_state IN (1, 3)) AS result_files,
       (SELECT COUNT(*) FROM workunit WHERE {_OURS} AND transition_time <= UNIX_TIMESTAMP() + 1) AS due
"""


class World:
    """A project of its own on the MariaDB named by ``$BOINCDOCK_TEST_DB``; use as a context manager, which ends its
    processes and drops its database. ``extra``: more of config.xml. Without ``certificates`` nothing is signed."""

    def __init__(self, root: Path, extra: str = "", certificates: bool = False) -> None:
        self.root = root
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, list[str]] = {}
        parts = urlsplit(os.environ.get("BOINCDOCK_TEST_DB", ""))
        if not parts.hostname:
            sys.exit("error: BOINCDOCK_TEST_DB is not set (mysql://user:password@host:port)")
        self.db_name = f"bdstress_{uuid.uuid4().hex[:10]}"
        self.settings = SimpleNamespace(
            db_name=self.db_name, db_user=parts.username or "root", db_passwd=parts.password or "",
            db_host=f"{parts.hostname}:{parts.port or 3306}")
        server = connect(SimpleNamespace(**{**vars(self.settings), "db_name": "mysql"}))
        execute(server, f"CREATE DATABASE {self.db_name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        server.close()
        self.db = connect(self.settings)
        migrate(self.db)
        for folder in ("download", "upload", "keys", "templates", "results", "logs"):
            (root / folder).mkdir()
        (root / "templates" / "stress_out").write_text(OUTPUT_TEMPLATE)
        for kind in ("code_sign", "upload"):
            private, public = generate_keypair()
            (root / "keys" / f"{kind}_private").write_text(private)
            (root / "keys" / f"{kind}_public").write_text(public)
        (root / "config.xml").write_text(_CONFIG.format(
            **vars(self.settings), no_certificates=int(not certificates), extra=extra))
        self.project = load_project(root)
        self.project.log_dir.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop(*self.processes)
        execute(self.db, f"DROP DATABASE {self.db_name}")
        self.db.close()

    # ---- processes
    @property
    def environment(self) -> dict[str, str]:
        """For programs of the project."""
        return {**os.environ, "BOINC_PROJECT_DIR": str(self.root), "PYTHONPATH": str(ROOT)}

    def _start(self, name: str, argv: list[str]) -> None:
        log = self.project.log_dir / f"{name}.log"
        with log.open("ab") as stream:
            self.processes[name] = subprocess.Popen(argv, cwd=ROOT, env=self.environment, stdout=stream, stderr=stream)

    def start_schedulers(self, count: int) -> str:
        """Start scheduler processes; the URL that stands for ``http://127.0.0.1``."""
        port_file = self.root / "port"
        self._start("schedulers", [sys.executable, "-m", "tests.stress.worker", str(count), str(port_file)])
        self.wait("the scheduler's port", port_file.exists, 30)
        return f"http://127.0.0.1:{port_file.read_text()}"

    def start_daemon(self, name: str, *words: str) -> None:
        """Start a daemon under a name of its own."""
        self._commands[name] = [sys.executable, "-m", "boincdock.bin._run", *words]
        self._start(name, self._commands[name])

    def start_daemons(self, transitioners: int = 2, validators: int = 2, assimilators: int = 2,
                      overlap: bool = False) -> None:
        """The usual daemons, each kind shared out by ``--mod``; with ``overlap`` all copies look at all jobs."""
        app = ("--app", APP)
        kinds: list[tuple[str, int, tuple[str, ...]]] = [
            ("transitioner", transitioners, ("transitioner",)),
            ("validator", validators, ("sample_bitwise_validator", *app)),
            ("assimilator", assimilators, ("results_assimilator", *app, "--outdir", str(self.root / "results"))),
            ("file_deleter", 1, ("file_deleter",))]
        for name, count, words in kinds:
            for i in range(count):
                mod = ("--mod", str(count), str(i)) if count > 1 and not overlap else ()
                self.start_daemon(f"{name}_{i}", *words, *mod, "--sleep_interval", "0.3")

    def stop(self, *names: str) -> None:
        """End processes that this object started: SIGTERM, and SIGKILL after 20 s."""
        for name in names:
            self.processes[name].terminate()
        for name in names:
            process = self.processes.pop(name)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def restart(self, *names: str) -> None:
        """Start stopped daemons as before."""
        for name in names:
            self._start(name, self._commands[name])

    @property
    def daemons(self) -> list[str]:
        """Names of the running daemons."""
        return [name for name in self.processes if name != "schedulers"]

    def check_alive(self) -> None:
        """Fail if a process has ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                text = (self.project.log_dir / f"{name}.log").read_text(errors="replace")
                raise AssertionError(f"{name} ended with {process.returncode}:\n{text[-3000:]}")

    # ---- what hosts do
    def server(self, url: str, upload: bool = False) -> Server:
        """How hosts reach the schedulers at ``url``; without ``upload`` they put outputs in place themselves."""
        def place(file: wire.File, data: bytes) -> None:
            path = upload_path(self.project, file.name)
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_name(path.name + ".part")
            temporary.write_bytes(data)
            temporary.replace(path)

        def send(file: wire.File, data: bytes) -> None:
            wire.upload(f"{url}/stress_cgi/file_upload_handler", file, data, 60)

        return Server(rpc=lambda body: wire.post(f"{url}/stress_cgi/cgi", body, 120),
                      fetch=lambda _: b"", upload=send if upload else place)

    # ---- looking
    def wait(self, what: str, condition: Callable[[], Any], seconds: float) -> Any:
        """The first true value of ``condition``."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            self.check_alive()
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s: {what}; {self.pending()}")
            time.sleep(min(2.0, max(0.1, seconds / 500)))  # looking costs the database as much as some jobs do
        return found

    def pending(self) -> dict[str, int]:
        """What is left to do, by kind."""
        return {name: int(n) for name, n in execute(self.db, QUIET)[0].items()}

    def quiet(self) -> bool:
        """Whether nothing is left to do."""
        return not any(self.pending().values())

    def facts(self) -> dict[str, Any]:
        """See facts.py."""
        done = subprocess.run([sys.executable, str(ROOT / "tests/stress/facts.py"), APP, str(self.root / "results")],
                              env=self.environment, capture_output=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def check(self) -> tuple[int, str]:
        """bin/check with all rules that hold for a project from which nothing was purged."""
        done = subprocess.run([sys.executable, "-m", "boincdock.bin._run", "check", "--all", "--grace", "5"],
                              env=self.environment, cwd=ROOT, capture_output=True, check=False)
        return done.returncode, (done.stdout + done.stderr).decode()
