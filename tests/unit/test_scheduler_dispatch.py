"""Which jobs a host gets and what it is told (spec 02 sections 3, 5, 9, 11, 12, 13)."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from scheduler_world import NOW, VERSION_XML, World, change, elements, example, quiet

from boincdock.config import parse_xml
from boincdock.scheduler.limits import parse_limits


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ask(**values: Any) -> str:
    """A request for work of a host that holds nothing."""
    text = re.sub(r"<other_results>.*?</other_results>", "", quiet(example()), flags=re.S)
    return change(text, **{"code_sign_key": None, **values})


def names(reply: str) -> list[str]:
    return re.findall(r"<wu_name>.*?</wu_name>\s*<name>(.*?)</name>", reply)


def add_version(world: World, **values: Any) -> dict[str, Any]:
    return world.repo.add("app_version", **{"appid": 3, "version_num": 105, "platformid": world.linux["id"],
                                            "xml_doc": VERSION_XML, **values})


def test_both_seconds_and_instances_must_be_used_up(world: World) -> None:
    for n in range(10):
        world.job(200 + n)
    assert len(names(world.rpc(ask(cpu_req_secs=1, cpu_req_instances=3)))) == 3
    world.now += 60
    # About 3660 s a job: seconds alone ask for three.
    assert len(names(world.rpc(ask(rpc_seqno=5, cpu_req_secs=9000, cpu_req_instances=0)))) == 3


def test_clients_without_docker_get_no_docker_jobs_and_are_told(world: World) -> None:
    world.job(130)
    reply = world.rpc(ask(docker_version=None))
    assert names(reply) == []
    assert '<message priority="low">No tasks sent' in reply
    assert re.search(r'<message priority="notice">Some tasks need Docker', reply)
    assert "no tasks available" not in reply


@pytest.mark.parametrize(("version", "release"), [((7, 20, 5), "7.20.5"), ((8, 0, 4), "8.0.4")])
def test_older_clients_get_the_version_without_plan_class(world: World, version: tuple, release: str) -> None:
    add_version(world, id=23, version_num=104)
    world.job(130)
    major, minor, patch = version
    reply = world.rpc(ask(docker_version=None, core_client_major_version=major, core_client_minor_version=minor,
                          core_client_release=patch))
    assert names(reply) == ["fold_000130_0"], release
    assert elements(reply, "version_num")[-1] == "104"
    assert elements(reply, "plan_class")[-1] == ""
    assert world.result("fold_000130_0")["app_version_id"] == 23


def test_no_jobs_at_all(world: World) -> None:
    reply = world.rpc(ask())
    assert '<message priority="low">Project has no tasks available' in reply
    assert "too recent" not in reply


@pytest.mark.parametrize(
    ("wu", "says"),
    [({"rsc_memory_bound": 1e12}, "MB RAM"), ({"rsc_disk_bound": 1e15}, "disk space"),
     ({"rsc_bandwidth_bound": 1e12}, "bandwidth")],
)
def test_jobs_too_large_for_the_host(world: World, wu: dict, says: str) -> None:
    world.job(130, wu=wu)
    reply = world.rpc(ask())
    assert names(reply) == []
    assert re.search(f'<message priority="notice">Protein folding needs [^<]*{says}', reply)


@pytest.mark.parametrize(("delay", "sent"), [(0, True), (2000, True), (5000, False)])
def test_deadline(world: World, delay: float, sent: bool) -> None:
    world.job(130, wu={"delay_bound": 6000})
    reply = world.rpc(ask(estimated_delay=delay))
    assert bool(names(reply)) == sent
    assert ("won't finish in time" in reply) != sent


def test_jobs_per_reply_and_in_progress_limits(tmp_path: Path) -> None:
    world = World(tmp_path, max_wus_to_send=1)
    for n in range(20):
        world.job(200 + n)
    assert len(names(world.rpc(ask(cpu_req_instances=9)))) == 4
    world = World(tmp_path, max_wus_in_progress=1)
    for n in range(20):
        world.job(200 + n)
    held = "<other_results>" + "".join(f"<other_result><name>h_{i}</name></other_result>" for i in range(3))
    text = ask(cpu_req_instances=9).replace("</scheduler_request>", held + "</other_results></scheduler_request>")
    assert len(names(world.rpc(text))) == 1
    text = text.replace("</other_results>", "<other_result><name>h_9</name></other_result></other_results>")
    world.now += 60
    reply = world.rpc(change(text, rpc_seqno=5))
    assert names(reply) == []
    assert "limit on tasks in progress" in reply


def test_limits_of_config_aux() -> None:
    aux = parse_xml(b"""<max_jobs_in_progress><project><total_limit><jobs>200</jobs></total_limit><cpu_limit>
        <jobs>3</jobs><per_proc/></cpu_limit></project><app><app_name>sieve</app_name><gpu_limit><jobs>1</jobs>
        </gpu_limit></app></max_jobs_in_progress>""", "x")
    project, apps = parse_limits(aux, 7, 5)
    assert (project.total.value(8), project.cpu.value(8), project.gpu.value(2)) == (200, 24, 10)
    assert (apps["sieve"].gpu.value(4), apps["sieve"].cpu.value(4)) == (1, 0)


def test_daily_quota(tmp_path: Path) -> None:
    world = World(tmp_path, daily_result_quota=2)
    world.host["p_ncpus"] = 4
    for n in range(20):
        world.job(200 + n)
    world.repo.add("host_app_version", host_id=17, app_version_id=22, max_jobs_per_day=1, n_jobs_today=0)
    world.host["rpc_time"] = NOW - 100
    assert len(names(world.rpc(ask(cpu_req_instances=9)))) == 1
    world.now += 60
    reply = world.rpc(ask(rpc_seqno=5, cpu_req_instances=9))
    assert names(reply) == []
    assert "daily quota of 1 tasks" in reply
    world.now += 2 * 86400
    assert len(names(world.rpc(ask(rpc_seqno=6, cpu_req_instances=9)))) == 1


def test_quota_of_zero_means_no_limit(world: World) -> None:
    world.repo.add("host_app_version", host_id=17, app_version_id=22, max_jobs_per_day=0, n_jobs_today=500)
    world.job(130)
    assert names(world.rpc(ask())) == ["fold_000130_0"]


def test_priority_dominates_then_age(world: World) -> None:
    world.job(200)
    world.job(201)
    world.job(202, priority=7)
    assert names(world.rpc(ask(cpu_req_secs=1, cpu_req_instances=3))) == ["fold_000202_0", "fold_000200_0",
                                                                         "fold_000201_0"]


def test_statistics_make_the_estimate(world: World) -> None:
    world.repo.add("host_app_version", host_id=17, app_version_id=22, et_n=11.0, et_avg=2e-9)
    world.job(130)
    assert elements(world.rpc(ask()), "flops")[-1] == f"{1 / 2e-9:f}"


def test_beta_versions_and_core_version_limits(world: World) -> None:
    world.version["deprecated"] = 1
    add_version(world, id=30, beta=1)
    add_version(world, id=31, version_num=104, min_core_version=90000)
    add_version(world, id=32, version_num=104, plan_class="sse3", max_core_version=720)
    world.job(130)
    assert names(world.rpc(ask())) == []
    world.user["project_prefs"] = "<project_preferences><allow_beta_work>1</allow_beta_work></project_preferences>"
    world.now += 60
    assert names(world.rpc(ask(rpc_seqno=5))) == ["fold_000130_0"]


def test_chosen_apps_and_excluded_processors(world: World) -> None:
    world.job(130)
    world.user["project_prefs"] = "<project_preferences><app_id>99</app_id></project_preferences>"
    reply = world.rpc(ask())
    assert names(reply) == []
    assert "applications you have chosen" in reply
    world.user = world.repo.find("user", id=42)[0]
    world.user["project_prefs"] = "<project_preferences><no_cpu>1</no_cpu></project_preferences>"
    world.now += 60
    assert "your preferences do not accept them" in world.rpc(ask(rpc_seqno=5))
    world.user["project_prefs"] = ("<project_preferences><no_cpu>1</no_cpu><venue name=\"home\"></venue>"
                                   "</project_preferences>")
    world.now += 60
    assert names(world.rpc(ask(rpc_seqno=6))) == ["fold_000130_0"]


def test_homogeneous_redundancy_commits_the_workunit(world: World) -> None:
    world.repo.find("app", id=3)[0]["homogeneous_redundancy"] = 1
    world.job(130)
    world.job(131, wu={"hr_class": 387})
    assert names(world.rpc(ask())) == ["fold_000130_0"]
    assert world.workunit_of(world.result("fold_000130_0"))["hr_class"] == 256 + 21


def test_a_job_with_a_bad_document_does_not_stop_the_others(world: World) -> None:
    world.job(200, wu={"xml_doc": b"broken"})
    world.job(201)
    reply = world.rpc(ask(cpu_req_instances=1, cpu_req_secs=1))
    assert names(reply) == ["fold_000201_0"]
    assert world.result("fold_000200_0")["server_state"] == 2


def test_cancelled_and_finished_workunits_are_not_sent(world: World) -> None:
    world.job(200, wu={"error_mask": 16})
    world.job(201, wu={"canonical_resultid": 5})
    world.job(202, wu={"transitioner_flags": 2})
    assert names(world.rpc(ask())) == []


def test_grace_period_is_the_servers_secret(tmp_path: Path) -> None:
    world = World(tmp_path, report_grace_period=100)
    world.job(130, wu={"delay_bound": 600000})
    reply = world.rpc(ask())
    assert elements(reply, "report_deadline") == [str(NOW + 600000)]
    assert world.result("fold_000130_0")["report_deadline"] == NOW + 600100


def test_anonymous_platform(world: World) -> None:
    world.job(130)
    text = ask(platform_name="anonymous").replace("<flops>4123456789.000000", "<flops>5e9")
    world.repo.add("host_app_version", host_id=17, app_version_id=3000002, et_n=11.0, et_avg=1e-9)
    reply = world.rpc(text)
    assert names(reply) == ["fold_000130_0"]
    assert "<app_version>" not in reply
    assert "<app>" not in reply
    assert [float(x) for x in elements(reply, "rsc_fpops_est")] == [pytest.approx(5 * 1.48e13)]
    assert elements(reply, "platform") == ["x86_64-pc-linux-gnu"]
    row = world.result("fold_000130_0")
    assert (row["app_version_id"], row["flops_estimate"]) == (-2, 4123456789.0)
    [hav] = world.repo.find("host_app_version", host_id=17)
    assert hav["n_jobs_today"] == 1


def test_no_rsc_apps(world: World) -> None:
    """Spec 01 section 9.4."""
    gpu = "<coprocs><coproc_cuda><count>1</count><peak_flops>1e12</peak_flops></coproc_cuda></coprocs>"
    with_gpu = ask().replace("</scheduler_request>", gpu + "</scheduler_request>")
    assert elements(world.rpc(with_gpu), "no_rsc_apps") == ["NVIDIA"]
    assert elements(world.rpc(ask(rpc_seqno=5)), "no_rsc_apps") == []
    world.version["deprecated"] = 1
    add_version(world, id=50, plan_class="cuda_fermi")
    world.scheduler = world.make_scheduler()
    assert elements(world.rpc(change(with_gpu, rpc_seqno=6)), "no_rsc_apps") == ["CPU"]
    assert elements(world.rpc(ask(rpc_seqno=7)), "no_rsc_apps") == []


def test_reread_db_shows_new_versions_at_once(world: World, tmp_path: Path) -> None:
    world.version["deprecated"] = 1
    world.job(130)
    world.config.min_sendwork_interval = 0
    assert names(world.rpc(ask())) == []
    add_version(world, id=60, version_num=106)
    assert names(world.rpc(ask(rpc_seqno=5))) == []
    (tmp_path / "reread_db").touch()
    assert names(world.rpc(ask(rpc_seqno=6))) == ["fold_000130_0"]


def test_gpu_job(world: World) -> None:
    add_version(world, id=51, plan_class="cuda_fermi")
    for n in range(4):
        world.job(200 + n)
    gpu = ("<coprocs><coproc_cuda><count>1</count><name>GTX</name><peak_flops>2e12</peak_flops><req_secs>1</req_secs>"
           "<req_instances>1</req_instances><major>7</major><minor>5</minor><drvVersion>53523</drvVersion>"
           "<totalGlobalMem>8e9</totalGlobalMem></coproc_cuda></coprocs>")
    reply = world.rpc(ask(cpu_req_secs=0, cpu_req_instances=0, work_req_seconds=0).replace(
        "</scheduler_request>", gpu + "</scheduler_request>"))
    assert names(reply) == ["fold_000200_0"]
    assert "<type>NVIDIA</type>\n        <count>1.000000</count>" in reply
    assert world.result("fold_000200_0")["app_version_id"] == 51


def test_nowork_skip_answers_without_the_database(tmp_path: Path) -> None:
    world = World(tmp_path, nowork_skip=True)
    world.rpc(ask())
    world.repo.calls.clear()
    reply = world.rpc(ask(rpc_seqno=5))
    assert "Project has no tasks available" in reply
    assert "<userid>" not in reply
    assert world.repo.calls == []


def test_jobs_behind_many_unsuitable_ones_are_found(world: World) -> None:
    for n in range(60):
        world.job(200 + n, wu={"rsc_memory_bound": 1e12})
    world.job(300)
    assert names(world.rpc(ask(cpu_req_instances=1, cpu_req_secs=1))) == ["fold_000300_0"]
