"""The transitioner: moves workunits on whose transition time has come (spec 03 section 5).

A batch of due workunits is claimed with row locks (those held by others are skipped), decided by the pure
function ``transition.decide``, and written in the same transaction: several transitioners on any number of
machines never handle one workunit twice, and a killed one leaves nothing half done. A workunit that cannot be
handled (say, its template is gone) is put off with growing pauses and does not hold up the others.
"""
from __future__ import annotations

import argparse
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from boincdock.config import Project
from boincdock.db import Connection
from boincdock.enums import ServerState
from boincdock.errors import BoincdockError, DatabaseError, InputError
from boincdock.jobs.results import ResultMaker
from boincdock.lifecycle import hostversions
from boincdock.lifecycle.daemon import Daemon
from boincdock.lifecycle.model import Result, Workunit, from_row, generalised_version_id, next_instance
from boincdock.lifecycle.transition import Plan, Policy, decide
from boincdock.log import Lines

logger = logging.getLogger("boincdock.transitioner")

BATCH = 200
MAX_TEMPLATE_BYTES = 1 << 20
PARK_SECONDS = (60, 86400)
HELD_SECONDS = 0.02
"""Pause if all that is due is held by others (reports coming in)."""


@dataclass(slots=True)
class Step:
    """One workunit of a batch with what is to be done about it."""

    wu: Workunit
    results: list[Result]
    plan: Plan
    new_rows: list[dict[str, Any]]


class TransitionerRepository:
    """The database as the transitioner uses it; all methods run inside the caller's transaction."""

    def __init__(self, db: Connection) -> None:
        self.db = db

    def claim(self, now: int, mod: tuple[int, int], limit: int) -> list[Workunit]:
        """Lock up to ``limit`` due workunits, the most overdue first."""
        rows = self.db.all("transitioner.claim", now=now, n=mod[0], i=mod[1], limit=limit)
        return [from_row(Workunit, row) for row in rows]

    def claim_ids(self, ids: Sequence[int], now: int) -> list[Workunit]:
        """Lock these workunits as far as they are due and free."""
        return [from_row(Workunit, row) for row in self.db.all("transitioner.claim_ids", ids=ids, now=now)]

    def due_ids(self, now: int, mod: tuple[int, int], limit: int) -> list[int]:
        """Ids that ``claim`` would take, without a lock."""
        return [r["id"] for r in self.db.all("transitioner.due", now=now, n=mod[0], i=mod[1], limit=limit)]

    def results(self, ids: Sequence[int]) -> dict[int, list[Result]]:
        """All results of the workunits, by workunit, in id order."""
        found: dict[int, list[Result]] = defaultdict(list)
        for row in self.db.all("transitioner.results", ids=ids):
            found[row["workunitid"]].append(from_row(Result, row))
        return found

    def time_out(self, results: Sequence[Result], now: int) -> set[int]:
        """Mark overdue results NO_REPLY; the ids of those that really were still in progress."""
        locked = [r["id"] for r in self.db.all("transitioner.lock_overdue", ids=[r.id for r in results], now=now)]
        if locked:
            self.db.run("transitioner.time_out", ids=locked, now=now)
        return set(locked)

    def mark(self, query: str, ids: Sequence[int]) -> None:
        """Run one of the guarded result updates, if there is anything to update."""
        if ids:
            self.db.run(query, ids=ids)

    def insert_results(self, rows: list[dict[str, Any]]) -> None:
        """Insert all new results in multi-row statements."""
        self.db.run_many("transitioner.insert_result", rows)

    def save(self, steps: Sequence[Step]) -> None:
        """Write the workunits; those with equal changes share a statement."""
        groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for step in steps:
            p = step.plan
            groups[p.need_validate, p.error_bits, p.assimilate, p.delete_wu_files, p.reset_class,
                   p.transition_time].append(step.wu.id)
        for (validate, bits, assimilate, delete, reset, when), ids in groups.items():
            self.db.run("transitioner.save", ids=ids, need_validate=int(validate), error_bits=int(bits),
                        assimilate=int(assimilate), delete_wu_files=int(delete), reset_class=int(reset),
                        transition_time=when)

    def park(self, wu_id: int, now: int, until: int) -> None:
        """Put a workunit off."""
        self.db.run("transitioner.park", id=wu_id, now=now, transition_time=until)


