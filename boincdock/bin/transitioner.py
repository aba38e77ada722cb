"""transitioner [--one_pass] [--mod n i] [--sleep_interval s] [--wu_id n] [-d level]

Moves jobs on: creates their instances, notices missed deadlines, calls for validation, gives up on jobs with
too many failures, and releases files for deletion. Several may run at a time.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.transitioner import Transitioner


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(Transitioner, OptionParser("transitioner", __doc__), argv)


if __name__ == "__main__":
    entry(main)
