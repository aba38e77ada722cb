"""update_stats [--update_users] [--update_hosts] [--update_teams] [--update_avs] [--min_age s] [-d level]

Lets the recent average credit of users, hosts, teams and app versions that earn nothing decay, and counts the
members of teams. Meant as a daily task; without --update_… it does all of them.
"""
from __future__ import annotations

import time

from boincdock import log
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.lifecycle import update_stats


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = OptionParser("update_stats", __doc__)
    parser.add_argument("-d", "--debug_level", type=int, default=3)
    update_stats.add_options(parser)
    options = parser.parse_args(argv)
    log.setup(options.debug_level)
    project = load_project()
    chosen = [kind for option, kind in update_stats.KINDS.items() if getattr(options, f"update_{option}")]
    db = connect(project.config)
    update_stats.update(db, chosen or list(update_stats.KINDS.values()), time.time(), options.min_age)
    return 0


if __name__ == "__main__":
    entry(main)
