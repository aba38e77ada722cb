"""A change of the code-signing key made on another machine, in one file to carry (spec 04 section 1.7, 6.4).

JSON with ``format``, ``public`` (the files ``code_sign_public``, ``old_key_N``, ``signature_N``,
``signature_stripped_N``) and ``signed``: the list of the project's published files with signatures by the new
key. Nothing in it is secret.
"""
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from boincdock.crypto.keys import CryptoError, KeyFormatError, PublicKey, parse_public
from boincdock.crypto.offline import FileDigest, parse_signed
from boincdock.crypto.signatures import verify_bytes, verify_md5

FORMAT = "boincdock key change 1"
_FILE = re.compile(r"code_sign_public|old_key_[0-9]{1,3}|signature_[0-9]{1,3}|signature_stripped_[0-9]{1,3}")


@dataclass(frozen=True)
class KeyChange:
    """A key change whose signatures have been checked."""

    key: PublicKey
    old: tuple[PublicKey, ...]
    public: Mapping[str, str]
    signed: tuple[tuple[FileDigest, str], ...]

    @classmethod
    def parse(cls, text: str) -> KeyChange:
        """Read and verify everything; CryptoError says what is wrong."""
        try:
            document = json.loads(text)
            public, signed_text = dict(document["public"]), str(document["signed"])
            known = document["format"] == FORMAT
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise CryptoError("this is not a key change made by offline-sign --rotate")
        for name in public:
            if not (isinstance(name, str) and _FILE.fullmatch(name) and isinstance(public[name], str)):
                raise CryptoError(f"the key change holds {str(name)[:40]!r}, which does not belong there")
        key = _key(public, "code_sign_public")
        old: list[PublicKey] = []
        while f"old_key_{len(old)}" in public:
            number = len(old)
            each = _key(public, f"old_key_{number}")
            for name, message in ((f"signature_{number}", key.file_text), (f"signature_stripped_{number}", key.text)):
                if not verify_bytes(message.encode("ascii"), public.get(name, ""), each):
                    raise CryptoError(f"{name} of the key change does not verify: old clients would refuse the new key")
            old.append(each)
        if len(public) != 1 + 3 * len(old) or not old:
            raise CryptoError("the key change does not hold a complete set of key files")
        signed = parse_signed(signed_text)
        for digest, signature in signed:
            if not verify_md5(digest.md5, signature, key):
                raise CryptoError(f"the signature of {digest.path} was not made with the new key")
        return cls(key, tuple(old), public, tuple(signed))

    def check_replaces(self, present: PublicKey) -> None:
        """CryptoError unless clients that have ``present`` can follow this change."""
        if present != self.key and present not in self.old:
            raise CryptoError("the key change does not start from the project's present code-signing key",
                              "attached hosts would get no more work: make the change from the present key")


def _key(public: Mapping[str, str], name: str) -> PublicKey:
    try:
        return parse_public(public[name])
    except (KeyError, KeyFormatError) as error:
        why = error.message if isinstance(error, KeyFormatError) else "it is missing"
        raise CryptoError(f"{name} of the key change cannot be used: {why}") from None


def write_change(public: Mapping[str, str], signed: str) -> str:
    """The text of a key change; CryptoError if it would not be accepted."""
    text = json.dumps({"format": FORMAT, "public": dict(public), "signed": signed}, indent=1, sort_keys=True) + "\n"
    KeyChange.parse(text)
    return text
