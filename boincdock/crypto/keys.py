"""BOINC's RSA keys: text format, generation, files and PEM (spec 04 section 1.1, 1.2)."""
from __future__ import annotations

import os
import re
import stat
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from boincdock.crypto.openssl import Signer
from boincdock.errors import BoincdockError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

KEY_BITS = 1024
"""The one modulus length that every targeted client can read; larger ones do not fit its buffers."""

MODULUS_BYTES = KEY_BITS // 8
_PRIME_BYTES = MODULUS_BYTES // 2
_HEX_BYTES_PER_LINE = 32
_PUBLIC_BYTES = 2 * MODULUS_BYTES
_PRIVATE_BYTES = 3 * MODULUS_BYTES + 5 * _PRIME_BYTES
_PUBLIC_EXPONENT = 65537
_MAX_KEY_TEXT = 16384
_WHITESPACE = " \t\r\n\v\f"
_HEX_RUN = re.compile(r"[0-9A-Fa-f\s]*")


class CryptoError(BoincdockError):
    """A key, a signature or a key file cannot be used."""


class KeyFormatError(CryptoError):
    """A text is not a key or signature in BOINC's format."""


def encode_hex(data: bytes) -> str:
    """``data`` as lower-case hex, 32 bytes a line, then a line with a dot (spec 04 section 1.2)."""
    step = _HEX_BYTES_PER_LINE
    lines = [data[i:i + step].hex() for i in range(0, len(data), step)]
    return "\n".join([*lines, ".", ""])


def decode_hex(text: str, limit: int) -> bytes:
    """Bytes of a hex text as released clients read it: white space skipped, up to the first other character.

    More than ``limit`` bytes or half a byte raise :class:`KeyFormatError`.
    """
    run = _HEX_RUN.match(text[:_MAX_KEY_TEXT])
    digits = "".join(run.group().split()) if run else ""
    if len(digits) > 2 * limit:
        raise KeyFormatError(f"the hex text holds more than {limit} bytes")
    if len(digits) % 2:
        raise KeyFormatError("the hex text ends in the middle of a byte")
    return bytes.fromhex(digits)


def strip_key(text: str) -> str:
    """The text without outer white space: the form in which clients store, send and check a key."""
    return text.strip(_WHITESPACE)


@dataclass(frozen=True)
class PublicKey:
    """A public key. Two keys are equal when their numbers are, whatever their texts looked like."""

    n: int
    e: int
    bits: int = KEY_BITS

    @cached_property
    def file_text(self) -> str:
        """The exact contents of a public key file, with its final newline (527 bytes)."""
        body = _widen(self.n, MODULUS_BYTES) + _widen(self.e, MODULUS_BYTES)
        return f"{self.bits}\n{encode_hex(body)}"

    @cached_property
    def text(self) -> str:
        """The exact text to send inside ``<code_sign_key>``: the file without its final newline (526 bytes)."""
        return strip_key(self.file_text)


@dataclass(frozen=True)
class PrivateKey:
    """A private key with its Chinese-remainder numbers; never shown by ``repr``."""

    n: int
    e: int
    d: int = field(repr=False)
    p: int = field(repr=False)
    q: int = field(repr=False)
    dp: int = field(repr=False)
    dq: int = field(repr=False)
    qinv: int = field(repr=False)
    bits: int = KEY_BITS

    @cached_property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self.n, self.e, self.bits)

    @cached_property
    def file_text(self) -> str:
        """The exact contents of a private key file (1437 bytes). A secret."""
        wide = b"".join(_widen(number, MODULUS_BYTES) for number in (self.n, self.e, self.d))
        narrow = b"".join(
            _widen(number, _PRIME_BYTES) for number in (self.p, self.q, self.dp, self.dq, self.qinv)
        )
        return f"{self.bits}\n{encode_hex(wide + narrow)}"

    @cached_property
    def fast_signer(self) -> Signer | None:
        """Signs with libcrypto; None without it, or for a key that is shorter than usual."""
        if self.n.bit_length() != 8 * MODULUS_BYTES:
            return None
        return Signer.make((self.n, self.e, self.d, self.p, self.q, self.dp, self.dq, self.qinv), MODULUS_BYTES)

    @cached_property
    def library_key(self) -> RSAPrivateKey:
        """The same key as an object of the ``cryptography`` library."""
        from cryptography.hazmat.primitives.asymmetric import rsa

        numbers = rsa.RSAPrivateNumbers(
            p=self.p, q=self.q, d=self.d, dmp1=self.dp, dmq1=self.dq, iqmp=self.qinv,
            public_numbers=rsa.RSAPublicNumbers(self.e, self.n),
        )
        return numbers.private_key()


