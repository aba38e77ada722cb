"""manage.py init and create-app: the folder of a project of one's own."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from manage_fakes import FakeRunner, make_app

from boincdock import __version__
from boincdock.apps.install import sample_apps
from boincdock.errors import BoincdockError, InputError
from boincdock.manage import init
from boincdock.manage.cli import main
from boincdock.manage.context import App, project_root
from boincdock.manage.settings import load_settings
from boincdock.manage.stack import Stack
from boincdock.project import sample_apps as own
from boincdock.project.sample_apps import check_templates


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("PORT", "URL_BASE", "PROJECT", "COMPOSE_PROJECT_NAME", "BOINCDOCK_SETTINGS", "VERSION", "TAG"):
        monkeypatch.delenv(key, raising=False)


def _init(root: Path, *words: str) -> int:
    return main(["init", *words], make_app(root, FakeRunner()))


def test_a_folder_with_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert _init(tmp_path, "mysearch", "--port", "8123", "--app", "primes", "--json") == 0
    assert json.loads(capsys.readouterr().out)["url"] == "http://127.0.0.1:8123/mysearch/"
    folder = tmp_path / "mysearch"
    settings = load_settings(folder, {})
    assert (settings["PROJECT"], settings["VERSION"], settings.port) == ("mysearch", __version__, 8123)
    assert settings.master_url == "http://127.0.0.1:8123/mysearch/"
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"manage.py", "docker-compose.yml", "images/mysql/Dockerfile", "plugins/number_validator",
            "images/makeproject/apps/primes/files/primes.sh"} <= made
    assert not any("new_app" in name or "@APP@" in name for name in made)
    assert not any("@APP@" in path.read_text() for path in folder.rglob("*") if path.is_file())
    validator = folder / "images/makeproject/project_root/bin/primes_validator"
    compile(validator.read_text(), str(validator), "exec")
    assert validator.stat().st_mode & 0o111 and (folder / "manage.py").stat().st_mode & 0o111
    (app,) = sample_apps(folder / init.APPS_DIR, ["primes"])
    check_templates(app)
    assert not list(tmp_path.glob(".mysearch*")), "nothing half made is left"
    done = subprocess.run([sys.executable, str(folder / "manage.py"), "create-app"], capture_output=True, text=True,
                          check=False, env={**os.environ, "BOINCDOCK_SETTINGS": str(tmp_path / "s")})
    assert (done.returncode, "worker (in this project)" in done.stdout) == (0, True), done.stderr
    assert "sweep\n" in done.stdout


@pytest.mark.parametrize(("words", "message"), [
    (["Bad Name"], "not a usable project name"), (["../evil"], "not a usable"), (["there"], "exists already"),
    (["ok", "--port", "http"], "not a TCP port"), (["ok", "--url-base", "localhost"], "http:// or https://"),
    (["ok", "--app", "Up"], "no usable app name"), (["ok", "--app", "docker"], "no usable app name"),
    (["ok", "--dir", "no/such/place"], "there is no folder no/such"),
])
def test_bad_names_make_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                words: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert _init(tmp_path, *words) == 1
    assert message in capsys.readouterr().err
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name not in ("docker-compose.yml", ".env")] == before


def test_sample_apps_of_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "p"
    init.init(folder, project="p", url_base="http://127.0.0.1", port="80", version="1.2", docker_apps=False)
    app = App(root=folder, runner=FakeRunner())
    dockerfile = folder / init.DOCKERFILE
    assert "boincdock.project apps --none\n" in dockerfile.read_text()
    assert "VERSION=1.2\n" in (folder / ".env").read_text()
    assert main(["create-app", "sweep", "docker", "sweep"], app) == 0
    assert init.chosen_apps(dockerfile) == ["--none", "sweep", "docker"]
    assert "apps --from /tmp/apps" in dockerfile.read_text()
    before = dockerfile.read_text()
    assert main(["create-app", "sweep"], app) == 0
    assert "they are there already" in capsys.readouterr().err
    assert main(["create-app", "nope"], app) == 1
    assert "there is no sample app 'nope'" in capsys.readouterr().err
    assert dockerfile.read_text() == before
    dockerfile.write_text("FROM x\n")
    assert main(["create-app", "sweep"], app) == 1
    assert "has 0 lines" in capsys.readouterr().err
    with pytest.raises(InputError, match="this is boincdock itself"):
        init.create_app(init.CHECKOUT, ["sweep"])


def test_the_images_that_a_project_is_from(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    init.init(folder, project="p", url_base="http://127.0.0.1", port="80", version="latest")
    absent = FakeRunner({"docker image inspect": lambda argv: _missing(argv, "boincdock/")})
    app = App(root=folder, runner=absent)
    Stack(app.compose(), app.ui).build()
    builds = [argv for argv in absent.calls if "build" in argv]
    assert [f"{init.CHECKOUT}/docker-compose.yml" in argv for argv in builds] == [True, False]
    env = absent.env[absent.calls.index(builds[0])]
    assert env["VERSION"] == __version__
    env_file = folder / ".env"
    env_file.write_text(env_file.read_text().replace(f"VERSION={__version__}", "VERSION=7.7"))
    with pytest.raises(BoincdockError, match=r"images of boincdock are missing: boincdock/server_mysql:7\.7"):
        Stack(App(root=folder, runner=absent).compose(), app.ui).build()


def _missing(argv: list[str], prefix: str):  # type: ignore[no-untyped-def]
    from manage_fakes import failed, ok

    return failed("No such image") if any(word.startswith(prefix) for word in argv) else ok("sha256:1\n")


def test_a_root_without_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BOINCDOCK_ROOT", str(tmp_path))
    assert main(["status"]) == 1
    assert f"there is no project in {tmp_path}" in capsys.readouterr().err
    monkeypatch.delenv("BOINCDOCK_ROOT")
    assert project_root() == init.CHECKOUT


APP_TOML = ('name = "a"\nuser_friendly_name = "A"\nversion = 1\nplatforms = ["x86_64-pc-linux-gnu"]\nplan_classes = '
            '["docker"]\ndaemons = ["a_validator --app a"]\n[[file]]\nname = "f"\n')


@pytest.mark.parametrize(("change", "message"), [
    ({"app.toml": APP_TOML.replace('"A"', "3")}, "app.toml: user_friendly_name must be a str"),
    ({"app.toml": "name = "}, "app.toml: "),
    ({"app.toml": APP_TOML.replace('name = "a"', 'name = "b"', 1)}, "folder's is"),
    ({"templates/in": "<input_template>\n<workunit>\n<rsc_fpops_est>x</rsc_fpops_est>\n</workunit></input_template>"},
     "templates/in, line 3: <rsc_fpops_est>"),
    ({"templates/in": "<input_template>\n</input_template>"}, "templates/in"),
    ({"templates/out": "<output_template>\n<file_info><name>x</name></file_info><result/></output_template>"},
     "templates/out"),
    ({"templates/out": None}, "templates/out is missing"), ({"files/f": None}, "there is no file files/f"),
    ({"bin": None}, "there is no executable bin/a_validator"),
])
def test_an_own_app_that_cannot_work_stops_the_build(tmp_path: Path, change: dict[str, str | None],
                                                     message: str) -> None:
    root, library, app = tmp_path / "root", tmp_path / "library", tmp_path / "apps" / "a"
    out = init.TEMPLATE / "new_app" / "templates" / "out"
    files: dict[str, str | None] = {
        "app.toml": APP_TOML, "files/f": "x", "templates/in": "<input_template>\n<workunit/></input_template>",
        "templates/out": out.read_text(), "bin": "#!/bin/sh\n"}
    files |= change
    for name, text in files.items():
        path = root / "bin" / "a_validator" if name == "bin" else app / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text)
            path.chmod(0o755)
    (library / "wrapper").mkdir(parents=True)
    (library / "wrapper" / "docker_wrapper_1_x86_64-pc-linux-gnu").write_bytes(b"w")
    (root / "config.xml").write_text("<boinc><daemons></daemons></boinc>")
    (root / "project.xml").write_text("<boinc></boinc>")
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with pytest.raises(InputError) as caught:
        own.add_own(root, tmp_path / "apps", library)
    assert message in caught.value.message
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before
