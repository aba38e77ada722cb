"""The quick parser gives exactly what the tolerant one gives (decision 0087), whatever it is fed."""
from __future__ import annotations

import random
import re
import time
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boincdock.protocol import request_fast, scheduler_request
from boincdock.protocol.scheduler_request import MalformedRequest, SchedulerRequest

EXAMPLE = Path(__file__).with_name("scheduler_example_request.xml").read_bytes()
GPU = b"""<coprocs>
<coproc_cuda>
   <count>2</count>
   <name>GeForce GTX 1080</name>
   <have_cuda>1</have_cuda>
   <drvVersion>47256</drvVersion>
   <pci_info>
      <bus_id>1</bus_id>
   </pci_info>
   <coproc_opencl>
      <name>GeForce</name>
      <opencl_device_version>OpenCL 3.0 CUDA</opencl_device_version>
   </coproc_opencl>
</coproc_cuda>
</coprocs>
"""
PIECES = [
    b"<hostid>", b"</hostid>", b"<hostid/>", b"<result>", b"</result>", b"<result", b"<name>", b"</name>",
    b"<!-- x -->", b"<![CDATA[ <a> ]]>", b"stray", b"<host_info>", b"</host_info>", b"<stderr_out>",
    b"</stderr_out>", b"<file_info>", b"</file_info>", b"<unknown>", b"</unknown>", b"<unknown/>",
    b"<p_vendor>a <b> c</p_vendor>", b"<other_results/>", b"<other_results>\n</other_results>",
    b"<other_result><name>x</name></other_result>", b"</scheduler_request>", b"\0", b"<scheduler_request>",
    b"<code_sign_key>", b"</code_sign_key>", b"<dont_send_work/>", b"<hostid a='b'>3</hostid>",
    b"<working_global_preferences>1</working_global_preferences>", b"</name >", b"<wsl></wsl>", b"<result/>",
    b"<opencl_cpu_prop></opencl_cpu_prop>", b"<app_version><coproc><type>CUDA</type></coproc></app_version>", b"<",
    b">", b"<msg_from_host>\n<variety>v</variety>\n</msg_from_host>",
    b"<user_keywords><yes>3</yes></user_keywords>", GPU, b"<app_versions/>", b"<app_versions></app_versions>",
    b"<alt_platform><name>p</name></alt_platform>", b"&lt;", b" ",
]


def outcome(parse: object, body: bytes) -> object:
    assert callable(parse)
    try:
        found = parse(body)
    except MalformedRequest as error:
        return str(error)
    assert isinstance(found, SchedulerRequest)
    return [getattr(found, each.name) for each in fields(found)]


def check(body: bytes) -> None:
    assert repr(outcome(request_fast.parse_request, body)) == repr(outcome(scheduler_request.parse_request, body)), body


def quick(body: bytes) -> bool:
    try:
        request_fast._parse(body, body.split(b"<"))
    except (request_fast._GiveUpError, MalformedRequest, IndexError):
        return False
    return True


def test_a_real_request_takes_the_quick_way() -> None:
    assert quick(EXAMPLE)
    check(EXAMPLE)
    with_gpu = EXAMPLE.replace(b"<net_stats>", GPU + b"<net_stats>")
    assert quick(with_gpu)
    check(with_gpu)
    assert request_fast.parse_request(with_gpu).coprocs[0].opencl.version == 300


@pytest.mark.parametrize("body", [b"", b"<", b"x", b"<scheduler_request>", b"<scheduler_request></scheduler_request>",
                                  b" <?xml version='1.0'?><scheduler_request></scheduler_request>",
                                  b"<scheduler_request ></scheduler_request>", EXAMPLE[:-30], EXAMPLE + b"trailing",
                                  b"<scheduler_request><result</scheduler_request>",
                                  b"<scheduler_request><result<name>x</name></result></scheduler_request>",
                                  b"<scheduler_request><" + b"a" * 5000 + b"></scheduler_request>"])
def test_odd_bodies(body: bytes) -> None:
    check(body)


def test_each_element_of_a_real_request_missing_doubled_or_damaged() -> None:
    places = [m.span() for m in re.finditer(rb"<[^>]*>", EXAMPLE)]
    for start, end in places:
        check(EXAMPLE[:start] + EXAMPLE[end:])
        check(EXAMPLE[:end] + EXAMPLE[start:])
        check(EXAMPLE[: end - 1] + EXAMPLE[end:])
        check(EXAMPLE[:start] + EXAMPLE[start + 1:])


def test_pieces_put_anywhere() -> None:
    rng = random.Random(20261121)
    for _ in range(400):
        body = EXAMPLE
        for _ in range(rng.randint(1, 3)):
            at = rng.choice([m.start() for m in re.finditer(rb"[<>\n]", body)]) + rng.randint(0, 1)
            body = body[:at] + rng.choice(PIECES) + body[at + rng.choice((0, 0, 0, 1, 30, 300)):]
        check(body)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)), max_size=14))
def test_soup(pieces: list[bytes]) -> None:
    check(b"<scheduler_request>" + b"".join(pieces) + b"</scheduler_request>")


def test_what_is_remembered_stays_bounded() -> None:
    for n in range(5000):
        check(b"<scheduler_request><hostid>%d</hostid></scheduler_request>" % n)
    assert len(request_fast._TOP.seen) <= request_fast._MEMO_SIZE


@pytest.mark.parametrize("piece", [
    b"<unknown><a>1</a></unknown>", b"<coprocs></coprocs>", b"<host_info><wsl></wsl></host_info>",
    b"<file_info><name>x</name></file_info>", b"<msg_from_host></msg_from_host>", b"<user_keywords></user_keywords>",
    b"<app_versions><x/></app_versions>", b"<time_stats><y/></time_stats>",
])
def test_many_elements_for_the_tolerant_parser_take_linear_time(piece: bytes) -> None:
    """Found by the fuzzer's bodies of megabytes: 128 KB of these took seconds, 4 MB would have taken hours."""
    body = b"<scheduler_request>" + piece * (400_000 // len(piece)) + b"</scheduler_request>"
    began = time.process_time()
    request_fast.parse_request(body)
    assert time.process_time() - began < 2.0
