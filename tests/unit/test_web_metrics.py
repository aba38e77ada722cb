"""/metrics of the ops site: who may read it, and that Prometheus can (docs/metrics.md)."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from prometheus_client.parser import text_string_to_metric_families
from web_world import World

from boincdock import counters
from boincdock.lifecycle import metrics

ROOT = Path(__file__).resolve().parents[2]


def make(directory: Path, options: str = "") -> World:
    world = World(directory, options=options)
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (world.dir / "html/ops/.htpasswd").write_text(f"admin:{hashed}\n")
    return world


def page(world: World, peer: str, password: str | None = None) -> Any:
    return world.ops(password).get("metrics", environ={"REMOTE_ADDR": peer})


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_the_page_is_what_prometheus_reads_also_without_database(tmp_path: Path) -> None:
    world = make(tmp_path)
    count = counters.Counters(counters.directory_of(world.project.tmp_dir), counters.SCHEDULER)
    count.count("jobs", 0.004, jobs_sent=2, results_reported=1, bytes_received=9000)
    count.count("jobs", 100.0, jobs_sent=1)
    response = page(world, "127.0.0.1")
    assert response.status_code == 200
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    found = families(response.text)
    assert [s.value for s in found["boinc_database_up"].samples] == [0]
    seconds = found["boinc_scheduler_request_seconds"]
    assert seconds.type == "histogram"
    by_label = {(s.name, *sorted(s.labels.items())): s.value for s in seconds.samples}
    jobs = ("outcome", "jobs")
    assert by_label["boinc_scheduler_request_seconds_count", jobs] == 2
    assert by_label["boinc_scheduler_request_seconds_sum", jobs] == pytest.approx(100.004)
    assert by_label["boinc_scheduler_request_seconds_bucket", ("le", "0.0025"), jobs] == 0
    assert by_label["boinc_scheduler_request_seconds_bucket", ("le", "0.005"), jobs] == 1
    assert by_label["boinc_scheduler_request_seconds_bucket", ("le", "60"), jobs] == 1
    assert by_label["boinc_scheduler_request_seconds_bucket", ("le", "+Inf"), jobs] == 2
    assert by_label["boinc_scheduler_request_seconds_count", ("outcome", "failed")] == 0
    assert [s.value for s in found["boinc_scheduler_jobs_sent"].samples] == [3]
    assert [s.value for s in found["boinc_scheduler_bytes_received"].samples] == [9000]
    assert found["boinc_upload_request_seconds"].samples
    assert found["boinc_metrics_seconds"].samples[0].value >= 0


@pytest.mark.parametrize(("options", "peer", "status"), [
    ("", "127.0.0.1", 200), ("", "::1", 200), ("", "172.18.0.1", 401), ("", "192.0.2.7", 401), ("", "", 401),
    ("<metrics_networks></metrics_networks>", "127.0.0.1", 401),
    ("<metrics_networks>192.0.2.0/24, 2001:db8::/32</metrics_networks>", "192.0.2.200", 200),
    ("<metrics_networks>192.0.2.0/24, 2001:db8::/32</metrics_networks>", "2001:db8::5", 200),
    ("<metrics_networks>192.0.2.0/24, 2001:db8::/32</metrics_networks>", "198.51.100.1", 401),
    ("<metrics_networks>nonsense 192.0.2.9</metrics_networks>", "192.0.2.9", 200),
])
def test_who_may_read_it(tmp_path: Path, options: str, peer: str, status: int) -> None:
    world = make(tmp_path, options)
    assert page(world, peer).status_code == status
    # Nothing else of the ops site opens with it, and the public site has no such page.
    assert world.ops(None).get("", environ={"REMOTE_ADDR": peer}).status_code == 401
    assert world.browser().get("metrics", environ={"REMOTE_ADDR": peer}).status_code == 404


def test_the_ops_password_opens_it_from_anywhere(tmp_path: Path) -> None:
    world = make(tmp_path)
    assert page(world, "198.51.100.1", "secret").status_code == 200
    assert page(world, "198.51.100.1", "wrong").status_code == 401


def test_every_metric_is_documented(tmp_path: Path) -> None:
    world = make(tmp_path)
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bboinc_\w+", text))
    source = (ROOT / "boincdock/lifecycle/metrics.py").read_text(encoding="utf-8")
    made = set(re.findall(r'Metric\("(boinc_\w+)"', source))
    made |= {m.name for m in metrics.request_metrics(world.project)} | {"boinc_metrics_seconds"}
    assert len(made) > 15
    assert made <= named, made - named
    suffixes = ("_bucket", "_sum", "_count")
    assert {n for n in named if not n.endswith(suffixes)} <= made, "documented, but not there"
    for number in counters.SCHEDULER.outcomes + counters.UPLOAD.outcomes:
        assert f"`{number}`" in text
