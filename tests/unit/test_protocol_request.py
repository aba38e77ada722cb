"""Parsing of scheduler requests: spec 01 sections 2.3, 3 and 6.1, dialects of three clients."""
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_world import change, example

from boincdock.protocol.scheduler_request import MalformedRequest, SchedulerRequest, parse_request


def parsed(text: str) -> SchedulerRequest:
    return parse_request(text.encode())


def wrap(inner: str) -> str:
    return f"<scheduler_request>\n{inner}\n</scheduler_request>\n"


def test_worked_example() -> None:
    r = parsed(example())
    assert (r.authenticator, r.hostid, r.rpc_seqno) == ("126d0d20108d69f199bbf73004aca92c", 17, 4)
    assert r.client_version == 80215
    assert (r.work_req_seconds, r.cpu_req_instances, r.estimated_delay) == (73440.0, 3.0, 0.0)
    assert r.platform_name == "x86_64-pc-linux-gnu"
    assert r.alt_platforms == ["i686-pc-linux-gnu"]
    assert r.code_sign_key.startswith("1024\neb0a68a3")
    assert r.code_sign_key.endswith("10001\n.")
    assert "<disk_max_used_pct>90.000000" in r.working_global_preferences
    assert (r.host.p_ncpus, r.host.p_fpops, r.host.last_ip_addr) == (4, 4123456789.0, "192.0.2.33")
    assert (r.host.docker_version, r.host.docker_type) == ("28.3.3", 1)
    assert (r.host.on_frac, r.host.connected_frac) == (0.9812, -1.0)
    assert (r.host.n_bwdown, r.host.d_boinc_used_total) == (5512345.0, 812345678.0)
    [result] = r.results
    assert (result.name, result.client_state, result.exit_status) == ("fold_000118_0", 5, 0)
    assert (result.cpu_time, result.elapsed_time, result.peak_working_set_size) == (3571.48, 3602.11, 314572800.0)
    assert result.stderr_out.startswith(b"<core_client_version>8.2.15</core_client_version>\n<![CDATA[\n<stderr_txt>")
    assert b"<md5_cksum>9bdab36abd4002a5ba799112841e27ee</md5_cksum>" in result.xml_doc_out
    assert [(v.app_name, v.version_num, v.plan_class, v.flops) for v in r.app_versions] == [
        ("fold", 105, "docker", 4123456789.0)
    ]
    assert r.has_other_results
    assert [(o.name, o.app_version, o.plan_class) for o in r.other_results] == [("fold_000121_1", 0, "docker")]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (b"hello", "no <scheduler_request>"),
        (b"<html></html>", "no <scheduler_request>"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 20, "no <scheduler_request>"),
        (b"<scheduler_request>\n<hostid>1</hostid>", "cut off"),
        (b"<scheduler_request><code_sign_key>1024", "no </code_sign_key>"),
    ],
)
def test_malformed(body: bytes, says: str) -> None:
    with pytest.raises(MalformedRequest, match=says):
        parse_request(body)


def test_cut_at_any_place_is_malformed_not_a_crash() -> None:
    body = example().encode()
    whole = body.rindex(b"</scheduler_request>")
    for cut in range(0, whole, 97):
        with pytest.raises(MalformedRequest):
            parse_request(body[:cut])


def test_xml_declaration_and_unknown_elements_are_skipped() -> None:
    r = parsed('<?xml version="1.0"?>\n' + wrap(
        "<new_thing><hostid>99</hostid><new_thing><a/></new_thing></new_thing><hostid>7</hostid><odd>"
    ))
    assert r.hostid == 7


def test_not_well_formed_text_is_taken_as_it_is() -> None:
    r = parsed(wrap("<host_info><domain_name>a & b <home></domain_name><p_ncpus>2</p_ncpus>"
                    "<p_model>&#195;&#169;X &lt;1&gt;</p_model></host_info><hostid>3</hostid>"))
    assert r.host.domain_name == "a & b <home>"
    assert r.host.p_model == "éX <1>"
    assert (r.host.p_ncpus, r.hostid) == (2, 3)


def test_bad_values_keep_their_default() -> None:
    r = parsed(wrap("<hostid>08</hostid><rpc_seqno>5.0</rpc_seqno><dont_send_work>true</dont_send_work>"
                    "<work_req_seconds>1,5</work_req_seconds><cpu_req_secs>nan</cpu_req_secs>"
                    "<host_info><p_ncpus>many</p_ncpus><m_nbytes>inf</m_nbytes></host_info>"))
    assert (r.hostid, r.rpc_seqno, r.dont_send_work, r.work_req_seconds, r.cpu_req_secs) == (0, 0, False, 0.0, 0.0)
    assert (r.host.p_ncpus, r.host.m_nbytes) == (1, 0.0)


@pytest.mark.parametrize(
    ("inner", "present", "count"),
    [("", False, 0), ("<other_results>\n</other_results>", True, 0), ("<other_results/>", True, 0),
     ("<other_results><other_result><name>a_0</name></other_result><other_result/></other_results>", True, 1)],
)
def test_list_of_held_jobs(inner: str, present: bool, count: int) -> None:
    r = parsed(wrap(inner))
    assert (r.has_other_results, len(r.other_results)) == (present, count)


