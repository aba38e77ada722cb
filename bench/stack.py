"""A project of the benches' own: containers of the real images under an own compose name, port and volumes.

    with Stack() as stack:              # built, started, healthy; removed at the end, with its volumes
        stack.sql("SELECT 1")
        before = stack.cpu(); …; after = stack.cpu()

Standard library only. The host needs docker with compose and, for the load generator, ``go`` (else it is built
in a container).
"""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"
LOADGEN = BENCH / "build" / "loadgen"
_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 300
WEB_PORT = 8080  # in the container


class BenchError(Exception):
    """A bench cannot run; the text says why."""


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def run(command: list[str], *, stdin: bytes | None = None, timeout: float = 600, cwd: Path = ROOT,
        env: dict[str, str] | None = None) -> str:
    """Run a command; its standard output. BenchError with what it said if it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=timeout, cwd=cwd, env=env)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace")[-3000:]
        raise BenchError(f"{' '.join(command)[:300]}: exit {done.returncode}\n{said}")
    return done.stdout.decode(errors="replace")


def compose_command() -> list[str]:
    """``docker compose`` if this machine has it, else docker-compose."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise BenchError("no docker compose on this machine")


def build_loadgen() -> Path:
    """The load generator's binary, built anew if its source changed."""
    sources = list((BENCH / "loadgen").glob("*"))
    if LOADGEN.exists() and LOADGEN.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return LOADGEN
    LOADGEN.parent.mkdir(exist_ok=True)
    if shutil.which("go"):
        run(["go", "build", "-o", str(LOADGEN), "."], cwd=BENCH / "loadgen", env={**os.environ, "CGO_ENABLED": "0"})
        return LOADGEN
    recipe = ("FROM debian:trixie-slim\nRUN apt-get update && apt-get install -y --no-install-recommends golang-go\n"
              "COPY . /src\nRUN cd /src && CGO_ENABLED=0 go build -o /loadgen .\nCMD [\"cat\", \"/loadgen\"]\n")
    with tempfile.TemporaryDirectory() as folder:
        for path in sources:
            shutil.copy(path, folder)
        (Path(folder) / "Dockerfile").write_text(recipe)
        image = run(["docker", "build", "-q", folder]).strip()
    LOADGEN.write_bytes(subprocess.run(["docker", "run", "--rm", image], capture_output=True, check=True).stdout)
    LOADGEN.chmod(0o755)
    return LOADGEN


