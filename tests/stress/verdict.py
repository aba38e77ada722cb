"""Judging a run: the hosts' ledger against the database, the validators' logs and the files."""
from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from tests.stress.hosts import Ledger, Scenario

Row = dict[str, Any]
OVER, SUCCESS, CLIENT_ERROR, VALIDATE_ERROR, VALID = 5, 1, 3, 6, 1
EXIT_ABORTED_BY_USER = 203
SHOWN = 10


class Verdict:
    """What is wrong; empty if nothing is."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.figures: dict[str, Any] = {}

    def expect(self, good: bool, text: str) -> None:
        """Note a fault unless ``good``."""
        if not good:
            self.faults.append(text)

    def none_of(self, found: list[Any], text: str) -> None:
        """Note a fault if anything was found."""
        if found:
            more = f" … {len(found)} in all" if len(found) > SHOWN else ""
            self.faults.append(f"{text}: {', '.join(map(str, found[:SHOWN]))}{more}")


def judge(ledger: Ledger, facts: Mapping[str, Any], scenario: Scenario, jobs: int,
          expected_output: Callable[[str], bytes], killed: bool = False) -> Verdict:
    """Compare. ``killed``: a validator may have died between its commit and its log line."""
    v = Verdict()
    workunits = [dict(zip(facts["workunit_columns"], row, strict=True)) for row in facts["workunits"]]
    results = [dict(zip(facts["result_columns"], row, strict=True)) for row in facts["results"]]
    by_wu: dict[int, list[Row]] = defaultdict(list)
    for r in results:
        by_wu[r["workunitid"]].append(r)
    v.none_of(ledger.violations, "seen by hosts")
    v.expect(len(workunits) == jobs, f"{len(workunits)} workunits of {jobs}")
    _finished(v, workunits, results)
    _errors(v, workunits, by_wu, scenario)
    _reports(v, ledger, results)
    _credit(v, facts, results, killed)
    v.none_of(facts["uploads_left"], "files left in upload")
    v.none_of(facts["downloads_left"], "input files left")
    if facts["outputs"] is not None:
        _outputs(v, workunits, facts["outputs"], expected_output)
    v.figures.update(
        workunits=len(workunits), results=len(results), credit=facts["credit"],
        succeeded=sum(w["canonical_resultid"] > 0 for w in workunits),
        failed=sum(w["error_mask"] > 0 for w in workunits),
        outcomes=dict(sorted(Counter(r["outcome"] for r in results).items())),
        valid=sum(r["validate_state"] == VALID for r in results), **ledger.counts)
    return v


def _finished(v: Verdict, workunits: list[Row], results: list[Row]) -> None:
    v.none_of([w["name"] for w in workunits if w["assimilate_state"] != 2], "lost: not assimilated")
    v.none_of([w["name"] for w in workunits if w["need_validate"]], "stuck: waits for validation")
    v.none_of([w["name"] for w in workunits if w["file_delete_state"] != 2], "stuck: inputs not deleted")
    v.none_of([r["name"] for r in results if r["server_state"] != OVER], "stuck: result not over")
    v.none_of([r["name"] for r in results if r["file_delete_state"] in (1, 3)], "stuck: outputs not deleted")


def _errors(v: Verdict, workunits: list[Row], by_wu: Mapping[int, list[Row]], scenario: Scenario) -> None:
    """Every failed workunit failed for a reason, and each that had none succeeded."""
    wrong = []
    for w in workunits:
        mine = by_wu[w["id"]]
        errors = sum(r["outcome"] == VALIDATE_ERROR or
                     (r["outcome"] == CLIENT_ERROR and r["exit_status"] != EXIT_ABORTED_BY_USER) for r in mine)
        reasons = (2 if errors > w["max_error_results"] else 0) | (8 if len(mine) >= w["max_total_results"] else 0)
        if w["error_mask"] & ~reasons or bool(w["error_mask"]) == bool(w["canonical_resultid"]):
            wrong.append(f"{w['name']} (error_mask {w['error_mask']}, {errors} errors in {len(mine)})")
        if scenario.doomed(w["name"]) and w["canonical_resultid"]:
            wrong.append(f"{w['name']} (must fail)")
    v.none_of(wrong, "ended without a reason")


def _reports(v: Verdict, ledger: Ledger, results: list[Row]) -> None:
    """What was acknowledged is in the database, from the host that has it."""
    rows = {r["name"]: r for r in results}
    v.none_of([name for name in ledger.owner if name not in rows], "sent, but no such result")
    lost = []
    for name, said in ledger.acked.items():
        r = rows.get(name)
        outcomes = (SUCCESS, VALIDATE_ERROR) if said == "success" else (CLIENT_ERROR,)
        if r is None or r["server_state"] != OVER or r["outcome"] not in outcomes or not r["received_time"]:
            lost.append(f"{name} ({said}, in the database: {r and (r['server_state'], r['outcome'])})")
    v.none_of(lost, "report acknowledged and lost")
    hosts: dict[int, set[int]] = defaultdict(set)
    for name, owner in ledger.owner.items():
        if name in rows and rows[name]["hostid"]:
            hosts[owner].add(rows[name]["hostid"])
    v.none_of([f"{owner}: {sorted(ids)}" for owner, ids in hosts.items() if len(ids) > 1], "one computer, two hosts")


def _credit(v: Verdict, facts: Mapping[str, Any], results: list[Row], killed: bool) -> None:
    sums = facts["credit"]
    limit = 1e-9 * max(1.0, sums["results"]) + 1e-6
    for kind in ("hosts", "users"):
        v.expect(abs(sums[kind] - sums["results"]) <= limit, f"credit of {kind} {sums[kind]} is not that of results"
                                                             f" {sums['results']}")
    valid = {r["id"] for r in results if r["validate_state"] == VALID}
    v.expect(not valid or sums["results"] > 0, "no credit at all")
    grants = dict(facts["grants"])
    v.none_of([i for i, n in grants.items() if n > 1], "granted twice by the validators' logs")
    v.none_of(sorted(grants.keys() - valid), "granted by the logs, not valid in the database")
    if not killed:
        v.none_of(sorted(valid - grants.keys()), "valid in the database, not granted by the logs")


def _outputs(v: Verdict, workunits: list[Row], outputs: Mapping[str, str],
             expected: Callable[[str], bytes]) -> None:
    wrong = []
    for w in workunits:
        found = outputs.get(w["name"], "nothing")
        right = hashlib.sha256(expected(w["name"])).hexdigest() if w["canonical_resultid"] else "error"
        if found != right:
            wrong.append(f"{w['name']}: {found[:16]}, not {right[:16]}")
    v.none_of(wrong, "collected output is wrong")
    v.expect(len(outputs) == len(workunits), f"{len(outputs)} collected outputs of {len(workunits)} jobs")
