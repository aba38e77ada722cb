"""``world``: a healthy project with one more app, shared by the session. ``client``: a stock client by version.

The extra app ``plain`` comes in as an operator brings in an app: files laid out under apps/, copied into an image
FROM boincdock/server_makeproject.
"""
from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_world import ROOT, RUNNER, VERSIONS, Stock, World, docker, new_world

from boincdock.manage import baseimage
from boincdock.manage.context import App
from boincdock.manage.ui import Ui
from boincdock.manage.volunteer import ensure_hello_image, remove_hello_image

APP = Path(__file__).parent / "plain_app"
_alive: list[World] = []
_clients: list[Stock] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failed test shows what the clients and the server said."""
    report = yield
    if report.failed and call.when in ("setup", "call"):
        for stock in _clients:
            report.sections.append((f"client {stock.version}", stock.client.log(120)))
        for world in _alive:
            report.sections.append((f"server {world.name}", world.logs()))
    return report


SERVERS = ("mysql", "makeproject", "apache")


def _tag(old: str, new: str, *names: str) -> None:
    for name in names:
        docker("tag", f"boincdock/server_{name}:{old}", f"boincdock/server_{name}:{new}")


def _untag(tag: str) -> None:
    docker("rmi", *(f"boincdock/server_{name}:{tag}" for name in SERVERS), f"boincdock/volunteer:{tag}", check=False)


@pytest.fixture(scope="session")
def images() -> Iterator[str]:
    """The server's images, built from this checkout, under a tag of this session: what is built meanwhile for the
    operator's own project does not disturb the tests. Yields TAG."""
    app = App()
    app.stack().build()
    version, tag = app.settings()["VERSION"], app.settings()["TAG"]
    new = f"{tag}-e2e{uuid.uuid4().hex[:8]}"
    _tag(version + tag, version + new, *SERVERS)
    yield new
    _untag(version + new)


def _build_with_app(folder: Path, tag: str, new_tag: str) -> None:
    """Images under a tag of their own; makeproject's has the app ``plain``."""
    _tag(tag, new_tag, "mysql", "apache")
    context = folder / "makeproject"
    shutil.copytree(APP, context)
    base = f"boincdock/server_makeproject:{tag}"
    for name in ("config.xml", "project.xml"):
        text = docker("run", "--rm", "--network", "none", "--entrypoint", "cat", base, name).stdout.decode()
        extra = (APP / f"{name}.part").read_text()
        mark = "</daemons>" if name == "config.xml" else "</boinc>"
        assert text.count(mark) == 1
        text = text.replace(mark, f"{extra}{mark}").replace(" -d 3", " -d 3 --sleep_interval 1")
        (context / name).write_text(text)
    platform = context / "apps" / "plain" / "1.00" / "x86_64-pc-linux-gnu"
    script = "cd /usr/local/lib/boincdock/wrapper; ls docker_wrapper_*_x86_64-pc-linux-gnu"
    shown = docker("run", "--rm", "--network", "none", "--entrypoint", "sh", base, "-c", script).stdout
    wrapper = shown.decode().strip()
    (platform / wrapper).write_bytes(docker("run", "--rm", "--network", "none", "--entrypoint", "cat", base,
                                            f"/usr/local/lib/boincdock/wrapper/{wrapper}").stdout)
    (platform / wrapper).chmod(0o755)
    version = (platform / "version.xml").read_text().replace("WRAPPER", wrapper)
    (platform / "version.xml").write_text(version)
    docker("build", "--build-arg", f"BASE={base}", "-t", f"boincdock/server_makeproject:{new_tag}", str(context))


@pytest.fixture(scope="session")
def own_images(images: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An operator's own images: with the app plain, and daemons that look for work each second. Yields TAG."""
    version, tag = App().settings()["VERSION"], f"{images}-plain"
    _build_with_app(tmp_path_factory.mktemp("images"), version + images, version + tag)
    yield tag
    _untag(version + tag)


@pytest.fixture(scope="session")
def world(own_images: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A healthy project with the apps worker, docker and plain."""
    yield from _run(new_world(tmp_path_factory.mktemp("world"), TAG=own_images))


@pytest.fixture
def fresh_world(own_images: str, tmp_path: Path) -> Iterator[World]:
    """A healthy project of this test's own."""
    yield from _run(new_world(tmp_path, TAG=own_images))


@pytest.fixture
def unstarted_world(images: str, tmp_path: Path) -> Iterator[World]:
    """A project that nobody has started yet, from the stock images."""
    yield from _run(new_world(tmp_path, TAG=images), start=False)


def _run(made: World, *, start: bool = True) -> Iterator[World]:
    _alive.append(made)
    try:
        if start:
            made.run("up", "--no-build")
        yield made
    finally:
        _alive.remove(made)
        made.run("down", "-v", "--yes", check=False)


@pytest.fixture(scope="session")
def hello_image() -> Iterator[None]:
    """What client 8.2 greets the engine with, when it starts."""
    baseimage.ensure(RUNNER, Ui(), VERSIONS["8.2.15"])
    yield
    remove_hello_image(RUNNER)


@pytest.fixture(scope="session")
def client_images(hello_image: None) -> Callable[[str], str]:
    """Builds the image of a client version, once."""
    built: dict[str, str] = {}

    def image(version: str) -> str:
        if version not in built:
            base = VERSIONS[version]
            baseimage.ensure(RUNNER, Ui(), base)
            name = f"boincdock/volunteer:test-{version}"
            folder = ROOT / "images" / "volunteer"
            subprocess.run(["docker", "build", "-q", "--build-arg", f"BASE_IMAGE={base}", "-t", name, str(folder)],
                           check=True, capture_output=True)
            built[version] = name
        return built[version]

    return image


@pytest.fixture
def new_client(client_images: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[[World, str], Stock]]:
    """Starts clients; they are removed after the test."""
    started: list[tuple[Stock, World]] = []

    def start(world: World, version: str) -> Stock:
        name = f"{world.name}-client-{version}-{len(started)}"
        stock = Stock(version, client_images(version), tmp_path / name, name)
        started.append((stock, world))
        _clients.append(stock)
        ensure_hello_image(RUNNER, VERSIONS["8.2.15"])  # `volunteer stop` of another test may have removed it
        stock.start()
        return stock

    yield start
    for stock, world in started:
        _clients.remove(stock)
        stock.remove(world)
