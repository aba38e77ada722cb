"""The feeder: what is left of it (spec 03 section 8.5, 05 B6).

BOINC's feeder fills a shared-memory cache of jobs. Ours has none: the scheduler reads the database itself. The
name stays because every config.xml lists it, and it still is the only one that works out how the app versions'
credit compares, every ten minutes, and that answers the ``reread_db`` trigger.
"""
from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import Any

from boincdock.lifecycle.credit import version_scales
from boincdock.lifecycle.daemon import Daemon

logger = logging.getLogger("boincdock.feeder")

SCALE_PERIOD = 600
_OTHER_ORDERS = ("random_order", "random_order_db", "priority_asc", "by_batch", "allapps", "appids", "wmod",
                 "purge_stale")
"""Options that ask for what the scheduler does not do: it has no cache of jobs that could be ordered or divided."""
_IGNORED_FLAGS = ("--allapps", "--by_batch", "--random_order", "--random_order_db", "--priority_order",
                  "--priority_asc", "--priority_order_create_time", "--batch_accel")


class Feeder(Daemon):
    """See the module's text."""

    name = "feeder"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._scales_due = 0.0
        without = ["--" + name for name in _OTHER_ORDERS if getattr(self.options, name, None)]
        if without:
            logger.warning("%s: no effect; the scheduler sends jobs by priority, then age, of all apps alike"
                           " (decision 0024)", ", ".join(without))

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options of BOINC's feeder are accepted; the job cache they were about does not exist."""
        for flag in _IGNORED_FLAGS:
            parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
        for flag in ("--appids", "--purge_stale"):
            parser.add_argument(flag, help=argparse.SUPPRESS)
        parser.add_argument("--wmod", nargs=2, type=int, help=argparse.SUPPRESS)

    def run_once(self) -> int:
        """Answer the trigger; refresh scales if they are due. Never finds work, so that the loop sleeps."""
        self.project.trigger("reread_db").unlink(missing_ok=True)
        if self.clock() >= self._scales_due and self.mod[1] == 0:
            self._scales_due = self.clock() + SCALE_PERIOD
            for app in self.db.all("feeder.apps"):
                self.db.retrying(lambda app=app: self._rescale(app))  # type: ignore[misc]
        return 0

    def _rescale(self, app: dict[str, Any]) -> None:
        versions = current_versions(self.db.all("feeder.versions", appid=app["id"], min_version=app["min_version"]),
                                    all_versions=bool(app["min_version"]))
        found = version_scales([(v["id"], v["plan_class"], v["pfc_n"], v["pfc_avg"]) for v in versions])
        if found is None:
            return
        min_avg_pfc, scales = found
        old = {v["id"]: v["pfc_scale"] for v in versions}
        changed = {vid: scale for vid, scale in scales.items() if abs(scale - old[vid]) > 1e-9 * scale}
        if abs(min_avg_pfc - app["min_avg_pfc"]) > 1e-9 * min_avg_pfc:
            self.db.run("feeder.save_app", id=app["id"], min_avg_pfc=min_avg_pfc)
        for vid, scale in sorted(changed.items()):
            self.db.run("feeder.save_scale", id=vid, scale=scale)
        if changed:
            logger.info("app %s: min_avg_pfc %g, %d versions rescaled", app["name"], min_avg_pfc, len(changed))


def current_versions(rows: Sequence[dict[str, Any]], all_versions: bool) -> list[dict[str, Any]]:
    """The versions in use: the newest of each platform and plan class, or all if the app names a minimum."""
    if all_versions:
        return list(rows)
    newest: dict[tuple[int, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["platformid"], row["plan_class"])
        if key not in newest or row["version_num"] > newest[key]["version_num"]:
            newest[key] = row
    return list(newest.values())
