"""Encrypted backups of the secrets volume: what comes back, and what is refused."""
from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manage_fakes import FakeRunner, failed, healthy, make_app, ok, with_containers

from boincdock.errors import BoincdockError, InputError
from boincdock.manage import secrets
from boincdock.manage.cli import main
from boincdock.manage.secrets import SecretsVolume, decrypt, encrypt, members
from boincdock.manage.shell import Result

PASSPHRASE = "correct horse battery"


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("./keys")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


FILES = {"./secrets.env": b"DB_PASSWD=abc\nOPS_PASSWD='x y'\n# c\n", "./keys/code_sign_private": b"1024\nff\n.\n"}
TAR = _tar(FILES)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_LOG2_N", 14)


class Volume(FakeRunner):
    """A volume whose content the one-shot containers read and write."""

    def __init__(self, content: bytes | None, running: bool = False) -> None:
        super().__init__(with_containers(healthy()) if running else None)
        self.content = content
        self.answers |= {
            "docker volume inspect": lambda _: ok() if self.content is not None else failed("No such volume"),
            "docker volume create": self._create, "docker run": self._one_shot,
        }

    def _create(self, _: list[str]) -> Result:
        self.content = _tar({})
        return ok()

    def _one_shot(self, argv: list[str]) -> Result:
        if "-xpf" in argv:
            assert self.stdin[-1] is not None
            self.content = self.stdin[-1]
        elif "-delete" in argv:
            self.content = _tar({})
        else:
            return ok(self.content or b"")
        assert not any(word.endswith(":ro") for word in argv)
        return ok()


def _volume(root: Path, runner: FakeRunner, yes: bool = False) -> SecretsVolume:
    app = make_app(root, runner)
    app.ui.yes = yes
    return SecretsVolume(app.compose(), app.ui)


def test_backup_and_restore_on_an_empty_machine(tmp_path: Path) -> None:
    backup = tmp_path / "b"
    assert _volume(tmp_path, Volume(TAR)).backup(backup, PASSPHRASE) == 2
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    for needle in (b"DB_PASSWD", b"abc", b"1024", b"code_sign"):
        assert needle not in backup.read_bytes()
    empty = Volume(None)
    assert _volume(tmp_path, empty).restore(backup, PASSPHRASE) == 2
    assert empty.content == TAR
    assert empty.did("docker volume create --label com.docker.compose.project=")


def test_restore_does_not_overwrite_without_yes(tmp_path: Path) -> None:
    backup = tmp_path / "b"
    _volume(tmp_path, Volume(TAR)).backup(backup, PASSPHRASE)
    other = _tar({"./secrets.env": b"DB_PASSWD=other\n"})
    runner = Volume(other)
    with pytest.raises(InputError, match="Overwrite"):
        _volume(tmp_path, runner).restore(backup, PASSPHRASE)
    assert runner.content == other
    _volume(tmp_path, runner, yes=True).restore(backup, PASSPHRASE)
    assert runner.content == TAR


def test_restore_refuses_while_the_project_runs(tmp_path: Path) -> None:
    backup = tmp_path / "b"
    _volume(tmp_path, Volume(TAR)).backup(backup, PASSPHRASE)
    with pytest.raises(BoincdockError, match="the project is running"):
        _volume(tmp_path, Volume(TAR, running=True), yes=True).restore(backup, PASSPHRASE)


def test_wrong_passphrase_and_damage_change_nothing(tmp_path: Path) -> None:
    backup = tmp_path / "b"
    _volume(tmp_path, Volume(TAR)).backup(backup, PASSPHRASE)
    runner = Volume(None)
    with pytest.raises(InputError, match="wrong passphrase"):
        _volume(tmp_path, runner).restore(backup, PASSPHRASE + "x")
    whole = backup.read_bytes()
    backup.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="wrong passphrase, or the backup is damaged"):
        _volume(tmp_path, runner).restore(backup, PASSPHRASE)
    backup.write_bytes(b"PK\3\4 something else")
    with pytest.raises(InputError, match="not a boincdock secrets backup"):
        _volume(tmp_path, runner).restore(backup, PASSPHRASE)
    assert runner.content is None


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=200), st.text(max_size=20), st.data())
def test_what_is_encrypted_comes_back_and_any_flipped_bit_is_noticed(
    plain: bytes, passphrase: str, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "_LOG2_N", 14)
        blob = bytearray(encrypt(plain, passphrase))
    assert decrypt(bytes(blob), passphrase) == plain
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1
    with pytest.raises(InputError):
        decrypt(bytes(blob), passphrase)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "./a/../../x"])
def test_a_backup_cannot_write_outside(name: str) -> None:
    with pytest.raises(InputError, match="does not belong there"):
        members(_tar({name: b"x"}))


def test_short_passphrase_and_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 8"):
        _volume(tmp_path, Volume(TAR)).backup(tmp_path / "b", "short")
    with pytest.raises(BoincdockError, match="no secrets yet"):
        _volume(tmp_path, Volume(None)).backup(tmp_path / "b", PASSPHRASE)
    with pytest.raises(BoincdockError, match="empty"):
        _volume(tmp_path, Volume(_tar({}))).backup(tmp_path / "b", PASSPHRASE)
    assert not (tmp_path / "b").exists()


def test_unwritable_target_is_an_error_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phrase = tmp_path / "p"
    phrase.write_text(PASSPHRASE + "\n")
    words = ["secrets", "backup", str(tmp_path / "none" / "b"), "--passphrase-file", str(phrase)]
    assert main(words, make_app(tmp_path, Volume(TAR))) == 1
    assert "error: cannot write" in capsys.readouterr().err


def test_show_has_passwords_and_fingerprints_but_no_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secrets", "show"], make_app(tmp_path, Volume(TAR))) == 0
    shown = capsys.readouterr().out
    assert "DB_PASSWD" in shown
    assert "abc" in shown
    assert "keys/code_sign_private" in shown
    assert "1024" not in shown


def test_passphrase_from_the_environment_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "b"
    monkeypatch.delenv("BOINCDOCK_PASSPHRASE", raising=False)
    assert main(["secrets", "backup", str(target)], make_app(tmp_path, Volume(TAR))) == 1
    assert "no passphrase" in capsys.readouterr().err
    monkeypatch.setenv("BOINCDOCK_PASSPHRASE", PASSPHRASE)
    assert main(["secrets", "backup", str(target)], make_app(tmp_path, Volume(TAR))) == 0
    runner = Volume(None)
    assert main(["secrets", "restore", str(target)], make_app(tmp_path, runner)) == 0
    assert runner.content == TAR
