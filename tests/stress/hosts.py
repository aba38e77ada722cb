"""Simulated hosts: what BOINC clients do, with the clock running faster, and a ledger of what they were told.

Rules of a real client that matter here (spec 01 sections 1.4, 1.5, 3.2 and 4.6): rpc_seqno grows with every request
begun and starts again with a new host id; after a failure, a lost or an incomplete reply the same reports are sent
again; ``other_results`` lists every job the host knows of, so that the server can send again what it lost; a report is
dropped when it is acknowledged and never before.
"""
from __future__ import annotations

import hashlib
import heapq
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.stress.wire import Answer, File, Refused, Report, SentJob, TransportError, answer, request

RUNNING, FINISHED, READY, HUNG = "running", "finished", "ready", "hung"
EXIT_ABORTED_BY_PROJECT = 202
_MAX_VIOLATIONS = 100


@dataclass(frozen=True, slots=True)
class Scenario:
    """How hosts behave. Shares are of results (0 to 1), times in seconds."""

    seed: int = 1
    error_share: float = 0.03
    wrong_share: float = 0.01
    late_share: float = 0.01
    never_share: float = 0.005
    lost_reply_share: float = 0.01
    """Of replies with jobs; others are lost less often."""
    doomed_every: int = 97
    """Every so many-th job fails on every host; 0: none."""
    jobs_held: int = 8
    runtime: tuple[float, float] = (0.2, 2.0)
    poll: float = 1.0
    pause: float = 0.05
    """Shortest time between two requests of a host."""
    first_backoff: float = 0.2
    max_backoff: float = 3.0
    max_delay: float = 2.0
    """Longest delay that hosts keep to, whatever the reply asks for: time runs faster here."""

    def fate(self, result: str, wu_name: str) -> str:
        """What becomes of a result; the same at each call."""
        if self.doomed(wu_name):
            return "error"
        draw = random.Random(f"{self.seed} {result}").random()
        for fate, share in (("error", self.error_share), ("wrong", self.wrong_share), ("late", self.late_share),
                            ("never", self.never_share)):
            if draw < share:
                return fate
            draw -= share
        return "right"

    def doomed(self, wu_name: str) -> bool:
        """Whether a job fails wherever it runs."""
        return bool(self.doomed_every) and job_number(wu_name) % self.doomed_every == 0


def job_number(wu_name: str) -> int:
    """The number at the end of a job's name."""
    return int(wu_name.rpartition("_")[2])


def right_output(wu_name: str, inputs: bytes) -> bytes:
    """The one right output of a job: 64 bytes to about 40 KB, so that some uploads ask for the size first."""
    digest = hashlib.sha256(wu_name.encode() + b"\0" + inputs).hexdigest().encode()
    return digest * (1 if digest[0] % 4 else 1 + int(digest[:4], 16) % 640)


class Ledger:
    """What the hosts saw, and everything that must not have happened. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.owner: dict[str, int] = {}
        self.acked: dict[str, str] = {}
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()

    def count(self, what: str, n: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self.counts[what] += n

    def violation(self, text: str) -> None:
        """Something that must never happen did."""
        with self._lock:
            self.counts["violations"] += 1
            if len(self.violations) < _MAX_VIOLATIONS:
                self.violations.append(text)

    def jobs_seen(self, host: int, jobs: tuple[SentJob, ...], known: set[str]) -> None:
        """Jobs in a reply to ``host``, which had listed or reported ``known`` in its request."""
        for job in jobs:
            with self._lock:
                again = job.name in self.owner
                owner = self.owner.setdefault(job.name, host)
                acked = job.name in self.acked
            if owner != host:
                self.violation(f"{job.name} was sent to host {owner} and to host {host}")
            elif job.name in known:
                self.violation(f"{job.name} was sent again to host {host}, which had just listed it")
            elif acked:
                self.violation(f"{job.name} was sent again to host {host} after its report was acknowledged")
            self.count("resent" if again else "sent")

    def ack(self, name: str, fate: str) -> None:
        """A report was acknowledged."""
        with self._lock:
            if name in self.acked:
                self.counts["acked twice"] += 1
            self.acked[name] = fate
            self.counts["acked"] += 1

    def merge(self, other: Ledger) -> None:
        """Add another process's ledger."""
        for name, host in other.owner.items():
            if self.owner.setdefault(name, host) != host:
                self.violation(f"{name} was sent to host {self.owner[name]} and to host {host}")
        self.acked.update(other.acked)
        self.violations += other.violations
        self.counts.update(other.counts)

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


