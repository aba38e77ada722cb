"""The code-signing key towards clients, and its change (spec 04 section 1.6, 1.7; 01 section 5.8)."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from boincdock.crypto.keys import (
    CryptoError,
    KeyFormatError,
    PublicKey,
    parse_public,
    read_public,
    strip_key,
)
from boincdock.crypto.signatures import verify_bytes

_MAX_SIGNATURE_FILE = 4096
CLIENT_WITH_STRIPPED_KEY = 7
"""First client major version that strips a key before checking its signature."""


@dataclass(frozen=True)
class KeyOffer:
    """What a reply must say about the key.

    ``key``: text for ``<code_sign_key>`` or None (send nothing); ``signature``: text for
    ``<code_sign_key_signature>`` or None; ``refuse_work``: this client cannot be brought to the current
    key, so it gets no work but a notice to remove and add the project.
    """

    key: str | None = None
    signature: str | None = None
    refuse_work: bool = False


@dataclass(frozen=True)
class _OldKey:
    key: PublicKey
    signature: str | None
    signature_stripped: str | None


@dataclass(frozen=True)
class CodeSignKeys:
    """The current public code-signing key and the keys it replaced."""

    current: PublicKey
    old: tuple[_OldKey, ...] = field(default=())

    @staticmethod
    def load(key_dir: Path | str) -> CodeSignKeys:
        """Read ``code_sign_public`` and all ``old_key_N`` (N = 0, 1, ... without a gap) of ``key_dir``.

        Raises :class:`CryptoError` if one cannot be read. A signature that the old key does not verify
        counts as missing: sent to a client it would only be refused there.
        """
        folder = Path(key_dir)
        current = read_public(folder / "code_sign_public")
        old: list[_OldKey] = []
        while (folder / f"old_key_{len(old)}").exists():
            number = len(old)
            key = read_public(folder / f"old_key_{number}")
            full = _read_signature(folder / f"signature_{number}", current.file_text, key)
            stripped = _read_signature(folder / f"signature_stripped_{number}", current.text, key)
            old.append(_OldKey(key, full, stripped))
        return CodeSignKeys(current, tuple(old))

    def offer(self, client_text: str | None, client_major: int) -> KeyOffer:
        """What to tell a client that sent ``client_text`` (None or empty: it has no key yet).

        Keys are compared by value, so that one that a client re-encoded does not lock it out.
        """
        if client_text is None or not strip_key(client_text):
            return KeyOffer(key=self.current.text)
        try:
            known = parse_public(client_text)
        except KeyFormatError:
            return KeyOffer(refuse_work=True)
        if known == self.current:
            return KeyOffer()
        for old in self.old:
            if old.key == known:
                modern = client_major >= CLIENT_WITH_STRIPPED_KEY
                signature = old.signature_stripped if modern else old.signature
                if signature is not None:
                    return KeyOffer(key=self.current.text, signature=signature)
        return KeyOffer(refuse_work=True)


def _read_signature(path: Path, signed_text: str, key: PublicKey) -> str | None:
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_SIGNATURE_FILE).decode("latin-1")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CryptoError(f"{path} cannot be read: {error.strerror}") from error
    return text if verify_bytes(signed_text.encode("ascii"), text, key) else None
