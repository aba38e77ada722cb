"""The pure parts of the web site: hashes, passwords, documents, master page, status, ways of showing things."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_world import ANN_HASH, ANN_KEY, ANN_WEAK, NOW, MemoryStore, World

from boincdock.config import parse_config
from boincdock.protocol import account_xml as ax
from boincdock.web import show
from boincdock.web.accounts import cleaned_name, name_problem, valid_email
from boincdock.web.master import project_schedulers, scheduler_lines, scheduler_urls
from boincdock.web.passwords import Passwords, Verdict, check_htpasswd
from boincdock.web.status import StatusCache, daemon_statuses, shown_command

PASSWORDS = Passwords(4)


# Hashes: spec 06 sections 3.10 and 15.1, 05 I8


def test_hash_vectors() -> None:
    assert ax.wire_hash("correcthorse", "Ann@Example.org") == ANN_HASH
    assert ax.wire_hash("correcthorse", "ann@new.example") == "04da7f94ab7fff37ea4ed959abf5d4d6"
    assert ax.wire_hash("s3cret!", "ann@example.org") == "33bc5a78e3ae72e59e9fdacc566dd204"
    assert ax.weak_key(42, ANN_KEY, ANN_HASH) == ANN_WEAK
    assert ax.notice_key(42, ANN_KEY, ANN_HASH) == "42_739ddea830f90aed35b8c1327c27681c"
    assert ax.public_cpid("fedcba9876543210fedcba9876543210", "ann@example.org") == "fb693029d8df5dd6b4260808349b4e9a"
    assert ax.public_cpid("0123456789abcdef0123456789abcdef", "ann@example.org") == "b5b67eff9e29e678a4b9b41ecffd31ce"
    assert ax.md5hex("ann@example.org") == "8b5a6a28fc840441be692d74a81ccd1a"


def test_the_scheduler_makes_the_same_keys() -> None:
    from boincdock.scheduler import authenticate

    assert authenticate.weak_key(42, ANN_KEY, ANN_HASH) == ax.weak_key(42, ANN_KEY, ANN_HASH)
    assert authenticate.rss_key(42, ANN_KEY, ANN_HASH) == ax.notice_key(42, ANN_KEY, ANN_HASH)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://example.org/Proj/", "account_example.org_Proj.xml"),
        ("https://example.org/a/B/", "account_example.org_a_B.xml"),
        ("http://127.0.0.1:8080/p/", "account_127.0.0.1_8080_p.xml"),
        ("http://localhost:8080/my.proj/", "account_localhost_8080_my.proj.xml"),
        ("https://h.org/~u/p/", "account_h.org__u_p.xml"),
    ],
)
def test_account_file_names(url: str, name: str) -> None:
    assert ax.account_file_name(url) == name


# Passwords: table of spec 06 section 15.1


@pytest.mark.parametrize(
    ("stored", "offered", "verdict"),
    [
        ("bcrypt", ANN_HASH, Verdict.OK),
        ("bcrypt", "stored", Verdict.WRONG),
        ("bcrypt", "0" * 32, Verdict.WRONG),
        ("bcrypt", ANN_HASH.upper(), Verdict.OK),
        (ANN_HASH, ANN_HASH, Verdict.OK_REHASH),
        (ANN_HASH, "0" * 32, Verdict.WRONG),
        (ANN_HASH, ANN_HASH[:31], Verdict.WRONG),
        (ANN_HASH, ANN_HASH + "0", Verdict.WRONG),
        ("bcrypt", "g" * 32, Verdict.WRONG),
        ("bcrypt", "", Verdict.WRONG),
        ("", "", Verdict.WRONG),
        ("", ANN_HASH, Verdict.WRONG),
        ("bcrypt", "b5b67eff9e29e678a4b9b41ecffd31ce", Verdict.OK),
        ("", "b5b67eff9e29e678a4b9b41ecffd31ce", Verdict.OK_REHASH),
        ("junk", "stored", Verdict.WRONG),
        ("junk", ANN_HASH, Verdict.WRONG),
        ("$2y$04$short", ANN_HASH, Verdict.WRONG),
    ],
)
def test_verification_table(stored: str, offered: str, verdict: Verdict) -> None:
    row = PASSWORDS.hash(ANN_HASH) if stored == "bcrypt" else stored
    assert PASSWORDS.verify(row if offered == "stored" else offered, row, ANN_KEY, "ann@example.org") is verdict


def test_hashes_are_those_of_php() -> None:
    """password_hash() of PHP 8.2 for the wire hash of spec 06 3.10 verifies here, and ours look the same."""
    hashed = PASSWORDS.hash(ANN_HASH)
    assert hashed.startswith("$2y$04$")
    assert len(hashed) == 60
    for prefix in ("$2a$", "$2b$", "$2y$"):
        assert PASSWORDS.verify(ANN_HASH, prefix + hashed[4:], ANN_KEY, "x") is Verdict.OK


def test_cheaper_hashes_are_renewed_and_dearer_ones_kept() -> None:
    cheap = Passwords(4).hash(ANN_HASH)
    assert Passwords(5).verify(ANN_HASH, cheap, ANN_KEY, "x") is Verdict.OK_REHASH
    assert Passwords(4).verify(ANN_HASH, Passwords(5).hash(ANN_HASH), ANN_KEY, "x") is Verdict.OK


def test_htpasswd() -> None:
    import bcrypt

    hashed = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
    text = f"\n# comment\nother:{hashed}\nadmin:{hashed}\nplain:pw\n"
    assert check_htpasswd(text, "admin", "pw")
    assert not check_htpasswd(text, "admin", "pW")
    assert not check_htpasswd(text, "plain", "pw")
    assert not check_htpasswd("", "admin", "pw")
    assert not check_htpasswd(text, "# comment", "")


# Names and addresses


@pytest.mark.parametrize(
    ("email", "good"),
    [
        ("ann@example.org", True),
        ("a.b+c_d-e@x-y.example.co.uk", True),
        ("o'neil@example.org", True),
        ("1@2.de", True),
        ("ann@example", False),
        ("ann@", False),
        ("@example.org", False),
        ("ann", False),
        ("a b@example.org", False),
        ("ann@-x.org", False),
        ("ann@x..org", False),
        (".a@example.org", False),
        ("a.@example.org", False),
        ("a@1.2.3.4", False),
        ("a@[1.2.3.4]", False),
        ("ann@exämple.org", False),
        ("ann@example.org\n", False),
        ("a" * 65 + "@example.org", False),
        ('"a"@example.org', False),
        ("a@b@c.org", False),
        ("a@" + "b" * 64 + ".org", False),
    ],
)
def test_addresses(email: str, good: bool) -> None:
    assert valid_email(email) is good


@given(st.text(max_size=300))
def test_cleaned_names_are_permitted(text: str) -> None:
    name = cleaned_name(text)
    assert not name or name_problem(name) is None


# Documents


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=3), st.text())
def test_project_config_is_always_well_formed(
    name: str, terms: str, platforms: list[tuple[str, str, str]], words: str
) -> None:
    body = ax.project_config_document(
        ax.ProjectConfig(
            name=name,
            master_url="http://a.b/",
            web_rpc_url_base="http://a.b/",
            server_version="1",
            platforms=platforms,
            terms_of_use=terms,
            keywords_xml=words,
        )
    )
    root = ElementTree.fromstring(body)
    assert root.tag == "project_config"
    assert body.count("</project_config>") == 1
    assert "\x03" not in body


def test_project_config_in_full(world: World) -> None:
    assert (
        world.get("get_project_config.php")
        == """<?xml version="1.0" encoding="UTF-8" ?>
