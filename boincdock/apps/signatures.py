"""Signatures of published files: those brought from another machine, and making all anew (spec 04 section 1.7, 6.6).

A signature covers nothing but a file's MD5. So a signature that came back from the signing machine is kept under
the MD5, in ``key_dir/signed/``, and found again for whatever file has these contents; it is verified whenever it
is used, so nobody can do harm by writing there.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boincdock.apps.repository import AppRepository, Row
from boincdock.crypto import PrivateKey, PublicKey, md5_of_file, sign_md5, verify_md5
from boincdock.crypto.offline import FileDigest, digest_file
from boincdock.db import Connection
from boincdock.errors import BoincdockError, InputError

FOLDER = "signed"
_MAX_SIGNATURE = 4096
_FILE_INFO = re.compile(r"<file_info>.*?</file_info>", re.DOTALL)
_SIGNATURE = re.compile(r"(<file_signature>)(.*?)(</file_signature>)", re.DOTALL)
_NAME = re.compile(r"<name>\s*([^<]*?)\s*</name>")
_MD5 = re.compile(r"<md5_cksum>\s*([0-9a-f]{32})\s*</md5_cksum>")
_NBYTES = re.compile(r"<nbytes>\s*([0-9]+)(?:\.0*)?\s*</nbytes>")

Lookup = Callable[[str], str | None]


def stored_signature(folder: Path, md5: str) -> str | None:
    """What ``folder`` (key_dir/signed) holds for these contents; not verified yet."""
    try:
        with (folder / md5).open("rb") as stream:
            return stream.read(_MAX_SIGNATURE).decode("latin-1")
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A file_info of ``app_version.xml_doc``. ``md5`` is empty if the document does not say it."""

    name: str
    md5: str
    nbytes: int
    signature: str


def signed_files(document: str) -> list[SignedFile]:
    """The files of an app version as clients are told of them."""
    found = []
    for info in _FILE_INFO.findall(document):
        name, md5, nbytes, signature = (p.search(info) for p in (_NAME, _MD5, _NBYTES, _SIGNATURE))
        found.append(SignedFile(name[1] if name else "", md5[1] if md5 else "", int(nbytes[1]) if nbytes else 0,
                                signature[2].strip() if signature else ""))
    return found


def title(row: Row) -> str:
    """How messages call a version."""
    plan = f" plan class {row['plan_class']}" if row["plan_class"] else ""
    return f"{row['app']} {row['version_num'] // 100}.{row['version_num'] % 100:02} {row['platform']}{plan}"


def _text(row: Row) -> str:
    return bytes(row["xml_doc"] or b"").decode("utf-8", "replace")


def _offered(db: Connection) -> list[Row]:
    return [row for row in AppRepository(db).documents() if not (row["deprecated"] or row["app_deprecated"])]


def published_files(db: Connection, download_dir: Path) -> list[FileDigest]:
    """Every file of every version that is offered, once, with the digests of what lies in the download folder.

    InputError if one is missing or is not what was published: such a file must not be signed again.
    """
    found: dict[str, FileDigest] = {}
    for row in _offered(db):
        for file in signed_files(_text(row)):
            if file.name in found:
                continue
            digest = digest_file(download_dir, file.name)
            if digest.nbytes != file.nbytes or file.md5 not in ("", digest.md5):
                raise InputError(f"{download_dir / file.name} is not what was published with {title(row)}",
                                 "bring the published file back, or deprecate the version")
            found[file.name] = digest
    return [found[name] for name in sorted(found)]


@dataclass(slots=True)
class Resigned:
    """What became of all versions: ids that were changed, files signed, and what could not be done."""

    versions: list[int] = field(default_factory=list)
    files: int = 0
    problems: list[str] = field(default_factory=list)


class Resigner:
    """Gives every published file a signature by the present key.

    A new signature comes from ``lookup`` (MD5 -> text), else from the private key; that one only signs what
    carries a valid signature by one of ``old`` keys, so that nobody who can write to the database gets anything
    signed. ``download_dir`` is asked for the MD5 only where a document has none.
    """

    def __init__(self, current: PublicKey, old: Sequence[PublicKey], private: PrivateKey | None, lookup: Lookup,
                 download_dir: Path) -> None:
        self._current = current
        self._old = old
        self._private = private
        self._lookup = lookup
        self._download = download_dir

    def problems(self, db: Connection) -> list[str]:
        """What is offered without a valid signature; changes nothing."""
        found = []
        for row in _offered(db):
            bad = [f.name for f in signed_files(_text(row)) if not self._is_current(f)]
            found += [f"app version {row['id']} ({title(row)}): {name} has no signature by the project's present "
                      "code-signing key" for name in bad]
        return found

    def blocked(self, db: Connection) -> list[str]:
        """What is offered and could not be signed; changes nothing."""
        found = []
        for row in _offered(db):
            try:
                self.document(_text(row))
            except BoincdockError as error:
                found.append(f"app version {row['id']} ({title(row)}): {error.message}")
        return found

    def run(self, db: Connection) -> Resigned:
        """Do all versions in one transaction; those that cannot be done are in ``problems``."""
        return db.retrying(lambda: self._run(AppRepository(db)))

    def _run(self, repository: AppRepository) -> Resigned:
        done = Resigned()
        for row in repository.documents(lock=True):
            document = _text(row)
            try:
                new, count = self.document(document)
            except BoincdockError as error:
                if not (row["deprecated"] or row["app_deprecated"]):
                    done.problems.append(f"app version {row['id']} ({title(row)}): {error.message}")
                continue
            if new != document:
                repository.set_document(row["id"], new.encode())
                done.versions.append(row["id"])
                done.files += count
        return done

    def document(self, text: str) -> tuple[str, int]:
        """(the document with present signatures, number of new ones); InputError names a file without one."""
        count = 0

        def one(match: re.Match[str]) -> str:
            nonlocal count
            info = match[0]
            file = signed_files(info)[0]
            if self._is_current(file):
                return info
            fresh = self._sign(file)
            count += 1
            return _SIGNATURE.sub(lambda m: f"{m[1]}\n{fresh.strip()}\n    {m[3]}", info, count=1)

        return _FILE_INFO.sub(one, text), count

    def _md5(self, file: SignedFile) -> str:
        if file.md5:
            return file.md5
        try:
            md5, nbytes = md5_of_file(self._download / file.name)
        except OSError:
            return ""
        return md5 if nbytes == file.nbytes else ""

    def _is_current(self, file: SignedFile) -> bool:
        return verify_md5(self._md5(file), file.signature, self._current)

    def _sign(self, file: SignedFile) -> str:
        md5 = self._md5(file)
        brought = self._lookup(md5) if md5 else None
        if brought is not None and verify_md5(md5, brought, self._current):
            return brought
        if self._private is None:
            raise InputError(f"{file.name} has no signature by the present code-signing key, which is not on this "
                             "machine")
        if not any(verify_md5(md5, file.signature, key) for key in self._old):
            raise InputError(f"{file.name} is not signed by any of the project's keys: it is not signed anew")
        return sign_md5(md5, self._private)
