"""purge_messages [--min_age_days X] [-d level]

Deletes trickle messages that were handled more than X days ago (default 7). Meant as a daily task.
"""
from __future__ import annotations

import time

from boincdock import log
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.lifecycle import trickles


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = OptionParser("purge_messages", __doc__)
    parser.add_argument("-d", "--debug_level", type=int, default=3)
    parser.add_argument("--min_age_days", type=float, default=7, metavar="X")
    options = parser.parse_args(argv)
    log.setup(options.debug_level)
    project = load_project()
    db = connect(project.config)
    print(f"{trickles.purge(db, options.min_age_days * 86400, time.time())} messages deleted")
    return 0


if __name__ == "__main__":
    entry(main)
