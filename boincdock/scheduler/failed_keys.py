"""A brake on guessing account keys (spec 01 section 5.3, "Do better")."""
from __future__ import annotations

import time
from collections.abc import Callable

LIMIT = 30
"""Wrong keys from one address within PERIOD that are looked up; further ones are refused unseen."""

PERIOD = 600.0
MAX_ADDRESSES = 10000


class FailedKeys:
    """Counts wrong keys by address, in one process. Only requests that need a look-up by key are braked: hosts that
    name their id and their own account's key never are, so neighbours behind the same address go on working."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def blocked(self, peer: str) -> bool:
        """Whether this address used up its guesses for now."""
        since, count = self._seen.get(peer, (0.0, 0))
        return count >= LIMIT and self._clock() - since < PERIOD

    def failed(self, peer: str) -> None:
        """Count a wrong key."""
        now = self._clock()
        since, count = self._seen.get(peer, (now, 0))
        if now - since >= PERIOD:
            since, count = now, 0
        if peer not in self._seen and len(self._seen) >= MAX_ADDRESSES:
            self._seen = {p: v for p, v in self._seen.items() if now - v[0] < PERIOD}
            if len(self._seen) >= MAX_ADDRESSES:
                self._seen.clear()
        self._seen[peer] = (since, count + 1)
