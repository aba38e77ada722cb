"""The validators that come with boincdock (spec 03 section 6.8)."""
from __future__ import annotations

import argparse
import hashlib
from typing import Any

from boincdock.enums import Outcome
from boincdock.errors import InputError
from boincdock.lifecycle.model import Result
from boincdock.lifecycle.validator import BadOutput, LongTermFail, Validator

GZIP_MAGIC = b"\x1f\x8b\x08"
GZIP_HEADER = 10
_CHUNK = 1 << 20


class TrivialValidator(Validator):
    """Every success is valid and all agree."""

    name = "sample_trivial_validator"

    def init(self, result: Result) -> Any:
        """Nothing to read; for the punitive scan, any client error counts as one that will last."""
        if result.outcome == Outcome.CLIENT_ERROR:
            raise LongTermFail("the application failed")

    def compare(self, a: Any, b: Any) -> bool:
        """Always."""
        return True


class BitwiseValidator(Validator):
    """Results agree if all their output files (but those marked no_validate) are equal byte for byte."""

    name = "sample_bitwise_validator"

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """``--is_gzip`` besides the common ones."""
        super().add_options(parser)
        parser.add_argument("--is_gzip", action="store_true",
                            help="outputs are gzip files: leave their header (with the time) out of the comparison")

    def init(self, result: Result) -> list[str]:
        """Digests of the output files in order; an absent optional file is an empty string."""
        return [self._digest(f.path, f.optional) for f in self.files(result) if not f.no_validate]

    def _digest(self, path: Any, optional: bool) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with path.open("rb") as stream:
                if self.options.is_gzip:
                    header = stream.read(GZIP_HEADER)
                    if len(header) < GZIP_HEADER or not header.startswith(GZIP_MAGIC):
                        raise BadOutput(f"{path.name} is not a gzip file")
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    self.beat()
        except FileNotFoundError:
            if optional:
                return ""
            raise BadOutput(f"output file {path.name} is missing") from None
        return digest.hexdigest()

    def compare(self, a: list[str], b: list[str]) -> bool:
        """Equal lists of digests."""
        return a == b


class SubstringValidator(Validator):
    """Results are valid if stderr has (or, with ``--reject_if_present``, lacks) all the given strings."""

    name = "sample_substr_validator"

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """``--stderr_string`` (repeatable) and ``--reject_if_present``."""
        super().add_options(parser)
        parser.add_argument("--stderr_string", action="append", default=[], metavar="TEXT")
        parser.add_argument("--reject_if_present", action="store_true")

    def setup(self) -> None:
        """Refuse a call that could check nothing."""
        super().setup()
        if not self.options.stderr_string:
            raise InputError("sample_substr_validator needs at least one --stderr_string")
        if self.project.config.dont_store_success_stderr:
            raise InputError("sample_substr_validator needs the stderr of successes",
                             hint="remove dont_store_success_stderr from config.xml")

    def init(self, result: Result) -> Any:
        """Look for the strings."""
        text = result.stderr_out if isinstance(result.stderr_out, bytes) else result.stderr_out.encode()
        for wanted in self.options.stderr_string:
            if (wanted.encode() in text) == self.options.reject_if_present:
                raise BadOutput(f"stderr {'has' if self.options.reject_if_present else 'lacks'} {wanted!r}")

    def compare(self, a: Any, b: Any) -> bool:
        """Always."""
        return True
