"""Plan classes: spec 02 section 6 with its examples and vectors."""
from __future__ import annotations

from typing import Any

import pytest

from boincdock.errors import ConfigError
from boincdock.protocol.prefs import ProjectPrefs
from boincdock.protocol.request_model import Coproc, HostInfo, OpenCL, WslDistro
from boincdock.protocol.scheduler_request import SchedulerRequest
from boincdock.scheduler.facts import MB, HostFacts
from boincdock.scheduler.model import Usage
from boincdock.scheduler.plan_class import PlanClasses
from boincdock.scheduler.plan_spec import parse_plan_classes

LINUX = {"os_name": "Linux Ubuntu", "os_version": "Ubuntu 24.04 [6.8.0-79-generic|libc 2.39]"}


def facts(host: dict[str, Any] | None = None, ncpus: int = 8, ram: float = 16e9, fpops: float = 4e9,
          prefs: str = "", **request: Any) -> HostFacts:
    r = SchedulerRequest(core_client_major_version=8, core_client_minor_version=2, core_client_release=15,
                         platform_name="x86_64-pc-linux-gnu", client_cap_plan_class=True)
    r.host = HostInfo(**{"p_ncpus": ncpus, "p_fpops": fpops, **LINUX, **(host or {})})
    for name, value in request.items():
        setattr(r, name, value)
    notes: list[str] = []
    return HostFacts(r, ncpus, ram, fpops, 7, ProjectPrefs(text=prefs), notes.append)


def one(body: str, f: HostFacts) -> Usage | None:
    classes = PlanClasses(parse_plan_classes(
        f"<plan_classes>\n<plan_class><name>x</name>{body}</plan_class></plan_classes>".encode()))
    return classes.usage("x", f)


EXAMPLES = b"""<plan_classes>
<plan_class> <name>mt8</name> <min_ncpus>2</min_ncpus> <max_threads>8</max_threads>
  <nthreads_cmdline/> <projected_flops_scale>.98</projected_flops_scale> </plan_class>
<plan_class> <name>vbox64_mt</name> <virtualbox/> <is64bit/> <vm_accel_required/>
  <min_vbox_version>30200</min_vbox_version> <max_threads>32</max_threads> </plan_class>
<plan_class> <name>docker</name> <docker/> <min_core_client_version>80200</min_core_client_version> </plan_class>
<plan_class> <name>opencl_nvidia_102</name> <gpu_type>nvidia</gpu_type> <opencl/>
  <min_opencl_version>102</min_opencl_version> <min_gpu_ram_mb>1024</min_gpu_ram_mb>
  <cpu_frac>.05</cpu_frac> <gpu_peak_flops_scale>.2</gpu_peak_flops_scale> </plan_class>
</plan_classes>"""


def test_examples_of_the_spec() -> None:
    classes = PlanClasses(parse_plan_classes(EXAMPLES))
    assert set(classes.specs or {}) == {"mt8", "vbox64_mt", "docker", "opencl_nvidia_102"}
    mt = classes.usage("mt8", facts())
    assert mt is not None
    assert (mt.avg_ncpus, mt.cmdline.strip(), mt.peak_flops) == (8, "--nthreads 8", 32e9)
    assert mt.projected_flops == pytest.approx(0.98 * 32e9)
    assert classes.usage("mt8", facts(ncpus=1)) is None
    assert classes.usage("nothing", facts()) is None
    vbox = {"virtualbox_version": "7.0.14r1", "p_features": "fpu vmx"}
    got = classes.usage("vbox64_mt", facts(vbox))
    assert got is not None
    assert got.avg_ncpus == 8
    assert classes.usage("vbox64_mt", facts({**vbox, "p_vm_extensions_disabled": True})) is None
    assert classes.usage("vbox64_mt", facts(vbox, platform_name="i686-pc-linux-gnu")) is None


def docker(f: HostFacts) -> bool:
    return PlanClasses(parse_plan_classes(EXAMPLES)).usage("docker", f) is not None


def test_docker_on_unix() -> None:
    with_docker = {"docker_version": "28.3.3", "docker_type": 1}
    assert docker(facts(with_docker))
    assert not docker(facts())
    assert not docker(facts(with_docker, dont_use_docker=True))
    assert not docker(facts(with_docker, core_client_minor_version=0))
    assert not docker(facts({**with_docker, "os_name": "Darwin", "os_version": "22.6.0"}, core_client_release=5))


def test_docker_on_windows_is_in_a_distro() -> None:
    windows = {"os_name": "Microsoft Windows 11", "os_version": "(10.00.22631.00)", "docker_version": "9"}
    allowed, forbidden = WslDistro("U", docker_version="28"), WslDistro("U", docker_version="28", disallowed=True)
    assert docker(facts({**windows, "distros": [allowed]}))
    assert not docker(facts({**windows, "distros": [forbidden]}))
    assert not docker(facts({**windows, "distros": []}))
    assert not docker(facts({**windows, "distros": [allowed]}, dont_use_wsl=True))
    runner = WslDistro("boinc-buda-runner", distro_version=4)
    body = "<docker/><min_boinc_wsl_distro_version>4</min_boinc_wsl_distro_version>"
    assert one(body, facts({**windows, "distros": [runner]}))
    assert not one(body, facts({**windows, "distros": [allowed]}))


