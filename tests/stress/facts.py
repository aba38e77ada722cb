"""What a project's database and folders hold after a run, as one JSON document: ``python3 facts.py APP [RESULTS_DIR]``.

Needs boincdock and ``$BOINC_PROJECT_DIR`` only, so that the crash run can pipe it into a container.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from boincdock.config import Project, load_project
from boincdock.db import Connection, connect

_GRANT = re.compile(r"\[RESULT#(\d+) \S+\] valid\b")


def _all(db: Connection, statement: str, *args: Any) -> list[dict[str, Any]]:
    cursor = db.raw().cursor()
    cursor.execute(statement, args)
    rows = list(cursor.fetchall())
    cursor.close()
    return rows


def _credit(db: Connection) -> dict[str, Any]:
    sums = {"results": _all(db, "SELECT COALESCE(SUM(granted_credit), 0) AS s FROM result")[0]["s"]}
    for table in ("host", "user", "team"):
        sums[table + "s"] = _all(db, f"SELECT COALESCE(SUM(total_credit), 0) AS s FROM {table}")[0]["s"]
    return {name: float(value) for name, value in sums.items()}


def _grants(project: Project) -> Counter[int]:
    """How often validators logged that they found a result valid, by result."""
    found: Counter[int] = Counter()
    for log in project.log_dir.glob("*validator*.log*"):
        for line in log.read_text(errors="replace").splitlines():
            found.update(int(number) for number in _GRANT.findall(line))
    return found


def _files(root: Path) -> list[str]:
    return [name for _, _, names in os.walk(root) for name in names]


def _outputs(root: Path) -> dict[str, str]:
    """SHA-256 of each collected output by job, or "error" for an error report."""
    found = {}
    for folder in root.iterdir() if root.is_dir() else []:
        if folder.is_dir() and not folder.name.startswith("."):
            files = {p.name: p for p in folder.iterdir()}
            error = files.pop("error.json", None)
            data = b"".join(files[name].read_bytes() for name in sorted(files))
            found[folder.name] = "error" if error else hashlib.sha256(data).hexdigest()
    return found


def collect(project: Project, db: Connection, app: str, results_dir: Path | None) -> dict[str, Any]:
    """Everything that ``verdict.judge`` looks at."""
    appid = _all(db, "SELECT id FROM app WHERE name = %s", app)[0]["id"]
    workunits = _all(db, "SELECT id, name, assimilate_state, error_mask, canonical_resultid, "
                         "need_validate, file_delete_state, max_error_results, max_total_results "
                         "FROM workunit WHERE appid = %s", appid)
    results = _all(db, "SELECT id, name, workunitid, server_state, outcome, validate_state, file_delete_state, "
                       "hostid, granted_credit, sent_time, report_deadline, received_time, exit_status "
                       "FROM result WHERE appid = %s", appid)
    grants = _grants(project)
    return {
        "workunits": [list(row.values()) for row in workunits],
        "workunit_columns": list(workunits[0]) if workunits else [],
        "results": [list(row.values()) for row in results],
        "result_columns": list(results[0]) if results else [],
        "credit": _credit(db),
        "grants": list(grants.items()),
        "uploads_left": _files(project.upload_dir)[:20],
        "downloads_left": [n for n in _files(project.download_dir) if n.startswith(app)][:20],
        "outputs": _outputs(results_dir / app) if results_dir else None,
    }


def main(argv: list[str]) -> int:
    """Print the facts."""
    project = load_project()
    facts = collect(project, connect(project.config), argv[0], Path(argv[1]) if len(argv) > 1 else None)
    json.dump(facts, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
