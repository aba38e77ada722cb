"""Spreading a flat folder of files over the fan-out hierarchy (spec 04 section 4.1)."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

from boincdock.errors import InputError
from boincdock.files.hierarchy import fanout_dir, make_directory

_COMPANIONS = (".md5", ".gz")


def _owner(name: str, names: set[str]) -> str:
    """The file whose folder this one belongs into: sidecars and compressed forms stay with their file."""
    for suffix in _COMPANIONS:
        owner = name.removesuffix(suffix)
        if owner != name and owner in names:
            return owner
    return name


def spread(source: Path, target: Path, fanout: int) -> int:
    """Move each plain file of ``source`` to its place under ``target``; the number of files moved.

    Nothing is overwritten and nothing is lost when it is interrupted: run it again. InputError: a folder is
    missing, ``fanout`` is not positive, or a place is taken by another file.
    """
    if fanout <= 0:
        raise InputError("the fan-out must be a positive number", "it is uldl_dir_fanout in config.xml")
    if not source.is_dir():
        raise InputError(f"{source} is not a folder")
    names = {path.name for path in source.iterdir() if path.is_file() and not path.is_symlink()}
    # Companions first: a file that waits for its run again must still be there to tell where they belong.
    ordered = sorted(names, key=lambda name: (_owner(name, names) == name, name))
    for name in ordered:
        place = target / fanout_dir(_owner(name, names), fanout) / name
        try:
            make_directory(place.parent)
            _move(source / name, place)
        except FileExistsError:
            raise InputError(f"{place} exists already; {source / name} is left where it is") from None
        except OSError as error:
            raise InputError(f"{source / name} cannot be moved: {error.strerror}") from error
    return len(names)


def _move(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except FileExistsError:
        raise
    except OSError:
        # Another file system, or one without links: copy beside the place, then rename.
        if place.exists():
            raise FileExistsError(str(place)) from None
        temporary = place.with_name(f".{place.name[:200]}.moving")
        shutil.copy2(source, temporary)
        temporary.rename(place)
    source.unlink()
