"""delete_job_files: delete shared input files (of Docker jobs and remote submitters) that nobody needs any more.

A periodic task (config.xml: once a day). A file goes when its time is over and no unfinished job names it.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.jobs.job_files import delete_expired


def main(argv: list[str]) -> int:
    """Delete expired shared files; 0 or an error."""
    OptionParser("delete_job_files", __doc__).parse_args(argv)
    project = load_project()
    print(f"deleted {delete_expired(connect(project.config), project)} files")
    return 0


if __name__ == "__main__":
    entry(main)
