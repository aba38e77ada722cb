#!/usr/bin/env python3
"""Runs one bench and prints a line of the table in bench/README.md and, on standard output's last line, JSON.

    python3 bench/run.py rpc|rpc-large|realistic|upload|… [--runs 5] [--seconds 10]

Everything is brought up on a port and under a compose name of its own, and removed at the end.
"""
from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from stack import BenchError, Stack, build_loadgen

BENCHES = {
    "rpc": "rpc:bench_rpc", "rpc-large": "rpc:bench_large", "realistic": "rpc:bench_realistic",
    "upload": "rpc:bench_upload", "create": "lifecycle:bench_create",
    "transitioner": "lifecycle:bench_transitioner", "daemons": "lifecycle:bench_daemons",
    "fullcycle": "fullcycle:bench_fullcycle",
}


def main(argv: list[str]) -> int:
    """Run the bench that was named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", choices=sorted(BENCHES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("-c", "--connections", type=int, default=8)
    parser.add_argument("--finished", type=int, default=10_000_000, help="rpc-large: finished results")
    parser.add_argument("--units", type=int, default=0, help="create, transitioner, daemons: jobs of a run")
    parser.add_argument("--copies", type=int, default=2, help="transitioner, daemons: processes of each (by --mod)")
    parser.add_argument("--minutes", type=float, default=10, help="fullcycle")
    parser.add_argument("--preload", type=int, default=5_000_000, help="fullcycle: finished results next to it")
    parser.add_argument("--processes", default="", help="of the scheduler and of uploads (default: the image's)")
    parser.add_argument("--threads", default="", help="of each of these processes (default: the image's)")
    parser.add_argument("--port", type=int, default=18210)
    parser.add_argument("--live", action="store_true", help="run the working tree's Python code, not the images'")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    module, _, function = BENCHES[options.bench].partition(":")
    bench: Any = getattr(importlib.import_module(module), function)
    try:
        build_loadgen()
        settings = {f"{who}_{what}": value for who in ("SCHEDULER", "UPLOAD") for what, value in
                    (("PROCESSES", options.processes), ("THREADS", options.threads)) if value}
        with Stack(environment=settings, name=f"boincbench{options.port}", port=options.port, live=options.live,
                   daemons=options.bench == "fullcycle") as stack:
            found = bench(stack, options)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    row = importlib.import_module(module).row
    for one in found:
        print(row(one))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
