"""A stock BOINC client in a container: starting it, and talking to it with boinccmd."""
from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from boincdock.errors import BoincdockError
from boincdock.manage import baseimage
from boincdock.manage.compose import Compose
from boincdock.manage.engine import Engine
from boincdock.manage.shell import Result, Runner
from boincdock.manage.ui import Ui

CHECKOUT = Path(__file__).resolve().parents[2]
DEFAULT_BASE = "debian:forky-slim"
"""The base image with client 8.2.15, the first one with Docker support of its own."""

HELLO_IMAGE = "hello-world"
HELLO_LABEL = "org.boincdock.hello"
HELLO_TEXT = "Hello from Docker! (boincdock's stand-in for the hello-world image)"
_READY_TIMEOUT = 60.0


@dataclass(frozen=True)
class Task:
    """A job on the client, as boinccmd shows it."""

    name: str
    state: str
    active_state: str
    fraction_done: float
    exit_status: int

    def stage(self) -> str:
        """What the client is doing with it, in a few words."""
        if self.active_state == "EXECUTING":
            return f"running, {self.fraction_done:.0%}"
        return self.state


@dataclass
class Client:
    """A running client container; ``data`` is its data directory (the same path inside and outside)."""

    runner: Runner
    container: str
    data: str

    def boinccmd(self, *arguments: str, check: bool = True) -> Result:
        """Run boinccmd against this client; raises BoincdockError with its complaint."""
        command = ["boinccmd", "--unix_domain", *arguments]
        argv = Engine(self.runner).exec_argv(self.container, command, workdir=self.data)
        result = self.runner.run(argv, check=False, timeout=60)
        if check and not result.ok:
            lines = (result.errors + result.text).strip().splitlines() or [f"status {result.status}"]
            raise BoincdockError(f"the client refused `boinccmd {arguments[0]}`: {lines[-1]}")
        return result

    def wait_ready(self, timeout: float = _READY_TIMEOUT) -> str:
        """Until the client answers; returns its version."""
        deadline = time.monotonic() + timeout
        while True:
            result = self.boinccmd("--client_version", check=False)
            match = re.search(r"Client version: (\S+)", result.text)
            if result.ok and match:
                return match[1]
            if time.monotonic() > deadline:
                raise BoincdockError(f"the BOINC client does not answer; it said:\n{self.log(20)}")
            time.sleep(0.3)

    def attach(self, master_url: str, authenticator: str) -> None:
        """Attach to a project with an account key."""
        self.boinccmd("--project_attach", master_url, authenticator)

    def projects(self) -> list[str]:
        """The master URLs of the projects it is attached to."""
        return re.findall(r"master URL: (\S+)", self.boinccmd("--get_project_status").text)

    def detach(self, master_url: str) -> None:
        """Leave a project; its jobs are dropped."""
        self.boinccmd("--project", master_url, "detach")

    def update(self, master_url: str) -> None:
        """Ask the client to contact the project now, whatever delay it was told."""
        self.boinccmd("--project", master_url, "update", check=False)
        self.boinccmd("--network_available", check=False)  # retries file transfers that wait after a failure

    def tasks(self) -> list[Task]:
        """Its jobs."""
        return parse_tasks(self.boinccmd("--get_tasks", check=False).text)

    def log(self, lines: int = 200) -> str:
        """The end of the client's log."""
        result = self.runner.run(["docker", "logs", "--tail", str(lines), self.container], check=False)
        return result.text + result.errors


def parse_tasks(text: str) -> list[Task]:
    """The blocks of `boinccmd --get_tasks`."""
    tasks = []
    for block in re.split(r"(?m)^\d+\) -+\n", text)[1:]:
        fields = dict(re.findall(r"(?m)^ +([a-zA-Z_ ]+): (.*)$", block))
        tasks.append(Task(
            name=fields.get("name", "").strip(), state=fields.get("state", "").strip(),
            active_state=fields.get("active_task_state", "").strip(),
            fraction_done=_number(fields.get("fraction done", "0")),
            exit_status=int(_number(fields.get("exit_status", "0"))),
        ))
    return tasks


def _number(text: str) -> float:
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        return 0.0


def ensure_hello_image(runner: Runner, base: str) -> bool:
    """See that ``docker run --rm hello-world`` greets: client 8.2 takes the engine for usable only then.

    Pulls the image, or makes a stand-in from ``base``; returns True if it made one (spec 07 section 5.1).
    """
    engine = Engine(runner)
    if engine.has_image(HELLO_IMAGE):
        return False
    if runner.run(["docker", "pull", HELLO_IMAGE], check=False, timeout=120).ok:
        return False
    made = runner.run(["docker", "create", "--network", "none", base, "true"]).text.strip()
    try:
        changes = [f'CMD ["echo", "{HELLO_TEXT}"]', f"LABEL {HELLO_LABEL}=1", "ENTRYPOINT []"]
        flags = [word for change in changes for word in ("--change", change)]
        runner.run(["docker", "commit", *flags, made, HELLO_IMAGE])
    finally:
        runner.run(["docker", "rm", made], check=False)
    return True


