"""Results made while a request is handled, for targeted and broadcast jobs (spec 02 section 14)."""
from __future__ import annotations

import secrets
from functools import lru_cache
from pathlib import Path

from boincdock.config import Project
from boincdock.crypto import read_private
from boincdock.errors import InputError
from boincdock.files.certificates import make_certificate
from boincdock.protocol.templates import OutputTemplate, parse_output_template

MAX_NAME = 191
_MAX_TEMPLATE = 65535


@lru_cache(maxsize=64)
def _template(path: Path, _stamp: int) -> OutputTemplate:
    with path.open("rb") as file:
        return parse_output_template(file.read(_MAX_TEMPLATE).decode("utf-8"))


def _find(project: Project, template_file: str) -> OutputTemplate:
    path = (project.dir / template_file).resolve()
    # The column is the submitter's; it must not name files outside of the project.
    if not template_file or not path.is_relative_to(project.dir.resolve()):
        raise InputError(f"result template {template_file!r} is not in the project directory")
    try:
        return _template(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"result template {template_file!r}: {error}") from None


def make_instance(project: Project, template_file: str, wu_name: str) -> tuple[str, str]:
    """(name, xml_doc_in) of one more result of a workunit; the name ends in a random part, as the number of the
    instance is not known without a lock on all of them. BoincdockError if template or key are unusable."""
    name = f"{wu_name}_{secrets.token_hex(5)}"
    if len(name.encode()) > MAX_NAME:
        raise InputError(f"the name of a result of {wu_name[:40]!r}… would be longer than {MAX_NAME} bytes")
    config, certify = project.config, None
    if not config.dont_generate_upload_certificates:
        key = read_private(project.key_dir / "upload_private")

        def certify(physical: str, max_nbytes: int) -> str:
            return make_certificate(physical, max_nbytes, key)

    document = _find(project, template_file).expand(name, secrets.randbelow(2**31), config.upload_url, certify)
    return name, document
