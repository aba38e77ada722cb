"""version.xml, folder names, app_version XML (spec 04 sections 6, 10.7; 05 I6)."""
from __future__ import annotations

import pytest

from boincdock.apps.xadd import parse_project_xml
from boincdock.errors import InputError
from boincdock.protocol.version_xml import (
    PublishedFile,
    VersionFile,
    VersionSpec,
    app_version_xml,
    choose_main_program,
    find_api_version,
    parse_platform_folder,
    parse_version_number,
    parse_version_xml,
)


@pytest.mark.parametrize(("folder", "number"), [
    ("2.4", 204), ("204", 204), ("10.7", 1007), ("1.07", 107), ("1.7", 107), ("1.10", 110), ("12.3", 1203),
    ("107", 107), ("2", 2), ("beta", None), ("v1", None), ("1.x", None), ("", None), ("1.2.3", None), ("-1", None),
])
def test_version_numbers(folder: str, number: int | None) -> None:
    assert parse_version_number(folder) == number


def test_minor_number_above_99() -> None:
    with pytest.raises(InputError, match="below 100"):
        parse_version_number("1.100")


def test_platform_folders() -> None:
    assert parse_platform_folder("x86_64-pc-linux-gnu__docker_mt") == ("x86_64-pc-linux-gnu", "docker_mt")
    assert parse_platform_folder("x86_64-pc-linux-gnu__vbox64_mt") == ("x86_64-pc-linux-gnu", "vbox64_mt")
    assert parse_platform_folder("windows_x86_64") == ("windows_x86_64", "")
    for bad in ("a__b__c", "a__", "a__" + "x" * 64):
        with pytest.raises(InputError):
            parse_platform_folder(bad)


@pytest.mark.parametrize(("program", "version"), [
    (b"ab\0API_VERSION_8.3.0\0cd", "8.3.0"), (b"\0API_VERSION_8.3.0-dev\0", None), (b"API_VERSION_8.3.15-dev", None),
    (b"API_VERSION_8.3.0", "8.3.0"), (b"x API_VERSION_1.2.3x\0 API_VERSION_7.5.0\n", "7.5.0"), (b"", None),
])
def test_api_version_in_program(program: bytes, version: str | None) -> None:
    assert find_api_version(program) == version


VERSION_XML = """<?xml version="1.0"?>
<version>
    <!-- the program -->
    <file><physical_name>sieve_204_x86_64</physical_name><main_program/></file>
    <file><physical_name>lib/data_7.bin</physical_name><logical_name>data.bin</logical_name>
        <copy_file/> <gzip>1</gzip> <url>https://mirror.example/d?a&amp;b</url></file>
    <api_version>8.3.0</api_version> <is_wrapper/> <needs_network>0</needs_network> <dont_throttle/>
    <file_prefix>shared</file_prefix> <beta/>
</version>"""


def test_version_xml_to_app_version() -> None:
    spec = parse_version_xml(VERSION_XML)
    program, data = spec.files
    assert program.main_program and not program.copy_file
    assert data == VersionFile("lib/data_7.bin", "data.bin", False, True, True, ("https://mirror.example/d?a&b",))
    text = app_version_xml("sieve", 204, spec, [
        PublishedFile(program, ("http://p/download/sieve_204_x86_64",), 734003, "m" * 32, "aa\nbb\n.\n", True),
        PublishedFile(data, data.urls, 10, "d" * 32, "cc\n.\n", False, 7)])
    assert text == """<file_info>
    <name>sieve_204_x86_64</name>
    <url>http://p/download/sieve_204_x86_64</url>
    <executable/>
    <file_signature>
aa
bb
.
    </file_signature>
    <md5_cksum>mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm</md5_cksum>
    <nbytes>734003</nbytes>
</file_info>
<file_info>
    <name>lib/data_7.bin</name>
    <url>https://mirror.example/d?a&amp;b</url>
    <gzipped_url>https://mirror.example/d?a&amp;b.gz</gzipped_url>
    <file_signature>
cc
.
    </file_signature>
    <gzipped_nbytes>7</gzipped_nbytes>
    <md5_cksum>dddddddddddddddddddddddddddddddd</md5_cksum>
    <nbytes>10</nbytes>
</file_info>
<app_version>
    <app_name>sieve</app_name>
    <version_num>204</version_num>
    <api_version>8.3.0</api_version>
<file_ref>
    <file_name>sieve_204_x86_64</file_name>
    <main_program/>
</file_ref>
<file_ref>
    <file_name>lib/data_7.bin</file_name>
    <open_name>data.bin</open_name>
    <copy_file/>
</file_ref>
    <is_wrapper/>
    <dont_throttle/>
    <file_prefix>shared</file_prefix>
</app_version>
"""


@pytest.mark.parametrize(("old", "new", "words"), [
    ("<is_wrapper/>", "<is_warpper/>", "is_warpper"), ("8.3.0", "8.3", "api_version"),
    ("lib/data_7.bin", "../data_7.bin", "physical name"), ("lib/data_7.bin", "con.txt", "physical name"),
    ("lib/data_7.bin", "SIEVE_204_x86_64", "listed twice"), ("<gzip>1</gzip>", "<gzip>yes</gzip>", "0 or 1"),
    ("data.bin<", "../x<", "logical_name"), ("<version>", "<versions>", "</version> where <versions>"),
    ("https://mirror", "ftp://mirror", "URL"),
])
def test_bad_version_xml(old: str, new: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_version_xml(VERSION_XML.replace(old, new, 1))


def test_main_program() -> None:
    assert choose_main_program([VersionFile("a")], "w")[0].main_program
    for files in ([VersionFile("a"), VersionFile("b")], [VersionFile("a", "", True), VersionFile("b", "", True)],
                  [VersionFile("a.PNG", "", True)]):
        with pytest.raises(InputError):
            choose_main_program(files, "w")
    assert VersionSpec().files == ()


def test_project_xml() -> None:
    platforms, apps = parse_project_xml("<boinc><platform><name>p</name></platform><app><name>a</name>"
                                        "<user_friendly_name>It's &amp; more</user_friendly_name>"
                                        "<min_version>3</min_version><fraction_done_exact/></app></boinc>")
    assert platforms[0].friendly == "p"
    assert (apps[0].friendly, apps[0].options) == ("It's & more", {"min_version": 3, "fraction_done_exact": 1})
    for bad in ("<boinc><app></app></boinc>", "<x/>", "<boinc><app><name>a/b</name></app></boinc>",
                "<boinc><app><name>a</name><wieght>1</wieght></app></boinc>",
                "<boinc><app><name>a</name></app><app><name>a</name></app></boinc>"):
        with pytest.raises(InputError):
            parse_project_xml(bad)
