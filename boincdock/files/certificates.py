"""Upload certificates: which bytes may be uploaded under which name (spec 04 section 1.8)."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from boincdock.crypto import PrivateKey, PublicKey, read_public, sign_bytes, verify_bytes
from boincdock.protocol.upload import certificate_text


def sign_file_info(xml_signed_text: str, private: PrivateKey) -> str:
    """Signature text over ``<name>…</name><max_nbytes>…</max_nbytes>``, given exactly so."""
    return sign_bytes(xml_signed_text.encode(), private)


def make_certificate(name: str, max_nbytes: float, private: PrivateKey) -> str:
    """Signature text that allows one file ``name`` (unescaped) of at most ``max_nbytes`` bytes."""
    return sign_bytes(certificate_text(name, max_nbytes), private)


def xml_signature(name: str, max_nbytes: float, private: PrivateKey) -> str:
    """The ``<xml_signature>`` element to put just before ``</file_info>``."""
    return f"<xml_signature>\n{make_certificate(name, max_nbytes, private)}</xml_signature>\n"


def upload_keys(key_dir: Path) -> Iterator[PublicKey]:
    """``upload_public``, then ``old_upload_public_0``, ``_1`` … up to the first that is missing.

    Jobs in progress carry certificates of the key that was in use when they were made, so a replaced key stays
    valid for as long as its file is there. CryptoError if a key cannot be read.
    """
    yield read_public(key_dir / "upload_public")
    number = 0
    while (old := key_dir / f"old_upload_public_{number}").exists():
        yield read_public(old)
        number += 1


def is_certified(name: str, max_nbytes: float, signature: str, key_dir: Path) -> bool:
    """Whether one of the project's upload keys signed this; CryptoError if a key cannot be read."""
    return any(verify_certificate(name, max_nbytes, signature, key) for key in upload_keys(key_dir))


def verify_certificate(name: str, max_nbytes: float, signature: str, public: PublicKey) -> bool:
    """Whether ``signature`` allows this name and size. Constant time in the signature's contents."""
    return verify_bytes(certificate_text(name, max_nbytes), signature, public)
