"""The sample apps in a project tree (boincdock.apps.install)."""
from __future__ import annotations

from pathlib import Path

import pytest

from boincdock.apps.install import build_tree, find_wrappers
from boincdock.apps.xadd import parse_project_xml
from boincdock.errors import InputError
from boincdock.project.sample_apps import add, list_apps, remove
from boincdock.protocol.templates import parse_input_template, parse_output_template
from boincdock.protocol.version_xml import parse_version_xml

APPS = Path(__file__).parents[2] / "apps"
LINUX = "x86_64-pc-linux-gnu"


@pytest.fixture
def wrappers(tmp_path: Path) -> Path:
    folder = tmp_path / "wrappers"
    folder.mkdir()
    others = ("aarch64-unknown-linux-gnu", "windows_x86_64.exe", "x86_64-apple-darwin", "arm64-apple-darwin")
    for name in (f"docker_wrapper_1_{LINUX}", *(f"docker_wrapper_2_{platform}" for platform in (LINUX, *others))):
        (folder / name).write_bytes(name.encode())
    return folder


def test_tree(tmp_path: Path, wrappers: Path) -> None:
    root = tmp_path / "project"
    report = build_tree(APPS, wrappers, root)
    worker = root / "apps" / "worker" / "1.02" / f"{LINUX}__docker"
    assert sorted(p.name for p in worker.iterdir()) == [
        f"docker_wrapper_2_{LINUX}", "version.xml", "worker_1_Dockerfile", "worker_1_job.toml", "worker_1_worker.sh"]
    assert (worker / f"docker_wrapper_2_{LINUX}").stat().st_mode & 0o777 == 0o755
    spec = parse_version_xml((worker / "version.xml").read_text())
    assert spec.is_wrapper and spec.api_version >= "7.5" and spec.files[0].main_program
    assert {f.logical_name for f in spec.files[1:]} == {"Dockerfile", "job.toml", "worker.sh"}
    assert [p.name for p in (root / "apps" / "docker" / "1.02" / f"{LINUX}__docker").iterdir() if p.name[0] != "."]
    for app in ("worker", "docker"):
        made = {p.name for p in (root / "apps" / app / "1.02").iterdir()}
        assert made == {f"{platform}__docker" for platform in (
            LINUX, "aarch64-unknown-linux-gnu", "windows_x86_64", "x86_64-apple-darwin", "arm64-apple-darwin")}
        parse_input_template((root / "templates" / f"{app}_in").read_text())
        parse_output_template((root / "templates" / f"{app}_out").read_text())
    platforms, apps = parse_project_xml((root / "project.xml").read_text())
    assert len(platforms) == 20 and {a.name for a in apps} == {"worker", "docker"}
    assert "<name>docker</name>" in (root / "plan_class_spec.xml").read_text()
    assert report and build_tree(APPS, wrappers, root) == []


def test_owners_changes_are_kept(tmp_path: Path, wrappers: Path) -> None:
    root = tmp_path / "project"
    (root / "templates").mkdir(parents=True)
    (root / "project.xml").write_text("<boinc>\n  <!-- mine -->\n  <app><name>docker</name><user_friendly_name>My"
                                      " jobs</user_friendly_name></app>\n</boinc>\n")
    (root / "templates" / "worker_in").write_text("mine")
    report = build_tree(APPS, wrappers, root)
    assert "kept templates/worker_in: it was changed here" in report
    assert (root / "templates" / "worker_in").read_text() == "mine"
    text = (root / "project.xml").read_text()
    assert "<!-- mine -->" in text and "My jobs" in text and text.count("<name>docker</name>") == 1
    assert "<name>worker</name>" in text


def test_our_files_are_updated(tmp_path: Path, wrappers: Path) -> None:
    apps, root = tmp_path / "apps", tmp_path / "project"
    for path in APPS.rglob("*"):
        if path.is_file():
            target = apps / path.relative_to(APPS)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    build_tree(apps, wrappers, root)
    template = apps / "worker" / "templates" / "in"
    template.write_text(template.read_text().replace("86400", "86401"))
    assert build_tree(apps, wrappers, root) == ["updated templates/worker_in"]
    assert "86401" in (root / "templates" / "worker_in").read_text()


