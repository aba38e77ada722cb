"""The one error type that reaches a user (docs/architecture.md)."""
from __future__ import annotations


class BoincdockError(Exception):
    """Something the operator or a client did, or the machine lacks; never a bug in boincdock.

    ``message`` is one clear line; ``hint`` says how to mend it. Command-line mains print both on
    stderr and exit with status 1, without a traceback.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(BoincdockError):
    """config.xml or another configuration file cannot be used."""


class InputError(BoincdockError):
    """An argument, a template or an input file is wrong."""


class DatabaseError(BoincdockError):
    """The database cannot be reached or refuses a statement."""
