"""The fan-out against spec 04 sections 4.1, 10.2 and 05 I4."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from boincdock.files import hierarchy


def make_project(root: Path, fanout: int = 1024, **options: Any) -> Any:
    """The part of a Project that the files code needs, in ``root``."""
    config = SimpleNamespace(
        uldl_dir_fanout=fanout, download_url="https://p.example/p/download",
        upload_url="https://p.example/p_cgi/file_upload_handler", ignore_upload_certificates=False,
        fuh_set_initial_permission=None, fuh_set_completed_permission=None, **options)
    for name in ("download", "upload", "keys"):
        (root / name).mkdir(exist_ok=True)
    return SimpleNamespace(config=config, dir=root, download_dir=root / "download", upload_dir=root / "upload",
                           key_dir=root / "keys", trigger=lambda name: root / name)


@pytest.mark.parametrize(("name", "dirs"), [
    ("a", {1024: "1b9", 256: "b9", 1000: "b1"}),
    ("in.dat", {1024: "3a5", 256: "a5", 1000: "1f5"}),
    ("r\u00e9sum\u00e9.txt", {1024: "1e3", 256: "e3", 1000: "e3"}),
    ("lib/x.so", {1024: "61", 256: "61", 1000: "129"}),
    ("demo_0_r918273645_0", {1024: "25c", 256: "5c", 1000: "35c"}),
    ("primes_table_v3", {1024: "44", 256: "44"}),
    ("test file.txt", {1024: "bb"}), ("worker_1_linux", {1024: "32d"}), ("demo_0_r12345_0", {1024: "1a3"}),
    ("input_1", {1024: "2c1", 256: "c1"}), ("a.txt", {1024: "11f", 256: "1f"}),
    ("wu_b_0_r12345_0", {1024: "21c", 256: "1c"}), ("layer_7f2.tar.manual.gz", {1024: "203", 256: "3"}),
])
def test_fanout_vectors(name: str, dirs: dict[int, str]) -> None:
    for fanout, wanted in dirs.items():
        assert hierarchy.fanout_dir(name, fanout) == wanted
    assert hierarchy.fanout_dir(name, 0) == ""


def test_paths_and_urls(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    assert hierarchy.download_path(project, "in.dat") == tmp_path / "download" / "3a5" / "in.dat"
    assert hierarchy.upload_path(project, "a") == tmp_path / "upload" / "1b9" / "a"
    assert hierarchy.file_url(project, "in.dat") == "https://p.example/p/download/3a5/in.dat"
    assert hierarchy.app_file_url(project, "lib/x.so") == "https://p.example/p/download/lib/x.so"
    assert hierarchy.app_file_path(project, "x") == tmp_path / "download" / "x"
    assert hierarchy.partial_path(tmp_path / "a") == tmp_path / "a.part"


def test_without_fanout(tmp_path: Path) -> None:
    project = make_project(tmp_path, fanout=0)
    assert hierarchy.upload_path(project, "a") == tmp_path / "upload" / "a"
    assert hierarchy.file_url(project, "a") == "https://p.example/p/download/a"


def test_directories_get_their_mode(tmp_path: Path) -> None:
    made = tmp_path / "x" / "1b9"
    hierarchy.make_directory(made)
    hierarchy.make_directory(made)
    assert made.stat().st_mode & 0o7777 == 0o771
