"""``kill -9`` at random in a running stack: nothing lost, nothing credited twice, nothing stuck (issue 4)."""
from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.stress import wire
from tests.stress.hosts import Crowd, Ledger, Scenario, Server, job_number, make_hosts, right_output
from tests.stress.inside import input_data
from tests.stress.verdict import Verdict, judge
from tests.stress.world import APP, HOSTS_PER_USER, QUIET, key_of_host

Say = Callable[[str], None]
HERE = Path(__file__).parent
DELAY_BOUND = 3600
"""Far beyond the run: no job may have to wait for its deadline to be found again."""
QUIET_SECONDS = 180
NO_REPLY = 4
TARGETS = (("scheduler process", 12), ("upload process", 8), ("httpd child", 4), ("httpd", 3), ("transitioner", 5),
           ("sample_bitwise_validator", 7), ("results_assimilator", 5), ("file_deleter", 3), ("supervisor", 2),
           ("MariaDB", 6))


class Stack(Protocol):
    """A compose project that runs (tests/stack/stack_project.py)."""

    @property
    def url_base(self) -> str: ...
    @property
    def project(self) -> str: ...
    def container(self, service: str) -> str: ...


@dataclass(frozen=True)
class Plan:
    """Size of a run. ``runtime``: seconds that a job takes on a host."""

    kills: int = 50
    jobs: int = 5000
    hosts: int = 60
    threads: int = 12
    seed: int = 1
    runtime: tuple[float, float] = (1.0, 8.0)
    time_limit: float = 3600
    at_least: tuple[str, ...] = ("scheduler process", "upload process", "transitioner", "sample_bitwise_validator",
                                 "results_assimilator", "MariaDB")
    """Each of these is killed at least once."""

    @property
    def scenario(self) -> Scenario:
        """Hosts never late: whoever is late here was lost."""
        return Scenario(seed=self.seed, late_share=0, never_share=0, jobs_held=4, runtime=self.runtime,
                        lost_reply_share=0.005, first_backoff=0.3, max_backoff=5)

    def schedule(self) -> list[tuple[float, str]]:
        """(share of the work done, target) of each kill, in order."""
        rng = random.Random(self.seed)
        names, weights = zip(*TARGETS, strict=True)
        targets = [*self.at_least[:self.kills]]
        targets += rng.choices(names, weights, k=self.kills - len(targets))
        rng.shuffle(targets)
        return list(zip(sorted(rng.uniform(0.01, 0.93) for _ in targets), targets, strict=True))


def docker(*words: str, stdin: bytes = b"", timeout: float = 120) -> str:
    """Run docker; its output. CalledProcessError if it fails."""
    done = subprocess.run(["docker", *words], input=stdin, capture_output=True, check=True, timeout=timeout)
    return done.stdout.decode(errors="replace")


