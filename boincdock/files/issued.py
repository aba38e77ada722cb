"""Is a file that arrives one that we asked for? (spec 04 section 5.4, Do better.)

The name of an output file is ``<result name>_r<random number>_<suffix>``; the file is one of a result's if the
result's own XML lists exactly this name.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from boincdock.enums import FileDeleteState, Outcome, ServerState
from boincdock.files.upload_handler import Verdict
from boincdock.protocol.scanner import unescape

_RANDOM_PART = re.compile(r"_r[0-9]{1,10}_")
_MAX_CANDIDATES = 4
_FILE_INFO = re.compile(rb"<file_info>(.*?)</file_info>", re.S)
_NAME = re.compile(rb"<name>(.*?)</name>", re.S)
_MAX_NBYTES = re.compile(rb"<max_nbytes>\s*([0-9.eE+]+)\s*</max_nbytes>")


class ResultLookup(Protocol):
    """Where results are found; the database, or a stand-in."""

    def results_by_name(self, names: list[str]) -> list[Mapping[str, Any]]: ...


def candidate_results(file_name: str) -> list[str]:
    """Names of the results that the file could belong to: what stands before each random-looking part."""
    found = [file_name[:match.start()] for match in _RANDOM_PART.finditer(file_name)]
    return [name for name in found if name][-_MAX_CANDIDATES:]


def allowed_size(xml_doc_in: bytes | str, file_name: str) -> int | None:
    """``max_nbytes`` of the output file of this name in a result's XML; None if it has no such file."""
    document = xml_doc_in.encode() if isinstance(xml_doc_in, str) else xml_doc_in
    wanted = file_name.encode()
    for info in _FILE_INFO.findall(document):
        name = _NAME.search(info)
        if name and unescape(name.group(1).strip()) == wanted:
            size = _MAX_NBYTES.search(info)
            return int(float(size.group(1))) if size else 0
    return None


def judge(row: Mapping[str, Any], *, certified: bool) -> Verdict:
    """What to do with a file of this result, given the states of the result and of its workunit's files."""
    state = row["server_state"]
    if state == ServerState.IN_PROGRESS:
        return Verdict.STORE
    if state == ServerState.OVER:
        late = row["outcome"] == Outcome.NO_REPLY and row["wu_file_delete_state"] == FileDeleteState.INIT
        return Verdict.STORE if late else Verdict.DISCARD
    # Not sent yet, says a database that may have been restored from a backup: the certificate decides.
    return Verdict.STORE if certified else Verdict.REFUSE


class IssuedNames:
    """A :class:`boincdock.files.upload_handler.NameCheck` that asks the database."""

    def __init__(self, lookup: ResultLookup) -> None:
        self._lookup = lookup

    def __call__(self, name: str, nbytes: int, *, certified: bool) -> Verdict:
        """The verdict on a file; DatabaseError if the database does not answer."""
        names = candidate_results(name)
        rows = self._lookup.results_by_name(names) if names else []
        for row in rows:
            size = allowed_size(row["xml_doc_in"], name)
            if size is not None:
                return judge(row, certified=certified) if nbytes <= size else Verdict.REFUSE
        # Purged since, or lost with a backup: with a certificate we did ask for it once.
        return Verdict.DISCARD if certified else Verdict.REFUSE
