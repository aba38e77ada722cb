"""script_validator --app NAME [options]

Checks and compares results by programs of the project's bin/: --init_script 'NAME TOKEN...' exits with 0 if a result
is fine, 3 if it cannot tell now, anything else if it is bad; --compare_script 'NAME TOKEN...' exits with 0 if
two results agree, 3 if it cannot tell now, anything else if they differ. At least one is needed. Grants credit.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.scripts import ScriptValidator


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(ScriptValidator, OptionParser("script_validator", __doc__), argv)


if __name__ == "__main__":
    entry(main)
