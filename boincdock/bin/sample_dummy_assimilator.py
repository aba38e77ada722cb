"""sample_dummy_assimilator --app NAME [options]

Marks finished jobs as assimilated and logs where their outputs are.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.assimilators import DummyAssimilator


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(DummyAssimilator, OptionParser("sample_dummy_assimilator", __doc__), argv)


if __name__ == "__main__":
    entry(main)
