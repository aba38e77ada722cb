"""Hosts and jobs on a lifecycle world, all by the world's clock; used by test_backlog.py and test_concurrency.py."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lifecycle_world import T, World, execute

from boincdock.crypto.keys import generate_private
from boincdock.crypto.rotation import CodeSignKeys
from boincdock.lifecycle.outputs import output_files
from boincdock.scheduler.handler import Scheduler
from boincdock.scheduler.repository import SqlRepository
from tests.stress import wire

KEYS = CodeSignKeys(generate_private().public)
HOSTS = 15
DELAY_BOUND = 3600


class Farm:
    """Hosts that talk to a scheduler by the world's clock."""

    def __init__(self, world: World) -> None:
        self.world = world
        config = world.project.config
        config.daily_result_quota, config.max_wus_to_send, config.report_grace_period = 100000, 50, 0
        config.delete_delay_hours, config.resend_lost_results = 0, True
        execute(world.db, "UPDATE app_version SET plan_class = '', version_num = %s, xml_doc ="
                          " '<app_version>\n</app_version>\n'", wire.VERSION_NUM)
        execute(world.db, "DELETE FROM host")
        self.ids = [0] * HOSTS
        self.seqnos = [0] * HOSTS
        for n in range(HOSTS):
            execute(world.db, "INSERT INTO user (email_addr, name, authenticator, cross_project_id, passwd_hash,"
                              " create_time, expavg_time) VALUES (%s, %s, %s, %s, '', %s, %s)", f"f{n}@x.org",
                    f"f{n}", f"key{n:029}", f"{n:032}", T, T)
        self.scheduler = Scheduler(world.project, SqlRepository(world.db), keys=lambda: KEYS,
                                   wall=lambda: float(world.clock), clock=lambda: float(world.clock))

    def contact(self, host: int, wanted: int = 0, reports: Sequence[str] = (), held: Sequence[str] = ()) -> list[str]:
        """One request; names of the jobs that came."""
        if self.ids[host]:
            self.seqnos[host] += 1
        body = wire.request(f"key{host:029}", self.ids[host], self.seqnos[host], host, wanted,
                            [wire.Report(name, 0, 5, 100.0) for name in reports], held)
        reply = wire.answer(self.scheduler.handle(body, "192.0.2.1"))
        assert not reply.down, reply.text
        assert reply.acks == frozenset(reports)
        if reply.hostid:
            self.ids[host], self.seqnos[host] = reply.hostid, 0
        return [job.name for job in reply.jobs]

    def fetch_all(self, each: int) -> dict[str, int]:
        """Jobs by name with the host that has them."""
        return {name: host for host in range(HOSTS) for name in self.contact(host, each)}

    def report(self, jobs: dict[str, int]) -> None:
        """Upload and report these."""
        rows = {r["name"]: r for r in execute(self.world.db, "SELECT name, xml_doc_in FROM result")}
        by_host: dict[int, list[str]] = defaultdict(list)
        for name, host in jobs.items():
            by_host[host].append(name)
            path = output_files(self.world.project, rows[name]["xml_doc_in"])[0].path
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(b"output of " + name.rpartition("_")[0].encode())
        for host, names in by_host.items():
            self.contact(host, 0, names)


def add_jobs(world: World, first: int, count: int, at: int, **columns: Any) -> None:
    row: dict[str, Any] = {
        "appid": 7, "min_quorum": 2, "target_nresults": 2, "max_error_results": 3, "max_total_results": 8,
        "max_success_results": 4, "delay_bound": DELAY_BOUND, "size_class": -1, "create_time": T + at,
        "transition_time": T + at, "result_template_file": "templates/wu_out", "rsc_fpops_est": 1e12,
        "rsc_fpops_bound": 1e17, "rsc_memory_bound": 1e8, "rsc_disk_bound": 1e8,
        "xml_doc": "<workunit>\n</workunit>\n", **columns}
    cursor = world.db.raw().cursor()
    names = ", ".join(("id", "name", *row))
    cursor.executemany(f"INSERT INTO workunit ({names}) VALUES ({', '.join(['%s'] * (len(row) + 2))})",
                       [(n, f"job_{n}", *row.values()) for n in range(first, first + count)])
    cursor.close()
