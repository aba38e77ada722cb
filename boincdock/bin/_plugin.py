"""Makes a command of a daemon class: the last line of a validator, assimilator or trickle handler of one's own
(docs/plugins.md)."""
from __future__ import annotations

import sys
from typing import NoReturn

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.daemon import Daemon


def run(kind: type[Daemon]) -> NoReturn:
    """Run the class with the process's arguments and exit with its status. Its help text is that of the
    script, else the class's."""
    script = getattr(sys.modules.get("__main__"), "__doc__", None)
    entry(lambda argv: daemon.main(kind, OptionParser(kind.name, script or kind.__doc__), argv))
