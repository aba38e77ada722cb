"""Keys change wholly or not at all, whatever interrupts the change (spec 04 sections 1.7, 1.8; decision 0110)."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from boincdock import crypto
from boincdock.crypto import offline
from boincdock.crypto.bundle import KeyChange, write_change
from boincdock.crypto.rotate import plan_rotation
from boincdock.errors import BoincdockError, InputError
from boincdock.project import keyring, publish, secrets
from boincdock.project.keyring import fingerprint
from boincdock.project.tree import Tree


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    path.mkdir()
    secrets.fill(path, tmp_path / "none")
    return path


def public(vault: Path, name: str = "code_sign_public") -> crypto.PublicKey:
    return crypto.read_public(vault / "keys" / name)


def files(vault: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (vault / "keys").iterdir()}


def test_code_signing_key_changes_and_every_earlier_client_follows(vault: Path) -> None:
    first = public(vault)
    done = keyring.rotate_code_sign(vault, fingerprint(first))
    second = public(vault)
    assert done == {"changed": True, "fingerprint": fingerprint(second)} and second != first
    assert crypto.read_private(vault / "keys/code_sign_private").public == second
    assert keyring.rotate_code_sign(vault, fingerprint(second))["changed"]
    third = public(vault)
    for stored in (first, second):
        offer = crypto.CodeSignKeys.load(vault / "keys").offer(stored.text, 8)
        assert offer.key == third.text and offer.signature
        assert crypto.verify_bytes(offer.key.encode(), offer.signature, stored)
    assert all(path.stat().st_mode & 0o77 == 0 for path in (vault / "keys").iterdir())


def test_asking_again_for_a_change_that_was_made_changes_nothing(vault: Path) -> None:
    """The project still shows the old key: the change was interrupted before it was published."""
    first = fingerprint(public(vault))
    keyring.rotate_code_sign(vault, first)
    before = files(vault)
    assert keyring.rotate_code_sign(vault, first) == {"changed": False, "fingerprint": fingerprint(public(vault))}
    assert files(vault) == before
    upload = fingerprint(public(vault, "upload_public"))
    keyring.rotate_upload(vault, upload)
    before = files(vault)
    assert not keyring.rotate_upload(vault, upload)["changed"] and files(vault) == before
    with pytest.raises(InputError, match="is not the one in the secrets volume"):
        keyring.rotate_code_sign(vault, "0" * 64)
    assert files(vault) == before


@pytest.mark.parametrize("stop_at", range(8))
def test_killed_at_any_write_the_next_start_completes_it(
    vault: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(vault)
    present = fingerprint(public(vault))
    real, count = Tree.write, 0

    class Killed(BaseException):
        pass

    def write(self: Tree, rel: str, data: bytes, mode: int = 0o644) -> bool:
        nonlocal count
        if count == stop_at:
            raise Killed
        count += 1
        return real(self, rel, data, mode)

    with monkeypatch.context() as patch:
        patch.setattr(Tree, "write", write)
        try:
            keyring.rotate_code_sign(vault, present)
        except Killed:
            pass
    secrets.fill(vault, vault / "none")  # what the service `secrets` does at each start
    after = files(vault)
    assert ".change.json" not in after
    if stop_at == 0:
        assert after == before
    else:
        assert crypto.read_private(vault / "keys/code_sign_private").public == public(vault)
        assert fingerprint(crypto.read_public(vault / "keys/old_key_0")) == present
        assert crypto.CodeSignKeys.load(vault / "keys").offer(crypto.parse_public(
            before["code_sign_public"].decode()).text, 8).signature


def test_upload_key_keeps_the_old_public_ones(vault: Path) -> None:
    first = public(vault, "upload_public")
    keyring.rotate_upload(vault, fingerprint(first))
    second = public(vault, "upload_public")
    keyring.rotate_upload(vault, fingerprint(second))
    assert [public(vault, f"old_upload_public_{n}") for n in (0, 1)] == [first, second]
    assert crypto.read_private(vault / "keys/upload_private").public == public(vault, "upload_public")


def test_private_keys_leave_only_if_they_are_the_ones_that_were_saved(vault: Path) -> None:
    keyring.rotate_code_sign(vault, fingerprint(public(vault)))
    before = files(vault)
    with pytest.raises(InputError, match="has changed meanwhile"):
        keyring.drop_private(vault, "0" * 64)
    assert files(vault) == before
    assert keyring.drop_private(vault, fingerprint(public(vault))) == ["code_sign_private", "old_key_private_0"]
    assert not [name for name in files(vault) if "private" in name and name != "upload_private"]
    assert secrets.fill(vault, vault / "none") == []
    with pytest.raises(InputError, match="not on this server"):
        keyring.rotate_code_sign(vault, fingerprint(public(vault)))


# ---- changes made on another machine -----------------------------------------------------------------------------


def elsewhere(vault: Path, folder: Path, listed: str = "boincdock files to sign 1\n") -> tuple[str, crypto.PrivateKey]:
    shutil.copytree(vault / "keys", folder)
    made = plan_rotation(folder)
    new = crypto.parse_private(made.secret["code_sign_private"])
    return write_change(made.public, offline.sign_request(listed, new)), new


def test_a_change_made_elsewhere_is_taken_over_without_any_private_key(vault: Path, tmp_path: Path) -> None:
    old = public(vault)
    document, new = elsewhere(vault, tmp_path / "offline")
    keyring.drop_private(vault, fingerprint(old))
    assert keyring.install_change(vault, document) == {"changed": True, "fingerprint": fingerprint(new.public)}
    assert keyring.install_change(vault, document)["changed"] is False
    assert public(vault) == new.public
    offer = crypto.CodeSignKeys.load(vault / "keys").offer(old.text, 8)
    assert offer.signature and crypto.verify_bytes(new.public.text.encode(), offer.signature, old)


def test_a_change_from_another_key_would_lock_clients_out(vault: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    secrets.fill(stranger, tmp_path / "none")
    document, _ = elsewhere(stranger, tmp_path / "offline")
    before = files(vault)
    with pytest.raises(BoincdockError, match="does not start from the project's present"):
        keyring.install_change(vault, document)
    assert files(vault) == before


def test_a_damaged_change_is_refused(vault: Path, tmp_path: Path) -> None:
    import json

    document, new = elsewhere(vault, tmp_path / "offline")
    for spoil, words in (
        (lambda d: d["public"].pop("signature_stripped_0"), "signature_stripped_0 of the key change does not verify"),
        (lambda d: d["public"].update(code_sign_private="x"), "does not belong there"),
        (lambda d: d["public"].update(code_sign_public="1024\nzz\n"), "cannot be used"),
        (lambda d: d["public"].pop("old_key_0"), "complete set of key files"),
        (lambda d: d.pop("signed"), "this is not a key change"),
        (lambda d: d.update(format="x"), "this is not a key change"),
    ):
        data = json.loads(document)
        spoil(data)
        with pytest.raises(crypto.CryptoError, match=words):
            KeyChange.parse(json.dumps(data))
    with pytest.raises(crypto.CryptoError, match="not a key change"):
        KeyChange.parse("not json")
    stranger = crypto.generate_private()
    signed = offline.sign_request("boincdock files to sign 1\n" + "0" * 32 + " " + "0" * 64 + " 5 a\n", stranger)
    data = json.loads(document)
    with pytest.raises(crypto.CryptoError, match="the signature of a was not made with the new key"):
        write_change(data["public"], signed)
    assert new.public


# ---- passwords ---------------------------------------------------------------------------------------------------


def accepted(dbsecret: Path) -> set[str]:
    """What the database would let in, were it started now."""
    return {p.read_text().strip() for name in ("db_passwd", "db_passwd_also") if (p := dbsecret / name).exists()}


def test_the_database_accepts_what_is_in_use_at_every_step(vault: Path, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    dbsecret = tmp_path / "dbsecret"
    dbsecret.mkdir()
    secrets.publish_db_password(vault, dbsecret, None)

    def values() -> dict[str, str]:
        return secrets.parse_env((vault / "secrets.env").read_text())

    old = values()["DB_PASSWD"]
    real = Path.rename
    seen: list[set[str]] = []

    def rename(self: Path, target: Path) -> Path:
        seen.append(accepted(dbsecret))
        made = real(self, target)
        seen.append(accepted(dbsecret))
        return made

    monkeypatch.setattr(Path, "rename", rename)
    assert secrets.db_password("begin", vault, dbsecret, None) == "next"
    new = values()["DB_PASSWD_NEXT"]
    assert secrets.db_password("begin", vault, dbsecret, None) == "next" and values()["DB_PASSWD_NEXT"] == new
    assert accepted(dbsecret) == {old, new} and all(old in each for each in seen)
    assert secrets.db_password("switch", vault, dbsecret, None) == "old"
    assert secrets.db_password("switch", vault, dbsecret, None) == "old"
    assert secrets.db_password("begin", vault, dbsecret, None) == "old"
    assert values()["DB_PASSWD"] == new and accepted(dbsecret) == {old, new}
    assert all(old in each for each in seen), "config.xml still has the old one until makeproject has run"
    assert (dbsecret / "db_passwd").read_text() == f"{new}\n"
    assert secrets.db_password("finish", vault, dbsecret, None) == "none"
    assert accepted(dbsecret) == {new} and set(values()) == set(secrets.KEYS)
    assert secrets.fill(vault, tmp_path / "none") == []


def test_finish_does_not_skip_a_step(vault: Path, tmp_path: Path) -> None:
    dbsecret = tmp_path / "dbsecret"
    dbsecret.mkdir()
    secrets.db_password("begin", vault, dbsecret, None)
    assert secrets.db_password("finish", vault, dbsecret, None) == "next"


def test_operators_password_and_its_file_go_together(vault: Path, tmp_path: Path) -> None:
    import bcrypt

    def admin() -> bytes:
        lines = (vault / "html/ops/.htpasswd").read_bytes().split(b"\n")
        (line,) = [each for each in lines if each.startswith(b"admin:")]
        return line.partition(b":")[2].replace(b"$2y$", b"$2b$")

    def password() -> bytes:
        return secrets.parse_env((vault / "secrets.env").read_text())["OPS_PASSWD"].encode()

    path = vault / "html/ops/.htpasswd"
    path.write_text(path.read_text() + "eve:$2y$06$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ012345\n")
    before = password()
    secrets.rotate_ops_password(vault)
    assert password() != before and bcrypt.checkpw(password(), admin()) and "eve:" in path.read_text()
    # Changed by hand in secrets.env: the file follows at the next start.
    env = vault / "secrets.env"
    env.write_text(secrets.set_env(env.read_text(), {"OPS_PASSWD": "by-hand-1"}))
    assert secrets.fill(vault, tmp_path / "none") == ["html/ops/.htpasswd"]
    assert bcrypt.checkpw(b"by-hand-1", admin()) and "eve:" in path.read_text()
    # Changed by hand in the password file: that is the operator's, and stays.
    path.write_text(secrets.htpasswd_line("admin", "my own"))
    assert secrets.fill(vault, tmp_path / "none") == []
    assert bcrypt.checkpw(b"my own", admin())


def test_set_env_leaves_other_lines_alone() -> None:
    text = "# DB_PASSWD=x\nDB_PASSWD=a\nexport MAILPASS = 'm'\n\nOTHER=1"
    new = secrets.set_env(text, {"DB_PASSWD": "b", "MAILPASS": None})
    assert new == "# DB_PASSWD=x\n\nOTHER=1\nDB_PASSWD=b\n"


def test_a_link_planted_in_the_project_folder_is_replaced_by_the_public_key(vault: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / "keys").mkdir(parents=True)
    (folder / "keys" / "code_sign_public").symlink_to(vault / "keys" / "code_sign_private")
    publish.publish_secrets(Tree(folder), Tree(vault), lambda text: None)
    shown = folder / "keys" / "code_sign_public"
    assert not shown.is_symlink()
    assert shown.read_bytes() == (vault / "keys" / "code_sign_public").read_bytes()
