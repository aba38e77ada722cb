"""Metrics of the lifecycle for Prometheus."""
from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from lifecycle_world import T, World, execute, insert
from prometheus_client.parser import text_string_to_metric_families

from boincdock import counters
from boincdock.db import Connection, connect
from boincdock.lifecycle import metrics, runstate


@pytest.fixture
def world(tmp_path: Path, db: Connection, db_settings: SimpleNamespace) -> World:
    return World(tmp_path, db, db_settings)


def values(found: list[metrics.Metric]) -> dict[str, float]:
    """As Prometheus's own parser reads them."""
    return {f"{s.name}{sorted(s.labels.items())}": s.value
            for family in text_string_to_metric_families(metrics.render(found)) for s in family.samples}


def test_queues_and_states(world: World) -> None:
    world.workunit(id=101, name="a", transition_time=T - 50)
    world.workunit(id=102, name="b", transition_time=T + 50, need_validate=1)
    world.workunit(id=103, name="c", transition_time=T + 50, assimilate_state=1, file_delete_state=3)
    insert(world.db, "result", name="r1", appid=7, server_state=2, create_time=T - 30)
    insert(world.db, "result", name="r2", appid=7, server_state=4)
    insert(world.db, "result", name="r3", appid=7, server_state=5, file_delete_state=1)
    insert(world.db, "msg_from_host", xml="")
    execute(world.db, "UPDATE workunit SET mod_time = FROM_UNIXTIME(%s)", T - 100)
    execute(world.db, "UPDATE result SET mod_time = FROM_UNIXTIME(%s)", T - 200)
    found = values(metrics.database_metrics(world.db, T))
    expected = {
        "boinc_results[('app', 'worker'), ('state', 'unsent')]": 1,
        "boinc_results[('app', 'worker'), ('state', 'in_progress')]": 1,
        "boinc_queue_length[('queue', 'transitioner')]": 1, "boinc_queue_age_seconds[('queue', 'transitioner')]": 50,
        "boinc_queue_length[('app', 'worker'), ('queue', 'validator')]": 1,
        "boinc_queue_age_seconds[('app', 'worker'), ('queue', 'validator')]": 100,
        "boinc_queue_length[('app', 'worker'), ('queue', 'assimilator')]": 1,
        "boinc_queue_length[('of', 'result'), ('queue', 'file_deleter')]": 1,
        "boinc_queue_age_seconds[('of', 'result'), ('queue', 'file_deleter')]": 200,
        "boinc_queue_length[('of', 'workunit'), ('queue', 'file_deleter')]": 0,
        "boinc_queue_length[('of', 'workunit'), ('queue', 'file_deleter_errors')]": 1,
        "boinc_queue_age_seconds[('app', 'worker'), ('queue', 'scheduler')]": 30,
        "boinc_queue_length[('queue', 'trickle_handlers')]": 1}
    assert {k: found[k] for k in expected} == expected


def test_empty_project(world: World) -> None:
    found = values(metrics.collect(world.db, world.project))
    assert found["boinc_queue_length[('queue', 'transitioner')]"] == 0 and found["boinc_supervisors[]"] == 0


def test_daemons_and_tasks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    report = {"updated": time.time(), "daemons": [
        {"name": "transitioner", "state": "running", "running": True, "heartbeat_age": 1.5, "restarts": 2},
        {"name": "feeder", "state": "backoff", "running": False, "heartbeat_age": None, "restarts": 7},
        {"name": "off", "state": "disabled", "running": False}],
        "tasks": [{"name": "db_dump", "last_run": T - 10, "last_exit": 1, "last_duration": 3.5}, {"name": "never"}]}
    monkeypatch.setattr(runstate, "live_reports", lambda project: [json.loads(json.dumps(report))])
    found = values(metrics.daemon_metrics(world.project, T))
    assert found["boinc_daemon_up[('daemon', 'transitioner'), ('slot', '1')]"] == 1
    assert found["boinc_daemon_up[('daemon', 'feeder'), ('slot', '1')]"] == 0
    assert found["boinc_daemon_restarts_total[('daemon', 'feeder'), ('slot', '1')]"] == 7
    assert found["boinc_task_failed[('task', 'db_dump')]"] == 1
    assert found["boinc_task_last_run_age_seconds[('task', 'db_dump')]"] == 10
    assert not any("off" in k or "never" in k for k in found)


def test_labels_are_escaped() -> None:
    metric = metrics.Metric("m", "h")
    metric.add(1, app='a"b\\c\nd')
    assert values([metric]) == {"m[('app', 'a\"b\\\\c\\nd')]": 1}


def test_cache(world: World, db_settings: SimpleNamespace) -> None:
    now = [0.0]
    cache = metrics.Cache(world.project, lambda: connect(db_settings), ttl=10, clock=lambda: now[0])
    first = cache.get()
    world.workunit(transition_time=1)
    now[0] = 9.9
    assert cache.get() is first
    now[0] = 10
    assert values(cache.get())["boinc_queue_length[('queue', 'transitioner')]"] == 1


def test_page_with_a_database_and_counters(world: World, db_settings: SimpleNamespace) -> None:
    counted = counters.Counters(counters.directory_of(world.project.tmp_dir), counters.UPLOAD)
    counted.count("stored", 0.2, bytes_received=5)
    insert(world.db, "result", name="r2", appid=7, server_state=4)
    text = metrics.page(world.project, metrics.Cache(world.project, lambda: connect(db_settings)))
    found = {f"{s.name}{sorted(s.labels.items())}": s.value
             for family in text_string_to_metric_families(text) for s in family.samples}
    assert found["boinc_database_up[]"] == 1
    assert found["boinc_results[('app', 'worker'), ('state', 'in_progress')]"] == 1
    assert found["boinc_upload_request_seconds_count[('outcome', 'stored')]"] == 1
    assert found["boinc_upload_bytes_received_total[]"] == 5
