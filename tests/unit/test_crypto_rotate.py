"""Changing the code-signing key, and signing on another machine (spec 04 sections 1.7, 6.4)."""
from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from boincdock import crypto
from boincdock.crypto import offline
from boincdock.crypto.rotate import install_public, plan_rotation, write_rotation
from tests.unit.test_crypto_keys import worked_example


def offline_folder(path: Path, key: crypto.PrivateKey) -> Path:
    path.mkdir()
    crypto.write_key_file(path / "code_sign_private", key.file_text, secret=True)
    crypto.write_key_file(path / "code_sign_public", key.public.file_text, secret=False)
    return path


def client_accepts(folder: Path, stored: crypto.PublicKey) -> crypto.PublicKey:
    """What a client does with the server's offer: verify under its stored key, then replace it."""
    offer = crypto.CodeSignKeys.load(folder).offer(stored.text, 8)
    assert offer.key and offer.signature and not offer.refuse_work
    assert crypto.verify_bytes(offer.key.strip().encode(), offer.signature, stored)
    return crypto.parse_public(offer.key)


def test_two_changes_and_every_client_follows(tmp_path: Path) -> None:
    first = crypto.generate_private()
    zero = offline_folder(tmp_path / "zero", first)
    server = tmp_path / "server"
    server.mkdir()
    install_public(zero, server)
    assert [p.name for p in server.iterdir()] == ["code_sign_public"]

    write_rotation(plan_rotation(zero), tmp_path / "one")
    install_public(tmp_path / "one", server)
    second = client_accepts(server, first.public)

    write_rotation(plan_rotation(tmp_path / "one"), tmp_path / "two")
    install_public(tmp_path / "two", server)
    third = client_accepts(server, first.public)
    assert client_accepts(server, second) == third
    assert third == crypto.read_private(tmp_path / "two" / "code_sign_private").public
    assert crypto.CodeSignKeys.load(server).offer(third.text, 8) == crypto.KeyOffer()
    assert sorted(p.name for p in server.iterdir()) == sorted(
        ["code_sign_public", *(f"{n}_{i}" for n in ("old_key", "signature", "signature_stripped") for i in (0, 1))])
    assert crypto.read_private(tmp_path / "two" / "old_key_private_0") == first
    assert all(crypto.is_private_file_safe(p) for p in (tmp_path / "two").glob("*private*"))


def test_signatures_are_the_vectors_of_the_spec(tmp_path: Path) -> None:
    new = worked_example()
    rotated = plan_rotation(offline_folder(tmp_path / "keys", crypto.generate_private()), new)
    old = crypto.read_public(tmp_path / "keys" / "code_sign_public")
    assert hashlib.md5(new.public.text.encode()).hexdigest() == "4fe96792e624e4ec8059f4651b6805bf"
    assert crypto.verify_md5("4fe96792e624e4ec8059f4651b6805bf", rotated.public["signature_stripped_0"], old)
    assert crypto.verify_md5("c1a1bc7013dcb2a6038b24170ee687cb", rotated.public["signature_0"], old)
    assert not any("private" in name for name in rotated.public)
    assert str(new.d) not in repr(rotated) and "secret" not in repr(rotated)


def test_wrong_offline_folders(tmp_path: Path) -> None:
    key = crypto.generate_private()
    folder = offline_folder(tmp_path / "keys", key)
    with pytest.raises(crypto.CryptoError, match="one of the old"):
        plan_rotation(folder, key)
    crypto.write_key_file(folder / "old_key_0", crypto.generate_keypair()[1], secret=False)
    with pytest.raises(crypto.CryptoError, match="old_key_private_0"):
        plan_rotation(folder)
    crypto.write_key_file(folder / "old_key_private_0", key.file_text, secret=True)
    with pytest.raises(crypto.CryptoError, match="does not belong"):
        plan_rotation(folder)
    with pytest.raises(crypto.CryptoError, match="code_sign_private"):
        plan_rotation(tmp_path)
    rotated = plan_rotation(offline_folder(tmp_path / "good", key))
    with pytest.raises(crypto.CryptoError, match="cannot be made"):
        write_rotation(rotated, folder)


