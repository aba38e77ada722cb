"""Rendering the project folder: placeholders, admins' edits, operators' own files, interruptions."""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from boincdock.errors import ConfigError
from boincdock.project.render import (
    STATE_FILE,
    Renderer,
    Source,
    State,
    collect,
    is_rendered,
    replace_values,
    substitute,
)
from boincdock.project.tree import Tree

VALUES = {"URL_BASE": "http://127.0.0.1", "PROJECT": "demo", "PROJECT_ROOT": "/home/boincadm/project",
          "BOINC_USER": "boincadm", "DB_PASSWD": "s3cret&<>", "RECAPTCHA_PUBLIC_KEY": ""}
NEW = {**VALUES, "URL_BASE": "https://boinc.example.org", "DB_PASSWD": "newsecret"}


def test_placeholders_any_case_and_only_known_names() -> None:
    text = "${URL_BASE}|${url_base}|${Url_Base}|${project}|${UNKNOWN}|$PROJECT|replace with Project NAME|${BOINCDOCK}"
    assert substitute(text, VALUES) == \
        "http://127.0.0.1|http://127.0.0.1|http://127.0.0.1|demo|${UNKNOWN}|$PROJECT|demo|${BOINCDOCK}"


def test_values_are_escaped_in_xml_and_taken_literally() -> None:
    assert substitute("<p>${DB_PASSWD}</p>", VALUES, xml=True) == "<p>s3cret&amp;&lt;&gt;</p>"
    assert substitute("${DB_PASSWD}", {"DB_PASSWD": r"a\1|&\n"}) == r"a\1|&\n"
    assert substitute("${DB_PASSWD}", {"DB_PASSWD": "${URL_BASE}", "URL_BASE": "x"}) == "${URL_BASE}"


@pytest.mark.parametrize(("rel", "yes"), [
    ("config.xml", True), ("html/user/schedulers.txt", True), ("html/project/project.inc", True),
    ("html/ops/.htaccess", True), ("demo.httpd.conf", True), ("demo.readme", True), ("demo.cronjob", True),
    ("project.xml", False), ("html/user/config.xml", False), ("html/project/a/b", False), ("x/demo.readme", False),
])
def test_which_files_are_rendered(rel: str, yes: bool) -> None:
    assert is_rendered(rel) is yes


def test_replacing_values_in_an_edited_text() -> None:
    old = {"URL_BASE": ["http://127.0.0.1"], "DB_PASSWD": ["word"]}
    text = ('<a>http://127.0.0.1/x/</a> http://127.0.0.1:81/ http://127.0.0.10/ "http://127.0.0.1"\n'
            "<db_passwd>word</db_passwd> password words <x>word </x> p=word")
    assert replace_values(text, old, {"URL_BASE": "https://b.org", "DB_PASSWD": "n&w"}, xml=True) == (
        '<a>https://b.org/x/</a> http://127.0.0.1:81/ http://127.0.0.10/ "https://b.org"\n'
        "<db_passwd>n&amp;w</db_passwd> password words <x>n&amp;w </x> p=n&amp;w")


