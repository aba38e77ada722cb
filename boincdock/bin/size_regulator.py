"""size_regulator --app_name NAME --lo N --hi N --sleep_time S [--ORDER] [options]

Keeps between --lo and --hi results of each size class of an app ready to send, by releasing held-back ones in the order
--random_order, --priority_asc, --priority_order or --priority_order_create_time.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.size_regulator import SizeRegulator


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(SizeRegulator, OptionParser("size_regulator", __doc__), argv)


if __name__ == "__main__":
    entry(main)
