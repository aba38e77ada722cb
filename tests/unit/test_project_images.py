"""What the Dockerfiles and compose files promise, as far as their text shows it (DESIGN section 2)."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from boincdock.apps.xadd import parse_project_xml
from boincdock.bin._run import commands
from boincdock.config import load_project
from boincdock.project.render import substitute

ROOT = Path(__file__).parents[2]
SERVER = ("mysql", "makeproject", "apache")
SKELETON = ROOT / "images" / "makeproject" / "project_root"


def dockerfile(name: str) -> str:
    return (ROOT / "images" / name / "Dockerfile").read_text()


def common(name: str) -> str:
    return dockerfile(name).split("# --- common\n")[1].split("# --- end of common\n")[0]


def test_apache_and_makeproject_share_their_first_layers() -> None:
    assert common("apache") == common("makeproject")


@pytest.mark.parametrize("name", SERVER)
def test_dockerfiles_build_everywhere_and_download_nothing(name: str) -> None:
    """No BuildKit-only syntax; Debian packages only; no default for a secret; not root at the end."""
    text = dockerfile(name)
    instructions = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert "ARG BASE_IMAGE=debian:trixie-slim" in instructions
    for forbidden in ("--mount", "--link", "--chmod", "<<", "pip", "curl", "wget", "git ", "http://", "https://",
                      "PASSW", "docker.sock"):
        assert forbidden not in instructions, forbidden
    assert "# syntax=" not in text
    users = re.findall(r"^USER (\S+)", instructions, re.MULTILINE)
    assert users[-1] not in ("root", "0")


def test_compose_works_with_1_29_and_v2() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert not re.search(r"^(version|name):", text, re.MULTILINE)
    assert not re.search(r"\$\{[^}]*\$\{", text), "1.29 does not nest variables"
    server, _, volunteer = text.partition("  volunteer:\n")
    assert "docker.sock" not in server and "docker.sock" in volunteer
    assert "privileged" not in text and "cap_add" not in text


def test_the_examples_compose_file_is_ours_with_other_images() -> None:
    """When one changes, so must the other."""
    def body(text: str) -> str:
        return text[text.index("# Order is by health"):]

    ours = body((ROOT / "docker-compose.yml").read_text())
    for name in SERVER:
        ours = ours.replace(f"image: boincdock/server_{name}:${{VERSION:-latest}}${{TAG:-}}",
                            f"image: ${{PROJECT:-myproject}}/{name}")
        ours = re.sub(rf"( +)context: \.\n +dockerfile: images/{name}/Dockerfile\n", rf"\1context: images/{name}\n",
                      ours)
    ours = re.sub(r"( +)BASE_IMAGE: \$\{BASE_IMAGE:-debian:trixie-slim\}",
                  r"\1VERSION: ${VERSION:-latest}\n\1TAG: ${TAG:-}", ours)

    def server(text: str) -> str:
        """Without the volunteer, whose image the example does not build."""
        start, end = text.index("  volunteer:\n"), text.index("networks:\n  backend")
        return re.sub(r"(\n *#[^\n]*)+\s*$", "", text[:start].rstrip()).rstrip() + "\n\n" + text[end:]

    theirs = body((ROOT / "example_project" / "docker-compose.yml").read_text())
    assert server(theirs) == server(ours).replace("boincserver", "myproject")
    assert "build:" not in theirs[theirs.index("  volunteer:\n"):theirs.index("networks:\n  backend")]


def test_the_default_config_is_clean_and_its_programs_exist() -> None:
    project = load_project(SKELETON)
    assert project.warnings == []
    assert {d.cmd.split()[0] for d in project.daemons} | {t.cmd.split()[0] for t in project.tasks} <= set(commands())
    names = [d.pid_file for d in project.daemons]
    assert len(set(names)) == len(names)
    config = project.config
    assert (config.uldl_dir_fanout, config.ignore_upload_certificates) == (1024, False)


def test_the_default_platforms_are_upstreams() -> None:
    """Spec 05 B8."""
    platforms, _apps = parse_project_xml((SKELETON / "project.xml").read_text())
    assert " ".join(p.name for p in platforms) == (
        "windows_intelx86 windows_x86_64 windows_arm64 i686-pc-linux-gnu x86_64-pc-linux-gnu powerpc-apple-darwin "
        "i686-apple-darwin x86_64-apple-darwin arm64-apple-darwin sparc-sun-solaris2.7 sparc-sun-solaris "
        "sparc64-sun-solaris powerpc64-ps3-linux-gnu arm-android-linux-gnu aarch64-android-linux-gnu "
        "x86_64-android-linux-gnu x86-android-linux-gnu arm-unknown-linux-gnueabihf aarch64-unknown-linux-gnu "
        "anonymous")


def test_schedulers_txt_has_short_lines_from_column_0() -> None:
    """Clients read pieces of 255 bytes (spec 05 C2); the longest URL_BASE and PROJECT must fit."""
    text = substitute((SKELETON / "html/user/schedulers.txt").read_text(),
                      {"URL_BASE": "https://" + "a" * 108 + ".org", "PROJECT": "p" * 40})
    lines = text.splitlines()
    assert lines[0].startswith("<!-- <scheduler>https://") and lines[1].startswith('<link rel="boinc_scheduler" href="')
    assert max(map(len, lines)) < 250


def test_no_placeholder_is_unknown() -> None:
    known = {"URL_BASE", "PROJECT", "PROJECT_ROOT", "BOINC_USER", "DB_HOST", "DB_NAME", "DB_USER", "DB_PASSWD",
             "RECAPTCHA_PUBLIC_KEY", "RECAPTCHA_PRIVATE_KEY", "BOINCDOCK"}
    for path in SKELETON.rglob("*"):
        if path.is_file():
            assert {n.upper() for n in re.findall(r"\$\{(\w+)\}", path.read_text())} - {"..."} <= known, path
