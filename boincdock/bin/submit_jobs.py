"""submit_jobs [--json]: create the jobs that a tar on standard input describes, all of them or none.

Meant for manage.py and the Python API (docs/python-api.md). The tar's first member is jobs.json:

  {"batch": null | {"id": 7} | {"name": "sweep", "description": ""},
   "jobs": [{"args": ["-e", "X=1", "debian:trixie-slim", "sh", "/root/shared/run.sh"],
             "files": [{"member": "0", "name": "run.sh"}]},
            {"app": "worker", "name": "w1", "args": ["--priority", "3"], "files": [{"member": "1"}]}]}

args are the words of docker_create_work, or with an app those of create_work. "dockerfile": a member to build
instead of an IMAGE; "image": a member that is the image, as `docker save` wrote it. The other members of the tar are
the files. With a batch, unnamed jobs are called BATCH_<number of the batch>_0, _1 and so on, or end in their "suffix".

  --json   print {"batch": N, "jobs": [{"id": …, "name": …}, …]} (batch 0: none)

Exit status 0, or 1 on any error; then nothing was created.
"""
from __future__ import annotations

import json
import sys

from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.jobs.bulk import submit


def main(argv: list[str]) -> int:
    """Create jobs; 0 or an error."""
    parser = OptionParser("submit_jobs", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv)
    project = load_project()
    made = submit(connect(project.config), project, sys.stdin.buffer)
    if arguments.json:
        print(json.dumps({"batch": made.batch, "jobs": [{"id": job.id, "name": job.name} for job in made.jobs]}))
        return 0
    for job in made.jobs:
        print(f"workunit {job.id}: {job.name}")
    if made.batch:
        print(f"batch {made.batch}: {len(made.jobs)} jobs")
    return 0


if __name__ == "__main__":
    entry(main)