@pytest.mark.parametrize(("ram", "ncpus", "mb"), [(8000, 7, 7500), (4000, 3, 3500), (1000, None, 0)])
def test_memory_per_cpu(ram: float, ncpus: int | None, mb: int) -> None:
    body = ("<max_threads>16</max_threads><mem_usage_base_mb>500</mem_usage_base_mb>"
            "<mem_usage_per_cpu_mb>1000</mem_usage_per_cpu_mb>")
    got = one(body, facts(ram=ram * MB))
    if ncpus is None:
        assert got is None
    else:
        assert got is not None
        assert (got.avg_ncpus, got.mem_usage, got.cmdline) == (ncpus, mb * MB, f" --memory_size_mb {mb}")


@pytest.mark.parametrize(
    ("body", "host", "accepted"),
    [
        ("<cpu_feature>avx2</cpu_feature><cpu_feature>FMA</cpu_feature>", {"p_features": "SSE avx2 fma"}, True),
        ("<cpu_feature>avx</cpu_feature>", {"p_features": "avx2"}, False),
        ("<cpu_feature>pni</cpu_feature>", {"p_model": "X [Family 6] [fpu pni]"}, True),
        ("<os_regex>^Ubuntu 24</os_regex>", {}, True),
        ("<os_regex>ubuntu</os_regex>", {}, False),
        ("<min_os_version>60800</min_os_version>", {}, True),
        ("<min_os_version>60900</min_os_version>", {}, False),
        ("<max_os_version>99999</max_os_version>", {"os_version": "?"}, False),
        ("<min_libc_version>239</min_libc_version>", {}, True),
        ("<min_libc_version>240</min_libc_version>", {}, False),
        ("<min_android_version>40000</min_android_version>", {}, False),
        ("<min_android_version>40000</min_android_version>",
         {"os_name": "Android", "os_version": "3.4.0 (Android 4.4.2)"}, True),
        ("<cpu_vendor_regex>Intel</cpu_vendor_regex>", {"p_vendor": "GenuineIntel"}, True),
        ("<cpu_model_regex>i[57]</cpu_model_regex>", {"p_model": "Core i3"}, False),
        ("<min_core_client_version>80300</min_core_client_version>", {}, False),
        ("<max_core_client_version>70000</max_core_client_version>", {}, False),
        ("<user_id>8</user_id>", {}, False),
        ("<user_id>7</user_id>", {}, True),
        ("<disabled/>", {}, False),
        ("<min_ncpus>1.5</min_ncpus>", {}, True),
        ("<min_core_client_version>8.5</min_core_client_version>", {}, True),
        ("<wsl/>", {}, False),
    ],
)
def test_conditions(body: str, host: dict[str, Any], accepted: bool) -> None:
    assert (one(body, facts(host)) is not None) == accepted


def test_project_preference_condition() -> None:
    body = "<project_prefs_tag>big</project_prefs_tag><project_prefs_regex>yes</project_prefs_regex>"
    assert one(body, facts(prefs="<big>yes</big>"))
    assert not one(body, facts(prefs="<big>no</big>"))
    assert not one(body, facts())
    assert one(body + "<project_prefs_default_true/>", facts())


def nvidia(**values: Any) -> Coproc:
    made = Coproc("NVIDIA", "GTX", 1, peak_flops=2e12, major=7, minor=5, drvVersion=53523, cudaVersion=12020,
                  totalGlobalMem=8e9, opencl=OpenCL(opencl_device_version="OpenCL 3.0 CUDA", global_mem_size=8e9))
    for name, value in values.items():
        setattr(made, name, value)
    made.finish()
    return made


