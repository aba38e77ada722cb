"""The main flow of the scheduler on an in-memory project: spec 01 sections 5 and 6, 03 sections 2.2-2.3."""
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scheduler_world import CPID, EMAIL, HOST_CPID, KEY, NOW, PASSWD, World, change, elements, example, quiet

from boincdock.enums import Outcome, ServerState
from boincdock.errors import DatabaseError
from boincdock.scheduler.authenticate import md5_hex, public_cpid, rss_key, weak_key


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def no_key(text: str) -> str:
    """As a client that has no code-signing key yet, which is the only one every key rule accepts."""
    return change(text, code_sign_key=None)


def first_contact(**values: object) -> str:
    text = re.sub(r"<other_results>.*?</other_results>", "<other_results>\n</other_results>", quiet(no_key(example())),
                  flags=re.S)
    return change(text, **{"hostid": 0, "rpc_seqno": 0, **values})


# ---- the worked example


def test_worked_example(world: World) -> None:
    world.job(118, state=4, host=17, sent=NOW - 4000)
    world.job(121, state=4, host=17, sent=NOW - 1000, name="fold_000121_1")
    sent = world.job(130)
    reply = world.rpc(no_key(example()))
    assert elements(reply, "result_ack") == ["\n    <name>fold_000118_0</name>\n"]
    for tag, text in {
        "scheduler_version": "802", "master_url": "http://boinc.test/proj/", "request_delay": "7.000000",
        "project_name": "Bench Project", "userid": "42", "user_name": "Ada L", "user_total_credit": "1234.500000",
        "user_expavg_credit": "56.250000", "user_create_time": "1780000000",
        "email_hash": "5bfcf2d8e394674550332640d72db509", "cross_project_id": CPID,
        "external_cpid": "b22ec7dda0226b1af38a8249dab0367f", "host_total_credit": "321.000000", "host_venue": "home",
        "host_create_time": "1786900050", "teamid": "0", "report_deadline": str(NOW + 604800),
        "wu_name": "fold_000130", "rsc_fpops_est": "14800000000000.000000", "plan_class": "docker",
        "avg_ncpus": "1.000000", "flops": "4123456789.000000",
    }.items():
        assert elements(reply, tag)[0] == text, tag
    assert "<hostid>" not in reply
    places = [reply.index(f"<{tag}>") for tag in ("dont_use_dcf/", "app", "app_version", "workunit", "report_deadline")]
    assert places == sorted(places)
    assert "<result_abort>" not in reply
    row = world.result("fold_000118_0")
    assert (row["server_state"], row["outcome"], row["received_time"], row["validate_state"]) == (5, 1, NOW, 0)
    assert (row["cpu_time"], row["elapsed_time"]) == (3571.48, 3602.11)
    assert world.workunit_of(row)["transition_time"] == NOW
    assert (sent["server_state"], sent["hostid"], sent["userid"], sent["sent_time"]) == (4, 17, 42, NOW)
    assert (sent["report_deadline"], sent["app_version_id"]) == (NOW + 604800, 22)
    assert world.workunit_of(sent)["transition_time"] == NOW + 604800
    [hav] = world.repo.find("host_app_version", host_id=17)
    assert (hav["app_version_id"], hav["n_jobs_today"], hav["max_jobs_per_day"]) == (22, 1, 0)


def test_hashes() -> None:
    """Spec 01 section 9.3."""
    assert md5_hex(EMAIL) == "5bfcf2d8e394674550332640d72db509"
    assert public_cpid(CPID, EMAIL) == "b22ec7dda0226b1af38a8249dab0367f"
    assert public_cpid(HOST_CPID, EMAIL) == "f4e654f73c91716191b046cca185666f"
    assert weak_key(42, KEY, PASSWD) == "42_c1220638e517780364760945465c7897"
    assert rss_key(42, KEY, PASSWD) == "42_18db3a1423a251fe905fcccc55fe3ba5"


# ---- requests that are none


@pytest.mark.parametrize("body", [b"", b"garbage", b"\x89PNG\0\1\2" * 999, b"<scheduler_request>\n<hostid>1"])
def test_malformed_request_gets_a_nucleus_reply_and_touches_nothing(world: World, body: bytes) -> None:
    reply = world.rpc(body)
    assert reply.startswith("<scheduler_reply>\n<scheduler_version>802<")
    assert '<message priority="low">Incomplete or unreadable request' in reply
    assert "<userid>" not in reply
    assert world.repo.calls == []


