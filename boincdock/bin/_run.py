"""What all project commands share: the outermost wrapper and the option parser.

``python3 -m boincdock.bin._run <command> [arguments]`` runs ``boincdock/bin/<command>.py``; the files in
``PROJECT_ROOT/bin`` do the same through ``entry``.
"""
from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import itertools
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from boincdock.errors import BoincdockError, InputError

Main = Callable[[list[str]], int]

_VERBOSE_WORDS = {"--verbose", "-verbose", "-v"}
_DEBUG_NAMES = ("-d", "--d", "-debug_level", "--debug_level")
_MODULE_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


def wants_traceback(argv: Sequence[str]) -> bool:
    """True if the user asked for details: ``-v``/``--verbose``, ``-d 4``, or BOINCDOCK_TRACEBACK=1."""
    if os.environ.get("BOINCDOCK_TRACEBACK") == "1" or any(word in _VERBOSE_WORDS for word in argv):
        return True
    return any(a in _DEBUG_NAMES and b == "4" for a, b in itertools.pairwise(argv)) or "-d4" in argv


def run(main: Main, argv: list[str]) -> int:
    """Call ``main(argv)`` and return an exit status; never raises but for KeyboardInterrupt's siblings.

    ``BoincdockError`` becomes ``error: …`` and ``hint: …`` on stderr and status 1; an unforeseen exception
    becomes one ``error:`` line as well, with the traceback only if ``wants_traceback``.
    """
    try:
        status = main(argv)
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        return int(status or 0)
    except BoincdockError as error:
        if wants_traceback(argv):
            _print_traceback()
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as exit_request:
        return exit_request.code if isinstance(exit_request.code, int) else int(exit_request.code is not None)
    except Exception as error:
        if wants_traceback(argv):
            _print_traceback()
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        print("hint: this is a defect of boincdock; BOINCDOCK_TRACEBACK=1 shows where it happened",
              file=sys.stderr)
        return 1


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def entry(main: Main) -> NoReturn:
    """Run a command's ``main`` with the process's arguments and exit with its status."""
    sys.exit(run(main, sys.argv[1:]))


class OptionParser(argparse.ArgumentParser):
    """argparse as BOINC's users know options: ``-name`` and ``--name`` alike, ``_`` and ``-`` inside a
    name alike, no abbreviations; a wrong option raises ``InputError`` (spec 03 section 17)."""

    def __init__(self, prog: str, description: str | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(prog=prog, description=description, allow_abbrev=False, add_help=False, **kwargs)
        self.add_argument("-h", "--help", action="help", help="show this text and exit")

    def add_argument(self, *names: Any, **kwargs: Any) -> argparse.Action:
        """As argparse's; also registers the other spellings of every option name."""
        if not names or not str(names[0]).startswith("-"):
            return super().add_argument(*names, **kwargs)
        all_names = list(names)
        for name in names:
            bare = str(name).lstrip("-")
            for form in (bare, bare.replace("-", "_"), bare.replace("_", "-")):
                all_names += [n for n in (f"--{form}", f"-{form}") if n not in all_names]
        longs = [n for n in names if str(n).startswith("--")]
        if "dest" not in kwargs and longs:
            kwargs["dest"] = str(longs[0]).lstrip("-").replace("-", "_")
        action = super().add_argument(*all_names, **kwargs)
        action.option_strings = list(names)  # help texts and messages show the names as declared
        return action

    def error(self, message: str) -> NoReturn:
        """A usage error: exit status 1 through ``BoincdockError``."""
        raise InputError(f"{self.prog}: {message}", hint=f"see {self.prog} --help")


def find_command(name: str) -> Main:
    """The ``main`` of ``boincdock/bin/<name>.py``; ``InputError`` if there is no such command."""
    module_name = f"boincdock.bin.{name}"
    if not _MODULE_NAME.match(name) or importlib.util.find_spec(module_name) is None:
        raise InputError(f"there is no command {name!r}", hint="commands: " + ", ".join(commands()))
    module = importlib.import_module(module_name)
    found: Main = module.main
    return found


def commands() -> list[str]:
    """The names of all commands, sorted."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def main(argv: list[str]) -> int:
    """Run the command named by the first argument."""
    if not argv:
        raise InputError("which command?", hint="commands: " + ", ".join(commands()))
    return find_command(argv[0])(argv[1:])


__all__ = ["OptionParser", "commands", "entry", "find_command", "run", "wants_traceback"]

if __name__ == "__main__":
    entry(main)
