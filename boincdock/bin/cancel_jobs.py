"""cancel_jobs [--json] MIN_ID MAX_ID, or cancel_jobs [--json] --name NAME [--name NAME…]: cancel jobs.

Instances not sent yet are over; running ones are aborted when their host contacts the scheduler (if
config.xml has send_result_abort). Jobs that are finished are left alone.
"""
from __future__ import annotations

import json

from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.errors import InputError
from boincdock.jobs.cancel import cancel_names, cancel_range


def main(argv: list[str]) -> int:
    """Cancel jobs; 0 or an error."""
    parser = OptionParser("cancel_jobs", __doc__)
    parser.add_argument("--name", action="append", default=[], help="workunit name (repeatable)")
    parser.add_argument("--json", action="store_true", help='print {"cancelled": N}')
    parser.add_argument("ids", nargs="*", type=int, metavar="ID")
    arguments = parser.parse_args(argv)
    if bool(arguments.name) == bool(arguments.ids) or len(arguments.ids) not in (0, 2):
        raise InputError("give two ids, or --name NAME", "cancel_jobs --help")
    db = connect(load_project().config)
    count = cancel_names(db, arguments.name) if arguments.name else cancel_range(db, *arguments.ids)
    print(json.dumps({"cancelled": count}) if arguments.json else f"cancelled {count} jobs")
    return 0


if __name__ == "__main__":
    entry(main)
