"""The supervisor with real processes: start, stop, restart, status from outside (spec 05 B4-B7)."""
from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boincdock.config import Project, load_project, parse_config
from boincdock.errors import BoincdockError, ConfigError
from boincdock.lifecycle import control, runstate
from boincdock.lifecycle.logfiles import rotate_all
from boincdock.lifecycle.process import command_line, conflicts
from boincdock.lifecycle.supervisor import health_problems, pid_namespace

ROOT = Path(__file__).parents[2]
SLEEPER = "#!/bin/sh\ntrap 'exit 0' TERM\necho started $@\nwhile :; do sleep 0.1; done\n"
CRASHER = "#!/bin/sh\necho crash\nexit 3\n"
STUBBORN = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n"
ORPHAN = "#!/bin/sh\n(sleep 0.2; exit 0) &\nexec sleep 1000\n"
TASK = "#!/bin/sh\ndate +%s.%N >> $BOINC_PROJECT_DIR/task.runs\nexit 4\n"


def wait_for(condition: Callable[[], Any], seconds: float = 15, what: str = "condition") -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} not met in {seconds} s")


class Box:
    """A project folder and the supervisors running on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir()
        for name, text in {"sleeper": SLEEPER, "crasher": CRASHER, "stubborn": STUBBORN, "orphan": ORPHAN,
                           "task": TASK}.items():
            path = root / "bin" / name
            path.write_text(text)
            path.chmod(0o755)
        self.running: list[subprocess.Popen[bytes]] = []

    def configure(self, daemons: str, tasks: str = "") -> None:
        text = (f"<boinc><config><host>test</host></config><tasks>{tasks}</tasks>"
                f"<daemons>{daemons}</daemons></boinc>")
        fresh = self.root / "config.new"
        fresh.write_text(text)
        fresh.replace(self.root / "config.xml")

    @property
    def project(self) -> Project:
        return load_project(self.root)

    def supervise(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "BOINC_PROJECT_DIR": str(self.root), "PYTHONPATH": str(ROOT),
                       "BOINCDOCK_STOP_SECONDS": "1"}
        process = subprocess.Popen([sys.executable, "-m", "boincdock.lifecycle.supervisor"], env=environment,
                                   stderr=(self.root / "supervisor.err").open("ab"))
        self.running.append(process)
        return process

    def row(self, name: str, slot: int = 1) -> dict[str, Any]:
        try:
            report = json.loads(runstate.report_path(self.project, slot).read_text())
        except (OSError, ValueError):
            return {}
        return next((r for r in report["daemons"] + report["tasks"] if r["name"] == name), {})

    def wait_state(self, name: str, state: str, slot: int = 1) -> dict[str, Any]:
        return wait_for(lambda: self.row(name, slot).get("state") == state and self.row(name, slot),
                        what=f"{name} {state} (is {self.row(name, slot)})")


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    for process in made.running:
        if process.poll() is None:
            process.terminate()
    for process in made.running:
        process.wait(15)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z")


def daemon(cmd: str, extra: str = "") -> str:
    return f"<daemon><cmd>{cmd}</cmd>{extra}</daemon>"


def test_first_start_runs_everything_and_sigterm_ends_it(box: Box) -> None:
    box.configure(daemon("sleeper --app one") + daemon("sleeper --app two") + daemon(
        "sleeper --app three", "<disabled>1</disabled>"))
    process = box.supervise()
    one, two = box.wait_state("sleeper.one", "running"), box.wait_state("sleeper.two", "running")
    assert one["pid"] != two["pid"] and alive(one["pid"])
    assert box.row("sleeper.three")["state"] == "disabled"
    assert "started --app two" in (box.project.log_dir / "sleeper.two.log").read_text()
    assert (box.project.pid_dir / "sleeper.one.pid").read_text() == f"{one['pid']}\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not alive(one["pid"]) and not alive(two["pid"])
    assert not (box.project.pid_dir / "sleeper.one.pid").exists()
    assert runstate.live_reports(box.project) == []


def test_killed_daemon_comes_back(box: Box) -> None:
    box.configure(daemon("sleeper"))
    box.supervise()
    first = box.wait_state("sleeper", "running")
    os.kill(first["pid"], signal.SIGKILL)
    again = wait_for(lambda: box.row("sleeper").get("pid") not in (0, None, first["pid"])
                     and box.wait_state("sleeper", "running"))
    assert again["restarts"] == 1 and again["last_exit"] == -9


def test_dying_daemon_is_restarted_with_growing_pauses(box: Box) -> None:
    box.configure(daemon("crasher"))
    box.supervise()
    row = wait_for(lambda: box.row("crasher").get("restarts", 0) >= 3 and box.row("crasher"), 30)
    assert row["last_exit"] == 3
    assert "exit status 3" in box.wait_state("crasher", "backoff")["error"]
    runs = (box.project.log_dir / "crasher.log").read_text().count("crash\n")
    assert 3 <= runs <= 5, "1 s, 2 s, 4 s between tries"


def test_stop_ends_daemons_and_survives_a_restart_of_the_container(box: Box) -> None:
    box.configure(daemon("sleeper"))
    first = box.supervise()
    pid = box.wait_state("sleeper", "running")["pid"]
    said: list[str] = []
    control.stop(box.project, said.append, timeout=20)
    assert not alive(pid) and said == ["BOINC is DISABLED: all daemons have ended"]
    assert box.project.trigger("stop_sched").exists() and box.project.trigger("stop_daemons").exists()
    document = control.status(box.project)
    assert document["enabled"] is False and document["daemons"][0]["state"] == "stopped"
    assert health_problems(box.project, time.time()) == [], "stopped on purpose is healthy"
    first.terminate()
    first.wait(10)
    box.supervise()
    wait_for(lambda: runstate.live_reports(box.project))
    seen = time.time() + 1.5  # long enough for a wrong start to show
    wait_for(lambda: [r for r in runstate.live_reports(box.project) if r["updated"] > seen])
    assert box.row("sleeper")["state"] == "stopped"
    control.start(box.project, said.append, timeout=20)
    assert box.row("sleeper")["state"] == "running"
    assert not box.project.trigger("stop_sched").exists() and not box.project.trigger("stop_daemons").exists()
    assert said[-1] == "BOINC is ENABLED: 1 daemons run"


def test_start_without_supervisor_says_so(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.configure(daemon("sleeper"))
    monkeypatch.setattr(control, "APPEAR_SECONDS", 0.3)
    with pytest.raises(BoincdockError, match="no supervisor") as caught:
        control.start(box.project, print, timeout=5)
    assert "daemons" in (caught.value.hint or "")
    assert control.status(box.project)["enabled"] is True
    control.stop(box.project, print, timeout=5)
    assert control.status(box.project)["enabled"] is False


def test_start_names_what_does_not_run(box: Box) -> None:
    box.configure(daemon("sleeper") + daemon("no_such_program"))
    box.supervise()
    box.wait_state("sleeper", "running")
    with pytest.raises(BoincdockError, match=r"no_such_program is backoff .*there is no program"):
        control.start(box.project, print, timeout=3)
    assert any("no_such_program" in p for p in health_problems(box.project, time.time()))


def test_duplicates_are_rejected_and_the_others_run(box: Box) -> None:
    box.configure(daemon("sleeper") + daemon("sleeper --mod 2 1"))
    box.supervise()
    box.wait_state("sleeper", "running")
    with pytest.raises(BoincdockError, match=r"has the same .*'sleeper"):
        control.start(box.project, print, timeout=20)
    assert box.row("sleeper")["state"] == "running"


def test_stubborn_daemon_is_killed_when_the_container_stops(box: Box) -> None:
    box.configure(daemon("stubborn"))
    process = box.supervise()
    pid = box.wait_state("stubborn", "running")["pid"]
    process.terminate()
    assert process.wait(10) == 0
    assert not alive(pid)


def test_changed_config_is_taken_up_and_a_broken_one_is_not(box: Box) -> None:
    box.configure(daemon("sleeper --app one"))
    box.supervise()
    pid = box.wait_state("sleeper.one", "running")["pid"]
    (box.root / "config.xml").write_text("<boinc><config>")
    wait_for(lambda: any(r.get("error") for r in runstate.live_reports(Project(box.root, box_config()))))
    assert alive(pid)
    box.configure(daemon("sleeper --app two"))
    box.wait_state("sleeper.two", "running")
    wait_for(lambda: not alive(pid))


def box_config() -> Any:
    return parse_config(b"<boinc><config><host>test</host></config></boinc>", Path("/nonexistent")).config


def test_task_runs_by_period_and_remembers(box: Box) -> None:
    box.configure("", "<task><cmd>task</cmd><period>2 s</period></task>")
    process = box.supervise()
    runs = box.root / "task.runs"
    wait_for(lambda: runs.exists() and len(runs.read_text().split()) >= 3)
    times = [float(t) for t in runs.read_text().split()]
    assert min(b - a for a, b in itertools.pairwise(times)) > 1.4
    row = wait_for(lambda: box.row("task").get("last_exit") == 4 and box.row("task"))
    assert row["last_duration"] is not None and row["next_run"] == pytest.approx(row["last_run"] + 2)
    process.terminate()
    process.wait(10)
    state = runstate.read(box.project)
    assert state is not None and state.enabled and state.last_run["task"] == pytest.approx(times[-1], abs=3)


def test_orphans_are_collected(box: Box) -> None:
    box.configure(daemon("orphan"))
    process = box.supervise()
    box.wait_state("orphan", "running")
    zombies = [p for p in Path("/proc").glob("[0-9]*/stat") if _is_zombie_of(p, process.pid)]
    assert zombies == []


def _is_zombie_of(stat: Path, parent: int) -> bool:
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] == "Z" and int(fields[1]) == parent


def test_second_supervisor_takes_a_slot_of_its_own(box: Box) -> None:
    box.configure(daemon("sleeper"), "<task><cmd>task</cmd><period>1 h</period></task>")
    box.supervise()
    first = box.wait_state("sleeper", "running")
    box.supervise()
    second = box.wait_state("sleeper.r2", "running", slot=2)
    assert first["pid"] != second["pid"]
    wait_for(lambda: (box.root / "task.runs").exists())
    assert {d["name"] for d in control.status(box.project)["daemons"]} == {"sleeper", "sleeper.r2"}
    control.stop(box.project, print, timeout=20)
    assert not alive(first["pid"]) and not alive(second["pid"])
    assert len((box.root / "task.runs").read_text().split()) == 1


# ---- without processes ------------------------------------------------------------------------------------

def report(**daemon_row: Any) -> dict[str, Any]:
    row = {"name": "d", "state": "running", "beats": True, "heartbeat_age": 3.0, **daemon_row}
    return {"slot": 1, "pid_namespace": pid_namespace(), "updated": 1000.0, "state": "running", "enabled": True,
            "error": "", "daemons": [row], "tasks": []}


@pytest.mark.parametrize(("row", "now", "problem"), [
    ({}, 1001, None), ({"heartbeat_age": 61}, 1001, "no heartbeat"), ({"heartbeat_age": None}, 1001, "no heartbeat"),
    ({"heartbeat_age": None, "beats": False}, 1001, None), ({"state": "backoff"}, 1001, "backoff"),
    ({"state": "disabled"}, 1001, None), ({}, 1011, "no supervisor")])
def test_health(box: Box, row: dict[str, Any], now: float, problem: str | None) -> None:
    box.configure("")
    runstate.make_dirs(box.project)
    runstate.write_report(box.project, 1, report(**row))
    problems = health_problems(box.project, now)
    assert (problems == []) if problem is None else (problem in problems[0])


def test_health_of_another_container_is_not_ours(box: Box) -> None:
    box.configure("")
    runstate.make_dirs(box.project)
    runstate.write_report(box.project, 1, {**report(), "pid_namespace": 1})
    assert health_problems(box.project, 1001) == ["no supervisor is at work in this container"]


def test_run_state_round_trip(box: Box) -> None:
    box.configure("")
    assert runstate.read(box.project) is None

    def change(state: runstate.RunState) -> None:
        state.enabled = True
        state.last_run["a <b> & 'c'"] = 1234

    runstate.update(box.project, change)
    assert runstate.read(box.project) == runstate.RunState(True, {"a <b> & 'c'": 1234})
    box.project.run_state_file.write_text("<boinc><tasks>")
    with pytest.raises(ConfigError) as caught:
        runstate.read(box.project)
    assert "bin/start" in (caught.value.hint or "")


def test_upstream_run_state_is_understood(box: Box) -> None:
    box.configure("")
    box.project.run_state_file.write_text(
        '<?xml version="1.0" ?>\n<boinc>\n <tasks>\n <task>\n <cmd>update_stats</cmd>\n <last_run>1700000000</last_run>'
        "\n </task>\n </tasks>\n <enabled>1</enabled>\n</boinc>\n")
    assert runstate.read(box.project) == runstate.RunState(True, {"update_stats": 1700000000})


@pytest.mark.parametrize("cmd", ["sleeper | tee x", "sleeper > x", "sleeper 2>&amp;1 x", "'unclosed", ""])
def test_bad_commands(box: Box, cmd: str) -> None:
    box.configure("")
    with pytest.raises(ConfigError):
        command_line(box.project, cmd.replace("&amp;", "&"), use_shell=False)


def test_command_lookup(box: Box) -> None:
    box.configure("")
    assert command_line(box.project, "sleeper -d 3", False) == ["sleeper", "-d", "3"]
    assert command_line(box.project, "transitioner -d 3", False)[1:] == [
        "-m", "boincdock.bin._run", "transitioner", "-d", "3"]
    assert command_line(box.project, "a | b", True) == ["/bin/sh", "-c", "a | b"]


def test_conflicts_name_both_entries(box: Box) -> None:
    box.configure(daemon("v --app a") + daemon("v --app b") + daemon("v --app a") + daemon(
        "v --app a", "<disabled>1</disabled>"))
    found = conflicts(box.project.daemons)
    assert list(found) == [2] and "v --app a" in found[2]


def test_logs_are_cut_in_place(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with path.open("ab") as writer:
        for n in range(1, 4):
            writer.write(bytes([64 + n]) * 100)
            writer.flush()
            assert rotate_all(tmp_path, max_bytes=50, kept=2) == [path]
        writer.write(b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "x.log.1").read_bytes() == b"C" * 100
    assert (tmp_path / "x.log.2").read_bytes() == b"B" * 100
    assert not (tmp_path / "x.log.3").exists()