def _widen(number: int, width: int) -> bytes:
    return number.to_bytes(width, "big")


def _split_text(text: str, what: str, body_bytes: int) -> tuple[int, bytes]:
    """Bit count and body of a key text; the body must have exactly its fixed size."""
    if len(text) > _MAX_KEY_TEXT:
        raise KeyFormatError(f"the text is too long for a {what} key")
    head, _, rest = text.strip(_WHITESPACE).partition("\n")
    head = head.strip(_WHITESPACE)
    if not (head.isascii() and head.isdigit()) or len(head) > 5:
        raise KeyFormatError(f"not a {what} key: the first line is not a number of bits")
    bits = int(head)
    if not 512 <= bits <= KEY_BITS:
        raise KeyFormatError(f"not a {what} key that BOINC clients can use: {bits} bits")
    body = decode_hex(rest, body_bytes)
    if len(body) != body_bytes:
        raise KeyFormatError(f"not a {what} key: {len(body)} bytes where {body_bytes} are needed")
    return bits, body


def _numbers(body: bytes, widths: list[int]) -> list[int]:
    numbers, at = [], 0
    for width in widths:
        numbers.append(int.from_bytes(body[at:at + width], "big"))
        at += width
    return numbers


def parse_public(text: str) -> PublicKey:
    """The public key in ``text``; tolerant as released clients are (CR, blanks, upper case).

    Raises :class:`KeyFormatError`.
    """
    bits, body = _split_text(text, "public", _PUBLIC_BYTES)
    n, e = _numbers(body, [MODULUS_BYTES, MODULUS_BYTES])
    if n % 2 == 0 or not bits - 7 <= n.bit_length() <= bits or not 3 <= e < n:
        raise KeyFormatError("not a public key: its numbers do not fit together")
    return PublicKey(n, e, bits)


def parse_private(text: str) -> PrivateKey:
    """The private key in ``text``, its numbers checked against one another; raises :class:`KeyFormatError`."""
    bits, body = _split_text(text, "private", _PRIVATE_BYTES)
    n, e, d, p, q, dp, dq, qinv = _numbers(body, [MODULUS_BYTES] * 3 + [_PRIME_BYTES] * 5)
    key = PrivateKey(n, e, d, p, q, dp, dq, qinv, bits)
    consistent = (
        key.p > 1 and key.q > 1 and key.p * key.q == key.n and key.n.bit_length() <= bits
        and key.e > 2 and key.e * key.d % (key.p - 1) == 1 and key.e * key.d % (key.q - 1) == 1
        and key.dp == key.d % (key.p - 1) and key.dq == key.d % (key.q - 1)
        and key.q * key.qinv % key.p == 1
    )
    if not consistent:
        raise KeyFormatError("not a private key: its numbers do not fit together")
    return key


def generate_private(bits: int = KEY_BITS) -> PrivateKey:
    """A new random key; any size but 1024 is refused, because no client could read it."""
    if bits != KEY_BITS:
        raise CryptoError(f"a key of {bits} bits is not possible", "BOINC clients accept 1024 bits only")
    from cryptography.hazmat.primitives.asymmetric import rsa

    return _from_library(rsa.generate_private_key(public_exponent=_PUBLIC_EXPONENT, key_size=bits))


def generate_keypair(bits: int = KEY_BITS) -> tuple[str, str]:
    """Texts of the two files of a new pair: (private, public)."""
    key = generate_private(bits)
    return key.file_text, key.public.file_text


def _from_library(key: RSAPrivateKey) -> PrivateKey:
    numbers = key.private_numbers()
    public = numbers.public_numbers
    if public.n.bit_length() > KEY_BITS or public.n.bit_length() < 512:
        raise CryptoError(f"the key has {public.n.bit_length()} bits", "BOINC clients accept 1024 bits only")
    if max(numbers.p.bit_length(), numbers.q.bit_length()) > 8 * _PRIME_BYTES:
        raise CryptoError("the key's primes are too unequal for BOINC's format")
    return PrivateKey(
        public.n, public.e, numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp,
        public.n.bit_length(),
    )


