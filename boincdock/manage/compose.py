"""docker compose, in the version this machine has: `docker compose` v2 or `docker-compose` 1.29."""
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from boincdock.errors import BoincdockError
from boincdock.manage.engine import Container, Engine
from boincdock.manage.settings import Settings
from boincdock.manage.shell import Result, Runner

MINIMUM_V1 = (1, 29)
ONE_SHOTS = ("secrets", "makeproject")
HINT_COMPOSE = (
    "install it: apt-get install docker-compose (Debian), docker-compose-v2 (Ubuntu), "
    "or Docker's docker-compose-plugin"
)


def detect(runner: Runner) -> tuple[list[str], str]:
    """The command that runs compose here, and its version; v2 is preferred.

    Raises BoincdockError if there is none, or only one that is too old for health conditions.
    """
    for command in (["docker", "compose"], ["docker-compose"]):
        result = runner.run([*command, "version", "--short"], check=False, timeout=30)
        match = re.search(r"(\d+)\.(\d+)(?:\.\d+)?", result.text) if result.ok else None
        if not match:
            continue
        if (int(match[1]), int(match[2])) < MINIMUM_V1:
            raise BoincdockError(f"docker-compose {match[0]} is too old (1.29 or newer is needed)", HINT_COMPOSE)
        return command, match[0]
    raise BoincdockError("docker compose is not installed", HINT_COMPOSE)


class Compose:
    """One compose project: ours, under the name and with the variables of ``settings``."""

    def __init__(self, runner: Runner, settings: Settings, command: Sequence[str] | None = None) -> None:
        self.runner = runner
        self.settings = settings
        self.engine = Engine(runner)
        self._command = list(command) if command else None

    @property
    def command(self) -> list[str]:
        """``docker compose`` or ``docker-compose``, looked for once."""
        if self._command is None:
            self._command = detect(self.runner)[0]
        return self._command

    @property
    def environment(self) -> dict[str, str]:
        """Compose's variables."""
        return self.settings.environment

    def argv(self, *arguments: str) -> list[str]:
        """A whole compose command line."""
        root = self.settings.root
        return [
            *self.command, "--project-directory", str(root), "-f", str(root / "docker-compose.yml"), *_override(root),
            "-p", self.settings.compose_name, *arguments,
        ]

    def run(self, *arguments: str, check: bool = True, hint: str | None = None) -> Result:
        """Run compose quietly."""
        return self.runner.run(self.argv(*arguments), env=self.environment, check=check, hint=hint)

    def stream(self, on_line: Callable[[str], None], *arguments: str, hint: str | None = None) -> None:
        """Run compose, handing over its output line by line."""
        self.runner.stream(self.argv(*arguments), on_line, env=self.environment, hint=hint)

    def interactive(self, *arguments: str) -> int:
        """Run compose on this terminal."""
        return self.runner.interactive(self.argv(*arguments), env=self.environment)

    def images(self, *profiles: str) -> dict[str, str]:
        """Image name by service, variables filled in."""
        flags = [word for profile in profiles for word in ("--profile", profile)]
        return parse_images(self.run(*flags, "config").text)

    def containers(self) -> list[Container]:
        """The project's containers (without one-off ones of `compose run`)."""
        return [c for c in self.engine.containers(self.settings.compose_name) if not c.oneoff]

    def container(self, service: str) -> Container:
        """The running container of a service; BoincdockError if there is none."""
        for found in self.containers():
            if found.service == service and found.running:
                return found
        raise BoincdockError(f"{service} is not running", "start the project with: ./manage.py up")

    def project_command(self, *command: str, stdin: bytes | None = None, check: bool = True) -> Result:
        """Run a command of the project folder (``bin/status`` ...) in apache, as the project's user."""
        argv = self.engine.exec_argv(
            self.container("apache").id, command, workdir=self.settings["PROJECT_ROOT"],
            user=self.settings["BOINC_USER"], stdin=stdin is not None,
        )
        return self.runner.run(argv, stdin=stdin, check=check)

    def project_output(self, path: Path, *command: str, stdin: bytes | None = None) -> None:
        """The same, with the command's output written to a file here, however large it is."""
        argv = self.engine.exec_argv(
            self.container("apache").id, command, workdir=self.settings["PROJECT_ROOT"],
            user=self.settings["BOINC_USER"], stdin=stdin is not None,
        )
        self.runner.save(argv, path, stdin=stdin)


def _override(root: Path) -> list[str]:
    """docker-compose.override.yml is the operator's own; naming a file with -f would leave it out."""
    for name in ("docker-compose.override.yml", "docker-compose.override.yaml"):
        path = root / name
        if path.is_file():
            return ["-f", str(path)]
    return []


def parse_images(config: str) -> dict[str, str]:
    """The ``image:`` of every service in what `compose config` prints (YAML in a fixed, two-blank layout)."""
    found: dict[str, str] = {}
    section = service = ""
    for line in config.splitlines():
        if match := re.match(r"(\S[^:]*):\s*$", line):
            section = match[1]
        elif section == "services" and (match := re.match(r"  (\S[^:]*):\s*$", line)):
            service = match[1].strip("'\"")
        elif section == "services" and (match := re.match(r"    image: *(\S+)\s*$", line)):
            found[service] = match[1].strip("'\"")
    return found
