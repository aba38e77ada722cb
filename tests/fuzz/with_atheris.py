"""The same targets under libFuzzer (https://pypi.org/project/atheris), which sees every branch and compared value."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import Target


def run(target: Target, executions: int, seed: int, seconds: float, memory: int) -> int:
    """Does not come back: libFuzzer ends the process, with status 1 or 77 if anything broke."""
    import atheris  # type: ignore[import-not-found]

    for name, module in list(sys.modules.items()):
        if name.startswith("boincdock.") and any(f in (module.__file__ or "") for f in target.files):
            _instrument(atheris, module)
    function = target.start()
    target.folder.mkdir(parents=True, exist_ok=True)
    words = Path(tempfile.mkdtemp(prefix="fuzz_words_"))
    (words / "dictionary").write_text(
        "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in target.words if word)
    )
    begin = Path(tempfile.mkdtemp(prefix="fuzz_corpus_"))
    for number, data in enumerate(target.seeds()):
        (begin / str(number)).write_bytes(data)
    arguments = [
        sys.argv[0],
        f"-runs={executions}",
        f"-seed={seed}",
        "-max_len=65536",
        "-timeout=10",
        f"-rss_limit_mb={memory + 256}",
        f"-artifact_prefix={target.folder}/",
        "-print_final_stats=1",
        f"-dict={words}/dictionary",
        str(begin),
    ]
    if seconds != float("inf"):
        arguments.insert(1, f"-max_total_time={int(seconds)}")
    atheris.Setup(arguments, function)
    atheris.Fuzz()
    return 0


def _instrument(atheris: object, module: object) -> None:
    for value in list(vars(module).values()):
        if callable(value) and getattr(value, "__module__", "") == module.__name__:  # type: ignore[attr-defined]
            if hasattr(value, "__code__"):
                value.__code__ = atheris.instrument_func(value).__code__  # type: ignore[attr-defined]
            elif isinstance(value, type):
                for inner in vars(value).values():
                    inner = getattr(inner, "__func__", inner)
                    if hasattr(inner, "__code__"):
                        inner.__code__ = atheris.instrument_func(inner).__code__  # type: ignore[attr-defined]
