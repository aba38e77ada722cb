"""The tables every request needs, read once per process and swapped as a whole (spec 02 sections 1.1, 1.3)."""
from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from boincdock.protocol.gui_urls import expand
from boincdock.scheduler.buda import Variant, load_variants
from boincdock.scheduler.model import App, AppVersion, Row, core_version, proc_type_of_plan_class, text_of
from boincdock.scheduler.plan_class import PlanClasses
from boincdock.scheduler.repository import Repository
from boincdock.scheduler.stamps import changed

log = logging.getLogger(__name__)

MAX_AGE = 30.0
"""Seconds after which the tables are read again even if nobody touched ``reread_db``."""

PERCENTILE_AGE = 1800.0


@dataclass(frozen=True)
class Snapshot:
    """Immutable view of platforms, apps, versions, plan classes and small project files."""

    platforms: dict[str, int] = field(default_factory=dict)
    apps: dict[int, App] = field(default_factory=dict)
    versions: dict[tuple[int, int], tuple[AppVersion, ...]] = field(default_factory=dict)
    version_by_id: dict[int, AppVersion] = field(default_factory=dict)
    plan_classes: PlanClasses = field(default_factory=PlanClasses)
    percentiles: tuple[float, float] = (3.3e9, 3.3e9)
    proc_types: frozenset[int] = frozenset()
    gui_urls: str = ""
    project_files: str = ""
    file_delete_regex: tuple[re.Pattern[str], ...] = ()
    buda: dict[str, tuple[Variant, ...]] = field(default_factory=dict)

    @property
    def nci_apps(self) -> list[App]:
        """Apps of which a host always runs one job besides its other work."""
        return [app for app in self.apps.values() if app.non_cpu_intensive]

    def app_by_name(self, name: str) -> App | None:
        """The app of this name."""
        return next((app for app in self.apps.values() if app.name == name), None)

    def render_gui_urls(self, values: dict[str, str], in_team: bool) -> str:
        """gui_urls.xml with its macros replaced (spec 01 section 4.5)."""
        return expand(self.gui_urls, values, in_team) if self.gui_urls else ""


def _app(row: Row, all_nci: bool, project_dir: Path) -> App:
    return App(
        id=row["id"], name=row["name"], user_friendly_name=row["user_friendly_name"],
        min_version=row["min_version"], homogeneous_redundancy=row["homogeneous_redundancy"],
        weight=row["weight"], beta=bool(row["beta"]), target_nresults=row["target_nresults"],
        homogeneous_app_version=bool(row["homogeneous_app_version"]),
        non_cpu_intensive=all_nci or bool(row["non_cpu_intensive"]),
        locality_scheduling=row["locality_scheduling"], n_size_classes=row["n_size_classes"],
        fraction_done_exact=bool(row["fraction_done_exact"]),
        size_quantiles=_quantiles(project_dir, row) if row["n_size_classes"] > 1 else (),
    )


def _quantiles(project_dir: Path, row: Row) -> tuple[float, ...]:
    """The n - 1 lines of ``size_census_<app>``; none, with a log line, if the file does not have them."""
    name, n = row["name"], row["n_size_classes"] - 1
    found: list[float] = []
    if "/" not in name and name:
        for line in read_text(project_dir / f"size_census_{name}").split("\n")[:n]:
            try:
                found.append(float(line))
            except ValueError:
                break
    if len(found) < n:
        log.critical("app %s has %d size classes, but size_census_%s does not hold %d numbers", name, n + 1, name, n)
        return ()
    return tuple(found)


def make_version(row: Row, platform: str) -> AppVersion:
    """An :class:`AppVersion` from a row of ``app_version`` and its platform's name."""
    return AppVersion(
        id=row["id"], appid=row["appid"], version_num=row["version_num"], platformid=row["platformid"],
        platform=platform, xml_doc=text_of(row["xml_doc"]),
        min_core_version=core_version(row["min_core_version"]),
        max_core_version=core_version(row["max_core_version"]),
        plan_class=row["plan_class"], pfc_n=row["pfc_n"], pfc_avg=row["pfc_avg"], beta=bool(row["beta"]),
    )


