"""expire_batches [-d level]

Aborts and retires batches whose expire time has passed, and completes batches whose jobs are all finished. Meant
as a daily task.
"""
from __future__ import annotations

import time

from boincdock import log
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.lifecycle import batches


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = OptionParser("expire_batches", __doc__)
    parser.add_argument("-d", "--debug_level", type=int, default=3)
    options = parser.parse_args(argv)
    log.setup(options.debug_level)
    project = load_project()
    db = connect(project.config)
    batches.expire(db, project, time.time())
    batches.refresh_running(db, time.time())
    return 0


if __name__ == "__main__":
    entry(main)
