"""`manage.py test`: the tiers of DESIGN section 9 in two pytest sessions, fast ones first.

The tests of lint, unit and db are spread over the cores. The others bring up projects, and run one by one.
lint and unit need nothing but Python; db gets a MariaDB of the ``mysql`` image with its data in memory; wrapper
runs the Go tests in a container; stack and e2e bring up projects of their own beside the operator's.
"""
from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from boincdock.errors import BoincdockError, InputError
from boincdock.manage.context import App
from boincdock.manage.stack import Stack

TIERS = ("lint", "unit", "db", "wrapper", "stack", "e2e")
QUICK = ("lint", "unit")
SPREAD = ("lint", "unit", "db")
"""Tiers whose tests run side by side, a file at a time."""
_MOST_WORKERS = 4
_NOTHING_COLLECTED = 5  # pytest's exit status
NEED_ENGINE = {"db", "wrapper", "stack", "e2e"}
_DB_START = r"""
set -e
mariadb-install-db --no-defaults --datadir=/var/lib/mysql/data --skip-test-db \
    --auth-root-authentication-method=normal >/dev/null
mkdir -p /var/lib/mysql/tmp
printf "CREATE USER tester@'%%' IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO tester@'%%' WITH GRANT OPTION;\n" \
    "$TEST_PASSWORD" > /var/lib/mysql/init.sql
exec mariadbd --init-file=/var/lib/mysql/init.sql --innodb-flush-log-at-trx-commit=0 --max-connections=300
"""
_DB_TIMEOUT = 120.0


