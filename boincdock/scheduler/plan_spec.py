"""Parsing of plan_class_spec.xml (spec 02 section 6.2): tolerant, because shipped files are not well-formed."""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from boincdock.errors import ConfigError
from boincdock.protocol.scanner import CLOSE, FLAG, LEAF, OPEN, Scanner, to_bool, to_long, to_number


@dataclass(slots=True)
class PlanClass:
    """One ``<plan_class>``: zero or empty means "no test". Units as in the table of spec 02 section 6.2."""

    name: str = ""
    disabled: bool = False
    infeasible_random: float = 0.0
    user_id: int = 0
    min_wu_id: int = 0
    max_wu_id: int = 0
    min_batch: int = 0
    max_batch: int = 0
    cpu_features: list[str] = field(default_factory=list)
    min_ncpus: float = 0.0
    os_regex: re.Pattern[str] | None = None
    min_os_version: float = 0.0
    max_os_version: float = 0.0
    min_android_version: int = 0
    max_android_version: int = 0
    min_libc_version: int = 0
    cpu_vendor_regex: re.Pattern[str] | None = None
    cpu_model_regex: re.Pattern[str] | None = None
    min_core_client_version: int = 0
    max_core_client_version: int = 0
    virtualbox: bool = False
    min_vbox_version: int = 0
    max_vbox_version: int = 0
    exclude_vbox_versions: list[int] = field(default_factory=list)
    vm_accel_required: bool = False
    is64bit: bool = False
    wsl: bool = False
    docker: bool = False
    min_boinc_wsl_distro_version: int = 0
    project_prefs_tag: str = ""
    project_prefs_regex: re.Pattern[str] | None = None
    project_prefs_default_true: bool = False
    gpu_utilization_tag: str = ""
    gpu_type: str = ""
    gpu_type_regex: re.Pattern[str] | None = None
    need_ati_libs: bool = False
    need_amd_libs: bool = False
    without_opencl: bool = False
    min_cal_target: int = 0
    max_cal_target: int = 0
    min_nvidia_compcap: int = 0
    max_nvidia_compcap: int = 0
    cuda: bool = False
    cal: bool = False
    min_cuda_version: int = 0
    max_cuda_version: int = 0
    min_metal_support: int = 0
    opencl: bool = False
    min_opencl_version: int = 0
    max_opencl_version: int = 0
    min_opencl_driver_revision: int = 0
    max_opencl_driver_revision: int = 0
    double_precision_fp: bool = False
    min_gpu_ram_mb: float = 0.0
    min_driver_version: int = 0
    max_driver_version: int = 0
    min_gpu_peak_flops: float = 0.0
    max_gpu_peak_flops: float = 0.0
    ngpus: float = 1.0
    gpu_ram_used_mb: float = 0.0
    cpu_frac: float = 0.1
    gpu_peak_flops_scale: float = 1.0
    projected_flops_scale: float = 1.0
    avg_ncpus: float = 0.0
    max_threads: int = 1
    mem_usage_base_mb: float = 0.0
    mem_usage_per_cpu_mb: float = 0.0
    nthreads_cmdline: bool = False

    @property
    def bounds_job(self) -> bool:
        """Whether a test depends on the job and so must be repeated for each."""
        return bool(self.min_wu_id or self.max_wu_id or self.min_batch or self.max_batch)

    def accepts_job(self, workunitid: int, batch: int) -> bool:
        """The tests that depend on the job."""
        return not (
            (self.min_wu_id and workunitid < self.min_wu_id)
            or (self.max_wu_id and workunitid > self.max_wu_id)
            or (self.min_batch and batch < self.min_batch)
            or (self.max_batch and batch > self.max_batch)
        )


def _kinds() -> dict[str, str]:
    kinds = {}
    for name, annotation in PlanClass.__annotations__.items():
        kinds[name] = {"bool": "b", "int": "i", "float": "d", "str": "s"}.get(str(annotation), "re")
    for special in ("cpu_features", "exclude_vbox_versions"):
        del kinds[special]
    kinds["cpu_feature"] = "feature"
    kinds["exclude_vbox_version"] = "exclude"
    return kinds


_KINDS = _kinds()


def element_kind(name: str) -> str | None:
    """How the value of an element of ``<plan_class>`` is read: ``s``, ``b``, ``i``, ``d``, ``re``, ``feature``,
    ``exclude``; None if there is no such element."""
    return _KINDS.get(name)


def _where(scan: Scanner, back: int = 0) -> str:
    line = scan.data.count(b"\n", 0, max(0, scan.pos - back)) + 1
    return f"plan_class_spec.xml, line {line}"


def _regex(text: str, tag: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(f"<{tag}> {text!r}: {error}") from None


def _apply(spec: PlanClass, tag: str, raw: bytes) -> None:
    kind = _KINDS.get(tag)
    value: Any = None
    if kind == "s":
        value = raw.decode("utf-8", "replace")
    elif kind == "b":
        value = to_bool(raw)
    elif kind == "i":
        value = to_long(raw)
    elif kind == "d":
        value = to_number(raw)
    elif kind == "re":
        value = _regex(raw.decode("utf-8", "replace"), tag)
    elif kind == "feature":
        spec.cpu_features.append(raw.decode("utf-8", "replace").lower())
    elif kind == "exclude":
        number = to_long(raw)
        if number is not None:
            spec.exclude_vbox_versions.append(number)
    if value is not None:
        setattr(spec, tag, value)


def _plan_class(scan: Scanner) -> PlanClass:
    spec = PlanClass()
    opened = _where(scan)
    while True:
        event = scan.event()
        if event is None:
            raise ConfigError(f"{opened}: a <plan_class> has no </plan_class>")
        kind, name, text = event
        tag = name.decode("latin-1")
        if kind == LEAF:
            try:
                _apply(spec, tag, text)
            except ConfigError as error:
                raise ConfigError(f"{_where(scan)}: {error.message}") from None
        elif kind == FLAG and _KINDS.get(tag) == "b":
            setattr(spec, tag, True)
        elif kind == CLOSE and name == b"plan_class":
            return spec
        elif (kind == OPEN and name == b"plan_class") or (kind == CLOSE and name == b"plan_classes"):
            raise ConfigError(f"{opened}: <plan_class> {spec.name!r} has no </plan_class>")


def parse_plan_classes(data: bytes) -> dict[str, PlanClass]:
    """All classes of the file by name; of equal names the first wins.

    Raises ConfigError if the root is wrong, an end tag of a class or of the root is missing, or a regular
    expression does not compile; then no plan class may be accepted.
    """
    scan = Scanner(data)
    event = scan.event()
    while event is not None and event[0] == OPEN and event[1].startswith((b"?", b"!")):
        event = scan.event()
    classes: dict[str, PlanClass] = {}
    if event is None or event[1] != b"plan_classes" or event[0] not in (OPEN, LEAF):
        raise ConfigError(f"{_where(scan, 1)}: the root element is not <plan_classes>")
    if event[0] == LEAF:
        return classes
    while True:
        event = scan.event()
        if event is None:
            raise ConfigError(f"{_where(scan, 1)}: no </plan_classes>")
        if event[0] == CLOSE and event[1] == b"plan_classes":
            return classes
        if event[0] == OPEN and event[1] == b"plan_class":
            spec = _plan_class(scan)
            if spec.name:
                classes.setdefault(spec.name, spec)
