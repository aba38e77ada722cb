"""keys [--json]: which keys the project shows to clients, and whether everything published fits them.

Prints the fingerprints (SHA-256 of the public key files), files offered to hosts without a valid signature by the
present code-signing key, and how many unfinished results were certified with each former upload key. The private
code-signing key is not here; keys are changed with ./manage.py keys. Exit status 1 if a published file has no
valid signature.
"""
from __future__ import annotations

import hashlib
import json
from typing import Any

from boincdock import crypto
from boincdock.apps.repository import AppRepository
from boincdock.apps.signatures import Resigner
from boincdock.bin._run import OptionParser, entry
from boincdock.config import Project, load_project
from boincdock.crypto.rotation import CodeSignKeys
from boincdock.db import Connection, connect


def _fingerprint(key: crypto.PublicKey) -> str:
    return hashlib.sha256(key.file_text.encode("ascii")).hexdigest()


def state(db: Connection, project: Project) -> dict[str, Any]:
    """What ``--json`` prints."""
    folder = project.key_dir
    keys = CodeSignKeys.load(folder)
    resigner = Resigner(keys.current, [], None, lambda _md5: None, project.download_dir)
    former: list[dict[str, Any]] = []
    while (path := folder / f"old_upload_public_{len(former)}").exists():
        results = AppRepository(db).certified_before(int(path.stat().st_mtime))
        former.append({"fingerprint": _fingerprint(crypto.read_public(path)), "unfinished_results": results})
    return {
        "code_sign": {"fingerprint": _fingerprint(keys.current), "former": [_fingerprint(old.key) for old in keys.old],
                      "problems": resigner.problems(db)},
        "upload": {"fingerprint": _fingerprint(crypto.read_public(folder / "upload_public")), "former": former},
    }


def main(argv: list[str]) -> int:
    """Run keys."""
    parser = OptionParser("keys", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    options = parser.parse_args(argv)
    project = load_project()
    found = state(connect(project.config), project)
    problems = found["code_sign"]["problems"]
    if options.json:
        print(json.dumps(found))
        return 0
    print(f"code signing: {found['code_sign']['fingerprint']}")
    for old in found["code_sign"]["former"]:
        print(f"  replaced:   {old}")
    print(f"uploads:      {found['upload']['fingerprint']}")
    for each in found["upload"]["former"]:
        print(f"  former:     {each['fingerprint']}, {each['unfinished_results']} unfinished results")
    for problem in problems:
        print(f"problem: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    entry(main)
