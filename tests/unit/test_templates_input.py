"""Input templates and workunit XML (spec 04 sections 2.1, 2.2, 3.4)."""
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boincdock.errors import InputError
from boincdock.protocol.markup import parse, unescape, write
from boincdock.protocol.templates import ResolvedFile, check_name, expand_input, parse_input_template

SPEC = """<?xml version="1.0"?>
<input_template>
    <file_info>                     <!-- file 0: ordinary -->
        <number>0</number>
        <gzip/>
    </file_info>
    <file_info number="1">
        <physical_name>primes_table_v3</physical_name>
        <sticky></sticky> <no_delete>1</no_delete> <report_on_rpc>0</report_on_rpc> <odd a="x/y">t &lt; &#65;</odd>
    </file_info>
    <workunit>
        <file_ref>
            <file_number>7</file_number>
            <open_name>in</open_name>
            <copy_file>1</copy_file>
        </file_ref>
        <file_ref> <open_name>lib/table</open_name> <optional/> </file_ref>
        <command_line>--upto 1000000 '&lt;a b&gt;'</command_line>
        <rsc_fpops_est>3e12</rsc_fpops_est>
        <delay_bound>259200</delay_bound>
        <credit>12</credit>
    </workunit>
</input_template>"""
FILES = [ResolvedFile("sieve_17.txt", ("https://sieve.example/sieve/download/1ca/sieve_17.txt",),
                      "5d41402abc4b2a76b9719d911017c592", 2048, 812),
         ResolvedFile("primes_table_v3", ("https://a/b?x=1&y", "https://c/"), "0" * 32, 5)]


def test_spec_example() -> None:
    template = parse_input_template(SPEC)
    assert template.n_arguments == 1 and template.files[1].no_delete and template.files[0].gzip
    assert template.columns == {"rsc_fpops_est": 3e12, "delay_bound": 259200}
    assert expand_input(template, FILES, extra_xml="    <sub_appname>s</sub_appname>\n") == """<file_info>
    <name>sieve_17.txt</name>
    <url>https://sieve.example/sieve/download/1ca/sieve_17.txt</url>
    <gzipped_url>https://sieve.example/sieve/download/1ca/sieve_17.txt.gz</gzipped_url>
    <gzipped_nbytes>812</gzipped_nbytes>
    <md5_cksum>5d41402abc4b2a76b9719d911017c592</md5_cksum>
    <nbytes>2048</nbytes>
</file_info>
<file_info>
    <sticky/>
    <no_delete/>
    <odd>t &lt; A</odd>
    <name>primes_table_v3</name>
    <url>https://a/b?x=1&amp;y</url>
    <url>https://c/</url>
    <md5_cksum>00000000000000000000000000000000</md5_cksum>
    <nbytes>5</nbytes>
</file_info>
<workunit>
<command_line>
--upto 1000000 '&lt;a b&gt;'
</command_line>
<file_ref>
    <file_name>sieve_17.txt</file_name>
    <open_name>in</open_name>
    <copy_file/>
</file_ref>
<file_ref>
    <file_name>primes_table_v3</file_name>
    <open_name>lib/table</open_name>
    <optional/>
</file_ref>
    <credit>12</credit>
    <sub_appname>s</sub_appname>
</workunit>
"""


def test_remote_in_template() -> None:
    text = ("<file_info><url>http://m/d</url><url>https://n/</url><md5_cksum>" + "A" * 32 + "</md5_cksum>"
            "<nbytes>12</nbytes></file_info><workunit><file_ref><copy_file/></file_ref></workunit>")
    (info,) = parse_input_template(text).files
    assert (info.urls, info.md5, info.nbytes, info.is_remote) == (("http://m/d/", "https://n/"), "a" * 32, 12, True)


@pytest.mark.parametrize(("old", "new", "words"), [
    ("<workunit>", "<workunits>", "</workunit>"), ("<gzip/>", "<gzip>maybe</gzip>", "0 or 1"),
    ("259200", "0x10", "whole number"), ("259200", "99999999999", "whole number"), ("259200", "1e3", "whole number"),
    ("3e12", "-1", "number >= 0"), ("3e12", "1_0", "number >= 0"), ("3e12", "inf", "number >= 0"),
    ("primes_table_v3", "a..b", "physical name"), ("primes_table_v3", "50%", "physical name"),
    (">in<", ">../in<", "open_name"), (">in<", ">/in<", "open_name"),
    ("<open_name>lib/table</open_name>", "", "needs <open_name>"),
    ("'&lt;a b&gt;'", "''", "empty quoted word"), ("<?xml", "< ?xml", "starts no tag"),
    ("<file_ref> <open_name>lib/table</open_name> <optional/> </file_ref>", "", "2 <file_info> but 1 <file_ref>"),
])
def test_unusable_templates(old: str, new: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_input_template(SPEC.replace(old, new, 1))


def test_number_of_workunits_and_order() -> None:
    with pytest.raises(InputError, match="has 0"):
        parse_input_template("<input_template></input_template>")
    with pytest.raises(InputError, match="has 2"):
        parse_input_template("<workunit/><workunit/>")
    with pytest.raises(InputError, match="before <workunit>"):
        parse_input_template("<workunit/><file_info/>")


def test_limits_of_expansion() -> None:
    template = parse_input_template(SPEC)
    with pytest.raises(InputError, match="command_line"):
        expand_input(template, FILES, "x")
    with pytest.raises(InputError, match="needs 2 files"):
        expand_input(template, FILES[:1])
    many = parse_input_template("<file_info/>" * 300 + "<workunit>" + "<file_ref><copy_file/></file_ref>" * 300
                                + "</workunit>")
    with pytest.raises(InputError, match="65535 bytes"):
        expand_input(many, [FILES[1]] * 300)


def test_names() -> None:
    for good in ("a", "in.dat", "A-b_c.9", "x" * 150):
        check_name(good, "n")
    for bad in ("", ".a", "-a", "a..b", "a%", "a b", "a/b", "ä", "a.", "x" * 151, "a\n"):
        with pytest.raises(InputError):
            check_name(bad, "n")


def test_no_empty_pair_ever() -> None:
    (element,) = parse("<a x='/'><b></b><c> </c><d>1<e/>2</d></a>", "t")
    assert write(element) == "<a>\n    <b/>\n    <c/>\n    <d>1<e/>2</d>\n</a>\n"


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"])))
def test_any_command_line_survives(line: str) -> None:
    template = parse_input_template("<workunit/>")
    text = expand_input(template, [], line)
    found = re.search(r"<command_line>\n(.*)\n</command_line>", text, re.DOTALL)
    assert (unescape(found.group(1)) if found else "") == line


@given(st.text(alphabet="<>/abx &;!-[]?=\"'\n", max_size=60))
def test_parser_answers_or_refuses(text: str) -> None:
    try:
        for element in parse(text, "t"):
            assert parse(write(element), "again")[0].name == element.name
    except InputError:
        pass
