"""dir_hier_move SRC DST FANOUT: move the files of a flat folder into the fan-out hierarchy under DST.

Sidecars (.md5) and compressed forms (.gz) go with their file. Nothing is overwritten.
"""
from __future__ import annotations

from pathlib import Path

from boincdock.bin._run import OptionParser, entry
from boincdock.errors import InputError
from boincdock.files.spread import spread


def main(argv: list[str]) -> int:
    """Run dir_hier_move."""
    parser = OptionParser("dir_hier_move", __doc__)
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("target", metavar="DST")
    parser.add_argument("fanout", metavar="FANOUT")
    options = parser.parse_args(argv)
    if not (options.fanout.isascii() and options.fanout.isdigit() and len(options.fanout) < 10):
        raise InputError(f"FANOUT {options.fanout!r} is not a number")
    moved = spread(Path(options.source), Path(options.target), int(options.fanout))
    print(f"{moved} files moved")
    return 0


if __name__ == "__main__":
    entry(main)