def test_gpu_class() -> None:
    got = PlanClasses(parse_plan_classes(EXAMPLES)).usage("opencl_nvidia_102", facts(coprocs=[nvidia()]))
    assert got is not None
    assert (got.proc_type, got.gpu_usage, got.gpu_ram) == (1, 1.0, 1024 * MB)
    # s2 = .2 * 2e12 = 4e11, f = .05, s1 = 4e9
    y = 0.05 * 4e11 + 0.95 * 4e9
    assert got.avg_ncpus == pytest.approx(0.05 * 4e11 / y)
    assert got.projected_flops == pytest.approx(4e9 * 4e11 / y)
    assert got.peak_flops == pytest.approx(4e11 + got.avg_ncpus * 4e9)
    assert PlanClasses(parse_plan_classes(EXAMPLES)).usage("opencl_nvidia_102", facts()) is None


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        ("<min_nvidia_compcap>705</min_nvidia_compcap>", True),
        ("<min_nvidia_compcap>800</min_nvidia_compcap>", False),
        ("<cuda/><min_cuda_version>12000</min_cuda_version>", True),
        ("<cuda/><min_cuda_version>13000</min_cuda_version>", False),
        ("<min_driver_version>53600</min_driver_version>", False),
        ("<min_gpu_ram_mb>9000</min_gpu_ram_mb>", False),
        ("<min_gpu_peak_flops>3e12</min_gpu_peak_flops>", False),
        ("<opencl/><min_opencl_version>301</min_opencl_version>", False),
        ("<opencl/><double_precision_fp/>", False),
    ],
)
def test_gpu_conditions(body: str, accepted: bool) -> None:
    assert (one(f"<gpu_type>nvidia</gpu_type>{body}", facts(coprocs=[nvidia()])) is not None) == accepted


def test_gpu_sharing() -> None:
    prefs = "<gpu_share>0.5</gpu_share>"
    body = "<gpu_type>nvidia</gpu_type><gpu_utilization_tag>gpu_share</gpu_utilization_tag>"
    got = one(body, facts(coprocs=[nvidia()], prefs=prefs))
    assert got is not None
    assert got.gpu_usage == 0.5
    got = one("<gpu_type>nvidia</gpu_type><ngpus>-1</ngpus><gpu_ram_used_mb>2000</gpu_ram_used_mb>",
              facts(coprocs=[nvidia()]))
    assert got is not None
    assert got.gpu_usage == pytest.approx(1 / 3)


def test_apple_gpus_by_either_name_and_generic_ones_never() -> None:
    apple = Coproc("apple_gpu", "M1", 1, peak_flops=2e12, metal_support=300)
    assert one("<gpu_type>apple</gpu_type>", facts(coprocs=[apple])).proc_type == 4  # type: ignore[union-attr]
    assert not one("<gpu_type>apple_gpu</gpu_type><min_metal_support>301</min_metal_support>", facts(coprocs=[apple]))
    assert not one("<gpu_type>tpu</gpu_type>", facts(coprocs=[Coproc("tpu", "", 1)]))


def test_tolerant_parsing() -> None:
    classes = parse_plan_classes(
        b"<?xml version='1.0'?><!-- c --><plan_classes><plan_class><name> a </name><min_opencl_version>102"
        b"<min_opencl_version><opencl></opencl><new_thing>1</new_thing><min_ncpus>0x2</min_ncpus></plan_class>"
        b"<plan_class><name>a</name><min_ncpus>9</min_ncpus></plan_class></plan_classes>")
    assert (classes["a"].min_opencl_version, classes["a"].opencl, classes["a"].min_ncpus) == (0, False, 2)


@pytest.mark.parametrize(
    "text",
    [b"", b"<classes></classes>", b"<plan_classes><plan_class><name>a</name></plan_classes>", b"<plan_classes>",
     b"<plan_classes><plan_class><name>a</name><os_regex>(</os_regex></plan_class></plan_classes>"],
)
def test_broken_files_are_refused_as_a_whole(text: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_plan_classes(text)


def test_a_broken_file_refuses_all_classes_but_not_plain_versions(tmp_path: Any) -> None:
    (tmp_path / "plan_class_spec.xml").write_text("<plan_classes>")
    classes = PlanClasses.load(tmp_path)
    assert classes.usage("mt", facts()) is None
    plain = classes.usage("", facts())
    assert plain is not None
    assert (plain.avg_ncpus, plain.peak_flops) == (1, 4e9)


@pytest.mark.parametrize(
    ("name", "f", "ncpus"),
    [
        ("mt", facts(), 8), ("mt", facts(ncpus=1), None), ("nci", facts(), 0.01),
        ("sse3", facts({"p_features": "SSE PNI"}), 1), ("sse3", facts(), None), ("wsl", facts(), None),
        ("vbox64_mt", facts({"virtualbox_version": "7.0.1", "p_features": "svm"}), 8),
        ("vbox64", facts({"virtualbox_version": "7.0.1"}), None),
        ("vbox32", facts({"virtualbox_version": "7.0.1"}), None),
        ("docker", facts({"docker_version": "28"}), 1), ("docker", facts(), None),
        ("cuda_fermi", facts(coprocs=[nvidia()]), 0.83), ("cuda", facts(coprocs=[nvidia()]), None),
        ("opencl_nvidia_301", facts(coprocs=[nvidia()]), None), ("unheard_of", facts(), None),
    ],
)
def test_built_in_classes(name: str, f: HostFacts, ncpus: float | None) -> None:
    got = PlanClasses().usage(name, f)
    if ncpus is None:
        assert got is None
    else:
        assert got is not None
        assert got.avg_ncpus == pytest.approx(ncpus, abs=0.35 if name == "cuda_fermi" else 1e-9)
