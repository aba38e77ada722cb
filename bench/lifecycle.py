"""The benches of what happens to jobs without volunteers: ``create``, ``transitioner``, ``daemons``.

Jobs are made by the project's own create_work and go through the project's own daemons. What volunteers would do
(take, compute, upload, report) is written into the database and the upload folder, so that each daemon can be measured
alone. Every daemon process is started, made ready (modules loaded, connected), and begins at a common signal; the
rate is the number of workunits by the time until the last process is idle. Commits are durable.
"""
from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fill
from stack import BenchError, Stack, say

Measurement = dict[str, Any]

INPUT = "bench_input"
OUTPUT_BYTES = 100
TEMPLATES = {
    # The input is shared by all jobs, so it must survive them.
    "bench_in": """<input_template>
<file_info><no_delete/></file_info>
<workunit><file_ref><open_name>in</open_name></file_ref>
<rsc_fpops_est>1e13</rsc_fpops_est><rsc_fpops_bound>1e16</rsc_fpops_bound><rsc_memory_bound>1e8</rsc_memory_bound>
<rsc_disk_bound>1e8</rsc_disk_bound><delay_bound>604800</delay_bound>
<max_error_results>3</max_error_results><max_total_results>10</max_total_results>
<max_success_results>6</max_success_results></workunit>
</input_template>
""",
    "bench_out": """<output_template>
<file_info><name><OUTFILE_0/></name><generated_locally/><upload_when_present/><max_nbytes>65536</max_nbytes>
<url><UPLOAD_URL/></url></file_info>
<result><file_ref><file_name><OUTFILE_0/></file_name><open_name>out</open_name></file_ref></result>
</output_template>
""",
}

# Runs inside a container. Starts the processes, waits until all are ready, says "go", prints time and CPU.
_RUNNER = r"""
import json, os, subprocess, sys, tempfile, time
CHILD = '''
import importlib, json, os, sys, time
import boincdock.lifecycle.daemon as frame
real = frame.Daemon.run
def run(self):
    self.db.raw()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic(), time.process_time()
    status = real(self)
    print(json.dumps({"seconds": time.monotonic() - began[0], "cpu": time.process_time() - began[1]}), flush=True)
    return status
frame.Daemon.run = run
sys.exit(importlib.import_module("boincdock.bin." + sys.argv[1]).main(sys.argv[2:]))
'''
commands = json.loads(sys.argv[1])
log = tempfile.TemporaryFile()
children = [subprocess.Popen([sys.executable, "-c", CHILD, *c], stdin=-1, stdout=-1, stderr=log,
                             cwd=os.environ["PROJECT_ROOT"]) for c in commands]
try:
    for child in children:
        if child.stdout.readline().strip() != b"ready":
            log.seek(0)
            sys.exit(log.read()[-3000:].decode(errors="replace"))
    began = time.monotonic()
    for child in children:
        child.stdin.write(b"go\n")
        child.stdin.flush()
    found = [json.loads(child.stdout.readline() or b"{}") for child in children]
    seconds = time.monotonic() - began
    if any(child.wait() for child in children):
        log.seek(0)
        sys.exit(log.read()[-3000:].decode(errors="replace"))
finally:
    for child in children:
        if child.poll() is None:
            child.kill()
print(json.dumps({"seconds": seconds, "cpu": sum(f["cpu"] for f in found)}))
"""

_CREATE = r"""
import json, os, resource, subprocess, sys, time
lines = ("".join(f"--command_line {i} %s\n" % sys.argv[2] for i in range(int(sys.argv[1])))).encode()
began = time.monotonic()
command = [sys.executable, "-m", "boincdock.bin.create_work", "--appname", "bench", "--stdin", *sys.argv[3:]]
done = subprocess.run(command, input=lines, capture_output=True, cwd=os.environ["PROJECT_ROOT"])
seconds = time.monotonic() - began
if done.returncode:
    sys.exit(done.stderr.decode(errors="replace"))
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime}))
"""

_FILES = r"""
import os, sys
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.files.hierarchy import upload_path
project = load_project()
cursor = connect(project.config).raw().cursor()
cursor.execute("SELECT xml_doc_in AS d, workunitid AS w FROM result")
made = set()
for row in cursor.fetchall():
    name = row["d"].decode().split("<name>", 1)[1].split("</name>", 1)[0]
    path = str(upload_path(project, name))
    folder = os.path.dirname(path)
    if folder not in made:
        os.makedirs(folder, exist_ok=True)
        made.add(folder)
    with open(path, "wb") as file:
        file.write((b"%d " % row["w"] * int(sys.argv[1]))[:int(sys.argv[1])])
"""

