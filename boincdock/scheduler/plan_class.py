"""Plan classes: may this host run versions of a class, and what does a job use (spec 02 section 6)."""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from boincdock.errors import ConfigError
from boincdock.protocol.prefs import number_of, text_of
from boincdock.protocol.request_model import AMD, APPLE, CPU, INTEL, NVIDIA, PROC_TITLES, Coproc, WslDistro
from boincdock.scheduler import plan_builtin
from boincdock.scheduler.facts import (
    MB,
    HostFacts,
    android_version,
    distro_libc,
    libc_version,
    os_version_number,
    vbox_version,
)
from boincdock.scheduler.model import Usage
from boincdock.scheduler.plan_spec import PlanClass, parse_plan_classes
from boincdock.scheduler.speed import coproc_speed

SPEC_FILE = "plan_class_spec.xml"
_DOCKER = PlanClass(name="docker", docker=True)


@dataclass(frozen=True)
class PlanClasses:
    """All plan classes of a project: a spec file replaces the built-in ones; a broken one refuses all."""

    specs: dict[str, PlanClass] | None = None
    broken: str = ""
    unknown: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, project_dir: Path) -> PlanClasses:
        """Read ``plan_class_spec.xml``; a file that does not parse gives a set that refuses everything."""
        path = project_dir / SPEC_FILE
        try:
            return cls(parse_plan_classes(path.read_bytes()))
        except FileNotFoundError:
            return cls()
        except (OSError, ConfigError) as error:
            return cls(broken=str(error))

    def spec(self, name: str) -> PlanClass | None:
        """The spec of a class, if it comes from a file."""
        return self.specs.get(name) if self.specs else None

    def usage(self, name: str, facts: HostFacts) -> Usage | None:
        """What a job of class ``name`` uses on this host, or ``None`` if the host may not run it."""
        if not name:
            fpops = facts.host.p_fpops if facts.host.p_fpops > 0 else 1e9
            return Usage(projected_flops=fpops, peak_flops=fpops)
        if self.broken:
            return None
        if self.specs is None:
            # Upstream has no built-in class for containers; a project without a spec file gets one.
            return evaluate(_DOCKER, facts) if "docker" in name else plan_builtin.usage(name, facts)
        spec = self.specs.get(name)
        if spec is None:
            self.unknown.add(name)
            return None
        return evaluate(spec, facts)


def evaluate(spec: PlanClass, facts: HostFacts) -> Usage | None:
    """Apply all tests of a spec; the usage if every one passes."""
    if spec.disabled or (spec.infeasible_random and facts.random() < spec.infeasible_random):
        return None
    if spec.user_id and spec.user_id != facts.userid:
        return None
    if not (_cpu_ok(spec, facts) and _os_ok(spec, facts) and _client_ok(spec, facts) and _prefs_ok(spec, facts)):
        return None
    if (spec.virtualbox and not _vbox_ok(spec, facts)) or (spec.wsl and not _wsl_ok(spec, facts)):
        return None
    if spec.docker and not _docker_ok(spec, facts):
        return None
    if spec.gpu_type or spec.gpu_type_regex:
        return _gpu_usage(spec, facts)
    if spec.opencl and not any(
        _opencl_ok(spec, cpu.version, cpu.driver_revision, cpu.double_fp_config) for cpu in facts.host.opencl_cpus
    ):
        return None
    return _cpu_usage(spec, facts)


def _cpu_ok(spec: PlanClass, facts: HostFacts) -> bool:
    host = facts.host
    if spec.cpu_features:
        words = set(host.p_features.lower().split())
        words.update(host.p_model.rpartition("[")[2].rstrip("]").lower().split())
        if not words.issuperset(spec.cpu_features):
            return False
    if spec.min_ncpus and facts.effective_ncpus < spec.min_ncpus:
        return False
    if spec.cpu_vendor_regex and not spec.cpu_vendor_regex.search(host.p_vendor):
        return False
    return not (spec.cpu_model_regex and not spec.cpu_model_regex.search(host.p_model))


def _within(value: float, low: float, high: float) -> bool:
    return not ((low and value < low) or (high and value > high))


def _os_ok(spec: PlanClass, facts: HostFacts) -> bool:
    host = facts.host
    if spec.os_regex and not spec.os_regex.search(host.os_version):
        return False
    if spec.min_os_version or spec.max_os_version:
        number = os_version_number(host.os_name, host.os_version)
        if not number or not _within(number, spec.min_os_version, spec.max_os_version):
            return False
    if spec.min_android_version or spec.max_android_version:
        number = android_version(host.os_version) if "Android" in host.os_name else 0
        if not number or not _within(number, spec.min_android_version, spec.max_android_version):
            return False
    # On Windows a class for WSL or Docker means the distro's libc, tested there; the host has none.
    in_distro = host.is_windows and (spec.wsl or spec.docker)
    return in_distro or libc_version(host.os_version) >= spec.min_libc_version