<project_config>
    <name>Test &amp; Try</name>
    <master_url>http://127.0.0.1:8080/p/</master_url>
    <web_rpc_url_base>http://127.0.0.1:8080/p/</web_rpc_url_base>
    <server_version>0.1.0</server_version>
    <web_stopped>0</web_stopped>
    <min_passwd_length>6</min_passwd_length>
    <sched_stopped>0</sched_stopped>
    <platforms>
    </platforms>
</project_config>
""".replace("0.1.0", __import__("boincdock").__version__)
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ("<disable_account_creation/>", {"account_creation_disabled"}),
        ("<disable_account_creation_rpc>1</disable_account_creation_rpc>", {"client_account_creation_disabled"}),
        ("<disable_account_creation_rpc/><no_web_account_creation/>", {"account_creation_disabled"}),
        ("<no_web_account_creation/>", set()),
        ("<invite_codes>x+</invite_codes>", {"account_creation_disabled", "invite_code_required"}),
        ("<account_manager/>", {"account_manager"}),
    ],
)
def test_project_config_flags(tmp_path: Path, options: str, flags: set[str]) -> None:
    world = World(tmp_path, options=options)
    (tmp_path / "local.revision").write_text("123\n")
    root = ElementTree.fromstring(world.get("get_project_config.php"))
    found = {child.tag for child in root if child.text is None and not len(child)} - {"platforms"}
    assert found == flags
    assert root.findtext("local_revision") == "123"


def test_project_config_client_version(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        options="<min_core_client_version>706</min_core_client_version><min_passwd_length>9</min_passwd_length>",
    )
    root = ElementTree.fromstring(world.get("get_project_config.php"))
    assert root.findtext("min_client_version") == "70600"
    assert root.findtext("min_passwd_length") == "9"


def test_terms_of_use() -> None:
    assert ax.terms_element("", "u") == ax.terms_element(" \n", "u") == ""
    assert ax.terms_element("Be\nnice > all\n", "u") == "    <terms_of_use>\nBe\nnice > all\n    </terms_of_use>\n"
    # The GUI decodes once, sees that this changed the text, and shows the outcome as HTML.
    element = ElementTree.fromstring(ax.terms_element("Rock & Roll\n<b>", "u"))
    assert element.text and element.text.strip() == "Rock &amp; Roll<br>\n&lt;b&gt;"
    assert "http://a.b/info.php" in ax.terms_element("x" * 70000, "http://a.b/info.php")
    assert len(ax.terms_element("&" * 20000, "http://a.b/info.php")) < 65536


def test_keywords_are_taken_only_if_well_formed(world: World) -> None:
    (world.dir / "project_keywords.xml").write_text("<keywords><keyword><id>1</id></keyword></keywords>")
    assert ElementTree.fromstring(world.get("get_project_config.php")).findtext("keywords/keyword/id") == "1"
    for bad in ("<keywords>", "<!DOCTYPE r [<!ENTITY a 'b'>]><keywords>&a;</keywords>", "</project_config>", "&foo;"):
        (world.dir / "project_keywords.xml").write_text(bad)
        assert ElementTree.fromstring(world.get("get_project_config.php")).find("keywords") is None


def test_error_texts() -> None:
    assert ax.error_document(-136) == (
        ax.PROLOG + "<error>\n    <error_num>-136</error_num>\n    <error_msg>Not found</error_msg>\n</error>\n"
    )
    assert "Unknown error" in ax.error_document(-999)
    assert "a &lt; b" in ax.error_document(-1, "a < b")


# Settings of account creation


def test_creation_switches(tmp_path: Path) -> None:
    arguments = {"email_addr": "n@example.org", "passwd_hash": "a" * 32, "user_name": "N"}
    for n, options in enumerate(
        (
            "<disable_account_creation/>",
            "<disable_account_creation_rpc/>",
            "<disable_account_creation_rpc/><disable_web_account_creation>1</disable_web_account_creation>",
        )
    ):
        world = World(tmp_path / str(n), options=options)
        root = ElementTree.fromstring(world.get("create_account.php", **arguments))
        assert root.findtext("error_num") == "-1"
        assert world.count("user") == 0
    assert (
        "does not accept"
        in World(tmp_path / "a", options="<disable_account_creation/>").browser().get("signup.php").text
    )
    world = World(tmp_path / "b", options="<no_web_account_creation/>")
    assert '<form method="post" action="/p/create' not in world.browser().get("signup.php").text
    assert ElementTree.fromstring(world.get("create_account.php", **arguments)).findtext("authenticator")


def test_invite_codes_are_known_options_and_may_differ_for_clients(tmp_path: Path) -> None:
    both = World(tmp_path, options="<invite_codes>a+</invite_codes><invite_codes_rpc>b</invite_codes_rpc>")
    assert not both.project.warnings
    accounts = both.app.extensions["boincdock"].accounts
    assert (accounts.invite_pattern(from_client=False), accounts.invite_pattern(from_client=True)) == ("a+", "b")
    one = World(tmp_path, options="<invite_codes>a+</invite_codes>").app.extensions["boincdock"].accounts
    assert one.invite_pattern(from_client=True) == "a+"


def test_invite_codes(tmp_path: Path) -> None:
    world = World(tmp_path, options="<invite_codes>abc|[0-9]{4}</invite_codes>")
    arguments = {"email_addr": "n@example.org", "passwd_hash": "a" * 32, "user_name": "N"}
    for code in ("", "abcd", "12345", "xabc", "ABC"):
        root = ElementTree.fromstring(world.get("create_account.php", invite_code=code, **arguments))
        assert root.findtext("error_num") == "-1", code
    assert ElementTree.fromstring(world.get("create_account.php", invite_code="1234", **arguments)).findtext(
        "authenticator"
    )
    assert world.store.user_by_email("n@example.org")["signature"] == "1234"
    assert 'name="invite_code"' in world.browser().get("signup.php").text


def test_consent(tmp_path: Path) -> None:
    world = World(tmp_path, options="<account_creation_rpc_require_consent/>")
    arguments = {"email_addr": "n@example.org", "passwd_hash": "a" * 32, "user_name": "N"}
    for extra in ({}, {"consent_flag": "1"}, {"source": "BOINC"}, {"consent_flag": "1", "source": ""}):
        root = ElementTree.fromstring(world.get("create_account.php", **arguments, **extra))
        assert root.findtext("error_num") == "-242", extra
    (tmp_path / "terms_of_use.txt").write_text("Be nice")
    world.insert("consent_type", shortname="ENROLL", enabled=1)
    world.get("create_account.php", **arguments, consent_flag="1", source="BOINC Manager")
    world.get("create_account.php", **{**arguments, "email_addr": "m@example.org"}, consent_flag="0", source="X")
    rows = [
        (r["userid"], r["consent_flag"], r["consent_not_required"], r["source"], r["consent_time"])
        for r in world.store.rows("consent")
    ]
    assert rows == [(1, 1, 0, "BOINC Manager", NOW), (2, 0, 1, "X", NOW)]


def test_terms_must_be_agreed_to_on_the_web(world: World) -> None:
    (world.dir / "terms_of_use.txt").write_text("Be <nice>")
    assert "Be &lt;nice&gt;" in world.browser().get("info.php").text
    values = {"new_name": "Ann", "new_email_addr": "a@example.org", "passwd": "secret1", "passwd2": "secret1"}
    assert world.browser().submit("signup.php", "create_account_action.php", **values).status_code == 400
    values["agree_to_terms_of_use"] = "1"
    assert world.browser().submit("signup.php", "create_account_action.php", **values).status_code == 303


def test_privacy_by_default(tmp_path: Path) -> None:
    world = World(tmp_path, options="<enable_privacy_by_default/>")
    world.get("create_account.php", email_addr="n@example.org", passwd_hash="a" * 32, user_name="N")
    assert world.store.user_by_email("n@example.org")["show_hosts"] == 0


# Master page: spec 06 section 15.3 and 05 I7

LINK = '<link rel="boinc_scheduler" href="https://a.b/c">'


@pytest.mark.parametrize(
    ("line", "urls"),
    [
        ("<!-- <scheduler>https://a.b/c</scheduler> -->", ["https://a.b/c"]),
        ("<scheduler> https://a.b/c?x=1&amp;y=2 </scheduler>", ["https://a.b/c?x=1&y=2"]),
        ("   <!-- <scheduler> https://a.b/c </scheduler> -->", ["https://a.b/c"]),
        (LINK, ["https://a.b/c"]),
        ('<link rel="boinc_scheduler" href="https://a.b/c" />', ["https://a.b/c"]),
        ("    " + LINK, []),
        ("  <p> " + LINK, ["https://a.b/c"]),
        ("<title>x</title>" + LINK, ["https://a.b/c"]),
        ("<head>" + LINK, ["https://a.b/c"]),
        ('<link rel="boinc_scheduler"  href="https://a.b/c" />', ["https://a.b/c"]),
        ('<link href="https://a.b/c" rel="boinc_scheduler">', []),
        ("<link rel='boinc_scheduler' href='https://a.b/c'>", []),
        ('<link rel="boinc_scheduler" href="https://a.b/c?x=1&amp;y=2">', ["https://a.b/c?x=1&amp;y=2"]),
        ('<link rel="boinc_scheduler" href="https://a.b/my cgi">', ["https://a.b/my"]),
        ("x" * 240 + "<scheduler>https://a.b/c</scheduler>", []),
        ("<p>" + "x" * 240 + LINK, []),
        ("x" * 255 + LINK, ["https://a.b/c"]),
        ("<scheduler>u1</scheduler><scheduler>u2</scheduler>\n<scheduler>u1</scheduler>", ["u1", "u2"]),
        ("<!-- <scheduler>https://a.b/c</scheduler> -->\n" + LINK, ["https://a.b/c"]),
        ("", []),
        (">" * 1000 + "<" * 1000, []),
    ],
)
def test_what_clients_find_on_a_page(line: str, urls: list[str]) -> None:
    assert scheduler_urls(line + "\n") == urls


@pytest.mark.parametrize("path", ["", "index.php"])
def test_front_page_passes_the_clients_scan(world: World, path: str) -> None:
    (world.dir / "html/user/schedulers.txt").write_text(
        "   <!-- <scheduler>http://one.example/p_cgi/cgi</scheduler> -->\n<scheduler>http://two.example/cgi</scheduler>\n"
    )
    body = world.browser().get(path).text
    assert scheduler_urls(body) == ["http://one.example/p_cgi/cgi", "http://two.example/cgi"]
    lines = body.split("\n")
    at = lines.index("<head>")
    assert lines[at + 1 : at + 3] == [
        "<!-- <scheduler>http://one.example/p_cgi/cgi</scheduler> -->",
        '<link rel="boinc_scheduler" href="http://one.example/p_cgi/cgi">',
    ]
    assert "<!--schedulers-->" not in body


def test_front_page_without_or_with_a_useless_file(world: World) -> None:
    for text in (
        None,
        "",
        "<scheduler>ftp://x/</scheduler>",
        '<scheduler>http://a/"><script></scheduler>',
        "\xff\xfe",
        f"<scheduler>http://{'x' * 230}/</scheduler>",
    ):
        if text is not None:
            (world.dir / "html/user/schedulers.txt").write_text(text)
        assert project_schedulers(world.project) == ["http://127.0.0.1:8080/p_cgi/cgi"]


def test_urls_with_ampersands_have_the_form_that_clients_decode() -> None:
    lines = scheduler_lines(["http://a.b/c?x=1&y=2", "http://a.b/d"])
    assert scheduler_urls(lines) == ["http://a.b/c?x=1&y=2", "http://a.b/d"]


def test_front_page_text_of_the_project(world: World) -> None:
    (world.dir / "html/project/about.txt").write_text("We fold <b>proteins</b>.\n\nReally.")
    body = world.browser().get("").text
    assert "We fold &lt;b&gt;proteins&lt;/b&gt;." in body
    assert '<p class="lead">Really.</p>' in body


# Status


def test_shown_commands() -> None:
    assert shown_command("transitioner -d 3") == "transitioner"
    assert shown_command("/x/y/validator --app a -d 3") == "validator (a)"
    assert shown_command("validator -app a") == "validator (a)"
    assert shown_command("validator --app") == "validator"
    assert shown_command("bad 'quote") == "bad"
    assert shown_command("") == ""


def report(world: World, updated: float, *rows: dict[str, Any], state: str = "running", slot: int = 1) -> None:
    name = "supervisor.json" if slot == 1 else f"supervisor.r{slot}.json"
    (world.dir / "pid_h" / name).write_text(
        json.dumps({"slot": slot, "updated": updated, "state": state, "daemons": list(rows)})
    )


ROW = {
    "name": "transitioner",
    "cmd": "transitioner",
    "state": "running",
    "running": True,
    "since": NOW - 100,
    "restarts": 2,
    "heartbeat_age": 3.0,
    "beats": True,
}


def of_transitioner(world: World) -> tuple[str, str, bool]:
    found = next(d for d in daemon_statuses(world.project, NOW) if d.name == "transitioner")
    return found.status, found.note, found.healthy


def test_daemon_states(world: World) -> None:
    assert of_transitioner(world) == ("not running", "", False)
    report(world, NOW, ROW)
    assert of_transitioner(world) == ("running", "", True)
    report(world, NOW, {**ROW, "heartbeat_age": 500})
    assert of_transitioner(world) == ("running", "no heartbeat for 500 s", False)
    report(world, NOW, {**ROW, "heartbeat_age": 500, "beats": False})
    assert of_transitioner(world) == ("running", "", True)
    report(world, NOW, {**ROW, "state": "backoff", "running": False, "last_exit": -9})
    assert of_transitioner(world) == ("not running", "killed by signal 9, starting again", False)
    report(world, NOW, {**ROW, "state": "backoff", "running": False, "last_exit": 1})
    assert of_transitioner(world) == ("not running", "ended with 1, starting again", False)
    report(world, NOW, {**ROW, "state": "stopped", "running": False})
    assert of_transitioner(world) == ("not running", "stopped", False)
    report(world, NOW, ROW, slot=2)
    assert of_transitioner(world) == ("running", "", True), "another supervisor runs it"
    report(world, NOW - 1000, ROW)
    report(world, NOW - 1000, ROW, slot=2)
    assert of_transitioner(world) == ("not running", "the supervisor does not report", False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "junk",
        "[]",
        "{}",
        '{"daemons": 7}',
        '{"daemons": [7, {}], "updated": "x"}',
        "null",
        '{"daemons": null, "updated": 1700000000}',
    ],
)
def test_a_broken_report_is_no_disaster(world: World, text: str) -> None:
    (world.dir / "pid_h/supervisor.json").write_text(text)
    assert world.browser().get("server_status.php").status_code == 200
    assert of_transitioner(world)[0] == "not running"


def test_stopped_servers(world: World) -> None:
    (world.dir / "stop_sched").touch()
    (world.dir / "stop_upload").touch()
    assert [d.status for d in daemon_statuses(world.project, NOW)[:3]] == ["running", "not running", "not running"]


def test_disabled_daemons(tmp_path: Path) -> None:
    project = parse_config(
        b"<boinc><config><host>h</host></config><daemons><daemon><cmd>x</cmd><disabled>1</disabled></daemon>"
        b"</daemons></boinc>",
        tmp_path,
    )
    found = daemon_statuses(project, NOW)[3]
    assert (found.status, found.healthy) == ("disabled", True)


def test_status_page_reloads_itself_and_names_the_sick(world: World) -> None:
    report(world, NOW, ROW)
    reply = world.browser().get("server_status.php")
    assert reply.headers["Refresh"] == "60"
    assert "1 of 5 programs is not running." in reply.text
    report(world, NOW, ROW, {**ROW, "name": "sample_bitwise_validator.worker"})
    assert "All 5 programs are running." in world.browser().get("server_status.php").text


class SlowStore(MemoryStore):
    """Counts how often it is asked; waits for a signal."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = 0, threading.Event()
        self.go.set()

    def status_numbers(self, now: int) -> dict[str, Any]:
        self.asked += 1
        assert self.go.wait(10)
        return super().status_numbers(now)


