"""The pictures of the badges that ``badge_assign`` gives: ``img/pct_1.png``, ``pct_5.png``, ``pct_25.png`` (spec 03
section 8.8). Statistics sites fetch them by these names. A project's own ``html/user/img/NAME`` comes first."""
from __future__ import annotations

import math
import re
import struct
import zlib
from functools import lru_cache

from flask import Blueprint, Response, abort

from boincdock.web.site import site

blueprint = Blueprint("badges", __name__)

SIZE = 64
_FINE = 3
"""Samples of a pixel in each direction, for smooth edges."""

Colour = tuple[int, int, int]
METALS: dict[int, tuple[Colour, Colour]] = {
    1: ((232, 182, 32), (122, 84, 0)), 5: ((176, 186, 196), (70, 80, 92)), 25: ((196, 122, 70), (96, 48, 14)),
}
"""Percent -> colours of the medal and of its rim and digits."""

_RIBBON: Colour = (38, 84, 150)
_DIGITS = {"1": ("010", "110", "010", "010", "111"), "2": ("110", "001", "010", "100", "111"),
           "5": ("111", "100", "110", "001", "110"), "%": ("101", "001", "010", "100", "101")}


def _sample(x: float, y: float, metal: Colour, dark: Colour, text: str) -> Colour | None:
    """The colour at a point of the unit square; None outside of the medal."""
    distance = math.hypot(x - 0.5, y - 0.4)
    if distance > 0.38:
        ribbon = 0.6 < y < 0.98 - 0.3 * abs(abs(x - 0.5) - 0.15) and 0.05 < abs(x - 0.5) < 0.25
        return _RIBBON if ribbon else None
    if distance > 0.33:
        return dark
    cell = 0.42 / (4 * len(text) - 1)
    column, row = (x - 0.29) / cell, (y - 0.4) / cell + 2.5
    if 0 <= column < 4 * len(text) - 1 and 0 <= row < 5 and column % 4 < 3 \
            and _DIGITS[text[int(column // 4)]][int(row)][int(column % 4)] == "1":
        return dark
    return metal


@lru_cache
def png(percent: int) -> bytes:
    """The picture as a PNG of SIZE x SIZE pixels with transparency; KeyError for another percentage."""
    metal, dark = METALS[percent]
    text = f"{percent}%"
    rows = bytearray()
    for py in range(SIZE):
        rows.append(0)
        for px in range(SIZE):
            seen = [_sample((px + (i + 0.5) / _FINE) / SIZE, (py + (j + 0.5) / _FINE) / SIZE, metal, dark, text)
                    for i in range(_FINE) for j in range(_FINE)]
            inside = [colour for colour in seen if colour]
            mean = [sum(c[k] for c in inside) // len(inside) for k in range(3)] if inside else [0, 0, 0]
            rows += bytes((*mean, 255 * len(inside) // len(seen)))
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 6, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)


@blueprint.route("/img/<name>")
def image(name: str) -> Response:
    """A picture of a badge."""
    match = re.fullmatch(r"[A-Za-z0-9_-]{1,64}\.(png|svg|gif|jpg)", name)
    if match is None:
        abort(404)
    kind = {"svg": "image/svg+xml", "jpg": "image/jpeg"}.get(match[1], f"image/{match[1]}")
    try:
        data = (site().project.dir / "html" / "user" / "img" / name).read_bytes()
    except OSError:
        found = {f"pct_{percent}.png": percent for percent in METALS}
        if name not in found:
            abort(404)
        data = png(found[name])
    return Response(data, content_type=kind, headers={"Cache-Control": "public, max-age=86400"})
