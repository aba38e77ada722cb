"""The upload request's header and the replies, against spec 04 sections 5.2, 5.3 and 10.4."""
from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boincdock.crypto import sign_bytes
from boincdock.protocol.upload import (
    MAX_HEADER,
    MAX_UPLOAD_NAME,
    Reply,
    SizeQuery,
    Status,
    Upload,
    UploadError,
    certificate_text,
    parse_header,
)
from tests.unit.test_crypto_keys import worked_example

NAME = "demo_0_r918273645_0"
CLIENT = (b"<data_server_request>\n"
          b"    <core_client_major_version>8</core_client_major_version>\n"
          b"    <core_client_minor_version>2</core_client_minor_version>\n"
          b"    <core_client_release>15</core_client_release>\n")


def upload_request(data: bytes = b"hello\n", *, name: str = NAME, signature: str = "", max_nbytes: object = 5000000,
                   nbytes: object = 6, offset: object = 0, md5: str | None = None) -> bytes:
    """A request as clients write it; spec vectors are its defaults."""
    digest = md5 if md5 is not None else hashlib.md5(b"hello\n").hexdigest()
    return (CLIENT + f"<file_upload>\n<file_info>\n<name>{name}</name>\n<xml_signature>\n{signature}</xml_signature>\n"
            f"<max_nbytes>{max_nbytes}</max_nbytes>\n</file_info>\n<nbytes>{nbytes}</nbytes>\n"
            f"<md5_cksum>{digest}</md5_cksum>\n<offset>{offset}</offset>\n<data>\n".encode() + data)


def size_query(name: str = NAME) -> bytes:
    return CLIENT + f"    <get_file_size>{name}</get_file_size>\n</data_server_request>\n".encode()


def signature_of(name: str = NAME, max_nbytes: float = 5000000) -> str:
    return sign_bytes(certificate_text(name, max_nbytes), worked_example()).rstrip("\n")


def refused(head: bytes, complete: bool = True) -> Reply:
    with pytest.raises(UploadError) as caught:
        parse_header(head, complete)
    return caught.value.reply


def test_the_requests_are_the_vectors_of_the_spec() -> None:
    query, plain = size_query(), upload_request()
    assert (len(query), hashlib.md5(query).hexdigest()) == (272, "4c362626a5726b01307ecb5916510e37")
    assert (len(plain), hashlib.md5(plain).hexdigest()) == (439, "922123b14bdd2b314f98bf516e99ed9c")
    signed = upload_request(signature=signature_of())
    assert (len(signed), hashlib.md5(signed).hexdigest()) == (700, "610217b7b0dd62957270de1eb862e022")


def test_size_query() -> None:
    assert parse_header(size_query(), True) == SizeQuery(NAME)
    assert parse_header(b"<get_file_size> a&amp;b </get_file_size>", True) == SizeQuery("a&b")


def test_upload() -> None:
    request = upload_request(signature=signature_of())
    assert parse_header(request, True) == Upload(
        name=NAME, nbytes=6, offset=0, max_nbytes=5000000, signature=signature_of(),
        md5="b1946ac92492d2347c6235b4d2611184", data_at=694)
    assert request[694:] == b"hello\n"


def test_other_layouts_of_the_same_request() -> None:
    text = upload_request(signature=signature_of()).decode()
    wanted = parse_header(text.encode(), True)
    for other in (
        text.replace("<name>", "   <name>\n ").replace("</name>", " </name>"),
        text.replace(".</xml_signature>", ".\n</xml_signature>"),
        text.replace("<xml_signature>", "<generated_locally/>\n<upload_when_present/>\n<url>http://x/y</url>\n"
                     "<url>http://z/y</url>\n<xml_signature>"),
        text.replace("<xml_signature>", "<signed_xml>\n<name>other</name><max_nbytes>1</max_nbytes>\n</signed_xml>\n"
                     "<xml_signature>"),
        text.replace("<max_nbytes>5000000<", "<max_nbytes>5e6<"),
        text.replace("<max_nbytes>5000000<", "<max_nbytes>5000000.000000<"),
    ):
        got = parse_header(other.encode(), True)
        assert isinstance(got, Upload) and isinstance(wanted, Upload)
        assert other.encode()[got.data_at:] == b"hello\n"
        assert got.name == NAME and got.max_nbytes == 5000000 and got.signature.split() == wanted.signature.split()


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n<data>\n", b"\0\xff<nbytes>7</nbytes>", b"\r\n"])
def test_file_bytes_begin_after_exactly_one_newline(data: bytes) -> None:
    request = upload_request(data)
    got = parse_header(request, True)
    assert isinstance(got, Upload) and request[got.data_at:] == data and got.nbytes == 6


