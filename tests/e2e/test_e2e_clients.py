"""Stock clients compute for the project: 8.2.15 the Docker plan class, 7.20.5 and 8.0.4 a version without one."""
from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_world import Stock, World, wait_for

NewClient = Callable[[World, str], Stock]


def _job_xml(world: World, name: str) -> tuple[str, ...]:
    """outcome, exit_status, validate_state and granted credit of a job's only result."""
    rows = world.sql("SELECT r.outcome, r.exit_status, r.validate_state, r.granted_credit FROM result r JOIN workunit w"
                     f" ON r.workunitid = w.id WHERE w.name = '{name}'")
    assert len(rows) == 1, rows
    return tuple(rows[0])


def _archive(blob: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
        return {Path(member.name).name: archive.extractfile(member).read()  # type: ignore[union-attr]
                for member in archive if member.isfile()}


def test_client_8_2_15_runs_both_docker_apps(world: World, new_client: NewClient, tmp_path: Path) -> None:
    client = new_client(world, "8.2.15")
    assert "Docker" in client.client.log()
    key = world.account()
    client.attach(world, key)
    text = tmp_path / "my input.txt"
    text.write_text("hello volunteers\nümläut & <xml>\n")
    worker = world.json("create-work", "--json", "--app", "worker", "--input", str(text))["name"]
    script = ("set -e; mkdir -p results; cp /root/shared/data.txt results/copy.txt; "
              "echo \"$GREETING\" > results/env.txt; echo to stdout; echo to stderr >&2")
    options = ["--env", "GREETING=Hello $BOINC 'and' \"all\"", "--input", f"{text}:data.txt"]
    docker = world.json("create-work", "--json", *options, "--workdir", "/root/shared", "debian:trixie-slim", "sh",
                        "-c", script)["name"]
    jobs = {job["name"]: job for job in world.finished(worker, docker, client=client)}

    content = world.output(jobs[worker]["outputs"][0]).decode()
    assert content == "HELLO VOLUNTEERS\nüMLäUT & <XML>\n"  # bytes only: the same on every host
    files = _archive(world.output(jobs[docker]["outputs"][0]))
    assert files["copy.txt"] == text.read_bytes()
    assert files["env.txt"].decode() == "Hello $BOINC 'and' \"all\"\n"
    assert files["stdout.txt"] == b"to stdout\n"
    assert files["stderr.txt"] == b"to stderr\n"

    for name in (worker, docker):
        outcome, exit_status, validate_state, credit = _job_xml(world, name)
        assert (outcome, exit_status, validate_state) == ("1", "0", "1")
        assert float(credit) > 0
    granted = world.sql(f"SELECT SUM(r.granted_credit) FROM result r JOIN user u ON r.userid = u.id WHERE "
                        f"u.authenticator = '{key}'")[0][0]
    total = world.sql(f"SELECT total_credit FROM user WHERE authenticator = '{key}'")[0][0]
    assert float(total) == pytest.approx(float(granted))
    plan_class = world.sql("SELECT av.plan_class FROM result r JOIN workunit w ON r.workunitid = w.id JOIN app_version "
                           f"av ON r.app_version_id = av.id WHERE w.name = '{docker}'")[0][0]
    assert "docker" in plan_class


def test_a_failing_container_hands_back_its_exit_status_and_stderr(world: World, new_client: NewClient) -> None:
    client = new_client(world, "8.2.15")
    client.attach(world, world.account())
    name = world.json("create-work", "--json", "--max-error-results", "1", "--max-total-results", "1",
                      "debian:trixie-slim", "sh", "-c", "echo this is why >&2; exit 3")["name"]

    def failed() -> bool:
        client.poke(world.master_url)
        return bool(world.json("jobs", "--json", name)["jobs"][0]["state"] == "error")

    wait_for("the job to fail", failed, 120, poll=2)
    job = world.json("jobs", "--json", name)["jobs"][0]
    assert job["results"][0]["exit_status"] == 3
    assert "this is why" in job["results"][0]["stderr"]
    assert job["results"][0]["credit"] == 0
    shown = world.run("jobs", name)
    assert "exit status 3" in shown.stdout
    assert "this is why" in shown.stdout


@pytest.mark.parametrize("version", ["7.20.5", "8.0.4"])
def test_older_clients_run_an_app_version_without_plan_class(
    world: World, new_client: NewClient, tmp_path: Path, version: str
) -> None:
    client = new_client(world, version)
    key = world.account()
    client.attach(world, key)
    text = tmp_path / "in"
    text.write_text("one\ntwo\n")
    name = world.json("create-work", "--json", "--app", "plain", "--input", str(text))["name"]
    job = world.finished(name, client=client)[0]
    assert world.output(job["outputs"][0]) == b"two\none\n"
    assert "on stderr" in job["results"][0]["stderr"]
    assert job["results"][0]["credit"] > 0
    seen = world.sql("SELECT h.total_credit, u.total_credit FROM host h JOIN user u ON h.userid = u.id WHERE "
                     f"u.authenticator = '{key}'")
    assert len(seen) == 1
    assert [float(total) for total in seen[0]] == pytest.approx([job["results"][0]["credit"]] * 2, rel=1e-4)
    log = world.run("shell", "cat", "log_boincserver/scheduler.log").stdout
    assert f"client {version} " in log


def test_a_client_without_docker_support_is_told_why_it_gets_nothing(world: World, new_client: NewClient) -> None:
    client = new_client(world, "8.0.4")
    client.attach(world, world.account())
    name = world.json("create-work", "--json", "debian:trixie-slim", "true")["name"]
    try:
        def told() -> bool:
            client.poke(world.master_url)
            return bool(re.search(r"\[boincserver\] .*(newer version of BOINC is needed|Docker)", client.client.log()))

        wait_for("the reason in the client's log", told, 60, poll=2)
        assert world.json("jobs", "--json", name)["jobs"][0]["state"] == "unsent"
    finally:
        world.run("shell", "bin/cancel_jobs", "--name", name, check=False)