class Site:
    """The stack as the run sees and hurts it."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self.stack = stack
        self.rng = random.Random(f"victims {seed}")

    # ---- commands inside
    def run(self, service: str, *words: str, stdin: bytes = b"", timeout: float = 120) -> str:
        """Run a command in a service's container."""
        return docker("exec", "-i", self.stack.container(service), *words, stdin=stdin, timeout=timeout)

    def python(self, module: str, *words: str) -> str:
        """Run one of our modules in the apache container."""
        pack = io.BytesIO()
        with tarfile.open(fileobj=pack, mode="w") as archive:
            for path in sorted(HERE.glob("*.py")):
                archive.add(path, f"tests/stress/{path.name}")
        script = ("rm -rf /tmp/stress && mkdir /tmp/stress && tar -xf - -C /tmp/stress --no-same-owner &&"
                  ' PYTHONPATH="/tmp/stress:$PYTHONPATH" exec python3 -m "$@"')
        return self.run("apache", "sh", "-c", script, "sh", module, *words, stdin=pack.getvalue(), timeout=900)

    def pending(self) -> dict[str, int] | None:
        """What is left to do, or None while the database is away."""
        statement = " ".join(QUIET.split())
        try:
            text = docker("exec", "-u", "root", self.stack.container("mysql"), "mariadb", "--batch", self.stack.project,
                          "-e", statement, timeout=60)
        except (subprocess.SubprocessError, OSError):
            return None
        names, values = (line.split("\t") for line in text.strip().splitlines())
        return dict(zip(names, map(int, values), strict=True))

    # ---- victims
    def _processes(self, service: str) -> list[tuple[int, int, str]]:
        text = self.run(service, "ps", "-eo", "pid=,ppid=,args=")
        rows = [line.split(maxsplit=2) for line in text.splitlines()]
        return [(int(row[0]), int(row[1]), row[2]) for row in rows if len(row) == 3]

    def _victims(self, target: str) -> tuple[str, list[int]]:
        if target in ("scheduler process", "upload process"):
            mark = f"wsgi:{target.split()[0]}"
            return "apache", [pid for pid, _, args in self._processes("apache") if mark in args]
        if target.startswith("httpd"):
            found = {pid: parent for pid, parent, args in self._processes("apache")
                     if args.startswith("/usr/sbin/apache2") and "wsgi:" not in args}
            children = [pid for pid, parent in found.items() if parent in found]
            return "apache", children if target == "httpd child" else [p for p in found if p not in children]
        return "daemons", [pid for pid, _, args in self._processes("daemons")
                           if f"/bin/{target} " in args or f"_run {target} " in args]

    def kill(self, target: str) -> str:
        """Kill one process of this kind for good; what was killed, or '' if there is none just now."""
        if target in ("MariaDB", "supervisor"):
            return self._kill_container({"MariaDB": "mysql", "supervisor": "daemons"}[target])
        try:
            service, pids = self._victims(target)
            if not pids:
                return ""
            pid = self.rng.choice(sorted(pids))
            self.run(service, "kill", "-9", str(pid))
        except subprocess.CalledProcessError:
            return ""  # its container is just starting, or the process has ended
        return f"process {pid} in {service}"

    def _kill_container(self, service: str) -> str:
        """Kill the first process of a container; the engine's restart policy starts it again."""
        container = self.stack.container(service)
        pid = int(docker("inspect", "-f", "{{.State.Pid}}", container).strip())
        if not pid:
            return ""
        if os.geteuid() == 0:
            os.kill(pid, signal.SIGKILL)
        else:
            docker("kill", "--signal", "KILL", container)
            docker("start", container)
        return f"first process of {service}"


class Killer:
    """Carries out the schedule as the work goes on; a target that is not there just now is tried again."""

    def __init__(self, site: Site, plan: Plan, ledger: Ledger, say: Say) -> None:
        self.site, self.plan, self.ledger, self.say = site, plan, ledger, say
        self.left = plan.schedule()
        self.done: Counter[str] = Counter()
        self._rng = random.Random(f"pauses {plan.seed}")
        self._not_before = 0.0

    def tick(self) -> None:
        """Kill what is due."""
        share = self.ledger.counts["acked"] / (2 * self.plan.jobs)
        if not self.left or self.left[0][0] > share or time.monotonic() < self._not_before:
            return
        target = self.left[0][1]
        victim = self.site.kill(target)
        if victim:
            self.left.pop(0)
            self.done[target] += 1
            self.say(f"kill {sum(self.done.values()):2}: {target}, {victim}; {100 * share:.1f} % reported")
        self._not_before = time.monotonic() + self._rng.uniform(0.2, 2.0)


