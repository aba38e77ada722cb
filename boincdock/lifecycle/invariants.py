"""What must hold in a project's database and file trees at any time, and finding what does not.

Every rule has a name, a sentence for people, and either a query of ``invariants.sql`` or a function that walks files.
A rule that holds while daemons work finds nothing even in the middle of their work: each is one statement, and what is
merely on its way (due, or younger than ``grace`` seconds) does not count.
"""
from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from boincdock.config import Project
from boincdock.db import Connection
from boincdock.db.connector import chunks
from boincdock.errors import InputError
from boincdock.files.hierarchy import download_path
from boincdock.lifecycle.outputs import declared_files, output_files

PAGE = 500
UNREFERENCED_AGE = 32 * 86400.0
"""Files without an owner are the antique deleter's business until they are older than this (seconds)."""


@dataclass(frozen=True, slots=True)
class Offence:
    """A row or file that breaks a rule."""

    id: int
    detail: str


@dataclass(frozen=True, slots=True)
class Context:
    """What rules are given."""

    db: Connection
    project: Project
    now: int
    grace: int
    limit: int

    @property
    def times(self) -> dict[str, int]:
        """The parameters of queries that look at times."""
        return {"now": self.now, "stale": self.now - self.grace}


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that must hold. ``find`` is None for a rule that is a query; ``needs`` names an option of
    config.xml without which the rule does not apply; ``extra`` rules run only if asked for by name."""

    name: str
    text: str
    find: Callable[[Context], Iterator[Offence]] | None = None
    times: tuple[str, ...] = ()
    needs: str = ""
    extra: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule and what breaks it; ``more`` if there is more than was asked for."""

    rule: str
    text: str
    offences: list[Offence] = field(default_factory=list)
    more: bool = False
    seconds: float = 0.0


def _canonical_outputs(context: Context) -> Iterator[Offence]:
    for row in _pages(context, "invariants.canonical_page", "wu_id"):
        try:
            missing = [f.name for f in output_files(context.project, row["xml_doc_in"] or b"")
                       if not f.optional and not f.path.exists()]
        except InputError as error:
            missing = [error.message]
        if missing:
            yield Offence(row["id"], f"[WU#{row['wu_id']} {row['wu_name']}] {', '.join(missing[:5])}")


def _inputs(context: Context) -> Iterator[Offence]:
    known: dict[str, bool] = {}
    for row in _pages(context, "invariants.unfinished_page", "id"):
        try:
            names = [f.name for f in declared_files(row["xml_doc"] or b"", "workunit.xml_doc")]
        except InputError as error:
            yield Offence(row["id"], f"[WU#{row['id']} {row['name']}] {error.message}")
            continue
        if len(known) > 100000:
            known.clear()
        missing = []
        for name in names:
            if name not in known:
                known[name] = _staged(context.project, row["xml_doc"], name)
            if not known[name]:
                missing.append(name)
        if missing:
            yield Offence(row["id"], f"[WU#{row['id']} {row['name']}] {', '.join(missing[:5])}")


def _staged(project: Project, document: bytes, name: str) -> bool:
    """Whether an input file is in the download folder, or is fetched from somewhere else."""
    if download_path(project, name).exists() or (project.download_dir / name).exists():
        return True
    own = str(project.config.download_url or "").encode()
    start = document.find(b"<name>" + name.encode() + b"</name>")
    info = document[document.rfind(b"<file_info>", 0, start):document.find(b"</file_info>", start)]
    return bool(own) and b"<url>" in info and own not in info


def _unreferenced_outputs(context: Context) -> Iterator[Offence]:
    old = (p for p in _tree(context.project.upload_dir) if _age(p, context.now) > UNREFERENCED_AGE)
    for paths in chunks(old, PAGE):
        owners = {p: _owner(p.name) for p in paths}
        names = sorted({o for o in owners.values() if o})
        rows = {r["name"]: r["file_delete_state"] for r in context.db.all("invariants.results_by_name", names=names)
                } if names else {}
        for path, owner in owners.items():
            if rows.get(owner) in (None, 2):
                yield Offence(0, str(path))


def _owner(file_name: str) -> str:
    """The result to which an upload of this name belongs: what stands before ``_r<digits>``."""
    stem, separator, rest = file_name.rpartition("_r")
    return stem if separator and rest[:1].isdigit() else ""


def _unreferenced_inputs(context: Context) -> Iterator[Offence]:
    wanted: set[str] = set()
    for row in _pages(context, "invariants.document_page", "id"):
        try:
            wanted.update(f.name for f in declared_files(row["xml_doc"] or b"", "workunit.xml_doc"))
        except InputError:
            continue  # input_missing reports it
    for paths in chunks(_tree(context.project.download_dir), PAGE):
        strays = {p: p.name for p in paths if _age(p, context.now) > UNREFERENCED_AGE
                  and p.name.removesuffix(".md5").removesuffix(".gz") not in wanted and p.name not in wanted}
        names = sorted({n.removesuffix(".md5").removesuffix(".gz") for n in strays.values()})
        kept = {r["name"] for r in context.db.all("invariants.job_files_by_name", names=names)} if names else set()
        for path, name in strays.items():
            if name.removesuffix(".md5").removesuffix(".gz") not in kept:
                yield Offence(0, str(path))


def _tree(root: Path) -> Iterator[Path]:
    """The files of a fan-out hierarchy: those in folders with hexadecimal names."""
    if not root.is_dir():
        return
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and all(c in "0123456789abcdef" for c in folder.name):
            yield from (p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith("."))


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0  # deleted this moment


