"""Many schedulers and daemons on one database: no job sent twice, none lost, credit granted once."""
from __future__ import annotations

import json
import multiprocessing
import pickle
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from tests.stress.hosts import Crowd, Ledger, Scenario, make_hosts, right_output
from tests.stress.verdict import Verdict, judge
from tests.stress.world import HOSTS_PER_USER, World, add_app_and_users, add_jobs, execute, key_of_host

MODES = ("run", "drain", "stop")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """Size of a run; ``delay_bound`` in seconds; ``overlap``: copies of a daemon look at the same jobs."""

    jobs: int = 50000
    schedulers: int = 8
    transitioners: int = 2
    validators: int = 2
    assimilators: int = 2
    hosts: int = 400
    clients: int = 2
    threads: int = 6
    delay_bound: int = 120
    overlap: bool = False
    uploads: bool = False
    time_limit: float = 3600
    scenario: Scenario = field(default_factory=Scenario)


class Clients:
    """Processes that drive the hosts."""

    def __init__(self, world: World, url: str, plan: Plan) -> None:
        context = multiprocessing.get_context("fork")
        self._mode = context.Value("i", 0)
        self.busy = [context.Value("i", 0) for _ in range(plan.clients)]
        self._files = [world.root / f"ledger_{i}" for i in range(plan.clients)]
        self._processes = [context.Process(target=_client, args=(world, url, plan, i, self._mode, self.busy[i],
                                                                 self._files[i]), daemon=True)
                           for i in range(plan.clients)]
        for process in self._processes:
            process.start()

    def set(self, mode: str) -> None:
        """Tell all hosts."""
        self._mode.value = MODES.index(mode)

    def alive(self) -> bool:
        """Whether none of the processes has ended."""
        return all(process.is_alive() for process in self._processes)

    def stop(self) -> Ledger:
        """End them; what all hosts saw."""
        self.set("stop")
        whole = Ledger()
        for process, file in zip(self._processes, self._files, strict=True):
            process.join(200)
            if process.exitcode != 0:
                raise AssertionError(f"a client process ended with {process.exitcode}")
            whole.merge(pickle.loads(file.read_bytes()))
        return whole


def _client(world: World, url: str, plan: Plan, index: int, mode: Synchronized[int], busy: Synchronized[int],
            file: Path) -> None:
    ledger = Ledger()
    hosts = make_hosts(range(index, plan.hosts, plan.clients), key_of_host, world.server(url, plan.uploads),
                       plan.scenario, ledger)
    crowd = Crowd(hosts, plan.threads, lambda: MODES[mode.value])
    crowd.start()
    while mode.value < 2:
        busy.value = crowd.busy
        time.sleep(0.1)
    crowd.join()
    file.write_bytes(pickle.dumps(ledger))


def run(plan: Plan, say: Say = print, folder: Path | None = None) -> Verdict:
    """One whole run on the MariaDB of ``$BOINCDOCK_TEST_DB``."""
    with tempfile.TemporaryDirectory(prefix="bdstress_", dir=folder) as root, World(Path(root)) as world:
        began = time.monotonic()
        add_app_and_users(world.db, (plan.hosts + HOSTS_PER_USER - 1) // HOSTS_PER_USER)
        world.start_daemons(plan.transitioners, plan.validators, plan.assimilators, plan.overlap)
        clients = Clients(world, world.start_schedulers(plan.schedulers), plan)
        try:
            add_jobs(world.db, world.project, range(1, plan.jobs + 1), plan.delay_bound)
            say(f"{plan.jobs} jobs made after {time.monotonic() - began:.0f} s")
            faults = _until_quiet(world, clients, plan, say)
        finally:
            ledger = clients.stop()
        wall = time.monotonic() - began
        verdict = judge(ledger, world.facts(), plan.scenario, plan.jobs, lambda name: right_output(name, b""))
        verdict.faults[:0] = faults
        status, text = world.check()
        verdict.expect(status == 0, f"bin/check:\n{text}")
        verdict.figures.update(wall_seconds=round(wall, 1), check=text.strip().splitlines()[-1])
        verdict.figures.update(_rates(verdict, wall), **_complaints(world))
        return verdict


def _until_quiet(world: World, clients: Clients, plan: Plan, say: Say) -> list[str]:
    """All jobs assimilated; then the hosts report what they still hold; then files go and late ones time out. What
    did not happen in time, as faults."""
    said = time.monotonic()
    began = said

    def assimilated() -> bool:
        nonlocal said
        if not clients.alive():
            raise AssertionError("a client process has ended")
        if time.monotonic() - said > 15:
            said = time.monotonic()
            say(f"{said - began:6.0f} s  {json.dumps(world.pending())}")
        return world.pending()["unassimilated"] == 0

    rest = plan.delay_bound + 60
    try:
        world.wait("all jobs assimilated", assimilated, plan.time_limit)
        clients.set("drain")
        world.wait("all hosts have reported", lambda: sum(b.value for b in clients.busy) == 0, rest)
        world.wait("nothing left to do", world.quiet, rest)
    except AssertionError as error:
        return [str(error)]
    return []


def _rates(verdict: Verdict, wall: float) -> dict[str, float]:
    return {"jobs_per_second": round(verdict.figures["workunits"] / wall, 1),
            "rpcs_per_second": round(verdict.figures.get("rpcs", 0) / wall, 1)}


def _complaints(world: World) -> dict[str, Any]:
    """Lines of trouble in the logs, by program; and deadlocks seen by the server since it started."""
    found: dict[str, int] = {}
    for log in sorted(world.project.log_dir.glob("*.log")):
        lines = [line for line in log.read_text(errors="replace").splitlines() if "[CRITICAL]" in line]
        if lines:
            found[log.stem] = len(lines)
            found[f"{log.stem}, first"] = lines[0][:300]  # type: ignore[assignment]
    deadlocks = execute(world.db, "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
    return {"critical_lines": found, "server_deadlocks": deadlocks[0]["Value"] if deadlocks else None}
