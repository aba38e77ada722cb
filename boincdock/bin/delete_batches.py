"""delete_batches [-d level]

Deletes retired batches of which db_purge has removed all jobs, with their results. Meant as a daily task.
"""
from __future__ import annotations

from boincdock import log
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.lifecycle import batches


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = OptionParser("delete_batches", __doc__)
    parser.add_argument("-d", "--debug_level", type=int, default=3)
    options = parser.parse_args(argv)
    log.setup(options.debug_level)
    project = load_project()
    db = connect(project.config)
    batches.delete_empty(db, project)
    return 0


if __name__ == "__main__":
    entry(main)
