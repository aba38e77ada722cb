"""`manage.py keys`: what happens on the operator's and on the signing machine; the containers are played by a table."""
from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from manage_fakes import FakeRunner, failed, healthy, make_app, ok, with_containers

from boincdock import crypto
from boincdock.crypto import offline
from boincdock.crypto.bundle import KeyChange
from boincdock.errors import BoincdockError, InputError
from boincdock.manage import keys
from boincdock.manage.cli import main
from boincdock.manage.shell import Result
from boincdock.project import keyring, secrets

LINUX = "x86_64-pc-linux-gnu"
RUN = "docker-compose run --rm --no-deps -T"
OPERATE = "python3 -m boincdock.project.operate"


class Server(FakeRunner):
    """A secrets volume in a folder; its one-shot containers really do what they are asked."""

    def __init__(self, vault: Path) -> None:
        super().__init__(with_containers(healthy()))
        self.vault = vault
        self.shown = keyring.fingerprint(crypto.read_public(vault / "keys/code_sign_public"))
        self.upload = keyring.fingerprint(crypto.read_public(vault / "keys/upload_public"))
        self.published: list[str] = []
        self.answers |= {
            "docker run": lambda _: ok(self.tar()),
            "docker exec": lambda argv: self._project(argv),
            f"{RUN} secrets {OPERATE} rotate-code-sign":
                lambda argv: ok(json.dumps(keyring.rotate_code_sign(vault, argv[-1]))),
            f"{RUN} secrets {OPERATE} rotate-upload":
                lambda argv: ok(json.dumps(keyring.rotate_upload(vault, argv[-1]))),
            f"{RUN} secrets {OPERATE} drop-private": lambda argv: ok(json.dumps(keyring.drop_private(vault, argv[-1]))),
            f"{RUN} secrets {OPERATE} install-change":
                lambda _: ok(json.dumps(keyring.install_change(vault, (self.stdin[-1] or b"").decode()))),
            f"{RUN} makeproject {OPERATE} check-change": ok('{"signatures": 1}'),
            f"{RUN} makeproject {OPERATE} publish": lambda _: self._publish(),
        }

    def tar(self) -> bytes:
        import io
        import tarfile

        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(self.vault, ".")
        return buffer.getvalue()

    def _publish(self) -> Result:
        self.published.append("publish")
        self.shown = keyring.fingerprint(crypto.read_public(self.vault / "keys/code_sign_public"))
        self.upload = keyring.fingerprint(crypto.read_public(self.vault / "keys/upload_public"))
        return ok('{"changes": []}')

    def _project(self, argv: list[str]) -> Result:
        assert argv[-2:] == ["bin/keys", "--json"]
        return ok(json.dumps({"code_sign": {"fingerprint": self.shown, "former": [], "problems": []},
                              "upload": {"fingerprint": self.upload, "former": []}}))


@pytest.fixture
def server(tmp_path: Path) -> Server:
    vault = tmp_path / "vault"
    vault.mkdir()
    secrets.fill(vault, tmp_path / "none")
    return Server(vault)


