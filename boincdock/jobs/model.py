"""What a job is before it is in the database: the description given by a submitter, and its limits
(spec 04 section 3.1, 05 C6 and I9)."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from boincdock.enums import TargetType
from boincdock.errors import InputError
from boincdock.protocol.templates import DOUBLE_COLUMNS, INT_COLUMNS, check_md5, check_url

MAX_TEMPLATE_PATH = 63
"""Bytes of workunit.result_template_file."""

MAX_INT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An input file that clients fetch from elsewhere: URL, size in bytes, MD5. Its physical name is
    ``jf_`` and the MD5."""

    url: str
    nbytes: int
    md5: str

    def __post_init__(self) -> None:
        check_url(self.url, "remote file")
        object.__setattr__(self, "md5", check_md5(self.md5, f"remote file {self.url}"))
        if self.nbytes <= 0:
            raise InputError(f"remote file {self.url}: the size must be greater than 0 bytes")

    @property
    def physical_name(self) -> str:
        """The name on the client."""
        return f"jf_{self.md5}"


@dataclass(frozen=True, slots=True)
class Target:
    """Who an assigned job is for. ``broadcast``: an instance for every host of the set, else one instance."""

    kind: TargetType
    id: int = 0
    broadcast: bool = False

    def __post_init__(self) -> None:
        if self.kind == TargetType.ALL and not self.broadcast:
            raise InputError("a job for all hosts must be a broadcast")
        if self.kind != TargetType.ALL and self.id <= 0:
            raise InputError(f"the id of the target {self.kind.name.lower()} must be greater than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """Numbers of a job that its input template may override: FLOPs, bytes, bytes/s, seconds, counts."""

    rsc_fpops_est: float = 3600e9
    rsc_fpops_bound: float = 86400e9
    rsc_memory_bound: float = 5e8
    rsc_disk_bound: float = 1e9
    rsc_bandwidth_bound: float = 0.0
    delay_bound: int = 604800
    min_quorum: int = 1
    target_nresults: int = 1
    max_error_results: int = 1
    max_total_results: int = 1
    max_success_results: int = 1
    batch: int = 0
    size_class: int = -1

    def settled(self, template: Mapping[str, float | int]) -> JobLimits:
        """These limits with the template's values over them, the maxima raised to the target where smaller,
        and checked. InputError says which limits do not fit (spec 05 C6)."""
        values = {f.name: getattr(self, f.name) for f in fields(self)} | dict(template)
        values["max_success_results"] = max(values["max_success_results"], values["target_nresults"])
        values["max_total_results"] = max(values["max_total_results"], values["target_nresults"])
        _check(values)
        return JobLimits(**values)


def _check(v: Mapping[str, float | int]) -> None:
    for name in ("rsc_fpops_est", "rsc_fpops_bound", "rsc_disk_bound", "target_nresults", "max_error_results",
                 "max_total_results", "max_success_results", "delay_bound"):
        if v[name] <= 0:
            raise InputError(f"{name} must be greater than 0")
    for name in DOUBLE_COLUMNS:
        if not 0 <= v[name] <= 1e300:
            raise InputError(f"{name} must be a number from 0 to 1e300")
    for name in INT_COLUMNS:
        if not (-1 if name == "size_class" else 0) <= v[name] <= (32767 if name == "size_class" else MAX_INT):
            raise InputError(f"{name} is out of range")
    for low, high in (("max_success_results", "max_total_results"), ("max_error_results", "max_total_results"),
                      ("target_nresults", "max_success_results"), ("min_quorum", "target_nresults")):
        if v[low] > v[high]:
            raise InputError(f"{low} ({v[low]}) is greater than {high} ({v[high]})")
    if v["min_quorum"] < 1:
        raise InputError("min_quorum must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKind:
    """What many jobs have in common: make one, and use it for all of them.

    ``input_template``: the template's text; ``template_origin``: how errors call it. ``result_template_file``: path
    relative to the project directory.
    """

    app: str
    input_template: str
    result_template_file: str
    limits: JobLimits = field(default_factory=JobLimits)
    priority: int = 0
    hr_class: int = 0
    app_version_num: int = 0
    credit: float = 0.0
    keywords: str = ""
    sub_appname: str = ""
    template_origin: str = "input template"


class JobSpec(NamedTuple):
    """One job to create.

    ``files``: one entry for each file argument of the template, a staged physical name or a ``RemoteFile``. ``name``:
    '' = made from app, process id and time. ``extra_xml``: well-formed XML of ours for the end of ``<workunit>``.
    ``wu_id``: fill this existing workunit row instead of inserting one. ``where``: how error messages call the job.
    """

    kind: JobKind
    name: str = ""
    command_line: str = ""
    files: tuple[str | RemoteFile, ...] = ()
    target: Target | None = None
    wu_id: int = 0
    extra_xml: str = ""
    where: str = ""


class WorkunitCreated(NamedTuple):
    """A workunit now in the database."""

    id: int
    name: str
