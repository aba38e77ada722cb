"""Signing files on another machine (spec 04 section 6.4, Do better): list, sign, bring back, verify.

The list names files with their digests, so that big files need not be carried: a signature covers nothing but
the MD5. SHA-256 is in the list too, for the signer to compare with what was really built. Text format: a first
line, then ``md5 sha256 nbytes path``; a signed list has after each such line the signature's five lines.
"""
from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from boincdock.crypto.keys import CryptoError, PrivateKey, PublicKey, write_key_file
from boincdock.crypto.signatures import sign_md5, verify_md5

_REQUEST = "boincdock files to sign 1"
_SIGNED = "boincdock signed files 1"
_LINE = re.compile(r"([0-9a-f]{32}) ([0-9a-f]{64}) ([0-9]{1,18}) (\S[^\r\n]*)")
_MAX_FILES = 100_000
_CHUNK = 1 << 20
_SIGNATURE_LINES = 5


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file to sign: path relative to the folder that is signed, size in bytes, digests as lower-case hex."""

    path: str
    md5: str
    sha256: str
    nbytes: int

    @property
    def line(self) -> str:
        """Its line in a list."""
        return f"{self.md5} {self.sha256} {self.nbytes} {self.path}"


def digest_file(root: Path, path: str) -> FileDigest:
    """Digests of ``root/path``; CryptoError if it cannot be read or the path leads out of ``root``."""
    _check_path(path, "the list")
    md5, sha256, nbytes = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    try:
        with (root / path).open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                md5.update(chunk)
                sha256.update(chunk)
                nbytes += len(chunk)
    except OSError as error:
        raise CryptoError(f"{root / path} cannot be read: {error.strerror}") from error
    return FileDigest(path, md5.hexdigest(), sha256.hexdigest(), nbytes)


def _check_path(path: str, where: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not path.isprintable() or path != path.strip():
        raise CryptoError(f"{where}: {path!r} is not a path inside the folder")


def make_request(root: Path, paths: Iterable[str]) -> str:
    """The list of files to sign, as text to carry to the signing machine."""
    return list_files(digest_file(root, path) for path in paths)


def list_files(files: Iterable[FileDigest]) -> str:
    """The list to sign of files whose digests are known."""
    return "\n".join([_REQUEST, *(each.line for each in files), ""])


def _parse_line(line: str, number: int) -> FileDigest:
    match = _LINE.fullmatch(line)
    if match is None:
        raise CryptoError(f"line {number}: not a file of a list to sign")
    _check_path(match[4], f"line {number}")
    return FileDigest(match[4], match[1], match[2], int(match[3]))


def parse_request(text: str) -> list[FileDigest]:
    """The files of a list; CryptoError names the line that is wrong."""
    lines = text.splitlines()
    if not lines or lines[0] != _REQUEST:
        raise CryptoError("line 1: this is not a list of files to sign")
    if len(lines) > _MAX_FILES:
        raise CryptoError("the list has too many files")
    return [_parse_line(line, number) for number, line in enumerate(lines[1:], 2)]


def sign_request(text: str, private: PrivateKey) -> str:
    """The list with a signature for each file, as text to carry back."""
    parts = [_SIGNED + "\n"]
    for each in parse_request(text):
        parts += [each.line + "\n", sign_md5(each.md5, private)]
    return "".join(parts)


def parse_signed(text: str) -> list[tuple[FileDigest, str]]:
    """Files and signature texts of a signed list; CryptoError names the line that is wrong."""
    lines = text.splitlines()
    if not lines or lines[0] != _SIGNED:
        raise CryptoError("line 1: this is not a list of signed files")
    if len(lines) > _MAX_FILES * (1 + _SIGNATURE_LINES):
        raise CryptoError("the list has too many files")
    found = []
    for at in range(1, len(lines), 1 + _SIGNATURE_LINES):
        signature = lines[at + 1:at + 1 + _SIGNATURE_LINES]
        if len(signature) < _SIGNATURE_LINES or signature[-1] != ".":
            raise CryptoError(f"line {at + 1}: the signature below this line is not complete")
        found.append((_parse_line(lines[at], at + 1), "\n".join([*signature, ""])))
    return found


def apply_signatures(text: str, root: Path, public: PublicKey) -> list[Path]:
    """Write ``FILE.sig`` beside each file of a signed list; the paths written.

    All or nothing: before the first is written, every file must still be what was signed and every signature
    must verify with ``public``, the key that clients have. CryptoError names the file.
    """
    signed = parse_signed(text)
    for each, signature in signed:
        if digest_file(root, each.path) != each:
            raise CryptoError(f"{root / each.path} has changed since it was listed for signing",
                              "make a new list and have it signed")
        if not verify_md5(each.md5, signature, public):
            raise CryptoError(f"the signature of {each.path} was not made with the project's code-signing key",
                              "sign with the private key that belongs to code_sign_public")
    written = []
    for each, signature in signed:
        path = root / f"{each.path}.sig"
        write_key_file(path, signature, secret=False, overwrite=True)
        written.append(path)
    return written
