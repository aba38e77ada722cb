"""results_assimilator --app NAME [--outdir DIR] [options]

Puts the outputs of finished jobs into DIR/APP/JOB/ (default /results), or what went wrong into error.json there.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.assimilators import ResultsAssimilator


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(ResultsAssimilator, OptionParser("results_assimilator", __doc__), argv)


if __name__ == "__main__":
    entry(main)