def _client_ok(spec: PlanClass, facts: HostFacts) -> bool:
    version = facts.request.client_version
    if spec.min_core_client_version and version < spec.min_core_client_version:
        facts.note("A newer version of BOINC is needed for some tasks; please install the current one.")
        return False
    return not (spec.max_core_client_version and version > spec.max_core_client_version)


def _prefs_ok(spec: PlanClass, facts: HostFacts) -> bool:
    if not spec.project_prefs_tag or spec.project_prefs_regex is None:
        return True
    value = text_of(facts.prefs.text, spec.project_prefs_tag)
    if value is None:
        return spec.project_prefs_default_true
    return bool(spec.project_prefs_regex.search(value))


def _vbox_ok(spec: PlanClass, facts: HostFacts) -> bool:
    host = facts.host
    version = vbox_version(host.virtualbox_version)
    if facts.request.core_client_major_version < 7 or not version:
        facts.note("VirtualBox is not installed or not usable; some tasks need it.")
        return False
    if not _within(version, spec.min_vbox_version, spec.max_vbox_version):
        facts.note("Another version of VirtualBox is needed for some tasks.")
        return False
    if version in spec.exclude_vbox_versions:
        return False
    if spec.vm_accel_required and not host.vm_extensions:
        facts.note("CPU virtualization (VT-x or AMD-V) is needed for some tasks and is missing or disabled.")
        return False
    return not (spec.is64bit and not facts.primary_is_64bit)


def _allowed_distros(spec: PlanClass, facts: HostFacts) -> list[WslDistro]:
    return [
        d for d in facts.host.distros
        if not d.disallowed and distro_libc(d.libc_version) >= spec.min_libc_version
    ]


def _wsl_ok(spec: PlanClass, facts: HostFacts) -> bool:
    if facts.request.dont_use_wsl or not _allowed_distros(spec, facts):
        facts.note("Some tasks need Windows Subsystem for Linux, which is missing or not allowed.")
        return False
    return True


def _docker_ok(spec: PlanClass, facts: HostFacts) -> bool:
    request, host = facts.request, facts.host
    if request.dont_use_docker:
        facts.note("Some tasks need Docker or Podman, which this computer's BOINC settings do not allow.")
        return False
    if host.is_windows:
        distros = _allowed_distros(spec, facts)
        need = spec.min_boinc_wsl_distro_version
        usable = [
            d for d in distros
            if (d.distro_name == "boinc-buda-runner" and d.distro_version >= need if need else d.docker_version)
        ]
        if request.dont_use_wsl or not usable:
            facts.note("Some tasks need Docker or Podman in a WSL distro, which this computer does not offer.")
            return False
        return True
    if not host.docker_version or ("Darwin" in host.os_name and request.client_version < 80206):
        facts.note("Some tasks need Docker or Podman, which this computer does not offer.")
        return False
    return True


# ---- usage ----------------------------------------------------------------------------------------


def _cpu_usage(spec: PlanClass, facts: HostFacts) -> Usage | None:
    usage = Usage()
    if spec.avg_ncpus:
        usage.avg_ncpus = spec.avg_ncpus
    else:
        ncpus = min(max(1, spec.max_threads), facts.effective_ncpus)
        if spec.virtualbox and spec.max_threads > 1 and not facts.host.vm_extensions:
            ncpus = 1
        usage.avg_ncpus = ncpus
        if spec.mem_usage_per_cpu_mb:
            base, each = spec.mem_usage_base_mb * MB, spec.mem_usage_per_cpu_mb * MB
            if base + max(1.0, spec.min_ncpus) * each > facts.usable_ram:
                facts.note("Some tasks need more memory than this computer may use.")
                return None
            usage.avg_ncpus = min(usage.avg_ncpus, int((facts.usable_ram - base) / each))
            usage.mem_usage = base + usage.avg_ncpus * each
            usage.cmdline += f" --memory_size_mb {int(usage.mem_usage / MB)}"
    if spec.nthreads_cmdline:
        usage.cmdline += f" --nthreads {int(usage.avg_ncpus)}"
    usage.peak_flops = facts.capped_fpops * usage.avg_ncpus
    usage.projected_flops = usage.peak_flops * spec.projected_flops_scale
    return usage


def _find_gpu(spec: PlanClass, facts: HostFacts) -> Coproc | None:
    name = spec.gpu_type.lower()
    if name in ("amd", "ati"):
        return facts.gpu(AMD)
    if name == "nvidia":
        return facts.gpu(NVIDIA)
    if name.startswith("intel"):
        return facts.gpu(INTEL)
    if name in ("apple", "apple_gpu"):
        return facts.gpu(APPLE)
    if spec.gpu_type_regex:
        for coproc in facts.request.coprocs:
            if coproc.count > 0 and spec.gpu_type_regex.search(coproc.type_name):
                return coproc
        return None
    return facts.generic(spec.gpu_type)


