"""Numbers for Prometheus (docs/metrics.md): results by state, queues with their age, daemons, tasks, RPCs, uploads.

``collect`` reads the database and the supervisors; ``Cache`` does so at most every ``ttl`` seconds, whoever asks;
``request_metrics`` sums what the web server's processes counted; ``render`` makes Prometheus's text format of it. All
queries use an index and touch only what is unfinished; the age of a queue is that of its first workunit or result.
"""
from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from boincdock import counters
from boincdock.config import Project
from boincdock.db import Connection
from boincdock.enums import FileDeleteState, ServerState
from boincdock.errors import DatabaseError
from boincdock.lifecycle import runstate

DEFAULT_TTL = 30.0


@dataclass(slots=True)
class Metric:
    """A gauge or counter and its samples: (labels, value)."""

    name: str
    help: str
    kind: str = "gauge"
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def add(self, value: float | None, **labels: str) -> None:
        """Add a sample; None is left out."""
        if value is not None:
            self.samples.append((labels, float(value)))


    def lines(self) -> Iterator[str]:
        """The samples in the text format."""
        for labels, value in self.samples:
            yield _line(self.name, labels, value)


@dataclass(slots=True)
class Histogram(Metric):
    """Durations by outcome; a sample's value is its sum in seconds, ``classes`` are the counts of its buckets (the
    last one without upper bound)."""

    kind: str = "histogram"
    bounds: tuple[float, ...] = ()
    classes: list[list[float]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The samples in the text format, which wants cumulated counts."""
        bounds = [f"{bound:g}" for bound in self.bounds] + ["+Inf"]
        for (labels, value), counts in zip(self.samples, self.classes, strict=True):
            totals = list(itertools.accumulate(counts))
            for bound, count in zip(bounds, totals, strict=True):
                yield _line(f"{self.name}_bucket", {**labels, "le": bound}, count)
            yield _line(f"{self.name}_sum", labels, value)
            yield _line(f"{self.name}_count", labels, totals[-1])


def collect(db: Connection, project: Project, now: float | None = None) -> list[Metric]:
    """All metrics of database and supervisors; the former raise ``DatabaseError`` if it cannot be reached."""
    moment = time.time() if now is None else now
    return [*database_metrics(db, moment), *daemon_metrics(project, moment)]


def database_metrics(db: Connection, now: float) -> list[Metric]:
    """Results by state, and the queues before each daemon."""
    apps = {int(r["id"]): str(r["name"]) for r in db.all("metrics.apps")}
    results = Metric("boinc_results", "Results that are not over, by app and server state")
    for row in db.all("metrics.results_by_state"):
        results.add(row["n"], app=apps.get(row["appid"], str(row["appid"])),
                    state=ServerState(row["server_state"]).name.lower())
    rows = Metric("boinc_table_rows", "Rows of a table as the database server estimates them")
    for row in db.all("metrics.table_rows"):
        rows.add(row["n"], table=row["name"])
    queue = Metric("boinc_queue_length", "Workunits, results or messages that wait for a daemon")
    age = Metric("boinc_queue_age_seconds", "How long the first of them has been waiting")
    _queues(db, now, apps, queue, age)
    return [results, rows, queue, age]


def _queues(db: Connection, now: float, apps: Mapping[int, str], queue: Metric, age: Metric) -> None:
    def waiting(daemon: str, n: int, since: Any, **labels: str) -> None:
        queue.add(n, queue=daemon, **labels)
        age.add(max(0.0, now - float(since)) if n and since is not None else 0.0, queue=daemon, **labels)

    due = db.one("metrics.transitions", now=int(now)) or {"n": 0, "oldest": None}
    waiting("transitioner", due["n"], due["oldest"])
    for appid, name in apps.items():
        for daemon, query in (("validator", "metrics.validation"), ("assimilator", "metrics.assimilation")):
            row = db.one(query, appid=appid) or {"n": 0, "first_id": None}
            since = db.value("metrics.workunit_age", id=row["first_id"]) if row["n"] else None
            waiting(daemon, row["n"], since, app=name)
        first = db.value("metrics.unsent", appid=appid)
        if first is not None:
            created = db.value("metrics.result_created", id=first)
            age.add(max(0.0, now - float(created or now)), queue="scheduler", app=name)
    for kind in ("workunit", "result"):
        found = {int(r["state"]): r for r in db.all(f"metrics.{kind}_files")}
        for state, daemon in ((FileDeleteState.READY, "file_deleter"), (FileDeleteState.ERROR, "file_deleter_errors")):
            row = found.get(int(state), {"n": 0, "first_id": None})
            since = db.value(f"metrics.{kind}_age", id=row["first_id"]) if row["n"] else None
            waiting(daemon, row["n"], since, of=kind)
    queue.add(db.value("metrics.messages"), queue="trickle_handlers")


def daemon_metrics(project: Project, now: float) -> list[Metric]:
    """What the supervisors report of daemons and tasks."""
    up = Metric("boinc_daemon_up", "1 if the daemon runs, 0 if it should and does not")
    beat = Metric("boinc_daemon_heartbeat_age_seconds", "Seconds since the daemon last showed headway")
    restarts = Metric("boinc_daemon_restarts_total", "How often the daemon was started again", "counter")
    supervisors = Metric("boinc_supervisors", "Supervisors at work")
    failed = Metric("boinc_task_failed", "1 if the periodic task's last run failed")
    ended = Metric("boinc_task_last_run_age_seconds", "Seconds since the periodic task last ran")
    took = Metric("boinc_task_last_duration_seconds", "How long its last run took")
    reports = list(runstate.live_reports(project))
    supervisors.add(len(reports))
    for number, report in enumerate(reports, 1):
        for row in report.get("daemons", []):
            labels = {"daemon": str(row["name"]), "slot": str(number)}
            if row.get("state") not in ("disabled", "elsewhere"):
                up.add(1.0 if row.get("running") else 0.0, **labels)
                beat.add(row.get("heartbeat_age"), **labels)
                restarts.add(row.get("restarts"), **labels)
        for row in report.get("tasks", []):
            labels = {"task": str(row["name"])}
            if row.get("last_run"):
                failed.add(1.0 if row.get("last_exit") else 0.0, **labels)
                ended.add(max(0.0, now - float(row["last_run"])), **labels)
                took.add(row.get("last_duration"), **labels)
    return [supervisors, up, beat, restarts, failed, ended, took]


def request_metrics(project: Project) -> list[Metric]:
    """Scheduler RPCs and uploads since the project began, over all processes, also dead ones."""
    folder = counters.directory_of(project.tmp_dir)
    found: list[Metric] = []
    for layout, name, what in (
        (counters.SCHEDULER, "boinc_scheduler", "scheduler RPC"), (counters.UPLOAD, "boinc_upload", "upload request"),
    ):
        values = counters.read(folder, layout)
        seconds = Histogram(f"{name}_request_seconds", f"Duration of a {what} by outcome", bounds=counters.BUCKETS)
        for number, outcome in enumerate(layout.outcomes):
            row = values[number * layout.width : (number + 1) * layout.width]
            seconds.add(row[-1], outcome=outcome)
            seconds.classes.append(row[:-1])
        found.append(seconds)
        for counter, value in zip(layout.numbers, values[len(layout.outcomes) * layout.width :], strict=True):
            total = Metric(f"{name}_{counter}_total", _NUMBERS[name, counter], "counter")
            total.add(value)
            found.append(total)
    return found


_NUMBERS = {
    ("boinc_scheduler", "jobs_sent"): "Jobs sent to volunteers, resent ones included",
    ("boinc_scheduler", "results_reported"): "Reports acknowledged, repeated ones included",
    ("boinc_scheduler", "bytes_received"): "Bytes of scheduler requests",
    ("boinc_upload", "bytes_received"): "Bytes received by the upload handler",
}


def page(project: Project, cache: Cache) -> str:
    """Everything in Prometheus's text format. Without database the rest still shows, and ``boinc_database_up`` 0."""
    up = Metric("boinc_database_up", "1 if the database answered")
    try:
        stored = cache.get()
        up.add(1)
    except DatabaseError:
        stored = daemon_metrics(project, time.time())
        up.add(0)
    return render([up, *stored, *request_metrics(project)])


class Cache:
    """Collects at most every ``ttl`` seconds; threads may share one. ``open_db`` gives a connection of its own
    for each collection, which is closed afterwards."""

    def __init__(self, project: Project, open_db: Callable[[], Connection], ttl: float = DEFAULT_TTL,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._project, self._open_db, self._ttl, self._clock = project, open_db, ttl, clock
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._metrics: list[Metric] = []

    def get(self) -> list[Metric]:
        """The metrics, not older than ``ttl``; ``DatabaseError`` if they cannot be read."""
        with self._lock:
            if self._clock() - self._at >= self._ttl:
                db = self._open_db()
                try:
                    self._metrics = collect(db, self._project)
                finally:
                    db.close()
                self._at = self._clock()
            return self._metrics


def render(metrics: Iterable[Metric]) -> str:
    """Prometheus's text format, version 0.0.4."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n")
        lines.extend(metric.lines())
    return "".join(lines)


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    inner = ",".join(f'{k}="{_label(v)}"' for k, v in sorted(labels.items()))
    return f"{name}{{{inner}}} {value:.15g}\n" if inner else f"{name} {value:.15g}\n"


def _label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
