"""Homogeneous redundancy classes of hosts (spec 02 section 11.3)."""
from __future__ import annotations

import re

from boincdock.protocol.request_model import HostInfo

_OS = (("linux", 256), ("windows", 384), ("darwin", 512), ("freebsd", 640), ("android", 768))
_NO_OS, _NO_CPU, _ARM = 128, 1, 22
_CELERON = ((" m ", 18), (" d ", 17), ("iii", 15))
_PENTIUM = (("iii", 15), ("ii", 14), (" 4 ", 16), (" d ", 17), (" m ", 18))
_X86_MODELS = (("6 model 6", 12), ("6 model 9", 18), ("6 model 10", 11), ("5 model 1", 13), ("5 model 2", 13),
               ("6 model 1", 13), ("15 model 1", 16), ("15 model 2", 16), ("6 model 7", 15), ("6 model 8", 15),
               ("6 model 3", 14), ("6 model 5", 14))
_AMD = (("duron", 6), ("opteron", 8), ("sempron", 7), ("turion", 20))
_ATHLON = (("xp", 10), ("mp", 19), ("64", 9))


def _first(table: tuple[tuple[str, int], ...], text: str, default: int) -> int:
    return next((code for hint, code in table if hint in text), default)


def os_code(os_name: str) -> int:
    """Operating system part of a class."""
    return _first(_OS, os_name.lower(), _NO_OS)


def _intel(model: str) -> int:
    if "xeon" in model:
        return 11
    if "celeron" in model:
        return _first(_CELERON, model, 12)
    if "core" in model:
        return 21
    if "pentium" in model:
        return _first(_PENTIUM, model, 13)
    if "x86" in model:
        return next((code for hint, code in _X86_MODELS if f"family {hint}" in model), 2)
    return 2


def _amd(model: str) -> int:
    if "athlon" in model:
        return _first(_ATHLON, model, 5)
    return _first(_AMD, model, 3)


def cpu_code(kind: int, vendor: str, model: str) -> int:
    """CPU part of a class; ``kind`` 1 fine, 2 coarse."""
    low_vendor, low_model = vendor.lower(), model.lower()
    if "intel" in low_vendor:
        return 2 if kind == 2 else _intel(low_model)
    if "amd" in low_vendor:
        return 2 if kind == 2 else _amd(low_model)
    if "macintosh" in low_vendor:
        return 4
    if re.search("arm", low_vendor) or "ARM" in model:
        return _ARM
    return _NO_CPU


def hr_class(kind: int, host: HostInfo) -> int:
    """The host's class of this HR type; 0 if it is unknown and the host must not get such jobs."""
    os_part, cpu = os_code(host.os_name), cpu_code(kind, host.p_vendor, host.p_model)
    if kind == 1:
        unknown = os_part == _NO_OS or cpu == _NO_CPU
    else:
        windows_or_linux = os_part in (256, 384)
        unknown = not windows_or_linux and not (os_part == 512 and cpu in (2, 4))
    return 0 if unknown else os_part + cpu
