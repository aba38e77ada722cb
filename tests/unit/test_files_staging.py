"""Staging: immutability, sidecars, gzip, interruption (spec 04 sections 4.2, 4.3, 10.3)."""
from __future__ import annotations

import gzip
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from boincdock.errors import InputError
from boincdock.files import staging
from boincdock.files.hierarchy import download_path
from tests.unit.test_files_hierarchy import make_project

HELLO = "5d41402abc4b2a76b9719d911017c592"


@pytest.fixture
def project(tmp_path: Path) -> Any:
    return make_project(tmp_path)


def source(tmp_path: Path, name: str = "in.dat", data: bytes = b"hello") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def tree(project: Any) -> list[str]:
    return sorted(str(p.relative_to(project.download_dir)) for p in project.download_dir.rglob("*") if p.is_file())


def test_copy(project: Any, tmp_path: Path) -> None:
    original = source(tmp_path)
    staged = staging.stage_file(project, original)
    assert staged == staging.StagedFile("in.dat", HELLO, 5, "https://p.example/p/download/3a5/in.dat",
                                        tmp_path / "download/3a5/in.dat", None, True)
    assert original.exists() and tree(project) == ["3a5/in.dat", "3a5/in.dat.md5"]
    assert (tmp_path / "download/3a5/in.dat.md5").read_text() == f"{HELLO} 5\n"
    assert staged.path.stat().st_mode & 0o777 == 0o644
    again = staging.stage_file(project, original)
    assert not again.is_new and again.md5 == HELLO


def test_move(project: Any, tmp_path: Path) -> None:
    original = source(tmp_path)
    assert staging.stage_file(project, original, copy=False).is_new
    assert not original.exists() and staging.find_staged(project, "in.dat").nbytes == 5
    assert not staging.stage_file(project, source(tmp_path), copy=False).is_new
    assert not original.exists()


def test_move_of_a_link_leaves_its_target_alone(project: Any, tmp_path: Path) -> None:
    target = source(tmp_path, "target")
    (tmp_path / "link").symlink_to(target)
    staged = staging.stage_file(project, tmp_path / "link", copy=False)
    assert target.read_bytes() == b"hello" and not (tmp_path / "link").is_symlink()
    target.write_bytes(b"other")
    assert staged.path.read_bytes() == b"hello" and not staged.path.is_symlink()
    os.link(target, tmp_path / "second")
    moved = staging.stage_file(project, tmp_path / "second", copy=False)
    target.write_bytes(b"again")
    assert moved.path.read_bytes() == b"other"


def test_move_from_the_future_keeps_its_sidecar_valid(project: Any, tmp_path: Path) -> None:
    original = source(tmp_path)
    os.utime(original, (4e9, 4e9))
    staged = staging.stage_file(project, original, copy=False)
    assert staging.read_sidecar(staged.path) == (HELLO, 5)


@pytest.mark.parametrize("copy", [True, False])
def test_other_contents_under_the_same_name_are_refused(project: Any, tmp_path: Path, copy: bool) -> None:
    staging.stage_file(project, source(tmp_path))
    changed = source(tmp_path, data=b"HELLO")
    with pytest.raises(InputError, match=r"different file named in\.dat") as caught:
        staging.stage_file(project, changed, copy=copy)
    assert caught.value.hint and changed.read_bytes() == b"HELLO"
    assert download_path(project, "in.dat").read_bytes() == b"hello"
    assert tree(project) == ["3a5/in.dat", "3a5/in.dat.md5"]


def test_a_file_changed_behind_our_back_is_noticed_despite_its_sidecar(project: Any, tmp_path: Path) -> None:
    staged = staging.stage_file(project, source(tmp_path))
    staged.path.write_bytes(b"HELLO")
    staging.write_sidecar(staged.path, HELLO, 5)
    with pytest.raises(InputError, match="different"):
        staging.stage_file(project, source(tmp_path))


def test_gzip(project: Any, tmp_path: Path) -> None:
    data = b"hello world\n" * 1000
    staged = staging.stage_file(project, source(tmp_path, data=data), gzip=True)
    packed = staged.path.with_name("in.dat.gz")
    assert staged.gzipped_nbytes == packed.stat().st_size < 1000
    assert gzip.decompress(packed.read_bytes()) == data and staged.path.read_bytes() == data
    assert staging.stage_file(project, tmp_path / "in.dat", gzip=True).gzipped_nbytes == staged.gzipped_nbytes
    assert staging.find_staged(project, "in.dat", gzip=True).gzipped_nbytes == staged.gzipped_nbytes
    for wrong in (b"junk", gzip.compress(b"other"), packed.read_bytes()[:-5]):
        packed.write_bytes(wrong)
        with pytest.raises(InputError, match="not the compressed form"):
            staging.stage_file(project, tmp_path / "in.dat", gzip=True)


