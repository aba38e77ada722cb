"""badge_assign [-d level]

Gives badges to the users and teams with most recent average credit. Meant as a daily task.
"""
from __future__ import annotations

import time

from boincdock import log
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.lifecycle import badges


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = OptionParser("badge_assign", __doc__)
    parser.add_argument("-d", "--debug_level", type=int, default=3)
    options = parser.parse_args(argv)
    log.setup(options.debug_level)
    project = load_project()
    db = connect(project.config)
    for kind in ("user", "team"):
        badges.assign(db, kind, time.time())
    return 0


if __name__ == "__main__":
    entry(main)
