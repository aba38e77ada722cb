"""config.xml (spec 05 B1-B4, I2, I3, I5)."""
from __future__ import annotations

from pathlib import Path

import pytest

from boincdock.config import find_project_dir, load_project, parse_config, parse_period
from boincdock.config_options import OPTIONS
from boincdock.errors import ConfigError


def config(options: str, rest: str = ""):
    return parse_config(f"<boinc><config><host>h</host>{options}</config>{rest}</boinc>".encode(), Path("/p"))


@pytest.mark.parametrize(("text", "expected"), [
    ("", False), ("<ended/>", True), ("<ended>1</ended>", True), ("<ended> 1 </ended>", True),
    ("<ended>2</ended>", True), ("<ended>0</ended>", False), ("<ended>00</ended>", False),
    ("<ended>true</ended>", True), ("<ended>false</ended>", False), ("<ended></ended>", True),
])
def test_switches_read_as_recommended(text: str, expected: bool) -> None:
    assert config(text).config.ended is expected


@pytest.mark.parametrize(("text", "expected"), [
    ("7", 7), (" 7 ", 7), ("-1", -1), ("0x10", 16), ("010", 8), ("", 0), ("12abc", 64), ("1e3", 64)])
def test_ints(text: str, expected: int) -> None:
    project = config(f"<max_ncpus>{text}</max_ncpus>")
    assert project.config.max_ncpus == expected
    assert bool(project.warnings) == (expected == 64)


@pytest.mark.parametrize(("text", "expected"), [("1e3", 1000), ("0.5", 0.5), ("", 0), ("abc", 1), ("nan", 1)])
def test_doubles(text: str, expected: float) -> None:
    xml = f"<version_select_random_factor>{text}</version_select_random_factor>"
    assert config(xml).config.version_select_random_factor == expected


def test_derived_settings() -> None:
    assert config("<grace_period_hours>1.5</grace_period_hours>").config.report_grace_period == 5400
    two = "<report_grace_period>60</report_grace_period>", "<grace_period_hours>1</grace_period_hours>"
    assert config("".join(two)).config.report_grace_period == 3600
    assert config("".join(reversed(two))).config.report_grace_period == 60
    assert config("<delete_delay_hours>24</delete_delay_hours>").config.delete_delay == 86400
    for given, stored in ((0, 0), (706, 70600), (70205, 70205)):
        xml = f"<min_core_client_version>{given}</min_core_client_version>"
        assert config(xml).config.min_core_client_version == stored
    for given, least in ((6, 7), (100, 101), (600, 606)):
        assert config(f"<min_sendwork_interval>{given}</min_sendwork_interval>").config.request_delay == least
    for text, mode in (("644", 0o644), ("abc", None)):
        xml = f"<fuh_set_completed_permission>{text}</fuh_set_completed_permission>"
        assert config(xml).config.fuh_set_completed_permission == mode
    with pytest.raises(ConfigError, match="exclude"):
        config("<batch_accel/><size_classes/>")


def test_misspellings_and_unknown_options_warn_with_their_line() -> None:
    project = config("\n<disable_web_account_creation>1</disable_web_account_creation>\n<wombat>3</wombat>")
    assert project.config.no_web_account_creation is True
    assert [w.split(":")[1] for w in project.warnings] == [" line 2", " line 3"]
    assert project.config.extra["wombat"] == "3"


@pytest.mark.parametrize(("entry", "names"), [
    ("<cmd>feeder -d 3</cmd>", ("feeder.log", "feeder.pid", "feeder.lock")),
    ("<cmd>sample_bitwise_validator --app a</cmd>",
     ("sample_bitwise_validator.a.log", "sample_bitwise_validator.a.pid", "sample_bitwise_validator.a.lock")),
    ("<cmd>v --app a</cmd><output>val_b.log</output><pid_file>val_b.pid</pid_file><lock_file>b.lock</lock_file>",
     ("val_b.log", "val_b.pid", "b.lock")),
    ("<cmd>v</cmd><output>/dev/null</output>", ("/dev/null", "v.pid", "v.lock")),
])
def test_daemon_names(entry: str, names: tuple[str, str, str]) -> None:
    daemon = config("", f"<daemons><daemon>{entry}</daemon></daemons>").daemons[0]
    assert (daemon.output, daemon.pid_file, daemon.lock_file) == names


def test_task_names_and_periods() -> None:
    xml = "<tasks><task><cmd>run_in_ops ./notify.php</cmd><period>24 hours</period></task></tasks>"
    task = config("", xml).tasks[0]
    assert (task.output, task.lock_file, task.period) == ("notify.php.out", "notify.php.lock", 86400)
    assert parse_period("5") == 300
    assert parse_period("1 day") == 86400
    with pytest.raises(ConfigError):
        parse_period("soon")


@pytest.mark.parametrize(("text", "disabled"), [
    ("<disabled>1</disabled>", True), ("<disabled>yes</disabled>", True), ("<disabled>0</disabled>", False),
    ("", False), ("<disabled/>", True)])
def test_disabled(text: str, disabled: bool) -> None:
    assert config("", f"<daemons><daemon><cmd>x</cmd>{text}</daemon></daemons>").daemons[0].disabled is disabled


def test_a_broken_file_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text("<boinc>\n<config>\n<host>h</hots>\n</config></boinc>")
    with pytest.raises(ConfigError, match="line 3"):
        load_project(tmp_path)
    with pytest.raises(ConfigError, match="entity"):
        parse_config(b'<!DOCTYPE a [<!ENTITY b "c">]><boinc><config/></boinc>', tmp_path)
    with pytest.raises(ConfigError, match="not in a project"):
        find_project_dir(tmp_path / "nowhere")


def test_paths_follow_the_host_option(tmp_path: Path) -> None:
    (tmp_path / "config.xml").write_text(
        "<boinc><config><host>p</host><master_url>http://127.0.0.1/p/</master_url>"
        "<log_p_dir>/elsewhere</log_p_dir></config></boinc>")
    project = load_project(tmp_path)
    assert (project.log_dir, project.pid_dir) == (Path("/elsewhere"), tmp_path / "pid_p")
    assert (project.download_dir, project.name) == (tmp_path / "download", "p")


def test_every_option_has_a_default_of_its_type() -> None:
    types = {"s": str, "i": int, "d": float, "b": bool, "re": list, "list_i": list, "octal": type(None)}
    for name, (kind, default, meaning) in OPTIONS.items():
        assert type(default) is types[kind], name
        assert meaning
