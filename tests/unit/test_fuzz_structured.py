"""Requests that are right in most places and wrong in some, and bodies of megabytes made to be slow (issue 4)."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boincdock.protocol.request_fast import parse_request
from boincdock.protocol.scheduler_request import MAX_RESULTS, MalformedRequest
from boincdock.protocol.upload import MAX_HEADER, UploadError, parse_header
from tests.fuzz import strategies
from tests.fuzz.targets import EXAMPLE, TARGETS, check_request

SETTINGS = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    logger = logging.getLogger("boincdock")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@SETTINGS
@given(strategies.requests())
def test_any_request_parses_or_is_malformed(body: bytes) -> None:
    TARGETS["parser"].start()(body)


def test_any_request_gets_a_reply_that_a_client_can_read() -> None:
    serve = TARGETS["scheduler"].start()

    @settings(SETTINGS, max_examples=40)
    @given(strategies.requests())
    def any_request(body: bytes) -> None:
        serve(body)

    any_request()


@SETTINGS
@given(strategies.uploads(), st.booleans())
def test_any_upload_header_is_safe_or_refused(body: bytes, handler: bool) -> None:
    TARGETS["upload"].start()(body)


def test_any_upload_leaves_files_in_their_place_only() -> None:
    serve = TARGETS["upload_handler"].start()

    @settings(SETTINGS, max_examples=40)
    @given(strategies.uploads())
    def any_upload(body: bytes) -> None:
        serve(body)

    any_upload()


@SETTINGS
@given(st.binary(max_size=400))
def test_any_model_values_give_a_reply_that_a_client_can_read(data: bytes) -> None:
    TARGETS["reply"].start()(data)


def _in_request(piece: bytes) -> Callable[[int], bytes]:
    return lambda size: b"<scheduler_request>\n" + piece * (size // len(piece)) + b"\n</scheduler_request>\n"


HOSTILE: dict[str, Callable[[int], bytes]] = {
    **{
        name: _in_request(piece)
        for name, piece in {
            "open tags": b"<a>",
            "open unknown groups": b"<a><b>",
            "end tags": b"</a>",
            "half tags": b"<a",
            "brackets": b"<",
            "comments": b"<!--",
            "comment ends": b"<!---->",
            "sections": b"<![CDATA[",
            "section ends": b"<![CDATA[]]>",
            "references": b"&#1",
            "ampersands": b"&amp;",
            "flags": b"<x/>",
            "results": b"<result>",
            "named results": b"<result><name>a</name></result>",
            "coprocs": b"<coprocs><coproc_cuda>",
            "host": b"<host_info>",
            "stderr": b"<result><stderr_out>",
            "preferences": b"<global_preferences></global_preferences>",
            "deep": b"<wsl><distro>",
            "long tag": b"<" + b"a" * 4000 + b">",
            "too long tag": b"<" + b"a" * 4200 + b">",
            "blanks": b" ",
            "attributes": b'<a b="/"',
            "string without end": b"<domain_name>",
            "lost strings": b"<domain_name><domain_name>x",
            "platforms": b"<alt_platform><name>p</name></alt_platform>",
            "distros": b"<wsl><distro></distro></wsl>",
            "trickles": b"<msg_from_host>\n<variety>v</variety>\nx\n</msg_from_host>\n",
            "keywords": b"<user_keywords><yes>1</yes></user_keywords>",
            "unknown groups": b"<unknown><a>1</a></unknown>",
            "empty groups": b"<coprocs></coprocs>",
            "hosts": b"<host_info><wsl></wsl></host_info>",
            "sticky files": b"<file_info><name>x</name></file_info>",
            "app versions": b"<app_versions><app_version></app_version></app_versions>",
            "equal tags": b"<a></a><a>",
            "other results": b"<other_results><other_result><name>r</name></other_result></other_results>",
        }.items()
    },
    "digits": lambda size: b"<scheduler_request><hostid>" + b"9" * size + b"</hostid></scheduler_request>",
    "a double of digits": lambda size: (
        b"<scheduler_request><work_req_seconds>" + b"1" * size + b"</work_req_seconds></scheduler_request>"
    ),
    "one name": lambda size: (
        b"<scheduler_request><platform_name>" + b"&lt;" * (size // 4) + b"</platform_name></scheduler_request>"
    ),
    "one long name of an unknown": lambda size: b"<scheduler_request><" + b"x" * size + b">",
    "stderr of references": lambda size: (
        b"<scheduler_request><result><name>r</name><stderr_out>"
        + b"&#60;" * (size // 5)
        + b"</stderr_out></result></scheduler_request>"
    ),
    "brackets without request": lambda size: b"<?xml?>" * (size // 7),
    "example again and again": lambda size: EXAMPLE.read_bytes() * (size // 5000),
}
SIZE = int(os.environ.get("FUZZ_BYTES", 1 << 17))
CPU = 9e-6 * SIZE
"""Seconds of CPU for the worst kind, on a busy two-core machine; quadratic behaviour takes minutes."""


@pytest.mark.parametrize("name", HOSTILE)
def test_megabytes_made_to_be_slow_are_not(name: str) -> None:
    body = HOSTILE[name](SIZE)
    began = time.process_time()
    try:
        check_request(parse_request(body))
    except MalformedRequest as error:
        assert len(str(error)) < 200
    assert time.process_time() - began < CPU


@pytest.mark.parametrize("name", ["named results", "flags", "open tags"])
def test_a_long_body_takes_as_much_longer_as_it_is_longer(name: str) -> None:
    def cost(size: int) -> float:
        body = HOSTILE[name](size)
        began = time.process_time()
        with contextlib.suppress(MalformedRequest):
            parse_request(body)
        return time.process_time() - began

    small, big = cost(1 << 15), cost(1 << 19)
    assert big < max(60 * small, 0.8)  # 16 times the input; quadratic would be 256


@pytest.mark.parametrize("name", ["named results", "other results", "app versions", "trickles"])
def test_memory_is_bounded_by_the_lists_limits(name: str) -> None:
    body = HOSTILE[name](1 << 17)
    tracemalloc.start()
    request = parse_request(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(request.results) <= MAX_RESULTS
    assert peak < 60 * len(body)


@pytest.mark.parametrize(
    "piece", [b"<name>", b"</name>", b"<", b"<file_info>", b"<data", b"<url></url>", b"&#60;", b" "]
)
def test_upload_headers_of_megabytes_are_cut(piece: bytes) -> None:
    body = b"<file_upload>" + piece * ((4 << 20) // len(piece))
    began = time.process_time()
    with pytest.raises(UploadError):
        parse_header(body, True)
    assert time.process_time() - began < 0.5
    assert MAX_HEADER < 1 << 15
