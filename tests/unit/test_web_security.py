"""The web site against bad input and bad neighbours: XSS, CSRF, injection, limits, headers, closed and broken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from web_cases import create, error_of, key_of, populate
from web_world import ANN_HASH, ANN_KEY, NOW, ROOT, Browser, World

from boincdock.web.ratelimit import FileRateLimiter, Limit, MemoryRateLimiter, network_of

EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "{{7*7}}",
    "javascript:alert(1)",
    "</title><svg/onload=alert(1)>",
    "<!--<scheduler>http://evil.example/</scheduler>-->",
    "' OR '1'='1' -- ",
    "%00%0d%0aSet-Cookie: a=b",
    "\u202ereversed",
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def evil_world(world: World, text: str) -> None:
    """Every text that users, hosts or clients supply is ``text``."""
    world.ann(name=text, url=text, country=text, total_credit=50.0, expavg_credit=50.0, venue=text)
    team = world.insert("team", name=text, description=text, url=text)
    world.store._update("user", {"id": 42}, {"teamid": team})
    populate(world)
    world.insert(
        "host",
        id=77,
        userid=42,
        rpc_time=NOW,
        total_credit=9.0,
        expavg_credit=9.0,
        misc=(
            '{"client_version": "<b>x</b>", "gpus": [{"model": "<script>alert(1)</script>", "count": 2}, 7], '
            '"docker": {"version": "<i>"}, "vbox": {"version": "<u>"}}'
        ),
        **dict.fromkeys(
            (
                "domain_name",
                "p_vendor",
                "p_model",
                "os_name",
                "os_version",
                "product_name",
                "last_ip_addr",
                "external_ip_addr",
                "venue",
            ),
            text,
        ),
    )
    world.insert("workunit", id=88, name=text, xml_doc=text)
    world.insert(
        "result",
        id=99,
        name=text,
        workunitid=88,
        hostid=77,
        userid=42,
        server_state=5,
        outcome=3,
        stderr_out=text.encode(),
        xml_doc_in=text,
        xml_doc_out=text,
        exit_status=195,
    )
    world.store.publish_news(text, text, True, NOW)


PAGES = (
    "",
    "old_news.php",
    "forum_thread.php?id=1",
    "show_user.php?userid=42",
    "hosts_user.php?userid=42&show_all=1",
    "show_host_detail.php?hostid=77&ipprivate=1",
    "results.php?hostid=77",
    "result.php?resultid=99",
    "workunit.php?wuid=88",
    "top_users.php",
    "top_hosts.php",
    "team_display.php?teamid=1",
    "home.php",
    "weak_auth.php",
    "edit_user_info_form.php",
    "results.php",
    "server_status.php",
    "apps.php",
    f"account_finish.php?auth={ANN_KEY}",
)
OPS_PAGES = (
    "index.php",
    "results.php",
    "result.php?resultid=99",
    "workunit.php?wuid=88",
    "list_new_users.php",
    "news.php",
)


def allow(world: World) -> None:
    import bcrypt

    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$", 1)
    (world.dir / "html/ops/.htpasswd").write_text(f"# operators\nadmin:{hashed}\n", encoding="utf-8")


@pytest.mark.parametrize("text", EVIL)
def test_nothing_users_send_becomes_markup(world: World, text: str) -> None:
    evil_world(world, text)
    allow(world)
    browser = world.browser()
    browser.log_in()
    bodies = {page: browser.get(page) for page in PAGES}
    bodies |= {f"ops {page}": world.ops().get(page) for page in OPS_PAGES}
    for page, reply in bodies.items():
        assert reply.status_code == 200, (page, reply.text[-300:])
        body = reply.text
        assert not re.search(r"<(script|img src=x|svg/|b>x|i>|u>)", body), page
        assert not re.search(r"<[^>]*\son\w+\s*=", re.sub(r'"[^"]*"', '""', body)), page
        assert 'href="javascript:' not in body, page
        assert "49" not in body or "{{7*7}}" not in text or "{{7*7}}" in body, page
        assert "evil.example/</scheduler>" not in body, page
        assert "Set-Cookie: a=b" not in str(reply.headers)
        assert not re.search(r"<script|\sstyle=|\son[a-z]+=\"", body), f"{page}: inline code defeats the CSP"


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize(
    "path",
    [
        "login_form.php?next_url={}&email_addr={}",
        "signup.php?new_name={}",
        "results.php?state={}",
        "result.php?result_name={}",
        "show_user.php?userid={}",
        "hosts_user.php?sort={}&userid=42",
        "top_users.php?offset={}&sort_by={}",
        "account_finish.php?auth={}",
        "nopage.php?x={}",
        "forum_thread.php?id={}",
        "{}",
        "workunit.php?wuid={}",
    ],
)
def test_arguments_are_never_reflected_raw(world: World, path: str, text: str) -> None:
    from urllib.parse import quote

    world.ann()
    reply = world.browser().get(path.replace("{}", quote(text)))
    assert reply.status_code in (200, 303, 308, 400, 403, 404)
    assert "<script>alert" not in reply.text
    assert "onerror=alert(1)>" not in reply.text
    assert 'href="javascript:' not in reply.text


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/",
        "//evil.example",
        "/evil",
        "javascript:alert(1)",
        "a.php/../..",
        "home.php\r\nX: y",
        "\\\\evil",
        "home.php?x=<>",
    ],
)
def test_login_redirects_only_within_the_site(world: World, target: str) -> None:
    world.ann()
    reply = world.browser().submit(
        "login_form.php", "login_action.php", email_addr="ann@example.org", passwd="correcthorse", next_url=target
    )
    assert (reply.status_code, reply.headers["Location"]) == (303, "home.php")


def test_login_comes_back_to_where_one_was(world: World) -> None:
    world.ann()
    browser = world.browser()
    location = browser.get("weak_auth.php").headers["Location"]
    assert location == "/p/login_form.php?next_url=weak_auth.php"
    reply = browser.submit(location, "login_action.php", email_addr="ann@example.org", passwd="correcthorse")
    assert reply.headers["Location"] == "weak_auth.php"


# CSRF

FORMS = [
    ("login_action.php", {"email_addr": "ann@example.org", "passwd": "correcthorse"}),
    (
        "create_account_action.php",
        {"new_name": "Eve", "new_email_addr": "eve@example.org", "passwd": "secret1", "passwd2": "secret1"},
    ),
    ("account_finish_action.php", {"auth": ANN_KEY, "user_name": "Eve", "country": "France"}),
    ("edit_user_info_action.php", {"user_name": "Eve", "country": "France", "url": ""}),
    ("edit_passwd_action.php", {"old_passwd": "correcthorse", "passwd": "secret1", "passwd2": "secret1"}),
    ("host_venue_action.php", {"hostid": "1", "venue": "work"}),
    ("logout.php", {}),
]


@pytest.mark.parametrize(("action", "values"), FORMS)
def test_every_form_wants_its_token(world: World, action: str, values: dict[str, str]) -> None:
    world.ann()
    world.insert("host", id=1, userid=42)
    browser = world.browser()
    browser.log_in()
    before = [dict(row) for table in ("user", "host", "token") for row in world.store.rows(table)]
    for token in ({}, {"token": "0" * 64}, {"token": ""}, {"token": "é"}):
        assert browser.post(action, {**values, **token}).status_code == 403
    page = browser.get("edit_user_info_form.php").text
    other = re.search(r'name="token" value="(\w+)"', page)
    assert other
    if action != "logout.php":
        assert browser.post(action, {**values, "token": other[1]}).status_code == 403, "the token of another form"
    assert browser.get(action).status_code in (200, 405)
    assert [dict(row) for table in ("user", "host", "token") for row in world.store.rows(table)] == before


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
)
def test_posts_from_other_sites_are_refused(world: World, headers: dict[str, str]) -> None:
    world.ann()
    browser = world.browser()
    page = browser.get("login_form.php").text
    token = re.search(r'login_action.*?value="(\w{64})"', page, re.S)
    assert token
    values = {"email_addr": "ann@example.org", "passwd": "correcthorse", "token": token[1]}
    assert browser.post("login_action.php", values, headers=headers).status_code == 403
    assert browser.post("login_action.php", values, headers={"Origin": "http://127.0.0.1:8080"}).status_code == 303


def test_a_token_is_bound_to_its_browser(world: World) -> None:
    world.ann()
    page = world.browser().get("login_form.php").text
    token = re.search(r'login_action.*?value="(\w{64})"', page, re.S)
    assert token
    victim = world.browser()
    victim.get("login_form.php")
    reply = victim.post(
        "login_action.php", {"email_addr": "ann@example.org", "passwd": "correcthorse", "token": token[1]}
    )
    assert reply.status_code == 403


def test_rpcs_ignore_cookies(world: World) -> None:
    world.ann()
    browser = world.browser()
    browser.log_in()
    assert error_of(browser.get("am_get_info.php").text) == -136
    assert error_of(browser.get("am_set_host_info.php?hostid=1&venue=home").text) == -136


# Cookies and headers


def test_cookies(world: World) -> None:
    world.ann()
    reply = world.browser().log_in()
    cookies = [c for c in reply.headers.getlist("Set-Cookie") if c.startswith("boinc_session")]
    assert len(cookies) == 1
    assert "HttpOnly" in cookies[0]
    assert "SameSite=Lax" in cookies[0]
    assert "Path=/p/" in cookies[0]
    assert "Secure" not in cookies[0]
    assert "Max-Age" not in cookies[0]
    assert ANN_KEY not in str(reply.headers)


def test_cookies_are_secure_with_https(tmp_path: Path) -> None:
    world = World(tmp_path, url="https://example.org/p/")
    world.ann()
    reply = world.browser().submit(
        "login_form.php", "login_action.php", email_addr="ann@example.org", passwd="correcthorse", stay_logged_in="1"
    )
    cookie = next(c for c in reply.headers.getlist("Set-Cookie") if c.startswith("boinc_session"))
    assert "Secure" in cookie
    assert "Max-Age=7776000" in cookie
    assert reply.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_session_number_changes_at_login(world: World) -> None:
    world.ann()
    browser = world.browser()
    browser.client.set_cookie("boinc_session", "A" * 43, domain="127.0.0.1", path="/p/")
    browser.log_in()
    cookie = browser.client.get_cookie("boinc_session", "127.0.0.1", "/p/")
    assert cookie is not None
    assert cookie.value != "A" * 43


@pytest.mark.parametrize("path", ["", "login_form.php", "nopage.php", "server_status.php", "lookup_account.php"])
def test_headers(world: World, path: str) -> None:
    headers = world.browser().get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] in ("same-origin", "no-referrer")


def test_private_pages_are_not_cached(world: World) -> None:
    world.ann()
    browser = world.browser()
    browser.log_in()
    for path in ("home.php", "weak_auth.php", ""):
        assert "no-store" in browser.get(path).headers["Cache-Control"], path
    assert "max-age" in browser.get("static/site.css").headers["Cache-Control"]


def test_no_template_switches_escaping_off() -> None:
    for path in (ROOT / "boincdock/web/templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape|<script|\sstyle=|\son\w+=\"", text), path.name
    for path in (ROOT / "boincdock/web").glob("*.py"):
        assert "Markup" not in path.read_text(encoding="utf-8"), path.name


def test_only_post_changes_anything(world: World) -> None:
    for rule in world.app.url_map.iter_rules():
        if rule.rule.endswith("_action.php"):
            assert "GET" not in rule.methods, rule.rule
    for rule in world.ops_app.url_map.iter_rules():
        if rule.rule.endswith("_action.php"):
            assert "GET" not in rule.methods, rule.rule


# Privacy


def test_hidden_computers(world: World) -> None:
    world.ann(show_hosts=0, total_credit=5.0)
    host = world.insert(
        "host",
        userid=42,
        domain_name="secretbox",
        last_ip_addr="10.1.2.3",
        rpc_time=NOW,
        total_credit=4.0,
        expavg_credit=4.0,
    )
    stranger = world.browser()
    assert "does not show computers" in stranger.get("hosts_user.php?userid=42").text
    page = stranger.get(f"show_host_detail.php?hostid={host}&ipprivate=1").text
    assert "Anonymous" in page
    for text in ("Ann Example", "secretbox", "10.1.2.3"):
        assert text not in page
        assert text not in stranger.get("top_hosts.php").text
    owner = world.browser()
    owner.log_in()
    page = owner.get(f"show_host_detail.php?hostid={host}&ipprivate=1").text
    assert "secretbox" in page
    assert "10.1.2.3" in page


def test_other_peoples_task_lists(world: World) -> None:
    world.ann()
    stranger = world.browser()
    location = stranger.get("results.php?userid=42").headers["Location"]
    reply = stranger.submit(location, "login_action.php", email_addr="ann@example.org", passwd="correcthorse")
    assert reply.headers["Location"] == "results.php?state=0&userid=42"
    browser = world.browser()
    browser.log_in()
    assert browser.get("results.php?userid=42").status_code == 200
    assert browser.get("results.php?userid=43").status_code == 403


def test_task_lists_can_be_switched_off(tmp_path: Path) -> None:
    world = World(tmp_path, options="<show_results>0</show_results>")
    world.insert("host", id=1, userid=1)
    assert world.browser().get("results.php?hostid=1").status_code == 404


def test_adaptive_replication_is_not_revealed(world: World) -> None:
    app = world.insert("app", name="a", target_nresults=2)
    wu = world.insert("workunit", name="w", appid=app)
    world.insert("result", id=5, name="w_0", workunitid=wu)
    assert "shown when the workunit is done" in world.browser().get(f"workunit.php?wuid={wu}").text
    world.store._update("workunit", {"id": wu}, {"canonical_resultid": 5})
    assert "resultid=5" in world.browser().get(f"workunit.php?wuid={wu}").text


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "http://a b", "//x", "ftp://x.y", "http://"]
)
def test_bad_home_pages_are_no_links(world: World, url: str) -> None:
    world.ann(url=url, expavg_credit=10.0)
    assert 'rel="nofollow' not in world.browser().get("show_user.php?userid=42").text
    browser = world.browser()
    browser.log_in()
    reply = browser.submit(
        "edit_user_info_form.php", "edit_user_info_action.php", user_name="Ann", country="France", url=url
    )
    assert reply.status_code == 400


def test_sign_up_does_not_tell_who_has_an_account(world: World) -> None:
    world.ann()
    texts = []
    for name, email in (("Ann Example", "new@example.org"), ("Somebody", "ann@example.org")):
        reply = world.browser().submit(
            "signup.php",
            "create_account_action.php",
            new_name=name,
            new_email_addr=email,
            passwd="secret1",
            passwd2="secret1",
        )
        assert reply.status_code == 400
        found = re.search(r'role="alert">([^<]*)', reply.text)
        texts.append(found and found[1])
    assert texts[0] == texts[1]
    wrong = world.browser().log_in(password="wrong")
    unknown = world.browser().log_in(email="nobody@example.org")
    assert wrong.status_code == unknown.status_code == 403
    assert re.findall(r'role="alert">([^<]*)', wrong.text) == re.findall(r'role="alert">([^<]*)', unknown.text) != []


@pytest.mark.parametrize(
    "values",
    [
        {"new_name": ""},
        {"new_name": "<b>"},
        {"new_name": "123"},
        {"new_email_addr": "x"},
        {"passwd": "short", "passwd2": "short"},
        {"passwd2": "different"},
        {"passwd": "pässword", "passwd2": "pässword"},
        {"country": "Atlantis"},
        {"new_name": "x" * 250},
    ],
)
def test_sign_up_form_checks_everything(world: World, values: dict[str, str]) -> None:
    good = {"new_name": "Ann", "new_email_addr": "ann@example.org", "passwd": "secret1", "passwd2": "secret1"}
    reply = world.browser().submit("signup.php", "create_account_action.php", **{**good, **values})
    assert reply.status_code == 400
    assert 'role="alert"' in reply.text
    assert "secret1" not in reply.text
    assert world.count("user") == 0


# Limits


def test_wrong_passwords_are_limited_and_right_ones_pass_again_later(world: World) -> None:
    world.ann()
    for _ in range(20):
        assert error_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash="0" * 32)) == -206
    reply = world.browser().get(
        "lookup_account.php", query_string={"email_addr": "ann@example.org", "passwd_hash": ANN_HASH}
    )
    assert reply.status_code == 429
    assert int(reply.headers["Retry-After"]) == 10
    assert error_of(reply.text) == -1
    assert world.browser().log_in().status_code == 429, "the web form has the same limit"
    world.now += 10
    assert key_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash=ANN_HASH)) == ANN_KEY


def test_trying_many_addresses_is_limited(world: World) -> None:
    world.ann()
    codes = [world.browser().get(f"lookup_account.php?email_addr=a{n}@x.org").status_code for n in range(40)]
    assert codes == [200] * 30 + [429] * 10


def test_right_passwords_are_not_limited(world: World) -> None:
    world.ann()
    for _ in range(100):
        assert key_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash=ANN_HASH)) == ANN_KEY


def test_sign_ups_are_limited(world: World) -> None:
    for n in range(60):
        key_of(create(world, email_addr=f"a{n}@example.org", user_name=f"A{n}"))
    reply = world.browser().get(
        "create_account.php?email_addr=b@example.org&passwd_hash=" + "a" * 32 + "&user_name=B"
    )
    assert reply.status_code == 429
    world.now += 10
    key_of(create(world, email_addr="b@example.org"))


def test_networks() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert network_of("junk\n") == "unknown"


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_buckets(kind: str, tmp_path: Path) -> None:
    now = [1000.0]

    def clock() -> float:
        return now[0]

    limiter: Any = MemoryRateLimiter(clock) if kind == "memory" else FileRateLimiter(tmp_path / "w", clock)
    limit = Limit(3, 10)
    for _ in range(3):
        assert limiter.wait(limit, "a") == 0
        limiter.take(limit, "a")
    assert limiter.wait(limit, "a") == 10
    assert limiter.wait(limit, "b") == 0
    now[0] += 9.5
    assert limiter.wait(limit, "a") == 0.5
    now[0] += 0.5
    assert limiter.wait(limit, "a") == 0
    for _ in range(50):
        limiter.take(limit, "a")
    assert limiter.wait(limit, "a") == 10, "a flood does not lock out for longer than the bucket"
    now[0] += 1000
    assert [limiter.wait(limit, "a")] == [0]


def test_file_buckets_are_shared_survive_junk_and_full_disks(tmp_path: Path) -> None:
    one, two, limit = FileRateLimiter(tmp_path), FileRateLimiter(tmp_path), Limit(1, 60)
    one.take(limit, "x")
    assert two.wait(limit, "x") > 50
    for path in tmp_path.glob("limit_*"):
        path.write_text("[junk")
    assert two.wait(limit, "x") == 0
    two.take(limit, "x")
    assert one.wait(limit, "x") > 50
    blocked = tmp_path / "file"
    blocked.write_text("")
    nowhere = FileRateLimiter(blocked / "dir")
    nowhere.take(limit, "x")
    assert nowhere.wait(limit, "x") == 0


# Closed, broken, absurd


def test_stop_web(world: World) -> None:
    world.ann()
    (world.dir / "stop_web").touch()
    (world.dir / "stop_sched").touch()
    assert error_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash=ANN_HASH)) == -183
    assert error_of(world.get("show_user.php", format="xml", userid=42)) == -183
    root = ElementTree.fromstring(world.get("get_project_config.php"))
    assert (root.tag, root.findtext("web_stopped"), root.findtext("error_num"), root.findtext("sched_stopped")) == (
        "project_config",
        "1",
        "-183",
        "1",
    )
    home = world.browser().get("")
    assert home.status_code == 200
    assert '<link rel="boinc_scheduler"' in home.text
    page = world.browser().get("top_users.php")
    assert (page.status_code, page.headers["Retry-After"]) == (503, "600")
    assert world.browser().get("static/site.css").status_code == 200
    allow(world)
    assert "stop_web" in world.ops().get("index.php").text, "operators still get in"


def test_without_database(world: World) -> None:
    world.ann()
    browser = world.browser()
    browser.log_in()
    world.store.broken = True
    home = browser.get("")
    assert home.status_code == 200
    assert '<link rel="boinc_scheduler" href="http://127.0.0.1:8080/p_cgi/cgi">' in home.text.split("\n")
    assert ElementTree.fromstring(world.get("get_project_config.php")).findtext("name") == "Test & Try"
    assert error_of(world.get("lookup_account.php", email_addr="ann@example.org", passwd_hash=ANN_HASH)) == -138
    assert error_of(world.get("server_status.php", xml=1)) == -138
    assert browser.get("home.php").status_code == 503
    assert "does not answer" in browser.get("server_status.php").text
    assert browser.get("info.php").status_code == 200
    assert "gone" not in browser.get("top_users.php").text


def test_platforms_are_remembered_without_database(world: World) -> None:
    populate(world)
    first = world.get("get_project_config.php")
    assert "docker_mt" in first
    world.store.broken = True
    world.now += 1000
    assert world.get("get_project_config.php") == first


def test_a_bug_is_no_traceback(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.store, "top_users", lambda *_: 1 / 0)
    reply = world.browser().get("top_users.php")
    assert reply.status_code == 500
    assert "Traceback" not in reply.text
    assert "ZeroDivision" not in reply.text
    monkeypatch.setattr(world.store, "user_by_email", lambda *_: 1 / 0)
    assert error_of(world.get("lookup_account.php", email_addr="ann@example.org")) == -1


@pytest.mark.parametrize(
    "path",
    [
        "show_user.php?userid=-1",
        "show_user.php?userid=1e3",
        "show_user.php?userid=" + "9" * 30,
        "show_user.php?userid=٣",
        "show_user.php",
        "results.php?hostid=1&state=7",
        "results.php?hostid=1&offset=10001",
        "top_users.php?offset=99999999",
        "results.php?state=x",
    ],
)
def test_bad_numbers(world: World, path: str) -> None:
    assert world.browser().get(path).status_code == 400


def test_huge_and_odd_bodies(world: World) -> None:
    browser = world.browser()
    reply = browser.submit("login_form.php", "login_action.php", passwd="x" * (2 << 20))
    assert reply.status_code == 413
    reply = browser.post("lookup_account.php", {"email_addr": "x" * (2 << 20)})
    assert error_of(reply.text) == -1
    reply = browser.request("POST", "lookup_account.php", data=b"\xff\x00<xml", content_type="text/xml")
    assert error_of(reply.text) == -1
    reply = browser.get("lookup_account.php?email_addr=%ff%fe%00&passwd_hash=%80")
    assert error_of(reply.text) == -136


def test_control_characters_stay_out_of_replies(world: World) -> None:
    world.ann(name="a\x03b\x00c\x1fd")
    body = world.get("show_user.php", format="xml", userid=42)
    assert ElementTree.fromstring(body).findtext("name") == "abcd"


# Ops


def test_ops_refuses_everybody_without_password_file(world: World) -> None:
    assert world.ops().get("index.php").status_code == 401


@pytest.mark.parametrize(
    "auth", [None, ("admin", ""), ("admin", "wrong"), ("", "secret"), ("root", "secret"), ("admin", "secret\0")]
)
def test_ops_wants_the_password(world: World, auth: tuple[str, str] | None) -> None:
    allow(world)
    browser = Browser(world.ops_app.test_client(), "/p_ops", auth)
    for path in ("", "index.php", "results.php", "nopage.php"):
        reply = browser.get(path)
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"].startswith("Basic")
    assert browser.post("cancel_wu_action.php", {"wuid": "1"}).status_code == 401


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Bearer x", "Basic YWRtaW4=", "Basic " + "A" * 5000, "Basic /w=="]
)
def test_ops_with_broken_credentials(world: World, header: str) -> None:
    allow(world)
    reply = Browser(world.ops_app.test_client(), "/p_ops").get("index.php", headers={"Authorization": header})
    assert reply.status_code == 401


@pytest.mark.parametrize(
    "line", ["admin:secret", "admin:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "admin:", "admin:$2y$04$short", ":x"]
)
def test_ops_takes_only_bcrypt(world: World, line: str) -> None:
    (world.dir / "html/ops/.htpasswd").write_text(line + "\n", encoding="utf-8")
    assert world.ops().get("index.php").status_code == 401


def test_ops_password_guessing_is_limited(world: World) -> None:
    allow(world)
    for _ in range(10):
        assert world.ops("wrong").get("index.php").status_code == 401
    assert world.ops("secret").get("index.php").status_code == 429
    world.now += 6
    assert world.ops("secret").get("index.php").status_code == 200


def test_ops_changes_want_the_token(world: World) -> None:
    allow(world)
    wu = world.insert("workunit", name="w")
    ops = world.ops()
    ops.get("index.php")
    for action, values in (
        ("cancel_wu_action.php", {"wuid": str(wu)}),
        ("news_action.php", {"title": "a", "content": "b"}),
        ("news_hide_action.php", {"id": "1"}),
    ):
        assert ops.post(action, values).status_code == 403
        assert ops.post(action, {**values, "token": "0" * 64}).status_code == 403
    assert world.row("workunit", wu)["error_mask"] == 0
    assert world.count("thread") == 0


@pytest.mark.parametrize("name", ["../config.xml", "/etc/passwd", "..%2fconfig.xml", "sub", "nolog", "x\0y"])
def test_log_viewer_stays_in_its_folder(world: World, name: str) -> None:
    allow(world)
    (world.dir / "log_h/sub").mkdir()
    assert world.ops().get("show_log.php", query_string={"f": name}).status_code == 404


def test_log_viewer_reads_the_end_of_big_logs(world: World) -> None:
    allow(world)
    (world.dir / "log_h/big.log").write_text("".join(f"line {n} <b>\n" for n in range(200_000)))
    page = world.ops().get("show_log.php?f=big.log&l=3").text
    assert "line 199999 &lt;b&gt;" in page
    assert "line 199996" not in page
    assert "line 199995" in world.ops().get("show_log.php?f=big.log&text=199995").text
