"""URL_BASE, PROJECT, BOINC_USER and PROJECT_ROOT: what is refused before anything starts."""
from __future__ import annotations

import pytest

from boincdock import names
from boincdock.errors import ConfigError


@pytest.mark.parametrize(("given", "used"), [
    ("http://127.0.0.1", "http://127.0.0.1"),
    ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
    ("https://Boinc.Example.ORG", "https://boinc.example.org"),
    ("HTTP://boinc.test:81", "http://boinc.test:81"),
    ("http://a-b.c_d.example", "http://a-b.c_d.example"),
])
def test_good_url_bases(given: str, used: str) -> None:
    assert names.check_url_base(given) == used


@pytest.mark.parametrize(("given", "says"), [
    ("", "empty"),
    ("127.0.0.1", "must begin with"),
    ("ftp://127.0.0.1", "must begin with"),
    ("https//boinc.example.org", "must begin with"),
    ("http://localhost", "no dot"),
    ("http://localhost:8080", "no dot"),
    ("http://boinc .example.org", "white space"),
    (" http://127.0.0.1", "white space"),
    ("http://127.0.0.1\n", "white space"),
    ("http://", "only"),
    ("http:///", "host"),
    ("http://a.b/path", "only"),
    ("http://a.b?x", "only"),
    ("http://user@a.b", "only"),
    ("http://a./", "no host name"),
    ("http://.a/", "no host name"),
    ("http://a..b", "no host name"),
    ("http://-a.b", "no host name"),
    ("http://1.2.3", "no IPv4"),
    ("http://1.2.3.256", "no IPv4"),
    ("http://a.b:", "port"),
    ("http://a.b:0", "port"),
    ("http://a.b:65536", "port"),
    ("http://a.b:http", "port"),
    ("http://[::1]", "IPv6"),
    ("http://bücher.example", "ASCII"),
    ("http://" + "a." * 80 + "b", "at most"),
    ('http://a.b"><script>', "host"),
    ("http://a.b$(id)", "host"),
])
def test_bad_url_bases(given: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        names.check_url_base(given)
    assert says in error.value.message
    assert error.value.hint


@pytest.mark.parametrize("name", ["boincserver", "a", "my-project_2", "p" * names.MAX_PROJECT])
def test_good_projects(name: str) -> None:
    assert names.check_project(name) == name


@pytest.mark.parametrize("name", [
    "", "My", "1st", "-a", "a-", "_a", "a b", "a.b", "a/b", "../x", "a;b", "mysql", "sys", "a\n", "é",
    "p" * (names.MAX_PROJECT + 1),
])
def test_bad_projects(name: str) -> None:
    with pytest.raises(ConfigError, match="PROJECT"):
        names.check_project(name)


def test_users() -> None:
    assert names.check_boinc_user("boincadm") == "boincadm"
    for bad in ("", "root", "www-data", "mysql", "Boinc", "a b", "a;b", "0day", "x" * 32):
        with pytest.raises(ConfigError, match="BOINC_USER"):
            names.check_boinc_user(bad)


def test_project_roots() -> None:
    assert names.check_project_root("/home/boincadm/project") == "/home/boincadm/project"
    assert names.check_project_root("/srv/p.1") == "/srv/p.1"
    for bad in ("", "/", "home/x", "/home", "/etc/passwd", "/usr/local/x", "/tmp/x", "/run/secrets", "/home/../x/y",
                "/home/a b", "/home/x/", "/var/lib/mysql", "/results/x", "/home//x", "/home/x\n"):
        with pytest.raises(ConfigError, match="PROJECT_ROOT"):
            names.check_project_root(bad)
