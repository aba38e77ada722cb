"""``stack``: a project of the tests' own, shared by the session and wiped at its end; ``fresh_project``: one that
nobody has started yet."""
from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from stack_project import ROOT, Project, compose_command, new_project


@pytest.fixture(scope="session")
def images() -> None:
    """The images exist; `manage.py test` has built them, else docker-compose does now."""
    names = [f"boincdock/server_{name}:latest" for name in ("mysql", "makeproject", "apache")]
    if subprocess.run(["docker", "image", "inspect", *names], capture_output=True, check=False).returncode:
        subprocess.run([*compose_command(), "build"], cwd=ROOT, check=True, capture_output=True, timeout=1200)


@pytest.fixture(scope="session")
def stack(images: None) -> Iterator[Project]:
    """A healthy project that all tests share; a test that changes it puts it back."""
    project = new_project("stack")
    try:
        project.up()
        yield project
    finally:
        project.wipe()


@pytest.fixture
def fresh_project(images: None) -> Iterator[Project]:
    """A project that nobody has started yet."""
    project = new_project("fresh")
    try:
        yield project
    finally:
        project.wipe()
