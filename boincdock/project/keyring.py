"""Changing keys inside the secrets volume (spec 04 section 1.7, 1.8; decision 0110).

Each change is one journal file, written whole; what it says is then done, and done again after an interruption,
before anything else happens to the volume. So a change takes place wholly or not at all. Clients and the project
see nothing of it before makeproject publishes the new keys.
"""
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boincdock import crypto
from boincdock.crypto.bundle import KeyChange
from boincdock.crypto.rotate import plan_rotation
from boincdock.errors import ConfigError, InputError
from boincdock.project.tree import Tree

JOURNAL = "keys/.change.json"
PRIVATE = re.compile(r"code_sign_private|old_key_private_[0-9]+")
"""Key files that belong to the signing machine only."""
PUBLIC = re.compile(r"code_sign_public|old_key_[0-9]+|signature(_stripped)?_[0-9]+")
"""Key files of code signing that the project shows to clients."""
OLD_UPLOAD = re.compile(r"old_upload_public_([0-9]+)")


def fingerprint(key: crypto.PublicKey) -> str:
    """SHA-256 of the exact public key file, in hex: the same on every machine."""
    return hashlib.sha256(key.file_text.encode("ascii")).hexdigest()


def finish_change(tree: Tree) -> bool:
    """Do what an interrupted change left undone; True if there was one."""
    journal = tree.read(JOURNAL)
    if journal is None:
        return False
    change = json.loads(journal)
    for name, text in change["write"].items():
        tree.write(f"keys/{name}", text.encode("ascii"), 0o600)
    for name in change["remove"]:
        tree.remove(f"keys/{name}")
    tree.remove(JOURNAL)
    return True


def _change(tree: Tree, write: Mapping[str, str], remove: Sequence[str] = ()) -> None:
    for name in (*write, *remove):
        if "/" in name or name.startswith("."):
            raise InputError(f"{name!r} is no key file")
    record = json.dumps({"write": dict(write), "remove": list(remove)}, sort_keys=True)
    tree.write(JOURNAL, record.encode("ascii"), 0o600)
    finish_change(tree)


def _public(tree: Tree, name: str) -> crypto.PublicKey:
    data = tree.read(f"keys/{name}")
    if data is None:
        raise ConfigError(f"{tree.root}/keys/{name} is missing", "restore the secrets from a backup")
    return crypto.parse_public(data.decode("ascii", "replace"))


def old_keys(tree: Tree, prefix: str) -> list[crypto.PublicKey]:
    """The public keys ``prefix0``, ``prefix1`` … up to the first that is missing."""
    found: list[crypto.PublicKey] = []
    while tree.read(f"keys/{prefix}{len(found)}") is not None:
        found.append(_public(tree, f"{prefix}{len(found)}"))
    return found


def _done_before(tree: Tree, present: str, prefix: str, wanted: str) -> bool:
    """Whether the volume has left the key ``wanted`` (a fingerprint) already; InputError if it never had it."""
    if fingerprint(_public(tree, present)) == wanted:
        return False
    if wanted in map(fingerprint, old_keys(tree, prefix)):
        return True
    raise InputError(f"the project's {present} is not the one in the secrets volume",
                     "bring them together first: ./manage.py up")


def rotate_code_sign(secrets_dir: Path, present: str) -> dict[str, Any]:
    """Replace the code-signing key by a new one that every earlier key signs.

    ``present``: fingerprint of the key that the project shows to clients; if the volume is past it, an
    earlier call did the work and nothing is changed. CryptoError: a private key is not here.
    """
    tree = Tree(secrets_dir)
    try:
        finish_change(tree)
        changed = not _done_before(tree, "code_sign_public", "old_key_", present)
        if changed:
            if tree.read("keys/code_sign_private") is None:
                raise InputError("the code-signing private key is not on this server",
                                 "change it where the key is: ./manage.py keys sign --export LIST --published, "
                                 "keys offline-sign LIST --rotate NEWDIR, keys rotate code-sign --import FILE")
            rotated = plan_rotation(secrets_dir / "keys")
            _change(tree, {**rotated.public, **rotated.secret})
        return {"changed": changed, "fingerprint": fingerprint(_public(tree, "code_sign_public"))}
    finally:
        tree.close()


def rotate_upload(secrets_dir: Path, present: str) -> dict[str, Any]:
    """Replace the upload key pair. The old public key stays as ``old_upload_public_N``: jobs in progress carry
    its certificates. ``present`` as for :func:`rotate_code_sign`."""
    tree = Tree(secrets_dir)
    try:
        finish_change(tree)
        changed = not _done_before(tree, "upload_public", "old_upload_public_", present)
        if changed:
            private, public = crypto.generate_keypair()
            number = len(old_keys(tree, "old_upload_public_"))
            old = _public(tree, "upload_public").file_text
            _change(tree, {f"old_upload_public_{number}": old, "upload_public": public, "upload_private": private})
        return {"changed": changed, "fingerprint": fingerprint(_public(tree, "upload_public"))}
    finally:
        tree.close()


def drop_private(secrets_dir: Path, present: str) -> list[str]:
    """Remove every private code-signing key of the volume; the names removed. InputError unless ``present`` is
    the fingerprint of the key in use: the caller saved that one."""
    tree = Tree(secrets_dir)
    try:
        finish_change(tree)
        if fingerprint(_public(tree, "code_sign_public")) != present:
            raise InputError("the code-signing key has changed meanwhile", "run offline-init again")
        names = sorted(path.name for path in (secrets_dir / "keys").iterdir() if PRIVATE.fullmatch(path.name))
        if names:
            _change(tree, {}, names)
        return names
    finally:
        tree.close()


def install_change(secrets_dir: Path, document: str) -> dict[str, Any]:
    """Take over the public part of a key change that was made on another machine (``KeyChange`` as text).

    It must start from the present key, directly or by way of others. Installing it again changes nothing.
    Private keys here would belong to the old key: the caller has them saved, they are removed.
    """
    change = KeyChange.parse(document)
    tree = Tree(secrets_dir)
    try:
        finish_change(tree)
        change.check_replaces(_public(tree, "code_sign_public"))
        changed = any(tree.read(f"keys/{name}") != text.encode("ascii") for name, text in change.public.items())
        if changed:
            names = sorted(path.name for path in (secrets_dir / "keys").iterdir() if PRIVATE.fullmatch(path.name))
            _change(tree, change.public, names)
        return {"changed": changed, "fingerprint": fingerprint(change.key)}
    finally:
        tree.close()
