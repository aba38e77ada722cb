"""python3 -m boincdock.project.operate VERB: what manage.py has done in one-shot containers, JSON on stdout.

In the container of the service secrets (may write the secrets volume, has no network):
  rotate-code-sign FINGERPRINT   a new code-signing key after the one with this fingerprint
  rotate-upload FINGERPRINT      a new upload key after the one with this fingerprint
  drop-private FINGERPRINT       remove the private code-signing keys (they were saved elsewhere)
  install-change                 the public part of a key change made elsewhere, from stdin
  db-password begin|switch|finish
  ops-password

In the container of makeproject (reads the secrets volume, writes project and database):
  publish                        everything makeproject does
  add-versions                   app versions from a tar on stdin (APP/VERSION/PLATFORM/FILE …)
  unsigned                       the list of files that wait for a signature made elsewhere
  published                      the list of all published files
  import-signatures              signatures made elsewhere, from stdin; then as publish
  check-change                   a key change from stdin: does it sign every published file? keep its signatures
"""
from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from boincdock import crypto
from boincdock.apps.signatures import FOLDER, published_files
from boincdock.apps.update_versions import Outcome
from boincdock.bin._run import OptionParser, entry
from boincdock.config import Project
from boincdock.crypto.bundle import KeyChange
from boincdock.crypto.offline import digest_file, list_files, parse_signed
from boincdock.db import Connection
from boincdock.errors import BoincdockError, InputError
from boincdock.project import keyring, steps
from boincdock.project import secrets as secret_store
from boincdock.project.settings import from_environment
from boincdock.project.tree import Tree

MAX_DOCUMENT = 64 << 20
MAX_VERSIONS = 700 << 20
"""Bytes that app versions sent by manage.py may have: they pass through this container's memory."""


@dataclass
class Session:
    """The project, open for changes; nobody else changes it meanwhile."""

    run: steps.Run
    tree: Tree
    vault: Tree
    project: Project
    db: Connection

    @property
    def public(self) -> crypto.PublicKey:
        """The code-signing key in use, from the secrets volume."""
        return crypto.read_public(self.run.secrets_dir / "keys" / "code_sign_public")


def new_run() -> steps.Run:
    """A run with this container's settings; its reports go to stderr, stdout is for the answer."""
    return steps.Run(from_environment(), report=lambda text: print(text, file=sys.stderr, flush=True))


@contextmanager
def session(run: steps.Run) -> Iterator[Session]:
    """Open a project that is there already; InputError if it is not."""
    if not (run.settings.volume / "config.xml").is_file():
        raise InputError("the project folder is empty", "make the project first: ./manage.py up")
    tree, vault = Tree(run.settings.volume), Tree(run.secrets_dir)
    try:
        with steps.locked(run.settings.volume):
            project = steps.volume_project(run)
            db = steps.wait_for_database(project, run.report)
            try:
                yield Session(run, tree, vault, project, db)
            finally:
                db.close()
    finally:
        tree.close()
        vault.close()


def _stdin_text() -> str:
    data = sys.stdin.buffer.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise InputError(f"more than {MAX_DOCUMENT} bytes on standard input")
    return data.decode("utf-8", "replace")


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome of update_versions as manage.py shows it."""
    return {"added": [{"id": number, "title": title} for number, title in outcome.added], "known": outcome.known,
            "problems": outcome.problems, "warnings": outcome.warnings,
            "unsigned": sorted(path for path, _ in outcome.unsigned)}


# ---- app versions ------------------------------------------------------------------------------------------------


def unpack(stream: IO[bytes], target: Path) -> None:
    """Folders APP/VERSION/PLATFORM with their files from a tar; InputError for anything else in it."""
    total = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                parts = member.name.removeprefix("./").strip("/").split("/")
                if member.isdir():
                    continue
                if not member.isfile() or len(parts) < 4 or any(p in ("", ".", "..") for p in parts):
                    raise InputError(f"{member.name!r} is no file of an app version (APP/VERSION/PLATFORM/FILE)")
                total += member.size
                if total > MAX_VERSIONS:
                    raise InputError(f"the app versions are larger than {MAX_VERSIONS >> 20} MiB together",
                                     "put them into the image instead (docs/apps.md)")
                path = target.joinpath(*parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                with path.open("xb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                path.chmod(0o755 if member.mode & 0o100 else 0o644)
    except tarfile.TarError as error:
        raise InputError(f"the app versions did not arrive whole: {error}") from None
    except FileExistsError as error:
        raise InputError(f"{error.filename} was sent twice") from None


def add_versions(here: Session, stream: IO[bytes], *, dry_run: bool = False) -> dict[str, Any]:
    """Sign and register the versions of a tar. Each is registered whole or not at all; a version that is there
    already with the same files is no problem, with other files it is."""
    with tempfile.TemporaryDirectory(prefix="versions-") as name:
        stage = Path(name)
        (stage / "apps").mkdir()
        unpack(stream, stage / "apps")
        outcome = steps.publish_versions(here.run, here.db, here.project, stage, dry_run=dry_run)
        outcome.problems += outcome.warnings
        outcome.warnings = []
        _warn_plan_classes(here, stage, outcome)
    return outcome_json(outcome)


def _warn_plan_classes(here: Session, stage: Path, outcome: Outcome) -> None:
    spec = here.tree.read("plan_class_spec.xml")
    if spec is None:
        return
    text = spec.decode("utf-8", "replace")
    for folder in sorted((stage / "apps").glob("*/*/*")):
        plan_class = folder.name.partition("__")[2]
        if plan_class and f">{plan_class}<" not in "".join(text.split()):
            outcome.warnings.append(f"plan class {plan_class} is not in plan_class_spec.xml: no host gets "
                                    f"{folder.relative_to(stage / 'apps')}")


# ---- signing elsewhere -------------------------------------------------------------------------------------------


def unsigned(here: Session) -> str:
    """The list of files of the image's app versions that nobody has signed."""
    with steps.image_apps(here.run, here.tree) as stage:
        outcome = steps.publish_versions(here.run, here.db, here.project, stage, dry_run=True)
        root = stage / "apps"
        digests = [digest_file(root, path) for path, _ in outcome.unsigned]
    seen: dict[str, Any] = {}
    for each in digests:
        seen.setdefault(each.md5, each)
    return list_files(seen.values())


