"""The web RPCs and account pages as clients and browsers use them (spec 06 sections 3, 4, 5, 15; 05 I8). These tests
run twice: on the store in memory (test_web_rpc.py) and on MariaDB (tests/db/test_web_db.py)."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from web_world import ANN_HASH, ANN_KEY, ANN_WEAK, NOW, World

from boincdock.protocol import account_xml as ax

PROLOG = '<?xml version="1.0" encoding="UTF-8" ?>\n'
KEY_REPLY = f"{PROLOG}<account_out>\n<authenticator>{ANN_KEY}</authenticator>\n</account_out>\n"


def error_of(body: str) -> int:
    """The error number of a reply."""
    root = ElementTree.fromstring(body)
    assert root.tag == "error", body
    assert root.findtext("error_msg")
    return int(root.findtext("error_num") or "0")


def key_of(body: str) -> str:
    found = ElementTree.fromstring(body).findtext("authenticator")
    assert found, body
    return found


# lookup_account, spec 06 section 15.4


@pytest.mark.parametrize("email", ["ann@example.org", "ANN@Example.org"])
def test_lookup_gives_the_key(world: World, email: str) -> None:
    world.ann()
    assert world.get("lookup_account.php", email_addr=email, passwd_hash=ANN_HASH) == KEY_REPLY


def test_lookup_of_a_clients_url_with_its_escaping(world: World) -> None:
    world.ann()
    body = (
        world.browser()
        .get(f"lookup_account.php?email_addr=ann%40example%2Eorg&passwd_hash={ANN_HASH}&get_opaque_auth=1")
        .text
    )
    assert body == KEY_REPLY


def test_lookup_accepts_post(world: World) -> None:
    world.ann()
    reply = world.browser().post("lookup_account.php", {"email_addr": "ann@example.org", "passwd_hash": ANN_HASH})
    assert reply.text == KEY_REPLY


def test_lookup_through_doubled_slashes(world: World) -> None:
    world.ann()
    reply = world.browser().get(
        "x",
        query_string={"email_addr": "ann@example.org", "passwd_hash": ANN_HASH},
        environ={"PATH_INFO": "//lookup_account.php"},
    )
    assert (reply.status_code, reply.text) == (200, KEY_REPLY)


@pytest.mark.parametrize(
    ("email", "passwd_hash", "number"),
    [
        ("nobody@example.org", ANN_HASH, -136),
        ("ann@example.org", "0" * 32, -206),
        ("ann@example.org", ANN_HASH[:31], -206),
        ("ann@example.org", ANN_HASH + "0", -206),
        ("ann@example.org", "g" * 32, -206),
        ("ann@example.org", "' OR 1=1 --", -206),
        ("ann@example.org' OR '1'='1", ANN_HASH, -136),
        ("ànn@example.org", ANN_HASH, -136),
    ],
)
def test_lookup_refuses(world: World, email: str, passwd_hash: str, number: int) -> None:
    world.ann()
    assert error_of(world.get("lookup_account.php", email_addr=email, passwd_hash=passwd_hash)) == number


def test_lookup_existence_only(world: World) -> None:
    world.ann()
    expected = f"{PROLOG}<account_out>\n<success/>\n</account_out>\n"
    assert world.get("lookup_account.php", email_addr="Ann@example.org") == expected
    assert world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash="") == expected
    assert error_of(world.get("lookup_account.php", email_addr="bob@example.org")) == -136


def test_lookup_without_address(world: World) -> None:
    body = world.get("lookup_account.php")
    assert error_of(body) == -1
    assert "missing or bad parameter: email_addr" in body


def test_lookup_other_modes(world: World) -> None:
    assert error_of(world.get("lookup_account.php", ldap_auth=1, ldap_uid="x", passwd="y")) == -188
    assert error_of(world.get("lookup_account.php", server_assigned_cookie=1, server_cookie="x")) == -1


def test_legacy_hash_is_upgraded_and_the_stored_string_is_no_password(world: World) -> None:
    userid = world.ann()
    assert key_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash=ANN_HASH)) == ANN_KEY
    stored = world.row("user", userid)["passwd_hash"]
    assert stored.startswith("$2y$")
    assert key_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash=ANN_HASH)) == ANN_KEY
    assert error_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash=stored)) == -206


def test_lookup_accepts_the_hash_made_of_the_key(world: World) -> None:
    userid = world.ann(passwd_hash="")
    other = "b5b67eff9e29e678a4b9b41ecffd31ce"
    assert key_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash=other)) == ANN_KEY
    assert world.row("user", userid)["passwd_hash"].startswith("$2y$")


@pytest.mark.parametrize("key", ["x" + ANN_KEY[1:], "deleted_1_2"])
def test_disabled_accounts_are_refused_everywhere(world: World, key: str) -> None:
    userid = world.ann(authenticator=key)
    assert error_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash=ANN_HASH)) == -1
    assert error_of(world.get("am_get_info.php", account_key=key)) == -136
    assert error_of(world.get("show_user.php", format="xml", userid=userid)) == -136
    assert world.browser().log_in().status_code == 403


# create_account


def create(world: World, **changes: str) -> str:
    arguments = {"email_addr": "new@example.org", "passwd_hash": "a" * 32, "user_name": "Newcomer", **changes}
    return world.get("create_account.php", **arguments)


def test_create_makes_an_account_that_can_log_in(world: World) -> None:
    key = key_of(create(world, email_addr="New@Example.ORG"))
    assert re.fullmatch(r"[0-9a-f]{32}", key)
    row = world.store.user_by_email("new@example.org")
    assert row["authenticator"] == key
    assert row["name"] == "Newcomer"
    assert (row["country"], row["send_email"], row["show_hosts"], row["teamid"], row["venue"]) == (
        "International",
        1,
        1,
        0,
        "",
    )
    assert row["create_time"] == row["expavg_time"] == NOW
    assert re.fullmatch(r"[0-9a-f]{32}", row["cross_project_id"])
    assert row["passwd_hash"].startswith("$2y$")
    assert key_of(world.get("lookup_account.php", email_addr="new@example.org", passwd_hash="a" * 32)) == key


def test_create_again_gives_the_same_account(world: World) -> None:
    world.ann()
    body = create(world, email_addr="ann@example.org", passwd_hash=ANN_HASH, user_name="X")
    assert body == KEY_REPLY
    assert world.count("user") == 1
    assert error_of(create(world, email_addr="ann@example.org", passwd_hash="0" * 32)) == -137
    assert world.count("user") == 1


def test_create_by_post(world: World) -> None:
    reply = world.browser().post(
        "create_account.php", {"email_addr": "new@example.org", "passwd_hash": "a" * 32, "user_name": "Zoë"}
    )
    assert reply.status_code == 200
    assert world.store.user_by_email("new@example.org")["name"] == "Zoë"
    assert key_of(reply.text)


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("O'Brien", "OBrien"),
        ("  John   Smith ", "John Smith"),
        ("<script>alert(1)</script>", "scriptalert(1)/script"),
        ("Zoë & Co", "Zoë Co"),
        ("12345", "User 12345"),
        ("a\tb\x07c", "abc"),
        ("名前", "名前"),
        ("🚀 Max", "🚀 Max"),
        ("x" * 400, "x" * 181),
    ],
)
def test_client_names_are_cleaned(world: World, sent: str, stored: str) -> None:
    key_of(create(world, user_name=sent))
    assert world.store.user_by_email("new@example.org")["name"] == stored


def test_client_names_are_made_unique(world: World) -> None:
    for n in range(1, 5):
        key_of(create(world, email_addr=f"john{n}@example.org", user_name="john smith" if n % 2 else "John Smith"))
    names = [world.store.user_by_email(f"john{n}@example.org")["name"] for n in range(1, 5)]
    assert names == ["john smith", "John Smith 2", "john smith 3", "John Smith 4"]


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"passwd_hash": "abc"}, -1),
        ({"passwd_hash": "z" * 32}, -1),
        ({"passwd_hash": "a" * 33}, -1),
        ({"passwd_hash": ""}, -1),
        ({"user_name": ""}, -188),
        ({"user_name": "<>\"'&"}, -188),
        ({"user_name": "   "}, -188),
        ({"email_addr": "no address"}, -205),
        ({"email_addr": "a@b"}, -205),
        ({"email_addr": "a@@b.org"}, -205),
        ({"email_addr": "<x>@b.org"}, -205),
        ({"email_addr": ""}, -205),
        ({"email_addr": "a" * 190 + "@b.org"}, -205),
        ({"email_addr": "a@b.org\nBcc: x@y.org"}, -205),
        ({"email_addr": "a..b@example.org"}, -205),
    ],
)
def test_create_refuses(world: World, changes: dict[str, str], number: int) -> None:
    assert error_of(create(world, **changes)) == number
    assert world.count("user") == 0


@pytest.mark.parametrize("missing", ["email_addr", "passwd_hash", "user_name"])
def test_create_names_the_missing_argument(world: World, missing: str) -> None:
    arguments = {"email_addr": "new@example.org", "passwd_hash": "a" * 32, "user_name": "N"}
    del arguments[missing]
    body = world.get("create_account.php", **arguments)
    assert error_of(body) == -1
    assert f"missing or bad parameter: {missing}" in body


def test_create_refuses_an_address_just_given_up(world: World) -> None:
    world.ann(previous_email_addr="new@example.org", email_addr_change_time=NOW - 6 * 86400)
    assert error_of(create(world)) == -137
    world.now += 2 * 86400
    assert key_of(create(world))


def test_create_joins_a_team_by_exact_name(world: World) -> None:
    open_team = world.insert("team", name="Open Team", joinable=1)
    world.insert("team", name="Closed", joinable=0)
    for n, (team, expected) in enumerate([("Open Team", open_team), ("Closed", 0), ("Open", 0), ("", 0)]):
        key_of(create(world, email_addr=f"t{n}@example.org", team_name=team))
        assert world.store.user_by_email(f"t{n}@example.org")["teamid"] == expected
    assert world.count("team_delta") == 1


# am_* and XML pages


def test_am_get_info(world: World) -> None:
    world.ann(
        global_prefs="<global_preferences>\n<mod_time>1</mod_time>\n</global_preferences>\n",
        project_prefs="<project_preferences><oops></project_preferences>",
        url="http://a.b/?x=1&y=2",
    )
    body = world.get("am_get_info.php", account_key=ANN_KEY)
    assert body.startswith(
        PROLOG + "<am_get_info_reply>\n    <success/>\n    <id>42</id>\n<name>Ann%20Example</name>\n"
    )
    root = ElementTree.fromstring(body)
    assert root.findtext("weak_auth") == ANN_WEAK
    assert root.findtext("cpid") == "fb693029d8df5dd6b4260808349b4e9a"
    assert root.findtext("country") == "France"
    assert root.findtext("url") == "http%3A%2F%2Fa.b%2F%3Fx%3D1%26y%3D2"
    assert root.findtext("global_prefs/global_preferences/mod_time") == "1"
    assert len(root.find("project_prefs")) == 0, "broken XML must not break the reply"  # type: ignore[arg-type]
    assert root.findtext("venue") == ""


@pytest.mark.parametrize("key", [ANN_WEAK, "", "0" * 32, ANN_KEY.upper(), ANN_KEY + " ", ANN_KEY[:-1], "%"])
def test_am_get_info_wants_the_exact_strong_key(world: World, key: str) -> None:
    world.ann()
    assert error_of(world.get("am_get_info.php", account_key=key)) == -136


def test_keys_are_also_accepted_in_a_header(world: World) -> None:
    world.ann()
    body = world.browser().get("am_get_info.php", headers={"Authorization": f"Bearer {ANN_KEY}"}).text
    assert ElementTree.fromstring(body).findtext("id") == "42"


def test_am_set_info_is_not_offered(world: World) -> None:
    world.ann()
    assert error_of(world.get("am_set_info.php", account_key=ANN_KEY, name="Other")) == -1
    assert world.row("user", 42)["name"] == "Ann Example"


def test_am_set_host_info(world: World) -> None:
    world.ann()
    mine, foreign = world.insert("host", userid=42), world.insert("host", userid=7)
    body = world.get("am_set_host_info.php", account_key=ANN_KEY, hostid=mine, venue="work")
    assert body == f"{PROLOG}<am_set_host_info_reply>\n<success/>\n</am_set_host_info_reply>\n"
    assert world.row("host", mine)["venue"] == "work"
    assert error_of(world.get("am_set_host_info.php", account_key=ANN_KEY, hostid=foreign, venue="work")) == -136
    assert error_of(world.get("am_set_host_info.php", account_key=ANN_KEY, hostid=mine, venue="bar'")) == -1
    assert error_of(world.get("am_set_host_info.php", account_key=ANN_KEY, hostid="1 or 1", venue="")) == -1
    assert error_of(world.get("am_set_host_info.php", account_key=ANN_WEAK, hostid=mine, venue="")) == -136
    assert world.row("host", foreign)["venue"] == ""
    assert world.row("host", mine)["venue"] == "work"


def test_login_token(world: World) -> None:
    team = world.insert("team", name="Tea & Co")
    world.ann(login_token="00112233aabbccdd", login_token_time=NOW - 100, teamid=team)
    body = world.get("login_token_lookup.php", user_id=42, token="00112233aabbccdd")
    assert body == (
        f"{PROLOG}<login_token_reply>\n   <authenticator>{ANN_KEY}</authenticator>\n"
        "   <user_name>Ann Example</user_name>\n   <team_name>Tea &amp; Co</team_name>\n"
        "</login_token_reply>\n"
    )
    assert error_of(world.get("login_token_lookup.php", user_id=42, token="00112233aabbccde")) == -206
    assert error_of(world.get("login_token_lookup.php", user_id=42, token="")) == -206
    assert error_of(world.get("login_token_lookup.php", user_id=43, token="00112233aabbccdd")) == -136
    world.now += 86400
    assert error_of(world.get("login_token_lookup.php", user_id=42, token="00112233aabbccdd")) == -206


def test_an_account_without_login_token_has_none(world: World) -> None:
    world.ann(login_token="", login_token_time=NOW)
    assert error_of(world.get("login_token_lookup.php", user_id=42, token="")) == -206


def test_show_user_xml(world: World) -> None:
    world.ann(total_credit=12.5, expavg_credit=2.25, expavg_time=NOW)
    world.insert("host", userid=42, domain_name="<b>box</b>", p_model="CPU & Co", rpc_time=5, host_cpid="c" * 32)
    root = ElementTree.fromstring(world.get("show_user.php", format="xml", userid=42))
    assert [child.tag for child in root] == [
        "id",
        "cpid",
        "create_time",
        "name",
        "total_credit",
        "expavg_credit",
        "expavg_time",
        "teamid",
        "has_profile",
        "country",
        "url",
    ]
    assert root.findtext("cpid") == "fb693029d8df5dd6b4260808349b4e9a"
    assert root.findtext("total_credit") == "12.500000"
    root = ElementTree.fromstring(world.get("show_user.php", format="xml", auth=ANN_KEY))
    assert root.findtext("venue") == ""
    assert root.findtext("host/domain_name") == "<b>box</b>"
    assert root.findtext("host/p_model") == "CPU & Co"
    assert root.findtext("host/host_cpid") == "c" * 32
    assert error_of(world.get("show_user.php", format="xml", userid=1)) == -136
    assert error_of(world.get("show_user.php", format="xml", auth="1" * 32)) == -136
    assert error_of(world.get("show_user.php", format="xml", userid="x")) == -1


def test_show_host_xml_hides_what_is_private(world: World) -> None:
    hostid = world.insert("host", userid=42, domain_name="secretbox", host_cpid="c" * 32, p_ncpus=4)
    body = world.get("show_host_detail.php", format="xml", hostid=hostid)
    assert ElementTree.fromstring(body).findtext("p_ncpus") == "4"
    assert "secretbox" not in body
    assert "c" * 32 not in body


def test_team_lookup(world: World) -> None:
    a = world.insert("team", name="Alpha 100%", expavg_credit=1.0)
    b = world.insert("team", name="Alpha_Beta", expavg_credit=5.0)
    root = ElementTree.fromstring(world.get("team_lookup.php", team_id=a))
    assert (root.tag, root.findtext("name")) == ("team", "Alpha 100%")
    root = ElementTree.fromstring(world.get("team_lookup.php", team_ids=f"{b},999,{a}"))
    assert sorted(t.findtext("id") for t in root) == sorted([str(a), str(b)])  # type: ignore[type-var]
    root = ElementTree.fromstring(world.get("team_lookup.php", team_name="alpha", format="xml"))
    assert [t.findtext("name") for t in root] == ["Alpha_Beta", "Alpha 100%"]
    assert len(ElementTree.fromstring(world.get("team_lookup.php", team_name="0%"))) == 1, "% is no wildcard"
    assert error_of(world.get("team_lookup.php", team_id=999)) == -136
    assert error_of(world.get("team_lookup.php", team_ids="1,x")) == -1


def test_team_members_xml(world: World) -> None:
    team = world.insert("team", name="T")
    world.ann(teamid=team, total_credit=5.0)
    world.insert("user", id=43, email_addr="bob@example.org", name="Bob", authenticator="b" * 32, teamid=team)
    body = world.get("team_email_list.php", xml=1, teamid=team)
    assert len(ElementTree.fromstring(body)) == 2
    assert "@" not in body
    body = world.get("team_email_list.php", xml=1, teamid=team, creditonly=1)
    assert [u.findtext("id") for u in ElementTree.fromstring(body)] == ["42"]


def test_result_status(world: World) -> None:
    world.insert("result", id=5, name="demo_0", server_state=5, outcome=1, elapsed_time=1.5)
    root = ElementTree.fromstring(world.get("result_status.php", ids="5,7"))
    assert root.findtext("result/name") == "demo_0"
    assert root.findtext("result/elapsed_time") == "1.500000"
    assert root.findtext("error") == "ID 7 unknown"
    root = ElementTree.fromstring(world.get("result_status.php", names="demo_0,<x>"))
    assert root.findtext("result/id") == "5"
    assert root.findtext("error") == "name <x> unknown"
    assert error_of(world.get("result_status.php", ids="1;drop")) == -1


# Feeds


def test_notices(world: World) -> None:
    world.ann()
    world.store.publish_news("Big <news> & more", "First & last ]]>\nline\n\nSecond", True, NOW - 10)
    world.store.publish_news("Not for clients", "x", False, NOW - 5)
    world.store.publish_news("Too old", "x", True, NOW - 31 * 86400)
    body = world.get("notices.php", userid=42, auth="42_739ddea830f90aed35b8c1327c27681c")
    assert body.endswith("</rss>\n")
    root = ElementTree.fromstring(body)
    items = root.findall("channel/item")
    assert [item.findtext("title") for item in items] == ["Big <news> & more"]
    assert items[0].findtext("description") == "<p>First &amp; last ]]&gt;<br>line</p><p>Second</p>"
    assert items[0].findtext("pubDate") == "Tue, 14 Nov 2023 22:13:10 GMT"
    link = items[0].findtext("link")
    assert link == items[0].findtext("guid")
    assert link and link.startswith("http://127.0.0.1:8080/p/forum_thread.php?id=")
    assert "/" not in "".join(re.findall(r'="([^"]*)"', body.split("<channel>")[0].split("?>")[1]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"userid": 42, "auth": "42_0"},
        {"userid": 42},
        {"userid": 7, "auth": "42_739ddea830f90aed35b8c1327c27681c"},
        {"userid": 42, "auth": ANN_WEAK},
    ],
)
def test_notices_want_the_notice_key(world: World, arguments: dict[str, str]) -> None:
    world.ann()
    assert error_of(world.get("notices.php", **arguments)) == -155


def test_public_feed(world: World) -> None:
    world.store.publish_news("Hello", "World", False, NOW - 10)
    root = ElementTree.fromstring(world.get("rss_main.php", ndays=7))
    assert root.findtext("channel/item/title") == "Hello"


# Apps and status


def populate(world: World) -> None:
    app = world.insert("app", name="worker", user_friendly_name="Upper & lower", create_time=1)
    platform = world.insert("platform", name="x86_64-pc-linux-gnu", user_friendly_name="Linux <64>")
    for number, plan in ((107, ""), (108, ""), (101, "docker_mt")):
        world.insert("app_version", appid=app, platformid=platform, version_num=number, plan_class=plan)
    world.insert("app_version", appid=app, platformid=platform, version_num=99, plan_class="old", deprecated=1)
    for n, (state, outcome, valid) in enumerate([(2, 0, 0), (2, 0, 0), (4, 0, 0), (5, 1, 1), (5, 3, 0)]):
        world.insert(
            "result",
            name=f"r_{n}",
            appid=app,
            server_state=state,
            outcome=outcome,
            validate_state=valid,
            received_time=NOW - 60 if state == 5 else 0,
            elapsed_time=7200.0 if outcome == 1 else 0.0,
            userid=42 if state > 2 else 0,
            hostid=1 if state > 2 else 0,
            workunitid=1,
        )
    world.insert("workunit", name="w", appid=app, need_validate=1, transition_time=NOW - 1800)
    world.insert(
        "workunit", name="w2", appid=app, assimilate_state=1, file_delete_state=1, transition_time=2147483647
    )
    world.insert("host", userid=42, create_time=NOW - 10, total_credit=100.0, expavg_credit=2.0)


def test_project_config_lists_platforms(world: World) -> None:
    populate(world)
    root = ElementTree.fromstring(world.get("get_project_config.php"))
    found = [
        (p.findtext("platform_name"), p.findtext("user_friendly_name"), p.findtext("plan_class"))
        for p in root.findall("platforms/platform")
    ]
    assert found == [("x86_64-pc-linux-gnu", "Linux <64>", None), ("x86_64-pc-linux-gnu", "Linux <64>", "docker_mt")]


def test_apps_xml(world: World) -> None:
    populate(world)
    root = ElementTree.fromstring(world.get("apps.php", xml=1))
    assert root.findtext("application/user_friendly_name") == "Upper & lower"
    versions = {(v.findtext("version_num"), v.findtext("plan_class")) for v in root.findall("application/version")}
    assert versions == {("108", ""), ("101", "docker_mt")}, "the newest of each, no deprecated one"


def test_server_status_xml(world: World) -> None:
    world.ann(total_credit=400.0, expavg_credit=200.0)
    populate(world)
    root = ElementTree.fromstring(world.get("server_status.php", xml=1))
    assert [d.findtext("command") for d in root.findall("daemon_status/daemon")] == [
        "Download server",
        "Upload server",
        "Scheduler",
        "transitioner",
        "sample_bitwise_validator (worker)",
    ]
    states = root.find("database_file_states")
    assert states is not None
    assert [(child.tag, child.text) for child in states][:-1] == [
        ("results_ready_to_send", "2"),
        ("results_in_progress", "1"),
        ("workunits_waiting_for_validation", "1"),
        ("workunits_waiting_for_assimilation", "1"),
        ("workunits_waiting_for_deletion", "1"),
        ("results_waiting_for_deletion", "0"),
        ("transitioner_backlog_hours", "0.500000"),
        ("users_with_recent_credit", "1"),
        ("users_with_credit", "1"),
        ("users_registered_in_past_24_hours", "1"),
        ("hosts_with_recent_credit", "1"),
        ("hosts_with_credit", "1"),
        ("hosts_registered_in_past_24_hours", "1"),
        ("current_floating_point_speed", "1.000000"),
    ]
    app = states.find("tasks_by_app/app")
    assert app is not None
    assert [(child.tag, child.text) for child in app][1:] == [
        ("name", "Upper & lower"),
        ("unsent", "2"),
        ("in_progress", "1"),
        ("avg_runtime", "2.000000"),
        ("min_runtime", "2.000000"),
        ("max_runtime", "2.000000"),
        ("users", "1"),
    ]


def test_server_status_counts_are_fresh(world: World) -> None:
    populate(world)
    world.get("server_status.php", xml=1)
    world.insert("result", name="more", server_state=2)
    reply = world.browser().post("server_status.php", {"counts": "1"})
    root = ElementTree.fromstring(reply.text)
    assert [(child.tag, child.text) for child in root] == [
        ("results_ready_to_send", "3"),
        ("results_in_progress", "1"),
        ("results_need_file_delete", "0"),
        ("wus_need_validate", "1"),
        ("wus_need_assimilate", "1"),
        ("wus_need_file_delete", "1"),
    ]
    cached = ElementTree.fromstring(world.get("server_status.php", xml=1))
    assert cached.findtext("database_file_states/results_ready_to_send") == "2"
    world.now += 61
    cached = ElementTree.fromstring(world.get("server_status.php", xml=1))
    assert cached.findtext("database_file_states/results_ready_to_send") == "3"


# Account pages


def test_sign_up_log_in_log_out(world: World) -> None:
    browser = world.browser()
    reply = browser.submit(
        "signup.php",
        "create_account_action.php",
        new_name="Ann O",
        passwd="correcthorse",
        new_email_addr="Ann@Example.org",
        passwd2="correcthorse",
        country="France",
    )
    assert (reply.status_code, reply.headers["Location"]) == (303, "/p/home.php"), reply.text
    assert "Ann O" in browser.get("home.php").text
    user = world.store.user_by_email("ann@example.org")
    assert user["country"] == "France"
    key = key_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash=ANN_HASH))
    assert user["authenticator"] == key, "the web form and the client hash the password alike"
    assert browser.submit("logout.php", "logout.php").status_code == 303
    assert browser.get("home.php").status_code == 303
    assert browser.log_in(email="ANN@example.org").status_code == 303
    assert browser.get("home.php").status_code == 200


def test_session_is_not_stored_in_clear_and_dies_with_the_password(world: World) -> None:
    world.ann()
    one, two = world.browser(), world.browser()
    for browser in (one, two):
        assert browser.log_in().status_code == 303
    cookie = one.client.get_cookie("boinc_session", "127.0.0.1", "/p/")
    assert cookie is not None
    assert world.store.token(cookie.value, "S", NOW) is None
    reply = one.submit(
        "edit_passwd_form.php",
        "edit_passwd_action.php",
        old_passwd="correcthorse",
        passwd="batterystaple",
        passwd2="batterystaple",
    )
    assert reply.status_code == 303, reply.text
    assert one.get("home.php").status_code == 200
    assert two.get("home.php").status_code == 303, "the other session has ended"
    assert world.browser().log_in().status_code == 403
    assert world.browser().log_in(password="batterystaple").status_code == 303


def test_sessions_end(world: World) -> None:
    world.ann()
    browser = world.browser()
    browser.log_in()
    world.now += 86401
    assert browser.get("home.php").status_code == 303


def test_log_out_everywhere(world: World) -> None:
    world.ann()
    one, two = world.browser(), world.browser()
    one.log_in()
    two.log_in()
    one.submit("logout.php", "logout.php", everywhere="1")
    assert two.get("home.php").status_code == 303


def test_login_by_account_key(world: World) -> None:
    world.ann()
    assert world.browser().submit("get_passwd.php", "login_action.php", authenticator=ANN_KEY).status_code == 303
    assert world.browser().submit("get_passwd.php", "login_action.php", authenticator="f" * 32).status_code == 403


def test_account_finish(world: World) -> None:
    world.ann()
    browser = world.browser()
    page = browser.get(f"account_finish.php?auth={ANN_KEY}")
    assert page.status_code == 200
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert browser.get("home.php").status_code == 303, "opening the page does not log in"
    reply = browser.submit(
        f"account_finish.php?auth={ANN_KEY}", "account_finish_action.php", user_name="New Name", country="Japan"
    )
    assert reply.status_code == 303
    assert world.row("user", 42)["name"] == "New Name"
    assert world.row("user", 42)["country"] == "Japan"
    assert browser.get("home.php").status_code == 200
    assert world.browser().get("account_finish.php?auth=" + "0" * 32).status_code == 404


def test_names_must_be_unique_on_the_web(world: World) -> None:
    world.ann()
    world.insert("user", id=43, email_addr="bob@example.org", name="Bob", authenticator="b" * 32)
    browser = world.browser()
    browser.log_in()
    reply = browser.submit("edit_user_info_form.php", "edit_user_info_action.php", user_name="bob", country="France")
    assert reply.status_code == 400
    assert "in use" in reply.text
    assert world.row("user", 42)["name"] == "Ann Example"


def test_host_venue_form(world: World) -> None:
    world.ann()
    mine, foreign = world.insert("host", userid=42), world.insert("host", userid=7)
    browser = world.browser()
    browser.log_in()
    page = f"show_host_detail.php?hostid={mine}"
    assert browser.submit(page, "host_venue_action.php", venue="school").status_code == 303
    assert world.row("host", mine)["venue"] == "school"
    assert browser.submit(page, "host_venue_action.php", venue="school", hostid=str(foreign)).status_code == 400
    assert world.row("host", foreign)["venue"] == ""


def test_pages_show_what_is_there(world: World) -> None:
    world.ann(total_credit=400.0, expavg_credit=200.0)
    populate(world)
    browser = world.browser()
    for path in (
        "",
        "index.php",
        "server_status.php",
        "apps.php",
        "top_users.php",
        "top_hosts.php",
        "signup.php",
        "login_form.php",
        "show_user.php?userid=42",
        "hosts_user.php?userid=42",
        "show_host_detail.php?hostid=1",
        "results.php?hostid=1",
        "result.php?resultid=1",
        "result.php?result_name=r_3",
        "workunit.php?wuid=1",
        "info.php",
        "old_news.php",
        "download_software.php",
        "get_passwd.php",
        "top_users.php?sort_by=total_credit",
        "top_hosts.php?sort_by=total_credit&offset=20",
    ):
        reply = browser.get(path)
        assert reply.status_code == 200, (path, reply.text)
        assert "Test &amp; Try" in reply.text
    browser.log_in()
    for path in (
        "home.php",
        "weak_auth.php",
        "edit_user_info_form.php",
        "edit_passwd_form.php",
        "results.php",
        "hosts_user.php",
        "hosts_user.php?sort=cpu&rev=1&show_all=1",
        "logout.php",
    ):
        reply = browser.get(path)
        assert reply.status_code == 200, (path, reply.text)
    stored = world.row("user", 42)["passwd_hash"]
    assert ax.weak_key(42, ANN_KEY, stored) in browser.get("weak_auth.php").text
    assert "account_127.0.0.1_8080_p.xml" in browser.get("weak_auth.php").text


def test_task_lists_by_state(world: World) -> None:
    states = [
        (2, 0, 0, 0),
        (4, 0, 0, 1),
        (5, 1, 0, 2),
        (5, 1, 4, 3),
        (5, 1, 1, 4),
        (5, 6, 0, 5),
        (5, 1, 2, 5),
        (5, 1, 3, 5),
        (5, 1, 5, 5),
        (5, 3, 2, 6),
        (5, 4, 0, 6),
        (5, 7, 0, 6),
        (5, 5, 0, 0),
        (5, 2, 0, 0),
    ]
    world.insert("host", id=9, userid=42)
    for n, (server_state, outcome, valid, _state) in enumerate(states, 1):
        world.insert(
            "result", id=n, name=f"t{n}", hostid=9, server_state=server_state, outcome=outcome, validate_state=valid
        )
    assert world.store.result_counts("host", 9) == [14, 1, 1, 1, 1, 4, 3]
    for state in range(1, 7):
        found = [row["id"] for row in world.store.results_of("host", 9, state, 0, 50)]
        assert found == [n for n in range(14, 0, -1) if states[n - 1][3] == state]
    assert [row["id"] for row in world.store.results_of("host", 9, 0, 2, 3)] == [12, 11, 10]


# Ops


def test_cancelling_a_job(world: World) -> None:
    import bcrypt

    line = "admin:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$", 1)
    (world.dir / "html/ops/.htpasswd").write_text(line + "\n", encoding="utf-8")
    wu = world.insert("workunit", name="w", error_mask=2, transition_time=2147483647)
    unsent = world.insert("result", name="w_0", workunitid=wu, server_state=2)
    busy = world.insert("result", name="w_1", workunitid=wu, server_state=4, hostid=1)
    other = world.insert("result", name="x_0", workunitid=wu + 1, server_state=2)
    ops = world.ops()
    assert ops.get("index.php").status_code == 200
    reply = ops.submit(f"workunit.php?wuid={wu}", "cancel_wu_action.php")
    assert reply.status_code == 303, reply.text
    assert (world.row("workunit", wu)["error_mask"], world.row("workunit", wu)["transition_time"]) == (18, NOW)
    assert (world.row("result", unsent)["server_state"], world.row("result", unsent)["outcome"]) == (5, 5)
    assert world.row("result", busy)["server_state"] == 4
    assert world.row("result", other)["server_state"] == 2
    assert "cancel workunit" in (world.dir / "log_h/ops_audit.log").read_text()
    assert "Cancel this job" not in ops.get(f"workunit.php?wuid={wu}").text
    for path in (
        "results.php",
        "results.php?server_state=5&outcome=5&appid=0",
        f"result.php?resultid={unsent}",
        "list_new_users.php",
        "show_log.php",
        "show_log.php?f=ops_audit.log&text=cancel",
        "news.php",
    ):
        reply = ops.get(path)
        assert reply.status_code == 200, (path, reply.text)


def test_publishing_news(world: World) -> None:
    test_cancelling_a_job(world)
    ops = world.ops()
    assert (
        ops.submit("news.php", "news_action.php", title="Hi <b>", content="There\n\nyou", notice="1").status_code
        == 303
    )
    assert "Hi &lt;b&gt;" in world.browser().get("index.php").text
    item = world.store.news(0, 5)[0]
    assert "Hi &lt;b&gt;" in world.browser().get(f"forum_thread.php?id={item['id']}").text
    assert ops.submit("news.php", "news_action.php", title="", content="x").status_code == 400
    assert ops.submit("news.php", "news_hide_action.php").status_code == 303
    assert world.store.news(0, 5) == []
