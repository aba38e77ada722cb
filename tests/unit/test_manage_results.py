"""Archives come from volunteers' computers: what they hold must not hurt the operator's."""
from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from boincdock.manage import results

JOB = {"name": "j1", "outputs": ["/results/docker/j1/results.tgz"], "results": []}


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def fetch(tmp_path: Path, packed: bytes) -> results.Brought:
    """Bring JOB's results.tgz, which holds ``packed``."""
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w") as tar:
        member = tarfile.TarInfo(JOB["outputs"][0].lstrip("/"))
        member.size = len(packed)
        tar.addfile(member, io.BytesIO(packed))
    compose = SimpleNamespace(project_output=lambda path, *_, **__: path.write_bytes(outer.getvalue()))
    return results.fetch(compose, [JOB], tmp_path / "to")  # type: ignore[arg-type]


def test_files_of_an_archive_come_to_the_jobs_folder(tmp_path: Path) -> None:
    brought = fetch(tmp_path, archive(a=b"1", sub__b=b"2"))
    assert brought.warnings == []
    assert (tmp_path / "to/j1/a").read_bytes() == b"1" and (tmp_path / "to/j1/sub/b").read_bytes() == b"2"


def test_names_that_lead_out_of_the_folder_are_left_out(tmp_path: Path) -> None:
    brought = fetch(tmp_path, archive(**{"..__evil": b"1", "good": b"2"}))
    assert [path.name for path in brought.files["j1"]] == ["good"]
    assert len(brought.warnings) == 1 and not (tmp_path / "to/evil").exists()


@pytest.mark.parametrize("header", [tarfile.REGTYPE, tarfile.XHDTYPE])
def test_an_archive_that_would_fill_the_memory_is_copied_as_it_is(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: bytes) -> None:
    """In a file's content, or in a header that tarfile wants to read whole."""
    monkeypatch.setattr(results, "MAX_UNPACKED", 1 << 20)
    member = tarfile.TarInfo("x")
    member.size, member.type = 5 << 20, header
    bomb = gzip.compress(member.tobuf(tarfile.USTAR_FORMAT) + bytes((5 << 20) + 1024))
    brought = fetch(tmp_path, bomb)
    assert brought.warnings == [
        "j1: results.tgz cannot be unpacked (it unpacks to more than 1 MiB) and was copied as it is"]
    assert (tmp_path / "to/j1/results.tgz").read_bytes() == bomb


@pytest.mark.parametrize("packed", [b"", b"no gzip", archive(a=b"1")[:-12], gzip.compress(b"no tar" * 200)],
                         ids=["empty", "no gzip", "cut", "no tar"])
def test_a_broken_archive_is_copied_as_it_is(tmp_path: Path, packed: bytes) -> None:
    brought = fetch(tmp_path, packed)
    assert len(brought.warnings) == 1 and (tmp_path / "to/j1/results.tgz").read_bytes() == packed
