"""Work that only the one-shot containers may do: they see the secrets volume, nothing that runs for long does.

``boincdock.project.operate`` is at the other end: one verb, JSON on stdout.
"""
from __future__ import annotations

import json
from typing import Any

from boincdock.errors import BoincdockError
from boincdock.manage.compose import Compose
from boincdock.manage.jobs import from_inside


def call(compose: Compose, service: str, verb: str, *arguments: str, stdin: bytes | None = None) -> Any:
    """Run a verb in a container of ``secrets`` (writes the secrets volume) or ``makeproject`` (writes project and
    database); its answer. Its ``error:`` line becomes a BoincdockError."""
    if service == "makeproject":
        compose.container("mysql")
    argv = compose.argv("run", "--rm", "--no-deps", "-T", service, "python3", "-m", "boincdock.project.operate", verb,
                        *arguments)
    result = compose.runner.run(argv, env=compose.environment, stdin=stdin, check=False)
    if not result.ok:
        raise from_inside(result, verb)
    try:
        return json.loads(result.text)
    except ValueError:
        raise BoincdockError(f"{verb} did not answer in JSON: {result.text.strip()[:200]!r}",
                             "is the makeproject image of this version? ./manage.py up --build") from None