@pytest.fixture
def run(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    root = tmp_path / "checkout"
    root.mkdir()

    def call(*words: str, status: int = 0) -> Any:
        capsys.readouterr()
        assert main(words, make_app(root, server)) == status, capsys.readouterr().err
        captured = capsys.readouterr()
        return captured.err if status or "--json" not in words else json.loads(captured.out)
    return call


def versions(folder: Path) -> Path:
    top = folder / "sieve" / "1.01" / LINUX
    top.mkdir(parents=True)
    (top / "sieve_1.01").write_bytes(b"program")
    (top / "data.bin").write_bytes(b"data")
    (top / "version.xml").write_text("<version><file><physical_name>sieve_1.01</physical_name><main_program/></file>"
                                     "</version>")
    return top


# ---- show, rotate ------------------------------------------------------------------------------------------------


def test_show_tells_fingerprints_and_never_keys(run: Callable[..., Any], server: Server,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    found = run("keys", "show", "--json")
    assert found["code_sign_private_on_server"] and found["project"]["code_sign"]["problems"] == []
    prints = {key["name"]: key["fingerprint"] for key in found["keys"]}
    assert prints["code_sign_private"] == prints["code_sign_public"] == server.shown
    assert all(key["changed"] > 0 for key in found["keys"])
    text = json.dumps(found)
    for path in (server.vault / "keys").iterdir():
        assert path.read_text().splitlines()[3] not in text
    run("keys", "show")


def test_rotate_asks_before_and_can_be_asked_again(run: Callable[..., Any], server: Server) -> None:
    before = server.shown
    assert "Nobody was there to answer" in run("keys", "rotate", "code-sign", status=1)
    assert server.published == [] and server.shown == before
    done = run("keys", "rotate", "code-sign", "--yes", "--json")
    assert done["changed"] and done["before"] == before and server.shown == done["fingerprint"] != before
    upload = run("keys", "rotate", "upload", "--yes", "--json")
    assert upload["changed"] and (server.vault / "keys/old_upload_public_0").exists()


def test_rotate_interrupted_before_it_was_shown_makes_no_second_key(run: Callable[..., Any], server: Server) -> None:
    server.answers[f"{RUN} makeproject {OPERATE} publish"] = failed("error: the database is away")
    assert "the database is away" in run("keys", "rotate", "code-sign", "--yes", status=1)
    made = (server.vault / "keys/code_sign_public").read_bytes()
    server.answers[f"{RUN} makeproject {OPERATE} publish"] = lambda _: server._publish()
    run("keys", "rotate", "code-sign", "--yes")
    assert (server.vault / "keys/code_sign_public").read_bytes() == made
    assert not (server.vault / "keys/old_key_1").exists()


def test_a_key_that_does_not_arrive_everywhere_is_an_error(run: Callable[..., Any], server: Server) -> None:
    server.answers[f"{RUN} makeproject {OPERATE} publish"] = ok("{}")
    assert "the new key is not in use everywhere" in run("keys", "rotate", "code-sign", "--yes", status=1)


# ---- the private key leaves --------------------------------------------------------------------------------------


def test_offline_init_moves_the_key_and_only_then_removes_it(run: Callable[..., Any], server: Server,
                                                             tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    private = (server.vault / "keys/code_sign_private").read_bytes()
    run("keys", "rotate", "code-sign", "--yes")
    assert "Nobody was there" in run("keys", "offline-init", str(stick), status=1)
    assert (server.vault / "keys/code_sign_private").exists()
    done = run("keys", "offline-init", str(stick), "--yes", "--json")
    assert done["changed"] and sorted(done["removed"]) == ["code_sign_private", "old_key_private_0"]
    assert [p.name for p in (server.vault / "keys").iterdir() if "private" in p.name] == ["upload_private"]
    assert (stick / "old_key_private_0").read_bytes() == private
    assert all(p.stat().st_mode & 0o77 == 0 for p in (stick, *stick.iterdir()))
    assert run("keys", "offline-init", str(stick), "--json")["changed"] is False
    assert "not on this server any more" in run("keys", "offline-init", str(tmp_path / "other"), status=1)
    assert run("keys", "show", "--json")["code_sign_private_on_server"] is False
    assert "change it where the key is" in run("keys", "rotate", "code-sign", "--yes", status=1)


def test_offline_init_does_not_overwrite_another_key(run: Callable[..., Any], server: Server, tmp_path: Path) -> None:
    other = tmp_path / "stick"
    run("keys", "offline-init", str(other), "--new")
    assert "holds something else" in run("keys", "offline-init", str(other), "--yes", status=1)
    assert (server.vault / "keys/code_sign_private").exists()
    assert "exists already and is kept" in run("keys", "offline-init", str(other), "--new", status=1)


# ---- signing elsewhere -------------------------------------------------------------------------------------------


def test_a_folder_is_signed_elsewhere_and_a_changed_file_is_noticed(run: Callable[..., Any], server: Server,
                                                                    tmp_path: Path) -> None:
    top, stick, listed = versions(tmp_path / "apps"), tmp_path / "stick", tmp_path / "list"
    run("keys", "offline-init", str(stick), "--yes")
    calls = len(server.calls)
    assert run("keys", "sign", str(tmp_path / "apps"), "--export", str(listed), "--json")["files"] == [
        f"sieve/1.01/{LINUX}/data.bin", f"sieve/1.01/{LINUX}/sieve_1.01"]
    run("keys", "offline-sign", str(listed), "--keys", str(stick), "--files", str(tmp_path / "apps"))
    assert len(server.calls) == calls, "neither Docker nor a project is needed for this"
    signed = Path(f"{listed}.signed")
    (top / "data.bin").write_bytes(b"DATA")
    assert "data.bin has changed since it was listed" in run(
        "keys", "sign", str(tmp_path / "apps"), "--import", str(signed), status=1)
    assert not list(top.glob("*.sig"))
    (top / "data.bin").write_bytes(b"data")
    run("keys", "sign", str(tmp_path / "apps"), "--import", str(signed))
    key = crypto.read_public(stick / "code_sign_public")
    for name in ("sieve_1.01", "data.bin"):
        assert crypto.verify_file(top / name, (top / f"{name}.sig").read_text(), key)
    assert not (top / "version.xml.sig").exists()
    # The same for one version alone.
    assert run("keys", "sign", str(top), "--export", str(listed), "--json")["files"] == ["data.bin", "sieve_1.01"]


def test_wrong_keys_and_wrong_files_are_refused(run: Callable[..., Any], server: Server, tmp_path: Path) -> None:
    top, stranger, listed = versions(tmp_path / "apps"), tmp_path / "stranger", tmp_path / "list"
    run("keys", "offline-init", str(stranger), "--new")
    run("keys", "sign", str(top), "--export", str(listed))
    run("keys", "offline-sign", str(listed), "--keys", str(stranger))
    signed = f"{listed}.signed"
    assert "was not made with the project's code-signing key" in run("keys", "sign", "--import", signed, status=1)
    assert "was not made with the project's code-signing key" in run(
        "keys", "sign", str(top), "--import", signed, status=1)
    assert not server.did(f"{RUN} makeproject") and not list(top.glob("*.sig"))
    (top / "data.bin").write_bytes(b"not what the server has")
    assert "is not the file of the list" in run(
        "keys", "offline-sign", str(listed), "--keys", str(stranger), "--files", str(top), status=1)
    listed.write_text(listed.read_text() + "rubbish\n")
    assert "line 4: not a file of a list" in run("keys", "offline-sign", str(listed), "--keys", str(stranger), status=1)
    for words in (["keys", "sign"], ["keys", "sign", "--export", "a", "--import", "b"],
                  ["keys", "sign", str(top), "--published", "--export", "a"]):
        assert "either --export" in run(*words, status=1)


def test_a_key_change_made_elsewhere(run: Callable[..., Any], server: Server, tmp_path: Path) -> None:
    stick, listed, new = tmp_path / "stick", tmp_path / "list", tmp_path / "new"
    run("keys", "offline-init", str(stick), "--yes")
    (tmp_path / "f").write_bytes(b"published")
    server.answers[f"{RUN} makeproject {OPERATE} published"] = ok(json.dumps(
        {"list": offline.make_request(tmp_path, ["f"])}))
    run("keys", "sign", "--export", str(listed), "--published")
    run("keys", "offline-sign", str(listed), "--keys", str(stick), "--rotate", str(new))
    change = KeyChange.parse(Path(f"{listed}.signed").read_text())
    assert change.key == crypto.read_private(new / "code_sign_private").public
    # A second list for the same new key, as after an interruption; another folder in the way is refused.
    run("keys", "offline-sign", str(listed), "--keys", str(stick), "--rotate", str(new))
    assert KeyChange.parse(Path(f"{listed}.signed").read_text()).key == change.key
    shutil.copytree(stick, tmp_path / "in_the_way")
    assert "is no change from the key" in run("keys", "offline-sign", str(listed), "--keys", str(stick), "--rotate",
                                              str(tmp_path / "in_the_way"), status=1)
    done = run("keys", "rotate", "code-sign", "--import", f"{listed}.signed", "--yes", "--json")
    assert done["changed"] and server.shown == done["fingerprint"] == keyring.fingerprint(change.key)
    assert run("keys", "rotate", "code-sign", "--import", f"{listed}.signed", "--yes", "--json")["changed"] is False
    assert not (server.vault / "keys/code_sign_private").exists()
    assert "is for the code-signing key" in run("keys", "rotate", "upload", "--import", f"{listed}.signed", status=1)


def test_a_key_change_from_another_project_is_refused(run: Callable[..., Any], server: Server, tmp_path: Path) -> None:
    other, listed = tmp_path / "other", tmp_path / "list"
    keys.make_pair(other)
    listed.write_text("boincdock files to sign 1\n")
    run("keys", "offline-sign", str(listed), "--keys", str(other), "--rotate", str(tmp_path / "new"))
    assert "does not start from the project's present" in run(
        "keys", "rotate", "code-sign", "--import", f"{listed}.signed", "--yes", status=1)
    assert not server.did(f"{RUN} secrets")


def test_unreadable_documents(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        keys.read_document(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        keys.read_document(tmp_path / "binary")
    with pytest.raises(BoincdockError, match="cannot be written"):
        keys.write_document(tmp_path / "no" / "folder", "x")
