"""transition_all [-d level]

Lets the transitioner look at every job again, after something was changed by hand or a backup was restored.
"""
from __future__ import annotations

import time

from boincdock import log
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.lifecycle import upkeep


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = OptionParser("transition_all", __doc__)
    parser.add_argument("-d", "--debug_level", type=int, default=3)
    options = parser.parse_args(argv)
    log.setup(options.debug_level)
    project = load_project()
    db = connect(project.config)
    print(f"{upkeep.transition_all(db, int(time.time()))} jobs will be looked at")
    return 0


if __name__ == "__main__":
    entry(main)
