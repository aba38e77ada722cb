"""dir_hier_path NAME: print the absolute path of an input file in the download hierarchy; make its folder.

Run in the project folder. NAME is the physical name; the file itself need not exist.
"""
from __future__ import annotations

from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.errors import InputError
from boincdock.files.hierarchy import download_path, make_directory


def main(argv: list[str]) -> int:
    """Run dir_hier_path."""
    parser = OptionParser("dir_hier_path", __doc__)
    parser.add_argument("name", metavar="NAME")
    name = parser.parse_args(argv).name
    if not name or "/" in name or name in (".", "..") or not name.isprintable():
        raise InputError(f"{name!r} is not a file name")
    path = download_path(load_project(), name).absolute()
    make_directory(path.parent)
    print(path)
    return 0


if __name__ == "__main__":
    entry(main)
