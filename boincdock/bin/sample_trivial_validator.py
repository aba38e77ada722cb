"""sample_trivial_validator --app NAME [options]

Takes every success for valid. Grants credit.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.validators import TrivialValidator


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(TrivialValidator, OptionParser("sample_trivial_validator", __doc__), argv)


if __name__ == "__main__":
    entry(main)
