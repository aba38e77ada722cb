"""`manage.py demo`: two Docker jobs from submission to credit, on a stock client, before your eyes."""
from __future__ import annotations

import io
import secrets
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boincdock.errors import BoincdockError
from boincdock.manage import jobs, webrpc
from boincdock.manage.compose import Compose
from boincdock.manage.submit import NewJob, submit
from boincdock.manage.ui import Ui
from boincdock.manage.volunteer import Client, Volunteer

RESULT_IN_TAR = "hello.txt"
_POKE_EVERY = 6.0


@dataclass
class Demo:
    """One run. ``prepare`` attaches the volunteer, ``submit`` makes the jobs, ``watch`` follows them."""

    compose: Compose
    ui: Ui
    timeout: float = 240.0
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    start: float = field(default_factory=time.monotonic)

    def run(self) -> list[dict[str, Any]]:
        """The whole demo; returns the two finished jobs with their outputs. BoincdockError if one is not right."""
        client = self.prepare()
        expected = self.submit()
        finished = self.watch(client, list(expected))
        return [self.check(job, expected[job["name"]]) for job in finished]

    def prepare(self) -> Client:
        """A client attached to a fresh account."""
        url = self.compose.settings.master_url
        client = Volunteer(self.compose, self.ui).start()
        email = f"demo-{self.token}@example.org"
        with self.ui.step("Account and attachment") as step:
            authenticator = webrpc.create_account(url, email, secrets.token_urlsafe(12), f"Demo {self.token}")
            for known in client.projects():
                step.update(f"detaching from {known}")
                client.detach(known)
            _until(lambda: not client.projects(), "the client to leave its old project")
            client.attach(url, authenticator)
            _until(lambda: url in client.projects(), "the client to attach")
            step.note = f"{email} on {url}"
        return client

    def submit(self) -> dict[str, str]:
        """A worker job and a docker job; returns what each must give back, by job name."""
        text = f"hello boincdock, this is run {self.token}\n"
        image = self.compose.settings["BASE_IMAGE"]
        with self.ui.step("Submitting two jobs") as step, tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "in"
            source.write_text(text, encoding="utf-8")
            (worker,) = submit(self.compose, [NewJob((), ((source, "in"),), app="worker")]).names
            folder_inside = "/root/shared/results"
            script = f"mkdir -p {folder_inside} && echo 'Hello BOINC {self.token}' >{folder_inside}/{RESULT_IN_TAR}"
            (docker,) = submit(self.compose, [NewJob((image, "sh", "-c", script))]).names
            step.note = f"worker {worker}, docker {docker}"
        return {worker: text.upper(), docker: f"Hello BOINC {self.token}\n"}

    def watch(self, client: Client, names: list[str]) -> list[dict[str, Any]]:
        """Show every change of state until both jobs are done."""
        url = self.compose.settings.master_url
        apps: dict[str, str] = {}
        stages: dict[str, str] = {}
        poked = 0.0

        def changed(job: dict[str, Any]) -> None:
            apps[job["name"]] = job["app"]
            self._line(job["app"], jobs.progress(job))

        def poke() -> None:
            nonlocal poked
            for task in client.tasks():
                name = next((n for n in names if task.name.startswith(n + "_")), None)
                if name and stages.get(name) != task.stage():
                    stages[name] = task.stage()
                    self._line(apps.get(name, "?"), f"on the volunteer: {task.stage()}")
            if time.monotonic() - poked > _POKE_EVERY:
                poked = time.monotonic()
                client.update(url)

        try:
            return jobs.wait(self.compose, names, self.timeout, changed, poke)
        except BoincdockError as error:
            tail = "\n  ".join(client.log(25).splitlines())
            raise BoincdockError(f"{error.message}\nthe client's log:\n  {tail}", error.hint) from None

    def check(self, job: dict[str, Any], expected: str) -> dict[str, Any]:
        """The job with ``content`` and ``credit``; BoincdockError unless it is valid, credited and right."""
        credit = sum(result.get("credit") or 0 for result in job["results"])
        if job["state"] != "done":
            raise BoincdockError(f"the {job['app']} job failed: {job.get('error')}\n{_stderr(job)}")
        if credit <= 0:
            raise BoincdockError(f"the {job['app']} job was granted no credit")
        content = "".join(self._content(path) for path in job["outputs"])
        if content != expected:
            raise BoincdockError(f"the {job['app']} job returned {content!r} instead of {expected!r}")
        return {**job, "content": content, "credit": credit}

    def _content(self, path: str) -> str:
        """An output's text; of an archive, the text of the file the job wrote."""
        blob = self.compose.project_command("cat", path).stdout
        if not path.endswith((".tgz", ".tar.gz")) and not blob.startswith(b"\x1f\x8b"):
            return blob.decode("utf-8", "replace")
        with tarfile.open(fileobj=io.BytesIO(blob)) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name.endswith(RESULT_IN_TAR) else None
                if stream:
                    return stream.read().decode("utf-8", "replace")
        return ""

    def _line(self, app: str, text: str) -> None:
        self.ui.say(f"  {time.monotonic() - self.start:5.1f} s  {app:8} {text}")


def _stderr(job: dict[str, Any]) -> str:
    texts = [result.get("stderr") or "" for result in job["results"]]
    return "\n".join(line for text in texts for line in text.strip().splitlines()[-15:])


def _until(condition: Any, what: str, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise BoincdockError(f"waited {timeout:.0f} s for {what}")
        time.sleep(0.3)
