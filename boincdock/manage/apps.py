"""Apps and app versions from the operator's own folders into the running project (spec 04 section 6)."""
from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boincdock.errors import InputError
from boincdock.manage import jobs, oneshot
from boincdock.manage.compose import Compose

MAX_BYTES = 700 << 20
"""As ``boincdock.project.operate.MAX_VERSIONS``; larger versions go into an image."""
_VERSION = re.compile(r"[0-9]{1,7}(\.[0-9]{1,2})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class VersionFolder:
    """A folder with the files of one version, and what it is the version of."""

    path: Path
    app: str
    version: str
    platform: str
    """PLATFORM or PLATFORM__PLANCLASS."""

    @property
    def name(self) -> str:
        """APP/VERSION/PLATFORM, as in the project's apps folder."""
        return f"{self.app}/{self.version}/{self.platform}"

    def files(self) -> Iterator[Path]:
        """Its files, relative to it; hidden ones are left out."""
        for path in sorted(self.path.rglob("*")):
            relative = path.relative_to(self.path)
            if path.is_file() and not any(part.startswith(".") for part in relative.parts):
                yield relative


def find_versions(folder: Path, app: str | None = None, version: str | None = None, platform: str | None = None,
                  plan_class: str | None = None) -> list[VersionFolder]:
    """The versions in ``folder``: itself if it holds files, else those below it.

    What the arguments do not say comes from the path (…/APP/VERSION/PLATFORM[__PLANCLASS]). InputError if there
    are no files, or a name is missing or impossible.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder" if folder.exists() else f"{folder}: no such folder")
    folder = folder.resolve()
    tops = list(_with_files(folder))
    if not tops:
        raise InputError(f"there are no files of an app version in {folder}")
    if len(tops) > 1 and (app or version or platform or plan_class):
        raise InputError(f"{folder} holds {len(tops)} versions: options that name one version do not fit")
    return [_named(top, app, version, platform, plan_class) for top in tops]


def _with_files(folder: Path) -> Iterator[Path]:
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if any(path.is_file() for path in visible):
        yield folder
        return
    for path in visible:
        if path.is_dir():
            yield from _with_files(path)


def _named(top: Path, app: str | None, version: str | None, platform: str | None,
           plan_class: str | None) -> VersionFolder:
    parts = ["", "", "", *top.parts[1:]][-3:]
    found_platform, mark, found_class = parts[2].partition("__")
    if platform is None:
        platform, plan_class = found_platform, plan_class if plan_class is not None else found_class if mark else None
    found = VersionFolder(top, app or parts[0], version or parts[1],
                          platform + (f"__{plan_class}" if plan_class else ""))
    hint = "lay the folder out as APP/VERSION/PLATFORM[__PLANCLASS], or use --app, --version, --platform"
    for kind, name, pattern in (("app", found.app, _NAME), ("version (N or N.M)", found.version, _VERSION),
                                ("platform", found.platform, _NAME)):
        if not pattern.fullmatch(name):
            raise InputError(f"{top}: {name!r} is no {kind}", hint)
    return found


def pack(versions: Sequence[VersionFolder]) -> bytes:
    """A tar of the versions, laid out as the project's apps folder; InputError if they are too large."""
    buffer = io.BytesIO()
    total = 0
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for version in versions:
            for relative in version.files():
                path = version.path / relative
                try:
                    info = path.stat()
                    total += info.st_size
                    if total > MAX_BYTES:
                        raise InputError(f"the app versions are larger than {MAX_BYTES >> 20} MiB together",
                                         "put them into the image of your own project (docs/apps.md)")
                    member = tarfile.TarInfo(f"{version.name}/{relative.as_posix()}")
                    member.size, member.mode = info.st_size, 0o755 if info.st_mode & 0o100 else 0o644
                    with path.open("rb") as source:
                        archive.addfile(member, source)
                except OSError as error:
                    raise InputError(f"{path} cannot be read: {error.strerror}") from None
    return buffer.getvalue()


def add_versions(compose: Compose, versions: Sequence[VersionFolder], *, dry_run: bool = False) -> dict[str, Any]:
    """Sign, stage and register versions: ``{"added": [{"id", "title"}], "known": n, "problems": […], …}``."""
    flags = ["--dry-run"] if dry_run else []
    return dict(oneshot.call(compose, "makeproject", "add-versions", *flags, stdin=pack(versions)))


def call(compose: Compose, verb: str, *words: str) -> dict[str, Any]:
    """A verb of the project's ``bin/app``."""
    return dict(jobs.call(compose, "bin/app", verb, "--json", *words))


def check_files(compose: Compose, *, quick: bool = False) -> dict[str, Any]:
    """The answer of ``bin/check_files --json``; a bad tree is an answer too, not an error."""
    import json

    result = compose.project_command("bin/check_files", "--json", *(["--quick"] if quick else []), check=False)
    if result.status not in (0, 1) or not result.text.startswith("{"):
        raise jobs.from_inside(result, "bin/check_files")
    return dict(json.loads(result.text))
