"""stage_file [options] PATH: put a file into the download tree, as input of jobs.

Run in the project folder. PATH is a file, a folder (each plain file in it), or - for standard input.

  --copy      keep the original (default: move it)
  --gzip      also offer NAME.gz, which clients prefer
  --name N    stage it under this name (default: its own)
  --json      print {"name": …, "md5": …, "nbytes": …, "url": …}, one line for each file
  --verbose   print what is done

The same contents again change nothing. A staged name never changes its contents: other contents need
another name. Exit status 0, or 1 on any error.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from boincdock.bin._run import OptionParser, entry
from boincdock.config import Project, load_project
from boincdock.errors import InputError
from boincdock.files.staging import StagedFile, stage_file, stage_stream


def main(argv: list[str]) -> int:
    """Run stage_file."""
    parser = OptionParser("stage_file", __doc__)
    parser.add_argument("path", metavar="PATH")
    for name in ("--copy", "--gzip", "--json", "--verbose"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--name")
    options = parser.parse_args(argv)
    project = load_project()
    if options.path == "-":
        if not options.name:
            raise InputError("standard input needs a --name")
        _show(_stage_input(project, options), options)
        return 0
    path = Path(options.path)
    if not path.is_dir():
        _show(stage_file(project, path, options.name, copy=options.copy, gzip=options.gzip), options)
        return 0
    if options.name:
        raise InputError("--name is for one file, not for a folder")
    for each in sorted(p for p in path.iterdir() if p.is_file()):
        _show(stage_file(project, each, copy=options.copy, gzip=options.gzip), options)
    return 0


def _stage_input(project: Project, options: Any) -> StagedFile:
    try:
        return stage_stream(project, sys.stdin.buffer, options.name, gzip=options.gzip)
    except OSError as error:
        raise InputError(f"standard input cannot be staged: {error.strerror}") from error


def _show(staged: StagedFile, options: Any) -> None:
    if options.json:
        shown: dict[str, object] = {"name": staged.name, "md5": staged.md5, "nbytes": staged.nbytes, "url": staged.url}
        if staged.gzipped_nbytes is not None:
            shown["gzipped_nbytes"] = staged.gzipped_nbytes
        print(json.dumps(shown))
    elif options.verbose:
        done = "staged" if staged.is_new else "was staged already"
        print(f"{staged.name}: {done}, {staged.nbytes} bytes, {staged.url}")


if __name__ == "__main__":
    entry(main)