def test_numbers_are_shared_between_processes(tmp_path: Path) -> None:
    store, now = SlowStore(), [float(NOW)]
    caches = [StatusCache(store, tmp_path / "web", 60, lambda: now[0]) for _ in range(3)]
    assert all(cache.numbers() for cache in caches)
    assert store.asked == 1
    now[0] += 60
    assert all(cache.numbers() for cache in caches)
    assert store.asked == 2


def test_only_one_computes_while_the_others_show_the_old_numbers(tmp_path: Path) -> None:
    store, now = SlowStore(), [float(NOW)]
    one, two = (StatusCache(store, tmp_path, 60, lambda: now[0]) for _ in range(2))
    one.numbers()
    now[0] += 61
    store.go.clear()
    thread = threading.Thread(target=one.numbers)
    thread.start()
    while store.asked < 2:
        pass
    old = two.numbers()
    assert old
    assert old["as_of"] == NOW
    store.go.set()
    thread.join()
    fresh = two.numbers()
    assert fresh
    assert fresh["as_of"] == NOW + 61
    assert store.asked == 2


def test_old_numbers_outlive_the_database_and_junk_files(tmp_path: Path) -> None:
    store, now = SlowStore(), [float(NOW)]
    cache = StatusCache(store, tmp_path, 60, lambda: now[0])
    cache.numbers()
    store.broken = True
    now[0] += 1000
    old = cache.numbers()
    assert old
    assert old["as_of"] == NOW
    (tmp_path / "status.json").write_text("{")
    assert cache.numbers() == old
    assert StatusCache(store, tmp_path / "other", 60, lambda: now[0]).numbers() is None