@dataclass
class TestRun:
    """One run: ``arguments`` are tier names followed by anything for pytest."""

    __test__ = False  # not a test class of pytest's

    app: App
    arguments: list[str]
    quick: bool = False

    def split(self) -> tuple[list[str], list[str]]:
        """Tiers to run, and the arguments for pytest. InputError for a word that is neither."""
        tiers: list[str] = []
        rest = list(self.arguments)
        while rest and not rest[0].startswith("-"):
            word = rest.pop(0)
            if word in TIERS:
                tiers.append(word)
            elif (self.app.root / word.partition("::")[0]).exists():
                rest.insert(0, word)
                break
            else:
                raise InputError(f"no such test tier: {word}", f"tiers: {' '.join(TIERS)}; or a path below tests/")
        if self.quick:
            tiers += [tier for tier in QUICK if tier not in tiers]
        paths = [word for word in rest if (self.app.root / word.partition("::")[0]).exists() and "tests" in word]
        if not tiers and paths:
            tiers = sorted({tier for tier in TIERS for path in paths if f"tests/{tier}" in path})
            return tiers, rest
        chosen = tiers or list(TIERS)
        folders = [f"tests/{tier}" for tier in TIERS if tier in chosen]
        return chosen, [*folders, *rest]

    def run(self) -> int:
        """Run them; returns pytest's exit status, or 1 if not a single test passed."""
        tiers, arguments = self.split()
        for tier in tiers:
            if not (self.app.root / "tests" / tier).is_dir():
                raise InputError(f"there are no {tier} tests in this checkout")
        environment = {**os.environ, "BOINCDOCK_TEST_TIERS": " ".join(tiers)}
        start, passed, statuses = time.monotonic(), 0, []
        with self._services(tiers, environment):
            for number, session in enumerate(self.sessions(arguments), 1):
                status, count = self._session(session, number, environment)
                statuses.append(status)
                passed += count
                if status and (status != 1 or "-x" in arguments) and status != _NOTHING_COLLECTED:
                    break
        self.app.ui.say(f"tiers: {' '.join(tiers)}; {passed} tests passed; {time.monotonic() - start:.0f} s")
        bad = [status for status in statuses if status and (status != _NOTHING_COLLECTED or not passed)]
        if not bad and passed == 0:
            raise BoincdockError("no test ran", "a run that checks nothing must not look like success")
        return bad[0] if bad else 0

    @staticmethod
    def sessions(arguments: list[str]) -> list[list[str]]:
        """pytest's arguments for each session: whole tiers of ``SPREAD`` together, over the cores, then the rest."""
        spread = [word for word in arguments if word in [f"tests/{tier}" for tier in SPREAD]]
        alone = [word for word in arguments if word in [f"tests/{tier}" for tier in TIERS if tier not in SPREAD]]
        more = [word for word in arguments if word not in spread + alone]
        workers = min(_MOST_WORKERS, os.cpu_count() or 1)
        if not spread or workers == 1:
            return [arguments]
        first = ["-n", str(workers), "--dist", "loadfile", *spread, *more]
        return [first, [*alone, *more]] if alone else [first]

    def _session(self, arguments: list[str], number: int, environment: dict[str, str]) -> tuple[int, int]:
        """One run of pytest; its exit status and how many tests passed."""
        report = self.app.root / ".boincdock" / f"test-report-{number}.xml"
        report.parent.mkdir(exist_ok=True)
        report.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "pytest", "--durations=10", "-p", "no:cacheprovider",
                f"--junitxml={report}", *arguments]
        status = subprocess.run(argv, cwd=self.app.root, env=environment, check=False).returncode
        return status, count_passed(report)

    @contextmanager
    def _services(self, tiers: list[str], environment: dict[str, str]) -> Iterator[None]:
        if not NEED_ENGINE & set(tiers):
            yield
            return
        self.app.compose()  # says clearly if the engine cannot be used
        if {"db", "stack", "e2e"} & set(tiers):
            Stack(self.app.compose(), self.app.ui).build()
        if "db" in tiers and "BOINCDOCK_TEST_DB" not in environment:
            with self._database(environment):
                yield
        else:
            yield

    @contextmanager
    def _database(self, environment: dict[str, str]) -> Iterator[None]:
        """A MariaDB with its data in memory, published on 127.0.0.1 only."""
        runner = self.app.runner
        image = self.app.compose().images()["mysql"]
        password = secrets.token_hex(12)
        name = f"boincdock-testdb-{os.getpid()}"
        with self.app.ui.step("Starting a database for the tests"):
            runner.run([
                "docker", "run", "-d", "--rm", "--name", name, "--tmpfs", "/var/lib/mysql:uid=999,gid=999,mode=0700",
                "-p", "127.0.0.1::3306", "-e", "TEST_PASSWORD", "--entrypoint", "bash", image, "-c", _DB_START,
            ], env={"TEST_PASSWORD": password})
        try:
            port = runner.run(["docker", "port", name, "3306/tcp"]).text.split()[0].rpartition(":")[2]
            self._wait_database(name, password)
            environment["BOINCDOCK_TEST_DB"] = f"mysql://tester:{password}@127.0.0.1:{port}"
            yield
        finally:
            runner.run(["docker", "rm", "-f", name], check=False)

    def _wait_database(self, name: str, password: str) -> None:
        deadline = time.monotonic() + _DB_TIMEOUT
        probe = ["docker", "exec", "-e", "MYSQL_PWD", name, "mariadb", "--protocol=tcp", "-h127.0.0.1", "-utester",
                 "-e", "SELECT 1"]
        while not self.app.runner.run(probe, env={"MYSQL_PWD": password}, check=False).ok:
            if time.monotonic() > deadline:
                log = self.app.runner.run(["docker", "logs", "--tail", "20", name], check=False)
                raise BoincdockError(f"the test database did not start:\n{log.text}{log.errors}")
            time.sleep(0.5)


def count_passed(report: Path) -> int:
    """How many tests of a JUnit report passed."""
    try:
        cases = ET.parse(report).getroot().iter("testcase")
    except (OSError, ET.ParseError):
        return 0
    return sum(not any(child.tag in ("failure", "error", "skipped") for child in case) for case in cases)