def test_stop_file_gives_the_outage_reply(world: World, tmp_path: Path) -> None:
    (tmp_path / "stop_sched").touch()
    reply = world.rpc(example())
    assert "<project_is_down/>" in reply
    assert "<request_delay>3600.000000</request_delay>" in reply


@pytest.mark.parametrize("error", [DatabaseError("gone"), RuntimeError("bug")])
def test_a_failure_rolls_back_and_acknowledges_nothing(world: World, error: Exception) -> None:
    world.job(118, state=4, host=17, sent=NOW - 4000)
    world.repo.fail_on["update_host"] = error
    reply = world.rpc(no_key(example()))
    assert "<project_is_down/>" in reply
    assert "result_ack" not in reply
    assert "bug" not in reply
    assert world.result("fold_000118_0")["server_state"] == ServerState.IN_PROGRESS


# ---- who calls


@pytest.mark.parametrize(("hostid", "priority"), [(0, "low"), (17, "notice"), (9999, "low")])
def test_bad_account_key(world: World, hostid: int, priority: str) -> None:
    reply = world.rpc(change(example(), authenticator="f" * 32, hostid=hostid))
    assert f'<message priority="{priority}">Invalid or missing account key' in reply
    assert "<request_delay>3600.000000</request_delay>" in reply
    assert "<userid>" not in reply


def test_first_contact_makes_a_host_and_sends_id_and_key(world: World) -> None:
    world.repo.tables["host"].clear()
    reply = world.rpc(first_contact())
    [host] = world.repo.tables["host"]
    assert elements(reply, "hostid") == [str(host["id"])]
    assert elements(reply, "code_sign_key")[0].strip() == world.key.text
    assert (host["userid"], host["rpc_seqno"], host["venue"], host["create_time"]) == (42, 0, "home", NOW)
    assert host["host_cpid"] == "f4e654f73c91716191b046cca185666f"
    assert host["external_ip_addr"] == "192.0.2.33"
    again = world.rpc(first_contact(hostid=host["id"], rpc_seqno=1))
    assert "<hostid>" not in again
    assert host["id"] == world.repo.tables["host"][0]["id"]
    assert world.repo.tables["host"][0]["rpc_seqno"] == 1


def test_first_contact_of_a_known_machine_finds_its_host_and_abandons_its_jobs(world: World) -> None:
    job = world.job(118, state=4, host=17, sent=NOW - 4000)
    reply = world.rpc(first_contact())
    assert elements(reply, "hostid") == ["17"]
    job = world.result("fold_000118_0")
    assert (job["server_state"], job["outcome"], job["received_time"]) == (5, Outcome.CLIENT_DETACHED, NOW)
    assert world.workunit_of(job)["transition_time"] == NOW
    assert world.host_row()["rpc_seqno"] == 0


def test_several_clients_on_one_machine_keep_their_jobs(world: World) -> None:
    world.job(118, state=4, host=17, sent=NOW - 4000)
    world.rpc(first_contact(allow_multiple_clients=1))
    assert world.result("fold_000118_0")["server_state"] == 4


@pytest.mark.parametrize(("seqno", "same"), [(5, True), (6, True), (4, False)])
def test_rpc_seqno(world: World, seqno: int, same: bool) -> None:
    """Spec 01 section 9.4: stored 5."""
    world.host["rpc_seqno"] = 5
    reply = world.rpc(change(no_key(example()), rpc_seqno=seqno))
    if same:
        assert "<hostid>" not in reply
        assert world.host_row()["rpc_seqno"] == seqno
    else:
        [new] = [int(x) for x in elements(reply, "hostid")]
        assert new != 17
        assert world.host_row(new)["rpc_seqno"] == 0
        assert world.host_row()["rpc_seqno"] == 5


def test_copied_client_finds_a_similar_host(world: World) -> None:
    world.host.update(rpc_seqno=9)
    twin = world.repo.add("host", id=30, userid=42, domain_name="bench-03", last_ip_addr="192.0.2.33",
                          os_name="Linux Ubuntu", m_nbytes=16682045440.0, p_model=world.host["p_model"])
    reply = world.rpc(no_key(example()))
    assert elements(reply, "hostid") == [str(twin["id"])]


