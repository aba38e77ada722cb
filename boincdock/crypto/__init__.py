"""BOINC keys and signatures (spec 04 section 1). Import everything from here.

Keys: :func:`generate_keypair`, :func:`read_private`, :func:`read_public`, :func:`parse_private`,
:func:`parse_public`; signatures: :func:`sign_bytes`, :func:`sign_file`, :func:`verify_bytes`,
:func:`verify_file`; change of the code-signing key: :class:`CodeSignKeys`, :func:`key_change_signature`.
"""
from __future__ import annotations

from boincdock.crypto.keys import (
    KEY_BITS,
    CryptoError,
    KeyFormatError,
    PrivateKey,
    PublicKey,
    generate_keypair,
    generate_private,
    is_private_file_safe,
    parse_private,
    parse_public,
    private_from_pem,
    private_to_pem,
    public_from_pem,
    public_to_pem,
    read_private,
    read_public,
    strip_key,
    write_key_file,
)
from boincdock.crypto.rotation import CodeSignKeys, KeyOffer
from boincdock.crypto.signatures import (
    encode_signature,
    key_change_signature,
    md5_hex,
    md5_of_file,
    md5_of_stream,
    parse_signature,
    sign_bytes,
    sign_file,
    sign_md5,
    verify_bytes,
    verify_file,
    verify_md5,
)

__all__ = [
    "KEY_BITS", "CodeSignKeys", "CryptoError", "KeyFormatError", "KeyOffer", "PrivateKey", "PublicKey",
    "encode_signature", "generate_keypair", "generate_private", "is_private_file_safe",
    "key_change_signature", "md5_hex", "md5_of_file", "md5_of_stream", "parse_private", "parse_public",
    "parse_signature", "private_from_pem", "private_to_pem", "public_from_pem", "public_to_pem",
    "read_private", "read_public", "sign_bytes", "sign_file", "sign_md5", "strip_key", "verify_bytes",
    "verify_file", "verify_md5", "write_key_file",
]
