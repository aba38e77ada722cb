"""``python3 -m tests.stress concurrency|crash [options]``; exit status 0 only if nothing was wrong."""
from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.stress.hosts import Scenario


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.stress", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    plain = kinds.add_parser("concurrency", help="many schedulers and daemons on the MariaDB of $BOINCDOCK_TEST_DB")
    for name, default in (("jobs", 50000), ("schedulers", 8), ("transitioners", 2), ("validators", 2),
                          ("assimilators", 2), ("hosts", 400), ("delay-bound", 120)):
        plain.add_argument(f"--{name}", type=int, default=default)
    plain.add_argument("--pause", type=float, default=1.0, help="shortest time between two requests of a host")
    plain.add_argument("--overlap", action="store_true", help="copies of a daemon are not shared out by --mod")
    plain.add_argument("--uploads", action="store_true", help="hosts use the upload handler")
    plain.add_argument("--folder", type=Path, help="where the project's folder is made")
    crash = kinds.add_parser("crash", help="kill -9 in a stack of its own while hosts work")
    crash.add_argument("--kills", type=int, default=50)
    crash.add_argument("--jobs", type=int, default=5000)
    crash.add_argument("--hosts", type=int, default=60)
    crash.add_argument("--keep", action="store_true", help="leave the stack running")
    for each in (plain, crash):
        each.add_argument("--seed", type=int, default=int(time.time()))
        each.add_argument("--time-limit", type=float, default=3600)
    return parser


def _run(options: argparse.Namespace) -> Any:
    if options.kind == "concurrency":
        from tests.stress import concurrency

        return concurrency.run(concurrency.Plan(
            jobs=options.jobs, schedulers=options.schedulers, transitioners=options.transitioners,
            validators=options.validators, assimilators=options.assimilators, hosts=options.hosts,
            delay_bound=options.delay_bound, overlap=options.overlap, uploads=options.uploads,
            time_limit=options.time_limit,
            scenario=Scenario(seed=options.seed, pause=options.pause, jobs_held=16)), _say, options.folder)
    from tests.stress import crash

    return crash.run(crash.Plan(kills=options.kills, jobs=options.jobs, hosts=options.hosts, seed=options.seed,
                                time_limit=options.time_limit), _say, keep=options.keep)


def main(argv: list[str]) -> int:
    """Run, print figures and verdict."""
    options = _parser().parse_args(argv)
    _say(f"seed {options.seed}")
    verdict = _run(options)
    print(json.dumps(verdict.figures, indent=1, default=str))
    for fault in verdict.faults:
        print(f"FAULT: {fault}")
    print("verdict: " + (f"{len(verdict.faults)} faults" if verdict.faults else "clean"))
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