def remove_hello_image(runner: Runner) -> None:
    """Remove the stand-in again; never an image that somebody else put there."""
    if Engine(runner).image_label(HELLO_IMAGE, HELLO_LABEL):
        runner.run(["docker", "rmi", HELLO_IMAGE], check=False)


@dataclass
class Volunteer:
    """The compose service ``volunteer`` of this project."""

    compose: Compose
    ui: Ui
    base: str = DEFAULT_BASE

    @property
    def data(self) -> Path:
        """Its data directory on this machine."""
        settings = self.compose.settings
        return settings.state_dir / f"volunteer-{settings.compose_name}"

    def start(self) -> Client:
        """Build its image if need be and start it; returns when the client answers. Idempotent."""
        runner = self.compose.runner
        baseimage.ensure(runner, self.ui, self.base)
        self._build()
        with self.ui.step("Volunteer") as step:
            ensure_hello_image(runner, self.base)
            command = self._argv("up", "-d", "--no-deps", "--no-build", "volunteer")
            runner.stream(command, step.update, env=self._environment())
            client = Client(runner, self.compose.container("volunteer").id, str(self.data))
            step.note = f"BOINC client {client.wait_ready()}"
        return client

    def _build(self) -> None:
        image = self.compose.images("volunteer").get("volunteer", "")
        if image and self.compose.engine.has_image(image):
            return
        with self.ui.step("Building the volunteer's image") as step:
            if self.compose.settings.root != CHECKOUT and image:  # a project of one's own has no sources of it
                self.compose.runner.stream(
                    ["docker", "build", "-t", image, "--build-arg", f"BASE_IMAGE={self.base}",
                     str(CHECKOUT / "images" / "volunteer")], step.update)
                return
            self.compose.runner.stream(self._argv("build", "volunteer"), step.update, env=self._environment())

    def hurry(self, every: float = 10.0) -> Callable[[], None] | None:
        """What to call while waiting for jobs: tells the volunteer on this machine to contact the project, at most each
        ``every`` seconds. None if there is no volunteer running."""
        found = next((c for c in self.compose.containers() if c.service == "volunteer" and c.running), None)
        if found is None:
            return None
        client = Client(self.compose.runner, found.id, str(self.data))
        last = 0.0

        def poke() -> None:
            nonlocal last
            if time.monotonic() - last > every:
                last = time.monotonic()
                client.update(self.compose.settings.master_url)

        return poke

    def stop(self) -> None:
        """Stop and remove it, its jobs' containers and its data directory."""
        runner = self.compose.runner
        with self.ui.step("Stopping the volunteer"):
            runner.run(self._argv("rm", "--stop", "--force", "volunteer"), env=self._environment())
            remove_job_containers(runner, str(self.data))
            remove_job_images(runner, self.compose.settings.master_url)
            remove_hello_image(runner)
            wipe(runner, self.base, self.data)

    def _environment(self) -> dict[str, str]:
        extra = {"VOLUNTEER_DATA": str(self.data), "VOLUNTEER_BASE_IMAGE": self.base}
        return {**self.compose.environment, **extra}

    def _argv(self, *arguments: str) -> list[str]:
        return self.compose.argv("--profile", "volunteer", *arguments)


def remove_job_containers(runner: Runner, data: str) -> None:
    """Remove the containers of jobs that ran from this data directory: they mount a slot of it or bear its label."""
    ids = runner.run(["docker", "ps", "-aq", "--filter", "name=boinc__"], check=False).text.split()
    form = "{{.Id}}{{range .Mounts}} {{.Source}}{{end}}{{with index .Config.Labels \"boinc.slot\"}} {{.}}{{end}}"
    for line in runner.run(["docker", "inspect", "--format", form, *ids], check=False).text.splitlines() if ids else ():
        words = line.split(" ")
        if any(source.startswith(data.rstrip("/") + "/") for source in words[1:]):
            runner.run(["docker", "rm", "-f", words[0]], check=False)


def project_folder(master_url: str) -> str:
    """What clients and our docker_wrapper call a project: its URL made a file name (spec 07 section 1.1)."""
    bare = re.sub(r"^[a-z]+://", "", master_url)
    return re.sub(r"[^A-Za-z0-9._-]", "_", bare).removesuffix("_")


def remove_job_images(runner: Runner, master_url: str) -> None:
    """Remove the images that jobs of this project built here (spec 07 section 7.3)."""
    name = project_folder(master_url).lower()
    listed = runner.run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"], check=False).text.split()
    ours = [image for image in listed if re.match(rf"boinc_(_)?{re.escape(name)}(:|_)", image)]
    if ours:
        runner.run(["docker", "rmi", "-f", *ours], check=False)


def wipe(runner: Runner, image: str, folder: Path) -> None:
    """Delete a folder whose files belong to the container's root."""
    if not folder.exists():
        return
    mount = f"{folder.parent}:/parent"
    arguments = ["--entrypoint", "rm", image, "-rf", f"/parent/{folder.name}"]
    runner.run(["docker", "run", "--rm", "--network", "none", "-v", mount, *arguments])