def test_foreign_host_id_gets_a_host_of_its_own(world: World) -> None:
    other = world.repo.add("user", id=43, email_addr="bob@example.org", authenticator="b" * 32, name="Bob")
    reply = world.rpc(change(no_key(example()), authenticator="b" * 32))
    [new] = [int(x) for x in elements(reply, "hostid")]
    assert new != 17
    assert world.host_row(new)["userid"] == other["id"]
    assert world.host_row()["userid"] == 42
    assert world.host_row()["rpc_seqno"] == 3


def test_merged_host_is_followed_and_a_cycle_ends(world: World) -> None:
    world.repo.add("host", id=5, userid=0, rpc_seqno=6)
    world.repo.add("host", id=6, userid=0, rpc_seqno=17)
    reply = world.rpc(change(no_key(example()), hostid=5))
    assert elements(reply, "hostid") == ["17"]
    assert world.host_row()["rpc_seqno"] == 0
    world.repo.add("host", id=7, userid=0, rpc_seqno=8)
    world.repo.add("host", id=8, userid=0, rpc_seqno=7)
    assert "<userid>42</userid>" in world.rpc(change(no_key(example()), hostid=7))


def test_weak_key_works_but_cannot_change_the_account_or_see_the_strong_key(world: World, tmp_path: Path) -> None:
    (tmp_path / "gui_urls.xml").write_text("<gui_urls><a><authenticator/></a><w><weak_auth/></w></gui_urls>")
    weak = weak_key(42, KEY, PASSWD)
    world.rpc(change(no_key(example()), authenticator=weak, cross_project_id="a" * 32))
    assert world.repo.find("user", id=42)[0]["cross_project_id"] == CPID
    world.scheduler = world.make_scheduler()
    reply = world.rpc(change(first_contact(), authenticator=weak))
    assert KEY not in reply
    assert weak in reply
    assert "<userid>42</userid>" in reply


def test_cross_project_id_is_adopted_but_the_old_one_is_shown(world: World) -> None:
    reply = world.rpc(change(no_key(example()), cross_project_id="a" * 32))
    assert elements(reply, "cross_project_id") == [CPID]
    assert world.repo.find("user", id=42)[0]["cross_project_id"] == "a" * 32
    world.rpc(change(no_key(example()), rpc_seqno=5, cross_project_id="'; DROP"))
    assert world.repo.find("user", id=42)[0]["cross_project_id"] == "a" * 32


def test_blacklisted_host(world: World) -> None:
    world.host["max_results_day"] = -1
    reply = world.rpc(no_key(example()))
    assert "not allowed" in reply
    assert "<request_delay>86400.000000</request_delay>" in reply
    assert "<userid>" not in reply


def test_unsupported_platform_takes_no_results(world: World) -> None:
    world.job(118, state=4, host=17, sent=NOW - 4000)
    reply = world.rpc(change(no_key(example()), platform_name="vax-vms", name="pdp11"))
    assert '<message priority="notice">This project doesn\'t support computers of type vax-vms' in reply
    assert "result_ack" not in reply
    assert world.result("fold_000118_0")["server_state"] == 4


def test_concurrent_request_of_one_host_is_refused(world: World) -> None:
    job = world.job(130)
    real = world.repo.hav_rows

    def meanwhile(hostid: int) -> list:
        world.host_row()["rpc_seqno"] = 99
        return real(hostid)

    world.repo.hav_rows = meanwhile  # type: ignore[method-assign]
    reply = world.rpc(no_key(example()))
    assert "Another request of this computer" in reply
    assert "<request_delay>60.000000</request_delay>" in reply
    assert world.result(job["name"])["server_state"] == 2


# ---- host row and preferences


def test_host_row_is_updated(world: World) -> None:
    world.rpc(no_key(example()))
    host = world.host_row()
    assert (host["rpc_time"], host["rpc_seqno"], host["domain_name"]) == (NOW, 4, "bench-03")
    assert (host["p_ncpus"], host["m_nbytes"], host["d_boinc_max"]) == (4, 16682045440.0, 160000000000.0)
    assert (host["venue"], host["total_credit"], host["create_time"]) == ("home", 321.0, 1786900050)
    assert json.loads(host["misc"]) == {"client_version": "8.2.15", "docker": {"version": "28.3.3", "type": 1}}
    assert host["nsame_ip_addr"] == 0
    world.now += 60
    world.rpc(change(no_key(example()), rpc_seqno=5))
    assert world.host_row()["nsame_ip_addr"] == 1