# Showing


@pytest.mark.parametrize(
    ("row", "phrase"),
    [
        ((2, 0, 0, 0, 0), "Waiting to be sent"),
        ((4, 0, 0, 0, 0), "In progress"),
        ((5, 1, 1, 5, 0), "Completed and validated"),
        ((5, 1, 0, 5, 0), "Completed, waiting for validation"),
        ((5, 3, 2, 3, 195), "Error while computing"),
        ((5, 3, 2, 6, 202), "Cancelled by server"),
        ((5, 3, 2, 6, -221), "Cancelled by server"),
        ((5, 3, 2, 6, 200), "Not started by deadline - canceled"),
        ((5, 3, 2, 6, -233), "Not started by deadline - canceled"),
        ((5, 3, 2, 3, 203), "Aborted by user"),
        ((5, 3, 2, 1, -186), "Error while downloading"),
        ((5, 3, 2, 7, -187), "Error while uploading"),
        ((5, 4, 0, 0, 0), "Timed out - no response"),
        ((5, 7, 0, 0, 0), "Abandoned"),
        ((5, 5, 0, 0, 0), "Didn't need"),
        ((99, 0, 0, 0, 0), "Unknown"),
    ],
)
def test_phrases(row: tuple[int, int, int, int, int], phrase: str) -> None:
    names = ("server_state", "outcome", "validate_state", "client_state", "exit_status")
    assert show.result_phrase(dict(zip(names, row, strict=True)))[0] == phrase


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "0 (0x00000000) normal end"),
        (195, "195 (0x000000C3) a child program failed"),
        (-226, "-226 (0xFFFFFF1E) too many exits"),
        (-1073741819, "-1073741819 (0xC0000005)"),
        (11, "11 (0x0000000B)"),
    ],
)
def test_exit_statuses(status: int, text: str) -> None:
    assert show.exit_status(status) == text


