"""Settings in layers, remembered choices, clear refusals."""
from __future__ import annotations

from pathlib import Path

import pytest

from boincdock.errors import ConfigError
from boincdock.manage import settings as s

ENV = "URL_BASE=http://127.0.0.1\nPROJECT=boincserver\nPORT=80\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".env").write_text(ENV)
    return tmp_path


def test_env_file_as_compose_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "e"
    path.write_text("# c\n\nA=1\nexport B = two words # gone\nC='x # y'\nD=\"q\"\nE=\nF=a#b\n")
    assert s.read_env_file(path) == {"A": "1", "B": "two words", "C": "x # y", "D": "q", "E": "", "F": "a#b"}
    assert s.read_env_file(tmp_path / "none") == {}
    path.write_text("A=1\nnonsense\n")
    with pytest.raises(ConfigError, match=r"e:2: not a KEY=VALUE line"):
        s.read_env_file(path)


def test_option_beats_environment_beats_remembered_beats_env_file(root: Path) -> None:
    assert s.load_settings(root, {}).port == 80
    s.remembered_path(root, {}).parent.mkdir()
    s.remembered_path(root, {}).write_text("PORT=81\n")
    assert s.load_settings(root, {}).port == 81
    assert s.load_settings(root, {"PORT": "82"}).port == 82
    assert s.load_settings(root, {"PORT": "82"}, {"PORT": "83"}).port == 83
    assert s.load_settings(root, {"PORT": "82"}, {"PORT": None}).port == 82


def test_defaults_without_any_file(tmp_path: Path) -> None:
    settings = s.load_settings(tmp_path, {})
    assert settings["BOINC_USER"] == "boincadm"
    assert settings.master_url == "http://127.0.0.1/boincserver/"


def test_shipped_url_base_follows_the_port(root: Path) -> None:
    assert s.load_settings(root, {}, {"PORT": "8080"})["URL_BASE"] == "http://127.0.0.1:8080"
    assert s.load_settings(root, {}, {"PORT": "8080"}).master_url == "http://127.0.0.1:8080/boincserver/"
    assert s.load_settings(root, {}, {"PORT": "80"})["URL_BASE"] == "http://127.0.0.1"


@pytest.mark.parametrize("layer", ["options", "environ", "env file", "remembered"])
def test_a_url_base_that_was_chosen_is_left_alone(root: Path, layer: str) -> None:
    chosen, environ, options = "https://boinc.example.org", {}, {"PORT": "8080"}
    if layer == "options":
        options["URL_BASE"] = chosen
    elif layer == "environ":
        environ["URL_BASE"] = chosen
    elif layer == "env file":
        (root / ".env").write_text(f"URL_BASE={chosen}\nPORT=80\n")
    else:
        s.remembered_path(root, {}).parent.mkdir()
        s.remembered_path(root, {}).write_text(f"URL_BASE={chosen}\n")
    assert s.load_settings(root, environ, options)["URL_BASE"] == chosen


def test_choices_are_remembered_and_kept_together(root: Path) -> None:
    s.remember(s.load_settings(root, {}, {"PORT": "8080"}), {})
    assert s.load_settings(root, {})["URL_BASE"] == "http://127.0.0.1:8080"
    s.remember(s.load_settings(root, {}, {"URL_BASE": "HTTPS://Boinc.Example.org/"}), {})
    again = s.load_settings(root, {})
    assert (again.port, again["URL_BASE"]) == (8080, "https://boinc.example.org")
    before = s.remembered_path(root, {}).read_bytes()
    s.remember(again, {})
    assert s.remembered_path(root, {}).read_bytes() == before


def test_another_stack_may_keep_its_choices_elsewhere(root: Path, tmp_path: Path) -> None:
    environ = {"BOINCDOCK_SETTINGS": str(tmp_path / "other.env")}
    s.remember(s.load_settings(root, environ, {"PORT": "9000"}), environ)
    assert s.load_settings(root, environ).port == 9000
    assert s.load_settings(root, {}).port == 80


@pytest.mark.parametrize(("key", "value", "message"), [
    ("PORT", "0", "PORT '0'"), ("PORT", "65536", "PORT"), ("PORT", "80a", "PORT"), ("PORT", "", "PORT"),
    ("PORT", "١٢", "PORT"), ("PORT", "-1", "PORT"),
    ("URL_BASE", "http://localhost", "no dot"), ("URL_BASE", "ftp://a.b", "http:// or https://"),
    ("URL_BASE", "http://a b.c", "white space"), ("URL_BASE", "", "empty"),
    ("PROJECT", "Über", "PROJECT"), ("PROJECT", "a b", "PROJECT"), ("PROJECT", "../x", "PROJECT"),
    ("BOINC_USER", "root", "BOINC_USER"), ("PROJECT_ROOT", "/etc/x", "PROJECT_ROOT"),
    ("BASE_IMAGE", "debian; rm -rf /", "BASE_IMAGE"), ("VERSION", "$(x)", "VERSION"),
    ("COMPOSE_PROJECT_NAME", "A b", "COMPOSE_PROJECT_NAME"),
])
def test_bad_values_are_named(root: Path, key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        s.load_settings(root, {key: value})


@pytest.mark.parametrize(("folder", "name"), [
    ("main", "main"), ("My Project", "myproject"), ("_x", "x"), ("Ä", "boincdock"), ("a.b-c_d", "ab-c_d"),
])
def test_compose_project_name_is_composes_own(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir()
    assert s.load_settings(tmp_path / folder, {}).compose_name == name
    assert s.load_settings(tmp_path / folder, {"COMPOSE_PROJECT_NAME": "t1"}).compose_name == "t1"