def test_flat_files_of_app_versions(project: Any) -> None:
    staged = staging.stage_bytes(project, b"hello", "lib/x.so", flat=True)
    assert staged.path == project.download_dir / "lib/x.so"
    assert staged.url == "https://p.example/p/download/lib/x.so"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "/x", ".x", "a..b", "x.", "50%", "a b", "caf\u00e9",
                                  "x\n", "x" * 241, "-x", "a\0b"])
def test_names_that_clients_cannot_use_are_refused(project: Any, name: str) -> None:
    with pytest.raises(InputError):
        staging.stage_bytes(project, b"x", name)
    assert tree(project) == []


@pytest.mark.parametrize("name", ["../x", "lib/../../x", "/etc/x", "lib//x", "lib/.x"])
def test_flat_names_cannot_lead_out(project: Any, name: str) -> None:
    with pytest.raises(InputError):
        staging.stage_bytes(project, b"x", name, flat=True)


def test_names_of_companions_are_taken(project: Any) -> None:
    staging.stage_bytes(project, b"x", "data", flat=True)
    for name in ("data.md5", "data.gz"):
        with pytest.raises(InputError, match="belongs to"):
            staging.stage_bytes(project, b"y", name, flat=True)
    staging.stage_bytes(project, b"x", "table.gz", flat=True)
    with pytest.raises(InputError, match="of its own"):
        staging.stage_bytes(project, b"y", "table", flat=True)


def test_bad_sources(project: Any, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError):
            staging.stage_file(project, path, "x")
    with pytest.raises(InputError, match="not staged"):
        staging.find_staged(project, "nothing")
    staging.stage_bytes(project, b"x", "plain")
    with pytest.raises(InputError, match=r"plain\.gz"):
        staging.find_staged(project, "plain", gzip=True)


@pytest.mark.parametrize(("text", "valid"), [
    (b"5d41402abc4b2a76b9719d911017c592 2048\n", True),
    (b"5d41402abc4b2a76b9719d911017c592 2.048000000000000e+03\n", True),
    (b"5D41402ABC4B2A76B9719D911017C592 2048\n", True),
    (b"5d41402abc4b2a76b9719d911017c592 2048", False),
    (b"5d41402abc4b2a76b9719d911017c592 2048\nx", False),
    (b"5d41402abc4b2a76b9719d911017c592\n", False),
    (b"5d41402abc4b2a76b9719d911017c592 2047\n", False),
    (b"5d41402abc4b2a76b9719d911017c59 2048\n", False),
    (b"", False), (b"\xff" * 5000, False),
])
def test_sidecars(tmp_path: Path, text: bytes, valid: bool) -> None:
    path = source(tmp_path, data=bytes(2048))
    staging.sidecar_path(path).write_bytes(text)
    assert staging.read_sidecar(path) == ((HELLO, 2048) if valid else None)
    os.utime(staging.sidecar_path(path), (1, 1))
    assert staging.read_sidecar(path) is None


def test_a_stale_sidecar_is_replaced(project: Any) -> None:
    staged = staging.stage_bytes(project, b"hello", "x")
    staging.sidecar_path(staged.path).write_bytes(b"junk")
    assert staging.find_staged(project, "x").md5 == HELLO
    assert staging.sidecar_path(staged.path).read_text() == f"{HELLO} 5\n"


def test_a_file_that_lies_flat_is_taken_into_the_hierarchy(project: Any) -> None:
    (project.download_dir / "in.dat").write_bytes(b"hello")
    found = staging.find_staged(project, "in.dat")
    assert found.path == project.download_dir / "3a5/in.dat" and found.path.read_bytes() == b"hello"


def test_an_interrupted_copy_leaves_nothing(project: Any) -> None:
    class Broken:
        def __init__(self) -> None:
            self.calls = 0

        def read(self, size: int) -> bytes:
            self.calls += 1
            if self.calls > 2:
                raise OSError(5, "Input/output error")
            return b"x" * 100

    with pytest.raises(OSError, match="Input/output"):
        staging.stage_stream(project, Broken(), "x")  # type: ignore[arg-type]
    assert tree(project) == []


def test_many_at_once_stage_one_file(project: Any) -> None:
    data = os.urandom(300_000)
    results: list[staging.StagedFile | InputError] = []

    def work(contents: bytes) -> None:
        try:
            results.append(staging.stage_bytes(project, contents, "same"))
        except InputError as error:
            results.append(error)

    threads = [threading.Thread(target=work, args=(data if i % 2 else data[:-1],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    staged = [r for r in results if isinstance(r, staging.StagedFile)]
    assert len(results) == 8 and len(staged) == 4 and sum(s.is_new for s in staged) == 1
    kept = download_path(project, "same").read_bytes()
    assert all(s.md5 == hashlib.md5(kept).hexdigest() for s in staged)
    assert len(tree(project)) == 2
