"""bin/stage_file, dir_hier_path, dir_hier_move, crypt_prog, sign_executable as their users call them."""
from __future__ import annotations

import hashlib
import io
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from boincdock import crypto
from boincdock.bin import crypt_prog, dir_hier_move, dir_hier_path, sign_executable, stage_file
from boincdock.bin._run import run
from tests.unit.test_crypto_keys import worked_example

CONFIG = """<boinc><config><master_url>http://127.0.0.1/p/</master_url><uldl_dir_fanout>1024</uldl_dir_fanout>
<download_url>http://127.0.0.1/p/download</download_url></config></boinc>"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    (root / "download").mkdir(parents=True)
    (root / "config.xml").write_text(CONFIG)
    monkeypatch.setenv("BOINC_PROJECT_DIR", str(root))
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    crypto.write_key_file(tmp_path / "priv", worked_example().file_text, secret=True)
    crypto.write_key_file(tmp_path / "pub", worked_example().public.file_text, secret=False)
    (tmp_path / "file").write_bytes(b"hello\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_stage_file_moves_or_copies(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.dat").write_text("hello")
    assert run(stage_file.main, ["-copy", "--json", "in.dat"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "in.dat", "md5": "5d41402abc4b2a76b9719d911017c592", "nbytes": 5,
        "url": "http://127.0.0.1/p/download/3a5/in.dat"}
    assert run(stage_file.main, ["--gzip", "--verbose", "in.dat"]) == 0
    assert "was staged already" in capsys.readouterr().out
    assert not Path("in.dat").exists()
    assert sorted(p.name for p in (project / "download/3a5").iterdir()) == ["in.dat", "in.dat.gz", "in.dat.md5"]


def test_stage_file_takes_folders_and_standard_input(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "sub/c"):
        Path("many", name).parent.mkdir(parents=True, exist_ok=True)
        Path("many", name).write_text(name)
    assert run(stage_file.main, ["--copy", "many"]) == 0
    assert sorted(p.name for p in project.rglob("*.md5")) == ["a.md5", "b.md5"]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"piped")))
    assert run(stage_file.main, ["-", "--name", "piped.txt"]) == 0
    assert [p.read_bytes() for p in project.rglob("piped.txt")] == [b"piped"]


@pytest.mark.parametrize(("argv", "message"), [
    (["nothing"], "no such file"), ([], "required"), (["-"], "--name"), (["--name", "x", "."], "not for a folder"),
    (["--name", "../x", "in.dat"], "file name"), (["--wrong", "in.dat"], "unrecognized"), (["taken"], "different file"),
])
def test_stage_file_errors(project: Path, capsys: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    Path("in.dat").write_text("hello")
    Path("taken").write_text("one")
    assert run(stage_file.main, ["--copy", "taken"]) == 0
    Path("taken").write_text("two")
    assert run(stage_file.main, argv) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and "Traceback" not in error
    assert Path("in.dat").exists()


def test_dir_hier_path(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(dir_hier_path.main, ["in.dat"]) == 0
    assert capsys.readouterr().out == f"{project}/download/3a5/in.dat\n" and (project / "download/3a5").is_dir()
    for bad in ("", "..", "a/b", "x\n"):
        assert run(dir_hier_path.main, [bad]) == 1


def test_dir_hier_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flat, tree = tmp_path / "flat", tmp_path / "tree"
    flat.mkdir()
    for name in ("in.dat", "in.dat.md5", "in.dat.gz", "a", "lonely.gz"):
        (flat / name).write_text(name)
    assert run(dir_hier_move.main, [str(flat), str(tree), "1024"]) == 0
    assert capsys.readouterr().out == "5 files moved\n" and not list(flat.iterdir())
    assert {p.name for p in (tree / "3a5").iterdir()} == {"in.dat", "in.dat.md5", "in.dat.gz"}
    assert (tree / "1b9" / "a").read_text() == "a"
    (flat / "a").write_text("other")
    assert run(dir_hier_move.main, [str(flat), str(tree), "1024"]) == 1
    assert (tree / "1b9" / "a").read_text() == "a" and (flat / "a").read_text() == "other"
    for argv in ([str(flat), str(tree), "0"], [str(flat), str(tree), "x"], [str(tmp_path / "no"), str(tree), "9"]):
        assert run(dir_hier_move.main, argv) == 1


def test_signing_and_verifying(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(crypt_prog.main, ["-sign", "file", "priv"]) == 0
    signature = capsys.readouterr().out
    assert hashlib.md5(signature.encode()).hexdigest() == "e1e3208d15e9f984c0abd734c6eddc26"
    assert run(sign_executable.main, ["file", "priv"]) == 0 and capsys.readouterr().out == signature
    assert run(crypt_prog.main, ["-sign_string", "hello\n", "priv"]) == 0 and capsys.readouterr().out == signature
    Path("sig").write_text(signature)
    assert run(crypt_prog.main, ["-verify", "file", "sig", "pub"]) == 0
    assert run(crypt_prog.main, ["-verify_string", "hello\n", "sig", "pub"]) == 0
    assert run(crypt_prog.main, ["-verify_string", "hello", "sig", "pub"]) == 1
    assert "invalid" in capsys.readouterr().out


def test_genkey_and_test_crypt(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(crypt_prog.main, ["-genkey", "1024", "new_priv", "new_pub"]) == 0
    assert run(crypt_prog.main, ["-test_crypt", "new_priv", "new_pub"]) == 0
    assert run(crypt_prog.main, ["-test_crypt", "new_priv", "pub"]) == 2
    before = Path("new_priv").read_text()
    assert run(crypt_prog.main, ["-genkey", "1024", "new_priv", "other"]) == 2
    assert Path("new_priv").read_text() == before and not Path("other").exists()
    assert run(crypt_prog.main, ["-genkey", "2048", "x", "y"]) == 2 and not Path("x").exists()


def test_conversions(keys: Path) -> None:
    for kind, name in (("priv", "priv"), ("pub", "pub")):
        assert run(crypt_prog.main, ["-convkey", "b2o", kind, name, f"{name}.pem"]) == 0
        assert run(crypt_prog.main, ["-convkey", "o2b", kind, f"{name}.pem", f"{name}.back"]) == 0
        assert Path(f"{name}.back").read_bytes() == Path(name).read_bytes()
    Path("md5").write_text("b1946ac92492d2347c6235b4d2611184")
    subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", "priv.pem", "-pkeyopt", "rsa_padding_mode:pkcs1",
                    "-in", "md5", "-out", "raw"], check=True)
    assert run(crypt_prog.main, ["-convsig", "o2b", "raw", "sig"]) == 0
    assert run(crypt_prog.main, ["-verify", "file", "sig", "pub"]) == 0
    assert run(crypt_prog.main, ["-convsig", "b2o", "sig", "raw2"]) == 0
    assert Path("raw").read_bytes() == Path("raw2").read_bytes()


@pytest.mark.parametrize(("argv", "status"), [
    ([], 1), (["-what"], 1), (["sign", "file", "priv"], 1), (["-sign", "file"], 1), (["-sign", "a", "b", "c"], 1),
    (["-convkey", "x", "priv", "priv", "o"], 1), (["-convsig", "x", "file", "o"], 1), (["--help"], 0),
    (["-sign", "nothing", "priv"], 2), (["-sign", "file", "nothing"], 2), (["-sign", "file", "pub"], 2),
    (["-verify", "file", "file", "pub"], 1), (["-convkey", "o2b", "priv", "file", "o"], 2),
    (["-convsig", "o2b", "file", "o"], 2),
])
def test_crypt_prog_exit_status(keys: Path, capsys: pytest.CaptureFixture[str], argv: list[str], status: int) -> None:
    assert run(crypt_prog.main, argv) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err and (captured.out or captured.err)
    assert not Path("o").exists()


def test_sign_executable_errors(keys: Path) -> None:
    for argv in ([], ["file"], ["nothing", "priv"], ["file", "nothing"]):
        assert run(sign_executable.main, argv) == 1
