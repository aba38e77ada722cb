"""python3 -m tests.fuzz TARGET... [--executions N] [--seed S] [--seconds T] [--engine own|atheris] [--keep]

Feeds mutated requests to a part of the server that reads what strangers send, and prints executions, executions per
second, crashes and the largest memory used. Exit status 1 if anything broke; the input then lies in
tests/fuzz/corpus/TARGET/crash-..., where a unit test (tests/unit/test_fuzz_corpus.py) goes on trying it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import sys

from tests.fuzz.engine import Coverage, Fuzzer, limit_memory
from tests.fuzz.targets import TARGETS, Target


def main(argv: list[str]) -> int:
    """Entry point; see the module's text."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "targets",
        nargs="+",
        choices=[*TARGETS, "all"],
        metavar="TARGET",
        help=f"one or more of: all {' '.join(TARGETS)}",
    )
    parser.add_argument("--executions", type=int, default=100000, metavar="N", help="per target (default 100000)")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="the same seed gives the same inputs (default 1)"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), metavar="T", help="per target, at most")
    parser.add_argument(
        "--engine",
        choices=["own", "atheris"],
        default="own",
        help="atheris: libFuzzer's engine, if `pip install atheris` was run; one target only",
    )
    parser.add_argument(
        "--memory",
        type=int,
        default=512,
        metavar="MIB",
        help="MiB that may be used on top of the program itself (default 512)",
    )
    parser.add_argument("--keep", action="store_true", help="add the inputs that reached new lines to the corpus")
    options = parser.parse_args(argv)
    chosen = list(TARGETS.values()) if "all" in options.targets else [TARGETS[name] for name in options.targets]
    if options.engine == "atheris":
        if len(chosen) != 1:
            parser.error("--engine atheris takes one target")
        if importlib.util.find_spec("atheris") is None:
            parser.error("atheris is not installed: pip install atheris, or leave out --engine")
        from tests.fuzz.with_atheris import run

        return run(chosen[0], options.executions, options.seed, options.seconds, options.memory)
    limit_memory(options.memory << 20)
    broken = 0
    for target in chosen:
        fuzzer = Fuzzer(target, options.seed)
        summary = fuzzer.run(options.executions, options.seconds, lambda line: print(line, flush=True))
        print(summary.text(), flush=True)
        broken += len(summary.faults)
        if options.keep:
            print(f"{keep(target, fuzzer.corpus)} inputs added to {target.folder}")
    return 1 if broken else 0


def keep(target: Target, corpus: list[bytes]) -> int:
    """Write those inputs of a run that reach lines which the stored ones do not, the shortest first."""
    coverage, function, count = Coverage(target.files), target.start(), 0
    for data in target.seeds():
        coverage.run(function, data)
    for data in sorted(corpus, key=len):
        if len(data) <= 4096 and coverage.run(function, data):
            target.folder.mkdir(parents=True, exist_ok=True)
            (target.folder / f"seed-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
            count += 1
    return count


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
