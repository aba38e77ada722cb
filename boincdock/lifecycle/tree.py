"""A fan-out tree of files, held open while many files of it are used (spec 04 section 4.1).

Names are looked up from the tree's root on, not from ``/``: in a container, whose root may lie on a slow file system,
that is most of the time a deletion takes.
"""
from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from boincdock.files.hierarchy import fanout_dir


class Tree:
    """An open tree; use it in a ``with`` statement. OSError if the root cannot be opened."""

    def __init__(self, root: Path, fanout: int) -> None:
        self.root = root
        self._fanout = fanout
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        os.close(self._fd)

    def place(self, name: str) -> str:
        """Where the file of this name (without ``/``) lies, relative to the root."""
        folder = fanout_dir(name, self._fanout)
        return f"{folder}/{name}" if folder else name

    def unlink(self, place: str) -> bool:
        """Delete what is at ``place``; False if there is nothing. OSError if it cannot be deleted."""
        try:
            os.unlink(place, dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True