def _opencl_ok(spec: PlanClass, version: int, revision: int, double_fp: float) -> bool:
    if version and not _within(version, spec.min_opencl_version, spec.max_opencl_version):
        return False
    if revision and not _within(revision, spec.min_opencl_driver_revision, spec.max_opencl_driver_revision):
        return False
    return not (spec.double_precision_fp and not double_fp)


def _gpu_ok(spec: PlanClass, gpu: Coproc, facts: HostFacts) -> bool:
    kind = gpu.proc_type
    if kind == AMD and not _amd_ok(spec, gpu):
        return False
    if kind == NVIDIA:
        if not _within(gpu.compute_capability, spec.min_nvidia_compcap, spec.max_nvidia_compcap):
            return False
        if spec.cuda and not _within(gpu.cudaVersion, spec.min_cuda_version, spec.max_cuda_version):
            return False
    if kind == APPLE and spec.min_metal_support and gpu.metal_support < spec.min_metal_support:
        return False
    if spec.opencl and not (
        gpu.have_opencl
        and _opencl_ok(spec, gpu.opencl.version, gpu.opencl.driver_revision, gpu.opencl.double_fp_config)
    ):
        return False
    driver = {NVIDIA: gpu.drvVersion, AMD: float(gpu.cal_version)}.get(kind or CPU, 0.0)
    if driver and not _within(driver, spec.min_driver_version, spec.max_driver_version):
        facts.note(f"Another driver version of your {_title(gpu)} is needed for some tasks.")
        return False
    if spec.min_gpu_ram_mb and _gpu_ram(spec, gpu) < spec.min_gpu_ram_mb * MB:
        facts.note(f"Some tasks need {spec.min_gpu_ram_mb:.0f} MB on your {_title(gpu)}.")
        return False
    if not _within(gpu.peak_flops, spec.min_gpu_peak_flops, spec.max_gpu_peak_flops):
        return False
    return not (spec.docker and facts.host.is_windows and not _wsl_has_gpu(spec, gpu, facts))


def _title(gpu: Coproc) -> str:
    return PROC_TITLES[gpu.proc_type] if gpu.proc_type is not None else gpu.type_name


def _amd_ok(spec: PlanClass, gpu: Coproc) -> bool:
    if (spec.need_ati_libs and not gpu.atirt_detected) or (spec.need_amd_libs and not gpu.amdrt_detected):
        return False
    if spec.without_opencl and gpu.have_opencl:
        return False
    return _within(gpu.target, spec.min_cal_target, spec.max_cal_target)


def _gpu_ram(spec: PlanClass, gpu: Coproc) -> float:
    if spec.opencl or gpu.proc_type == AMD:
        return gpu.opencl.global_mem_size or gpu.available_ram
    return gpu.totalGlobalMem or gpu.available_ram


def _wsl_has_gpu(spec: PlanClass, gpu: Coproc, facts: HostFacts) -> bool:
    short = {NVIDIA: "nvidia", AMD: "amd", INTEL: "intel"}.get(gpu.proc_type or CPU, gpu.type_name.lower())
    for distro in facts.host.distros:
        for name, has_cuda, has_opencl in distro.gpus:
            named = name.lower().startswith(short) or (short == "amd" and name.lower().startswith("ati"))
            if named and (not spec.cuda or has_cuda) and (not spec.opencl or has_opencl):
                return True
    return False


def _gpu_usage(spec: PlanClass, facts: HostFacts) -> Usage | None:
    gpu = _find_gpu(spec, facts)
    # A generic coprocessor has no processor type to send work for; refusing beats sending a CPU job.
    if gpu is None or gpu.proc_type is None or not _gpu_ok(spec, gpu, facts):
        return None
    usage = Usage(proc_type=gpu.proc_type, coproc_type=gpu.type_name)
    share = number_of(facts.prefs.text, spec.gpu_utilization_tag, 1.0) if spec.gpu_utilization_tag else 1.0
    share = share if share > 0 else 1.0
    usage.gpu_ram = (spec.gpu_ram_used_mb or spec.min_gpu_ram_mb) * MB
    if spec.ngpus > 0:
        usage.gpu_usage = spec.ngpus * share
    elif spec.ngpus == 0:
        usage.gpu_usage = share
    else:
        ram = _gpu_ram(spec, gpu)
        fits = int(ram / usage.gpu_ram) if usage.gpu_ram > 0 else 0
        usage.gpu_usage = 1 / fits if fits > 0 else 1.0
    gpu_flops = spec.gpu_peak_flops_scale * usage.gpu_usage * gpu.peak_flops
    speed, ncpus = coproc_speed(facts.capped_fpops, gpu_flops, spec.cpu_frac)
    usage.avg_ncpus = spec.avg_ncpus or ncpus
    usage.projected_flops = speed * spec.projected_flops_scale
    usage.peak_flops = gpu_flops + usage.avg_ncpus * facts.capped_fpops
    return usage


def is_multithreaded(name: str) -> bool:
    """Whether CPU time of a class may exceed elapsed time (spec 03 section 2.3 step 6)."""
    return bool(re.search("mt", name))
