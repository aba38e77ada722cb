"""size_regulator: releases held-back results of apps with jobs of several sizes (spec 03 sections 1.1, 16)."""
from __future__ import annotations

import argparse
import logging
from typing import Any

from boincdock.errors import InputError
from boincdock.lifecycle.daemon import Daemon

logger = logging.getLogger("boincdock.size_regulator")

ORDERS = ("random_order", "priority_asc", "priority_order", "priority_order_create_time")
CHUNK = 1000


class SizeRegulator(Daemon):
    """Keeps between ``--lo`` and ``--hi`` results of each size class ready to send."""

    name = "size_regulator"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._appid = self._classes = 0
        self._order = next((o for o in ORDERS if getattr(self.options, o)), "id")
        if self.options.sleep_time is not None:
            self.options.sleep_interval = self.options.sleep_time

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """App, limits and order."""
        add = parser.add_argument
        add("--app_name", dest="app", required=True, metavar="NAME", help="short name of the app")
        add("--lo", type=int, required=True, metavar="N", help="release results of a class with fewer than N unsent")
        add("--hi", type=int, required=True, metavar="N", help="… up to N")
        add("--sleep_time", type=float, metavar="S", help="as --sleep_interval")
        for order in ORDERS:
            add(f"--{order}", action="store_true", help="in this order (default: oldest first)")

    def setup(self) -> None:
        """Find the app; it needs at least two size classes."""
        if not 0 < self.options.lo <= self.options.hi:
            raise InputError("--lo must be at least 1 and not above --hi")
        self._appid = self.app_id()
        row = self.db.one("stats.app_classes", name=self.options.app)
        self._classes = int(row["n_size_classes"]) if row else 0
        if self._classes < 2:
            raise InputError(f"app {self.options.app!r} has no size classes (n_size_classes is {self._classes})")

    def run_once(self) -> int:
        """Look at every class once; always idle afterwards."""
        counts = {int(r["size_class"]): int(r["n"]) for r in self.db.all("stats.unsent_by_class", appid=self._appid)}
        for size_class in range(self._classes):
            have = counts.get(size_class, 0)
            if have < self.options.lo:
                done = self._release(size_class, self.options.hi - have)
                logger.info("class %d: %d unsent, %d released", size_class, have, done)
        return 0

    def _release(self, size_class: int, wanted: int) -> int:
        done = 0
        while done < wanted and not self.stopping():
            limit = min(CHUNK, wanted - done)
            count = self.db.retrying(lambda limit=limit: self._chunk(size_class, limit))  # type: ignore[misc]
            done += count
            if count < limit:
                break
        return done

    def _chunk(self, size_class: int, limit: int) -> int:
        rows = self.db.all(f"stats.release_by_{self._order}", appid=self._appid, size_class=size_class, limit=limit)
        ids = [r["id"] for r in rows]
        return self.db.run("stats.release", ids=ids) if ids else 0
