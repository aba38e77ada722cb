"""boincdock: a BOINC server distribution (docs/architecture.md)."""

__version__ = "0.1.0"