# What the reports of the volunteers would have written: host 100001 + n of the n-th result, two hosts to a workunit.
_REPORT = """
UPDATE result r JOIN app_version v ON v.appid = r.appid SET r.server_state = 5, r.outcome = 1, r.client_state = 5,
    r.hostid = 100001 + r.id MOD 2000, r.userid = 100001 + (r.id MOD 2000) MOD 1000,
    r.sent_time = UNIX_TIMESTAMP() - 3600, r.received_time = UNIX_TIMESTAMP() - 60 - r.id MOD 600,
    r.report_deadline = UNIX_TIMESTAMP() + 600000, r.elapsed_time = 2000 + r.id MOD 100, r.cpu_time = 1990,
    r.flops_estimate = 5e9, r.app_version_id = v.id, r.app_version_num = 100, r.stderr_out = 'done'
    WHERE r.server_state = 2;
INSERT IGNORE INTO host_app_version (host_id, app_version_id)
    SELECT h.id, v.id FROM host h JOIN app_version v JOIN app a ON a.id = v.appid
    WHERE h.id > 100000 AND a.name = 'bench';
UPDATE workunit SET transition_time = UNIX_TIMESTAMP() - 1;
"""


def prepare(stack: Stack) -> Path:
    """The application with its templates, input file, accounts and hosts; the file of the hosts."""
    hosts = fill.accounts(stack)
    code = ("import json, os, pathlib, sys\n"
            "folder = pathlib.Path(os.environ['PROJECT_ROOT'], 'templates')\n"
            "for name, text in json.loads(sys.argv[1]).items(): (folder / name).write_text(text)\n")
    stack.python(code, json.dumps(TEMPLATES))
    stack.run_in("apache", "sh", "-c", f"echo input > /tmp/{INPUT} && bin/stage_file --copy /tmp/{INPUT}")
    return hosts


def create(stack: Stack, n: int, *arguments: str) -> Measurement:
    """``n`` jobs by one call of create_work --stdin, start of the program included."""
    before = stack.cpu()
    found: Measurement = json.loads(stack.python(_CREATE, str(n), INPUT, *arguments).splitlines()[-1])
    found["server_cpu"] = stack.cpu()["mariadbd"] - before["mariadbd"]
    return found


def daemons(stack: Stack, program: str, *arguments: str, copies: int = 2) -> Measurement:
    """Run ``copies`` of a daemon (by --mod) over all that is there."""
    commands = [[program, "--one_pass", *(["--mod", str(copies), str(i)] if copies > 1 else []), *arguments]
                for i in range(copies)]
    before = stack.cpu()
    found: Measurement = json.loads(stack.python(_RUNNER, json.dumps(commands)).splitlines()[-1])
    found["server_cpu"] = stack.cpu()["mariadbd"] - before["mariadbd"]
    return found


def expect(stack: Stack, what: str, query: str, wanted: int) -> None:
    """BenchError unless the query's number is ``wanted``: a bench that did less than it says is none."""
    found = int(stack.sql(query)[0][0])
    if found != wanted:
        raise BenchError(f"{what}: {found} instead of {wanted}")


def empty(stack: Stack) -> None:
    """No jobs, no uploads."""
    stack.sql("TRUNCATE workunit; TRUNCATE result; TRUNCATE host_app_version;")
    stack.python("import pathlib, shutil\nfrom boincdock.config import load_project\n"
                 "root = pathlib.Path(load_project().upload_dir)\n"
                 "for folder in root.iterdir():\n    shutil.rmtree(folder) if folder.is_dir() else folder.unlink()\n")


def summary(name: str, n: int, runs: list[Measurement]) -> dict[str, Any]:
    """Medians of runs over ``n`` units each."""
    rates = [n / r["seconds"] for r in runs]
    return {"bench": name, "units": n, "runs": len(runs), "per_second": round(statistics.median(rates), 1),
            "min": round(min(rates), 1), "max": round(max(rates), 1),
            "cpu_us": {"python": round(statistics.median(1e6 * r["cpu"] / n for r in runs), 1),
                       "mariadbd": round(statistics.median(1e6 * r["server_cpu"] / n for r in runs), 1)}}


