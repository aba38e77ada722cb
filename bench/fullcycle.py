"""The bench ``fullcycle``: jobs are made, sent, uploaded, reported, validated, assimilated, deleted and purged, all at
once and for minutes, next to millions of finished rows.

The real containers: Apache with scheduler and upload handler, MariaDB with durable commits, and the daemons under their
supervisor. Volunteers are the load generator's (2,000 hosts; each takes 2 jobs, uploads an output file of 1,000
bytes for each with its certificate, and reports with its next request). One call of create_work --stdin makes jobs
as long as fewer than ``BACKLOG`` wait and fewer than ``PRESENT`` are in the database at all, so that in the long run no
more is made than is purged. At the end everything must drain, the upload folder be empty and bin/check find nothing.
"""
from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import fill
import lifecycle
from stack import BenchError, Stack, say

BACKLOG = 4_000
PRESENT = 16_000
CHUNK = 1_000
POLL = 2.0
WARMUP = 60
"""Seconds until the first hosts have reported and the last daemon has work."""
DRAIN_SECONDS = 300

_DAEMONS = ("feeder", "transitioner", "sample_bitwise_validator --app bench", "sample_dummy_assimilator --app bench",
            "file_deleter", "db_purge")

_CONFIG = r"""
import json, os, pathlib, re, sys
path = pathlib.Path(os.environ["PROJECT_ROOT"], "config.xml")
text = path.read_text()
entries = "".join(f"<daemon><cmd>{c}</cmd></daemon>" for c in json.loads(sys.argv[1]))
text = re.sub(r"<daemons>.*</daemons>", f"<daemons>{entries}</daemons>", text, flags=re.S)
path.write_text(re.sub(r"<tasks>.*</tasks>", "<tasks></tasks>", text, flags=re.S))
"""

# Everything that waits, by indexes; the finished rows of the preload are told by their name's place: their ids.
_QUEUES = """
SELECT (SELECT COUNT(*) FROM workunit WHERE id > {base}),
    (SELECT COUNT(*) FROM result WHERE server_state = 2),
    (SELECT COUNT(*) FROM result WHERE server_state = 4),
    (SELECT COUNT(*) FROM workunit WHERE transition_time <= UNIX_TIMESTAMP()),
    (SELECT COUNT(*) FROM workunit w JOIN app a ON a.id = w.appid WHERE a.name = 'bench' AND w.need_validate = 1),
    (SELECT COUNT(*) FROM workunit w JOIN app a ON a.id = w.appid WHERE a.name = 'bench' AND w.assimilate_state = 1),
    (SELECT COUNT(*) FROM result WHERE file_delete_state = 1),
    (SELECT COUNT(*) FROM workunit WHERE file_delete_state = 2),
    (SELECT COALESCE(MAX(id), 0) FROM workunit)
"""
_NAMES = ("present", "unsent", "in progress", "to transition", "to validate", "to assimilate", "files to delete",
          "to purge", "top")
_SHOWN = _NAMES[:-1]