def test_misc_is_json_whatever_the_client_calls_its_gpu(world: World) -> None:
    gpu = ('<coprocs><coproc_cuda><count>2</count><name>A"\\B</name><drvVersion>53523</drvVersion><have_opencl>1'
           "</have_opencl><peak_flops>1e12</peak_flops><totalGlobalMem>8589934592</totalGlobalMem><coproc_opencl>"
           "<opencl_device_version>OpenCL 3.0 CUDA</opencl_device_version></coproc_opencl></coproc_cuda></coprocs>")
    world.rpc(no_key(example()).replace("</scheduler_request>", f"{gpu}<dont_use_docker/></scheduler_request>"))
    misc = json.loads(world.host_row()["misc"])
    assert misc["gpus"] == [{"type": "nvidia", "model": 'A"\\B', "count": 2, "ram_mb": 8192,
                             "driver_version": "53523", "opencl_version": "300"}]
    assert misc["config"] == {"dont_use_docker": True, "dont_use_wsl": False}
    assert (world.host_row()["p_ngpus"], world.host_row()["p_gpu_fpops"]) == (2, 2e12)


PREFS = "<global_preferences>\n<mod_time>{}</mod_time>\n<max_ncpus_pct>50</max_ncpus_pct>\n</global_preferences>\n"


@pytest.mark.parametrize(("stored", "sent"), [(1787000001, True), (1786999999, False), (0, False)])
def test_stored_preferences_go_out_when_newer(world: World, stored: int, sent: bool) -> None:
    world.user["global_prefs"] = PREFS.format(stored)
    reply = world.rpc(no_key(example()))
    assert (PREFS.format(stored).strip() in reply) == sent


@pytest.mark.parametrize(
    ("email", "mod_time", "stored"), [(EMAIL, 200, True), ("x@y.z", 200, False), (EMAIL, 50, False)]
)
def test_preferences_of_7_20_5_are_stored_when_ours_and_newer(world: World, email: str, mod_time: int,
                                                             stored: bool) -> None:
    world.user["global_prefs"] = PREFS.format(100)
    tag = "global_prefs_source_email_hash"
    extra = PREFS.format(mod_time) + f"<{tag}>{md5_hex(email)}</{tag}>"
    world.rpc(no_key(example()).replace("<cross_project_id>", extra + "<cross_project_id>"))
    assert (f"<mod_time>{mod_time}</mod_time>" in world.repo.find("user", id=42)[0]["global_prefs"]) == stored


def test_project_preferences_are_echoed_verbatim(world: World) -> None:
    world.user["project_prefs"] = "<project_preferences>\n<resource_share>30</resource_share>\n</project_preferences>\n"
    assert world.user["project_prefs"].strip() in world.rpc(no_key(example()))


# ---- reports


@pytest.mark.parametrize(
    ("state", "exit_status", "outcome", "validate", "quota"),
    [(5, "0", 1, 0, 100), (5, "195", 3, 2, 99), (3, "0", 3, 2, 99), (3, "-1073741819", 3, 2, 99), (6, "203", 3, 2, 99),
     (6, "202", 3, 2, 100), (0, "-186", 3, 2, 99), (5, None, 1, 0, 100)],
)
def test_report_classification(tmp_path: Path, state: int, exit_status: str | None, outcome: int, validate: int,
                               quota: int) -> None:
    """Spec 03 section 22.2."""
    world = World(tmp_path, daily_result_quota=100)
    world.job(118, state=4, host=17, sent=NOW - 4000)
    world.repo.add("host_app_version", host_id=17, app_version_id=22, max_jobs_per_day=100, consecutive_valid=5)
    text = change(no_key(example()), state=state, exit_status=exit_status)
    reply = world.rpc(text)
    row = world.result("fold_000118_0")
    assert (row["server_state"], row["outcome"], row["validate_state"]) == (5, outcome, validate)
    [hav] = world.repo.find("host_app_version", host_id=17)
    assert hav["max_jobs_per_day"] == quota
    assert hav["consecutive_valid"] == (5 if quota == 100 else 0)
    assert "<name>fold_000118_0</name>" in elements(reply, "result_ack")[0]


