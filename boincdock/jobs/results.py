"""Making the XML of a new result from its output template (spec 03 section 4, 04 sections 2.3-2.5)."""
from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from boincdock.crypto import read_private
from boincdock.errors import InputError
from boincdock.files.certificates import make_certificate
from boincdock.protocol.templates import OutputTemplate, parse_output_template

MAX_RESULT_NAME = 191


class ResultConfig(Protocol):
    """The options that matter here (spec 05 B2)."""

    @property
    def upload_url(self) -> str: ...
    @property
    def dont_generate_upload_certificates(self) -> bool: ...


class ResultProject(Protocol):
    """What result creation needs of a ``Project``."""

    @property
    def config(self) -> ResultConfig: ...
    @property
    def key_dir(self) -> Path: ...


@lru_cache(maxsize=512)
def output_template(text: str) -> OutputTemplate:
    """The parsed template, kept for the texts used lately. InputError if it is unusable."""
    return parse_output_template(text)


def result_name(wu_name: str, instance_number: int) -> str:
    """``<workunit name>_<instance>``; InputError if longer than the column."""
    name = f"{wu_name}_{instance_number}"
    if len(name.encode()) > MAX_RESULT_NAME:
        raise InputError(f"result name {name[:40]!r}… is longer than {MAX_RESULT_NAME} bytes")
    return name


def certifier(project: ResultProject) -> Callable[[str, int], str] | None:
    """The function that signs upload certificates, ``(physical name, max_nbytes) -> signature text``; None
    if the project does without. CryptoError if ``upload_private`` cannot be read."""
    if project.config.dont_generate_upload_certificates:
        return None
    key = read_private(project.key_dir / "upload_private")

    def certify(name: str, max_nbytes: int) -> str:
        return make_certificate(name, max_nbytes, key)

    return certify


class ResultMaker:
    """Makes results of one project. It is cheap, and holds the upload key as of when it was made: keep one for a
    batch, not for long (asking the file system costs more than the rest but the signatures).
    CryptoError: no upload key."""

    def __init__(self, project: ResultProject) -> None:
        self._upload_url = project.config.upload_url
        self._certify = certifier(project)

    def make(self, template_text: str, wu_name: str, instance_number: int) -> tuple[str, str]:
        """See ``make_result_xml``."""
        name = result_name(wu_name, instance_number)
        return name, output_template(template_text).expand(name, secrets.randbits(31), self._upload_url, self._certify)


def make_result_xml(project: ResultProject, template_text: str, wu_row: Mapping[str, Any],
                    instance_number: int) -> tuple[str, str]:
    """Name and ``xml_doc_in`` of instance ``instance_number`` (0, 1, 2 …) of a workunit.

    ``wu_row`` needs ``name``. Output file names get a random part that nobody can guess; each uploaded
    file gets a signed upload certificate unless the project switched that off. The template and the key
    are cached: the cost is a few microseconds plus one signature for each output file.
    InputError: the template does not parse or expands to too much; CryptoError: no upload key.
    """
    return ResultMaker(project).make(template_text, str(wu_row["name"]), instance_number)
