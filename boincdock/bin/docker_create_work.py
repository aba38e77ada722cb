"""docker_create_work [options] IMAGE [COMMAND [ARG…]]: create a job as with `docker run`.

A volunteer's machine runs COMMAND in a container of IMAGE. Files written to /root/shared/results come back as
results.tgz, together with stdout.txt and stderr.txt. Options come before IMAGE:

  --name NAME               job name (default docker_PID_TIME, printed)
  -e, --env NAME=VALUE      environment variable (repeatable)
  --input FILE[:NAME]       input file, seen as /root/shared/NAME or at an absolute NAME (repeatable)
  --input-tar FILE|-        plain files of a tar become inputs (- or --stdin-files: standard input)
  --output PATTERN          which results come back, such as '*.csv' or '/data/out/*.png' (repeatable; default: all)
  -w, --workdir DIR         working directory in the container (default: the image's)
  --entrypoint PROGRAM      instead of the image's
  -u, --user USER           user in the container
  --dockerfile FILE         build this instead of an image; there is no IMAGE word then; it may COPY inputs
  --image-file FILE         the job brings its image, what `docker save` wrote; there is no IMAGE word then
  -m, --memory SIZE         limit such as 512m; hosts with less memory do not get the job
  --cpus N                  CPUs of the job    --gpus all     GPU    --shm-size SIZE    --network none
  --appname APP             default docker     --batch N   --priority N
  --rsc_fpops_est X  --rsc_fpops_bound X  --rsc_memory_bound BYTES  --rsc_disk_bound BYTES
  --delay_bound SECONDS  --min_quorum N  --target_nresults N  --max_error_results N  --max_total_results N
  --max_success_results N  --target_host ID  --target_user ID
  --json                    print {"id": …, "name": …}

Example: docker_create_work python:alpine python -c "print('Hello BOINC')"
"""
from __future__ import annotations

import json
import sys

from boincdock.bin._run import entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.jobs.docker_run import create_docker_job, parse_options


def main(argv: list[str]) -> int:
    """Create one Docker job; 0 or an error."""
    options = parse_options(argv)
    if "help" in options.switches or not argv:
        print(__doc__)
        return 0 if argv else 1
    project = load_project()
    job = create_docker_job(connect(project.config), project, options, sys.stdin.buffer)
    if "json" in options.switches:
        print(json.dumps({"id": job.id, "name": job.name}))
    elif "quiet" in options.switches:
        print(job.name)
    else:
        print(f"workunit name: {job.name}")
    return 0


if __name__ == "__main__":
    entry(main)
