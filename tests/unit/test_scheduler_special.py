"""Jobs outside the ranking, scores, windows, BUDA, records (spec 02 sections 8, 10, 12, 14; 01 sections 3.1, 5.3)."""
from __future__ import annotations

import json
import logging
import random
import re
from pathlib import Path
from typing import Any

import pytest
from scheduler_world import KEY, LINUX, NOW, VERSION_XML, WU_XML, World, change, elements, example, quiet

from boincdock.scheduler.buda import cpu_type
from boincdock.scheduler.choose import size_score
from boincdock.scheduler.failed_keys import LIMIT
from boincdock.scheduler.model import App
from boincdock.scheduler.window import ANY_HOST, HostKind, JobWindows, sticky_files

TEMPLATE = """<output_template>
<file_info><name><OUTFILE_0/></name><generated_locally/><upload_when_present/><max_nbytes>5000000</max_nbytes>
<url><UPLOAD_URL/></url></file_info>
<result><file_ref><file_name><OUTFILE_0/></file_name><open_name>out</open_name></file_ref></result>
</output_template>
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "out").write_text(TEMPLATE)
    return World(tmp_path, enable_assignment=True, enable_assignment_multi=True, min_sendwork_interval=0,
                 dont_generate_upload_certificates=True, upload_url="http://boinc.test/proj_cgi/file_upload_handler")


def ask(**values: Any) -> str:
    text = re.sub(r"<other_results>.*?</other_results>", "", quiet(example()), flags=re.S)
    return change(text, **{"code_sign_key": None, **values})


def names(reply: str) -> list[str]:
    return re.findall(r"<wu_name>.*?</wu_name>\s*<name>(.*?)</name>", reply)


def assigned(world: World, name: str, target_type: int, target_id: int, multi: int = 0, **wu: Any) -> dict[str, Any]:
    values = {"appid": 3, "name": name, "xml_doc": WU_XML, "transitioner_flags": 1 if multi else 2,
              "result_template_file": "templates/out", "rsc_disk_bound": 1e8, **wu}
    row = world.repo.add("workunit", **values)
    world.repo.add("assignment", target_type=target_type, target_id=target_id, multi=multi, workunitid=row["id"])
    return row


# ---- 02 section 14


@pytest.mark.parametrize(("target_type", "target_id", "sent"), [(1, 17, True), (2, 42, True), (3, 9, True),
                                                                (1, 18, False), (2, 43, False), (3, 8, False)])
def test_targeted_jobs_go_to_their_user_host_or_team(world: World, target_type: int, target_id: int,
                                                     sent: bool) -> None:
    world.repo.add("team", id=9, name="Team")
    world.user["teamid"] = 9
    wu = assigned(world, "target", target_type, target_id)
    world.job(130)
    reply = world.rpc(ask(cpu_req_instances=1, cpu_req_secs=1))
    if not sent:
        assert names(reply) == ["fold_000130_0"]
        return
    # A targeted job ends the sending: the ordinary one stays.
    [name] = names(reply)
    assert re.fullmatch(r"target_[0-9a-f]{10}", name)
    row = world.result(name)
    assert (row["server_state"], row["hostid"], row["userid"], row["sent_time"]) == (4, 17, 42, NOW)
    assert row["report_deadline"] == NOW + 86400
    assert "file_upload_handler</url>" in reply
    assert world.repo.find("workunit", id=wu["id"])[0]["transition_time"] == NOW + 86400


def test_a_targeted_job_is_not_sent_twice_to_a_host(world: World) -> None:
    assigned(world, "target", 2, 42, target_nresults=2)
    assert len(names(world.rpc(ask()))) == 1
    world.now += 60
    assert names(world.rpc(ask(rpc_seqno=5))) == []


@pytest.mark.parametrize("wu", [{"error_mask": 16}, {"need_validate": 1}, {"canonical_resultid": 3},
                                {"transition_time": 5}, {"transitioner_flags": 0}])
def test_targeted_jobs_that_need_no_instance_now(world: World, wu: dict[str, int]) -> None:
    assigned(world, "target", 2, 42, **wu)
    assert names(world.rpc(ask())) == []
    assert world.repo.find("result") == []


@pytest.mark.parametrize(("state", "outcome", "validate", "sent"), [(2, 0, 0, False), (4, 0, 0, False),
                                                                    (5, 1, 0, False), (5, 1, 2, True), (5, 3, 0, True)])
def test_targeted_instances_are_counted(world: World, state: int, outcome: int, validate: int, sent: bool) -> None:
    wu = assigned(world, "target", 2, 42)
    world.repo.add("result", workunitid=wu["id"], name="target_0", appid=3, server_state=state, outcome=outcome,
                   validate_state=validate, hostid=99)
    assert bool(names(world.rpc(ask()))) == sent


def test_assignment_of_a_vanished_workunit_is_deleted(world: World) -> None:
    world.repo.add("assignment", target_type=2, target_id=42, workunitid=12345)
    world.rpc(ask())
    assert world.repo.find("assignment") == []


@pytest.mark.parametrize("template", ["templates/none", "../../etc/passwd", ""])
def test_a_bad_result_template_leaves_nothing_behind(world: World, template: str) -> None:
    assigned(world, "target", 2, 42, result_template_file=template)
    world.job(130)
    assert names(world.rpc(ask(cpu_req_instances=1, cpu_req_secs=1))) == ["fold_000130_0"]
    assert len(world.repo.find("result")) == 1


def test_a_failed_claim_takes_the_new_instance_back(world: World) -> None:
    assigned(world, "target", 2, 42, xml_doc=b"broken")
    assert names(world.rpc(ask())) == []
    assert world.repo.find("result") == []


def test_only_my_own_jobs(world: World) -> None:
    world.user["seti_id"] = 1
    world.job(130)
    reply = world.rpc(ask())
    assert names(reply) == []
    assert "only jobs meant for it" in reply
    assigned(world, "target", 2, 42)
    world.now += 60
    assert len(names(world.rpc(ask(rpc_seqno=5)))) == 1


@pytest.mark.parametrize(("target_type", "target_id", "sent"), [(0, 0, True), (2, 42, True), (1, 16, False)])
def test_broadcast_jobs_go_once_to_every_host(world: World, target_type: int, target_id: int, sent: bool) -> None:
    wu = assigned(world, "all", target_type, target_id, multi=1)
    world.repo.add("result", workunitid=wu["id"], name="all_x", appid=3, server_state=4, hostid=99)
    assert len(names(world.rpc(ask()))) == int(sent)
    world.now += 60
    assert names(world.rpc(ask(rpc_seqno=5))) == []


def test_assignments_are_off_by_default(tmp_path: Path) -> None:
    world = World(tmp_path)
    assigned(world, "target", 2, 42)
    assert names(world.rpc(ask())) == []


def test_nci_job_is_sent_without_being_asked_for_and_once(world: World) -> None:
    world.repo.add("app", id=7, name="sense", non_cpu_intensive=1)
    world.repo.add("app_version", id=70, appid=7, version_num=1, platformid=world.linux["id"], xml_doc=VERSION_XML)
    for n in (400, 401):
        world.job(n, wu={"appid": 7}, appid=7)
    nothing = {"work_req_seconds": 0, "cpu_req_secs": 0, "cpu_req_instances": 0}
    reply = world.rpc(ask(**nothing))
    assert names(reply) == ["fold_000400_0"]
    assert "<non_cpu_intensive>1</non_cpu_intensive>" in reply
    held = "<other_results><other_result><name>fold_000400_0</name></other_result></other_results>"
    again = world.rpc(ask(**nothing, rpc_seqno=5).replace("</scheduler_request>", held + "</scheduler_request>"))
    assert names(again) == []
    assert "No tasks sent" not in again


# ---- 02 sections 10 and 12: who gets which job


def reliable(world: World, **hav: Any) -> None:
    world.repo.add("host_app_version", host_id=17, app_version_id=22, **{"consecutive_valid": 10, "turnaround_n": 11.0,
                                                                        "turnaround_avg": 900.0, **hav})


@pytest.mark.parametrize(("hav", "sent"), [({}, True), ({"consecutive_valid": 9}, False),
                                           ({"turnaround_avg": 1e4}, False),
                                           ({"turnaround_avg": 1e4, "turnaround_n": 10.0}, True)])
def test_reliable_hosts_get_the_jobs_that_need_them(world: World, hav: dict[str, Any], sent: bool) -> None:
    world.config.reliable_on_priority, world.config.reliable_max_avg_turnaround = 5, 1000
    reliable(world, **hav)
    world.job(130, priority=5)
    assert bool(names(world.rpc(ask()))) == sent


def test_reliable_hosts_get_a_shorter_deadline(world: World) -> None:
    world.config.reliable_on_priority, world.config.reliable_reduced_delay_bound = 5, 0.4
    reliable(world)
    world.job(130, priority=5, wu={"delay_bound": 100000})
    world.job(131, priority=4, wu={"delay_bound": 100000})
    reply = world.rpc(ask(cpu_req_instances=2, cpu_req_secs=1))
    assert elements(reply, "report_deadline") == [str(NOW + 40000), str(NOW + 100000)]


@pytest.mark.parametrize("where", ["request", "file"])
def test_keywords_score_and_refuse(world: World, where: str) -> None:
    world.config.keyword_sched = True
    world.job(200)
    world.job(201, wu={"keywords": "7 8"})
    world.job(202, wu={"keywords": "8 9"})
    text = ask(cpu_req_instances=3, cpu_req_secs=1)
    if where == "request":
        text = text.replace("</scheduler_request>",
                            "<user_keywords><yes>7</yes><yes>8</yes><no>9</no></user_keywords></scheduler_request>")
    else:
        (world.project.dir / "kw_prefs").mkdir()
        (world.project.dir / "kw_prefs" / "42").write_text("7 8\n9\n")
    reply = world.rpc(text)
    assert names(reply) == ["fold_000201_0", "fold_000200_0"]
    assert elements(reply, "job_keyword_ids") == ["7 8"]


@pytest.mark.parametrize(("flag", "sent"), [(1.0, True), (0.0, False)])
def test_batch_accel_gives_urgent_jobs_to_quick_hosts(world: World, flag: float, sent: bool) -> None:
    world.config.batch_accel = True
    world.repo.find("app", id=3)[0]["n_size_classes"] = 1
    world.host["error_rate"] = flag
    world.job(130, priority=1)
    assert bool(names(world.rpc(ask()))) == sent


@pytest.mark.parametrize(("speed", "host_class"), [(5e8, 0), (1e9, 1), (6e9, 2)])
def test_size_class_of_a_host(speed: float, host_class: int) -> None:
    """Spec 02 section 19."""
    scores = {0: [5.0, -1.0, -1.0], 1: [-2.0, 5.0, -1.0], 2: [-2.0, -2.0, 5.0]}
    assert [size_score(c, (1e9, 5e9), 3, speed) for c in range(3)] == scores[host_class]


def test_size_classes_are_read_from_the_census(world: World) -> None:
    world.config.size_classes = True
    world.repo.find("app", id=3)[0]["n_size_classes"] = 3
    (world.project.dir / "size_census_fold").write_text("1e9\n1e12\n")
    for n, size in ((200, 0), (201, 1), (202, 2)):
        world.job(n, wu={"size_class": size})
    # About 4.04e9 FLOPS.
    assert names(world.rpc(ask(cpu_req_instances=3, cpu_req_secs=1))) == ["fold_000201_0", "fold_000202_0",
                                                                         "fold_000200_0"]


def test_missing_size_census_is_logged_and_work_goes_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.config.size_classes = True
    world.repo.find("app", id=3)[0]["n_size_classes"] = 3
    world.job(200)
    logging.getLogger("boincdock").propagate = True
    assert names(world.rpc(ask())) == ["fold_000200_0"]
    assert "size_census_fold" in caplog.text


def test_locality_lite_prefers_jobs_whose_sticky_files_the_host_has(world: World) -> None:
    world.repo.find("app", id=3)[0]["locality_scheduling"] = 1
    for n in (200, 201, 202):
        doc = WU_XML.replace(b"fold_000130_in", b"data_%d" % n).replace(b"</nbytes>", b"</nbytes><sticky/>")
        world.job(n, wu={"xml_doc": doc})
    text = ask(cpu_req_instances=1, cpu_req_secs=1).replace(
        "</scheduler_request>", "<file_info><name>data_201</name><status>1</status></file_info></scheduler_request>")
    assert names(world.rpc(text)) == ["fold_000201_0"]
    both = "<file_info><name>data_2010</name><sticky/></file_info><file_info><name>b</name></file_info>"
    assert sticky_files(both) == {"data_2010"}


# ---- 02 section 18: clogging


def test_jobs_of_another_hr_class_do_not_hide_the_hosts_own(world: World) -> None:
    world.repo.find("app", id=3)[0]["homogeneous_redundancy"] = 1
    world.scheduler.windows = JobWindows(window=20, head=50)
    for n in range(300):
        world.job(1000 + n, wu={"hr_class": 387})
    world.job(2000, wu={"hr_class": 277})
    assert names(world.rpc(ask())) == ["fold_002000_0"]


def test_a_long_queue_for_others_is_searched_over_several_looks(world: World) -> None:
    windows, repo = JobWindows(window=20, head=10), world.repo
    for n in range(120):
        world.job(1000 + n, wu={"hr_class": 387})
    last = world.job(2000, wu={"hr_class": 277})
    app, kind = App(3, "fold"), HostKind(277)
    assert windows.jobs(repo, app, kind, 0.0) == []
    assert [j.resultid for j in windows.jobs(repo, app, kind, 3.0)] == [last["id"]]


def test_jobs_committed_to_another_platforms_version_do_not_clog(world: World) -> None:
    world.repo.find("app", id=3)[0]["homogeneous_app_version"] = 1
    windows_platform = world.repo.add("platform", name="windows_x86_64")
    world.repo.add("app_version", id=90, appid=3, version_num=105, platformid=windows_platform["id"],
                   xml_doc=VERSION_XML)
    world.scheduler.windows = JobWindows(window=5, head=10)
    for n in range(40):
        world.job(1000 + n, wu={"app_version_id": 90})
    world.job(2000, wu={"app_version_id": 22})
    assert names(world.rpc(ask())) == ["fold_002000_0"]


def test_a_window_nobody_wants_moves_down_the_queue(world: World) -> None:
    windows, repo = JobWindows(random.Random(1), window=5, head=10), world.repo
    for n in range(200):
        world.job(1000 + n)
    app = App(3, "fold")
    seen = {j.resultid for j in windows.jobs(repo, app, ANY_HOST, 0.0)}
    front = {r["id"] for r in world.repo.find("result")[:10]}
    assert seen <= front
    for look in range(1, 60):
        windows.unsuitable(3, ANY_HOST)
        seen |= {j.resultid for j in windows.jobs(repo, app, ANY_HOST, 3.0 * look)}
    assert len(seen) > 25
    assert {j.resultid for j in windows.jobs(repo, app, ANY_HOST, 500.0)} <= front


def test_huge_jobs_do_not_hide_small_ones_for_ever(world: World) -> None:
    world.scheduler.windows = JobWindows(random.Random(1), window=20, head=50)
    for n in range(300):
        world.job(1000 + n, wu={"rsc_memory_bound": 1e12})
    world.job(2000)
    got: list[str] = []
    for look in range(60):
        world.now += 3
        got += names(world.rpc(ask(rpc_seqno=5 + look)))
    assert got == ["fold_002000_0"]


def test_a_gpu_request_does_not_move_the_windows_of_cpu_apps(world: World) -> None:
    world.repo.add("app", id=5, name="gpu")
    world.repo.add("app_version", id=55, appid=5, version_num=1, platformid=world.linux["id"], xml_doc=VERSION_XML,
                   plan_class="cuda_fermi")
    world.scheduler.windows = windows = JobWindows(window=5, head=10)
    for n in range(30):
        world.job(1000 + n)
    gpu = ("<coprocs><coproc_cuda><count>1</count><req_secs>1</req_secs><req_instances>1</req_instances>"
           "<drvVersion>53523</drvVersion></coproc_cuda></coprocs>")
    for look in range(20):
        world.now += 3
        world.rpc(ask(cpu_req_secs=0, cpu_req_instances=0, rpc_seqno=5 + look).replace(
            "</scheduler_request>", gpu + "</scheduler_request>"))
    front = {r["id"] for r in world.repo.find("result")[:10]}
    assert {j.resultid for j in windows.jobs(world.repo, App(3, "fold"), ANY_HOST, world.now + 9)} <= front


# ---- 02 section 8


def buda(world: World, **variants: str) -> None:
    world.repo.add("app", id=8, name="buda", user_friendly_name="BUDA")
    world.repo.add("app_version", id=80, appid=8, version_num=1, platformid=world.linux["id"], xml_doc=VERSION_XML,
                   plan_class="docker")
    folder = world.project.dir / "buda_apps" / "dock"
    for name, plan_class in variants.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "variant.json").write_text(json.dumps({
            "file_infos": f"<file_info><name>{name}_Dockerfile</name></file_info>",
            "file_refs": f"<file_ref><file_name>{name}_Dockerfile</file_name></file_ref>",
            "cpu_type": name.split("_")[0], "plan_class": plan_class}))
    (folder / "desc.json").write_text('{"name": "dock"}')
    doc = WU_XML.replace(b"</workunit>", b"<buda_app_name>dock</buda_app_name></workunit>")
    world.job(500, wu={"appid": 8, "xml_doc": doc}, appid=8)


def test_buda_variant_is_put_into_the_workunit(world: World) -> None:
    buda(world, intel_mt="mt", intel_cpu="", arm_cpu="")
    reply = world.rpc(ask())
    assert names(reply) == ["fold_000500_0"]
    [wu] = elements(reply, "workunit")
    assert "<avg_ncpus>4.000000</avg_ncpus>" in wu
    assert float(elements(wu, "flops")[0]) > 1e10
    assert elements(wu, "command_line") == ["--steps 500 --nthreads 4"]
    assert "<file_name>intel_mt_Dockerfile</file_name>" in wu
    assert reply.index("<name>intel_mt_Dockerfile</name>") < reply.index("<workunit>")
    [version] = elements(reply, "app_version")
    assert "<avg_ncpus>1.000000</avg_ncpus>" in version
    row = world.result("fold_000500_0")
    assert row["app_version_id"] == 80
    assert row["flops_estimate"] == pytest.approx(4 * 3.63e9, rel=0.1)


def test_buda_needs_a_variant_for_the_cpu_and_an_engine(world: World) -> None:
    buda(world, arm_cpu="")
    assert names(world.rpc(ask())) == []
    assert [cpu_type(p) for p in (LINUX, "aarch64-unknown-linux-gnu", "arm-android-linux-gnu", "powerpc")] == [
        "intel", "arm", "arm", ""]


def test_buda_incomplete_variants_are_skipped(world: World) -> None:
    buda(world, intel_cpu="")
    (world.project.dir / "buda_apps" / "dock" / "intel_cpu" / "variant.json").write_text('{"cpu_type": "intel"}')
    assert names(world.rpc(ask())) == []


# ---- 01: keys, records


def test_guessing_keys_is_braked_and_neighbours_are_not(world: World) -> None:
    for n in range(LIMIT):
        world.rpc(ask(hostid=0, rpc_seqno=0, authenticator=f"{n:032}"), peer="198.51.100.1")
    right = ask(hostid=0, rpc_seqno=0)
    assert KEY in right
    assert "Invalid or missing account key" in world.rpc(right, peer="198.51.100.1")
    assert "<userid>42" in world.rpc(ask(), peer="198.51.100.1")
    assert "<userid>42" in world.rpc(change(right, rpc_seqno=0), peer="198.51.100.2")


def test_time_stats_log_is_asked_for_once(world: World) -> None:
    world.config.request_time_stats_log = True
    assert elements(world.rpc(ask()), "send_time_stats_log") == ["1"]
    text = ask(rpc_seqno=5).replace("</scheduler_request>",
                                    "<time_stats_log>\n1 power_on\n</time_stats_log></scheduler_request>")
    assert elements(world.rpc(text), "send_time_stats_log") == []
    assert (world.project.dir / "time_stats_log" / "17").read_bytes().strip() == b"1 power_on"
    assert elements(world.rpc(ask(rpc_seqno=6)), "send_time_stats_log") == []


def test_debug_req_reply_dir_keeps_copies_for_the_owner_only(world: World) -> None:
    world.config.debug_req_reply_dir = "copies"
    reply = world.rpc(ask())
    request, answer = sorted(world.project.dir.glob("copies/*"), key=lambda p: "reply" in p.name)
    assert request.read_text() == ask()
    assert answer.read_text() == reply
    assert request.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("flag", "says"), [("send", "4 CPUs"), ("send_scan", "jobs seen"), ("quota", "jobs today"),
                                            ("send_job", "refused: memory"), ("version_select", "docker"),
                                            ("assignment", "not for this host")])
def test_debug_flags_say_why(world: World, caplog: pytest.LogCaptureFixture, flag: str, says: str) -> None:
    logging.getLogger("boincdock").propagate = True
    world.job(130, wu={"rsc_memory_bound": 1e12})
    wu = assigned(world, "target", 2, 42)
    world.repo.add("result", workunitid=wu["id"], name="target_0", appid=3, server_state=2, hostid=0)
    if flag == "quota":
        world.config.daily_result_quota = 500
        world.host["rpc_time"] = NOW - 10
        world.repo.add("host_app_version", host_id=17, app_version_id=22, max_jobs_per_day=1, n_jobs_today=4)
    caplog.set_level(logging.INFO)
    world.rpc(ask())
    assert f"[{flag}]" not in caplog.text
    setattr(world.config, f"debug_{flag}", True)
    world.now += 60
    world.rpc(ask(rpc_seqno=5))
    assert re.search(rf"\[{flag}\].*{says}", caplog.text)


def test_a_process_that_sends_few_jobs_reads_few_and_misses_none(world: World) -> None:
    """Windows shrink with what is sent in MAX_AGE; a host that finds nothing in a small one sees a full one at once."""
    for n in range(150):
        world.job(3000 + n, wu={"rsc_disk_bound": 1e15 if n < 120 else 1e6})
    windows = JobWindows(random.Random(1))
    app = App(3, "fold")
    assert len(windows.jobs(world.repo, app, ANY_HOST, 0.0)) == 150
    assert len(windows.jobs(world.repo, app, ANY_HOST, 3.0)) == 40
    assert len(windows.jobs(world.repo, app, ANY_HOST, 3.5, wanted=60)) == 150
    assert len(windows.jobs(world.repo, app, ANY_HOST, 6.0)) == 40
    assert windows.unsuitable(3, ANY_HOST)
    assert len(windows.jobs(world.repo, app, ANY_HOST, 6.1)) == 150
    assert not windows.unsuitable(3, ANY_HOST)
    world.scheduler.windows = windows
    windows.jobs(world.repo, app, ANY_HOST, world.now)
    world.now += 3
    windows.jobs(world.repo, app, ANY_HOST, world.now)
    assert len(names(world.rpc(ask(rpc_seqno=5)))) >= 1
