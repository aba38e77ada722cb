"""Making the files of a key change, and installing them (spec 04 section 1.7).

Works on an *offline* key folder, which holds private keys: ``code_sign_private``, ``code_sign_public`` and, of
earlier changes, ``old_key_private_N``, ``old_key_N``. The result is a new folder, complete and verified; only
its public part goes to the server.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from boincdock.crypto.keys import (
    CryptoError,
    PrivateKey,
    PublicKey,
    generate_private,
    read_private,
    read_public,
    write_key_file,
)
from boincdock.crypto.rotation import CodeSignKeys
from boincdock.crypto.signatures import key_change_signature, verify_bytes

_ROTATION_FILES = ("old_key_", "signature_", "signature_stripped_")


@dataclass(frozen=True)
class RotatedKeys:
    """Contents of the files after a change: ``public`` for the server, ``secret`` for the offline folder."""

    public: dict[str, str]
    secret: dict[str, str] = field(repr=False)


def _old_pairs(folder: Path) -> list[PrivateKey]:
    """The private keys of earlier changes, oldest first, each checked against its public file."""
    keys: list[PrivateKey] = []
    while (folder / f"old_key_{len(keys)}").exists():
        number = len(keys)
        private = read_private(folder / f"old_key_private_{number}")
        _check_pair(private, read_public(folder / f"old_key_{number}"), f"old_key_private_{number}")
        keys.append(private)
    return keys


def _check_pair(private: PrivateKey, public: PublicKey, name: str) -> None:
    if private.public != public:
        raise CryptoError(f"{name} does not belong to its public key")


def plan_rotation(offline_dir: Path | str, new_private: PrivateKey | None = None) -> RotatedKeys:
    """The files after the present key has been replaced by a new one (default: a fresh one).

    Every old key signs the new one, twice: for clients of each age. All of it is verified.
    CryptoError: a key is missing or unreadable, a pair does not match, or the new key has been used before.
    """
    folder = Path(offline_dir)
    current = read_private(folder / "code_sign_private")
    _check_pair(current, read_public(folder / "code_sign_public"), "code_sign_private")
    olds = [*_old_pairs(folder), current]
    new = new_private or generate_private()
    if any(new.n == old.n for old in olds):
        raise CryptoError("the new key is one of the old keys")
    public = {"code_sign_public": new.public.file_text}
    secret = {"code_sign_private": new.file_text}
    for number, old in enumerate(olds):
        secret[f"old_key_private_{number}"] = old.file_text
        public[f"old_key_{number}"] = old.public.file_text
        for name, text, stripped in ((f"signature_{number}", new.public.file_text, False),
                                     (f"signature_stripped_{number}", new.public.text, True)):
            public[name] = key_change_signature(new.public, old, stripped=stripped)
            if not verify_bytes(text.encode("ascii"), public[name], old.public):
                raise CryptoError(f"{name} does not verify")
    return RotatedKeys(public, secret)


def write_rotation(rotated: RotatedKeys, folder: Path | str) -> None:
    """Write all files into ``folder``, which must not exist yet. The old folder is left as it is."""
    target = Path(folder)
    try:
        target.mkdir(mode=0o700)
    except OSError as error:
        raise CryptoError(f"folder {target} cannot be made: {error.strerror}") from error
    for name, text in rotated.secret.items():
        write_key_file(target / name, text, secret=True)
    for name, text in rotated.public.items():
        write_key_file(target / name, text, secret=False)


def install_public(source: Path | str, server_key_dir: Path | str) -> None:
    """Bring the public part of a rotated key folder to the server; never a private key.

    Everything is verified first, the new key comes last, and running it again completes an interrupted run.
    The server's present key must be the new one or one of the old ones: else its hosts would be locked out.
    CryptoError otherwise.
    """
    origin, target = Path(source), Path(server_key_dir)
    state = CodeSignKeys.load(origin)
    for number, old in enumerate(state.old):
        if old.signature is None or old.signature_stripped is None:
            raise CryptoError(f"signature_{number} or signature_stripped_{number} is missing or wrong in {origin}")
    known = {state.current, *(old.key for old in state.old)}
    if (target / "code_sign_public").exists() and read_public(target / "code_sign_public") not in known:
        raise CryptoError("the server's present code-signing key is not among the old keys",
                          "attached hosts would get no more work: make the change from the present key")
    for number in range(len(state.old)):
        for prefix in _ROTATION_FILES:
            name = f"{prefix}{number}"
            write_key_file(target / name, (origin / name).read_text("ascii"), secret=False, overwrite=True)
    write_key_file(target / "code_sign_public", state.current.file_text, secret=False, overwrite=True)