@pytest.mark.parametrize(
    ("before", "accepted"),
    [
        ({"server_state": 4}, True),
        ({"server_state": 5, "outcome": 4}, True),
        ({"server_state": 5, "outcome": 1}, False),
        ({"server_state": 5, "outcome": 3}, False),
        ({"server_state": 5, "outcome": 5}, False),
        ({"server_state": 5, "outcome": 7, "received_time": 5}, False),
        ({"server_state": 2}, False),
        ({"server_state": 1}, False),
        ({"server_state": 4, "received_time": 7}, False),
        ({"server_state": 4, "hostid": 18}, True),
        ({"server_state": 4, "hostid": 19}, False),
        ({"server_state": 4, "hostid": 404}, False),
    ],
)
def test_what_is_taken_in_and_that_all_is_acknowledged(world: World, before: dict[str, int], accepted: bool) -> None:
    """Spec 01 section 5.6 (table)."""
    world.repo.add("host", id=18, userid=42)
    world.repo.add("host", id=19, userid=43)
    world.job(118, state=4, host=17, sent=NOW - 4000)
    world.result("fold_000118_0").update(before)
    old = dict(world.result("fold_000118_0"))
    reply = world.rpc(change(no_key(example()), dont_send_work=1))
    row = world.result("fold_000118_0")
    assert (row["received_time"] == NOW) == accepted
    if accepted:
        assert (row["hostid"], row["outcome"]) == (17, 1)
    else:
        assert {k: row[k] for k in ("server_state", "outcome", "hostid")} == {
            k: old[k] for k in ("server_state", "outcome", "hostid")
        }
    assert "<name>fold_000118_0</name>" in elements(reply, "result_ack")[0]


def test_unknown_name_is_acknowledged_and_the_first_of_two_counts(world: World) -> None:
    world.job(118, state=4, host=17, sent=NOW - 4000)
    second = "<result><name>fold_000118_0</name><state>3</state><exit_status>1</exit_status></result>"
    strange = "<result><name>download_x</name><state>5</state></result>"
    reply = world.rpc(no_key(example()).replace("<app_versions>", second + strange + "<app_versions>"))
    assert world.result("fold_000118_0")["outcome"] == 1
    acks = [e.strip() for e in elements(reply, "result_ack")]
    assert acks == ["<name>fold_000118_0</name>", "<name>download_x</name>"]


def test_repeated_report_is_idempotent_and_resends_jobs_of_the_lost_reply(world: World) -> None:
    world.config.resend_lost_results = False
    world.job(118, state=4, host=17, sent=NOW - 4000)
    world.job(121, state=4, host=17, sent=NOW - 1000, name="fold_000121_1")
    sent = world.job(130)
    world.rpc(no_key(example()))
    before = dict(world.result("fold_000118_0"))
    world.now += 30
    reply = world.rpc(change(no_key(example()), rpc_seqno=5))
    assert world.result("fold_000118_0") == before
    assert f"<name>{sent['name']}</name>" in elements(reply, "result")[-1]
    assert "Resent lost task fold_000130_0" in reply


def test_report_limits_leave_the_rest_unacknowledged(tmp_path: Path) -> None:
    world = World(tmp_path, max_results_accepted=1)
    world.job(118, state=4, host=17, sent=NOW - 4000)
    world.job(119, state=4, host=17, sent=NOW - 4000)
    more = "<result><name>fold_000119_0</name><state>5</state></result>"
    reply = world.rpc(no_key(example()).replace("<app_versions>", more + "<app_versions>"))
    assert len(elements(reply, "result_ack")) == 1
    assert world.result("fold_000119_0")["server_state"] == 4


def test_success_stderr_is_dropped_if_configured(tmp_path: Path) -> None:
    world = World(tmp_path, dont_store_success_stderr=True)
    world.job(118, state=4, host=17, sent=NOW - 4000)
    world.rpc(no_key(example()))
    assert world.result("fold_000118_0")["stderr_out"] == b""


# ---- aborts, messages, files