class Volume:
    """A project volume and the run over it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = Tree(path)
        self.messages: list[str] = []
        self.changed: list[str] = []

    def render(self, sources: Mapping[str, bytes | Source], values: Mapping[str, str] = VALUES) -> None:
        state = State.load(self.tree)
        renderer = Renderer(self.tree, state, values)
        renderer.run({rel: s if isinstance(s, Source) else Source(s, 0o644, False) for rel, s in sources.items()})
        self.messages, self.changed = renderer.messages, renderer.changed

    def text(self, rel: str) -> str:
        return (self.path / rel).read_text()


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


CONFIG = b"<u>${URL_BASE}/${PROJECT}/</u><p>${DB_PASSWD}</p>\n"


def test_first_run_writes_second_changes_nothing(volume: Volume) -> None:
    volume.render({"config.xml": CONFIG, "html/user/x.txt": b"${URL_BASE}"})
    assert volume.text("config.xml") == "<u>http://127.0.0.1/demo/</u><p>s3cret&amp;&lt;&gt;</p>\n"
    assert volume.text("html/user/x.txt") == "${URL_BASE}"
    assert (volume.path / "config.xml").stat().st_mode & 0o777 == 0o640
    before = {p: p.stat().st_mtime_ns for p in volume.path.rglob("*")}
    volume.render({"config.xml": CONFIG, "html/user/x.txt": b"${URL_BASE}"})
    assert volume.changed == []
    assert {p: p.stat().st_mtime_ns for p in volume.path.rglob("*")} == before


def test_changed_values_reach_an_untouched_file(volume: Volume) -> None:
    volume.render({"config.xml": CONFIG})
    volume.render({"config.xml": CONFIG}, NEW)
    assert volume.text("config.xml") == "<u>https://boinc.example.org/demo/</u><p>newsecret</p>\n"


def test_an_edit_survives_and_follows_changed_values(volume: Volume) -> None:
    volume.render({"config.xml": CONFIG})
    edited = volume.text("config.xml").replace("\n", "<mine>1</mine>\n<v>${url_base}</v>\n")
    (volume.path / "config.xml").write_text(edited)
    volume.render({"config.xml": CONFIG})
    assert "<mine>1</mine>" in volume.text("config.xml")
    volume.render({"config.xml": CONFIG}, NEW)
    assert volume.text("config.xml") == ("<u>https://boinc.example.org/demo/</u><p>newsecret</p><mine>1</mine>\n"
                                         "<v>https://boinc.example.org</v>\n")
    volume.render({"config.xml": CONFIG}, NEW)
    assert volume.changed == []


def test_a_new_default_does_not_overwrite_an_edit(volume: Volume) -> None:
    volume.render({"config.xml": CONFIG})
    (volume.path / "config.xml").write_text("<mine/>")
    volume.render({"config.xml": b"<new>${PROJECT}</new>"})
    assert volume.text("config.xml") == "<mine/>"
    assert volume.text("config.xml.new") == "<new>demo</new>"
    assert any("config.xml.new" in m for m in volume.messages)
    volume.render({"config.xml": b"<new>${PROJECT}</new>"})
    assert volume.messages == []


def test_a_new_default_replaces_an_untouched_file(volume: Volume) -> None:
    volume.render({"a.txt": b"1"})
    volume.render({"a.txt": b"2"})
    assert volume.text("a.txt") == "2"


def test_a_removed_file_comes_back(volume: Volume) -> None:
    volume.render({"config.xml": CONFIG})
    (volume.path / "config.xml").unlink()
    volume.render({"config.xml": CONFIG})
    assert "demo" in volume.text("config.xml")


def test_an_operators_new_file_wins_over_an_edit_which_is_kept_aside(volume: Volume) -> None:
    volume.render({"config.xml": CONFIG})
    (volume.path / "config.xml").write_text("<mine/>")
    volume.render({"config.xml": Source(b"<o>${PROJECT}</o>", 0o644, True)})
    assert volume.text("config.xml") == "<o>demo</o>"
    assert volume.text("config.xml.edited") == "<mine/>"
    # The same image again: what is edited after that stays.
    (volume.path / "config.xml").write_text("<again/>")
    volume.render({"config.xml": Source(b"<o>${PROJECT}</o>", 0o644, True)})
    assert volume.text("config.xml") == "<again/>"


def test_a_file_nobody_wrote_down_is_an_edit(volume: Volume) -> None:
    (volume.path / "config.xml").write_text("<mine/>")
    volume.render({"config.xml": CONFIG})
    assert volume.text("config.xml") == "<mine/>"


class Died(BaseException):
    """A kill -9 between two files."""


@pytest.mark.parametrize("writes", range(1, 6))
def test_interrupted_anywhere_the_next_run_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         writes: int) -> None:
    """The run that changes the URL dies at the n-th write; the next has yet another URL."""
    sources = {"config.xml": CONFIG, "html/user/schedulers.txt": b"${URL_BASE}", "demo.readme": b"${URL_BASE}"}
    volume = Volume(tmp_path)
    volume.render(sources)
    real, count = Tree.write, 0

    def dying(self: Tree, rel: str, data: bytes, mode: int = 0o644) -> bool:
        nonlocal count
        count += 1
        if count == writes:
            raise Died
        return real(self, rel, data, mode)

    monkeypatch.setattr(Tree, "write", dying)
    with pytest.raises(Died):
        volume.render(sources, NEW)
    monkeypatch.setattr(Tree, "write", real)
    third = {**NEW, "URL_BASE": "https://third.example.org"}
    volume.render(sources, third)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    other = Volume(fresh)
    other.render(sources, third)
    for rel in sources:
        assert volume.text(rel) == other.text(rel)
    assert json.loads(volume.text(STATE_FILE)) == json.loads(other.text(STATE_FILE))


def test_a_damaged_state_file_is_said_clearly(volume: Volume) -> None:
    volume.tree.write(STATE_FILE, b"{")
    with pytest.raises(ConfigError, match="damaged"):
        State.load(volume.tree)


def test_collect_tells_the_operators_files_and_prefers_his_names(tmp_path: Path) -> None:
    stock, image = tmp_path / "stock", tmp_path / "image"
    for root in (stock, image):
        (root / "html").mkdir(parents=True)
        (root / "config.xml").write_text("stock")
        (root / "html" / "a").write_text("stock")
        (root / "${project}.httpd.conf").write_text("stock")
        (root / "${PROJECT}.readme").write_text("stock")
    (image / "config.xml").write_text("mine")
    (image / "demo.httpd.conf").write_text("mine")
    (image / "own.txt").write_text("mine")
    (image / "apps" / "big").mkdir(parents=True)
    (image / "apps" / "big" / "file").write_text("x")
    (image / "link").symlink_to("/etc/passwd")
    found = collect(image, stock, VALUES)
    assert {rel: (s.data.decode(), s.overlay) for rel, s in found.items()} == {
        "config.xml": ("mine", True), "html/a": ("stock", False), "demo.httpd.conf": ("mine", True),
        "demo.readme": ("stock", False), "own.txt": ("mine", True)}
