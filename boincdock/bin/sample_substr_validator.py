"""sample_substr_validator --app NAME [options]

Takes results for valid by strings in their stderr. Grants credit.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.validators import SubstringValidator


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(SubstringValidator, OptionParser("sample_substr_validator", __doc__), argv)


if __name__ == "__main__":
    entry(main)
