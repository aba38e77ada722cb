"""Upload certificates: which bytes may be uploaded under which name (spec 04 section 1.8)."""
from __future__ import annotations

from boincdock.crypto import PrivateKey, PublicKey, sign_bytes, verify_bytes
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


def verify_certificate(name: str, max_nbytes: float, signature: str, public: PublicKey) -> bool:
    """Whether ``signature`` allows this name and size. Constant time in the signature's contents."""
    return verify_bytes(certificate_text(name, max_nbytes), signature, public)
