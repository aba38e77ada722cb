"""query_jobs [--json] [--app A] [--state S] [--limit N] [--batch B] [NAME…]: what has become of jobs.

Without NAMEs the newest jobs (default 20). States: unsent, in_progress, validating, assimilating, done, error.
With NAMEs also results, output files and the end of standard error. --limit 0 --json gives the counts only.
--name NAME is the same as NAME; --names_from - reads more names from standard input, one on a line. --batch B: all jobs
of the batch with this number or name. Exit status 1 if a named job does not exist.
"""
from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.errors import InputError
from boincdock.jobs.bulk import find_batch
from boincdock.jobs.query import JobQuery


def main(argv: list[str]) -> int:
    """Print jobs; 1 if a named one does not exist."""
    parser = OptionParser("query_jobs", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document {jobs, counts}")
    parser.add_argument("--app", "--appname", dest="app", help="only jobs of this app")
    parser.add_argument("--state", help="only jobs in this state")
    parser.add_argument("--limit", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--name", action="append", default=[], dest="names", help="this job (repeatable)")
    parser.add_argument("--names_from", choices=["-"], help="more names on standard input")
    parser.add_argument("--batch", help="all jobs of this batch (number or name)")
    parser.add_argument("--results_dir", default=os.environ.get("BOINCDOCK_RESULTS_DIR", "/results"),
                        help="where outputs are (default /results)")
    parser.add_argument("words", nargs="*", metavar="NAME")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.limit <= 100000:
        raise InputError("--limit must be a number from 0 to 100000")
    names = arguments.names + arguments.words + (sys.stdin.read().split() if arguments.names_from else [])
    if arguments.batch and names:
        raise InputError("give --batch or names, not both")
    db = connect(load_project().config)
    query = JobQuery(db, Path(arguments.results_dir))
    if arguments.batch:
        jobs = query.of_batch(find_batch(db, arguments.batch), arguments.state)
    elif names or arguments.names_from:
        jobs = query.named(names)
    else:
        jobs = query.newest(arguments.limit, arguments.app, arguments.state)
    if names and arguments.state:
        jobs = [job for job in jobs if job["state"] == arguments.state]
    missing = sorted({n.lower() for n in names} - {job["name"].lower() for job in jobs}) if not arguments.state else []
    if arguments.json:
        print(json.dumps({"jobs": jobs, "counts": query.counts()}))
    else:
        for job in jobs:
            _show(job, bool(names))
    for name in missing:
        print(f"error: there is no job {name!r}", file=sys.stderr)
    return 1 if missing else 0


def _show(job: dict[str, Any], details: bool) -> None:
    created = time.strftime("%Y-%m-%d %H:%M", time.gmtime(job["created"]))
    print(f"{job['name']}  {job['app']}  {job['state'].replace('_', ' ')}  {created}  {job['error']}".rstrip())
    if not details:
        return
    for result in job["results"]:
        words = [result["state"].replace("_", " "), result["outcome"].replace("_", " "), result["validate_state"],
                 result["host"]]
        if result["outcome"]:
            words.append(f"exit status {result['exit_status']}, credit {result['credit']:.4g}")
        print(f"    {result['name']}: " + ", ".join(word for word in words if word))
        if result["stderr"] and job["state"] == "error":
            print("\n".join(f"        | {line}" for line in result["stderr"].splitlines()[-20:]))
    for path in job["outputs"]:
        print(f"    {path}")


if __name__ == "__main__":
    entry(main)
