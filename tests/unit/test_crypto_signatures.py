"""Signatures against spec 04 sections 1.3, 1.4 and 10.1; the change of the code-signing key (1.6, 1.7)."""
from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boincdock import crypto
from boincdock.crypto import keys, signatures
from tests.unit.test_crypto_keys import worked_example

PRIVATE = worked_example()
PUBLIC = PRIVATE.public


def cert(name: str, max_nbytes: str) -> bytes:
    return f"<name>{name}</name><max_nbytes>{max_nbytes}</max_nbytes>".encode()


VECTORS = [
    (b"hello\n", "e1e3208d15e9f984c0abd734c6eddc26"),
    (cert("demo_0_r12345_0", "5000000"), "776e8da0babc817944ab58ce39125695"),
    (b"", "c2b764d4cc1b17481088bcc85339cb49"),
    (cert("demo_0_r918273645_0", "5000000"), "e48b0a9ca32f057f456e7e338c2f254e"),
    (cert("demo_0_r918273645_1.tgz", "0"), "42dd6b0bcf6698f2c91aa97dbcbfaf49"),
    (PUBLIC.text.encode(), "fb00e4ec041e51544ecbc23a42a74a6c"),
    (PUBLIC.file_text.encode(), "d3b4f30e02a6f202b73329de2201bd60"),
]


