"""Submitting jobs and watching them, through the project's own commands in the apache container."""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from boincdock.errors import BoincdockError, InputError
from boincdock.manage.compose import Compose
from boincdock.manage.shell import Result

FINAL = ("done", "error")
_POLL, _POLL_MAX = 1.0, 4.0
MAX_INPUT_BYTES = 2**30
SWITCHES = {
    "json", "stdin_files", "verbose", "quiet", "help", "rm", "init", "h", "q", "wait", "follow", "no_check",
    "broadcast", "continue_on_error", "ship",
    # of `docker run`, refused by the project with the reason
    "privileged", "interactive", "tty", "detach", "i", "t", "it", "ti",
}
"""Options of create-work, docker_create_work and create_work that take no value."""


def call(compose: Compose, *command: str, stdin: bytes | None = None) -> Any:
    """Run a project command that prints one JSON document; its own error line becomes ours."""
    result = compose.project_command(*command, stdin=stdin, check=False)
    if not result.ok:
        raise from_inside(result, command[0])
    try:
        return json.loads(result.text)
    except ValueError:
        raise BoincdockError(f"{command[0]} did not answer in JSON: {result.text.strip()[:200]!r}") from None


def from_inside(result: Result, command: str) -> BoincdockError:
    """The ``error:``/``hint:`` lines of a project command as an error of ours."""
    message, hint = "", None
    for line in result.errors.splitlines():
        if line.startswith("error: ") and not message:
            message = line.removeprefix("error: ")
        elif line.startswith("hint: "):
            hint = line.removeprefix("hint: ")
    if not message:
        lines = [line for line in (result.errors + result.text).splitlines() if line.strip()]
        message = f"{command} failed with status {result.status}" + (f": {lines[-1]}" if lines else "")
    return BoincdockError(message, hint)


def project_status(compose: Compose) -> dict[str, Any]:
    """``enabled``, ``daemons`` and ``counts`` of a running project."""
    status = call(compose, "bin/status", "--json")
    counts = call(compose, "bin/query_jobs", "--json", "--limit", "0")["counts"]
    return {"enabled": status["enabled"], "daemons": status["daemons"], "counts": counts}


def query(compose: Compose, names: Sequence[str] = (), *, state: str | None = None, limit: int = 50) -> dict[str, Any]:
    """The newest jobs, or the named ones: the answer of ``bin/query_jobs`` (docs/architecture.md)."""
    command = ["bin/query_jobs", "--json", "--limit", str(limit), *(["--names_from", "-"] if names else [])]
    if state:
        command += ["--state", state]
    try:
        return dict(call(compose, *command, stdin="\n".join(names).encode() if names else None))
    except BoincdockError as error:
        if names and "there is no job" in error.message:
            raise InputError(error.message, "./manage.py jobs lists the newest ones") from None
        raise


def split_input(word: str) -> tuple[Path, str]:
    """``FILE`` or ``FILE:NAME`` -> the file and the name the job sees; InputError if it is no readable file."""
    path, name = Path(word), Path(word).name
    if not path.exists() and ":" in word:
        left, _, name = word.rpartition(":")
        path = Path(left)
    if not path.is_file():
        raise InputError(f"input file {str(path)!r} does not exist or is no file")
    if not name or name in (".", "..") or "/" in name or not name.isprintable():
        raise InputError(f"{name!r} is not a usable file name")
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"input file {str(path)!r} cannot be read: {error.strerror}") from None
    return path, name


def ours_first(words: Sequence[str], ours: set[str]) -> list[str]:
    """The words with those options in front that are manage.py's own (``ours``: names without dashes).

    Options end at the first word that is neither an option nor an option's value: IMAGE, as with `docker run`.
    """
    front: list[str] = []
    others: list[str] = []
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] not in ("-", "--"):
        name, mark, _ = words[at].lstrip("-").partition("=")
        takes_value = not mark and name.replace("-", "_") not in SWITCHES
        group = list(words[at : at + 1 + takes_value])
        (front if name in ours else others).extend(group)
        at += len(group)
    return [*front, *others, *words[at:]]


def of_batch(compose: Compose, batch: int | str, *, state: str | None = None) -> list[dict[str, Any]]:
    """All jobs of a batch, in the order of their making."""
    command = ["bin/query_jobs", "--json", "--batch", str(batch), *(["--state", state] if state else [])]
    found: list[dict[str, Any]] = call(compose, *command)["jobs"]
    return found


def batch(compose: Compose, command: str, *words: str) -> dict[str, Any]:
    """``bin/batch COMMAND``: create, list, show, abort or retire; its document."""
    return dict(call(compose, "bin/batch", command, "--json", *words))


def cancel(compose: Compose, names: Sequence[str]) -> int:
    """Cancel jobs; how many were not finished. BoincdockError if one does not exist; then none is cancelled."""
    words = [word for name in names for word in ("--name", name)]
    return int(call(compose, "bin/cancel_jobs", "--json", *words)["cancelled"])


def wait_batch(
    compose: Compose, number: int, timeout: float, on_change: Callable[[dict[str, Any]], None],
    poke: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Until all jobs of a batch are done or have failed; ``on_change`` sees the batch whenever its counts changed.
    Raises BoincdockError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    shown: Any = None
    while True:
        found = batch(compose, "show", str(number))
        counts = found["counts"]
        if counts != shown:
            shown = counts
            on_change(found)
        if counts["jobs"] == counts["done"] + counts["error"]:
            return found
        if time.monotonic() > deadline:
            left = counts["jobs"] - counts["done"] - counts["error"]
            raise BoincdockError(f"not finished after {timeout:.0f} s: {left} of {counts['jobs']} jobs of batch"
                                 f" {number}", "see ./manage.py status and logs")
        if poke:
            poke()
        time.sleep(min(_POLL_MAX, max(0.0, deadline - time.monotonic())))


def wait(
    compose: Compose, names: Sequence[str], timeout: float, on_change: Callable[[dict[str, Any]], None],
    poke: Callable[[], None] | None = None,
) -> list[dict[str, Any]]:
    """Until all named jobs are done or have failed; ``on_change`` sees every job whose state changed.

    ``poke`` is called between looks (the demo tells its client to hurry). Raises BoincdockError after
    ``timeout`` seconds, naming what is unfinished.
    """
    deadline = time.monotonic() + timeout
    shown: dict[str, str] = {}
    pause = _POLL
    while True:
        jobs: list[dict[str, Any]] = query(compose, names)["jobs"]
        pause = min(pause * 1.25, _POLL_MAX)
        for job in jobs:
            stage = progress(job)
            if shown.get(job["name"]) != stage:
                shown[job["name"]] = stage
                pause = _POLL
                on_change(job)
        open_jobs = [job for job in jobs if job["state"] not in FINAL]
        if not open_jobs:
            return jobs
        if time.monotonic() > deadline:
            left = ", ".join(f"{job['name']} ({job['state']})" for job in open_jobs)
            raise BoincdockError(f"not finished after {timeout:.0f} s: {left}", "see ./manage.py status and logs")
        if poke:
            poke()
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))


def progress(job: dict[str, Any]) -> str:
    """A job's state in a few words, with what its results add."""
    granted = sum(result.get("credit") or 0 for result in job.get("results", ()))
    state = str(job["state"])
    words = {"unsent": "waiting for a volunteer", "in_progress": "computing", "validating": "reported, to be validated",
             "assimilating": "valid, outputs on their way to /results", "done": f"done, {granted:.4g} credit granted",
             "error": f"failed: {job.get('error') or 'see the results'}"}
    return words.get(state, state)
