"""file_deleter [options]

Deletes input and output files of jobs that are finished and assimilated.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.file_deleter import FileDeleter


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(FileDeleter, OptionParser("file_deleter", __doc__), argv)


if __name__ == "__main__":
    entry(main)
