"""script_assimilator --app NAME [options]

Hands finished jobs to a program of the project's bin/: --script 'NAME TOKEN...' (tokens wu_id files if none are
given). A failed job is handed over as NAME --error MASK WU_NAME WU_ID BATCH. Exit status 0 = taken in, 75 = call again
later, 76 = call again when all instances are over; after anything else it is called again after a growing pause.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.scripts import ScriptAssimilator


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(ScriptAssimilator, OptionParser("script_assimilator", __doc__), argv)


if __name__ == "__main__":
    entry(main)