@pytest.fixture(params=["openssl", "library", "numbers"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test three times: signing by libcrypto, by the Python library, and by numbers (without libcrypto and
    with an older library, as in Debian 13)."""
    if request.param == "openssl":
        assert signatures._sign_with_openssl(b"m", PRIVATE) is not None
    else:
        monkeypatch.setattr(signatures, "_sign_with_openssl", lambda message, key: None)
    if request.param == "numbers":
        monkeypatch.setattr(signatures, "_no_digest_info", None)
    return str(request.param)


@pytest.mark.parametrize(("message", "digest"), VECTORS)
def test_vectors(message: bytes, digest: str) -> None:
    text = crypto.sign_bytes(message, PRIVATE)
    assert len(text) == 262 and hashlib.md5(text.encode()).hexdigest() == digest
    assert crypto.verify_bytes(message, text, PUBLIC)


def test_signature_text_in_full() -> None:
    assert crypto.sign_bytes(b"hello\n", PRIVATE) == (
        "1ddc8445fa7971853af0d16200e933718faa8c11127144e4c2a18d6fafe835ed\n"
        "1dc145f404829b255e440e6c6cffd5f599a565c02351de29a57de473253c9977\n"
        "6e863425dc43cfc85056478a253c250a898ab58b87c522368ad8aa2d68d1e2ed\n"
        "5964b506b417aacac23271713f0746214cb72c3caa174b52c19b88953fe24b14\n"
        ".\n")


@pytest.mark.parametrize("change", [
    str.upper,
    lambda t: t.replace("\n", ""),
    lambda t: "  \r\n" + t.replace("\n", "\r\n") + "  ",
    lambda t: t.rstrip(".\n"),
])
def test_other_spellings_verify(change) -> None:  # type: ignore[no-untyped-def]
    assert crypto.verify_bytes(b"hello\n", change(crypto.sign_bytes(b"hello\n", PRIVATE)), PUBLIC)


def raw_sign(block: bytes) -> str:
    return keys.encode_hex(pow(int.from_bytes(block, "big"), PRIVATE.d, PRIVATE.n).to_bytes(128, "big"))


def padded(message: bytes) -> bytes:
    return b"\x00\x01" + b"\xff" * (125 - len(message)) + b"\x00" + message


def test_forgeries_fail() -> None:
    message = b"hello\n"
    digest = hashlib.md5(message)
    good = crypto.sign_bytes(message, PRIVATE)
    assert crypto.verify_bytes(message, raw_sign(padded(digest.hexdigest().encode())), PUBLIC)
    asn1 = bytes.fromhex("3020300c06082a864886f70d020505000410") + digest.digest()
    for text in (
        raw_sign(padded(digest.digest())),
        raw_sign(padded(asn1)),
        raw_sign(padded(digest.hexdigest().encode() + b"x")),
        raw_sign(padded(digest.hexdigest().upper().encode())),
        raw_sign(b"\x00\x01\xff\x00" + digest.hexdigest().encode() + b"\xff" * 92),
        "0" + good[1:], good[:100], "", ".", "00" * 128, "ff" * 128, "00" * 129, good[:-2] + good, "0" * 5000,
    ):
        assert not crypto.verify_bytes(message, text, PUBLIC)
    assert not crypto.verify_bytes(message + b"\n", good, PUBLIC)
    assert not crypto.verify_bytes(message, good, crypto.parse_private(crypto.generate_keypair()[0]).public)


@settings(max_examples=60)
@given(st.text(max_size=600))
def test_any_signature_text_is_just_invalid(text: str) -> None:
    assert not crypto.verify_bytes(b"hello\n", text, PUBLIC)


def test_all_engines_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    private = crypto.parse_private(crypto.generate_keypair()[0])
    first = crypto.sign_bytes(b"same", private)
    monkeypatch.setattr(signatures, "_sign_with_openssl", lambda message, key: None)
    assert crypto.sign_bytes(b"same", private) == first
    monkeypatch.setattr(signatures, "_no_digest_info", None)
    assert crypto.sign_bytes(b"same", private) == first


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELF" + bytes(3_000_000))
    text = crypto.sign_file(path, PRIVATE)
    assert text == crypto.sign_bytes(path.read_bytes(), PRIVATE)
    assert crypto.verify_file(path, text, PUBLIC)
    path.write_bytes(b"changed")
    assert not crypto.verify_file(path, text, PUBLIC)


@pytest.mark.parametrize("md5", ["", "D41D8CD98F00B204E9800998ECF8427E", "0" * 31, "0" * 33, "g" * 32])
def test_sign_md5_wants_lower_case_hex(md5: str) -> None:
    with pytest.raises(crypto.KeyFormatError):
        crypto.sign_md5(md5, PRIVATE)


def test_key_change_signatures() -> None:
    assert hashlib.md5(crypto.key_change_signature(PUBLIC, PRIVATE).encode()).hexdigest() == VECTORS[5][1]
    full = crypto.key_change_signature(PUBLIC, PRIVATE, stripped=False)
    assert hashlib.md5(full.encode()).hexdigest() == VECTORS[6][1]


def write_rotation(folder: Path, new: keys.PrivateKey, olds: list[keys.PrivateKey]) -> None:
    crypto.write_key_file(folder / "code_sign_public", new.public.file_text, secret=False)
    for number, old in enumerate(olds):
        crypto.write_key_file(folder / f"old_key_{number}", old.public.file_text, secret=False)
        for name, stripped in ((f"signature_{number}", False), (f"signature_stripped_{number}", True)):
            text = crypto.key_change_signature(new.public, old, stripped=stripped)
            crypto.write_key_file(folder / name, text, secret=False)


def test_offers_to_clients(tmp_path: Path) -> None:
    new, older, old = (crypto.generate_private() for _ in range(3))
    write_rotation(tmp_path, new, [older, old])
    state = crypto.CodeSignKeys.load(tmp_path)
    assert state.offer(None, 8) == crypto.KeyOffer(key=new.public.text)
    assert state.offer(" \n", 8) == crypto.KeyOffer(key=new.public.text)
    assert state.offer(new.public.text, 8) == crypto.KeyOffer()
    assert state.offer(new.public.file_text.replace("\n", "\r\n").upper(), 8) == crypto.KeyOffer()
    for known in (older, old):
        offer = state.offer(known.public.text, 8)
        assert offer.key == new.public.text and offer.signature and not offer.refuse_work
        assert crypto.verify_bytes(offer.key.encode(), offer.signature, known.public)
        ancient = state.offer(known.public.text, 6)
        assert ancient.signature and crypto.verify_bytes(
            new.public.file_text.encode(), ancient.signature, known.public)
    stranger = crypto.generate_private().public
    assert state.offer(stranger.text, 8) == crypto.KeyOffer(refuse_work=True)
    assert state.offer("junk", 8) == crypto.KeyOffer(refuse_work=True)


def test_a_wrong_change_signature_is_never_sent(tmp_path: Path) -> None:
    new, old = crypto.generate_private(), crypto.generate_private()
    write_rotation(tmp_path, new, [old])
    wrong = crypto.key_change_signature(new.public, new)
    crypto.write_key_file(tmp_path / "signature_stripped_0", wrong, secret=False, overwrite=True)
    state = crypto.CodeSignKeys.load(tmp_path)
    assert state.offer(old.public.text, 8) == crypto.KeyOffer(refuse_work=True)
    (tmp_path / "signature_0").unlink()
    assert crypto.CodeSignKeys.load(tmp_path).offer(old.public.text, 6).refuse_work


def test_numbers_stop_at_the_first_gap(tmp_path: Path) -> None:
    new, old = crypto.generate_private(), crypto.generate_private()
    write_rotation(tmp_path, new, [old])
    (tmp_path / "old_key_0").rename(tmp_path / "old_key_1")
    assert crypto.CodeSignKeys.load(tmp_path).offer(old.public.text, 8).refuse_work