@dataclass
class Stack:
    """One compose project. ``live``: the containers run the Python code of the working tree instead of the
    image's copy (for development; a bench that counts runs the images)."""

    name: str = "boincbench"
    port: int = 18210
    project: str = "bench"
    daemons: bool = False
    live: bool = False
    build: bool = True
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._compose = compose_command()
        self._containers: dict[str, str] = {}
        self._override: Path | None = None

    # ---- life

    @property
    def url_base(self) -> str:
        """URL_BASE."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def cgi(self) -> str:
        """What loadgen's ``-url`` wants."""
        return f"{self.url_base}/{self.project}_cgi"

    def loadgen(self, *arguments: str) -> list[str]:
        """The command line of the load generator. It runs in the web server's network namespace, so that it loads
        127.0.0.1 and nothing else; from outside, 127.0.0.1 would go through docker's proxy program, which copies every
        byte. Options given here count more than its own. Folders under bench/build are there at their own paths."""
        folder = str(build_loadgen().parent)
        apache = self.container("apache")
        image = run(["docker", "inspect", "-f", "{{.Image}}", apache]).strip()
        return ["docker", "run", "--rm", "--network", f"container:{apache}", "-v", f"{folder}:{folder}:ro",
                "--entrypoint", str(LOADGEN), image, "-url", self.cgi, "-connect", f"127.0.0.1:{WEB_PORT}", *arguments]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "COMPOSE_PROJECT_NAME": self.name, "PROJECT": self.project, "PORT": str(self.port),
                "URL_BASE": self.url_base, "VERSION": "latest", "TAG": "-bench", "DB_BUFFER_POOL": "2G",
                **self.environment}

    def compose(self, *arguments: str, timeout: float = 900) -> str:
        """Run compose."""
        files = ["-f", str(ROOT / "docker-compose.yml")]
        if self.live:
            files += ["-f", str(self._live_file())]
        return run([*self._compose, "--project-directory", str(ROOT), *files, *arguments], env=self._environment(),
                   timeout=timeout)

    def _live_file(self) -> Path:
        if self._override is None:
            mount = f"{ROOT}/boincdock:/usr/local/lib/boincdock/python/boincdock:ro"
            conf = f"{ROOT}/images/apache/root/etc/boincdock/httpd.conf:/etc/boincdock/httpd.conf:ro"
            services = {"apache": {"volumes": [mount, conf]}, "daemons": {"volumes": [mount]}}
            handle, name = tempfile.mkstemp(suffix=".json", prefix="boincbench")
            with os.fdopen(handle, "w") as file:
                json.dump({"services": services}, file)
            self._override = Path(name)
        return self._override

    def up(self) -> None:
        """Build the images (with docker's cache), start, wait until healthy."""
        if self.build:
            say("building images")
            self.compose("build", "mysql", "makeproject", "apache", timeout=1800)
        say(f"starting {self.name} on port {self.port}")
        services = ["mysql", "apache"] + (["daemons"] if self.daemons else [])
        self.compose("up", "-d", *services, timeout=_START_SECONDS)
        deadline = time.monotonic() + _START_SECONDS
        for service in services:
            while self._health(service) != "healthy":
                if time.monotonic() > deadline:
                    raise BenchError(f"{service} did not get healthy:\n{self.compose('logs', '--tail', '40', service)}")
                time.sleep(0.3)

    def down(self) -> None:
        """Remove containers, network and volumes."""
        self.compose("down", "-v", "--remove-orphans", timeout=300)
        self._containers.clear()
        if self._override is not None:
            self._override.unlink(missing_ok=True)
            self._override = None

    def __enter__(self) -> Stack:
        try:
            self.down()
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        say(f"removing {self.name}")
        self.down()

    # ---- containers

    def container(self, service: str) -> str:
        """Id of a service's running container."""
        if service not in self._containers:
            labels = (f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}")
            found = run(["docker", "ps", "-q", *(w for label in labels for w in ("--filter", f"label={label}"))])
            if not found.strip():
                raise BenchError(f"{self.name} has no running service {service}")
            self._containers[service] = found.split()[0]
        return self._containers[service]

    def _health(self, service: str) -> str:
        self._containers.pop(service, None)
        try:
            return run(["docker", "inspect", "-f", "{{.State.Health.Status}}", self.container(service)]).strip()
        except BenchError:
            return ""

    def run_in(self, service: str, *command: str, stdin: bytes | None = None, user: str | None = None,
               timeout: float = 1800) -> str:
        """Run a command in a service's container; its standard output."""
        who = ["--user", user] if user else []
        return run(["docker", "exec", "-i", *who, self.container(service), *command], stdin=stdin, timeout=timeout)

    def python(self, code: str, *arguments: str, service: str = "apache", timeout: float = 1800) -> str:
        """Run Python code with the project's modules in a container; its standard output."""
        return self.run_in(service, "python3", "-", *arguments, stdin=code.encode(), timeout=timeout)

    def restart(self, service: str) -> None:
        """Restart a service and wait until it is healthy."""
        self.compose("restart", service)
        while self._health(service) != "healthy":
            time.sleep(0.3)

    def set_config(self, **options: object) -> None:
        """Options of config.xml; the programs read it again by themselves."""
        code = ("import json, re, sys, pathlib, os\n"
                "path = pathlib.Path(os.environ['PROJECT_ROOT'], 'config.xml'); text = path.read_text()\n"
                "for name, value in json.loads(sys.argv[1]).items():\n"
                "    text = re.sub(rf'\\s*<{name}>[^<]*</{name}>', '', text)\n"
                "    text = text.replace('</config>', f'    <{name}>{value}</{name}>\\n    </config>', 1)\n"
                "path.write_text(text)\n")
        self.python(code, json.dumps(options))

    # ---- database

    def sql(self, statements: str, timeout: float = 3600) -> list[list[str]]:
        """Rows of statements, as MariaDB's root through the socket."""
        out = self.run_in("mysql", "mariadb", "--batch", "--skip-column-names", self.project, stdin=statements.encode(),
                          user="root", timeout=timeout)
        return [line.split("\t") for line in out.splitlines()]

    # ---- processor time

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far by group of processes: ``mariadbd``, ``apache2``, ``wsgi:scheduler``,
        ``wsgi:upload``, ``wsgi:web``, and the daemons by their program's name."""
        found: dict[str, float] = {}
        for service in ("mysql", "apache", *(["daemons"] if self.daemons else [])):
            listing = run(["docker", "top", self.container(service), "-eo", "pid,args"])
            for line in listing.splitlines()[1:]:
                pid, _, args = line.strip().partition(" ")
                kind = _kind(args.strip())
                found[kind] = found.get(kind, 0.0) + _cpu_of(int(pid))
        return found


def _kind(args: str) -> str:
    wsgi = re.match(r"\(?(wsgi:\w+)", args)
    if wsgi:
        return wsgi.group(1)
    program = re.search(r"(?:boincdock\.bin\.|bin/(?!python))([\w-]+)", args) if "python" in args else None
    return program.group(1) if program else Path(args.split()[0]).name


def _cpu_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
