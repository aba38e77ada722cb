"""Reading which files a result has (spec 03 sections 4, 6.7, 22.1)."""
from __future__ import annotations

from pathlib import Path

import pytest

from boincdock.config import Project, parse_config
from boincdock.errors import InputError
from boincdock.lifecycle.outputs import declared_files, output_files, stable_name

DOCUMENT = """<file_info><name>{n}_r{r}_0</name><xml_signature>\n{s}\n</xml_signature></file_info>
<file_info><name>{n}_r{r}_1</name><no_delete/></file_info>
<result><file_ref><file_name>{n}_r{r}_0</file_name><open_name>out</open_name></file_ref>
<file_ref><file_name>{n}_r{r}_1</file_name><open_name>{n}</open_name><optional/><no_validate>1</no_validate></file_ref>
</result>"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return parse_config(b"<boinc><config></config></boinc>", tmp_path)


@pytest.mark.parametrize(("name", "stable"), [
    ("wu_b_0_r1234567_0", "wu_b_0_0"), ("wu_b_0", "wu_b_0"), ("wu_b_0_r77", "wu_b_0"), ("a_0_r77_0.tar", "a_0_0.tar"),
    ("wu_b_0_r77_log", "wu_b_0_log")])
def test_22_1_stable_name(name: str, stable: str) -> None:
    assert stable_name(name) == stable


def test_6_7_each_result_gets_its_own_names(project: Project) -> None:
    for number in (1, 2, 1):
        document = DOCUMENT.format(n=f"wu_{number}_0", r=100 + number, s="ab" * number)
        files = output_files(project, document.encode())
        assert [f.name for f in files] == [f"wu_{number}_0_r{100 + number}_{i}" for i in (0, 1)]
        assert [f.logical_name for f in files] == ["out", f"wu_{number}_0"]
        assert [(f.optional, f.no_validate) for f in files] == [(False, False), (True, True)]
        assert [f.path.name for f in files] == [f.name for f in files]
        assert [(f.name, f.no_delete) for f in declared_files(document, "x")] == [
            (files[0].name, False), (files[1].name, True)]


@pytest.mark.parametrize("document", [
    "<result><file_ref><file_name>a</file_name></file_ref></result>",
    "<result><file_ref><file_name>../a</file_name><open_name>b</open_name></file_ref></result>",
    "<file_info><name>x_r1_0</name></file_info><result><file_ref><file_name>x_r1_0/../..</file_name><open_name>b"
    "</open_name></file_ref></result>", "<result><file_ref>"])
def test_6_7_damaged_documents(project: Project, document: str) -> None:
    with pytest.raises(InputError):
        output_files(project, document)
