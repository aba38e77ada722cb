"""Key texts, files and PEM against spec 04 section 1.2 and the worked example of 1.4."""
from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boincdock import crypto
from boincdock.crypto import keys

P = int("e4f0505e554e08aa4c03efe3aa423b2c0c543f147b3bd63d4ae413e394a65011"
        "faab582a11ee46061a0845f39af0b53353cd9d80bebb8efc63a86a0274d94e37", 16)
Q = int("c8eba5ff19a95f36311ef730d461bfa13fc7bc102409a823f183ebc44d17a9b9"
        "8e8764f0f6963c35ef0b607fc22fced08f03a9d7143f952489ca3ed8f7a9273d", 16)


def worked_example() -> keys.PrivateKey:
    """The pair of spec 04 section 1.4."""
    e = 65537
    d = pow(e, -1, (P - 1) * (Q - 1))
    return keys.PrivateKey(P * Q, e, d, P, Q, d % (P - 1), d % (Q - 1), pow(Q, -1, P))


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_worked_example_texts_are_byte_exact() -> None:
    key = worked_example()
    public = key.public
    assert len(public.file_text) == 527 and md5(public.file_text) == "c1a1bc7013dcb2a6038b24170ee687cb"
    assert len(key.file_text) == 1437 and md5(key.file_text) == "88471acc68ab54f02b7c9d6963886566"
    assert len(public.text) == 526 and md5(public.text) == "4fe96792e624e4ec8059f4651b6805bf"
    assert public.file_text.splitlines()[1] == "b3ae7bd67f5d0ffd2d13d52ca3fac27a12f8a547ddef2f3cf729eefdece8374b"
    assert public.file_text.endswith("0010001\n.\n")


def test_texts_round_trip() -> None:
    key = worked_example()
    assert crypto.parse_private(key.file_text) == key
    assert crypto.parse_public(key.public.file_text) == key.public
    assert crypto.parse_public(key.public.text) == key.public


@pytest.mark.parametrize("change", [
    lambda t: t.replace("\n", "\r\n"),
    lambda t: t.upper(),
    lambda t: "  " + t.replace("\n", "\n   ") + "\n\n",
    lambda t: t.rstrip(".\n"),
    lambda t: t.split("\n", 1)[0] + "\n" + t.split("\n", 1)[1].replace("\n", ""),
])
def test_public_text_is_read_as_tolerantly_as_clients_do(change) -> None:  # type: ignore[no-untyped-def]
    public = worked_example().public
    read = crypto.parse_public(change(public.file_text))
    assert read == public and read.text == public.text


@pytest.mark.parametrize("bad", [
    "", ".", "1024", "1024\n.\n", "2048\n" + "00" * 256, "abc\n00", "1024\n" + "00" * 256 + "\n.\n",
    "1024\n" + "ff" * 257, "1024\nf", "-1024\n" + "ff" * 256, "1024 bits\n" + "ff" * 256, "1" * 40000,
    "\u0661024\n" + "ff" * 256,
])
def test_bad_public_texts_are_refused(bad: str) -> None:
    with pytest.raises(crypto.KeyFormatError):
        crypto.parse_public(bad)


@given(st.text(max_size=700))
def test_any_text_is_a_key_or_a_clear_error(text: str) -> None:
    for parse in (crypto.parse_public, crypto.parse_private):
        try:
            parse(text)
        except crypto.KeyFormatError as error:
            assert error.message


def test_private_key_with_one_digit_changed_is_refused() -> None:
    text = worked_example().file_text
    body_at = 5
    for offset in range(0, 1400, 97):
        at = body_at + offset
        if text[at] in ".\n":
            continue
        broken = text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:]
        with pytest.raises(crypto.KeyFormatError):
            crypto.parse_private(broken)


