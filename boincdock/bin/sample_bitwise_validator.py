"""sample_bitwise_validator --app NAME [options]

Takes results for valid if their output files are equal byte for byte. Grants credit.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.validators import BitwiseValidator


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(BitwiseValidator, OptionParser("sample_bitwise_validator", __doc__), argv)


if __name__ == "__main__":
    entry(main)