def _pages(context: Context, query: str, key: str) -> Iterator[dict]:  # type: ignore[type-arg]
    after = 0
    while rows := context.db.all(query, after=after, limit=PAGE):
        yield from rows
        after = rows[-1][key]


STALE, NOW = ("stale",), ("now",)
RULES: tuple[Rule, ...] = (
    Rule("result_states", "every result has states that exist"),
    Rule("over_without_outcome", "a result that is over has an outcome"),
    Rule("outcome_before_over", "a result that is not over has no outcome"),
    Rule("sent_without_host", "a result in progress has a host, a time it was sent and a deadline"),
    Rule("unsent_with_host", "a result that was not sent has neither host nor time it was sent"),
    Rule("result_without_workunit", "every result belongs to a workunit"),
    Rule("valid_without_success", "only a reported success is valid"),
    Rule("credit_without_validity", "only valid results have credit, and none has negative credit"),
    Rule("two_results_on_a_host", "no host gets two results of a workunit", needs="one_result_per_host_per_wu"),
    Rule("two_results_of_a_user", "no user gets two results of a workunit", needs="one_result_per_user_per_wu"),
    Rule("too_many_results", "no workunit has more results than max_total_results"),
    Rule("workunit_states", "every workunit has states that exist"),
    Rule("canonical_missing", "the canonical result of a workunit is one of its results"),
    Rule("canonical_not_valid", "a canonical result is valid"),
    Rule("valid_without_canonical", "a workunit with a valid result has a canonical result, or failed"),
    Rule("credit_unequal", "all valid results of a workunit have the same credit"),
    Rule("assimilated_without_cause", "only workunits with a canonical result or an error are assimilated"),
    Rule("deleted_before_assimilation", "input files are deleted after assimilation"),
    Rule("inputs_deleted_under_a_result", "input files stay as long as a result is in progress"),
    Rule("canonical_deleted_too_early", "canonical outputs stay until all results are over and checked", times=STALE),
    Rule("overdue_transition", "no workunit waits for the transitioner longer than the grace time", times=STALE),
    Rule("never_looked_at", "an unfinished workunit will be looked at again"),
    Rule("deadline_unwatched", "the transitioner looks at a workunit when a deadline has passed", times=NOW),
    Rule("quorum_unnoticed", "a quorum of unchecked results is with validator or transitioner", times=NOW),
    Rule("late_result_unnoticed", "a late result is with validator or transitioner", times=NOW),
    Rule("unsent_of_finished", "a finished workunit has no results left to send", times=NOW),
    Rule("error_not_assimilated", "a finished workunit is assimilated, or will be"),
    Rule("credit_totals_invalid", "credit totals and averages are not negative"),
    Rule("host_credit_too_low", "a host has at least the credit of its results"),
    Rule("user_credit_too_low", "a user has at least the credit of his results"),
    Rule("user_below_its_hosts", "a user has at least the credit of his hosts"),
    Rule("credit_exact", "hosts and users have just the credit of their results (only if nothing was purged and no"
         " credit came from elsewhere)", extra=True),
    Rule("host_without_user", "every host belongs to a user"),
    Rule("user_without_team", "users are in teams that exist"),
    Rule("host_record_invalid", "counts and averages of host_app_version are not negative"),
    Rule("batch_states", "every batch has a state that exists"),
    Rule("batch_complete_too_early", "a complete batch has no unfinished jobs"),
    Rule("canonical_output_missing", "outputs of canonical results are there until they are assimilated",
         _canonical_outputs),
    Rule("input_missing", "input files of unfinished workunits are there", _inputs),
    Rule("output_unreferenced", "no upload without a result, or of one whose files are deleted, is older than 32 days",
         _unreferenced_outputs),
    Rule("input_unreferenced", "no input file that no workunit names is older than 32 days", _unreferenced_inputs,
         extra=True),
)


def choose(only: Sequence[str], skip: Sequence[str], extra: bool) -> list[Rule]:
    """The rules to check. ``InputError``: there is no such rule."""
    known = {rule.name for rule in RULES}
    unknown = [name for name in (*only, *skip) if name not in known]
    if unknown:
        raise InputError(f"there is no rule {unknown[0]!r}", hint="--list shows all rules")
    return [r for r in RULES if (r.name in only if only else extra or not r.extra) and r.name not in skip]


def check(db: Connection, project: Project, rules: Sequence[Rule], now: int | None = None, grace: int = 3600,
          limit: int = 100) -> Iterator[Finding]:
    """Check the rules one after another; a finding for each, without offences if it holds. At most ``limit`` are
    collected per rule. Reads only."""
    context = Context(db, project, int(time.time()) if now is None else now, grace, limit)
    for rule in rules:
        if rule.needs and not getattr(project.config, rule.needs):
            continue
        began = time.monotonic()
        found = list(itertools.islice(_find(context, rule), limit + 1))
        yield Finding(rule.name, rule.text, found[:limit], len(found) > limit, round(time.monotonic() - began, 3))


def _find(context: Context, rule: Rule) -> Iterator[Offence]:
    if rule.find:
        yield from rule.find(context)
        return
    times = {name: context.times[name] for name in rule.times}
    for row in context.db.all(f"invariants.{rule.name}", limit=context.limit + 1, **times):
        yield Offence(int(row["id"] or 0), str(row["detail"]))


def report(findings: Sequence[Finding]) -> dict[str, object]:
    """The findings as one JSON document."""
    return {"ok": not any(f.offences for f in findings), "rules": [asdict(f) for f in findings]}
