"""The host row: what each RPC copies into it (spec 01 section 5.4)."""
from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from boincdock.protocol.request_model import AMD, APPLE, INTEL, NVIDIA, Coproc
from boincdock.scheduler.authenticate import public_cpid
from boincdock.scheduler.facts import MB
from boincdock.scheduler.model import Row, text_of
from boincdock.scheduler.rpc import Rpc

_TEXTS = ("domain_name", "last_ip_addr", "p_vendor", "p_model", "os_name", "os_version", "product_name")
_NUMBERS = ("timezone", "p_ncpus", "p_fpops", "p_iops", "p_membw", "m_nbytes", "m_cache", "m_swap", "d_total",
            "d_free", "d_boinc_used_total", "d_boinc_used_project", "n_bwup", "n_bwdown", "on_frac",
            "connected_frac", "active_frac", "gpu_active_frac")
_SHORT_GPU = {NVIDIA: "nvidia", AMD: "amd", INTEL: "intel", APPLE: "apple"}
_MISC_LIMIT = 60000
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_MAX_INT = 2147483647


def misc_json(rpc: Rpc) -> str:
    """``host.misc``: client version, GPUs, Docker, VirtualBox, container settings."""
    request, host = rpc.request, rpc.request.host
    misc: dict[str, Any] = {
        "client_version": f"{request.core_client_major_version}.{request.core_client_minor_version}"
                          f".{request.core_client_release}",
    }
    if request.coprocs:
        misc["gpus"] = [_gpu(c) for c in request.coprocs]
    docker = _docker(rpc)
    if docker:
        misc["docker"] = docker
    if host.virtualbox_version:
        features = host.p_features.lower().split()
        misc["vbox"] = {
            "version": host.virtualbox_version,
            "hw_accel": "vmx" in features or "svm" in features,
            "hw_accel_enabled": not host.p_vm_extensions_disabled,
        }
    if request.dont_use_docker or request.dont_use_wsl:
        misc["config"] = {"dont_use_docker": request.dont_use_docker, "dont_use_wsl": request.dont_use_wsl}
    text = _encode(misc)
    return text if len(text.encode()) <= _MISC_LIMIT else json.dumps({"client_version": misc["client_version"]})


def _gpu(coproc: Coproc) -> dict[str, Any]:
    kind = _SHORT_GPU.get(coproc.proc_type or 0)
    driver = ""
    if coproc.drvVersion:
        driver = str(int(coproc.drvVersion))
    elif coproc.cal_version_text:
        driver = coproc.cal_version_text
    elif coproc.opencl.opencl_driver_version:
        driver = coproc.opencl.opencl_driver_version
    return {
        "type": kind or coproc.opencl.vendor or coproc.type_name,
        "model": coproc.name or coproc.opencl.name or coproc.type_name,
        "count": coproc.count,
        "ram_mb": int((coproc.totalGlobalMem or coproc.opencl.global_mem_size or coproc.available_ram) / MB),
        "driver_version": driver,
        "opencl_version": str(coproc.opencl.version) if coproc.have_opencl else "0",
    }


def _docker(rpc: Rpc) -> dict[str, Any]:
    host = rpc.request.host
    if host.docker_version:
        return {"version": host.docker_version, "type": host.docker_type}
    for distro in host.distros:
        if distro.docker_version and not distro.disallowed:
            found: dict[str, Any] = {
                "version": distro.docker_version, "type": distro.docker_type, "wsl_distro": distro.distro_name,
            }
            if distro.distro_name == "boinc-buda-runner" and distro.distro_version:
                found["boinc_buda_runner_version"] = distro.distro_version
            return found
    return {}


def host_columns() -> Row:
    """The columns of :func:`host_values` with their defaults."""
    texts = (*_TEXTS, "external_ip_addr", "host_cpid", "misc")
    numbers = (*_NUMBERS, "nsame_ip_addr", "duration_correction_factor", "d_boinc_max", "p_ngpus", "p_gpu_fpops")
    return {**dict.fromkeys(texts, ""), **dict.fromkeys(numbers, 0)}


def host_values(rpc: Rpc) -> Row:
    """The complete set of columns of ``scheduler.update_host`` for this request."""
    host, old = rpc.request.host, rpc.host
    values: Row = {name: getattr(host, name)[:254] for name in _TEXTS}
    values.update((name, getattr(host, name)) for name in _NUMBERS)
    values["p_ncpus"] = max(0, min(host.p_ncpus, _MAX_INT))
    same = text_of(old.get("last_ip_addr")) == values["last_ip_addr"]
    values["nsame_ip_addr"] = min(old.get("nsame_ip_addr", 0) + 1, _MAX_INT) if same else 0
    values["duration_correction_factor"] = rpc.request.duration_correction_factor
    values["d_boinc_max"] = host.d_project_share
    values["external_ip_addr"] = rpc.peer[:254]
    values["host_cpid"] = (
        public_cpid(host.host_cpid, rpc.user.email_addr) if host.host_cpid else text_of(old.get("host_cpid"))
    )
    values["p_ngpus"] = sum(c.count for c in rpc.request.coprocs)
    values["p_gpu_fpops"] = sum(c.count * c.peak_flops for c in rpc.request.coprocs)
    values["misc"] = misc_json(rpc)
    return values


def save_host(rpc: Rpc) -> None:
    """Write the host row. If another request of the host got in between, HostChangedError is raised, here or when the
    transaction ends."""
    old = rpc.host
    keys: Row = {
        "id": rpc.hostid, "old_seqno": old["rpc_seqno"], "old_time": old["rpc_time"],
        "rpc_seqno": 0 if rpc.reply.new_hostid else max(0, rpc.request.rpc_seqno), "rpc_time": rpc.now,
    }
    rpc.repo.update_host({**host_values(rpc), **keys})


def day_offset(hostid: int) -> int:
    """The host's fixed pseudo-random phase in [0, 86400): spreads the start of the quota day."""
    return int.from_bytes(hashlib.sha256(str(hostid).encode()).digest()[:6], "big") % 86400


def day_changed(hostid: int, old_time: int, now: int) -> bool:
    """Whether the host's quota day differs between two times (section 5.10), by the local calendar."""
    x = day_offset(hostid)
    return time.localtime(old_time + x)[:3] != time.localtime(now + x)[:3]
