"""Single rules of dispatch and of the reply that the larger tests do not single out (spec 01 sections 4, 5; 02)."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from scheduler_world import LINUX, NOW, VERSION_XML, World, change, elements, example, quiet

from boincdock.protocol.request_model import Coproc
from boincdock.protocol.scheduler_reply import Reply
from boincdock.protocol.scheduler_request import parse_request
from boincdock.scheduler.limits import LimitSet
from boincdock.scheduler.model import App, BestVersion, Job, Usage
from boincdock.scheduler.rpc import Rpc
from boincdock.scheduler.snapshot import Snapshot
from boincdock.scheduler.work import WorkRequest


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, min_sendwork_interval=0)


def ask(**values: Any) -> str:
    text = re.sub(r"<other_results>.*?</other_results>", "", quiet(example()), flags=re.S)
    return change(text, **{"code_sign_key": None, **values})


def names(reply: str) -> list[str]:
    return re.findall(r"<wu_name>.*?</wu_name>\s*<name>(.*?)</name>", reply)


def prefs(world: World, text: str) -> None:
    world.user["project_prefs"] = f"<project_preferences>\n{text}\n</project_preferences>"


def version(world: World, **values: Any) -> dict[str, Any]:
    return world.repo.add("app_version", **{"appid": 3, "version_num": 105, "platformid": world.linux["id"],
                                            "xml_doc": VERSION_XML, **values})


def work_request(world: World, **values: Any) -> WorkRequest:
    request = parse_request(ask().encode())
    for name, value in values.items():
        setattr(request, name, value)
    rpc = Rpc(world.config, Snapshot(proc_types=frozenset(range(5))), world.repo, request, Reply(), NOW)
    return WorkRequest(rpc, (LimitSet(), {}))


def nvidia(**values: Any) -> Coproc:
    gpu = Coproc(type_name="NVIDIA", **{"count": 2, "peak_flops": 1e12, "estimated_delay": 0.0, **values})
    gpu.finish()
    return gpu


# ---- 02 sections 2 and 3: bookkeeping of requests


def test_request_bookkeeping_cpu(world: World) -> None:
    """Spec 02 section 19: d 1000, p_ncpus 4, a job of 2 CPUs."""
    work = work_request(world, cpu_req_secs=5000.0, cpu_req_instances=3.0)
    work.added(Job(1, 1, 3, 0, rsc_disk_bound=1e9), BestVersion(App(3, "fold"), Usage(avg_ncpus=2)), 1000.0)
    assert (work.req_secs[0], work.req_instances[0], work.delay[0]) == (3000.0, 1.0, 500.0)


def test_request_bookkeeping_gpu(world: World) -> None:
    work = work_request(world, coprocs=[nvidia(req_secs=5000.0, req_instances=1.0)], cpu_req_secs=7.0)
    disk = work.disk
    usage = Usage(proc_type=1, gpu_usage=0.5)
    work.added(Job(1, 1, 3, 0, rsc_disk_bound=1e9), BestVersion(App(3, "fold"), usage), 1000.0)
    assert (work.req_secs[1], work.req_instances[1], work.delay[1]) == (4500.0, 0.5, 250.0)
    assert (work.req_secs[0], work.delay[0], work.disk) == (7.0, 0.0, disk - 1e9)


@pytest.mark.parametrize(("cpu", "secs", "instances", "needed"), [(5, 0, 1, True), (0, -200, 0.5, False),
                                                                  (0, 1, 0, True), (5, 0, 0, False)])
def test_need_of_a_type(world: World, cpu: float, secs: float, instances: float, needed: bool) -> None:
    gpu = nvidia(req_secs=float(secs), req_instances=float(instances))
    work = work_request(world, cpu_req_secs=float(cpu), cpu_req_instances=0.0, work_req_seconds=0.0,
                        coprocs=[gpu])
    assert work.needs(1) == needed
    assert work.needs(0) == bool(cpu)
    # Used up in seconds, but an instance is still idle.
    work.by_resource = True
    work.req_secs[1], work.req_instances[1] = -200.0, 0.5
    assert work.needs(1)
    work.req_instances[1] = 0.0
    assert not work.needs(1)


def test_requests_are_clamped_to_28_days(world: World) -> None:
    work = work_request(world, cpu_req_secs=1e12, work_req_seconds=-5.0, coprocs=[nvidia(req_secs=-7.0)])
    assert (work.req_secs[0], work.seconds_to_fill, work.req_secs[1]) == (28 * 86400.0, 0.0, 0.0)


def test_a_request_of_a_very_old_client_is_filled_by_seconds(world: World) -> None:
    for n in range(9):
        world.job(200 + n)
    reply = world.rpc(ask(cpu_req_secs=0, cpu_req_instances=0, work_req_seconds=9000))
    # About 3660 s a job.
    assert len(names(reply)) == 3


# ---- 02 section 2: preferences


def test_pref_max_jobs_and_max_cpus(world: World) -> None:
    for n in range(9):
        world.job(200 + n)
    prefs(world, "<max_jobs>2</max_jobs>")
    assert len(names(world.rpc(ask(cpu_req_instances=8)))) == 2
    prefs(world, "<max_cpus>1</max_cpus>")
    world.config.max_wus_to_send = 1
    world.now += 60
    assert len(names(world.rpc(ask(cpu_req_instances=8, rpc_seqno=5)))) == 1


def test_non_preferred_apps_come_last(world: World) -> None:
    world.repo.add("app", id=5, name="other")
    version(world, id=55, appid=5)
    world.job(200)
    world.job(201, wu={"appid": 5}, appid=5)
    prefs(world, "<app_id>5</app_id>\n<allow_non_preferred_apps/>")
    assert names(world.rpc(ask(cpu_req_secs=1, cpu_req_instances=2))) == ["fold_000201_0", "fold_000200_0"]


def test_beta_apps_only_for_the_willing(world: World) -> None:
    world.repo.find("app", id=3)[0]["beta"] = 1
    world.job(130)
    assert names(world.rpc(ask())) == []
    prefs(world, "<allow_beta_work>1</allow_beta_work>")
    world.now += 60
    assert len(names(world.rpc(ask(rpc_seqno=5)))) == 1


# ---- 02 section 5: version choice


@pytest.mark.parametrize(("min_version", "sent"), [(0, []), (104, ["105"])])
def test_workunit_that_names_a_version(world: World, min_version: int, sent: list[str]) -> None:
    """Spec 02 section 19: version 105 is superseded by 106 but serves a job that names it if min_version allows."""
    world.repo.find("app", id=3)[0]["min_version"] = min_version
    version(world, id=60, version_num=106, plan_class="docker")
    version(world, id=61, version_num=103, plan_class="docker")
    world.job(130, wu={"app_version_num": 105})
    assert elements(world.rpc(ask()), "version_num")[-1:] == sent


def test_a_committed_version_is_used_though_deprecated(world: World) -> None:
    world.repo.find("app", id=3)[0]["homogeneous_app_version"] = 1
    version(world, id=60, version_num=99, deprecated=1)
    world.job(130, wu={"app_version_id": 60})
    world.job(131)
    reply = world.rpc(ask(cpu_req_secs=1, cpu_req_instances=2))
    assert sorted(names(reply)) == ["fold_000130_0", "fold_000131_0"]
    assert world.result("fold_000130_0")["app_version_id"] == 60
    assert world.workunit_of(world.result("fold_000131_0"))["app_version_id"] == 22


def test_clients_without_plan_class_support_get_one_cpu_only(world: World) -> None:
    world.version["deprecated"] = 1
    version(world, id=60, plan_class="mt")
    world.job(130)
    assert names(world.rpc(ask(client_cap_plan_class=0))) == []
    world.now += 60
    assert len(names(world.rpc(ask(rpc_seqno=5)))) == 1


@pytest.mark.parametrize(("prefer", "chosen"), [(False, 61), (True, 60)])
def test_prefer_primary_platform(world: World, prefer: bool, chosen: int) -> None:
    world.config.prefer_primary_platform = prefer
    world.version["deprecated"] = 1
    other = world.repo.add("platform", name="i686-pc-linux-gnu")
    version(world, id=60)
    version(world, id=61, platformid=other["id"], plan_class="mt")
    world.job(130)
    world.rpc(ask())
    assert world.result("fold_000130_0")["app_version_id"] == chosen


def test_a_version_that_fails_on_the_host_is_tried_rarely(world: World) -> None:
    version(world, id=60, plan_class="mt", version_num=104)
    world.repo.add("host_app_version", host_id=17, app_version_id=60, max_jobs_per_day=1)
    world.scheduler.rng.seed(1)
    for n in range(20):
        world.job(200 + n)
    world.rpc(ask(cpu_req_secs=1, cpu_req_instances=1))
    assert {r["app_version_id"] for r in world.repo.find("result", server_state=4)} == {22}


def test_anonymous_platform_without_a_usable_version_is_told(world: World) -> None:
    world.job(130)
    text = re.sub(r"<app_name>fold</app_name>", "<app_name>else</app_name>", ask(platform_name="anonymous"))
    reply = world.rpc(text)
    assert names(reply) == []
    assert '<message priority="notice">Your app_info.xml file has no usable version' in reply


# ---- 02 section 6: plan classes that depend on the job


def test_plan_class_bounds_are_tested_for_each_job(world: World) -> None:
    world.version["plan_class"] = "late"
    first, second = world.job(200, wu={"batch": 7}), world.job(201, wu={"batch": 9})
    (world.project.dir / "plan_class_spec.xml").write_text(
        "<plan_classes><plan_class><name>late</name><min_batch>8</min_batch></plan_class></plan_classes>")
    assert names(world.rpc(ask(cpu_req_secs=1, cpu_req_instances=2))) == [second["name"]]
    assert world.result(first["name"])["server_state"] == 2


def test_memory_of_the_plan_class_is_sent_instead_of_the_workunits(world: World) -> None:
    world.version["plan_class"] = "big"
    world.job(130)
    (world.project.dir / "plan_class_spec.xml").write_text(
        "<plan_classes><plan_class><name>big</name><max_threads>2</max_threads><nthreads_cmdline/>"
        "<mem_usage_base_mb>500</mem_usage_base_mb><mem_usage_per_cpu_mb>1000</mem_usage_per_cpu_mb>"
        "</plan_class></plan_classes>")
    reply = world.rpc(ask())
    assert float(elements(reply, "rsc_memory_bound")[0]) == 2500 * 1048576
    assert elements(reply, "cmdline") == ["--memory_size_mb 2500 --nthreads 2"]
    assert elements(reply, "avg_ncpus") == ["2.000000"]


def test_dont_use_docker(world: World) -> None:
    world.job(130)
    reply = world.rpc(ask(dont_use_docker=1))
    assert names(reply) == []
    assert "settings do not allow" in reply


# ---- 02 sections 10 and 11


@pytest.mark.parametrize(("option", "sent"), [("one_result_per_user_per_wu", False),
                                              ("one_result_per_host_per_wu", True)])
def test_one_result_per_user_or_host(world: World, option: str, sent: bool) -> None:
    setattr(world.config, option, True)
    row = world.job(130)
    world.repo.add("result", workunitid=row["workunitid"], appid=3, name="fold_000130_1", hostid=99, userid=42,
                   server_state=4)
    assert bool(names(world.rpc(ask()))) == sent


def test_one_result_per_host_refuses_a_second_instance(world: World) -> None:
    world.config.one_result_per_host_per_wu = True
    row = world.job(130)
    world.repo.add("result", workunitid=row["workunitid"], appid=3, name="fold_000130_1", hostid=17, userid=1,
                   server_state=5)
    assert names(world.rpc(ask())) == []


@pytest.mark.parametrize(("valid", "replicated"), [(0, True), (1000000, False)])
def test_adaptive_replication(world: World, valid: int, replicated: bool) -> None:
    world.repo.find("app", id=3)[0]["target_nresults"] = 3
    world.repo.add("host_app_version", host_id=17, app_version_id=22, consecutive_valid=valid)
    wu = world.workunit_of(world.job(130))
    world.rpc(ask())
    wu = world.repo.find("workunit", id=wu["id"])[0]
    expected = (3, 3, NOW) if replicated else (1, 1, NOW + 604800)
    assert (wu["target_nresults"], wu["min_quorum"], wu["transition_time"]) == expected


def test_ignore_delay_bound(world: World) -> None:
    world.config.ignore_delay_bound = True
    world.job(130, wu={"delay_bound": 10})
    assert len(names(world.rpc(ask(estimated_delay=5000)))) == 1


def test_computer_type_unknown_to_homogeneous_redundancy(world: World) -> None:
    world.config.homogeneous_redundancy = 1
    world.job(130)
    reply = world.rpc(ask(p_vendor="Acme", p_model="Z80"))
    assert names(reply) == []
    assert '<message priority="notice">This type of computer is not supported' in reply


# ---- 02 section 13, 01 sections 4.1, 4.2, 5.1


def test_gpu_only_project_says_so(world: World) -> None:
    world.version["plan_class"] = "cuda_fermi"
    assert "This project needs a GPU (NVIDIA GPU)" in world.rpc(ask())


@pytest.mark.parametrize(("left", "priority"), [(10 * 86400, "low"), (2 * 86400, "notice"), (-5, "")])
def test_announced_upgrade(world: World, left: int, priority: str) -> None:
    world.config.min_core_client_version_announced = 90000
    world.config.min_core_client_upgrade_deadline = NOW + left
    reply = world.rpc(ask())
    assert ("this project needs BOINC 9.0.0" in reply) == bool(priority)
    if priority:
        assert re.search(rf'<message priority="{priority}">Starting in', reply)


def test_missing_cpu_type_is_noticed_and_work_goes_on(world: World) -> None:
    world.job(130)
    reply = world.rpc(ask(p_vendor=""))
    assert '<message priority="notice">This client does not report its CPU type' in reply
    assert len(names(reply)) == 1


def test_refused_new_client_still_gets_a_host_id(world: World) -> None:
    world.config.dont_send_jobs = True
    reply = world.rpc(ask(hostid=0, rpc_seqno=0, host_cpid="0" * 32))
    assert len(elements(reply, "hostid")) == 1


def test_project_flags_of_the_reply(world: World) -> None:
    for name, value in {"ended": True, "strict_memory_bound": True, "verify_files_on_app_start": True,
                        "symstore": "http://s/", "next_rpc_delay": 77.0}.items():
        setattr(world.config, name, value)
    reply = world.rpc(ask())
    for tag, text in {"ended": "1", "strict_memory_bound": "1", "verify_files_on_app_start": "1",
                      "symstore": "http://s/", "next_rpc_delay": "77.000000"}.items():
        assert elements(reply, tag) == [text]


def test_team_is_named_and_0_without_one(world: World) -> None:
    assert elements(world.rpc(ask()), "teamid") == ["0"]
    world.repo.add("team", id=9, name="A & B")
    world.user["teamid"] = 9
    reply = world.rpc(ask(rpc_seqno=5))
    assert (elements(reply, "teamid"), elements(reply, "team_name")) == (["9"], ["A &amp; B"])


def test_no_new_work_in_a_reply_that_resends(world: World) -> None:
    world.job(118, state=4, host=17, sent=NOW - 3600)
    world.job(130)
    text = ask().replace("</scheduler_request>", "<other_results></other_results></scheduler_request>")
    assert names(world.rpc(text)) == ["fold_000118_0"]


def test_lost_job_of_a_deprecated_app_expires(world: World) -> None:
    world.job(118, state=4, host=17, sent=NOW - 3600)
    world.repo.find("app", id=3)[0]["deprecated"] = 1
    world.repo.add("app", id=5, name="other")
    version(world, id=55, appid=5)
    text = ask().replace("</scheduler_request>", "<other_results></other_results></scheduler_request>")
    reply = world.rpc(text)
    assert "Didn't resend lost task fold_000118_0 (expired)" in reply
    assert world.result("fold_000118_0")["report_deadline"] == NOW - 1


def test_every_entity_goes_out_once(world: World) -> None:
    for n in range(3):
        world.job(200 + n)
    reply = world.rpc(ask(cpu_req_secs=1, cpu_req_instances=3))
    assert [reply.count(f"<{tag}>\n") for tag in ("app", "app_version", "workunit", "result")] == [1, 1, 3, 3]
    order = [reply.index(f"<{tag}>") for tag in ("app", "app_version", "workunit", "result")]
    assert order == sorted(order)
    assert elements(reply, "platform")[0] == LINUX
