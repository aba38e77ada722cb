"""The Python API, on a machine that is not there."""
from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from manage_fakes import FakeRunner, healthy, ok, with_containers

import boincdock.jobs
from boincdock import client
from boincdock.errors import BoincdockError, InputError
from boincdock.manage import context, jobs

INSIDE = "docker exec -w /home/boincadm/project -u boincadm id-apache "
STDIN = INSIDE.replace("exec ", "exec -i ")


def _job(name: str, state: str, **more: Any) -> dict[str, Any]:
    result = {"credit": 1.5, "stderr": "boom" if state == "error" else ""}
    return {"id": 7, "name": name, "state": state, "error": "too many failures" if state == "error" else "",
            "outputs": [], "results": [result, dict(result)], **more}


def _jobs(*found: dict[str, Any]) -> Any:
    return ok(json.dumps({"jobs": list(found), "counts": {}}))


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRunner:
    """The API's runner; the project is that of ``tmp_path``."""
    (tmp_path / "docker-compose.yml").write_text("services: {}\n")
    made = FakeRunner(with_containers(healthy()))
    monkeypatch.setenv("BOINCDOCK_ROOT", str(tmp_path))
    monkeypatch.setattr(client, "App", lambda **options: context.App(runner=made, **options))
    monkeypatch.setattr(jobs, "_POLL", 0.001)
    monkeypatch.setattr(jobs, "_POLL_MAX", 0.001)
    for key in ("PORT", "URL_BASE", "PROJECT", "COMPOSE_PROJECT_NAME", "BOINCDOCK_SETTINGS"):
        monkeypatch.delenv(key, raising=False)
    return made


def _sent(runner: FakeRunner) -> Any:
    raw = [data for argv, data in zip(runner.calls, runner.stdin, strict=True) if "bin/submit_jobs" in argv][-1]
    with tarfile.open(fileobj=io.BytesIO(raw or b"")) as archive:
        return json.load(archive.extractfile("jobs.json"))  # type: ignore[arg-type]


def test_the_name_of_the_issue_leads_to_the_api() -> None:
    from boincdock.jobs import Project, submit

    assert submit is client.submit and Project is client.Project
    with pytest.raises(AttributeError):
        boincdock.jobs.nonsense  # noqa: B018
    assert set(client.__all__) - {"BoincdockError"} == boincdock.jobs._API
    script = "import sys, boincdock.jobs.model; sys.exit(any(m.startswith('boincdock.manage') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_one_job_from_submission_to_its_output(tmp_path: Path, runner: FakeRunner) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("A")
    runner.answers[STDIN + "bin/submit_jobs"] = ok('{"batch": 0, "jobs": [{"id": 7, "name": "j"}]}')
    answers = iter([_jobs(_job("j", "unsent")), _jobs(_job("j", "in_progress")), _jobs(_job("j", "done"))])
    runner.answers[STDIN + "bin/query_jobs"] = lambda _: next(answers)
    job = boincdock.jobs.submit("alpine", ["run", 3], env={"X": 7}, inputs={"/in": tmp_path / "d"},
                                outputs=["*.csv"], cpus=2, name="j")
    assert _sent(runner) == {"jobs": [{
        "args": ["--env", "X=7", "--output", "*.csv", "--cpus", "2", "alpine", "run", "3"], "name": "j",
        "files": [{"member": "f0", "name": "/in/a"}]}]}
    states: list[str] = []
    assert job.wait(on_change=lambda j: states.append(j.state)) is job
    assert (states, job.state, job.credit, job.error) == (["unsent", "in_progress", "done"], "done", 3.0, "")
    runner.answers[STDIN + "bin/query_jobs"] = _jobs(_job("j", "error"))
    assert list(job.follow()) == ["error"]
    assert job.error == "too many failures\nboom\nboom"
    runner.answers[INSIDE + "bin/cancel_jobs"] = ok('{"cancelled": 0}')
    assert job.cancel() is False


def test_a_batch(tmp_path: Path, runner: FakeRunner) -> None:
    created = [{"id": 7, "name": "a"}, {"id": 8, "name": "b"}]
    runner.answers[STDIN + "bin/submit_jobs"] = ok(json.dumps({"batch": 4, "jobs": created}))
    new = [client.app_job("worker", [__file__], command_line=f"{n}", priority=2) for n in range(2)]
    made = client.submit_batch("sweep", new, "why")
    sent = _sent(runner)
    assert sent["batch"] == {"name": "sweep", "description": "why"} and sent["jobs"][1]["app"] == "worker"
    assert sent["jobs"][1]["args"] == ["--command_line", "1", "--priority", "2"]
    counts = iter([{"jobs": 2, "done": n, "error": 0, "in_progress": 0, "assimilating": 0} for n in range(3)])
    runner.answers[INSIDE + "bin/batch show"] = lambda _: ok(
        json.dumps({"id": 4, "state": "complete", "counts": next(counts)}))
    seen: list[int] = []
    assert made.wait(on_change=lambda b: seen.append(b.counts["done"])).state == "complete"
    assert seen == [0, 1, 2]
    runner.answers[INSIDE + "bin/query_jobs"] = _jobs(_job("a", "done"), _job("b", "done"))
    assert [job.name for job in made.jobs] == ["a", "b"]
    assert made.results(tmp_path / "out") == {}
    made.add(new[:1])
    assert _sent(runner)["batch"] == {"id": 4}
    runner.answers[INSIDE + "bin/batch retire"] = ok('{"id": 4, "state": "retired", "cancelled": 1, "counts": {}}')
    assert made.retire() == 1 and made.state == "retired"


def test_mistakes_are_told_before_anything_is_sent(runner: FakeRunner, tmp_path: Path) -> None:
    for bad in (lambda: client.docker_job("alpine", memroy="1g"), lambda: client.docker_job("alpine", inputs=["/none"]),
                lambda: client.docker_job("alpine", dockerfile="Dockerfile")):
        with pytest.raises(InputError):
            bad()
    with pytest.raises(BoincdockError, match="no project in"):
        client.Project(tmp_path / "nowhere")
    runner.answers["docker ps -aq --no-trunc"] = ok("")
    with pytest.raises(BoincdockError, match="apache is not running"):
        client.Project()
    assert not runner.did(STDIN)
