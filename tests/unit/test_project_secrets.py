"""The secrets volume's first content, and what is never changed in it."""
from __future__ import annotations

import os
from pathlib import Path

import bcrypt
import pytest

from boincdock import crypto
from boincdock.errors import ConfigError
from boincdock.project import secrets
from boincdock.project.tree import Tree, TreeError

TEMPLATES = Path(__file__).parents[2] / "secrets"
ALL = {"secrets.env", "keys/code_sign_private", "keys/code_sign_public", "keys/upload_private",
       "keys/upload_public", "html/ops/.htpasswd", "html/ops/.htpasswd.ours"}


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    path.mkdir()
    return path


def contents(vault: Path) -> dict[str, bytes]:
    return {p.relative_to(vault).as_posix(): p.read_bytes() for p in vault.rglob("*") if p.is_file()}


def test_first_fill_makes_everything_random_and_private(vault: Path, tmp_path: Path) -> None:
    assert set(secrets.fill(vault, TEMPLATES)) == ALL - {"html/ops/.htpasswd.ours"}
    values = secrets.parse_env((vault / "secrets.env").read_text())
    assert set(values) == set(secrets.KEYS)
    assert len(values["DB_PASSWD"]) == 24 and values["DB_PASSWD"] != values["OPS_PASSWD"]
    assert values["MAILPASS"] == values["RECAPTCHA_PUBLIC_KEY"] == ""
    for pair in ("code_sign", "upload"):
        private = crypto.read_private(vault / "keys" / f"{pair}_private")
        assert crypto.read_public(vault / "keys" / f"{pair}_public") == private.public
    user, _, hashed = (vault / "html/ops/.htpasswd").read_text().strip().partition(":")
    assert user == "admin"
    assert hashed.startswith("$2y$")
    assert bcrypt.checkpw(values["OPS_PASSWD"].encode(), hashed.encode())
    for path in [vault, *vault.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    other = tmp_path / "other"
    other.mkdir()
    secrets.fill(other, TEMPLATES)
    assert all(contents(other)[rel] != contents(vault)[rel] for rel in ALL)


def test_a_second_fill_changes_nothing(vault: Path) -> None:
    secrets.fill(vault, TEMPLATES)
    before = contents(vault)
    assert secrets.fill(vault, TEMPLATES) == []
    assert contents(vault) == before


@pytest.mark.parametrize("lost", sorted(ALL - {"keys/upload_private", "keys/code_sign_private",
                                               "html/ops/.htpasswd.ours"}))
def test_what_is_missing_is_made_and_the_rest_stays(vault: Path, lost: str) -> None:
    secrets.fill(vault, TEMPLATES)
    before = contents(vault)
    (vault / lost).unlink()
    # A new OPS_PASSWD comes with a new secrets.env; the password file follows it.
    followers = {"html/ops/.htpasswd", "html/ops/.htpasswd.ours"} if lost == "secrets.env" else set()
    assert secrets.fill(vault, TEMPLATES) == [lost, *sorted(followers)[:1]]
    after = contents(vault)
    assert set(after) == ALL
    assert all(after[rel] == before[rel] for rel in ALL - {lost} - followers)
    if lost.endswith("_public"):
        assert after[lost] == before[lost]


def test_half_a_pair(vault: Path) -> None:
    """Without the private signing key the operator signs elsewhere; without the upload key nothing works."""
    secrets.fill(vault, TEMPLATES)
    (vault / "keys/code_sign_private").unlink()
    assert secrets.fill(vault, TEMPLATES) == []
    assert not (vault / "keys/code_sign_private").exists()
    (vault / "keys/upload_private").unlink()
    with pytest.raises(ConfigError, match="upload_private"):
        secrets.fill(vault, TEMPLATES)


def test_keys_that_do_not_belong_together(vault: Path, tmp_path: Path) -> None:
    secrets.fill(vault, TEMPLATES)
    other = tmp_path / "other"
    other.mkdir()
    secrets.fill(other, TEMPLATES)
    (vault / "keys/upload_public").write_bytes((other / "keys/upload_public").read_bytes())
    with pytest.raises(ConfigError, match="do not belong together"):
        secrets.fill(vault, TEMPLATES)


def test_an_operators_secrets_env_is_completed_and_otherwise_kept(vault: Path) -> None:
    text = "# mine\nDB_PASSWD='pa ss|&\\\"word'\nOPS_PASSWD=\nEXTRA=1"
    (vault / "secrets.env").write_text(text)
    secrets.fill(vault, TEMPLATES)
    after = (vault / "secrets.env").read_text()
    assert after.startswith("# mine\nDB_PASSWD='pa ss|&\\\"word'\nOPS_PASSWD=")
    values = secrets.parse_env(after)
    assert values["DB_PASSWD"] == 'pa ss|&\\"word' and values["EXTRA"] == "1" and len(values["OPS_PASSWD"]) == 24


def test_operators_files_are_copied_once(vault: Path, tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    (templates / "keys").mkdir(parents=True)
    (templates / "secrets.env").write_text("DB_PASSWD=given\n")
    (templates / "keys" / "old_key_0").write_text("x")
    secrets.fill(vault, templates)
    assert secrets.parse_env((vault / "secrets.env").read_text())["DB_PASSWD"] == "given"
    assert (vault / "keys" / "old_key_0").read_text() == "x"
    (templates / "secrets.env").write_text("DB_PASSWD=other\n")
    assert secrets.fill(vault, templates) == []


def test_nothing_in_secrets_env_is_executed() -> None:
    assert secrets.parse_env("A=$(id)\nexport B=`id`;x\n")["A"] == "$(id)"
    with pytest.raises(ConfigError, match="line 2"):
        secrets.parse_env("A=1\nrm -rf /\n")
    with pytest.raises(ConfigError, match="control"):
        secrets.parse_env("A=a\x07b\n")


def test_only_the_database_password_leaves_the_volume(vault: Path, tmp_path: Path) -> None:
    secrets.fill(vault, TEMPLATES)
    out = tmp_path / "dbsecret"
    out.mkdir()
    assert secrets.publish_db_password(vault, out, gid=None)
    assert [p.name for p in out.iterdir()] == ["db_passwd"]
    assert (out / "db_passwd").read_text().strip() == \
        secrets.parse_env((vault / "secrets.env").read_text())["DB_PASSWD"]
    assert (out / "db_passwd").stat().st_mode & 0o777 == 0o640
    assert not secrets.publish_db_password(vault, out, gid=None)
    (out / "db_passwd").write_text("stale\n")
    assert secrets.publish_db_password(vault, out, gid=None)


def test_an_interrupted_fill_is_finished_by_the_next(vault: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Died(BaseException):
        pass

    real, count, limit = Tree.write, 0, 0

    def dying(self: Tree, rel: str, data: bytes, mode: int = 0o644) -> bool:
        nonlocal count
        count += 1
        if count > limit:
            raise Died
        return real(self, rel, data, mode)

    monkeypatch.setattr(Tree, "write", dying)
    seen: dict[str, bytes] = {}
    for limit in range(1, 20):  # noqa: B007 (read by dying)
        count = 0
        try:
            secrets.fill(vault, TEMPLATES)
            break
        except Died:
            assert all(contents(vault)[rel] == data for rel, data in seen.items()
                       if rel != "secrets.env" or b"DB_PASSWD=\n" not in data)
            seen = contents(vault)
    monkeypatch.setattr(Tree, "write", real)
    assert set(contents(vault)) == ALL
    assert secrets.fill(vault, TEMPLATES) == []


# ---- the project volume is walked without following links

def test_links_are_never_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    root = tmp_path / "volume"
    root.mkdir()
    (root / "config.xml").symlink_to(secret)
    (root / "html").symlink_to(tmp_path)
    tree = Tree(root)
    with pytest.raises(TreeError, match="symbolic link"):
        tree.read("config.xml")
    with pytest.raises(TreeError, match="not a directory"):
        tree.read("html/secret")
    with pytest.raises(TreeError, match="not a directory"):
        tree.write("html/new", b"x")
    assert tree.write("config.xml", b"mine")
    assert secret.read_text() == "key"
    assert not (root / "config.xml").is_symlink()
    (root / "file").symlink_to(secret)
    assert tree.copy_from(root / "config.xml", "file", 0o644)
    assert secret.read_text() == "key"


@pytest.mark.parametrize("rel", ["../x", "a/../../x", "/etc/passwd", "", "a//b", "./a", "a\0b"])
def test_paths_stay_inside(tmp_path: Path, rel: str) -> None:
    with pytest.raises(TreeError, match="not a path inside"):
        Tree(tmp_path).write(rel, b"x")


def test_reading_odd_files(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dir").mkdir()
    assert tree.read("nothing/here") is None
    for odd in ("fifo", "dir"):
        with pytest.raises(TreeError, match="regular file"):
            tree.read(odd)


def test_writing_is_atomic_and_says_whether_it_changed_anything(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert tree.write("a/b/c", b"1", 0o600)
    assert not tree.write("a/b/c", b"1", 0o600)
    assert tree.write("a/b/c", b"1", 0o644)
    assert tree.write("a/b/c", b"2", 0o644)
    assert (tmp_path / "a/b/c").read_bytes() == b"2"
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["c"]
    tree.make_dir("d", 0o2770)
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o2770
    (tmp_path / "link").symlink_to(tmp_path / "d")
    tree.make_dir("link", 0o755)
    with pytest.raises(TreeError, match="in the way"):
        tree.make_dir("a/b/c", 0o755)
    assert tree.remove("a/b/c")
    assert not tree.remove("a/b/c")
