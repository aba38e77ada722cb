"""Token buckets shared by all web processes of a machine, kept in small locked files."""
from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_SHARDS = 64


@dataclass(frozen=True)
class Limit:
    """``burst`` events at once, then one every ``seconds`` seconds."""

    burst: int
    seconds: float


class RateLimiter(Protocol):
    """What the web code needs of a limiter."""

    def wait(self, limit: Limit, key: str) -> float:
        """Seconds until the next event of ``key`` is allowed; 0 = now. Takes nothing."""
        ...

    def take(self, limit: Limit, key: str) -> None:
        """Count one event of ``key``."""
        ...


def network_of(address: str) -> str:
    """The part of an address that identifies a customer: the whole of IPv4, the /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class MemoryRateLimiter:
    """Buckets of one process, for tests and as a fallback."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def wait(self, limit: Limit, key: str) -> float:
        """See ``RateLimiter``."""
        return _wait(self._full_at.get(key, 0.0), limit, self._clock())

    def take(self, limit: Limit, key: str) -> None:
        """See ``RateLimiter``."""
        self._full_at[key] = _taken(self._full_at.get(key, 0.0), limit, self._clock())


def _wait(full_at: float, limit: Limit, now: float) -> float:
    # The bucket is full at `full_at`; an event is allowed while less than `burst` events are missing.
    return max(0.0, full_at - now - (limit.burst - 1) * limit.seconds)


def _taken(full_at: float, limit: Limit, now: float) -> float:
    return min(max(full_at, now) + limit.seconds, now + limit.burst * limit.seconds)


class FileRateLimiter:
    """Buckets in 64 JSON files below ``directory``; each is read and rewritten under its lock.

    If the directory cannot be used, nothing is limited: a full disk must not lock everybody out.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock

    def wait(self, limit: Limit, key: str) -> float:
        """See ``RateLimiter``."""
        digest = _digest(key)
        try:
            return _wait(self._read(self._path(digest)).get(digest, 0.0), limit, self._clock())
        except OSError:
            return 0.0

    def take(self, limit: Limit, key: str) -> None:
        """See ``RateLimiter``."""
        digest = _digest(key)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path(digest), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        with os.fdopen(handle, "r+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            now = self._clock()
            buckets = {k: v for k, v in _parse(file.read()).items() if v > now}
            buckets[digest] = _taken(buckets.get(digest, 0.0), limit, now)
            file.seek(0)
            file.truncate()
            json.dump(buckets, file)

    def _path(self, digest: str) -> Path:
        return self._directory / f"limit_{int(digest[:4], 16) % _SHARDS:02d}.json"

    @staticmethod
    def _read(path: Path) -> dict[str, float]:
        try:
            with path.open(encoding="ascii") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                return _parse(file.read())
        except FileNotFoundError:
            return {}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _parse(text: str) -> dict[str, float]:
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return {}
    if not isinstance(data, dict):
        return {}
    return {str(k): float(v) for k, v in data.items() if isinstance(v, int | float)}
