"""The parts of a scheduler request (spec 01 section 3); filled by :mod:`boincdock.protocol.scheduler_request`."""
from __future__ import annotations

import re
from dataclasses import dataclass, field

from boincdock.protocol.scanner import to_text

CPU, NVIDIA, AMD, INTEL, APPLE = range(5)
"""Processor types (spec 02, vocabulary)."""

PROC_NAMES = ("CPU", "NVIDIA", "ATI", "intel_gpu", "apple_gpu")
"""XML names of the processor types."""

PROC_TITLES = ("CPU", "NVIDIA GPU", "AMD/ATI GPU", "Intel GPU", "Apple GPU")
"""Names of the processor types in messages."""

DEFAULT_GPU_FLOPS = 1e11
_CUDA_CORES = ((100, 200, 8, 3), (200, 201, 32, 2), (201, 300, 48, 2), (300, 500, 192, 2), (500, 600, 128, 2),
               (600, 601, 64, 2), (601, 700, 128, 2), (700, 801, 64, 2))


def proc_type_of(type_name: str) -> int | None:
    """Processor type of a ``<coproc>`` type name; ``None`` for a generic coprocessor."""
    if type_name == "CUDA":
        return NVIDIA
    return PROC_NAMES.index(type_name) if type_name in PROC_NAMES[1:] else None


@dataclass(slots=True)
class OpenCL:
    """OpenCL properties of a GPU or a CPU platform."""

    platform_vendor: str = ""
    name: str = ""
    vendor: str = ""
    opencl_platform_version: str = ""
    opencl_device_version: str = ""
    opencl_driver_version: str = ""
    double_fp_config: float = 0.0
    global_mem_size: float = 0.0
    max_clock_frequency: float = 0.0
    max_compute_units: float = 0.0

    @property
    def version(self) -> int:
        """Device version as 100 * major + minor (``OpenCL 3.0 CUDA`` is 300); 0 if unknown."""
        found = re.search(r"(\d+)\.(\d+)", self.opencl_device_version)
        return int(found.group(1)[:4]) * 100 + int(found.group(2)[:4]) if found else 0

    @property
    def driver_revision(self) -> int:
        """100 times the number after the last ``(`` of the device version; 0 if there is none."""
        found = re.match(r"\s*(\d{1,9}(?:\.\d{0,6})?)", self.opencl_device_version.rpartition("(")[2])
        return int(100 * float(found.group(1))) if found and "(" in self.opencl_device_version else 0


@dataclass(slots=True)
class Coproc:
    """One kind of coprocessor of the host, with the work asked for it."""

    type_name: str = ""
    name: str = ""
    count: int = 0
    available_ram: float = 0.0
    req_secs: float = 0.0
    req_instances: float = 0.0
    estimated_delay: float = 0.0
    peak_flops: float = 0.0
    have_opencl: bool = False
    have_cuda: bool = False
    have_cal: bool = False
    have_metal: bool = False
    cudaVersion: float = 0.0
    drvVersion: float = 0.0
    totalGlobalMem: float = 0.0
    clockRate: float = 0.0
    major: float = 0.0
    minor: float = 0.0
    multiProcessorCount: float = 0.0
    cal_version_text: str = ""
    target: float = 0.0
    localRAM: float = 0.0
    engineClock: float = 0.0
    memoryClock: float = 0.0
    wavefrontSize: float = 0.0
    numberOfSIMD: float = 0.0
    doublePrecision: float = 0.0
    atirt_detected: bool = False
    amdrt_detected: bool = False
    ncores: float = 0.0
    metal_support: float = 0.0
    opencl: OpenCL = field(default_factory=OpenCL)

    @property
    def proc_type(self) -> int | None:
        """1..4, or ``None`` for a generic coprocessor."""
        return proc_type_of(self.type_name)

    @property
    def cal_version(self) -> int:
        """CAL version ``a.b.c`` as 10^7 a + 10^4 b + c; 0 if unknown."""
        found = re.match(r"\s*(\d{1,4})\.(\d{1,4})\.(\d{1,6})", self.cal_version_text)
        return int(found[1]) * 10**7 + int(found[2]) * 10**4 + int(found[3]) if found else 0

    @property
    def compute_capability(self) -> int:
        """100 * major + minor."""
        return int(100 * self.major + self.minor)

    def finish(self) -> None:
        """Derive what the client left out: OpenCL flag, peak FLOPS, available RAM (spec 01 section 3.5)."""
        if self.opencl.opencl_device_version:
            self.have_opencl = True
        if not self.name:
            self.name = self.opencl.name
        self.count = max(0, min(self.count, 64))
        if self.peak_flops <= 0:
            self.peak_flops = self._derived_peak()
        if not 0 < self.peak_flops <= 1e15:
            self.peak_flops = DEFAULT_GPU_FLOPS
        if self.available_ram <= 0:
            self.available_ram = self.totalGlobalMem or self.localRAM * 1048576 or self.opencl.global_mem_size

    def _derived_peak(self) -> float:
        if self.proc_type == NVIDIA:
            cores, per_clock = 128, 2
            for low, high, count, flops in _CUDA_CORES:
                if low <= self.compute_capability < high:
                    cores, per_clock = count, flops
                    break
            return 1000.0 * self.clockRate * self.multiProcessorCount * cores * per_clock
        if self.proc_type == AMD:
            return self.numberOfSIMD * self.wavefrontSize * 5 * self.engineClock * 1e6
        return self.opencl.max_compute_units * 8 * self.opencl.max_clock_frequency * 1e6


