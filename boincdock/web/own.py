"""What an operator adds to the site: a logo, pages and files in html/project/ of the project folder.

    html/project/files/NAME       served at project_files/NAME; logo.svg or logo.png there is the site's logo
    html/project/pages/NAME.html  the inside of a page (its first <h1> is the title), at page.php?name=NAME, linked from
                                  the foot of all pages
They come with the operator's images, so their HTML is taken as it is; the site's content security policy holds for
them as well (no inline scripts and styles).
"""
from __future__ import annotations

import html
import re
from pathlib import Path

from flask import Blueprint, Response, abort, render_template, request, send_from_directory, url_for

from boincdock.web.accounts import read_text
from boincdock.web.site import site

blueprint = Blueprint("own", __name__)
MAX_PAGE = 1 << 20
BODY_MARK = "<!--own page-->"
"""Where the template wants the operator's text; put in after rendering, so that no template switches escaping off."""
LOGOS = ("logo.svg", "logo.png")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TITLE = re.compile(r"<h1[^>]*>(.*?)</h1>", re.DOTALL | re.IGNORECASE)


def _folder(kind: str) -> Path:
    return site().project.dir / "html" / "project" / kind


def logo() -> str | None:
    """The URL of the project's own logo; None if it has none."""
    for name in LOGOS:
        try:
            stamp = int((_folder("files") / name).stat().st_mtime)
        except OSError:
            continue
        return url_for("own.file", name=name, v=stamp) if "own" in _blueprints() else None
    return None


def _blueprints() -> list[str]:
    from flask import current_app

    return list(current_app.blueprints)


def pages() -> list[tuple[str, str]]:
    """(title, URL) of the project's own pages, by name."""
    if "own" not in _blueprints():
        return []
    try:
        names = sorted(p.stem for p in _folder("pages").iterdir() if p.suffix == ".html" and _NAME.fullmatch(p.stem))
    except OSError:
        return []
    return [(_title(name, _text(name)), url_for("own.page", name=name)) for name in names]


def _text(name: str) -> str:
    return read_text(site().project, f"html/project/pages/{name}.html", MAX_PAGE)


def _title(name: str, text: str) -> str:
    match = _TITLE.search(text)
    words = html.unescape(re.sub(r"<[^>]*>", "", match[1])) if match else ""
    return " ".join(words.split()) or name.replace("_", " ")


@blueprint.route("/page.php")
def page() -> str:
    """One of the operator's pages."""
    name = request.args.get("name", "")
    text = _text(name) if _NAME.fullmatch(name) else ""
    if not text:
        abort(404)
    return render_template("own.html", heading=_title(name, text)).replace(BODY_MARK, text, 1)


@blueprint.route("/project_files/<path:name>")
def file(name: str) -> Response:
    """One of the operator's files."""
    return send_from_directory(_folder("files"), name)
