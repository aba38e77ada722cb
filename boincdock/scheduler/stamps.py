"""When files changed last: asked several times in every request, so without path objects, and not of the file system
each time. A path is looked up from the root; where the container's root is FUSE, that costs more than any statement."""
from __future__ import annotations

import os
import time

RECHECK = 0.2
"""Seconds for which an answer holds."""

_known: dict[str, tuple[float, int]] = {}


def changed(path: str) -> int:
    """The modification time in nanoseconds, at most RECHECK seconds old; 0 if there is no such file."""
    now = time.monotonic()
    known = _known.get(path)
    if known is not None and now - known[0] < RECHECK:
        return known[1]
    try:
        stamp = os.stat(path).st_mtime_ns  # noqa: PTH116
    except OSError:
        stamp = 0
    _known[path] = now, stamp
    return stamp