def _keep(here: Session, signed: list[tuple[Any, str]], key: crypto.PublicKey) -> int:
    for digest, signature in signed:
        if not crypto.verify_md5(digest.md5, signature, key):
            raise InputError(f"the signature of {digest.path} was not made with the project's code-signing key",
                             "sign with the private key that belongs to code_sign_public")
    return sum(here.tree.write(f"keys/{FOLDER}/{digest.md5}", signature.encode("ascii"))
               for digest, signature in signed)


def import_signatures(here: Session, text: str) -> dict[str, Any]:
    """Keep signatures made elsewhere, all or none; then publish what they make possible."""
    stored = _keep(here, list(parse_signed(text)), here.public)
    keys = steps.follow_keys(here.run, here.tree, here.vault, here.db, here.project)
    outcome = steps.register_apps(here.run, here.tree, here.db, here.project) if keys else Outcome()
    steps.mark(here.run, here.tree)
    return {**outcome_json(outcome), "signatures": stored}


def check_change(here: Session, text: str) -> dict[str, Any]:
    """Is this key change complete for this project? Its signatures are kept; nothing else changes."""
    change = KeyChange.parse(text)
    change.check_replaces(here.public)
    covered = {digest.md5 for digest, _ in change.signed}
    missing = [d.path for d in published_files(here.db, here.project.download_dir) if d.md5 not in covered]
    if missing:
        raise InputError(f"the key change does not sign {', '.join(missing[:5])}"
                         + (f" and {len(missing) - 5} more" if len(missing) > 5 else ""),
                         "make a new list (./manage.py keys sign --export LIST --published) and sign that")
    return {"signatures": _keep(here, list(change.signed), change.key), "fingerprint": keyring.fingerprint(change.key)}


# ---- the verbs ---------------------------------------------------------------------------------------------------


def publish(run: steps.Run) -> dict[str, Any]:
    """makeproject, and whether the project now shows the secrets volume's key."""
    steps.makeproject(run)
    shown = crypto.read_public(run.settings.volume / "keys" / "code_sign_public")
    wanted = crypto.read_public(run.secrets_dir / "keys" / "code_sign_public")
    if shown != wanted:
        raise BoincdockError("the new code-signing key is not shown to clients yet: not every published file has a "
                             "signature by it", "./manage.py logs makeproject names them")
    return {"changes": run.changes, "fingerprint": keyring.fingerprint(shown)}


def _in_project(verb: str, arguments: list[str]) -> Any:
    run = new_run()
    if verb == "publish":
        return publish(run)
    with session(run) as here:
        if verb == "add-versions":
            return add_versions(here, sys.stdin.buffer, dry_run="--dry-run" in arguments)
        if verb == "unsigned":
            return {"list": unsigned(here)}
        if verb == "published":
            return {"list": list_files(published_files(here.db, here.project.download_dir))}
        if verb == "import-signatures":
            return import_signatures(here, _stdin_text())
        return check_change(here, _stdin_text())


def _in_secrets(verb: str, arguments: list[str]) -> Any:
    folder = secret_store.SECRETS_DIR
    if verb == "install-change":
        return keyring.install_change(folder, _stdin_text())
    if verb == "ops-password":
        secret_store.rotate_ops_password(folder)
        return {"changed": True}
    if len(arguments) != 1:
        raise InputError(f"{verb} takes one argument")
    if verb == "db-password":
        if arguments[0] not in secret_store.DB_PHASES:
            raise InputError(f"db-password: one of {', '.join(secret_store.DB_PHASES)}")
        return {"state": secret_store.db_password(arguments[0], folder)}
    actions: dict[str, Callable[[Path, str], Any]] = {
        "rotate-code-sign": keyring.rotate_code_sign, "rotate-upload": keyring.rotate_upload,
        "drop-private": keyring.drop_private}
    return actions[verb](folder, arguments[0])


IN_PROJECT = ("publish", "add-versions", "unsigned", "published", "import-signatures", "check-change")
IN_SECRETS = ("rotate-code-sign", "rotate-upload", "drop-private", "install-change", "db-password", "ops-password")


def main(argv: list[str]) -> int:
    """Run one verb and print its answer."""
    parser = OptionParser("boincdock.project.operate", __doc__)
    parser.add_argument("verb", choices=[*IN_PROJECT, *IN_SECRETS])
    options, arguments = parser.parse_known_args(argv)
    run = _in_project if options.verb in IN_PROJECT else _in_secrets
    print(json.dumps(run(options.verb, arguments)))
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    entry(main)