def test_nothing_is_installed_that_would_lock_hosts_out(tmp_path: Path) -> None:
    zero = offline_folder(tmp_path / "zero", crypto.generate_private())
    write_rotation(plan_rotation(zero), tmp_path / "one")
    server = tmp_path / "server"
    server.mkdir()
    crypto.write_key_file(server / "code_sign_public", crypto.generate_keypair()[1], secret=False)
    before = (server / "code_sign_public").read_text()
    with pytest.raises(crypto.CryptoError, match="not among the old"):
        install_public(tmp_path / "one", server)
    (server / "code_sign_public").unlink()
    good = (tmp_path / "one" / "signature_0").read_text()
    for broken in (good.replace("a", "b"), None):
        (tmp_path / "one" / "signature_0").unlink()
        if broken:
            (tmp_path / "one" / "signature_0").write_text(broken)
        with pytest.raises(crypto.CryptoError, match="signature_0"):
            install_public(tmp_path / "one", server)
    assert list(server.iterdir()) == [] and before


def app_folder(tmp_path: Path) -> Path:
    root = tmp_path / "apps"
    (root / "worker/1/x86").mkdir(parents=True)
    (root / "worker/1/x86/main program").write_bytes(b"hello\n")
    (root / "worker/1/x86/data").write_bytes(bytes(2_000_000))
    return root


PATHS = ["worker/1/x86/main program", "worker/1/x86/data"]


def test_signing_on_another_machine(tmp_path: Path) -> None:
    key, root = worked_example(), app_folder(tmp_path)
    request = offline.make_request(root, PATHS)
    assert len(request) < 400  # digests, not files
    signed = offline.sign_request(request, key)
    written = offline.apply_signatures(signed, root, key.public)
    assert written == [root / f"{path}.sig" for path in PATHS]
    assert hashlib.md5(written[0].read_bytes()).hexdigest() == "e1e3208d15e9f984c0abd734c6eddc26"
    assert crypto.verify_file(root / PATHS[1], written[1].read_text(), key.public)


def test_signatures_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    key, root = worked_example(), app_folder(tmp_path)
    request = offline.make_request(root, PATHS)
    with pytest.raises(crypto.CryptoError, match="main program was not made with"):
        offline.apply_signatures(offline.sign_request(request, crypto.generate_private()), root, key.public)
    (root / PATHS[1]).write_bytes(b"changed")
    with pytest.raises(crypto.CryptoError, match="data has changed"):
        offline.apply_signatures(offline.sign_request(request, key), root, key.public)
    (root / PATHS[1]).unlink()
    with pytest.raises(crypto.CryptoError, match="cannot be read"):
        offline.apply_signatures(offline.sign_request(request, key), root, key.public)
    assert not list(root.rglob("*.sig"))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../b", "a\nb", " a"])
def test_paths_stay_inside(tmp_path: Path, path: str) -> None:
    line = f"{'0' * 32} {'0' * 64} 1 {path}"
    with pytest.raises(crypto.CryptoError):
        offline.sign_request(f"boincdock files to sign 1\n{line}\n", worked_example())
    with pytest.raises(crypto.CryptoError):
        offline.make_request(tmp_path, [path])


@pytest.mark.parametrize(("text", "line"), [
    ("", "1"), ("junk", "1"), ("boincdock files to sign 1\njunk", "2"),
    ("boincdock files to sign 1\n" + "0" * 32 + " " + "0" * 64 + " 1 a\n\n", "3"),
])
def test_broken_lists_name_the_line(text: str, line: str) -> None:
    with pytest.raises(crypto.CryptoError, match=f"line {line}"):
        offline.parse_request(text)


def test_broken_signed_lists(tmp_path: Path) -> None:
    signed = offline.sign_request(offline.make_request(app_folder(tmp_path), PATHS), worked_example())
    assert len(offline.parse_signed(signed)) == 2
    lines = signed.splitlines()
    for broken in (signed[:-3], "\n".join(lines[:3]), "\n".join(["x", *lines]), "\n".join([*lines[:7], "junk"])):
        with pytest.raises(crypto.CryptoError, match="line"):
            offline.parse_signed(broken)
