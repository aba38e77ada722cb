"""Bringing keys from the secrets volume to the project, and a key change to everybody (spec 04 section 1.6 to 1.8).

The project volume gets public keys and ``upload_private``, nothing else. When the code-signing key changes, the
key that the scheduler offers and the signatures of all published files change together: the scheduler is stopped for
that moment. Interrupted anywhere, the next run of makeproject completes it.
"""
from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from boincdock import crypto
from boincdock.apps.repository import AppRepository
from boincdock.apps.signatures import FOLDER, Resigner, stored_signature
from boincdock.config import Project
from boincdock.db import Connection
from boincdock.project.keyring import OLD_UPLOAD, PUBLIC, old_keys
from boincdock.project.tree import Tree, TreeError

PAUSE = b"boincdock: the code-signing key is being changed\n"
"""Content of ``stop_sched`` while the key changes; an operator's own trigger file has another one and stays."""
GRACE = 1.0
"""Seconds for requests that the scheduler took up before it was stopped; nothing tells from here when they end."""
_OLD_UPLOAD_FILE = re.compile(r"old_upload_public_[0-9]+")

Note = Callable[[str], None]


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if pattern.fullmatch(path.name))


def _shown(tree: Tree, name: str) -> bytes | None:
    """A key file of the project folder; None if there is none, or something planted there that is to be replaced."""
    try:
        return tree.read(f"keys/{name}")
    except TreeError:
        return None


def _copy(tree: Tree, vault: Tree, name: str, note: Note, mode: int = 0o644) -> None:
    data = vault.read(f"keys/{name}")
    if data is not None and tree.write(f"keys/{name}", data, mode):
        note(f"keys/{name} copied into the project")


def publish_secrets(tree: Tree, vault: Tree, note: Note) -> None:
    """Operators' password file, and the code-signing key of a project that has none yet."""
    password_file = vault.read("html/ops/.htpasswd")
    if password_file is not None and tree.write("html/ops/.htpasswd", password_file, 0o640):
        note("html/ops/.htpasswd copied into the project")
    if _shown(tree, "code_sign_public") is None:
        _publish_code_sign(tree, vault, note)
    for name in ("code_sign_private", *_names(tree.root / "keys", re.compile("old_key_private_[0-9]+"))):
        if tree.remove(f"keys/{name}"):
            note(f"keys/{name} removed: it does not belong into the project folder")


def _publish_code_sign(tree: Tree, vault: Tree, note: Note) -> None:
    """The present key last: with it, everything that leads to it is there."""
    names = _names(vault.root / "keys", PUBLIC)
    for name in sorted(names, key=lambda n: n == "code_sign_public"):
        _copy(tree, vault, name, note)


def publish_upload_keys(tree: Tree, vault: Tree, db: Connection, note: Note) -> None:
    """The upload pair, after the old public keys that jobs in progress still need."""
    names = sorted(_names(vault.root / "keys", _OLD_UPLOAD_FILE), key=_number)
    needed = [vault.read(f"keys/{name}") or b"" for name in names]
    if names and _shown(tree, "upload_public") == vault.read("keys/upload_public"):
        # Jobs were certified with a former key until the present one came into the project.
        changed = int((tree.root / "keys" / "upload_public").lstat().st_mtime)
        if not AppRepository(db).certified_before(changed + 60):
            needed = []
    present = _names(tree.root / "keys", _OLD_UPLOAD_FILE)
    # Overwriting from the front and cutting off behind never leaves a moment without a needed key.
    for number, data in enumerate(needed):
        if tree.write(f"keys/old_upload_public_{number}", data):
            note(f"keys/old_upload_public_{number}: a former upload key stays valid for jobs in progress")
    for name in sorted(present, key=_number, reverse=True):
        if _number(name) >= len(needed) and tree.remove(f"keys/{name}"):
            note(f"keys/{name} removed: no job needs that former upload key any more")
    _copy(tree, vault, "upload_public", note)
    _copy(tree, vault, "upload_private", note, 0o600)


def _number(name: str) -> int:
    match = OLD_UPLOAD.fullmatch(name)
    return int(match[1]) if match else 0


def resigner(tree: Tree, vault: Tree, project: Project) -> Resigner:
    """Gives published files signatures by the secrets volume's present key."""
    data = vault.read("keys/code_sign_public") or b""
    private = vault.read("keys/code_sign_private")
    folder = tree.root / "keys" / FOLDER
    return Resigner(
        crypto.parse_public(data.decode("ascii", "replace")), old_keys(vault, "old_key_"),
        crypto.parse_private(private.decode("ascii", "replace")) if private is not None else None,
        lambda md5: stored_signature(folder, md5), project.download_dir)


def follow_code_sign(tree: Tree, vault: Tree, db: Connection, project: Project, note: Note,
                     warn: Note, grace: float = GRACE) -> bool:
    """Make the project show the secrets volume's code-signing key, with all published files signed by it.

    False, and nothing is changed, if some file that is offered cannot be signed (the new key is elsewhere and its
    signatures were not brought here): hosts would refuse it.
    """
    work = resigner(tree, vault, project)
    same = _shown(tree, "code_sign_public") == vault.read("keys/code_sign_public")
    if same and tree.read("stop_sched") != PAUSE:
        _publish_code_sign(tree, vault, note)
        done = work.run(db)
        for problem in done.problems:
            warn(problem)
        if done.versions:
            note(f"{done.files} files of {len(done.versions)} app versions signed anew")
            tree.write("reread_db", str(time.time_ns()).encode())
        return True
    blocked = work.blocked(db)
    if blocked:
        for problem in blocked:
            warn(problem)
        warn("the new code-signing key is not shown to clients yet: bring the missing signatures "
             "(./manage.py keys sign --import)")
        return False
    if tree.read("stop_sched") is None:
        tree.write("stop_sched", PAUSE)
        time.sleep(grace)
    _publish_code_sign(tree, vault, note)
    done = work.run(db)
    note(f"code-signing key changed: {done.files} files of {len(done.versions)} app versions signed anew")
    tree.write("reread_db", str(time.time_ns()).encode())
    if tree.read("stop_sched") == PAUSE:
        tree.remove("stop_sched")
    return True
