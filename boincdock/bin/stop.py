"""stop: end all daemons, wait for them, and keep them stopped (see start --help)."""
from __future__ import annotations

from boincdock.bin import start
from boincdock.bin._run import entry


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    return start.run("stop", argv)


if __name__ == "__main__":
    entry(main)