@dataclass(slots=True)
class Task:
    """A job on a host; times are ``time.time()``."""

    job: SentJob
    fate: str
    begun: float
    until: float
    state: str = RUNNING
    exit_status: int = 0
    client_state: int = 5
    outputs: list[tuple[File, bytes]] = field(default_factory=list)
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Server:
    """How hosts reach a project; each may raise TransportError."""

    rpc: Callable[[bytes], bytes]
    fetch: Callable[[str], bytes]
    upload: Callable[[File, bytes], None]


class Host:
    """One simulated computer. ``number`` is unique in a run. Not thread-safe."""

    def __init__(self, number: int, key: str, server: Server, scenario: Scenario, ledger: Ledger) -> None:
        self.number, self.key, self.server, self.scenario, self.ledger = number, key, server, scenario, ledger
        self.rng = random.Random(f"{scenario.seed} host {number}")
        self.hostid = 0
        self.seqno = 0
        self.tasks: dict[str, Task] = {}
        self.failures = 0
        self.next_rpc = 0.0
        self.busy = False
        """It has something that the server will hear of."""

    def step(self, now: float, draining: bool) -> float:
        """Do what is due; when to come again (Unix seconds)."""
        for task in list(self.tasks.values()):
            if task.until <= now and task.state in (RUNNING, FINISHED):
                self._advance(task, now)
            elif task.state == HUNG and task.until <= now:
                del self.tasks[task.job.name]
                self.ledger.count("given up")
        if now >= self.next_rpc:
            ready = any(t.state == READY for t in self.tasks.values())
            wanted = 0 if draining else max(0, self.scenario.jobs_held - len(self.tasks))
            if ready or wanted:
                self._contact(wanted)
        self.busy = any(t.state != HUNG for t in self.tasks.values())
        waiting = [t.until for t in self.tasks.values() if t.state != READY]
        idle = draining and not any(t.state == READY for t in self.tasks.values())
        return min([*waiting, time.time() + self.scenario.poll if idle else self.next_rpc])

    # ---- computing and uploading
    def _advance(self, task: Task, now: float) -> None:
        try:
            if task.state == RUNNING:
                self._compute(task)
            for file, data in task.outputs:
                self.server.upload(file, data)
                self.ledger.count("uploads")
            task.state = READY
        except TransportError:
            self.ledger.count("transfers failed")
            task.tries += 1
            task.until = now + self._backoff(task.tries)
        except Refused as error:
            self.ledger.violation(f"upload of {task.job.name} was refused for good: {error}")
            task.state, task.exit_status, task.client_state, task.outputs = READY, -161, 3, []

    def _compute(self, task: Task) -> None:
        if task.fate == "error":
            task.exit_status, task.client_state = 1, 3
        else:
            given = b"".join(self.server.fetch(file.url) for file in task.job.inputs)
            data = right_output(task.job.wu_name, given)
            if task.fate == "wrong":
                data = b"wrong output of " + task.job.name.encode()
            task.outputs = [(file, data) for file in task.job.outputs]
        task.state = FINISHED

    def _backoff(self, tries: int) -> float:
        s = self.scenario
        return min(s.first_backoff * 2 ** min(tries, 10), s.max_backoff) * self.rng.uniform(0.5, 1)

    # ---- scheduler
    def _contact(self, wanted: int) -> None:
        reported = [t for t in self.tasks.values() if t.state == READY]
        others = [n for n, t in self.tasks.items() if t.state != READY]
        if self.hostid:
            self.seqno += 1
        now = time.time()
        reports = [Report(t.job.name, t.exit_status, t.client_state, max(0.01, now - t.begun)) for t in reported]
        body = request(self.key, self.hostid, self.seqno, self.number, wanted, reports, others)
        try:
            reply = answer(self.server.rpc(body))
            self.ledger.count("rpcs")
            self.ledger.jobs_seen(self.number, reply.jobs, set(self.tasks))
            if self.rng.random() < self.scenario.lost_reply_share * (1 if reply.jobs else 0.2):
                self.ledger.count("replies lost")
                raise TransportError("lost on the way")
            if reply.down:
                self.ledger.count("project is down")
                raise TransportError("project is down")
        except TransportError:
            self.ledger.count("rpcs failed")
            self.failures += 1
            self.next_rpc = time.time() + self._backoff(self.failures)
            return
        self.failures = 0
        self._take(reply, {t.job.name: t for t in reported}, wanted)

    def _take(self, reply: Answer, reported: dict[str, Task], wanted: int) -> None:
        now = time.time()
        if reply.hostid:
            if self.hostid and reply.hostid != self.hostid:
                self.ledger.violation(f"host {self.number} ({self.hostid}) became {reply.hostid}")
            self.hostid, self.seqno = reply.hostid, 0
        for name in reply.acks & reported.keys():
            self.ledger.ack(name, self._outcome(reported[name]))
            del self.tasks[name]
        for name in reply.aborts & self.tasks.keys():
            self._abort(self.tasks[name], now)
        for job in reply.jobs:
            self._begin(job, now)
        pause = min(reply.delay, self.scenario.max_delay)
        if wanted and not reply.jobs:
            pause = max(pause, self.scenario.poll * self.rng.uniform(0.5, 1.5))
        self.next_rpc = now + max(pause, self.scenario.pause)

    @staticmethod
    def _outcome(task: Task) -> str:
        return "success" if task.client_state == 5 and task.exit_status == 0 else "error"

    def _begin(self, job: SentJob, now: float) -> None:
        fate = self.scenario.fate(job.name, job.wu_name)
        until = now + self.rng.uniform(*self.scenario.runtime)
        task = Task(job, fate, now, until)
        if fate == "late":
            task.until = job.deadline + self.rng.uniform(1.5, 6)
        elif fate == "never":
            task.state, task.until = HUNG, job.deadline + self.rng.uniform(1.5, 6)
        self.tasks[job.name] = task

    def _abort(self, task: Task, now: float) -> None:
        self.ledger.count("aborted")
        task.state, task.exit_status, task.client_state = READY, EXIT_ABORTED_BY_PROJECT, 6
        task.until = now


