"""An operator's own project: images FROM ours, files copied over the defaults (spec 05 D2)."""
from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack_project import ROOT, Project, new_project


@pytest.fixture
def example(images: None, tmp_path: Path) -> Iterator[Project]:
    """example_project, copied, with another user, folder and name."""
    folder = tmp_path / "mine"
    shutil.copytree(ROOT / "example_project", folder)
    project = new_project("example", PROJECT="myproject", BOINC_USER="ann", PROJECT_ROOT="/srv/boinc/mine")
    project.directory = folder
    project.variables["PROJECT"] = project.name  # the images' names begin with it
    try:
        yield project
    finally:
        project.wipe()
        names = [f"{project.name}/{n}" for n in ("mysql", "makeproject", "apache")]
        subprocess.run(["docker", "rmi", "-f", *names], capture_output=True, check=False)


def test_own_files_win_and_take_effect_with_up_build(example: Project) -> None:
    images = example.directory / "images" / "makeproject"
    example.compose("build", timeout=600)
    template = example.compose("run", "--rm", "--no-deps", "makeproject", "cat", "config.xml").stdout
    assert b"${URL_BASE}" in template
    own = template.replace(b"REPLACE WITH PROJECT NAME", b"Project of Ann")
    (images / "config.xml").write_bytes(own)
    (images / "motd.txt").write_text("${URL_BASE} stays as it is here\n")
    with (images / "Dockerfile").open("a") as file:
        file.write("COPY --chown=1000 config.xml motd.txt $PROJECT_ROOT/\n")
    example.compose("up", "-d", "--build", timeout=600)
    example.wait_healthy()
    assert example.run_in("apache", "sh", "-c", "id -un; pwd; echo $HOME").split() == \
        ["ann", "/srv/boinc/mine", "/home/ann"]
    assert f"{example.url_base}/{example.project}/" in example.run_in("apache", "cat", "config.xml")
    assert example.run_in("apache", "cat", "motd.txt") == "${URL_BASE} stays as it is here\n"
    assert "Project of Ann" in example.get(f"/{example.project}/get_project_config.php").text
    assert example.get(f"/{example.project}/create_account.php?email_addr=a@example.org&passwd_hash={'b' * 32}"
                       "&user_name=Ann").text.count("<authenticator>") == 1

    # A broken one changes nothing and says what is wrong.
    (images / "config.xml").write_bytes(own.replace(b"</config>", b""))
    broken = example.compose("up", "-d", "--build", timeout=600, check=False)
    assert broken.returncode != 0
    assert "config.xml of the makeproject image: line" in example.logs("makeproject")
    assert "Project of Ann" in example.run_in("apache", "cat", "config.xml")

    # A changed file and `up --build`: it takes effect, also over an edit in the volume; the data stays.
    example.run_in("apache", "sh", "-c", "echo '<!-- edited -->' >> config.xml")
    (images / "config.xml").write_bytes(own.replace(b"Project of Ann", b"Ann's better project"))
    secrets = example.volume_files("secrets")
    example.compose("up", "-d", "--build", timeout=600)
    example.wait_healthy()
    assert "better project" in example.get(f"/{example.project}/get_project_config.php").text
    assert "edited" in example.run_in("apache", "cat", "config.xml.edited")
    assert example.volume_files("secrets") == secrets
    assert example.get(f"/{example.project}/lookup_account.php?email_addr=a@example.org&passwd_hash={'b' * 32}"
                       ).text.count("<authenticator>") == 1
