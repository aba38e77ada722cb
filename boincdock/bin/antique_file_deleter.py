"""antique_file_deleter [--dry_run] [--usleep n] [-d level]

Deletes uploaded files that are older than every job in the database. Meant as a daily task.
"""
from __future__ import annotations

import time

from boincdock import log
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.lifecycle import antiques


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = OptionParser("antique_file_deleter", __doc__)
    parser.add_argument("-d", "--debug_level", type=int, default=3)
    parser.add_argument("--dry_run", action="store_true", help="only list the files")
    parser.add_argument("--usleep", type=int, default=50000, metavar="N", help="microseconds between deletions")
    options = parser.parse_args(argv)
    log.setup(options.debug_level)
    project = load_project()
    before = antiques.cut_off(connect(project.config), time.time())
    if before is None:
        print("there are no jobs, so nothing can be told about the age of files: none deleted")
        return 0
    found = antiques.delete_antiques(project, before, options.dry_run, max(0, options.usleep) / 1e6)
    print(f"{len(found)} files {'would be ' if options.dry_run else ''}deleted")
    return 0


if __name__ == "__main__":
    entry(main)
