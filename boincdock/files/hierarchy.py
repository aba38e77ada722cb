"""Where files lie and under which URL they are served (spec 04 section 4.1)."""
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from boincdock.protocol.upload import PARTIAL_SUFFIX

DIRECTORY_MODE = 0o771


class FilesConfig(Protocol):
    """The options of config.xml that say where files are."""

    uldl_dir_fanout: int
    download_url: str
    upload_url: str


class FilesProject(Protocol):
    """The part of ``config.Project`` that the files code needs."""

    @property
    def config(self) -> FilesConfig: ...
    @property
    def download_dir(self) -> Path: ...
    @property
    def upload_dir(self) -> Path: ...


def fanout_dir(name: str, fanout: int) -> str:
    """The folder of a file name, or an empty string if ``fanout`` is 0 (all files in one folder)."""
    if fanout <= 0:
        return ""
    digest = hashlib.md5(name.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return format(int(digest[1:8], 16) % fanout, "x")


def download_path(project: FilesProject, name: str) -> Path:
    """Where a job's input file of this physical name is staged."""
    return project.download_dir / fanout_dir(name, project.config.uldl_dir_fanout) / name


def upload_path(project: FilesProject, name: str) -> Path:
    """Where a complete output file of this physical name lies."""
    return project.upload_dir / fanout_dir(name, project.config.uldl_dir_fanout) / name


def partial_path(path: Path) -> Path:
    """Where an upload to ``path`` lies until it is complete; whoever deletes ``path`` deletes this too."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def file_url(project: FilesProject, name: str) -> str:
    """The URL from which clients fetch a staged input file."""
    folder = fanout_dir(name, project.config.uldl_dir_fanout)
    base = project.config.download_url.rstrip("/")
    return f"{base}/{folder}/{name}" if folder else f"{base}/{name}"


def app_file_path(project: FilesProject, name: str) -> Path:
    """Where a file of an app version is staged: flat, with its own sub-folders if it has any."""
    return project.download_dir / name


def app_file_url(project: FilesProject, name: str) -> str:
    """The URL from which clients fetch a file of an app version."""
    return f"{project.config.download_url.rstrip('/')}/{name}"


def make_directory(path: Path) -> None:
    """Create a folder of the hierarchy (and those above) with the mode of spec 04 section 4.1."""
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir()
    except FileExistsError:
        return
    path.chmod(DIRECTORY_MODE)
