"""update_versions: publish the app versions found in apps/APP/VERSION/PLATFORM[__PLANCLASS].

Run it in the project directory. Each new version is checked, its files are signed (FILE.sig, else the
code-signing key) and staged in the download directory, and the version is registered. Versions that are
registered already are left alone. Exit status 1 if any version could not be published.
"""
from __future__ import annotations

import sys
from pathlib import Path

from boincdock.apps.update_versions import update_versions
from boincdock.bin._run import OptionParser, entry
from boincdock.config import load_project
from boincdock.db import connect
from boincdock.errors import InputError


def _ask(question: str) -> bool:
    if not sys.stdin.isatty():
        raise InputError("cannot ask for consent: no terminal", "use --noconfirm")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def main(argv: list[str]) -> int:
    """Run update_versions; 1 if a version could not be published."""
    parser = OptionParser("update_versions", __doc__)
    parser.add_argument("--noconfirm", "--yes", dest="noconfirm", action="store_true", help="do not ask")
    parser.add_argument("--sign_key", metavar="FILE", type=Path, help="code-signing private key; default"
                        " key_dir/code_sign_private")
    parser.add_argument("--dry_run", action="store_true", help="only check and show what would be published")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what is published")
    arguments = parser.parse_args(argv)
    project = load_project()

    def consent(question: str) -> bool:
        if arguments.verbose:
            print(question.removesuffix("\nadd this version?"))
        return True

    outcome = update_versions(connect(project.config), project, consent if arguments.noconfirm else _ask, print,
                              arguments.sign_key, dry_run=arguments.dry_run)
    if arguments.verbose:
        print(f"{len(outcome.added)} added, {outcome.known} registered before, {len(outcome.declined)} declined")
    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for problem in outcome.problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    entry(main)
