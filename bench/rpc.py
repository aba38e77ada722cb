"""The benches of scheduler RPCs and uploads: ``rpc``, ``rpc-large``, ``realistic``, ``upload``.

Each runs the real images, fills the database, runs the load generator ``--runs`` times and gives one row: the
median, the range, latencies, and the CPU time of one request in each group of processes.
"""
from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

import fill
from stack import BenchError, Stack, say

Measurement = dict[str, Any]


def measure(stack: Stack, *arguments: str, what: str = "rpc") -> Measurement:
    """One run of the load generator with the processor time of everything meanwhile. BenchError if a reply was
    wrong or a job was sent twice."""
    process = subprocess.Popen(stack.loadgen(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stderr
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    said = []
    for line in process.stderr:
        if line.strip() == "MEASURE":
            before = stack.cpu()
        elif line.strip() == "DONE":
            after = stack.cpu()
        else:
            said.append(line)
    output = process.stdout.read()
    if process.wait() or not after:
        raise BenchError(f"the load generator found faults:\n{output[-3000:]}{''.join(said)}")
    found: Measurement = json.loads(output)
    n = max(1, found[what]["count"])
    cpu = {kind: 1000 * (after[kind] - before.get(kind, 0)) / n for kind in after}
    cpu["loadgen"] = 1000 * found["loadgen_cpu_seconds"] / n
    found["cpu_ms"] = {kind: round(ms, 3) for kind, ms in sorted(cpu.items()) if ms >= 0.002}
    found["cpu_ms"]["total"] = round(sum(cpu.values()), 3)
    one = found[what]
    say(f"  {one['per_second']:.0f}/s, p50 {one['p50_ms']:.1f} ms, p99 {one['p99_ms']:.1f} ms, CPU {found['cpu_ms']}")
    return found


def summary(name: str, runs: list[Measurement], what: str = "rpc") -> dict[str, Any]:
    """Medians over runs."""
    def median(key: str) -> float:
        return round(statistics.median(r[what][key] for r in runs), 1)

    rates = [r[what]["per_second"] for r in runs]
    kinds = sorted({kind for r in runs for kind in r["cpu_ms"]})
    return {
        "bench": name, "runs": len(runs), "per_second": round(statistics.median(rates), 1),
        "min": round(min(rates), 1), "max": round(max(rates), 1),
        "p50_ms": median("p50_ms"), "p99_ms": median("p99_ms"),
        "cpu_ms": {k: round(statistics.median(r["cpu_ms"].get(k, 0.0) for r in runs), 3) for k in kinds},
        "jobs_per_second": round(statistics.median(r["fetched_measured"] / r["seconds"] for r in runs), 1),
        "handed_out_twice": sum(r["handed_out_twice"] for r in runs),
    }


def row(found: dict[str, Any]) -> str:
    """A line of the table in README.md."""
    cpu = ", ".join(f"{kind} {ms:.2f}" for kind, ms in found["cpu_ms"].items() if kind != "total" and ms >= 0.005)
    return (f"| {found['bench']} | **{found['per_second']:.0f}/s** ({found['min']:.0f}-{found['max']:.0f}) "
            f"| {found['p50_ms']:.1f} / {found['p99_ms']:.1f} | {found['cpu_ms']['total']:.2f}: {cpu} |")


def rpc_runs(stack: Stack, hosts: Path, mode: str, options: Any) -> list[Measurement]:
    """``options.runs`` runs over the same jobs, made unsent again in between."""
    runs = []
    for number in range(options.runs):
        if number:
            fill.reset(stack)
        say(f"{mode}: run {number + 1} of {options.runs}")
        runs.append(measure(stack, "-mode", mode, "-hosts", str(hosts), "-c", str(options.connections), "-t",
                            str(options.seconds), "-warmup", "3"))
    return runs


def prepare(stack: Stack, unsent: int) -> Path:
    """Settings and rows that all RPC benches share. The hosts come again every other second and take hundreds of
    jobs a day, so the interval and the quota are switched off."""
    stack.set_config(min_sendwork_interval=0, daily_result_quota=0)
    hosts = fill.accounts(stack)
    fill.unsent(stack, unsent)
    return hosts


_FLOOR_SITE = """
WSGIScriptAlias "/{project}_floor/cgi" "{root}/floor_wsgi.py" process-group=scheduler application-group=%{{GLOBAL}}
<Directory "{root}">
<Files "floor_wsgi.py">
Require all granted
</Files>
</Directory>
"""


def add_floor(stack: Stack) -> None:
    """Serve floor_wsgi.py beside the scheduler, in the same processes."""
    root = stack.run_in("apache", "pwd").strip()
    program = (Path(__file__).parent / "floor_wsgi.py").read_bytes()
    site = _FLOOR_SITE.format(project=stack.project, root=root).encode()
    stack.run_in("apache", "sh", "-c", "cat > floor_wsgi.py", stdin=program)
    stack.run_in("apache", "sh", "-c", f"cat >> {stack.project}.httpd.conf", stdin=site)
    stack.restart("apache")


def bench_rpc(stack: Stack, options: Any) -> list[dict[str, Any]]:
    """One RPC = one job; 2,000 hosts, 30,000 unsent. In turns with the floor: what five statements cost."""
    hosts = prepare(stack, 30_000)
    add_floor(stack)
    runs: dict[str, list[Measurement]] = {stack.cgi: [], f"{stack.url_base}/{stack.project}_floor": []}
    for number in range(options.runs):
        for url, found in runs.items():
            fill.reset(stack)
            say(f"{url.rpartition('_')[2]}: run {number + 1} of {options.runs}")
            found.append(measure(stack, "-url", url, "-mode", "dispatch", "-hosts", str(hosts), "-c",
                                 str(options.connections), "-t", str(options.seconds), "-warmup", "3"))
    real, floor = runs.values()
    scheduler, least = (summary(name, found) for name, found in (
        ("one RPC = one job, 30,000 unsent", real), ("floor: five statements, nothing else", floor)))
    scheduler["share_of_floor"] = round(statistics.median(
        a["rpc"]["per_second"] / b["rpc"]["per_second"] for a, b in zip(real, floor, strict=True)), 2)
    return [scheduler, least]


def bench_large(stack: Stack, options: Any) -> list[dict[str, Any]]:
    """The same, then with 1,000,000 unsent and 10,000,000 finished results, on the same stack."""
    hosts = prepare(stack, 30_000)
    small = summary("one RPC = one job, 30,000 unsent", rpc_runs(stack, hosts, "dispatch", options))
    fill.reset(stack)
    fill.unsent(stack, 970_000, 1_000_030_001)
    fill.finished(stack, options.finished)
    large = summary(f"one RPC = one job, 1,000,000 unsent, {options.finished:,} finished results",
                    rpc_runs(stack, hosts, "dispatch", options))
    large["times_slower_than_small"] = round(small["per_second"] / large["per_second"], 3)
    return [small, large]


def bench_realistic(stack: Stack, options: Any) -> list[dict[str, Any]]:
    """One RPC = two reports, two jobs, two others listed, the host's row written; 2,000 hosts."""
    hosts = prepare(stack, 60_000)
    return [summary("realistic RPC: report 2, hold 2, fetch 2", rpc_runs(stack, hosts, "realistic", options))]


def bench_upload(stack: Stack, options: Any) -> list[dict[str, Any]]:
    """Uploads of 1,000 bytes with certificates, names checked in the database."""
    runs = []
    n = int(2500 * (options.seconds + 2))
    for number in range(options.runs):
        files = fill.upload_jobs(stack, n, 1 + number * n)
        say(f"upload: run {number + 1} of {options.runs}")
        runs.append(measure(stack, "-mode", "upload", "-files", str(files), "-c", str(options.connections), "-t",
                            str(options.seconds), "-warmup", "1", what="upload"))
    return [summary("upload, 1,000 bytes, certificate", runs, "upload")]
