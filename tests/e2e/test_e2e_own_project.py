"""docs/cookbook.md, every command of it: a project of one's own with own app, Python validator, page, 8.2.15 client."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from e2e_world import ROOT, RUNNER, VERSIONS, docker, free_port

from boincdock.manage import baseimage
from boincdock.manage.context import App
from boincdock.manage.ui import Ui

PAGE = ROOT / "docs" / "cookbook.md"
_BLOCK = re.compile(r"(?:<!-- test: (?P<seds>.*?) -->\n)?```sh\n(?P<script>.*?)```\n", re.DOTALL)
SECONDS = 900


@dataclass(frozen=True)
class Block:
    """A script of the page, with what the test replaces in it."""

    heading: str
    script: str


def blocks(page: str) -> list[Block]:
    """The page's scripts in order; each substitution of a `test:` comment must hit something."""
    found = []
    for match in _BLOCK.finditer(page):
        script = match["script"]
        for sed in (match["seds"] or "").split("; ") if match["seds"] else []:
            _, old, new, _ = sed.split("/")
            assert old in script, f"{old!r} is not in its block"
            script = script.replace(old, new)
        heading = re.findall(r"(?m)^## (.*)$", page[: match.start()])[-1]
        found.append(Block(heading, script))
    return found


def test_the_page_has_no_command_outside_of_its_tested_blocks() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(blocks(page)) == page.count("```sh") == page.count("```") // 2
    assert not re.findall(r"(?m)^    (?:\./manage|docker)", page)
    assert "1,000 jobs" in page and "seq 0 999" in page


@dataclass
class Reader:
    """Somebody who types the page's commands in one shell."""

    home: Path
    environment: dict[str, str]
    where: Path = ROOT
    told: dict[str, str] = field(default_factory=dict)

    def run(self, block: Block) -> str:
        """Run a block where the last one ended; its standard output."""
        script = block.script.replace("@PORT@", self.environment["BOOK_PORT"])
        script = script.replace("cd boincdock\n", f"cd {ROOT}\n")
        script = script.replace("../boincdock/.venv/bin/python", sys.executable)
        script = script.replace("../boincdock", str(ROOT)).replace("../mysearch", str(self.home / "mysearch"))
        if not shutil.which("docker-compose"):
            script = 'docker-compose() { docker compose "$@"; }\n' + script
        end = self.home / "cwd"
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", f"{script}\npwd > {end}"], cwd=self.where, check=False,
                              env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=SECONDS)
        if done.returncode:
            said = f"{script}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
            pytest.fail(f"{block.heading}: exit {done.returncode}\n{said}", pytrace=False)
        self.where = Path(end.read_text().strip())
        self.told[block.heading] = self.told.get(block.heading, "") + done.stdout
        return done.stdout

    def manage(self, *words: str) -> str:
        """One manage.py command in the project's folder."""
        done = subprocess.run([str(self.home / "mysearch" / "manage.py"), *words], capture_output=True, text=True,
                              env={**os.environ, **self.environment}, check=False, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def logs(self) -> str:
        """What server and client said."""
        name = self.environment["COMPOSE_PROJECT_NAME"]
        ids = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={name}", check=False).stdout.split()
        return "\n".join(docker("logs", "--tail", "40", i.decode(), check=False).stdout.decode() for i in ids)


@pytest.fixture
def reader(images: str, tmp_path: Path) -> Iterator[Reader]:
    """A reader with nothing but the checkout; what the page makes is removed afterwards."""
    baseimage.ensure(RUNNER, Ui(), VERSIONS["8.2.15"])
    port = str(free_port())
    name = f"bdbook{uuid.uuid4().hex[:8]}"
    version = App().settings()["VERSION"]
    environment = {"COMPOSE_PROJECT_NAME": name, "TAG": images, "VERSION": version, "BOOK_PORT": port,
                   "BOINCDOCK_SETTINGS": str(tmp_path / "settings.env")}
    made = Reader(tmp_path, environment)
    yield made
    if (tmp_path / "mysearch").is_dir():
        for words in (("volunteer", "stop"), ("down", "-v", "--yes")):
            subprocess.run([str(tmp_path / "mysearch" / "manage.py"), *words], capture_output=True, check=False,
                           env={**os.environ, **environment}, timeout=300)
    docker("rmi", *(f"mysearch/{n}" for n in ("mysql", "makeproject", "apache")),
           f"boincdock/volunteer:{version}{images}", check=False)


@pytest.mark.long
def test_every_command_of_the_cookbook(reader: Reader) -> None:
    start = time.monotonic()
    script = blocks(PAGE.read_text(encoding="utf-8"))
    site = f"http://127.0.0.1:{reader.environment['BOOK_PORT']}/mysearch/"
    for block in script:
        began = time.monotonic()
        reader.run(block)
        print(f"{time.monotonic() - began:5.0f} s  {block.heading}")
        if block.heading.startswith("2."):
            daemons = reader.manage("status", "--json")
            assert "primes_validator" in daemons
        if block.heading.startswith("8."):
            home = requests.get(site, timeout=30).text
            assert "My Search" in home and "Why primes?" in home and "project_files/logo.svg" in home
            page = requests.get(f"{site}page.php?name=why", timeout=30).text
            assert "Because they are there" in page
            validator = reader.manage("shell", "cat", "bin/primes_validator")
            assert "too many primes" in validator
            assert "primes_1_primes.sh" in reader.manage("shell", "ls", "download")
            counts = reader.manage("batch", "show", "thousand", "--json")
            assert '"state": "complete"' in counts and '"done": 10' in counts, "data of before `up` are still there"
    told = {heading.split(".")[0]: text for heading, text in reader.told.items()}
    assert "1 100 25" in told["4"]
    assert "hello from " in told["4"]
    assert "1229 primes" in told["5"]
    assert "1000 2000 135" in told["8"]
    assert "10 values of r, 1200 dots" in told["9"]
    assert (reader.home / "mysearch" / "map.svg").read_text().startswith("<svg")
    assert told["10"].strip() == "46 primes"
    assert "BOINC is ENABLED" in told["11"] and "<name>primes</name>" in told["11"]
    print(f"cookbook: {time.monotonic() - start:.0f} s")