@lru_cache(maxsize=256)
def _read_template(path: Path, _mtime_ns: int, _size: int) -> str:
    data = path.read_bytes()
    if len(data) > MAX_TEMPLATE_BYTES:
        raise InputError(f"result template {path.name} is larger than {MAX_TEMPLATE_BYTES} bytes")
    return data.decode("utf-8", "replace")


def read_template(project: Project, name: str) -> str:
    """The text of a workunit's result template; ``InputError`` if it is missing or outside the project."""
    path = project.dir / name
    try:
        if not name or not path.resolve().is_relative_to(project.dir.resolve()):
            raise InputError(f"result template {name!r} is not inside the project folder")
        stat = path.stat()
        return _read_template(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise InputError(f"result template {name!r} cannot be read: {error.strerror}") from None


class Transitioner(Daemon):
    """See the module's text. ``--wu_id`` handles a single workunit, due or not."""

    name = "transitioner"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.repository = TransitionerRepository(self.db)
        self._failures: dict[int, int] = {}
        # Read once a batch: system calls cost more than the rest.
        self._templates: dict[str, str] = {}
        self._maker: ResultMaker | None = None
        config = self.project.config
        self.policy = Policy(delete_delay=config.delete_delay, hr_class_static=config.hr_class_static,
                             reliable_priority_on_over=config.reliable_priority_on_over,
                             reliable_priority_on_over_except_error=config.reliable_priority_on_over_except_error)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """The transitioner's own options."""
        parser.add_argument("--wu_id", type=int, metavar="ID", help="handle only this workunit, once")

    def run_once(self) -> int:
        """Handle one batch of due workunits."""
        if self.options.wu_id is not None:
            self.options.one_pass = True
            wu_id, self.options.wu_id = self.options.wu_id, 0
            return self._batch([wu_id], 2**31) if wu_id else 0
        try:
            return self._next_batch()
        except (DatabaseError, _Poison) as error:
            logger.warning("a batch failed (%s); going through it one by one", error)
            return self._one_by_one()

    def _next_batch(self) -> int:
        """The most overdue workunits. Copies by --mod look first and lock then: while InnoDB looks for rows to lock it
        holds those of the other copies for a moment too, who would pass them over."""
        now = self.now
        if self.mod[0] == 1:
            return self._batch(None, now)
        ids = self.repository.due_ids(now, self.mod, BATCH)
        done = self._batch(sorted(ids), now) if ids else 0
        if ids and not done:
            time.sleep(HELD_SECONDS)
        return done or len(ids)

    def _one_by_one(self) -> int:
        now = self.now
        for wu_id in self.repository.due_ids(now, self.mod, BATCH):
            if self.stopping():
                break
            try:
                self._batch([wu_id], now)
            except (DatabaseError, _Poison) as error:
                self._park(wu_id, str(error))  # if the database itself is gone, this raises
        return 1

    def _batch(self, ids: list[int] | None, before: int) -> int:
        """One transaction; the number of workunits handled."""
        steps: list[Step] = []

        def work() -> None:
            steps.clear()
            self._templates.clear()
            self._maker = None
            claimed = (self.repository.claim(before, self.mod, BATCH) if ids is None
                       else self.repository.claim_ids(ids, before))
            if claimed:
                results = self.repository.results([wu.id for wu in claimed])
                steps.extend(self._step(wu, results.get(wu.id, [])) for wu in claimed)
                self._write(steps)

        try:
            self.db.retrying(work)
        except DatabaseError:
            raise
        except Exception as error:
            logger.exception("unforeseen error in a batch")
            raise _Poison(f"{type(error).__name__}: {error}") from error
        if lines := [line for step in steps for line in self._report(step)]:
            logger.info(Lines(lines))
        return len(steps)

    def _step(self, wu: Workunit, results: list[Result]) -> Step:
        """Decide about one workunit and prepare its new results; a template that fails only puts it off."""
        now = self.now
        if wu.canonical_resultid and all(r.id != wu.canonical_resultid for r in results):
            logger.critical("%s its canonical result %d is missing", wu.tag, wu.canonical_resultid)
        plan = decide(wu, results, now, self.policy)
        rows: list[dict[str, Any]] = []
        if plan.create:
            try:
                rows = self._new_rows(wu, results, plan, now)
                self._failures.pop(wu.id, None)
            except BoincdockError as error:
                plan.create = 0
                plan.transition_time = min(plan.transition_time, now + self._pause(wu.id))
                logger.critical("%s cannot create results: %s", wu.tag, error.message)
        return Step(wu, results, plan, rows)

    def _new_rows(self, wu: Workunit, results: list[Result], plan: Plan, now: int) -> list[dict[str, Any]]:
        template = self._templates.get(wu.result_template_file)
        if template is None:
            template = self._templates[wu.result_template_file] = read_template(
                self.project, wu.result_template_file)
        maker = self._maker = self._maker or ResultMaker(self.project)
        first = next_instance(wu.name, [r.name for r in results])
        state = ServerState.UNSENT if wu.size_class < 0 else ServerState.INACTIVE
        rows = []
        for number in range(first, first + plan.create):
            name, document = maker.make(template, wu.name, number)
            rows.append({"create_time": now, "workunitid": wu.id, "server_state": int(state), "name": name,
                         "xml_doc_in": document, "batch": wu.batch, "random": secrets.randbits(31),
                         "appid": wu.appid, "priority": plan.priority, "size_class": wu.size_class})
        return rows

    def _write(self, steps: Sequence[Step]) -> None:
        repository, now = self.repository, self.now
        overdue = sorted((r for s in steps for r in s.plan.timed_out), key=lambda r: r.id)
        if overdue:
            late = repository.time_out(overdue, now)
            delay_bounds = {s.wu.id: s.wu.delay_bound for s in steps}
            self._punish([r for r in overdue if r.id in late], delay_bounds)
        repository.mark("transitioner.mark_too_late", [i for s in steps for i in s.plan.too_late])
        repository.mark("transitioner.mark_not_needed", [i for s in steps for i in s.plan.not_needed])
        repository.mark("transitioner.mark_no_check", [i for s in steps for i in s.plan.no_check])
        repository.mark("transitioner.mark_files_ready", [i for s in steps for i in s.plan.delete_files_of])
        repository.insert_results([row for s in steps for row in s.new_rows])
        repository.save(steps)

    def _punish(self, late: Sequence[Result], delay_bounds: dict[int, int]) -> None:
        """Lower the quota of hosts that missed a deadline (spec 03 section 3)."""
        quota = self.project.config.daily_result_quota
        keyed = sorted((r.hostid, generalised_version_id(r.appid, r.app_version_id), r.id, r) for r in late)
        for host_id, version_id, _, result in keyed:
            record = hostversions.lock(self.db, host_id, version_id)
            if record:
                hostversions.save(self.db, hostversions.after_timeout(record, quota, delay_bounds[result.workunitid]))

    def _pause(self, wu_id: int) -> int:
        failures = self._failures[wu_id] = self._failures.get(wu_id, 0) + 1
        return int(min(PARK_SECONDS[1], PARK_SECONDS[0] * 2 ** min(failures - 1, 20)))

    def _park(self, wu_id: int, reason: str) -> None:
        now = self.now
        pause = self._pause(wu_id)
        logger.critical("[WU#%d] transition failed, next try in %d s: %s", wu_id, pause, reason)
        self.repository.park(wu_id, now, now + pause)

    @staticmethod
    def _report(step: Step) -> list[str]:
        """What the log says of a workunit."""
        wu, plan = step.wu, step.plan
        lines = [f"{wu.tag} {r.tag} no reply by its deadline" for r in plan.timed_out]
        if plan.error_bits & ~wu.error_mask:
            lines.append(f"{wu.tag} error_mask:=>{wu.error_mask | plan.error_bits}")
        if plan.need_validate and not wu.need_validate:
            lines.append(f"{wu.tag} need_validate:=>true")
        if plan.assimilate:
            lines.append(f"{wu.tag} assimilate_state:=>READY")
        if step.new_rows:
            lines.append(f"{wu.tag} created {', '.join(row['name'] for row in step.new_rows)}")
        if plan.delete_wu_files or plan.delete_files_of:
            inputs = ["inputs"] if plan.delete_wu_files else []
            lines.append(f"{wu.tag} files to delete: "
                         + ", ".join(inputs + [f"[RESULT#{i}]" for i in plan.delete_files_of]))
        return lines


class _Poison(Exception):
    """Some workunit of a batch broke the code; carries the error's text."""
