"""check_plan_classes [FILE]: check a plan_class_spec.xml (default: the project's); errors name the line.

Prints the names of the classes. Exit status 1 if the scheduler could not use the file or a test in it.
"""
from __future__ import annotations

import sys
from pathlib import Path

from boincdock.bin._run import OptionParser, entry
from boincdock.config import find_project_dir
from boincdock.errors import InputError
from boincdock.scheduler.plan_check import check_plan_classes


def main(argv: list[str]) -> int:
    """Run check_plan_classes."""
    parser = OptionParser("check_plan_classes", __doc__)
    parser.add_argument("file", nargs="?", metavar="FILE")
    given = parser.parse_args(argv).file
    path = Path(given) if given else find_project_dir() / "plan_class_spec.xml"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    found = check_plan_classes(data, str(path))
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for problem in found.errors:
        print(f"error: {problem}", file=sys.stderr)
    if not found.errors:
        print("\n".join(found.names))
    return 1 if found.errors else 0


if __name__ == "__main__":
    entry(main)