class Crowd:
    """Hosts driven by some threads. ``mode``: a callable giving "run", "drain" or "stop"."""

    def __init__(self, hosts: list[Host], threads: int, mode: Callable[[], str]) -> None:
        self._lock = threading.Lock()
        self._number = itertools.count()
        self._mode = mode
        self.hosts = hosts
        self.errors: list[BaseException] = []
        start = time.time()
        self._heap = [(start + i * 0.002, next(self._number), host) for i, host in enumerate(hosts)]
        heapq.heapify(self._heap)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Until the mode is "stop"; raises what went wrong in a thread."""
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    @property
    def busy(self) -> int:
        """How many hosts hold jobs that they will report."""
        return sum(host.busy for host in self.hosts)

    def _work(self) -> None:
        while (mode := self._mode()) != "stop" and not self.errors:
            with self._lock:
                due, _, host = self._heap[0] if self._heap else (time.time() + 0.05, 0, None)
                if host is not None and due <= time.time():
                    heapq.heappop(self._heap)
                else:
                    host = None
            if host is None:
                time.sleep(min(0.02, max(0.001, due - time.time())))
                continue
            try:
                again = host.step(time.time(), mode == "drain")
            except BaseException as error:
                self.errors.append(error)
                return
            with self._lock:
                heapq.heappush(self._heap, (again, next(self._number), host))


def make_hosts(numbers: range, key_of: Callable[[int], str], server: Server, scenario: Scenario,
               ledger: Ledger) -> list[Host]:
    """Hosts with these numbers; ``key_of`` gives the account key of each."""
    return [Host(n, key_of(n), server, scenario, ledger) for n in numbers]

