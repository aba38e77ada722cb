#!/usr/bin/env python3
"""plot.py FOLDER FILE.svg: draw what a sweep brought back, each line "r x" of each file below FOLDER as a dot.

Python's standard library only. Prints how many values of r and how many dots there are.
"""
from __future__ import annotations

import sys
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 1000, 600, 50


def read(folder: Path) -> list[tuple[float, float]]:
    """All dots; SystemExit if there is none, or a line is something else."""
    dots = []
    for path in sorted(folder.rglob("out")):
        for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
            try:
                r, x = map(float, line.split())
            except ValueError:
                sys.exit(f"error: {path}:{number}: not two numbers: {line[:40]!r}")
            dots.append((r, x))
    if not dots:
        sys.exit(f"error: no files called out below {folder}")
    return dots


def svg(dots: list[tuple[float, float]]) -> str:
    """The picture."""
    low, high = min(r for r, _ in dots), max(r for r, _ in dots)
    span = high - low or 1.0
    right, bottom = WIDTH - MARGIN, HEIGHT - MARGIN
    places = dict.fromkeys((round(MARGIN + (right - MARGIN) * (r - low) / span, 1),
                            round(bottom - (bottom - MARGIN) * x, 1)) for r, x in dots)
    path = "".join(f"M{x} {y}h1" for x, y in places)
    labels = "".join(f'<text x="{MARGIN + (right - MARGIN) * i / 4:.0f}" y="{bottom + 25}" text-anchor="middle">'
                     f"{low + span * i / 4:.3g}</text>" for i in range(5))
    sides = "".join(f'<text x="{MARGIN - 10}" y="{bottom - (bottom - MARGIN) * i / 4 + 5:.0f}" text-anchor="end">'
                    f"{i / 4:g}</text>" for i in range(5))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">\n'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n'
            f'<path d="M{MARGIN} {MARGIN}V{bottom}H{right}" fill="none" stroke="#888"/>\n'
            f'{labels}{sides}<text x="{WIDTH // 2}" y="{HEIGHT - 8}" text-anchor="middle">r</text>\n'
            f'<path d="{path}" stroke="#124" stroke-opacity="0.5" fill="none"/>\n</svg>\n')


def main() -> None:
    """Run it."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    dots = read(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(svg(dots), encoding="ascii")
    print(f"{len({r for r, _ in dots})} values of r, {len(dots)} dots: {sys.argv[2]}")


if __name__ == "__main__":
    main()
