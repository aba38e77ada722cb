"""feeder [options]

Works out every ten minutes how the app versions' credit compares. (There is no job cache to feed.)
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.feeder import Feeder


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(Feeder, OptionParser("feeder", __doc__), argv)


if __name__ == "__main__":
    entry(main)
