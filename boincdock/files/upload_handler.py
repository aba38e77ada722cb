"""The upload handler: from the bytes of a request to a stored file and a reply (spec 04 section 5.4).

Transport-free: ``upload_wsgi`` puts it behind a web server. Only a request that is wrong in itself is answered
"permanent", for that makes a client throw its finished job away; all that goes wrong here is "transient".
"""
from __future__ import annotations

import errno
import hashlib
import logging
import os
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from boincdock.errors import BoincdockError
from boincdock.files.certificates import is_certified
from boincdock.files.hierarchy import FilesProject, partial_path, upload_path
from boincdock.files.partial import BusyError, PartialFile
from boincdock.protocol.upload import (
    MAX_HEADER,
    Reply,
    SizeQuery,
    Status,
    Upload,
    UploadError,
    parse_header,
)

log = logging.getLogger("boincdock.upload")

BLOCK = 1 << 16
"""Bytes per read and write; no more of a file than this is ever in memory."""

MAX_DRAIN = 4 << 30
"""Most bytes of a refused body that are read so that its sender sees the answer."""

MAX_MD5_MISMATCHES = 3
"""So often a name may arrive damaged before its sender is told to give up."""

DEFAULT_MIN_FREE = 10**9
_DEFAULT_MODE = 0o664
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Readable(Protocol):
    """What a body is read from (``wsgi.input``)."""

    def read(self, size: int, /) -> bytes: ...


