"""db_purge [--min_age_days x] [--max n] [--gzip|--zip|--no_archive] [--daily_dir] [--one_pass] [options]

Writes finished jobs and their results to files in archives/ and removes them from the database. Keep it out of
reach of your own scripts until they have what they need: --min_age_days says how long.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.db_purge import DbPurge


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(DbPurge, OptionParser("db_purge", __doc__), argv)


if __name__ == "__main__":
    entry(main)
