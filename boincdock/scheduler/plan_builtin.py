"""The plan classes a project has without plan_class_spec.xml (spec 02 section 6.1)."""
from __future__ import annotations

import re

from boincdock.protocol.request_model import AMD, APPLE, INTEL, NVIDIA, Coproc
from boincdock.scheduler.facts import MB, HostFacts, vbox_version
from boincdock.scheduler.model import Usage
from boincdock.scheduler.speed import coproc_speed

_CUDA = {
    # class: (cc from, cc below, CUDA version, driver, RAM MB, scale)
    "cuda": (100, 200, 0, 17700, 256, 0.20),
    "cuda23": (100, 200, 2030, 19038, 384, 0.21),
    "cuda_fermi": (200, 1 << 30, 3000, 19500, 384, 0.22),
}
_ATI = {
    # class: (CAL version, needs amdrt, needs atirt, scale)
    "ati": (10000000, True, False, 0.20),
    "ati13amd": (10030000, True, False, 0.21),
    "ati13ati": (10030186, False, True, 0.22),
    "ati14": (10040000, False, True, 0.23),
}
_MAX_MT = 64


def usage(name: str, facts: HostFacts) -> Usage | None:
    """What a job of a built-in class uses; ``None`` if the class is unknown or the host may not run it."""
    if name == "mt" or "opencl_cpu_intel" in name:
        if name != "mt" and not any("intel" in o.platform_vendor.lower() for o in facts.host.opencl_cpus):
            return None
        return _multithread(facts)
    if name.startswith("opencl"):
        return _opencl(name, facts)
    if name.startswith("ati"):
        return _ati(name, facts)
    if "cuda" in name:
        return _cuda(name, facts)
    if name == "nci":
        fpops = facts.capped_fpops
        return Usage(avg_ncpus=0.01, projected_flops=1.01 * fpops, peak_flops=0.01 * fpops)
    if name == "sse3":
        if "pni" not in facts.host.p_features.lower().split() and "pni" not in facts.host.p_model.lower():
            return None
        return Usage(projected_flops=1.1 * facts.capped_fpops, peak_flops=facts.capped_fpops)
    if "vbox" in name:
        return _vbox(name, facts)
    return None


def _multithread(facts: HostFacts) -> Usage | None:
    if facts.effective_ncpus < 2:
        return None
    n = min(_MAX_MT, facts.effective_ncpus)
    peak = n * facts.capped_fpops
    return Usage(avg_ncpus=n, projected_flops=0.99 * peak, peak_flops=peak, cmdline=f"--nthreads {n}")


def _with_gpu(gpu: Coproc, facts: HostFacts, cpu_frac: float, scale: float, ram_mb: float) -> Usage:
    speed, ncpus = coproc_speed(facts.capped_fpops, scale * gpu.peak_flops, cpu_frac)
    return Usage(
        proc_type=gpu.proc_type or 0, gpu_usage=1.0, gpu_ram=ram_mb * MB, avg_ncpus=ncpus, projected_flops=speed,
        peak_flops=gpu.peak_flops + ncpus * facts.capped_fpops, coproc_type=gpu.type_name,
    )


def _opencl(name: str, facts: HostFacts) -> Usage | None:
    kinds = (("nvidia", NVIDIA, 0.01, 0.14), ("amd", AMD, 0.01, 0.14), ("ati", AMD, 0.01, 0.14),
             ("intel_gpu", INTEL, 0.1, 0.2), ("apple_gpu", APPLE, 0.1, 0.2))
    for hint, proc_type, cpu_frac, scale in kinds:
        if hint not in name:
            continue
        gpu = facts.gpu(proc_type)
        if gpu is None or not gpu.have_opencl:
            return None
        wanted = re.search(r"(\d+)$", name)
        if wanted and gpu.opencl.version < int(wanted.group(1)[:6]):
            return None
        if gpu.opencl.global_mem_size and gpu.opencl.global_mem_size < 256 * MB:
            facts.note("Some tasks need 256 MB of GPU memory.")
            return None
        return _with_gpu(gpu, facts, cpu_frac, scale, 256)
    return None


def _cuda(name: str, facts: HostFacts) -> Usage | None:
    row = _CUDA.get(name)
    gpu = facts.gpu(NVIDIA)
    if row is None or gpu is None or not (gpu.cudaVersion or gpu.drvVersion):
        return None
    low, high, cuda, driver, ram, scale = row
    if not low <= gpu.compute_capability < high:
        return None
    if (gpu.cudaVersion and gpu.cudaVersion < cuda) or (gpu.drvVersion and gpu.drvVersion < driver):
        facts.note("A newer NVIDIA driver is needed for some tasks.")
        return None
    if gpu.available_ram < ram * MB:
        facts.note(f"Some tasks need {ram} MB of GPU memory.")
        return None
    return _with_gpu(gpu, facts, 0.01, scale, ram)


def _ati(name: str, facts: HostFacts) -> Usage | None:
    row = _ATI.get(name)
    gpu = facts.gpu(AMD)
    if row is None or gpu is None:
        return None
    cal, amdrt, atirt, scale = row
    if gpu.cal_version < cal or (amdrt and not gpu.amdrt_detected) or (atirt and not gpu.atirt_detected):
        return None
    if gpu.available_ram < 256 * MB:
        facts.note("Some tasks need 256 MB of GPU memory.")
        return None
    return _with_gpu(gpu, facts, 0.01, scale, 256)


def _vbox(name: str, facts: HostFacts) -> Usage | None:
    host = facts.host
    if facts.request.core_client_major_version < 7 or vbox_version(host.virtualbox_version) < 30200:
        facts.note("VirtualBox is not installed or not usable; some tasks need it.")
        return None
    if ("hwaccel" in name or "64" in name) and not host.vm_extensions:
        facts.note("CPU virtualization (VT-x or AMD-V) is needed for some tasks and is missing or disabled.")
        return None
    if ("64" in name) != facts.primary_is_64bit:
        return None
    n = facts.effective_ncpus if "mt" in name and host.vm_extensions else 1
    peak = n * facts.capped_fpops
    cmdline = f"--nthreads {n}" if "mt" in name else ""
    return Usage(avg_ncpus=n, projected_flops=0.99 * peak, peak_flops=peak, cmdline=cmdline)
