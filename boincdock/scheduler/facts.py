"""What plan classes may know about the host of one request (spec 02 sections 4, 6)."""
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from boincdock.protocol.prefs import ProjectPrefs
from boincdock.protocol.request_model import Coproc, HostInfo
from boincdock.protocol.scheduler_request import SchedulerRequest

MB = 1048576.0
_THREE = re.compile(r"\s*(\d{1,4})\.(\d{1,6})(?:\.(\d{1,6}))?")
_WINDOWS = re.compile(r"\((\d{1,4})\.(\d{1,4})\.(\d{1,8})(?:\.(\d{1,4}))?\)")
_ANDROID = re.compile(r"\(Android (\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?")
_LIBC = re.compile(r"\|\s*libc (\d{1,3})\.(\d{1,3})")


@dataclass(slots=True)
class HostFacts:
    """Facts of one request. ``effective_ncpus`` counts usable CPUs, ``usable_ram`` is bytes, ``capped_fpops``
    FLOPS of one CPU; ``note`` collects reasons why there is no work; ``random`` is uniform in [0, 1)."""

    request: SchedulerRequest
    effective_ncpus: int
    usable_ram: float
    capped_fpops: float
    userid: int = 0
    prefs: ProjectPrefs = field(default_factory=ProjectPrefs)
    note: Callable[[str], None] = lambda text: None
    random: Callable[[], float] = lambda: 1.0

    @property
    def host(self) -> HostInfo:
        """The machine as reported."""
        return self.request.host

    @property
    def primary_is_64bit(self) -> bool:
        """Whether the primary platform is a 64-bit one."""
        return "64" in self.request.platform_name

    def gpu(self, proc_type: int) -> Coproc | None:
        """The present GPU of this type."""
        for coproc in self.request.coprocs:
            if coproc.proc_type == proc_type and coproc.count > 0:
                return coproc
        return None

    def generic(self, type_name: str) -> Coproc | None:
        """The present generic coprocessor of this type name."""
        for coproc in self.request.coprocs:
            if coproc.proc_type is None and coproc.type_name == type_name and coproc.count > 0:
                return coproc
        return None


def _abc(text: str) -> int:
    found = _THREE.match(text)
    return int(found[1]) * 10000 + int(found[2]) * 100 + int(found[3] or 0) if found else 0


def os_version_number(os_name: str, os_version: str) -> int:
    """Numeric OS version of spec 02 section 6.3; 0 if it cannot be told."""
    if "Darwin" in os_name:
        return _abc(os_version)
    if "Windows" in os_name:
        found = _WINDOWS.findall(os_version)
        if not found:
            return 0
        a, b, c, d = found[-1]
        return int(a) * 10**8 + int(b) * 10**6 + int(c) * 100 + int(d or 0)
    if "Android" in os_name:
        return _abc(os_version)
    if "Linux" in os_name:
        return _abc(os_version.partition("[")[2] if "[" in os_version else os_version)
    return 0


def android_version(os_version: str) -> int:
    """a * 10000 + b * 100 + c of ``(Android a.b.c)``; 0 if absent."""
    found = _ANDROID.search(os_version)
    return int(found[1]) * 10000 + int(found[2]) * 100 + int(found[3] or 0) if found else 0


def libc_version(os_version: str) -> int:
    """100 * major + minor of ``|libc a.b``; 0 if absent."""
    found = _LIBC.search(os_version)
    return int(found[1]) * 100 + int(found[2]) if found else 0


def distro_libc(text: str) -> int:
    """100 * major + minor of a WSL distro's libc version such as ``2.35``."""
    found = _THREE.match(text)
    return int(found[1]) * 100 + int(found[2]) if found else 0


def vbox_version(text: str) -> int:
    """a * 10000 + b * 100 + c of ``7.0.14r161095``; 0 if absent, incomplete or marked unusable."""
    if "unusable" in text:
        return 0
    found = re.match(r"\s*(\d{1,3})\.(\d{1,3})\.(\d{1,3})", text)
    return int(found[1]) * 10000 + int(found[2]) * 100 + int(found[3]) if found else 0
