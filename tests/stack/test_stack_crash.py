"""``kill -9`` in a running stack (issue 4, "Done when" 4): the short form of ``python3 -m tests.stress crash``."""
from __future__ import annotations

from stack_project import Project

from tests.stress import crash


def test_killed_processes_lose_no_job_and_credit_none_twice(fresh_project: Project) -> None:
    fresh_project.up()
    plan = crash.Plan(kills=6, jobs=150, hosts=20, seed=4, runtime=(0.5, 3.0), time_limit=240)
    verdict = crash.attack(fresh_project, plan, print)
    assert verdict.faults == []
    assert set(verdict.figures["kills"]) == set(plan.at_least)
    assert verdict.figures["rpcs failed"] and verdict.figures["transfers failed"], "hosts felt it"
