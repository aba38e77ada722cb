"""An operator's own logo, pages and files on the web site."""
from __future__ import annotations

from pathlib import Path

import pytest
from web_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for folder in ("files", "pages"):
        (tmp_path / "html" / "project" / folder).mkdir()
    return made


def test_without_files_of_ones_own(world: World) -> None:
    page = world.app.test_client().get("/p/", base_url="http://127.0.0.1:8080").text
    assert "/static/logo.svg" in page and "page.php" not in page


def test_logo_page_and_files(world: World, tmp_path: Path) -> None:
    own = tmp_path / "html" / "project"
    (own / "files" / "logo.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (own / "pages" / "science.html").write_text("<h1>Our <em>science</em> &amp; you</h1>\n<p><b>bold</b></p>\n")
    (own / "pages" / "bad name.html").write_text("<h1>no</h1>")
    (own / "secret.txt").write_text("secret")
    client = world.app.test_client()
    home = client.get("/").text
    assert "project_files/logo.svg?v=" in home and "static/logo.svg" not in home
    assert ">Our science &amp; you</a>" in home and "bad name" not in home
    page = client.get("/page.php?name=science")
    assert page.status_code == 200 and "<p><b>bold</b></p>" in page.text
    assert "<title>Our science &amp; you · " in page.text
    logo = client.get("/project_files/logo.svg")
    assert logo.status_code == 200 and logo.data.startswith(b"<svg") and "Content-Security-Policy" in logo.headers
    for path in ("/page.php?name=nope", "/page.php?name=../secret", "/page.php", "/project_files/../secret.txt",
                 "/project_files/..%2fsecret.txt", "/project_files/none", "/page.php?name=bad%20name"):
        assert client.get(path).status_code == 404, path
    assert "project_files" not in world.ops_app.test_client().get("/").text, "the ops site keeps its own"
