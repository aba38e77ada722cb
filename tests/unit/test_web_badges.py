"""The pictures of badges are there under the names that statistics sites are given."""
from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from web_world import World

from boincdock.lifecycle.badges import PERCENTILES
from boincdock.web.badge_images import METALS, SIZE, png


def pixels(data: bytes) -> list[bytes]:
    """The rows of an RGBA picture; checks the PNG's frame."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0]
        chunks[kind] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (SIZE, SIZE, 8, 6, 0, 0, 0)
    raw = zlib.decompress(chunks[b"IDAT"])
    assert len(raw) == SIZE * (4 * SIZE + 1)
    return [raw[i + 1 : i + 4 * SIZE + 1] for i in range(0, len(raw), 4 * SIZE + 1)]


def test_each_badge_has_a_picture_of_its_own(tmp_path: Path) -> None:
    world = World(tmp_path)
    seen = set()
    for _, _, url in PERCENTILES:
        response = world.browser().get(url)
        assert (response.status_code, response.content_type) == (200, "image/png")
        assert "max-age" in response.headers["Cache-Control"]
        rows = pixels(response.data)
        assert rows[0][3] == 0, "the corner is transparent"
        assert rows[SIZE // 4][4 * (SIZE // 2) + 3] == 255
        seen.add(response.data)
    assert len(seen) == len(PERCENTILES) == len(METALS)
    assert png(1) == png(1)


@pytest.mark.parametrize("name", ["pct_2.png", "pct_1.txt", "..%2f..%2fconfig.xml", "%2e%2e/config.xml", "x", ""])
def test_nothing_else_is_served(tmp_path: Path, name: str) -> None:
    assert World(tmp_path).browser().get(f"img/{name}").status_code == 404


def test_an_operators_own_picture_wins(tmp_path: Path) -> None:
    world = World(tmp_path)
    folder = tmp_path / "html" / "user" / "img"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pct_1.png").write_bytes(b"own")
    assert world.browser().get("img/pct_1.png").data == b"own"
    (folder / "mine.svg").write_bytes(b"<svg/>")
    assert world.browser().get("img/mine.svg").content_type == "image/svg+xml"
