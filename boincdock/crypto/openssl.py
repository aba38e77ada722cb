"""BOINC's RSA signature made by OpenSSL's libcrypto, the one that Python itself uses (spec 04 section 1.3).

BOINC signs without a DigestInfo, which the ``cryptography`` library offers from release 46 on only; Debian's is older.
So libcrypto is called directly: constant time, blinded, results checked, and half the time of GMP's general power.
Nothing here is needed: without libcrypto.so.3 ``Signer.make`` gives None and the caller does it with numbers.
"""
from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any

_LIBRARY = "libcrypto.so.3"
_EVP_PKEY_RSA = 6
_PKCS1_PADDING = 1


@cache
def _library() -> Any:
    """libcrypto with the prototypes of what is used, or None."""
    try:
        lib = ctypes.CDLL(_LIBRARY)
        pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
        for name, result, arguments in (
                ("d2i_PrivateKey", pointer, [ctypes.c_int, pointer, ctypes.POINTER(text), ctypes.c_long]),
                ("EVP_PKEY_CTX_new", pointer, [pointer, pointer]),
                ("EVP_PKEY_CTX_free", None, [pointer]),
                ("EVP_PKEY_free", None, [pointer]),
                ("EVP_PKEY_sign_init", ctypes.c_int, [pointer]),
                ("EVP_PKEY_CTX_set_rsa_padding", ctypes.c_int, [pointer, ctypes.c_int]),
                ("EVP_PKEY_sign", ctypes.c_int, [pointer, text, ctypes.POINTER(size), text, size])):
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return lib


def _der(tag: int, body: bytes) -> bytes:
    length = len(body)
    if length < 0x80:
        return bytes([tag, length]) + body
    wide = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(wide)]) + wide + body


def _private_der(numbers: tuple[int, ...]) -> bytes:
    """PKCS#1's RSAPrivateKey of (n, e, d, p, q, dp, dq, qinv)."""
    body = b"".join(_der(2, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in (0, *numbers))
    return _der(0x30, body)


class _Context:
    """A signing context of libcrypto; freed with the object."""

    def __init__(self, lib: Any, key: int) -> None:
        self._lib = lib
        self.pointer = lib.EVP_PKEY_CTX_new(key, None)
        self.usable = bool(self.pointer) and lib.EVP_PKEY_sign_init(self.pointer) == 1 and \
            lib.EVP_PKEY_CTX_set_rsa_padding(self.pointer, _PKCS1_PADDING) == 1

    def __del__(self) -> None:
        self._lib.EVP_PKEY_CTX_free(self.pointer)


class Signer:
    """Signs with one private key; may be used by several threads."""

    def __init__(self, lib: Any, key: int, width: int) -> None:
        self._lib, self._key, self._width = lib, key, width
        self._local = threading.local()

    def __del__(self) -> None:
        self._lib.EVP_PKEY_free(self._key)

    @classmethod
    def make(cls, numbers: tuple[int, ...], width: int) -> Signer | None:
        """A signer for (n, e, d, p, q, dp, dq, qinv) whose signatures have ``width`` bytes; None if there is no
        libcrypto or it does not take the key."""
        lib = _library()
        if lib is None:
            return None
        der = _private_der(numbers)
        key = lib.d2i_PrivateKey(_EVP_PKEY_RSA, None, ctypes.byref(ctypes.c_char_p(der)), len(der))
        return cls(lib, key, width) if key else None

    def sign(self, message: bytes) -> bytes | None:
        """RSA of ``message`` with PKCS#1 type 1 padding; None if libcrypto will not."""
        context = getattr(self._local, "context", None)
        if context is None:
            context = self._local.context = _Context(self._lib, self._key)
        if not context.usable:
            return None
        out = ctypes.create_string_buffer(self._width)
        length = ctypes.c_size_t(self._width)
        done = self._lib.EVP_PKEY_sign(context.pointer, out, ctypes.byref(length), message, len(message))
        return out.raw if done == 1 and length.value == self._width else None
