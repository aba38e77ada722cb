"""Parsing of ``<scheduler_request>`` (spec 01 sections 2.3 and 3).

:func:`parse_request` takes the raw bytes of a POST body and gives a :class:`SchedulerRequest`. Unknown
elements are skipped, bad values leave their default, non-finite numbers are 0, over-long strings are cut
and every list is bounded.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from boincdock.protocol.request_model import (
    ClientAppVersion,
    Coproc,
    HostInfo,
    OpenCL,
    OtherResult,
    ReportedResult,
    StickyFile,
    Trickle,
    WslDistro,
)
from boincdock.protocol.scanner import (
    CDATA,
    CLOSE,
    FLAG,
    LEAF,
    OPEN,
    TEXT,
    Scanner,
    to_bool,
    to_int,
    to_number,
    to_text,
)

MAX_BLOB = 65535
MAX_TAGS = 2000000
"""Bounds the time spent on a hostile body; real requests with hundreds of results stay far below."""

MAX_RESULTS = 20000
MAX_OTHER_RESULTS = 50000
MAX_APP_VERSIONS = 5000
MAX_FILES = 20000
MAX_TRICKLES = 1000
MAX_PLATFORMS = 32
MAX_COPROCS = 8
MAX_OPENCL_CPUS = 8
MAX_DISTROS = 64
MAX_KEYWORDS = 1024
MAX_TIME_LOG = 1 << 20


class MalformedRequest(Exception):
    """The body is not a scheduler request; ``str()`` is a short text fit for the client."""


@dataclass(slots=True)
class SchedulerRequest:
    """One request. Times are seconds, sizes bytes, fractions 0..1; see spec 01 section 3 for each element."""

    authenticator: str = ""
    hostid: int = 0
    rpc_seqno: int = 0
    core_client_major_version: int = 0
    core_client_minor_version: int = 0
    core_client_release: int = 0
    resource_share_fraction: float = 1.0
    rrs_fraction: float = 1.0
    prrs_fraction: float = 1.0
    duration_correction_factor: float = 1.0
    allow_multiple_clients: int = -1
    sandbox: int = -1
    dont_send_work: bool = False
    dont_use_docker: bool = False
    dont_use_wsl: bool = False
    work_req_seconds: float = 0.0
    cpu_req_secs: float = 0.0
    cpu_req_instances: float = 0.0
    estimated_delay: float = 0.0
    client_cap_plan_class: bool = False
    platform_name: str = ""
    alt_platforms: list[str] = field(default_factory=list)
    code_sign_key: str = ""
    working_global_preferences: str = ""
    global_preferences: str = ""
    global_prefs_source_email_hash: str = ""
    cross_project_id: str = ""
    host: HostInfo = field(default_factory=HostInfo)
    coprocs: list[Coproc] = field(default_factory=list)
    results: list[ReportedResult] = field(default_factory=list)
    results_truncated: bool = False
    trickles: list[Trickle] = field(default_factory=list)
    files: list[StickyFile] = field(default_factory=list)
    app_versions: list[ClientAppVersion] = field(default_factory=list)
    other_results: list[OtherResult] = field(default_factory=list)
    has_other_results: bool = False
    client_brand: str = ""
    time_stats_log: bytes = b""
    keywords_yes: list[int] = field(default_factory=list)
    keywords_no: list[int] = field(default_factory=list)

    @property
    def client_version(self) -> int:
        """10000 * major + 100 * minor + release; 8.2.15 is 80215."""
        return (
            10000 * self.core_client_major_version
            + 100 * self.core_client_minor_version
            + self.core_client_release
        )

    @property
    def anonymous(self) -> bool:
        """Whether the client brings its own applications."""
        return self.platform_name == "anonymous"


Setter = tuple[str, Callable[[bytes], Any]]


def _text(limit: int) -> Callable[[bytes], str]:
    return lambda raw: to_text(raw, limit)


def _state(raw: bytes) -> int | None:
    return to_int(raw)


_STR = _text(254)
_BIG = _text(8191)

_TOP: dict[bytes, Setter] = {
    b"authenticator": ("authenticator", lambda raw: to_text(raw, 255).split("'")[0].split('"')[0]),
    **{
        name.encode(): (name, to_int)
        for name in (
            "hostid",
            "rpc_seqno",
            "core_client_major_version",
            "core_client_minor_version",
            "core_client_release",
            "allow_multiple_clients",
            "sandbox",
        )
    },
    **{
        name.encode(): (name, to_number)
        for name in (
            "resource_share_fraction",
            "rrs_fraction",
            "prrs_fraction",
            "duration_correction_factor",
            "work_req_seconds",
            "cpu_req_secs",
            "cpu_req_instances",
            "estimated_delay",
        )
    },
    **{
        name.encode(): (name, to_bool)
        for name in ("dont_send_work", "dont_use_docker", "dont_use_wsl", "client_cap_plan_class")
    },
    b"platform_name": ("platform_name", _STR),
    b"global_prefs_source_email_hash": ("global_prefs_source_email_hash", _STR),
    b"cross_project_id": ("cross_project_id", _STR),
    b"client_brand": ("client_brand", _STR),
}

_HOST: dict[bytes, Setter] = {
    b"timezone": ("timezone", to_int),
    b"p_ncpus": ("p_ncpus", to_int),
    b"p_vm_extensions_disabled": ("p_vm_extensions_disabled", to_bool),
    b"docker_type": ("docker_type", to_int),
    b"docker_compose_type": ("docker_compose_type", to_int),
    b"p_features": ("p_features", _BIG),
    **{
        name.encode(): (name, _STR)
        for name in (
            "domain_name",
            "host_cpid",
            "p_vendor",
            "p_model",
            "os_name",
            "os_version",
            "product_name",
            "virtualbox_version",
            "docker_version",
            "docker_compose_version",
        )
    },
    b"ip_addr": ("last_ip_addr", _STR),
    **{
        name.encode(): (name, to_number)
        for name in ("p_fpops", "p_iops", "p_membw", "m_nbytes", "m_cache", "m_swap", "d_total", "d_free")
    },
}

_TIME_STATS: dict[bytes, Setter] = {
    name.encode(): (name, to_number)
    for name in ("on_frac", "connected_frac", "active_frac", "gpu_active_frac")
}
_TIME_STATS[b"cpu_and_network_available_frac"] = ("cpu_and_network_available_frac", to_number)
_TIME_STATS[b"client_start_time"] = ("client_start_time", to_number)
_TIME_STATS[b"previous_uptime"] = ("previous_uptime", to_number)

_NET_STATS: dict[bytes, Setter] = {
    b"bwup": ("n_bwup", to_number),
    b"bwdown": ("n_bwdown", to_number),
}
_DISK_USAGE: dict[bytes, Setter] = {
    b"d_boinc_used_total": ("d_boinc_used_total", to_number),
    b"d_boinc_used_project": ("d_boinc_used_project", to_number),
    b"d_project_share": ("d_project_share", to_number),
}

_DISTRO: dict[bytes, Setter] = {
    **{
        name.encode(): (name, _STR)
        for name in (
            "distro_name",
            "os_name",
            "os_version",
            "libc_version",
            "docker_version",
            "docker_compose_version",
        )
    },
    b"name": ("os_name", _STR),
    b"version": ("os_version", _STR),
    b"wsl_version": ("wsl_version", to_int),
    b"distro_version": ("distro_version", to_int),
    b"docker_type": ("docker_type", to_int),
    b"docker_compose_type": ("docker_compose_type", to_int),
    b"is_default": ("is_default", to_bool),
    b"disallowed": ("disallowed", to_bool),
}

_RESULT: dict[bytes, Setter] = {
    b"name": ("name", _STR),
    b"final_cpu_time": ("cpu_time", to_number),
    b"final_elapsed_time": ("elapsed_time", to_number),
    b"exit_status": ("exit_status", to_int),
    b"state": ("client_state", to_int),
    b"app_version_num": ("app_version_num", to_int),
    b"final_peak_working_set_size": ("peak_working_set_size", to_number),
    b"final_peak_swap_size": ("peak_swap_size", to_number),
    b"final_peak_disk_usage": ("peak_disk_usage", to_number),
}

_APP_VERSION: dict[bytes, Setter] = {
    b"app_name": ("app_name", _STR),
    b"version_num": ("version_num", to_int),
    b"platform": ("platform", _STR),
    b"plan_class": ("plan_class", _STR),
    b"avg_ncpus": ("avg_ncpus", to_number),
    b"flops": ("flops", to_number),
}
_CLIENT_COPROC: dict[bytes, Setter] = {
    b"type": ("coproc_type", _STR),
    b"count": ("coproc_count", to_number),
}
_OTHER_RESULT: dict[bytes, Setter] = {
    b"name": ("name", _STR),
    b"app_version": ("app_version", to_int),
    b"plan_class": ("plan_class", _STR),
}
_FILE: dict[bytes, Setter] = {
    b"name": ("name", _STR),
    b"nbytes": ("nbytes", to_number),
    b"status": ("status", _state),
}

_COPROC_NUMBERS = (
    "available_ram",
    "req_secs",
    "req_instances",
    "peak_flops",
    "cudaVersion",
    "drvVersion",
    "totalGlobalMem",
    "clockRate",
    "major",
    "minor",
    "multiProcessorCount",
    "target",
    "localRAM",
    "engineClock",
    "memoryClock",
    "wavefrontSize",
    "numberOfSIMD",
    "doublePrecision",
    "ncores",
    "metal_support",
)
_COPROC: dict[bytes, Setter] = {
    b"type": ("type_name", _STR),
    b"name": ("name", _STR),
    b"model": ("name", _STR),
    b"count": ("count", to_int),
    b"estimated_delay": ("estimated_delay", to_number),
    b"have_opencl": ("have_opencl", to_bool),
    b"have_cuda": ("have_cuda", to_bool),
    b"have_cal": ("have_cal", to_bool),
    b"have_metal": ("have_metal", to_bool),
    b"CALVersion": ("cal_version_text", _STR),
    b"atirt_detected": ("atirt_detected", to_bool),
    b"amdrt_detected": ("amdrt_detected", to_bool),
    **{name.encode(): (name, to_number) for name in _COPROC_NUMBERS},
}
_OPENCL: dict[bytes, Setter] = {
    **{
        name.encode(): (name, _STR)
        for name in (
            "name",
            "vendor",
            "opencl_platform_version",
            "opencl_device_version",
            "opencl_driver_version",
        )
    },
    **{
        name.encode(): (name, to_number)
        for name in ("double_fp_config", "global_mem_size", "max_clock_frequency", "max_compute_units")
    },
}
_COPROC_KINDS = {
    b"coproc_cuda": "NVIDIA",
    b"coproc_ati": "ATI",
    b"coproc_intel_gpu": "intel_gpu",
    b"coproc_apple_gpu": "apple_gpu",
    b"coproc": "",
}

Group = Callable[[Scanner, bytes, Any], None]


def _set(target: Any, setter: Setter, text: bytes) -> None:
    value = setter[1](text)
    if value is not None:
        setattr(target, setter[0], value)


def _fill(scan: Scanner, end: bytes, target: Any, table: dict[bytes, Setter],
          groups: dict[bytes, Group] | None = None) -> bool:
    """Read children of ``end`` into ``target`` until its end tag; False if the document ends first."""
    while True:
        event = scan.event()
        if event is None:
            return False
        kind, name, text = event
        if kind == LEAF:
            setter = table.get(name)
            if setter is not None:
                _set(target, setter, text)
            elif groups is not None and name in groups:
                scan.pos = scan.leaf_start
                groups[name](scan, name, target)
        elif kind == FLAG:
            setter = table.get(name)
            if setter is not None and setter[1] is to_bool:
                setattr(target, setter[0], True)
            elif name == b"other_results" and isinstance(target, SchedulerRequest):
                target.has_other_results = True
        elif kind == CLOSE:
            if name == end:
                return True
        elif kind == OPEN:
            group = groups.get(name) if groups else None
            if group is not None:
                group(scan, name, target)
            elif name in table:
                body = scan.lenient(name)
                if body is not None:
                    _set(target, table[name], body)
            else:
                scan.skip(name)
        elif kind in (TEXT, CDATA):
            continue


def _raw_into(attribute: str, limit: int) -> Group:
    def group(scan: Scanner, name: bytes, request: SchedulerRequest) -> None:
        body = scan.raw(name)
        if body is None:
            raise MalformedRequest(f"no </{name.decode('latin-1')}> in the request")
        setattr(request, attribute, body[:limit].decode("utf-8", "replace").strip())

    return group


def _nested(attribute: str | None, table: dict[bytes, Setter], groups: dict[bytes, Group] | None = None) -> Group:
    def group(scan: Scanner, name: bytes, target: Any) -> None:
        _fill(scan, name, target if attribute is None else getattr(target, attribute), table, groups)

    return group


def _listed(attribute: str, make: Callable[[], Any], table: dict[bytes, Setter], limit: int,
            groups: dict[bytes, Group] | None = None) -> Group:
    def group(scan: Scanner, name: bytes, target: Any) -> None:
        item = make()
        _fill(scan, name, item, table, groups)
        items = getattr(target, attribute)
        if len(items) < limit:
            items.append(item)

    return group


def _stderr(scan: Scanner, name: bytes, result: ReportedResult) -> None:
    body = scan.raw(name)
    if body is None:
        raise MalformedRequest("no </stderr_out> in the request")
    result.stderr_out = body[:MAX_BLOB].strip(b"\r\n")


def _output_file(scan: Scanner, name: bytes, result: ReportedResult) -> None:
    body = scan.raw(name)
    if body is None:
        raise MalformedRequest("no </file_info> in the request")
    piece = b"<file_info>" + body + b"</file_info>\n"
    if len(result.xml_doc_out) + len(piece) <= MAX_BLOB:
        result.xml_doc_out += piece


_RESULT_GROUPS: dict[bytes, Group] = {b"stderr_out": _stderr, b"file_info": _output_file}


def _result(scan: Scanner, name: bytes, request: SchedulerRequest) -> None:
    item = ReportedResult()
    _fill(scan, name, item, _RESULT, _RESULT_GROUPS)
    if not item.name:
        return
    if len(request.results) < MAX_RESULTS:
        request.results.append(item)
    else:
        request.results_truncated = True


def _trickle(scan: Scanner, name: bytes, request: SchedulerRequest) -> None:
    body = scan.raw(name)
    if body is None:
        raise MalformedRequest("no </msg_from_host> in the request")
    if len(request.trickles) < MAX_TRICKLES:
        request.trickles.append(Trickle.parse(body))


def _alt_platform(scan: Scanner, name: bytes, request: SchedulerRequest) -> None:
    found = StickyFile()
    _fill(scan, name, found, _FILE)
    if found.name and len(request.alt_platforms) < MAX_PLATFORMS:
        request.alt_platforms.append(found.name)


_OPENCL_CPU_GROUPS: dict[bytes, Group] = {b"opencl_cpu_info": _nested(None, _OPENCL)}
_OPENCL_CPU: dict[bytes, Setter] = {b"platform_vendor": ("platform_vendor", _STR)}
_WSL_GROUPS: dict[bytes, Group] = {
    b"distro": _listed(
        "distros", WslDistro, _DISTRO, MAX_DISTROS, {b"wsl_gpu": lambda s, n, t: _wsl_gpu(s, n, t)}
    )
}


def _wsl_gpu(scan: Scanner, name: bytes, distro: WslDistro) -> None:
    found = Coproc()
    _fill(scan, name, found, {b"name": ("name", _STR), b"has_cuda": ("have_cuda", to_bool),
                              b"has_opencl": ("have_opencl", to_bool)})
    if len(distro.gpus) < MAX_COPROCS:
        distro.gpus.append((found.name, found.have_cuda, found.have_opencl))


_HOST_GROUPS: dict[bytes, Group] = {
    b"opencl_cpu_prop": _listed("opencl_cpus", OpenCL, _OPENCL_CPU, MAX_OPENCL_CPUS, _OPENCL_CPU_GROUPS),
    b"wsl": _nested(None, {}, _WSL_GROUPS),
}
_COPROC_GROUPS: dict[bytes, Group] = {b"coproc_opencl": _nested("opencl", _OPENCL)}


def _coproc(scan: Scanner, name: bytes, request: SchedulerRequest) -> None:
    item = Coproc(type_name=_COPROC_KINDS[name])
    item.estimated_delay = -1.0
    if not _fill(scan, name, item, _COPROC, _COPROC_GROUPS):
        return
    if item.type_name == "CUDA":
        item.type_name = "NVIDIA"
    item.finish()
    known = any(other.type_name == item.type_name for other in request.coprocs)
    if item.type_name and not known and len(request.coprocs) < MAX_COPROCS:
        request.coprocs.append(item)


_COPROCS_GROUPS: dict[bytes, Group] = dict.fromkeys(_COPROC_KINDS, _coproc)


def _app_version(scan: Scanner, name: bytes, request: SchedulerRequest) -> None:
    item = ClientAppVersion()
    _fill(scan, name, item, _APP_VERSION, {b"coproc": _nested(None, _CLIENT_COPROC)})
    if len(request.app_versions) < MAX_APP_VERSIONS:
        request.app_versions.append(item)


def _other_results(scan: Scanner, name: bytes, request: SchedulerRequest) -> None:
    request.has_other_results = True
    _fill(scan, name, request, {}, {b"other_result": _other_result})


def _other_result(scan: Scanner, name: bytes, request: SchedulerRequest) -> None:
    item = OtherResult()
    _fill(scan, name, item, _OTHER_RESULT)
    if item.name and len(request.other_results) < MAX_OTHER_RESULTS:
        request.other_results.append(item)


def _keywords(scan: Scanner, name: bytes, request: SchedulerRequest) -> None:
    while True:
        event = scan.event()
        if event is None or (event[0] == CLOSE and event[1] == name):
            return
        if event[0] == LEAF and event[1] in (b"yes", b"no"):
            value = to_int(event[2])
            chosen = request.keywords_yes if event[1] == b"yes" else request.keywords_no
            if value and len(chosen) < MAX_KEYWORDS:
                chosen.append(value)


def _lines(scan: Scanner, name: bytes, request: SchedulerRequest) -> None:
    body = scan.raw(name)
    if body is not None and name == b"time_stats_log":
        request.time_stats_log = body[:MAX_TIME_LOG]
    if body is None:
        raise MalformedRequest(f"no </{name.decode('latin-1')}> in the request")


_TOP_GROUPS: dict[bytes, Group] = {
    b"code_sign_key": _raw_into("code_sign_key", 4095),
    b"working_global_preferences": _raw_into("working_global_preferences", MAX_BLOB),
    b"global_preferences": _raw_into("global_preferences", MAX_BLOB),
    b"time_stats": _nested("host", _TIME_STATS),
    b"net_stats": _nested("host", _NET_STATS),
    b"disk_usage": _nested("host", _DISK_USAGE),
    b"host_info": _nested("host", _HOST, _HOST_GROUPS),
    b"coprocs": _nested(None, {}, _COPROCS_GROUPS),
    b"result": _result,
    b"msg_from_host": _trickle,
    b"file_info": _listed("files", StickyFile, _FILE, MAX_FILES),
    b"alt_platform": _alt_platform,
    b"app_versions": _nested(None, {}, {b"app_version": _app_version}),
    b"other_results": _other_results,
    b"user_keywords": _keywords,
    b"time_stats_log": _lines,
    b"job_log": _lines,
    b"client_opaque": _lines,
}
_PROLOG = 64


def parse_request(body: bytes) -> SchedulerRequest:
    """Parse one request body. Raises :class:`MalformedRequest` if start or end tag is missing."""
    if body.count(b"<") > MAX_TAGS:
        raise MalformedRequest(f"the request has more than {MAX_TAGS} elements")
    scan = Scanner(body)
    for _ in range(_PROLOG):
        token = scan.token()
        if token is None or token.kind != OPEN or not token.name.startswith((b"?", b"!", b"scheduler_request")):
            break
        if token.name == b"scheduler_request":
            request = SchedulerRequest()
            if not _fill(scan, b"scheduler_request", request, _TOP, _TOP_GROUPS):
                raise MalformedRequest("the request is cut off: no </scheduler_request>")
            return request
    raise MalformedRequest("the request is empty" if not body.strip() else "no <scheduler_request> in the request")