class Body:
    """A request's body of ``length`` bytes (None: up to the end of the stream), read in bounded pieces.

    A sender that goes away shows as an early end, never as an exception.
    """

    def __init__(self, stream: Readable, length: int | None) -> None:
        self._stream = stream
        self._left = length
        self._ended = length == 0
        self.received = 0
        """Bytes read so far."""

    @property
    def complete(self) -> bool:
        """Everything that the sender announced has been read."""
        return self._ended and not self._left

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes: fewer only at the end, none behind it."""
        if self._left is not None:
            size = min(size, self._left)
        pieces: list[bytes] = []
        while size > 0 and not self._ended:
            try:
                data = self._stream.read(size)
            except OSError:
                data = b""
            if not data:
                self._ended = True
                break
            pieces.append(data)
            size -= len(data)
            self.received += len(data)
            if self._left is not None:
                self._left -= len(data)
                self._ended = self._left == 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def drain(self, limit: int = MAX_DRAIN) -> None:
        """Read and forget the rest: a client whose body is not read to its end never sees the reply."""
        while limit > 0 and (data := self.read(BLOCK)):
            limit -= len(data)


class Verdict(Enum):
    """What to do with a file of a name: store it; take it and forget it; refuse it for ever."""

    STORE = "store"
    DISCARD = "discard"
    REFUSE = "refuse"


class NameCheck(Protocol):
    """Whether a file is one that we asked for; may raise anything, which counts as "try later"."""

    def __call__(self, name: str, nbytes: int, *, certified: bool) -> Verdict: ...


class HandlerProject(FilesProject, Protocol):
    """The part of ``config.Project`` that the handler needs."""

    @property
    def key_dir(self) -> Path: ...
    def trigger(self, name: str) -> Path: ...


class UploadHandler:
    """Answers requests for one project; any number of threads, processes and hosts may do so at once.

    ``name_check``: see :class:`NameCheck`; None stores every file that its certificate allows.
    ``min_free_bytes``: with less room on the disk, clients are asked to wait. ``durable``: a file is on the
    disk before its sender hears so (decision 0031).
    """

    def __init__(self, project: HandlerProject, name_check: NameCheck | None = None, *,
                 min_free_bytes: int = DEFAULT_MIN_FREE, durable: bool = False) -> None:
        self._project = project
        self._name_check = name_check
        config: Any = project.config
        self._certificates = not config.ignore_upload_certificates
        self._mode = (config.fuh_set_initial_permission or _DEFAULT_MODE) & 0o666 | 0o600
        self._completed_mode = (config.fuh_set_completed_permission or self._mode) & 0o666
        self._min_free = min_free_bytes
        self._durable = durable

    def handle(self, body: Body, peer: str = "-") -> Reply:
        """Answer one request and read its body to the end. Never raises."""
        try:
            reply = self._answer(body, peer)
        except UploadError as error:
            reply = error.reply
            log.warning("%s refused: %d %s", peer, reply.status, reply.message)
        except BoincdockError as error:
            log.critical("%s: upload cannot be checked: %s", peer, error.message)
            reply = Reply(Status.TRANSIENT, "the server has a problem and cannot check uploads")
        except OSError as error:
            log.critical("%s: %s: %s", peer, error.strerror, error.filename)
            full = error.errno in _DISK_FULL
            reply = Reply(Status.TRANSIENT, "the server's disk is full" if full else "the server cannot store files")
        except Exception:
            log.critical("upload handler failed", exc_info=True)
            reply = Reply(Status.TRANSIENT, "internal error")
        body.drain()
        return reply

    def _answer(self, body: Body, peer: str) -> Reply:
        if self._project.trigger("stop_upload").exists():
            return Reply(Status.TRANSIENT, "uploads are stopped for maintenance")
        head = body.read(MAX_HEADER)
        request = parse_header(head, body.complete or len(head) == MAX_HEADER)
        if isinstance(request, SizeQuery):
            reply = self._stored_size(request.name)
            log.debug("%s %s size query: %d %s %s", request.name, peer, reply.status, reply.message,
                      reply.file_size)
            return reply
        try:
            reply = self._upload(request, head[request.data_at:], body)
        except UploadError as error:
            reply = error.reply
        level = logging.INFO if reply.status == Status.OK else logging.WARNING
        log.log(level, "%s %s offset %d nbytes %d: %d %s", request.name, peer, request.offset, request.nbytes,
                reply.status, reply.message or "ok")
        return reply

    def _stored_size(self, name: str) -> Reply:
        path = upload_path(self._project, name)
        if self._free_bytes() < self._min_free:
            return Reply(Status.TRANSIENT, "the server's disk is full")
        try:
            partial = PartialFile.open_existing(path)
        except BusyError:
            return Reply(Status.TRANSIENT, "this file is being uploaded")
        if partial is not None:
            with partial:
                return Reply(Status.OK, file_size=partial.stored)
        try:
            return Reply(Status.OK, file_size=path.stat().st_size)
        except FileNotFoundError:
            return Reply(Status.OK, file_size=0)

    def _free_bytes(self) -> int:
        system = os.statvfs(self._project.upload_dir)
        return system.f_bavail * system.f_frsize

    def _check(self, request: Upload) -> Verdict:
        certified = False
        if self._certificates:
            if not request.signature:
                raise UploadError(Status.PERMANENT, "no upload certificate")
            if request.max_nbytes is None:
                raise UploadError(Status.PERMANENT, "no max_nbytes")
            if not is_certified(request.name, request.max_nbytes, request.signature, self._project.key_dir):
                raise UploadError(Status.PERMANENT, "wrong upload certificate")
            if request.nbytes > request.max_nbytes:
                raise UploadError(Status.PERMANENT, "file larger than allowed")
            certified = True
        if self._name_check is None:
            return Verdict.STORE
        verdict = self._name_check(request.name, request.nbytes, certified=certified)
        if verdict is Verdict.REFUSE:
            raise UploadError(Status.PERMANENT, "unknown file name")
        return verdict

    def _upload(self, request: Upload, first: bytes, body: Body) -> Reply:
        verdict = self._check(request)
        left = request.nbytes - request.offset
        if left < 0 or (left == 0 and request.nbytes > 0):
            return Reply(Status.OK)
        path = upload_path(self._project, request.name)
        if verdict is Verdict.DISCARD:
            return _discard(left - len(first), body)
        if self._is_finished(path):
            return Reply(Status.OK)
        if self._free_bytes() < self._min_free + left:
            return Reply(Status.TRANSIENT, "the server's disk is full")
        try:
            partial = PartialFile.open(path, self._mode, marked=left <= len(first))
        except BusyError:
            return Reply(Status.TRANSIENT, "this file is being uploaded")
        with partial:
            return self._receive(request, partial, first, body)

    def _is_finished(self, path: Path) -> bool:
        """Whether the file is complete and was made read-only (``fuh_set_completed_permission``)."""
        if self._completed_mode & 0o200:
            return False
        try:
            return not path.stat().st_mode & 0o200
        except FileNotFoundError:
            return False

    def _receive(self, request: Upload, partial: PartialFile, first: bytes, body: Body) -> Reply:
        if request.offset > partial.stored and not self._seed(request, partial):
            if not partial.existed:
                partial.discard()
            return Reply(Status.TRANSIENT, "the offset is beyond what is stored")
        partial.truncate(request.offset)
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in partial.head(request.offset):
            digest.update(chunk)
        left = request.nbytes - request.offset
        block = first[:left]
        while True:
            digest.update(block)
            left -= len(block)
            if left == 0:
                break
            partial.append(block)
            block = body.read(min(BLOCK, left))
            if not block:
                return Reply(Status.TRANSIENT, f"the upload ended early: {partial.stored} bytes are stored")
        if request.md5 and digest.hexdigest() != request.md5:
            return self._mismatch(request, partial)
        partial.finish(block, self._completed_mode, durable=self._durable)
        if partial.existed:
            _mismatch_path(partial.path).unlink(missing_ok=True)
        return Reply(Status.OK)

    def _seed(self, request: Upload, partial: PartialFile) -> bool:
        """Begin a new partial file with the head of a complete one of the same name; False if there is none.

        That happens when a lost job is computed again: its client was told the old file's size and sends only
        the tail. Unless the head is the same, the MD5 shows it and everything is sent again.
        """
        if partial.existed:
            return False
        try:
            source = partial.path.open("rb")
        except FileNotFoundError:
            return False
        with source:
            while left := request.offset - partial.stored:
                data = source.read(min(BLOCK, left))
                if not data:
                    partial.truncate(0)
                    return False
                partial.append(data)
        return True

    def _mismatch(self, request: Upload, partial: PartialFile) -> Reply:
        """Start over; the empty partial file stays and outranks an older complete one in size queries."""
        partial.restart()
        counter = _mismatch_path(partial.path)
        with counter.open("ab") as stream:
            stream.write(b"x")
            count = stream.tell()
        log.warning("%s: MD5 mismatch number %d", request.name, count)
        if count < MAX_MD5_MISMATCHES:
            return Reply(Status.TRANSIENT, "the file arrived damaged")
        counter.unlink(missing_ok=True)
        partial.discard()
        return Reply(Status.PERMANENT, "the file does not have the MD5 that was announced")


def _mismatch_path(path: Path) -> Path:
    """A file whose length counts the damaged arrivals of the upload to ``path``."""
    part = partial_path(path)
    return part.with_name(part.name + ".damaged")


def _discard(left: int, body: Body) -> Reply:
    """Take a file that nobody needs any more, so that its sender is content."""
    while left > 0:
        data = body.read(min(BLOCK, left))
        if not data:
            return Reply(Status.TRANSIENT, "the upload ended early")
        left -= len(data)
    return Reply(Status.OK)
