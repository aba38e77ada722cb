"""message_handler [options]

Sends trickle messages of all varieties back to the application, for tests. config.xml needs <msg_to_host/>.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.lifecycle import daemon
from boincdock.lifecycle.trickles import MessageHandler


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return daemon.main(MessageHandler, OptionParser("message_handler", __doc__), argv)


if __name__ == "__main__":
    entry(main)