@pytest.mark.parametrize("name", [
    "..", "../x", "a/../b", "/etc/passwd", "a/b", "a\\b", "", " ", ".hidden", "a..b", "50%", "x\0y", "x\ny", "x\x7fy",
    "r\u00e9sum\u00e9", "a" * (MAX_UPLOAD_NAME + 1), "&lt;..&gt;", "a&#47;b", "\t",
])
def test_bad_names_are_permanent_errors(name: str) -> None:
    assert refused(upload_request(name=name)).status == Status.PERMANENT
    assert refused(size_query(name)).status == Status.PERMANENT


@pytest.mark.parametrize("change", [
    {"nbytes": ""}, {"nbytes": "-1"}, {"nbytes": "x"}, {"nbytes": "1e300"}, {"nbytes": "nan"}, {"nbytes": "inf"},
    {"nbytes": "9" * 50}, {"offset": "-1"}, {"offset": "0x10"}, {"max_nbytes": "-5"}, {"max_nbytes": "5 5"},
])
def test_bad_numbers_are_permanent_errors(change: dict[str, str]) -> None:
    assert refused(upload_request(**change)).status == Status.PERMANENT  # type: ignore[arg-type]


def test_missing_parts() -> None:
    good = upload_request()
    assert refused(b"").status == Status.TRANSIENT
    assert refused(b"<html>hello</html>").message == "no command"
    assert refused(good.replace(b"<nbytes>6</nbytes>", b"")).status == Status.PERMANENT
    assert refused(good.replace(b"<name>" + NAME.encode() + b"</name>", b"")).status == Status.PERMANENT
    assert refused(good.replace(b"<data>", b"")).status == Status.PERMANENT
    assert refused(good.replace(b"</md5_cksum>", b"")).status == Status.PERMANENT
    assert refused(good.replace(b"<nbytes>6</nbytes>", b"<nbytes>6</nbytes><nbytes>7</nbytes>")).status == -1
    without = parse_header(good.replace(b"<max_nbytes>5000000</max_nbytes>", b"").replace(b"b1946", b"x"), True)
    assert isinstance(without, Upload) and without.max_nbytes is None and without.md5 == ""


def test_what_the_network_cut_off_is_transient() -> None:
    request = upload_request(signature=signature_of())
    for cut in range(0, 690, 7):
        assert refused(request[:cut], complete=False).status == Status.TRANSIENT
    assert refused(size_query()[:-40], complete=False).status == Status.TRANSIENT


def test_a_header_beyond_the_limit_is_refused() -> None:
    request = upload_request(signature="0" * MAX_HEADER)
    assert refused(request).status == Status.PERMANENT


@settings(max_examples=300)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_get_a_request_or_a_reply(head: bytes, complete: bool) -> None:
    try:
        parse_header(head, complete)
    except UploadError as error:
        assert error.reply.status in (Status.TRANSIENT, Status.PERMANENT)


FRAGMENTS = [b"<file_upload>", b"<get_file_size>", b"</get_file_size>", b"<file_info>", b"<name>", b"</name>", b"a_1",
             b"<nbytes>", b"</nbytes>", b"7", b"<data>\n", b"<data>", b"\n", b"&#47;", b"..", b"<xml_signature>",
             b"</xml_signature>", b"<max_nbytes>", b"</max_nbytes>", b"<offset>", b"</offset>", b"-1", b"<", b">",
             b"</"]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40), st.booleans())
def test_any_mix_of_tags_gets_a_safe_request_or_a_reply(parts: list[bytes], complete: bool) -> None:
    head = b"".join(parts)
    try:
        got = parse_header(head, complete)
    except UploadError as error:
        assert len(error.reply.encode()) < 512
        return
    assert "/" not in got.name and ".." not in got.name and got.name
    if isinstance(got, Upload):
        assert got.nbytes >= 0 and got.offset >= 0 and head[:got.data_at].rstrip(b"\n").endswith(b"<data>")


def test_parsing_is_linear() -> None:
    import time

    hostile = [b"<file_upload>" + b"<a>" * 5000, b"<file_upload>" + b"<url>x</url>" * 1300,
               b"<file_upload>" + b"<" * 16000, b"<file_upload><name>" + b" " * 16000]
    for head in hostile:
        start = time.perf_counter()
        refused(head)
        assert time.perf_counter() - start < 0.5


def test_replies() -> None:
    assert Reply(Status.OK, file_size=0).encode() == (
        b"<data_server_reply>\n    <status>0</status>\n    <file_size>0</file_size>\n</data_server_reply>\n")
    assert Reply(Status.OK).encode() == b"<data_server_reply>\n    <status>0</status>\n</data_server_reply>\n"
    assert b"<status>-1</status>" in Reply(Status.PERMANENT).encode()
    hostile = Reply(Status.TRANSIENT, "</message><status>0</status>" + "x" * 5000).encode()
    assert hostile.count(b"<status>") == 1 and len(hostile) < 512
    assert b"<file_size>5000000000</file_size>" in Reply(Status.OK, file_size=5 * 10**9).encode()