def test_flags() -> None:
    r = parsed(wrap("<dont_use_docker/><dont_use_wsl>1</dont_use_wsl><client_cap_plan_class />"))
    assert r.dont_use_docker
    assert r.dont_use_wsl
    assert r.client_cap_plan_class


def test_app_version_positions_are_kept_for_unknown_entries() -> None:
    r = parsed(wrap("<app_versions><app_version></app_version><app_version><app_name>b</app_name><coproc>"
                    "<type>NVIDIA</type><count>0.5</count></coproc></app_version></app_versions>"))
    found = [(v.app_name, v.coproc_type, v.coproc_count) for v in r.app_versions]
    assert found == [("", "", 0.0), ("b", "NVIDIA", 0.5)]


def test_coprocs() -> None:
    r = parsed(wrap("""<coprocs><coproc_cuda><count>2</count><name>GTX <1></name><req_secs>100.0</req_secs>
        <peak_flops>4e12</peak_flops><major>8</major><minor>6</minor><drvVersion>53523</drvVersion>
        <cudaVersion>12020</cudaVersion><totalGlobalMem>8589934592.0</totalGlobalMem><have_opencl>1</have_opencl>
        <coproc_opencl><opencl_device_version>OpenCL 3.0 CUDA</opencl_device_version>
        <global_mem_size>8589934592</global_mem_size></coproc_opencl></coproc_cuda>
        <coproc_ati><count>1</count><CALVersion>1.4.1848</CALVersion><estimated_delay>5.0</estimated_delay></coproc_ati>
        <coproc><type>tpu</type><count>1</count></coproc></coprocs>"""))
    cuda, ati, tpu = r.coprocs
    assert (cuda.type_name, cuda.proc_type, cuda.count, cuda.compute_capability) == ("NVIDIA", 1, 2, 806)
    assert (cuda.opencl.version, cuda.drvVersion, cuda.cudaVersion) == (300, 53523, 12020)
    assert (cuda.estimated_delay, ati.estimated_delay) == (-1.0, 5.0)
    assert ati.cal_version == 10041848
    assert (tpu.type_name, tpu.proc_type, tpu.peak_flops) == ("tpu", None, 1e11)


def test_list_of_coprocs_is_bounded() -> None:
    many = "".join(f"<coproc><type>t{i}</type><count>1</count></coproc>" for i in range(50))
    assert len(parsed(wrap(f"<coprocs>{many}</coprocs>")).coprocs) == 8


def test_wsl_of_both_kinds_of_clients() -> None:
    new = parsed(wrap("<host_info><wsl><distro><distro_name>boinc-buda-runner</distro_name><distro_version>4"
                      "</distro_version><docker_version>28.1</docker_version><docker_type>2</docker_type><disallowed/>"
                      "</distro></wsl></host_info>"))
    [d] = new.host.distros
    assert (d.distro_name, d.distro_version, d.docker_type, d.disallowed) == ("boinc-buda-runner", 4, 2, True)
    old = parsed(wrap("<host_info><wsl><distro><distro_name>U</distro_name><name>Ubuntu</name><version>22</version>"
                      "<is_default>1</is_default></distro></wsl></host_info>"))
    assert (old.host.distros[0].os_name, old.host.distros[0].docker_version) == ("Ubuntu", "")


def test_global_preferences_of_7_20_5() -> None:
    r = parsed(wrap("<global_preferences>\n<mod_time>5</mod_time>\n</global_preferences>\n"
                    "<global_prefs_source_email_hash>abc</global_prefs_source_email_hash><cross_project_id></cross_project_id>"))
    assert (r.global_preferences, r.global_prefs_source_email_hash) == ("<mod_time>5</mod_time>", "abc")


def test_stderr_of_any_bytes_is_stored_and_cut() -> None:
    noise = "<stderr_out>\n<![CDATA[\n</result><result>&<x\n" + "y" * 70000 + "\n]]>\n</stderr_out>"
    [result] = parsed(wrap(f"<result><name>r_0</name>{noise}<state>5</state></result>")).results
    assert result.stderr_out.startswith(b"<![CDATA[\n</result><result>&<x")
    assert (len(result.stderr_out), result.client_state) == (65534, 5)


def test_trickle_keeps_all_lines_but_the_variety() -> None:
    r = parsed(wrap("<msg_from_host>\n      <result_name>r_0</result_name>\n      <time>12</time>\n"
                    "<variety>progress</variety>\n<x>1 < 2</x>\n  </msg_from_host>"))
    [t] = r.trickles
    assert t.variety == "progress"
    assert t.xml == "      <result_name>r_0</result_name>\n      <time>12</time>\n<x>1 < 2</x>\n  "


def test_authenticator_is_cut_at_a_quote() -> None:
    assert parsed(change(example(), authenticator="abc' OR 1=1 --")).authenticator == "abc"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8000), st.binary(min_size=0, max_size=12)), max_size=6))
def test_damaged_requests_parse_or_are_malformed(edits: list[tuple[int, bytes]]) -> None:
    body = bytearray(example().encode())
    for position, piece in edits:
        body[position : position + len(piece)] = piece
    try:
        parse_request(bytes(body))
    except MalformedRequest:
        pass
