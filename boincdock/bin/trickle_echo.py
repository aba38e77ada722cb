"""trickle_echo --variety X [options]

Sends trickle messages back to the application, for tests. config.xml needs <msg_to_host/>.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.trickles import TrickleEcho


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(TrickleEcho, OptionParser("trickle_echo", __doc__), argv)


if __name__ == "__main__":
    entry(main)
