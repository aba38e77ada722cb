"""Signing and verifying as BOINC does: RSA over the hex MD5, PKCS#1 v1.5 without DigestInfo (spec 04 section 1.3)."""
from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from boincdock.crypto.keys import (
    MODULUS_BYTES,
    CryptoError,
    KeyFormatError,
    PrivateKey,
    PublicKey,
    decode_hex,
    encode_hex,
)

SIGNATURE_TEXT_BYTES = 262
MAX_SIGNATURE_TEXT = 4095
"""Clients refuse a longer one."""

_MD5_HEX = re.compile(r"[0-9a-f]{32}")
_PADDING = b"\x00\x01" + b"\xff" * (MODULUS_BYTES - 35) + b"\x00"
_CHUNK = 1 << 20
_MAX_SIGNATURE_BYTES = MODULUS_BYTES + 1


def _python_pow(base: int, exponent: int, modulus: int) -> int:
    return pow(base, exponent, modulus)


def _fast_pow() -> Callable[[int, int, int], int]:
    """Modular power: GMP's when python3-gmpy2 is installed (10 times faster), else Python's own."""
    try:
        from gmpy2 import powmod  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return _python_pow

    def gmp_pow(base: int, exponent: int, modulus: int) -> int:
        return int(powmod(base, exponent, modulus))

    return gmp_pow


def _raw_digest_info() -> Any:
    """The marker with which the ``cryptography`` library signs raw bytes, or None before its release 46."""
    try:
        from cryptography.hazmat.primitives.asymmetric import utils
    except ImportError:
        return None
    marker = getattr(utils, "NoDigestInfo", None)
    return marker() if marker else None


_pow = _fast_pow()
_no_digest_info = _raw_digest_info()


def md5_hex(data: bytes) -> str:
    """Lower-case hex MD5, the only digest that BOINC's protocol knows."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class Readable(Protocol):
    """Anything to read bytes from."""

    def read(self, size: int, /) -> bytes: ...


def md5_of_stream(stream: Readable) -> tuple[str, int]:
    """(hex MD5, number of bytes) of what is left in ``stream``; constant memory."""
    digest = hashlib.md5(usedforsecurity=False)
    nbytes = 0
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
        nbytes += len(chunk)
    return digest.hexdigest(), nbytes


def md5_of_file(path: Path | str) -> tuple[str, int]:
    """(hex MD5, size in bytes) of a file; constant memory; OSError as the system says."""
    with Path(path).open("rb") as stream:
        return md5_of_stream(stream)


def _sign_with_numbers(block: int, key: PrivateKey) -> bytes:
    """Chinese-remainder RSA, checked: a wrong intermediate would give the key away, so it never leaves here."""
    left = _pow(block, key.dp, key.p)
    right = _pow(block, key.dq, key.q)
    signature = right + (left - right) * key.qinv % key.p * key.q
    if _pow(signature, key.e, key.n) != block:
        raise CryptoError("signing failed: the computed signature does not verify")
    return signature.to_bytes(MODULUS_BYTES, "big")


def _sign_with_library(message: bytes, key: PrivateKey) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import padding

    return key.library_key.sign(message, padding.PKCS1v15(), _no_digest_info)


def _sign_with_openssl(message: bytes, key: PrivateKey) -> bytes | None:
    signer = key.fast_signer
    return signer.sign(message) if signer else None


def sign_md5(md5: str, private: PrivateKey) -> str:
    """Signature text (262 characters) of the data whose MD5 is ``md5`` (32 lower-case hex digits).

    Signing needs nothing but this digest, so that a signing machine need not see a big file.
    """
    if not _MD5_HEX.fullmatch(md5):
        raise KeyFormatError("not an MD5: 32 lower-case hex digits are needed")
    message = md5.encode("ascii")
    if raw := _sign_with_openssl(message, private):
        return encode_hex(raw)
    if _no_digest_info is not None and private.n.bit_length() == 8 * MODULUS_BYTES:
        return encode_hex(_sign_with_library(message, private))
    block = int.from_bytes(_PADDING + message, "big")
    if block >= private.n:
        raise CryptoError("the key is too short to sign with")
    return encode_hex(_sign_with_numbers(block, private))


def sign_bytes(data: bytes, private: PrivateKey) -> str:
    """Signature text of ``data``: four lines of hex and a line with a dot."""
    return sign_md5(md5_hex(data), private)


def sign_file(path: Path | str, private: PrivateKey) -> str:
    """Signature text of a file's bytes; OSError if it cannot be read."""
    return sign_md5(md5_of_file(path)[0], private)


def parse_signature(text: str) -> bytes:
    """The raw bytes of a signature text, read as clients do; raises :class:`KeyFormatError`."""
    if len(text) > MAX_SIGNATURE_TEXT:
        raise KeyFormatError("the signature text is too long")
    return decode_hex(text, _MAX_SIGNATURE_BYTES)


def encode_signature(raw: bytes) -> str:
    """The text of a raw signature; raises :class:`KeyFormatError` unless it has 128 bytes."""
    if len(raw) != MODULUS_BYTES:
        raise KeyFormatError(f"a raw signature has {MODULUS_BYTES} bytes, this has {len(raw)}")
    return encode_hex(raw)


def verify_md5(md5: str, signature: str, public: PublicKey) -> bool:
    """Whether ``signature`` is one of the data with this MD5. Any defect of the text is simply False."""
    try:
        raw = parse_signature(signature)
    except KeyFormatError:
        return False
    number = int.from_bytes(raw, "big")
    if len(raw) != MODULUS_BYTES or number >= public.n:
        return False
    block = _pow(number, public.e, public.n).to_bytes(MODULUS_BYTES, "big")
    return hmac.compare_digest(block, _PADDING + md5.encode("utf-8"))


def verify_bytes(data: bytes, signature: str, public: PublicKey) -> bool:
    """Whether ``signature`` is one of ``data``."""
    return verify_md5(md5_hex(data), signature, public)


def verify_file(path: Path | str, signature: str, public: PublicKey) -> bool:
    """Whether ``signature`` is one of the file's bytes; OSError if it cannot be read."""
    return verify_md5(md5_of_file(path)[0], signature, public)


def key_change_signature(new_public: PublicKey, old_private: PrivateKey, *, stripped: bool = True) -> str:
    """Signature by the old key under which a client accepts the new one (spec 04 section 1.3, 1.7).

    ``stripped``: over the text as clients 7 and later have it (``signature_stripped_N``); otherwise over the
    whole file with its final newline (``signature_N``, for older clients).
    """
    text = new_public.text if stripped else new_public.file_text
    return sign_bytes(text.encode("ascii"), old_private)
