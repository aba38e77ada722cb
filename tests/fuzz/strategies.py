"""Hypothesis strategies: requests that are right in most places, and wrong in some."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.fuzz.mutate import NUMBERS, PIECES
from tests.fuzz.targets import EXAMPLE
from tests.unit.test_upload_parser import CLIENT

NAMES = (
    *dict.fromkeys(
        part.split(b">")[0].strip(b"/ ") for part in EXAMPLE.read_bytes().split(b"<") if part and part[:1].isalpha()
    ),
    *(b"coproc_ati", b"coproc_intel_gpu", b"wsl", b"distro", b"msg_from_host", b"time_stats_log", b"user_keywords"),
    *(
        b"other_results",
        b"other_result",
        b"stderr_out",
        b"working_global_preferences",
        b"x" * 300,
        b"unknown",
        b"a-b.c",
    ),
)

texts = st.one_of(
    st.sampled_from(NUMBERS),
    st.binary(max_size=40),
    st.sampled_from(PIECES),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.builds(lambda text: b"<![CDATA[" + text + b"]]>", st.binary(max_size=30)),
    st.builds(lambda text: b"".join(b"&#%d;" % byte for byte in text), st.binary(max_size=20)),
    st.builds(lambda byte, size: byte * size, st.binary(min_size=1, max_size=3), st.integers(1, 3000)),
)


@st.composite
def elements(draw: Any, depth: int = 3) -> bytes:
    """One element: a leaf, a flag, a comment, or a group; sometimes without its end tag, or with another one's."""
    name = draw(st.sampled_from(NAMES))
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return b"<" + name + draw(st.sampled_from([b"/>", b" />", b' a="b"/>', b"\n/>"]))
    if kind == 1:
        return b"<!-- " + draw(st.binary(max_size=20)) + b" -->"
    end = draw(st.sampled_from([b"</" + name + b">"] * 8 + [b"", b"</" + draw(st.sampled_from(NAMES)) + b">"]))
    if kind < 6 or depth == 0:
        return b"<" + name + b">" + draw(texts) + end
    inner = draw(st.lists(elements(depth=depth - 1), max_size=4))
    return b"<" + name + b">\n" + b"\n".join(inner) + b"\n" + end


@st.composite
def requests(draw: Any) -> bytes:
    """A whole request: the worked example's head or none, any elements, sometimes cut off or ended by a NUL."""
    head = draw(st.sampled_from([b"", b'<?xml version="1.0"?>\n', b"\xef\xbb\xbf", b"<!-- a -->\n", b"\n\t "]))
    body = b"\n".join(draw(st.lists(elements(), max_size=8)))
    if draw(st.booleans()):
        whole = EXAMPLE.read_bytes()
        body = whole[whole.index(b"<authenticator>") : whole.index(b"<host_info>")] + body
    text = head + b"<scheduler_request>\n" + body + b"\n</scheduler_request>\n"
    return text if draw(st.integers(0, 5)) else text[: draw(st.integers(0, len(text)))]


@st.composite
def uploads(draw: Any) -> bytes:
    """An upload request with any values, elements left out, twice, or in another order."""
    fields = {
        b"name": st.one_of(st.just(b"demo_0_r918273645_0"), texts),
        b"max_nbytes": st.sampled_from(NUMBERS),
        b"nbytes": st.sampled_from(NUMBERS),
        b"offset": st.sampled_from(NUMBERS),
        b"md5_cksum": st.one_of(st.just(b"0" * 32), texts),
        b"xml_signature": texts,
        b"url": texts,
    }
    names = draw(st.lists(st.sampled_from(sorted(fields)), max_size=9))
    lines = [b"<" + n + b">" + draw(fields[n]) + b"</" + n + b">\n" for n in names]
    command = draw(st.sampled_from([b"<file_upload>\n<file_info>\n", b"<get_file_size>", b"<file_upload>", b""]))
    return (
        CLIENT
        + command
        + b"".join(lines)
        + draw(st.sampled_from([b"<data>\n", b"<data>", b""]))
        + draw(st.binary(max_size=99))
    )