def row(found: dict[str, Any]) -> str:
    """A line of the table in README.md."""
    cpu = ", ".join(f"{kind} {us:.0f}" for kind, us in found["cpu_us"].items())
    return f"| {found['bench']} | **{found['per_second']:.0f}/s** ({found['min']:.0f}-{found['max']:.0f}) | {cpu} |"


def repeat(options: Any, what: str, once: Callable[[], Measurement]) -> list[Measurement]:
    """``options.runs`` runs, told about."""
    found = []
    for number in range(options.runs):
        found.append(once())
        say(f"{what}: run {number + 1} of {options.runs}: {found[-1]}")
    return found


def bench_create(stack: Stack, options: Any) -> list[dict[str, Any]]:
    """create_work --stdin with 30,000 lines."""
    prepare(stack)
    n = options.units or 30_000

    def once() -> Measurement:
        empty(stack)
        found = create(stack, n)
        expect(stack, "jobs made", "SELECT COUNT(*) FROM workunit", n)
        return found

    return [summary(f"create_work --stdin, {n:,} lines", n, repeat(options, "create", once))]


def bench_transitioner(stack: Stack, options: Any) -> list[dict[str, Any]]:
    """New workunits to results, with and without upload certificates."""
    prepare(stack)
    n = options.units or 20_000

    def once() -> Measurement:
        empty(stack)
        create(stack, n)
        stack.sql("UPDATE workunit SET transition_time = transition_time - 2")
        found = daemons(stack, "transitioner", copies=options.copies)
        expect(stack, "results made", "SELECT COUNT(*) FROM result WHERE server_state = 2", n)
        return found

    rows = [summary(f"transitioner, {n:,} new workunits, {options.copies} processes", n,
                    repeat(options, "transitioner", once))]
    stack.set_config(dont_generate_upload_certificates=1)
    rows.append(summary("the same without upload certificates", n, repeat(options, "unsigned", once)))
    return rows


STEPS: tuple[tuple[str, tuple[str, ...], str, str], ...] = (
    # program, arguments, what is counted, how many for each workunit
    ("transitioner", (), "SELECT COUNT(*) FROM workunit WHERE need_validate = 1", "after reports"),
    ("sample_bitwise_validator", ("--app", "bench"), "SELECT COUNT(*) FROM workunit WHERE canonical_resultid > 0", ""),
    ("sample_dummy_assimilator", ("--app", "bench"), "SELECT COUNT(*) FROM workunit WHERE assimilate_state = 2", ""),
    ("transitioner", (), "SELECT COUNT(*) FROM workunit WHERE file_delete_state = 1", "files to delete"),
    ("file_deleter", (), "SELECT COUNT(*) FROM workunit WHERE file_delete_state = 2", ""),
    ("db_purge", (), "SELECT {n} - COUNT(*) FROM workunit", ""),
)


def bench_daemons(stack: Stack, options: Any) -> list[dict[str, Any]]:
    """Every daemon over workunits with two results each."""
    prepare(stack)
    stack.set_config(delete_delay_hours=0)
    n = options.units or 10_000
    runs: dict[str, list[Measurement]] = {}
    for number in range(options.runs):
        say(f"daemons: run {number + 1} of {options.runs}")
        empty(stack)
        create(stack, n, "--min_quorum", "2", "--target_nresults", "2")
        stack.sql("UPDATE workunit SET transition_time = transition_time - 2")
        steps = [("transitioner", (), "SELECT COUNT(*) DIV 2 FROM result", "two results each"), *STEPS]
        for program, arguments, count, note in steps:
            name = f"{program}{', ' + note if note else ''}"
            found = daemons(stack, program, *arguments, copies=options.copies)
            say(f"  {name}: {n / found['seconds']:.0f}/s, {found}")
            expect(stack, name, count.format(n=n), n)
            runs.setdefault(name, []).append(found)
            if note == "two results each":
                stack.python(_FILES, str(OUTPUT_BYTES))
                stack.sql(_REPORT)
            elif program == "sample_dummy_assimilator":
                stack.sql("UPDATE workunit SET transition_time = LEAST(transition_time, UNIX_TIMESTAMP() - 1)")
        expect(stack, "credit", "SELECT COUNT(*) FROM result", 0)
    return [summary(f"{name}, {options.copies} processes", n, found) for name, found in runs.items()]

