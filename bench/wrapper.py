"""What docker_wrapper costs: start-up time over a bare ``docker run``, CPU time while it polls, memory, builds.

    python bench/wrapper.py DOCKER_WRAPPER [--runs 10] [--image debian:trixie-slim] [--poll-seconds 60] [--jobs 20]

Plays a client of version 8.2.15 (shared memory, heartbeats, spec 07 §2) in a directory of its own. Prints JSON: wall
seconds, and CPU seconds beside them, because wall time on a busy machine says little.
"""
from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

FOLDER = "bench.example.org_wrapper"
SEGMENT = 8192
HEARTBEAT, APP_STATUS, TRICKLE_UP = 4096, 5120, 6144
GOALS = {"overhead_seconds": 0.5, "poll_cpu_percent": 0.2, "rss_mb": 15.0, "builds_of_many_jobs": 1}


class Job:
    """One slot with one job, and the client's side of its shared memory."""

    def __init__(self, data: Path, slot: int, dockerfile: str) -> None:
        self.slot = data / "slots" / str(slot)
        project = data / "projects" / FOLDER
        self.slot.mkdir(parents=True)
        project.mkdir(parents=True, exist_ok=True)
        self.name = f"bench_{uuid.uuid4().hex[:10]}"
        (project / "bench_Dockerfile").write_text(dockerfile)
        (self.slot / "Dockerfile").write_text(f"<soft_link>../../projects/{FOLDER}/bench_Dockerfile</soft_link>\n")
        (self.slot / "init_data.xml").write_text(
            "<app_init_data>\n<major_version>8</major_version><minor_version>2</minor_version><release>15</release>\n"
            f"<app_version>100</app_version><app_name>bench</app_name><project_dir>{project}</project_dir>\n"
            f"<wu_name>{self.name}</wu_name><result_name>{self.name}_0</result_name><shm_key>-1</shm_key><slot>{slot}</slot>\n"
            f"<client_pid>{os.getpid()}</client_pid><checkpoint_period>60</checkpoint_period><ncpus>1.0</ncpus>\n"
            "<gpu_device_num>-1</gpu_device_num><host_info><docker_version>28.2.2</docker_version>"
            "<docker_type>1</docker_type></host_info>\n<app_file>bench_Dockerfile</app_file></app_init_data>\n")
        with (self.slot / "boinc_mmap_file").open("wb") as file:
            file.truncate(SEGMENT)
        with (self.slot / "boinc_mmap_file").open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), SEGMENT)
        self._stop = threading.Event()

    def _play(self) -> None:
        text = b"<heartbeat/><wss>1.000000e+06</wss><max_wss>8.000000e+09</max_wss>\0"
        while not self._stop.wait(1.0):
            if not self.memory[HEARTBEAT]:
                self.memory[HEARTBEAT + 1:HEARTBEAT + 1 + len(text)] = text
                self.memory[HEARTBEAT] = 1
            self.memory[APP_STATUS] = self.memory[TRICKLE_UP] = 0

    def start(self, wrapper: Path) -> subprocess.Popen[bytes]:
        """Start the wrapper as a client does."""
        threading.Thread(target=self._play, daemon=True).start()
        with (self.slot / "stderr.txt").open("ab") as stderr:
            return subprocess.Popen([str(wrapper)], cwd=self.slot, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=stderr)

    def finish(self, process: subprocess.Popen[bytes], limit: float = 300) -> str:
        """Wait for its end; what it wrote to stderr.txt. RuntimeError if the job failed."""
        status = process.wait(limit)
        self._stop.set()
        text = (self.slot / "stderr.txt").read_text(errors="replace")
        if status or not (self.slot / "boinc_finish_called").exists():
            raise RuntimeError(f"the job ended with {status}:\n{text}")
        return text


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _timed(run: Any) -> tuple[float, float]:
    """Wall and CPU seconds (of ended children) of a call."""
    cpu, start = _cpu_of_children(), time.monotonic()
    run()
    return time.monotonic() - start, _cpu_of_children() - cpu


