"""batch_collect_assimilator --app NAME [--outdir DIR] [options]

Puts the outputs of finished jobs into DIR/BATCH/JOB__file_NAME, where BOINC's web pages look for them.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.assimilators import BatchCollectAssimilator


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(BatchCollectAssimilator, OptionParser("batch_collect_assimilator", __doc__), argv)


if __name__ == "__main__":
    entry(main)
