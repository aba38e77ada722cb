"""The three models of Docker apps (spec 07 section 7.3), several CPUs, an image that a job brings: client 8.2.15."""
from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e_world import Stock, World, docker

NewClient = Callable[[World, str], Stock]


@pytest.fixture
def private_image() -> Iterator[str]:
    """An image that no registry has, and this engine only until the job is made."""
    name = f"bdtest-private/{uuid.uuid4().hex[:12]}:1"
    docker("build", "-q", "-t", name, "-", stdin=b"FROM debian:trixie-slim\nRUN echo from inside > /message\n")
    yield name
    docker("rmi", "-f", name, check=False)


def _images(world: World) -> list[str]:
    listed = docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode().split()
    return [name for name in listed if world.proj.lower() in name]


def test_each_model_computes(world: World, new_client: NewClient, private_image: str, tmp_path: Path) -> None:
    client = new_client(world, "8.2.15")
    client.attach(world, world.account())
    text = tmp_path / "in"
    text.write_text("samples 400000\nseed 7\ndimensions 3\n")
    single = world.json("create-work", "--json", "--app", "montecarlo", "--input", str(text))["name"]
    worker = world.json("create-work", "--json", "--app", "worker", "--input", str(text))["name"]
    (tmp_path / "r.csv").write_text("R\n2.0\n3.2\n")
    semi = world.json("create-work", "--json", "--app", "sweep", "--each", str(tmp_path / "r.csv"), "--command_line",
                      "{R}")
    universal = world.json("create-work", "--json", "debian:trixie-slim", "sh", "-c", "echo universal")["name"]
    shipped = world.json("create-work", "--json", "--ship", private_image, "cat", "/message")["name"]
    docker("rmi", private_image)
    sweep = [job["name"] for job in semi["jobs"]]
    done = {job["name"]: job for job in world.finished(single, worker, *sweep, universal, shipped, client=client,
                                                       seconds=300)}

    # Single-purpose: all in the app version; the image stays for the next job.
    assert world.output(done[worker]["outputs"][0]).decode() == text.read_text().upper()
    lines = dict(line.split() for line in world.output(done[single]["outputs"][0]).decode().splitlines())
    assert float(lines["volume"]) == pytest.approx(4 / 3 * math.pi, rel=0.02) and lines["samples"] == "400000"
    assert f"blocks on {_cpus(world, single)} CPUs" in done[single]["results"][0]["stderr"]
    kept = " ".join(_images(world))
    assert "_worker_docker_" in kept and "_montecarlo_docker_mt_" in kept

    # Semi-universal: program and Dockerfile are the workunit's, the same sticky files for both jobs.
    points = {name: world.output(done[name]["outputs"][0]).decode().splitlines() for name in sweep}
    assert set(points[sweep[0]]) == {"2.0 0.500000"} and len(points[sweep[1]]) == 120
    assert len({line.split()[1] for line in points[sweep[1]]}) == 2, "a cycle of two"
    files = world.sql(f"SELECT xml_doc FROM workunit WHERE name = '{sweep[1]}'")[0][0]
    assert files.count("<sticky/>") == 3 and "sweep_1_logistic.sh" in files

    # Universal; and an image that came with the job.
    shown = world.run("jobs", "results", universal, shipped, "--to", str(tmp_path / "out"), "--json").stdout
    assert (tmp_path / "out" / universal / "stdout.txt").read_text() == "universal\n", shown
    assert (tmp_path / "out" / shipped / "stdout.txt").read_text() == "from inside\n"
    assert private_image.split(":")[0] not in docker("images", "--format", "{{.Repository}}").stdout.decode()


def _cpus(world: World, name: str) -> int:
    """CPUs that the scheduler gave a job's instance: all of the host's, at most 16."""
    row = world.sql("SELECT h.p_ncpus FROM result r JOIN workunit w ON r.workunitid = w.id JOIN host h ON r.hostid = "
                    f"h.id WHERE w.name = '{name}'")
    return min(16, int(row[0][0]))
