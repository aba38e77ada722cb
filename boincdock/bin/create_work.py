"""create_work --appname APP [options] FILE…: create a job, or with --stdin one for each input line.

FILEs are physical names of staged input files (bin/stage_file), in the order of the input template.

  --wu_name NAME            job name (default APP_PID_TIME, printed)
  --wu_template F           input template (default templates/APP_in)
  --result_template F       output template (default templates/APP_out)
  --command_line "X"        arguments of the application
  --remote_file URL NBYTES MD5   an input file that clients fetch from elsewhere
  --batch N  --priority N  --hr_class N  --size_class N  --app_version_num N  --credit X
  --rsc_fpops_est X  --rsc_fpops_bound X       floating-point operations
  --rsc_memory_bound X  --rsc_disk_bound X     bytes
  --rsc_bandwidth_bound X                      bytes/s
  --delay_bound N                              seconds
  --min_quorum N  --target_nresults N  --max_error_results N  --max_total_results N
  --max_success_results N                      (values in the input template win)
  --keywords 'N1 N2'  --sub_appname 'X'
  --target_host ID | --target_user ID | --target_team ID
  --broadcast | --broadcast_user ID | --broadcast_team ID
  --wu_id ID                fill an existing workunit row
  --config_dir D            where config.xml is
  --stdin                   one job per line: [--command_line X] [--wu_name X] [--wu_template F]
                            [--result_template F] [--remote_file …] [--target_host|--target_user ID]
                            [--priority N] FILE…; unnamed jobs are called NAME_0, NAME_1 …
  --continue_on_error       with --stdin: leave bad lines out (exit status 1 at the end)
  --json                    print created jobs as JSON lines {"id": …, "name": …}
  --verbose, --help

Exit status 0, or 1 on any error. Jobs are created 1000 in a transaction: a bad line creates nothing of
its chunk.
"""
from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from boincdock.bin._run import entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.errors import InputError
from boincdock.jobs.create_work import WorkCreator, WorkOptions, parse_words
from boincdock.jobs.model import WorkunitCreated


def main(argv: list[str]) -> int:
    """Run create_work; 0, or 1 if a line was left out."""
    options = parse_words(argv)
    if "help" in options.switches or not argv:
        print(__doc__)
        return 0 if argv else 1
    project = load_project(Path(options.text["config_dir"]) if "config_dir" in options.text else None)
    creator = WorkCreator(connect(project.config), project, options)
    if "stdin" in options.switches:
        return _batch(creator, options)
    job = creator.single()
    if "json" in options.switches:
        _show([job], options)
    elif "wu_name" not in options.text:
        print(f"workunit name: {job.name}")
    return 0


def _show(jobs: list[WorkunitCreated], options: WorkOptions) -> None:
    for job in jobs:
        if "json" in options.switches:
            print(json.dumps({"id": job.id, "name": job.name}))
        elif "verbose" in options.switches:
            print(f"workunit {job.id}: {job.name}")


def _lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin.buffer):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"line {number + 1} is not UTF-8 text") from None


def _batch(creator: WorkCreator, options: WorkOptions) -> int:
    bad: list[InputError] = []

    def skip(error: InputError) -> None:
        bad.append(error)
        print(f"error: {error.message}; left out", file=sys.stderr)

    created = 0
    try:
        # The thread that writes needs the interpreter for moments only, and should not wait 5 ms for each.
        sys.setswitchinterval(0.0005)
        for jobs in creator.batch(_lines(), skip if "continue_on_error" in options.switches else None):
            created += len(jobs)
            _show(jobs, options)
    except InputError as error:
        raise InputError(f"{error.message} ({created} jobs were created before)", error.hint) from None
    if not created and not bad:
        raise InputError("no job: standard input is empty")
    if "json" not in options.switches:
        print(f"created {created} jobs, base name {creator.base_name}")
    return 1 if bad else 0


if __name__ == "__main__":
    entry(main)