def test_numbers_and_times() -> None:
    assert show.grouped(1234567) == "1,234,567"
    assert show.credit(999.5) == "999.50"
    assert show.credit(1000.4) == "1,000"
    assert show.when(1741083630) == "4 Mar 2025, 10:20 UTC"
    assert show.day(1741083630) == "4 Mar 2025"
    assert show.when(0) == show.duration(-1) == "–"
    assert [show.duration(s) for s in (0, 4.25, 59, 60, 3605, 90061, 86400)] == [
        "0 s",
        "4.2 s",
        "59 s",
        "1 min",
        "1 h",
        "1 d 1 h",
        "1 d",
    ]
    assert [show.size(n) for n in (0, 1023, 1536, 5 << 30, 1e18)] == [
        "0 B",
        "1023 B",
        "1.5 KB",
        "5.0 GB",
        "909495 TB",
    ]
    assert show.speed(4.4e9) == "4.40 GFLOPS"
    assert show.speed(2e13) == "20.00 TFLOPS"
    assert show.version(107) == "1.07"
    assert show.error_mask(2 | 16) == "too many errors, cancelled"


@pytest.mark.parametrize(
    "misc", ["", "x", "[]", "7", '{"gpus": {"a": 1}}', '{"docker": []}', "[" * 10000, '{"gpus": [[]]}', None]
)
def test_odd_host_descriptions(misc: str | None) -> None:
    assert show.host_facts({"misc": misc}) == {"client": "", "docker": "", "vbox": "", "gpus": []}


def test_host_descriptions() -> None:
    facts = show.host_facts(
        {
            "misc": json.dumps(
                {
                    "client_version": "8.2.15",
                    "docker": {"version": "5.1", "type": 2},
                    "vbox": {"version": "7.0"},
                    "gpus": [{"type": "nvidia", "model": "RTX", "count": 2}, {"type": "amd"}],
                }
            )
        }
    )
    assert facts == {"client": "8.2.15", "docker": "Podman 5.1", "vbox": "7.0", "gpus": ["2 × RTX", "amd"]}


@pytest.mark.parametrize("query", ["userid=42\xf6", "us\xe9r=1&userid=42", "\xff=\xfe", "a=%ff&b=\xc3\xa9"])
def test_bare_bytes_in_a_query_string_are_no_failure(tmp_path: Path, query: str) -> None:
    """Found by the fuzzer: the framework decodes query strings strictly, also while it makes the page of the error."""
    world = World(tmp_path)
    for path in ("show_user.php", "server_status.php", "nothing.php", "am_get_info.php", "lookup_account.php"):
        response = world.browser().get(path, environ={"QUERY_STRING": query + "&format=xml"})
        assert response.status_code in (200, 400, 404), response.text