def test_private_text_is_not_taken_for_a_public_one() -> None:
    with pytest.raises(crypto.KeyFormatError):
        crypto.parse_public(worked_example().file_text)
    with pytest.raises(crypto.KeyFormatError):
        crypto.parse_private(worked_example().public.file_text)


def test_generated_pair() -> None:
    private_text, public_text = crypto.generate_keypair()
    assert (len(private_text), len(public_text)) == (1437, 527)
    private = crypto.parse_private(private_text)
    assert crypto.parse_public(public_text) == private.public
    assert private.n.bit_length() == 1024 and private.e == 65537
    assert crypto.generate_keypair()[0] != private_text


@pytest.mark.parametrize("bits", [0, 512, 1023, 2048, 4096])
def test_other_sizes_are_refused(bits: int) -> None:
    with pytest.raises(crypto.CryptoError, match="not possible"):
        crypto.generate_keypair(bits)


def test_repr_does_not_show_the_secret() -> None:
    key = worked_example()
    assert str(key.d) not in repr(key) and str(key.p) not in repr(key) and str(key.qinv) not in repr(key)


def test_pem_round_trip_and_openssl_agrees(tmp_path: Path) -> None:
    key = worked_example()
    pem = crypto.private_to_pem(key)
    assert crypto.private_from_pem(pem) == key
    public_pem = crypto.public_to_pem(key.public)
    assert crypto.public_from_pem(public_pem) == key.public
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "message").write_text("b1946ac92492d2347c6235b4d2611184")
    raw = subprocess.run(
        ["openssl", "pkeyutl", "-sign", "-inkey", str(tmp_path / "key.pem"), "-pkeyopt",
         "rsa_padding_mode:pkcs1", "-in", str(tmp_path / "message")],
        check=True, capture_output=True).stdout
    assert keys.encode_hex(raw) == crypto.sign_bytes(b"hello\n", key)


@pytest.mark.parametrize("pem", [b"", b"not pem", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_bad_pem_is_a_clear_error(pem: bytes) -> None:
    with pytest.raises(crypto.CryptoError):
        crypto.public_from_pem(pem)
    with pytest.raises(crypto.CryptoError):
        crypto.private_from_pem(pem)


def test_pem_of_a_larger_key_is_refused() -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    big = rsa.generate_private_key(65537, 2048).private_bytes(
        s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    with pytest.raises(crypto.CryptoError, match="2048"):
        crypto.private_from_pem(big)
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    with pytest.raises(crypto.CryptoError, match="RSA"):
        crypto.private_from_pem(other)


def test_key_files(tmp_path: Path) -> None:
    key = worked_example()
    secret, public = tmp_path / "code_sign_private", tmp_path / "code_sign_public"
    crypto.write_key_file(secret, key.file_text, secret=True)
    crypto.write_key_file(public, key.public.file_text, secret=False)
    assert secret.stat().st_mode & 0o777 == 0o600 and public.stat().st_mode & 0o777 == 0o644
    assert crypto.is_private_file_safe(secret) and not crypto.is_private_file_safe(public)
    assert crypto.read_private(secret) is crypto.read_private(secret)
    assert crypto.read_public(public) == key.public
    with pytest.raises(crypto.CryptoError, match="kept"):
        crypto.write_key_file(secret, "x", secret=True)
    assert secret.read_text() == key.file_text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["code_sign_private", "code_sign_public"]


def test_a_replaced_key_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "k"
    crypto.write_key_file(path, worked_example().public.file_text, secret=False)
    first = crypto.read_public(path)
    crypto.write_key_file(path, crypto.generate_keypair()[1], secret=False, overwrite=True)
    assert crypto.read_public(path) != first


def test_unreadable_key_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(crypto.CryptoError, match="nothing_here"):
        crypto.read_public(tmp_path / "nothing_here")
    (tmp_path / "junk").write_bytes(b"\xff\x00junk")
    with pytest.raises(crypto.KeyFormatError, match="junk"):
        crypto.read_private(tmp_path / "junk")