@pytest.mark.parametrize(
    ("result", "wu", "tag"),
    [
        (None, {}, "result_abort"),
        ({"state": 4, "host": 18}, {}, "result_abort"),
        ({"state": 4, "host": 17}, {}, ""),
        ({"state": 4, "host": 17}, {"error_mask": 16, "assimilate_state": 2}, "result_abort"),
        ({"state": 4, "host": 17}, {"assimilate_state": 2}, "result_abort_if_not_started"),
        ({"state": 5, "host": 17, "outcome": 4}, {}, "result_abort_if_not_started"),
        ({"state": 5, "host": 17, "outcome": 1}, {}, "result_abort"),
    ],
)
def test_aborts(world: World, result: dict | None, wu: dict, tag: str) -> None:
    """Spec 01 section 9.4."""
    if result is not None:
        world.job(121, wu=wu, **{"name": "fold_000121_1", "sent": NOW - 1000, **result})
    reply = world.rpc(quiet(no_key(example())))
    for name in ("result_abort", "result_abort_if_not_started"):
        assert len(elements(reply, name)) == (name == tag), name


def test_trickles(tmp_path: Path) -> None:
    world = World(tmp_path, msg_to_host=True)
    up = ("<msg_from_host>\n<result_name>r_0</result_name>\n<time>12</time>\n<variety>v</variety>\nhello\n"
          "</msg_from_host>\n")
    world.repo.add("msg_to_host", hostid=17, xml="<trickle_down>\n<result_name>r_0</result_name>\nx\n</trickle_down>\n")
    text = no_key(example()).replace("<app_versions>", up + "<app_versions>")
    reply = world.rpc(text)
    assert "<message_ack/>" in reply
    assert "<trickle_down>\n<result_name>r_0</result_name>\nx\n</trickle_down>" in reply
    world.rpc(change(text, rpc_seqno=5))
    [row] = world.repo.tables["msg_from_host"]
    assert (row["hostid"], row["variety"], row["handled"]) == (17, "v", 0)
    assert row["xml"] == "<result_name>r_0</result_name>\n<time>12</time>\nhello\n"
    assert world.repo.tables["msg_to_host"][0]["handled"] == 1


def test_sticky_files_matching_a_pattern_are_deleted(world: World, tmp_path: Path) -> None:
    (tmp_path / "file_delete_regex").write_text("^old_.*\n(\n")
    files = "<file_info><name>old_1</name></file_info><file_info><name>new_1</name></file_info>"
    reply = world.rpc(no_key(example()).replace("<app_versions>", files + "<app_versions>"))
    assert elements(reply, "delete_file_info") == ["old_1"]


# ---- clients that may not have work


@pytest.mark.parametrize(
    "options",
    [{"min_core_client_version": 80300}, {"ban_os": [re.compile("Ubuntu 24")]}, {"ban_cpu": [re.compile("^Genu")]}],
)
def test_refused_clients_may_still_report(tmp_path: Path, options: dict) -> None:
    world = World(tmp_path, **options)
    world.job(118, state=4, host=17, sent=NOW - 4000)
    world.job(130)
    reply = world.rpc(no_key(example()))
    assert '<message priority="notice">' in reply
    assert "<request_delay>86400.000000</request_delay>" in reply
    assert "<result_ack>" in reply
    assert "<workunit>" not in reply
    world.repo.calls.clear()
    assert "<userid>" not in world.rpc(quiet(no_key(example())))
    assert "update_host" not in world.repo.calls


def test_request_too_recent_still_reports(world: World) -> None:
    world.host["rpc_time"] = NOW - 3
    world.job(118, state=4, host=17, sent=NOW - 4000)
    world.job(130)
    reply = world.rpc(no_key(example()))
    assert "too recent" in reply
    assert "<workunit>" not in reply
    assert world.result("fold_000118_0")["server_state"] == 5


def test_unknown_code_signing_key_means_no_work(world: World) -> None:
    world.job(130)
    reply = world.rpc(quiet(example()))
    assert "remove and add this project" in reply
    assert "<workunit>" not in reply
    current = change(quiet(example()), code_sign_key=f"\n{world.key.text}\n", rpc_seqno=5)
    world.now += 60
    reply = world.rpc(current)
    assert "<workunit>" in reply
    assert "<code_sign_key>" not in reply


def test_no_work_asked_none_sent_and_no_key_offered(world: World) -> None:
    world.job(130)
    reply = world.rpc(change(quiet(no_key(example())), dont_send_work=1))
    assert "<workunit>" not in reply
    assert "<code_sign_key>" not in reply
    assert "<message" not in reply