def private_from_pem(pem: bytes, password: bytes | None = None) -> PrivateKey:
    """The RSA key of a PKCS#1 or PKCS#8 PEM text; raises :class:`CryptoError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CryptoError(f"the PEM private key cannot be read: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CryptoError("the PEM text is not an RSA private key")
    return _from_library(key)


def public_from_pem(pem: bytes) -> PublicKey:
    """The RSA key of a SubjectPublicKeyInfo (or PKCS#1) PEM text; raises :class:`CryptoError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CryptoError(f"the PEM public key cannot be read: {error}") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise CryptoError("the PEM text is not an RSA public key")
    numbers = key.public_numbers()
    if not 512 <= numbers.n.bit_length() <= KEY_BITS:
        raise CryptoError(f"the key has {numbers.n.bit_length()} bits", "BOINC clients accept 1024 bits only")
    return PublicKey(numbers.n, numbers.e, numbers.n.bit_length())


def private_to_pem(key: PrivateKey) -> bytes:
    """The key as unencrypted PKCS#1 PEM (what OpenSSL calls traditional). A secret."""
    from cryptography.hazmat.primitives import serialization as s

    return key.library_key.private_bytes(s.Encoding.PEM, s.PrivateFormat.TraditionalOpenSSL, s.NoEncryption())


def public_to_pem(key: PublicKey) -> bytes:
    """The key as SubjectPublicKeyInfo PEM."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import rsa

    public: RSAPublicKey = rsa.RSAPublicNumbers(key.e, key.n).public_key()
    return public.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)


_Stamp = tuple[int, int, int, int]
_cache: dict[tuple[str, str], tuple[_Stamp, PublicKey | PrivateKey]] = {}


def _stamp(info: os.stat_result) -> _Stamp:
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)


def _read(path: Path | str, kind: str) -> PublicKey | PrivateKey:
    """Key of a file; parsed once per version of the file, because each result creation asks for it."""
    try:
        cached = _cache.get((kind, str(path)))
        # A stat, not an open: opening a file costs 0.2 ms in a container, and this runs once a result.
        if cached and cached[0] == _stamp(os.stat(path)):  # noqa: PTH116
            return cached[1]
        with Path(path).open("rb") as stream:
            stamp = _stamp(os.fstat(stream.fileno()))
            raw = stream.read(_MAX_KEY_TEXT + 1)
    except OSError as error:
        raise CryptoError(f"key file {path} cannot be read: {error.strerror}") from error
    try:
        text = raw.decode("latin-1")
        key: PublicKey | PrivateKey = parse_public(text) if kind == "public" else parse_private(text)
    except KeyFormatError as error:
        raise KeyFormatError(f"key file {path}: {error.message}", error.hint) from error
    _cache[(kind, str(path))] = (stamp, key)
    return key


def read_public(path: Path | str) -> PublicKey:
    """The public key in a file; raises :class:`CryptoError`. Cheap when asked again."""
    key = _read(path, "public")
    assert isinstance(key, PublicKey)
    return key


def read_private(path: Path | str) -> PrivateKey:
    """The private key in a file; raises :class:`CryptoError`. Cheap when asked again."""
    key = _read(path, "private")
    assert isinstance(key, PrivateKey)
    return key


def write_key_file(path: Path | str, text: str, *, secret: bool, overwrite: bool = False) -> None:
    """Write a key or signature file durably and all at once: mode 0600 if ``secret``, else 0644.

    Raises :class:`CryptoError` if the file exists and ``overwrite`` is false, or cannot be written.
    """
    target = Path(path)
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(fd, "w", encoding="ascii", newline="\n") as stream:
                stream.write(text)
                stream.flush()
                os.fchmod(stream.fileno(), 0o600 if secret else 0o644)
                os.fsync(stream.fileno())
            if overwrite:
                Path(temporary).replace(target)
            else:
                os.link(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except FileExistsError as error:
        raise CryptoError(f"{target} exists already and is kept") from error
    except OSError as error:
        raise CryptoError(f"{target} cannot be written: {error.strerror}") from error


def is_private_file_safe(path: Path | str) -> bool:
    """False when others than the owner may read the key file (spec 04 section 1.2, Do better)."""
    return not stat.S_IMODE(Path(path).stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