def attack(stack: Stack, plan: Plan, say: Say) -> Verdict:
    """The run on a healthy stack that has no app ``stress`` yet."""
    site = Site(stack, plan.seed)
    began = time.monotonic()
    site.python("tests.stress.inside", "setup", str(plan.jobs), str((plan.hosts + 1) // HOSTS_PER_USER),
                str(DELAY_BOUND))
    say(f"{plan.jobs} jobs made after {time.monotonic() - began:.0f} s; "
        f"{plan.kills} kills: {', '.join(target for _, target in plan.schedule())}")
    ledger, scenario = Ledger(), plan.scenario
    mode = ["run"]
    crowd = Crowd(make_hosts(range(plan.hosts), key_of_host, _server(stack), scenario, ledger), plan.threads,
                  lambda: mode[0])
    killer = Killer(site, plan, ledger, say)
    began = time.monotonic()
    crowd.start()
    try:
        faults = _until_quiet(site, killer, crowd, mode, plan, say)
    finally:
        mode[0] = "stop"
        crowd.join()
    wall = time.monotonic() - began
    facts = json.loads(site.python("tests.stress.facts", APP, "/results"))
    verdict = judge(ledger, facts, scenario, plan.jobs,
                    lambda name: right_output(name, input_data(job_number(name))), killed=True)
    verdict.faults[:0] = faults
    verdict.expect(sum(killer.done.values()) == plan.kills, f"{sum(killer.done.values())} kills of {plan.kills}")
    _deadlines(facts, verdict)
    _check(site, verdict)
    verdict.figures.update(seed=plan.seed, kills=dict(killer.done), wall_seconds=round(wall, 1))
    return verdict


def _server(stack: Stack) -> Server:
    return Server(rpc=lambda body: wire.post(f"{stack.url_base}/{stack.project}_cgi/cgi", body, 60),
                  fetch=lambda url: wire.get(url, 30), upload=lambda f, data: wire.upload(f.url, f, data, 30))


def _until_quiet(site: Site, killer: Killer, crowd: Crowd, mode: list[str], plan: Plan, say: Say) -> list[str]:
    """Kill and wait; what is still to do when time is up, as faults."""
    end = time.monotonic() + plan.time_limit
    said = progress = time.monotonic()
    before: Any = None
    while True:
        killer.tick()
        pending = site.pending() if not killer.left or time.monotonic() - said > 15 else None
        state = (pending, killer.ledger.counts["acked"])
        if pending is not None and state != before:
            before, progress = state, time.monotonic()
        if pending and time.monotonic() - said > 15:
            said = time.monotonic()
            say(json.dumps({**pending, "reported": killer.ledger.counts["acked"]}))
        if pending and not killer.left and not pending["unassimilated"]:
            mode[0] = "drain"
            if not crowd.busy and not any(pending.values()):
                return []
        if crowd.errors:
            return [f"a simulated host broke: {crowd.errors[0]!r}"]
        if time.monotonic() > end or time.monotonic() - progress > QUIET_SECONDS:
            return [f"stuck: {pending}, {crowd.busy} hosts with jobs to report, {len(killer.left)} kills left"]
        time.sleep(0.1 if killer.left else 0.5)


def _deadlines(facts: Mapping[str, Any], verdict: Verdict) -> None:
    """No lost job waited for its deadline. The scheduler may have given up at once, by an earlier deadline, on one
    whose workunit was settled before its host asked again (spec 01 section 5.7)."""
    rows = [dict(zip(facts["result_columns"], row, strict=True)) for row in facts["results"]]
    no_reply = [r for r in rows if r["outcome"] == NO_REPLY]
    verdict.none_of([r["name"] for r in no_reply if r["report_deadline"] >= r["sent_time"] + DELAY_BOUND],
                    "found again only by the deadline")
    verdict.figures["given up when lost"] = len(no_reply)


def _check(site: Site, verdict: Verdict) -> None:
    try:
        text = site.run("apache", "bin/check", "--all", "--grace", "5")
    except subprocess.CalledProcessError as error:
        text = error.stdout.decode()
        verdict.faults.append(f"bin/check:\n{text}{error.stderr.decode()}")
    verdict.figures["check"] = text.strip().splitlines()[-1] if text.strip() else ""


@contextlib.contextmanager
def own_stack(say: Say, keep: bool) -> Iterator[Stack]:
    """A healthy project of the run's own (images ``$VERSION$TAG``), wiped at the end."""
    from tests.stack.stack_project import new_project

    tags = {name: os.environ[name] for name in ("VERSION", "TAG") if os.environ.get(name)}
    project = new_project("crash", **tags)
    say(f"starting compose project {project.name} on {project.url_base}")
    try:
        project.up()
        yield project
    finally:
        if not keep:
            project.wipe()


def run(plan: Plan, say: Say = print, keep: bool = False) -> Verdict:
    """A whole run in a stack of its own, of the images as they are built."""
    with own_stack(say, keep) as stack:
        return attack(stack, plan, say)
