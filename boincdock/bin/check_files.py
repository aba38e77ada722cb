"""check_files [--quick] [--orphans] [--json]: does the download folder hold what clients are told to fetch?

Compares every file of every app version, and every input file of jobs that are not finished, with the files on
disk: present, of the right size, with the right contents. Files that nobody names are counted as orphaned
(--orphans lists them; they only take room, and may be inputs staged for jobs to come).

  --quick     compare sizes, and trust the MD5 noted when a file was staged
  --json      one JSON document

Exit status 1 if a file is missing or changed.
"""
from __future__ import annotations

import json

from boincdock.apps.tree_check import TreeCheck
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect


def main(argv: list[str]) -> int:
    """Run check_files."""
    parser = OptionParser("check_files", __doc__)
    for flag in ("--quick", "--orphans", "--json"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args(argv)
    project = load_project()
    report = TreeCheck(connect(project.config), project, quick=options.quick).run()
    if options.json:
        print(json.dumps(report.json()))
        return 0 if report.ok else 1
    for each in report.missing + report.changed:
        print(f"{each['path']}: {each['why']} ({each['of']})")
    if options.orphans:
        for orphan in report.orphaned:
            print(f"{orphan['path']}: orphaned, {orphan['nbytes']} bytes")
    print(f"{report.checked} files checked, {len(report.missing)} missing, {len(report.changed)} changed, "
          f"{report.orphans} orphaned ({report.orphaned_bytes} bytes)")
    return 0 if report.ok else 1


if __name__ == "__main__":
    entry(main)
