"""Bringing the project up and down, and saying how it is."""
from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boincdock import __version__
from boincdock.errors import BoincdockError
from boincdock.manage import baseimage, jobs
from boincdock.manage import settings as settings_module
from boincdock.manage.compose import ONE_SHOTS, Compose
from boincdock.manage.doctor import Doctor
from boincdock.manage.engine import Container
from boincdock.manage.shell import CommandError
from boincdock.manage.ui import Step, Ui

CHECKOUT = Path(__file__).resolve().parents[2]
BUILT = ("mysql", "makeproject", "apache")
SERVICES = ("mysql", "apache", "daemons")
SOURCES = (
    "docker-compose.yml", ".dockerignore", "boincdock", "images", "wrapper", "apps", "secrets", "example_project",
)
_POLL = 0.5


class StackError(BoincdockError):
    """The project did not become healthy."""


@dataclass
class Stack:
    """One project's containers on this machine."""

    compose: Compose
    ui: Ui

    # ---- up ------------------------------------------------------------------------------------------------------

    def up(self, *, build: bool | None = None, timeout: float = 180.0) -> None:
        """Bring the project up; returns when it is healthy. ``build``: None = when the sources changed.

        Idempotent: with nothing changed no container is touched. ``timeout`` (seconds) is for the start,
        without the build.
        """
        settings = self.compose.settings
        Doctor(self.compose.runner, settings).preflight()
        self.build(build)
        with self.ui.step("Starting") as step:
            try:
                self.compose.stream(step.update, "up", "-d", "--no-build", "--remove-orphans")
            except CommandError as error:
                self._explain_failed_start(error)
            self._wait_healthy(step, timeout)
        settings_module.remember(settings)

    def build(self, wanted: bool | None = None) -> None:
        """See that the images are there and match the sources; ``wanted``: True always builds, False never."""
        if wanted is not False:
            self._bases()
        images = self.compose.images()
        engine = self.compose.engine
        missing = [name for service, name in images.items() if service in BUILT and not engine.has_image(name)]
        if wanted is False:
            if missing:
                raise BoincdockError(f"images are missing: {', '.join(missing)}", "leave out --no-build to build them")
            return
        settings = self.compose.settings
        arguments = [settings[key] for key in ("BASE_IMAGE", "BOINC_USER", "PROJECT_ROOT")] + self._base_ids()
        digest = source_digest(settings.root, arguments)
        stamp = self._stamp(images)
        if not wanted and not missing and stamp.is_file() and stamp.read_text().strip() == digest:
            return
        baseimage.ensure(self.compose.runner, self.ui, settings["BASE_IMAGE"])
        with self.ui.step("Building images") as step:
            self.compose.stream(step.update, "build", *BUILT, hint="the whole output: ./manage.py -v up --build")
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(digest + "\n", encoding="utf-8")

    def _base_names(self) -> list[str]:
        """The images that a project of one's own is built from; none for boincdock itself."""
        settings = self.compose.settings
        if settings.root == CHECKOUT or not (settings.root / "images/makeproject/Dockerfile").is_file():
            return []
        return [f"boincdock/server_{name}:{settings['VERSION']}{settings['TAG']}" for name in BUILT]

    def _base_ids(self) -> list[str]:
        ids = (self.compose.runner.run(["docker", "image", "inspect", "--format", "{{.Id}}", name], check=False)
               for name in self._base_names())
        return [found.text.strip() for found in ids]

    def _bases(self) -> None:
        """Build the images that a project of one's own is FROM, if they are missing and of this checkout's release."""
        missing = [name for name in self._base_names() if not self.compose.engine.has_image(name)]
        if not missing:
            return
        settings = self.compose.settings
        if settings["VERSION"] not in ("latest", __version__):
            raise BoincdockError(f"images of boincdock are missing: {', '.join(missing)}",
                                 f"load or pull that release, or set VERSION={__version__} in .env")
        values = {key: settings[key] for key in ("VERSION", "TAG", "BASE_IMAGE")}
        stock = settings_module.load_settings(CHECKOUT, {**values, "COMPOSE_PROJECT_NAME": "boincdock-images"})
        baseimage.ensure(self.compose.runner, self.ui, stock["BASE_IMAGE"])
        with self.ui.step(f"Building boincdock's images {settings['VERSION']}{settings['TAG']}") as step:
            Compose(self.compose.runner, stock).stream(step.update, "build", *BUILT)

    def _stamp(self, images: dict[str, str]) -> Path:
        """Which sources the images of these names were built from."""
        names = " ".join(sorted(images.get(service, "") for service in BUILT))
        key = hashlib.sha256(names.encode()).hexdigest()[:12]
        return self.compose.settings.state_dir / f"built-{key}"

    def wait_healthy(self, step: Step, timeout: float = 180.0) -> None:
        """As after a start; ``timeout`` in seconds."""
        self._wait_healthy(step, timeout)

    def _wait_healthy(self, step: Step, timeout: float) -> None:
        """Until every service is healthy and every one-shot has ended well; StackError otherwise."""
        deadline = time.monotonic() + timeout
        while True:
            states = self.states()
            waiting = {name: why for name, why in states.items() if why != "ok"}
            if not waiting:
                return
            failed = [name for name, why in waiting.items() if why.startswith(("exited", "dead"))]
            if failed or time.monotonic() > deadline:
                what = ", ".join(f"{name} ({why})" for name, why in waiting.items() if name in (failed or waiting))
                verb = "failed" if failed else f"not healthy after {timeout:.0f} s"
                self._fail(f"{verb}: {what}", failed or list(waiting))
            step.update("waiting for " + ", ".join(waiting))
            time.sleep(_POLL)

    def states(self) -> dict[str, str]:
        """``ok`` or what is wrong, by service, for those that must be there."""
        containers = {c.service: c for c in self.compose.containers()}
        return {name: condition(name, containers.get(name)) for name in (*ONE_SHOTS, *SERVICES)}

    def _explain_failed_start(self, error: CommandError) -> None:
        """compose up fails as soon as a one-shot does; its own log says why, compose's does not."""
        failed = [name for name, why in self.states().items() if why.startswith(("exited", "unhealthy"))]
        if not failed:
            raise error
        self._fail(f"did not start: {', '.join(failed)}", failed)

    def _fail(self, message: str, services: list[str]) -> None:
        tails = []
        for service in services[:3]:
            text = self.compose.run("logs", "--no-color", "--tail=25", service, check=False).text
            tails += [f"  {line}" for line in text.splitlines() if line.strip()]
        raise StackError("\n".join([message, *tails]), f"more: ./manage.py logs {services[0]}")

    # ---- down ----------------------------------------------------------------------------------------------------

    def down(self, *, volumes: bool = False) -> None:
        """Stop and remove the containers; with ``volumes`` also everything the project ever stored."""
        if volumes:
            name = self.compose.settings.compose_name
            self.ui.confirm(
                f"Erase the project {name}: database, results, secrets and signing keys? There is no way back."
            )
        with self.ui.step("Erasing the project" if volumes else "Stopping") as step:
            flags = ["--volumes"] if volumes else []
            self.compose.stream(step.update, "--profile", "volunteer", "down", "--remove-orphans", *flags)

    # ---- status --------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Services, daemons, queue counts; see docs/architecture.md for the last two."""
        settings = self.compose.settings
        containers = {c.service: c for c in self.compose.containers()}
        services = []
        for name in (*ONE_SHOTS, *SERVICES, *(s for s in ("volunteer",) if s in containers)):
            found = containers.get(name)
            services.append({"service": name, "state": found.state if found else "absent",
                             "health": found.health if found else None, "ok": condition(name, found) == "ok"})
        report: dict[str, Any] = {
            "project": settings["PROJECT"], "url": settings.master_url, "services": services,
            "healthy": all(s["ok"] for s in services if s["service"] != "volunteer"),
            "daemons": None, "enabled": None, "counts": None,
        }
        apache = containers.get("apache")
        if apache and apache.running:
            report |= jobs.project_status(self.compose)
        return report


def condition(service: str, container: Container | None) -> str:
    """``ok``, or why the service is not as it should be."""
    if container is None:
        return "not started"
    if service in ONE_SHOTS:
        if container.state == "exited":
            return "ok" if container.exit_code == 0 else f"exited with status {container.exit_code}"
        return container.state
    if container.state != "running":
        code = f" with status {container.exit_code}" if container.state == "exited" else ""
        return container.state + code
    return "ok" if container.health in (None, "healthy") else container.health


def source_digest(root: Path, arguments: list[str]) -> str:
    """A digest of everything that goes into the images (files, build arguments); changes when a rebuild is due."""
    digest = hashlib.sha256("\n".join(arguments).encode())
    for name in SOURCES:
        top = root / name
        paths = sorted(top.rglob("*")) if top.is_dir() else [top]
        for path in paths:
            if "__pycache__" in path.parts or path.suffix == ".pyc" or not path.is_file():
                continue
            if path.is_relative_to(root / "boincdock" / "manage"):  # stays on the host (.dockerignore)
                continue
            digest.update(f"{path.relative_to(root)}\0{path.stat().st_mode & 0o111}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
