"""xadd: bring the platforms and apps of project.xml into the database.

Run it in the project directory. Inserts what is missing, updates changed friendly names and min_version,
never deletes. Safe to repeat.
"""
from __future__ import annotations

from boincdock.apps.xadd import xadd
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect


def main(argv: list[str]) -> int:
    """Run xadd; 0 or an error."""
    parser = OptionParser("xadd", __doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="say so when nothing changes")
    arguments = parser.parse_args(argv)
    project = load_project()
    changes = xadd(connect(project.config), project, print)
    if not changes and arguments.verbose:
        print("nothing to add or change")
    return 0


if __name__ == "__main__":
    entry(main)
