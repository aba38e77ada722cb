"""Workunits and results as the lifecycle's decisions see them."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from boincdock.enums import Outcome, ServerState, ValidateState

T = TypeVar("T")


_NAMES: dict[type[Any], tuple[str, ...]] = {}


def from_row(kind: type[T], row: Mapping[str, Any]) -> T:
    """Build a dataclass from the row's columns of the same names; NULL means the field's default."""
    names = _NAMES.get(kind)
    if names is None:
        names = _NAMES[kind] = tuple(f.name for f in fields(kind))  # type: ignore[arg-type]
    return kind(**{name: value for name in names if (value := row.get(name)) is not None})


@dataclass(frozen=True, slots=True)
class Workunit:
    """The columns of a workunit that decide its fate (spec 05 A2)."""

    id: int
    name: str = ""
    appid: int = 0
    min_quorum: int = 1
    target_nresults: int = 1
    max_error_results: int = 1
    max_total_results: int = 1
    max_success_results: int = 1
    need_validate: int = 0
    canonical_resultid: int = 0
    canonical_credit: float = 0.0
    transition_time: int = 0
    delay_bound: int = 0
    error_mask: int = 0
    file_delete_state: int = 0
    assimilate_state: int = 0
    hr_class: int = 0
    app_version_id: int = 0
    transitioner_flags: int = 0
    priority: int = 0
    batch: int = 0
    size_class: int = -1
    result_template_file: str = ""
    rsc_fpops_est: float = 0.0
    rsc_fpops_bound: float = 0.0
    opaque: float = 0.0

    @property
    def tag(self) -> str:
        """How logs name it."""
        return f"[WU#{self.id} {self.name}]"


@dataclass(frozen=True, slots=True)
class Result:
    """The columns of a result that the lifecycle reads. ``xml_doc_in``, ``xml_doc_out`` and ``stderr_out``
    are loaded for validators and assimilators only."""

    id: int
    name: str = ""
    workunitid: int = 0
    server_state: int = ServerState.UNSENT
    outcome: int = Outcome.INIT
    client_state: int = 0
    validate_state: int = ValidateState.INIT
    file_delete_state: int = 0
    exit_status: int = 0
    hostid: int = 0
    userid: int = 0
    teamid: int = 0
    appid: int = 0
    app_version_id: int = 0
    report_deadline: int = 0
    sent_time: int = 0
    received_time: int = 0
    elapsed_time: float = 0.0
    cpu_time: float = 0.0
    flops_estimate: float = 0.0
    granted_credit: float = 0.0
    claimed_credit: float = 0.0
    opaque: float = 0.0
    runtime_outlier: int = 0
    priority: int = 0
    batch: int = 0
    xml_doc_in: bytes | str = b""
    xml_doc_out: bytes | str = b""
    stderr_out: bytes | str = b""

    @property
    def tag(self) -> str:
        """How logs name it."""
        return f"[RESULT#{self.id} {self.name}]"

    @property
    def over(self) -> bool:
        """True once nothing more is expected of it."""
        return self.server_state == ServerState.OVER

    @property
    def success(self) -> bool:
        """True if it was reported as a success."""
        return self.over and self.outcome == Outcome.SUCCESS

    @property
    def viable(self) -> bool:
        """True if it takes part in a check for consensus (spec 03 section 6.3)."""
        return self.success and self.validate_state != ValidateState.INVALID


def generalised_version_id(appid: int, app_version_id: int) -> int:
    """The key of host_app_version: real ids as they are, anonymous platform per app (spec 03 section 1.1)."""
    return app_version_id if app_version_id >= 0 else appid * 1000000 - app_version_id


_SUFFIX = re.compile(r"_(\d+)\Z")


def next_instance(wu_name: str, result_names: list[str]) -> int:
    """The number for the workunit's next result: one above the largest of its results (spec 03 section 4)."""
    numbers = [int(m.group(1)) for name in result_names if name != wu_name and (m := _SUFFIX.search(name))]
    return max(numbers, default=-1) + 1
