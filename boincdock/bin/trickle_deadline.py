"""trickle_deadline --variety X --extension_period S --extension_timeframe S [options]

Puts off the deadline of a result that sends a trickle message, if its deadline is near.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.trickles import TrickleDeadline


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(TrickleDeadline, OptionParser("trickle_deadline", __doc__), argv)


if __name__ == "__main__":
    entry(main)