class Creator(threading.Thread):
    """Keeps jobs coming through one create_work, which reads lines as they are written."""

    def __init__(self, stack: Stack, base: int) -> None:
        super().__init__(daemon=True)
        self.stack, self.base = stack, base
        self.written = 0
        self.top = base
        self.error = ""
        self.stop = threading.Event()
        command = ["docker", "exec", "-i", stack.container("apache"),
                   "bin/create_work", "--appname", "bench", "--stdin"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)

    def look(self) -> dict[str, int]:
        """The queues now."""
        found = queues(self.stack, self.base)
        self.top = max(self.top, found["top"])
        return found

    def made(self) -> int:
        """Jobs made so far; ids are given without gaps."""
        return self.top - self.base

    def run(self) -> None:
        """Write lines while jobs are wanted."""
        assert self._process.stdin and self._process.stdout
        try:
            while not self.stop.is_set():
                found = self.look()
                # What was written but is not in the database yet counts as waiting.
                on_its_way = self.written - self.made()
                wanted = min(BACKLOG - found["unsent"], PRESENT - found["present"]) - on_its_way
                for _ in range(max(0, min(4, wanted // CHUNK))):
                    lines = "".join(f"--command_line {self.written + i} {lifecycle.INPUT}\n" for i in range(CHUNK))
                    self._process.stdin.write(lines.encode())
                    self._process.stdin.flush()
                    self.written += CHUNK
                self.stop.wait(POLL)
            self._process.stdin.close()
            said = self._process.stdout.read().decode(errors="replace")
            if self._process.wait():
                self.error = said
        except (OSError, BenchError) as error:
            self.error = f"{error}"


def queues(stack: Stack, base: int) -> dict[str, int]:
    """How much waits for what."""
    return dict(zip(_NAMES, (int(n) for n in stack.sql(_QUEUES.format(base=base))[0]), strict=True))


def _volunteers(stack: Stack, hosts: Path, *arguments: str) -> subprocess.Popen[str]:
    command = stack.loadgen("-mode", "volunteer", "-hosts", str(hosts), "-fetch", "2", "-think", "5s", *arguments)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, said = process.communicate()
    if process.returncode:
        raise BenchError(f"the load generator found faults:\n{out[-3000:]}{said[-2000:]}")
    found: dict[str, Any] = json.loads(out)
    return found


def prepare(stack: Stack, options: Any) -> tuple[Path, int]:
    """Hosts and the highest id of the preloaded workunits; the daemons run."""
    stack.set_config(min_sendwork_interval=0, daily_result_quota=0, delete_delay_hours=0)
    hosts = lifecycle.prepare(stack)
    if options.preload:
        fill.finished(stack, options.preload, kept=True)
        stack.sql("UPDATE host SET total_credit = 1e7; UPDATE user SET total_credit = 1e9;")
    base = int(stack.sql("SELECT COALESCE(MAX(id), 0) FROM workunit")[0][0])
    commands = [f"{name} -d 3 --sleep_interval 1" for name in _DAEMONS]
    stack.python(_CONFIG, json.dumps(commands))
    deadline = time.monotonic() + 120
    while not all(any(name.split()[0] in kind for kind in stack.cpu()) for name in _DAEMONS):
        if time.monotonic() > deadline:
            raise BenchError(f"the daemons do not start: {stack.run_in('daemons', 'bin/status')}")
        time.sleep(1)
    return hosts, base


def bench_fullcycle(stack: Stack, options: Any) -> list[dict[str, Any]]:
    """One long run; ``options.minutes``."""
    hosts, base = prepare(stack, options)
    creator = Creator(stack, base)
    creator.start()
    deadline = time.monotonic() + DRAIN_SECONDS
    while queues(stack, base)["unsent"] < BACKLOG // 2:
        if creator.error or time.monotonic() > deadline:
            raise BenchError(f"create_work: {creator.error or 'no jobs get ready to send'}")
        time.sleep(POLL)
    seconds = options.minutes * 60
    volunteers = _volunteers(stack, hosts, "-c", str(options.connections), "-t", str(seconds), "-warmup", str(WARMUP))
    try:
        samples = _watch(stack, base, creator, volunteers, seconds)
        creator.stop.set()
        creator.join(60)
        load = _outcome(volunteers)
    finally:
        creator.stop.set()
        if volunteers.poll() is None:
            volunteers.kill()
    if creator.error:
        raise BenchError(f"create_work: {creator.error}")
    rest = _drain(stack, base, hosts)
    checked = check(stack)
    return [_found(options, samples, load, creator.made(), rest, checked)]


def _watch(stack: Stack, base: int, creator: Creator, volunteers: subprocess.Popen[str],
           seconds: float) -> list[dict[str, Any]]:
    """Samples every 30 s from MEASURE to DONE."""
    assert volunteers.stderr
    for line in volunteers.stderr:
        if line.strip() == "MEASURE":
            break
    else:
        raise BenchError("the load generator ended early")
    began = time.monotonic()
    samples: list[dict[str, Any]] = []
    while True:
        found = creator.look()
        samples.append({"at": time.monotonic() - began, "purged": creator.made() - found["present"],
                        "cpu": stack.cpu(), **found})
        rate = ""
        if len(samples) > 1:
            last, now = samples[-2:]
            rate = f", {(now['purged'] - last['purged']) / (now['at'] - last['at']):.0f} purged/s"
        say(f"{samples[-1]['at']:4.0f} s: " + ", ".join(f"{found[name]} {name}" for name in _SHOWN) + rate)
        left = seconds - (time.monotonic() - began)
        if left < 1 or creator.error or volunteers.poll() is not None:
            return samples
        time.sleep(min(30, left))


def _drain(stack: Stack, base: int, hosts: Path) -> float:
    """Volunteers take what is left; then all queues run empty. The seconds that this took."""
    began = time.monotonic()
    while time.monotonic() - began < DRAIN_SECONDS:
        found = queues(stack, base)
        if not found["present"]:
            return time.monotonic() - began
        if found["unsent"]:
            _outcome(_volunteers(stack, hosts, "-c", "4", "-jobs", str(found["unsent"]), "-t", "120", "-warmup", "0"))
        time.sleep(1)
    raise BenchError(f"not drained after {DRAIN_SECONDS} s: {queues(stack, base)}")


def check(stack: Stack) -> str:
    """BenchError unless bin/check is content and no upload is left; what was checked, in words."""
    found = json.loads(stack.run_in("apache", "sh", "-c", "bin/check --json || true", timeout=3600))
    broken = [rule for rule in found["rules"] if rule["offences"]]
    if broken:
        raise BenchError(f"bin/check: {json.dumps(broken)[:3000]}")
    left = stack.run_in("apache", "sh", "-c", 'find "$PROJECT_ROOT/upload" -type f | wc -l').strip()
    if left != "0":
        raise BenchError(f"{left} files are left in the upload folder")
    return f"{len(found['rules'])} rules clean, no upload left"


def _found(options: Any, samples: list[dict[str, Any]], load: dict[str, Any], made: int, drained: float,
           checked: str) -> dict[str, Any]:
    first, last = samples[0], samples[-1]
    took = last["at"] - first["at"]
    purged = last["purged"] - first["purged"]
    steps = [(b["purged"] - a["purged"]) / (b["at"] - a["at"]) for a, b in itertools.pairwise(samples)
             if b["at"] - a["at"] > 5]
    cpu = {kind: round(1e6 * (used - first["cpu"].get(kind, 0)) / max(1, purged), 1) for kind, used in
           sorted(last["cpu"].items())}
    cpu["loadgen"] = round(1e6 * load["loadgen_cpu_seconds"] / max(1, purged), 1)
    return {
        "bench": f"full cycle, {options.minutes:g} min, {options.preload:,} results preloaded",
        "seconds": round(took, 1),
        "per_second": round(purged / took, 1), "min": round(min(steps, default=0), 1),
        "max": round(max(steps, default=0), 1), "median": round(statistics.median(steps), 1) if steps else 0,
        "fetched_per_second": round(load["fetched_measured"] / load["seconds"], 1),
        "reported_per_second": round(load["reported_measured"] / load["seconds"], 1), "made": made,
        "handed_out_twice": load["handed_out_twice"], "rpc_p99_ms": load["rpc"]["p99_ms"],
        "upload_p99_ms": load["upload"]["p99_ms"], "drained_seconds": round(drained, 1), "checked": checked,
        "queues": [{name: s[name] for name in _SHOWN} for s in samples],
        "cpu_us": {kind: us for kind, us in cpu.items() if us >= 1},
    }


def row(found: dict[str, Any]) -> str:
    """A line of the table in README.md."""
    cpu = ", ".join(f"{kind} {us:.0f}" for kind, us in found["cpu_us"].items())
    return (f"| {found['bench']} | **{found['per_second']:.0f} tasks/s** purged"
            f" ({found['min']:.0f}-{found['max']:.0f} in 30 s),"
            f" {found['fetched_per_second']:.0f}/s sent; drained in {found['drained_seconds']:.0f} s,"
            f" {found['checked']} | {cpu} |")