def test_wrong_sources(tmp_path: Path, wrappers: Path) -> None:
    with pytest.raises(InputError, match="no docker_wrapper"):
        build_tree(APPS, tmp_path / "nothing", tmp_path / "p")
    with pytest.raises(InputError, match=r"no app\.toml"):
        build_tree(tmp_path, wrappers, tmp_path / "p")
    app = tmp_path / "apps" / "x"
    app.mkdir(parents=True)
    start = 'name = "x"\nuser_friendly_name = "X"\nversion = '
    for text, words in (("name = ", "Invalid|invalid"), (start + '"1"', "version"),
                        (start + '1\nplatforms = ["vax"]\nplan_classes = [""]', "no docker_wrapper for any of vax")):
        (app / "app.toml").write_text(text)
        with pytest.raises(InputError, match=words):
            build_tree(tmp_path / "apps", wrappers, tmp_path / "p")
    assert not (tmp_path / "p").exists()
    (wrappers / f"docker_wrapper_100_{LINUX}").write_bytes(b"")
    with pytest.raises(InputError, match="below 100"):
        find_wrappers(wrappers)


def test_optional_apps_come_when_asked_for(tmp_path: Path, wrappers: Path) -> None:
    root = tmp_path / "project"
    build_tree(APPS, wrappers, root)
    assert not (root / "apps" / "sweep").exists()
    build_tree(APPS, wrappers, root, ["sweep", "montecarlo"])
    template = parse_input_template((root / "templates" / "sweep_in").read_text())
    constant = {info.physical_name for info in template.files}
    assert constant == {path.name for path in (root / "job_files").iterdir()} and len(constant) == 3
    assert (root / "apps" / "montecarlo" / "1.02" / f"{LINUX}__docker_mt").is_dir()
    with pytest.raises(InputError, match="there is no sample app 'nope'"):
        build_tree(APPS, wrappers, root, ["nope"])


def test_an_app_of_the_other_wrapper(tmp_path: Path, wrappers: Path) -> None:
    with pytest.raises(InputError, match="no wrapper_<version>_<platform>"):
        build_tree(APPS, wrappers, tmp_path / "p", ["shell"])
    (wrappers / f"wrapper_3_{LINUX}").write_bytes(b"w")
    report = build_tree(APPS, wrappers, tmp_path / "p", ["shell", "worker"])
    assert "app shell: no wrapper for aarch64-unknown-linux-gnu, left out" in report
    folder = tmp_path / "p" / "apps" / "shell" / "1.03" / LINUX
    assert sorted(p.name for p in folder.iterdir()) == ["shell_1_job.sh", "shell_1_job.xml", "version.xml",
                                                        f"wrapper_3_{LINUX}"]
    spec = parse_version_xml((folder / "version.xml").read_text())
    assert spec.is_wrapper and spec.files[0].physical_name == f"wrapper_3_{LINUX}"
    assert (tmp_path / "p" / "apps" / "worker" / "1.02").is_dir()
    app = tmp_path / "own" / "x"
    app.mkdir(parents=True)
    (app / "app.toml").write_text('name = "x"\nuser_friendly_name = "X"\nversion = 1\nwrapper = "vboxwrapper"\n')
    with pytest.raises(InputError, match="wrapper must be docker_wrapper or wrapper"):
        build_tree(tmp_path / "own", wrappers, tmp_path / "p")


CONFIG = "<boinc>\n  <config/>\n  <daemons>\n    <daemon><cmd>feeder -d 3</cmd></daemon>\n  </daemons>\n</boinc>\n"


def test_an_operators_image_gets_and_loses_sample_apps(tmp_path: Path, wrappers: Path) -> None:
    library, root = tmp_path / "library", tmp_path / "root"
    library.mkdir()
    (library / "apps").symlink_to(APPS)
    (library / "wrapper").symlink_to(wrappers)
    root.mkdir()
    (root / "config.xml").write_text(CONFIG)
    mine = "<app><name>mine</name><user_friendly_name>M</user_friendly_name></app>"
    (root / "project.xml").write_text(f"<boinc>\n  {mine}\n</boinc>\n")
    before = {p.name: p.read_text() for p in root.iterdir()}
    add(root, ["worker", "docker", "sweep"], library)
    config = (root / "config.xml").read_text()
    assert config.count("<daemon>") == 7 and "<cmd>results_assimilator -d 3 --app sweep</cmd>" in config
    assert all("left out" in line for line in add(root, ["sweep"], library))
    assert (root / "config.xml").read_text() == config
    remove(root, library)
    assert "--app docker" not in (root / "config.xml").read_text() and "feeder" in (root / "config.xml").read_text()
    _, apps = parse_project_xml((root / "project.xml").read_text())
    assert {app.name for app in apps} == {"mine", "sweep"}
    assert not (root / "apps" / "worker").exists() and (root / "templates" / "sweep_in").exists()
    assert before["config.xml"].split() == CONFIG.split()
    (root / "config.xml").write_text("<boinc/>")
    with pytest.raises(InputError, match="must have one <daemons> element"):
        add(root, ["worker"], library)
    assert any(line.startswith("sweep: ") and line.endswith("(optional)") for line in list_apps(library))
