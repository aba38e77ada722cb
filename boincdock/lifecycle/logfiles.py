"""Keeping the logs in log_HOST from growing for ever."""
from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger("boincdock.supervisor")

MAX_BYTES = 16 << 20
KEPT = 5
_SUFFIXES = (".log", ".out")


def rotate_all(log_dir: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> list[Path]:
    """Cut every log in the folder that is longer than ``max_bytes``; the files that were cut.

    The text goes to ``NAME.1`` (older ones to ``.2`` … up to ``kept``) and the file is emptied in place,
    because programs that are still writing have it open for appending. A line written in the instant
    between copy and cut can be lost.
    """
    cut = []
    with contextlib.suppress(OSError):
        for path in sorted(log_dir.iterdir()):
            if path.suffix in _SUFFIXES and not path.is_symlink() and path.is_file():
                try:
                    if path.stat().st_size > max_bytes:
                        _rotate(path, kept)
                        cut.append(path)
                except OSError as error:
                    logger.warning("cannot rotate %s: %s", path.name, error)
    return cut


def _rotate(path: Path, kept: int) -> None:
    def numbered(n: int) -> Path:
        return path.with_name(f"{path.name}.{n}")

    for n in range(kept - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            numbered(n).replace(numbered(n + 1))
    shutil.copyfile(path, numbered(1))
    os.truncate(path, 0)
