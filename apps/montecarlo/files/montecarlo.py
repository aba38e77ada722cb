"""The volume of the unit ball in some dimensions, by Monte Carlo on all CPUs that BOINC gives the job.

Work is cut into blocks, each with a random generator of its own, so the result is the same on every host, with any
number of CPUs, and after any interruption. Finished blocks are remembered in checkpoint.json: that is all there is to
checkpointing. The progress is in fraction_done, which docker_wrapper reads.
"""
from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

HERE = Path(os.environ.get("MONTECARLO_DIR", "."))
BLOCK = 20_000
KEYS = {"samples": 2_000_000, "seed": 1, "dimensions": 3}


def read_input() -> dict[str, int]:
    """The numbers of the input file; what is missing has a default."""
    values = dict(KEYS)
    for number, line in enumerate((HERE / "in").read_text().splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in KEYS or not words[1].isdigit() or not 1 <= int(words[1]) <= 10**12:
            sys.exit(f"in:{number}: must be one of {', '.join(KEYS)} and a number from 1 on, not {line!r}")
        values[words[0]] = int(words[1])
    return values


def block(task: tuple[int, int, int, int]) -> tuple[int, int]:
    """(number of the block, darts inside) of one block."""
    number, seed, dimensions, samples = task
    draw = random.Random(f"{seed}/{number}").random
    inside = 0
    for _ in range(samples):
        inside += sum(draw() ** 2 for _ in range(dimensions)) <= 1.0
    return number, inside


def replace(name: str, text: str) -> None:
    """Write a file whole: what reads it never sees half of it."""
    part = HERE / f"{name}.part"
    part.write_text(text)
    part.replace(HERE / name)


def load(values: dict[str, int]) -> dict[int, int]:
    """Finished blocks of an earlier run of this job; none if the checkpoint is damaged or of other input."""
    try:
        saved = json.loads((HERE / "checkpoint.json").read_text())
        return {int(k): int(v) for k, v in saved["blocks"].items()} if saved["input"] == values else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def main() -> None:
    """Compute, resume, report."""
    values = read_input()
    blocks = math.ceil(values["samples"] / BLOCK)
    done = load(values)
    if done:
        print(f"resuming: {len(done)} of {blocks} blocks are done", file=sys.stderr)
    cpus = max(1, int(float(os.environ.get("BOINC_NCPUS", "1"))))
    period = float(os.environ.get("BOINC_CHECKPOINT_PERIOD", "60"))
    last = (values["samples"] - 1) % BLOCK + 1
    tasks = [(n, values["seed"], values["dimensions"], last if n == blocks - 1 else BLOCK)
             for n in range(blocks) if n not in done]
    print(f"{len(tasks)} blocks on {cpus} CPUs", file=sys.stderr)
    saved = told = time.monotonic()
    with multiprocessing.Pool(cpus) as pool:
        for number, inside in pool.imap_unordered(block, tasks):
            done[number] = inside
            now = time.monotonic()
            if now - told >= 0.5:
                told = now
                replace("fraction_done", f"{len(done) / blocks:.6f}\n")
            if now - saved >= period:
                saved = now
                replace("checkpoint.json", json.dumps({"input": values, "blocks": done}))
    volume = sum(done.values()) / values["samples"] * 2 ** values["dimensions"]
    replace("out", f"dimensions {values['dimensions']}\nsamples {values['samples']}\ninside {sum(done.values())}\n"
                   f"volume {volume:.9f}\n")
    replace("fraction_done", "1\n")


if __name__ == "__main__":
    main()
