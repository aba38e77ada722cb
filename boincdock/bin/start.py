"""start | stop | status: enable or disable the project's daemons, or show what they do.

  start   enables the project and waits until all daemons of config.xml run
  stop    makes the scheduler answer "down for maintenance", ends all daemons and waits for them
  status  shows whether the project is enabled, and every daemon and periodic task

The supervisor in the container "daemons" does the work; these commands work in every container that has the
project's folder. What was stopped stays stopped, also when containers are restarted, until start.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.lifecycle import control


def run(default_action: str, argv: list[str]) -> int:
    """The three commands' common body; the name decides what they do without options."""
    parser = OptionParser(default_action, __doc__)
    add = parser.add_argument
    parser.set_defaults(action=default_action)
    for names, action in ((("-e", "--enable", "--start"), "start"), (("-k", "--disable", "--stop", "--kill"), "stop"),
                          (("-s", "--status"), "status"), (("-c", "--cron", "--cron-tasks"), "cron")):
        add(*names, dest="action", action="store_const", const=action, help=f"as the command {action}"
            if action != "cron" else "from cron: only check that a supervisor is at work")
    add("-q", "--quiet", action="store_true", help="say nothing unless something is wrong")
    add("-v", "--verbose", action="store_true", help="say more (the default), and show tracebacks")
    add("--json", action="store_true", help="print the status as one JSON document")
    add("--timeout", type=float, metavar="S", help="seconds to wait for daemons to start or end")
    options = parser.parse_args(argv)
    return control.run_action(load_project(), options.action, verbose=not options.quiet, as_json=options.json,
                              timeout=options.timeout)


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return run("start", argv)


if __name__ == "__main__":
    entry(main)
