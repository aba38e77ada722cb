"""Output templates and result XML (spec 04 sections 2.3, 2.4, 10.1, 10.6; 03 section 22.1)."""
from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from boincdock.crypto import generate_keypair, parse_public, verify_bytes
from boincdock.errors import InputError
from boincdock.jobs.results import make_result_xml
from boincdock.protocol.templates import parse_output_template, stable_name

URL = "https://p.example/p_cgi/file_upload_handler"
VECTOR = ("<output_template><file_info><name><OUTFILE_0/>.tgz</name><max_nbytes>1e6</max_nbytes>"
          "<url><UPLOAD_URL/></url></file_info><result><file_ref><file_name><OUTFILE_0/>.tgz</file_name>"
          "<open_name>out</open_name></file_ref></result></output_template>")
TWO = """<?xml version="1.0"?>
<!-- a comment with <file_info> in it -->

<output_template>
    <file_info>
        <name><OUTFILE_0 /></name>
        <generated_locally/> <upload_when_present/>
        <max_nbytes>5000000.0</max_nbytes>
        <url><UPLOAD_URL/></url>
    </file_info>
    <file_info>
        <name><OUTFILE_log/></name>
        <max_nbytes>0</max_nbytes>
        <gzip_when_done></gzip_when_done>
        <url><UPLOAD_URL></UPLOAD_URL></url>
    </file_info>
    <result>
        <file_ref><file_name><OUTFILE_0/></file_name><open_name>out</open_name><copy_file>1</copy_file></file_ref>
        <file_ref><file_name><OUTFILE_log/></file_name><open_name>log</open_name>
            <copy_file>0</copy_file><optional/><no_validate a="x/y"/></file_ref>
        <report_immediately/>
    </result>
</output_template>"""


def test_vector_10_6() -> None:
    signed: list[tuple[str, int]] = []

    def certify(name: str, size: int) -> str:
        signed.append((name, size))
        return "aa\n.\n"

    plain = parse_output_template(VECTOR).expand("demo_0", 918273645, URL, None)
    assert "<name>demo_0_r918273645_0.tgz</name>" in plain
    assert "<file_name>demo_0_r918273645_0.tgz</file_name>" in plain
    assert f"<url>{URL}</url>" in plain
    assert "output_template" not in plain and "xml_signature" not in plain
    certified = parse_output_template(VECTOR).expand("demo_0", 918273645, URL, certify)
    assert signed == [("demo_0_r918273645_0.tgz", 1000000)]
    assert "    <xml_signature>\naa\n.\n    </xml_signature>\n</file_info>\n" in certified
    decorated = '<?xml version="1.0"?>\n<!-- c -->\n' + VECTOR
    assert parse_output_template(decorated).expand("demo_0", 918273645, URL, None) == plain


def test_two_files_and_flags() -> None:
    template = parse_output_template(TWO)
    assert [(f.suffix, f.open_name, f.max_nbytes, f.uploaded) for f in template.files] == \
        [("0", "out", 5000000, True), ("log", "log", 0, True)]
    text = template.expand("wu_b_0", 1234567, URL, None)
    assert "<name>wu_b_0_r1234567_0</name>" in text and "<name>wu_b_0_r1234567_log</name>" in text
    assert "<gzip_when_done/>" in text and "<no_validate/>" in text and "<optional/>" in text
    assert text.count("<copy_file/>") == 1
    assert text.startswith("<file_info>\n") and "<result>\n" in text and text.endswith("</result>\n")
    assert not re.search(r"<(\w+)></\1>", text)


def test_no_output_files() -> None:
    text = parse_output_template("<output_template><result/></output_template>").expand("a_0", 1, URL, None)
    assert text == "<result>\n</result>\n"


@pytest.mark.parametrize(("bad", "words"), [
    ("", "exactly one <result>"),
    ("<output_template><result></output_template>", "line 1"),
    (VECTOR.replace("<max_nbytes>1e6</max_nbytes>", ""), "max_nbytes"),
    (VECTOR.replace("1e6", "1 MB"), "max_nbytes"),
    (VECTOR.replace("1e6", "nan"), "max_nbytes"),
    (VECTOR.replace("<name><OUTFILE_0/>.tgz</name>", "<name>fixed</name>"), "OUTFILE_0"),
    (VECTOR.replace("<name><OUTFILE_0/>.tgz</name>", "<name><OUTFILE_1/>.tgz</name>"), "none of the template"),
    (VECTOR.replace("<open_name>out</open_name>", ""), "open_name"),
    (VECTOR.replace(">out<", ">../out<"), "open_name"),
    (VECTOR.replace("OUTFILE_0", "OUTFILE_a&b"), "OUTFILE_"),
    ("\0" + VECTOR, "NUL"),
])
def test_unusable_templates(bad: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        parse_output_template(bad)


def test_stable_name() -> None:
    assert stable_name("wu_b_0_r1234567_0") == "wu_b_0_0"
    assert stable_name("wu_b_0") == "wu_b_0"
    assert stable_name("wu_b_0_r77_0.tar") == "wu_b_0_0.tar"


@pytest.fixture
def project(tmp_path: Path) -> SimpleNamespace:
    private, public = generate_keypair()
    (tmp_path / "upload_private").write_text(private)
    config = SimpleNamespace(upload_url=URL + "?a=1&b=2", dont_generate_upload_certificates=False)
    return SimpleNamespace(config=config, key_dir=tmp_path, public=public)


def test_make_result_xml_signs_what_the_upload_handler_checks(project: SimpleNamespace) -> None:
    name, xml = make_result_xml(project, TWO, {"name": "wu_b"}, 2)
    assert name == "wu_b_2"
    assert "?a=1&amp;b=2</url>" in xml
    names = re.findall(r"    <name>(.*)</name>", xml)
    random_part = re.fullmatch(r"wu_b_2_r(\d+)_0", names[0])
    assert random_part and 0 <= int(random_part.group(1)) < 2**31
    assert names[1] == f"wu_b_2_r{random_part.group(1)}_log"
    signatures = re.findall(r"<xml_signature>\n(.*?)    </xml_signature>", xml, re.DOTALL)
    public = parse_public(project.public)
    sizes = [5000000, 0]
    for one, size, signature in zip(names, sizes, signatures, strict=True):
        assert verify_bytes(f"<name>{one}</name><max_nbytes>{size}</max_nbytes>".encode(), signature, public)
    assert make_result_xml(project, TWO, {"name": "wu_b"}, 2)[1] != xml


def test_make_result_xml_without_certificates(project: SimpleNamespace) -> None:
    project.config.dont_generate_upload_certificates = True
    (project.key_dir / "upload_private").unlink()
    assert "xml_signature" not in make_result_xml(project, VECTOR, {"name": "d"}, 0)[1]


def test_result_name_too_long(project: SimpleNamespace) -> None:
    with pytest.raises(InputError, match="longer than 191"):
        make_result_xml(project, VECTOR, {"name": "d" * 190}, 0)
