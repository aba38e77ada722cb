"""trickle_credit --variety X --max_runtime S [options]

Grants credit for run times that applications report in trickle messages (<runtime>), for projects whose validators
run with --no_credit.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.trickles import TrickleCredit


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(TrickleCredit, OptionParser("trickle_credit", __doc__), argv)


if __name__ == "__main__":
    entry(main)
