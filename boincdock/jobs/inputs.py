"""The staged input files that job creation refers to (spec 04 section 2.2)."""
from __future__ import annotations

from boincdock.config import Project
from boincdock.files.staging import find_staged
from boincdock.protocol.templates import ResolvedFile


class StagedFiles:
    """Looks staged files up and remembers them: jobs created together mostly share inputs."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._known: dict[tuple[str, bool], ResolvedFile] = {}

    def staged(self, name: str, gzip: bool) -> ResolvedFile:
        """The staged file ``name``; ``gzip``: with its ``NAME.gz``. InputError if it is not staged."""
        found = self._known.get((name, gzip))
        if found is None:
            file = find_staged(self._project, name, gzip=gzip)
            found = ResolvedFile(file.name, (file.url,), file.md5, file.nbytes, file.gzipped_nbytes)
            self._known[name, gzip] = found
        return found
