"""Writing of scheduler replies: spec 01 sections 4, 5.9 and 9.4; preferences of 5.5."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boincdock.protocol import prefs
from boincdock.protocol.gui_urls import expand
from boincdock.protocol.scanner import TEXT, Scanner
from boincdock.protocol.scheduler_reply import Reply, outage


@pytest.mark.parametrize(
    ("interval", "asked", "emitted"),
    [(0, 0, 0), (0, 5, 5), (6, 0, 7), (6, 60, 60), (100, 0, 101), (200, 0, 202), (0, 200000, 172800)],
)
def test_request_delay(interval: float, asked: float, emitted: float) -> None:
    reply = Reply(min_interval=interval, delay=asked)
    assert reply.request_delay() == pytest.approx(emitted)
    assert (b"<request_delay>" in reply.render()) == (emitted > 0)


def test_outage_reply() -> None:
    assert outage("Down for maintenance", 3600).decode() == (
        "<scheduler_reply>\n<scheduler_version>802</scheduler_version>\n"
        '<message priority="low">Down for maintenance</message>\n<request_delay>3600.000000</request_delay>\n'
        "<project_is_down/>\n</scheduler_reply>\n"
    )


@given(st.text(max_size=3000))
def test_no_message_or_name_can_break_the_reply(text: str) -> None:
    reply = Reply(project_name=text, client_version=80215)
    reply.message(text, "notice")
    reply.full = True
    reply.account.user_name = reply.account.team_name = reply.account.host_venue = text
    reply.acks = [text]
    scan = Scanner(reply.render().replace(b"\0", b" "))
    names = []
    while (token := scan.token()) is not None:
        if token.kind == TEXT:
            assert len(token.text) < 4096
        else:
            names.append(token.name)
    assert names[0] == b"scheduler_reply"
    assert names[-1] == b"/scheduler_reply"
    assert names.count(b"message") == 1
    assert names.count(b"user_name") == names.count(b"/user_name") == 1


def test_messages_stay_below_the_clients_buffer() -> None:
    reply = Reply()
    reply.message("<" * 5000)
    [line] = [x for x in reply.render().split(b"\n") if x.startswith(b"<message")]
    assert len(line) < 1024


def test_the_same_message_goes_out_once() -> None:
    reply = Reply()
    reply.message("a")
    reply.message("a", delay=9)
    assert reply.render().count(b">a<") == 1
    assert reply.request_delay() == 9


def test_old_clients_get_the_old_form_of_no_rsc_apps() -> None:
    assert b"<no_cuda_apps>1</no_cuda_apps>" in Reply(client_version=60200, no_rsc_apps=["NVIDIA"]).render()
    assert b"<no_rsc_apps>NVIDIA</no_rsc_apps>" in Reply(client_version=72005, no_rsc_apps=["NVIDIA"]).render()


VENUES = '<a>1</a>\n<venue name="home">\n<a>2</a>\n</venue>\n<b>4</b>\n'


@pytest.mark.parametrize(("venue", "text"), [("home", "\n<a>2</a>\n"), ("work", "<a>1</a>\n\n<b>4</b>\n"),
                                             ("", "<a>1</a>\n\n<b>4</b>\n")])
def test_venue_extraction(venue: str, text: str) -> None:
    assert prefs.for_venue(VENUES, venue) == text


def test_mod_time_is_clamped_to_now() -> None:
    assert prefs.mod_time("<mod_time>100.5</mod_time><mod_time>1</mod_time>", 1000) == 100.5
    assert prefs.mod_time("<mod_time>5000</mod_time>", 1000) == 1000
    assert prefs.mod_time("<mod_time>x</mod_time>", 1000) == 0
    assert prefs.mod_time("", 1000) == 0


def test_project_preferences() -> None:
    text = ("<project_preferences><project_specific><app_id>3</app_id>\n<app_id> 5</app_id>\n<no_cpu>0</no_cpu>\n"
            "<no_cuda/>\n<allow_beta_work>1</allow_beta_work>\n<max_jobs> 4</max_jobs></project_specific>"
            '<venue name="work"><no_gpus>1</no_gpus></venue></project_preferences>')
    home, work = prefs.ProjectPrefs.parse(text, "home"), prefs.ProjectPrefs.parse(text, "work")
    assert home.app_ids == {3, 5}
    assert (home.excluded_types, home.allow_beta_work, home.max_jobs) == ({1}, True, 4)
    assert (work.app_ids, work.excluded_types) == (frozenset(), {1, 2, 3, 4})


def test_gui_urls() -> None:
    template = "<gui_urls><u>t=<teamid/></u><ifteam><u><team_name /></u></ifteam><gui_url/></gui_urls>"
    values = {"teamid": "4", "team_name": "A &amp; B"}
    assert expand(template, values, True) == "<gui_urls><u>t=4</u><u>A &amp; B</u><gui_url/></gui_urls>"
    assert expand(template, values, False) == "<gui_urls><u>t=4</u><gui_url/></gui_urls>"


@pytest.mark.parametrize("text", ["&" * 200, "<>" * 120, "é&" * 100, "x" * 254 + "&", "\U0001f600" * 70])
def test_names_fit_the_clients_buffer_after_escaping(text: str) -> None:
    reply = Reply(project_name=text, full=True, client_version=80215)
    reply.account.user_name = reply.account.team_name = reply.account.host_venue = text
    for line in reply.render().split(b"\n"):
        if line.startswith((b"<project_name", b"<user_name", b"<team_name", b"<host_venue")):
            body = line.split(b">", 1)[1].rsplit(b"</", 1)[0]
            assert 0 < len(body) <= 255
            unescape = body.decode().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
            assert text.startswith(unescape)


def test_non_finite_numbers_do_not_go_out() -> None:
    reply = Reply(full=True, next_rpc_delay=float("inf"), delay=float("nan"))
    reply.account.user_total_credit, reply.account.host_expavg_credit = float("nan"), float("-inf")
    text = reply.render()
    assert b"nan" not in text
    assert b"inf" not in text
    assert b"<user_total_credit>0.000000<" in text


def test_half_a_surrogate_pair_does_not_break_the_reply() -> None:
    reply = Reply(project_name="a\ud800b", full=True)
    reply.account.project_preferences = "<project_preferences>\n\udfff\ud800\n</project_preferences>"
    assert b"<project_name>a?b</project_name>" in reply.render()


def test_an_address_too_long_for_the_client_is_left_out() -> None:
    assert b"master_url" not in Reply(master_url="http://x.test/" + "p" * 300 + "/").render()


def test_long_preferences_are_read_but_not_remembered() -> None:
    """Hosts may store 64 KiB each; a crowd of them must not fill the memory of the scheduler."""
    import sys

    from boincdock.protocol import prefs

    text = "<a/>" * 16_000 + "<mod_time>5</mod_time><venue name=\"home\"><mod_time>7</mod_time></venue>"
    before = sys.getrefcount(text)
    assert prefs.mod_time(text, 9) == 5
    assert prefs.for_venue(text, "home") == "<mod_time>7</mod_time>"
    assert sys.getrefcount(text) == before
    assert prefs.for_venue("<a/>", "home") == "<a/>"