@dataclass(slots=True)
class WslDistro:
    """One Linux of Windows' WSL."""

    distro_name: str = ""
    os_name: str = ""
    os_version: str = ""
    wsl_version: int = 0
    distro_version: int = 0
    is_default: bool = False
    disallowed: bool = False
    libc_version: str = ""
    docker_version: str = ""
    docker_type: int = 0
    docker_compose_version: str = ""
    docker_compose_type: int = 0
    gpus: list[tuple[str, bool, bool]] = field(default_factory=list)


@dataclass(slots=True)
class HostInfo:
    """What the client says about its machine. Names are those of the ``host`` table where there is a column."""

    timezone: int = 0
    domain_name: str = ""
    last_ip_addr: str = ""
    host_cpid: str = ""
    p_ncpus: int = 1
    p_vendor: str = ""
    p_model: str = ""
    p_features: str = ""
    p_fpops: float = 0.0
    p_iops: float = 0.0
    p_membw: float = 0.0
    p_vm_extensions_disabled: bool = False
    m_nbytes: float = 0.0
    m_cache: float = 0.0
    m_swap: float = 0.0
    d_total: float = 0.0
    d_free: float = 0.0
    os_name: str = ""
    os_version: str = ""
    product_name: str = ""
    virtualbox_version: str = ""
    docker_version: str = ""
    docker_type: int = 0
    docker_compose_version: str = ""
    docker_compose_type: int = 0
    on_frac: float = 0.0
    connected_frac: float = 0.0
    active_frac: float = 0.0
    gpu_active_frac: float = 0.0
    cpu_and_network_available_frac: float = 0.0
    client_start_time: float = 0.0
    previous_uptime: float = 0.0
    n_bwup: float = 0.0
    n_bwdown: float = 0.0
    d_boinc_used_total: float = 0.0
    d_boinc_used_project: float = 0.0
    d_project_share: float = 0.0
    opencl_cpus: list[OpenCL] = field(default_factory=list)
    distros: list[WslDistro] = field(default_factory=list)

    @property
    def is_windows(self) -> bool:
        """Whether containers live in WSL on this host."""
        return "windows" in self.os_name.lower()

    @property
    def vm_extensions(self) -> bool:
        """CPU virtualisation is there and not found unusable."""
        features = self.p_features.lower().split()
        return ("vmx" in features or "svm" in features) and not self.p_vm_extensions_disabled


@dataclass(slots=True)
class ReportedResult:
    """A finished job as reported (spec 01 section 3.6)."""

    name: str = ""
    cpu_time: float = 0.0
    elapsed_time: float = 0.0
    exit_status: int = 0
    client_state: int = 0
    app_version_num: int = 0
    peak_working_set_size: float = 0.0
    peak_swap_size: float = 0.0
    peak_disk_usage: float = 0.0
    stderr_out: bytes = b""
    xml_doc_out: bytes = b""


@dataclass(slots=True)
class ClientAppVersion:
    """An app version the client has; position in the list matters."""

    app_name: str = ""
    version_num: int = 0
    platform: str = ""
    plan_class: str = ""
    avg_ncpus: float = 1.0
    flops: float = 0.0
    coproc_type: str = ""
    coproc_count: float = 0.0


@dataclass(slots=True)
class OtherResult:
    """A job of this project the client holds and does not report now."""

    name: str = ""
    app_version: int = -1
    plan_class: str = ""


@dataclass(slots=True)
class StickyFile:
    """A sticky file the client holds."""

    name: str = ""
    nbytes: float = 0.0
    status: int = 0


_VARIETY = re.compile(rb"[ \t]*<variety>([^<\n]*)</variety>[ \t]*\r?\n?")
MAX_TRICKLE = 262143


@dataclass(slots=True)
class Trickle:
    """A trickle-up message: ``variety`` and the other lines untouched."""

    variety: str = ""
    xml: str = ""

    @classmethod
    def parse(cls, body: bytes) -> Trickle:
        """From the text between ``<msg_from_host>`` and its end tag (spec 01 section 3.7)."""
        found = _VARIETY.search(body)
        variety = to_text(found.group(1).strip(), 254) if found else ""
        rest = body[: found.start()] + body[found.end() :] if found else body
        return cls(variety, rest.lstrip(b"\r\n")[:MAX_TRICKLE].decode("utf-8", "replace"))