def overhead(wrapper: Path, data: Path, image: str, runs: int) -> dict[str, float]:
    """A job through the wrapper against ``docker run``, by turns, both warm."""
    dockerfile = f"FROM {image}\nCMD true\n"
    slot = iter(range(1000))

    def job() -> None:
        new = Job(data, next(slot), dockerfile)
        new.finish(new.start(wrapper))

    def bare() -> None:
        subprocess.run(["docker", "run", "--rm", image, "true"], check=True, capture_output=True)

    job()
    bare()
    figures: dict[str, list[tuple[float, float]]] = {"bare": [], "wrapper": []}
    for _ in range(runs):
        figures["bare"].append(_timed(bare))
        figures["wrapper"].append(_timed(job))
    medians = {f"{name}_{kind}": statistics.median(pair[i] for pair in pairs)
               for name, pairs in figures.items() for i, kind in enumerate(("seconds", "cpu_seconds"))}
    differences = [mine[0] - theirs[0] for mine, theirs in zip(figures["wrapper"], figures["bare"], strict=True)]
    return {**medians, "overhead_seconds": statistics.median(differences), "overhead_best_seconds": min(differences)}


def _ticks(pid: int) -> float:
    """CPU seconds of a process and its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def polling(wrapper: Path, data: Path, image: str, seconds: float) -> dict[str, float]:
    """CPU time and memory of the wrapper and its helpers while a container sleeps."""
    job = Job(data, 2000, f"FROM {image}\nCMD sleep {int(seconds) + 30}\n")
    process = job.start(wrapper)
    deadline = time.monotonic() + 120
    while not subprocess.run(["docker", "ps", "-q", "--filter", f"name={job.name}"], capture_output=True).stdout:
        if time.monotonic() > deadline:
            raise RuntimeError("the container did not start")
        time.sleep(0.5)
    time.sleep(10)  # the first measurements are closer together
    before, start = _ticks(process.pid), time.monotonic()
    time.sleep(seconds)
    used, passed = _ticks(process.pid) - before, time.monotonic() - start
    status = Path(f"/proc/{process.pid}/status").read_text()
    memory = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in status.splitlines()
              if line.startswith(("VmRSS", "VmHWM", "RssAnon"))}
    job.finish(process)
    return {"poll_cpu_percent": 100 * used / passed, "rss_mb": memory["VmRSS"], "peak_rss_mb": memory["VmHWM"],
            "anonymous_mb": memory["RssAnon"]}


def builds(wrapper: Path, data: Path, image: str, jobs: int) -> dict[str, float]:
    """Jobs of one app version, four at a time."""
    nonce = uuid.uuid4().hex
    made = [Job(data, 3000 + i, f"FROM {image}\nLABEL bench={nonce}\nCMD true\n") for i in range(jobs)]
    texts: list[str] = []
    for i in range(0, jobs, 4):
        running = [(job, job.start(wrapper)) for job in made[i:i + 4]]
        texts += [job.finish(process) for job, process in running]
    return {"many_jobs": jobs, "builds_of_many_jobs": sum(text.count("built in") for text in texts)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wrapper", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--image", default="debian:trixie-slim")
    parser.add_argument("--poll-seconds", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=20)
    options = parser.parse_args()
    data = Path(tempfile.mkdtemp(prefix="bench_wrapper"))
    wrapper = options.wrapper.resolve()
    try:
        found: dict[str, float] = overhead(wrapper, data, options.image, options.runs)
        found |= polling(wrapper, data, options.image, options.poll_seconds)
        found |= builds(wrapper, data, options.image, options.jobs)
    finally:
        shutil.rmtree(data, ignore_errors=True)
        for ref in subprocess.run(["docker", "images", "--filter", f"label=boinc.project={FOLDER}", "-q"],
                                  capture_output=True, text=True).stdout.split():
            subprocess.run(["docker", "rmi", "-f", ref], capture_output=True)
    found["load_average"] = os.getloadavg()[0]
    missed = {name: found[name] for name, goal in GOALS.items() if found[name] > goal}
    print(json.dumps({"figures": {name: round(value, 3) for name, value in found.items()}, "goals": GOALS,
                      "missed": {name: round(value, 3) for name, value in missed.items()}}, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
