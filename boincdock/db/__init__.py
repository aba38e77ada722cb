"""The database: one connector over two drivers, named queries, schema and migrations."""
from __future__ import annotations

from boincdock.db.connector import Connection, DuplicateKeyError, RetryableError, connect

__all__ = ["Connection", "DuplicateKeyError", "RetryableError", "connect"]