def select_versions(versions: list[AppVersion], min_version: int) -> list[AppVersion]:
    """The versions of one app and platform that may be sent (section 1.1 steps 2 and 3).

    Versions are superseded by a higher number of the same plan class and the same ``beta`` flag.
    """
    newest: dict[tuple[str, bool], int] = {}
    for v in versions:
        key = (v.plan_class, v.beta)
        newest[key] = max(newest.get(key, 0), v.version_num)
    marked = [replace(v, superseded=v.version_num < newest[v.plan_class, v.beta]) for v in versions]
    if min_version:
        return [v for v in marked if v.version_num >= min_version]
    return [v for v in marked if not v.superseded]


def build_snapshot(repo: Repository, project_dir: Path, percentiles: tuple[float, float],
                   all_nci: bool = False) -> Snapshot:
    """Read everything; raises DatabaseError. A bad plan_class_spec.xml is logged and refuses its classes."""
    names = {row["id"]: row["name"] for row in repo.platforms()}
    apps = {row["id"]: _app(row, all_nci, project_dir) for row in repo.apps()}
    grouped: dict[tuple[int, int], list[AppVersion]] = {}
    for row in repo.app_versions():
        if row["appid"] in apps and row["platformid"] in names:
            version = make_version(row, names[row["platformid"]])
            grouped.setdefault((version.appid, version.platformid), []).append(version)
    versions = {key: tuple(select_versions(found, apps[key[0]].min_version)) for key, found in grouped.items()}
    plan_classes = PlanClasses.load(project_dir)
    if plan_classes.broken:
        log.critical("plan classes are refused: %s", plan_classes.broken)
    buda = load_variants(project_dir)
    types = {_proc_type(plan_classes, v.plan_class) for found in versions.values() for v in found}
    types |= {_proc_type(plan_classes, v.plan_class) for found in buda.values() for v in found}
    return Snapshot(
        platforms={name: id_ for id_, name in names.items()},
        apps=apps,
        versions=versions,
        version_by_id={v.id: v for found in versions.values() for v in found},
        plan_classes=plan_classes,
        percentiles=percentiles,
        proc_types=frozenset(types),
        buda=buda,
        gui_urls=read_text(project_dir / "gui_urls.xml"),
        project_files=read_text(project_dir / "project_files.xml"),
        file_delete_regex=_patterns(read_text(project_dir / "file_delete_regex")),
    )


def _proc_type(plan_classes: PlanClasses, plan_class: str) -> int:
    spec = plan_classes.spec(plan_class)
    if spec is not None and not (spec.gpu_type or spec.gpu_type_regex):
        return 0
    return proc_type_of_plan_class(plan_class)


def _patterns(text: str) -> tuple[re.Pattern[str], ...]:
    found = []
    for line in filter(None, (part.strip() for part in text.split("\n"))):
        try:
            found.append(re.compile(line))
        except re.error as error:
            log.warning("file_delete_regex: %r: %s", line, error)
    return tuple(found)


def read_text(path: Path) -> str:
    """The text of a small project file; empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class SnapshotCache:
    """Gives the current :class:`Snapshot`; reads anew when ``reread_db`` was touched or after MAX_AGE."""

    def __init__(self, project_dir: Path) -> None:
        self._dir = project_dir
        self._trigger = str(project_dir / "reread_db")
        self._snapshot: Snapshot | None = None
        self._read_at = 0.0
        self._touched = 0
        self._percentiles = (3.3e9, 3.3e9)
        self._percentiles_at = 0.0

    def get(self, repo: Repository, now: float, all_nci: bool = False) -> Snapshot:
        """The snapshot, at most MAX_AGE seconds old. ``now`` is a monotonic clock in seconds."""
        touched = changed(self._trigger)
        if self._snapshot is None or touched != self._touched or now - self._read_at > MAX_AGE:
            if not self._percentiles_at or now - self._percentiles_at > PERCENTILE_AGE:
                self._percentiles = repo.flops_percentiles() or (3.3e9, 3.3e9)
                self._percentiles_at = now
            self._snapshot = build_snapshot(repo, self._dir, self._percentiles, all_nci)
            self._read_at, self._touched = now, touched
        return self._snapshot
