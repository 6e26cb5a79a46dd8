"""Checks a built site: every internal link leads to a page and an anchor that exist, every page is two clicks away."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

START: Final = "index.html"
MAX_CLICKS: Final = 2
BY_FORM: Final = ("search.html",)
"""Pages that a form leads to."""

_LINKS: Final = {"a": "href", "img": "src", "link": "href", "script": "src"}
_FOREIGN: Final = ("http", "https", "mailto", "data", "javascript")


class _Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.add(values.get("id", ""))
        self.anchors.add(values.get("name", "") if tag == "a" else "")
        if tag in _LINKS and (target := values.get(_LINKS[tag])):
            (self.links if tag == "a" else self.loads).append(target)


def problems_of_site(site: Path) -> list[str]:
    """Return every broken link, every file that is loaded from the network, and every page that is too far away."""
    pages = {
        path.relative_to(site).as_posix(): _Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
    }
    broken = [problem for name, page in pages.items() for problem in _broken(site, pages, name, page)]
    return [*broken, *_far_pages(pages)]


def _broken(site: Path, pages: dict[str, _Page], name: str, page: _Page) -> Iterator[str]:
    for target in dict.fromkeys([*page.links, *page.loads]):
        if urlsplit(target).scheme in _FOREIGN or target.startswith("//"):
            if target in page.loads and not target.startswith("data:"):
                yield f"{name} loads {target} from the network"
            continue
        path, anchor = _resolve(name, target)
        if path in pages:
            if anchor not in pages[path].anchors:
                yield f"{name}: {target} names an anchor that {path} does not have"
        elif not (site / path).is_file():
            yield f"{name}: {target} leads nowhere"


def _resolve(name: str, target: str) -> tuple[str, str]:
    """Return the file and the anchor of a link."""
    parts = urlsplit(target)
    if not parts.path:
        return name, unquote(parts.fragment)
    path: list[str] = name.split("/")[:-1]
    for part in unquote(parts.path).split("/"):
        path = path[:-1] if part == ".." else path if part in (".", "") else [*path, part]
    resolved = "/".join(path)
    return f"{resolved}/{START}".lstrip("/") if parts.path.endswith("/") else resolved, unquote(
        parts.fragment
    )


def _far_pages(pages: dict[str, _Page]) -> Iterator[str]:
    """Yield the pages that take more than two clicks from the start page."""
    reached = {START}
    for _ in range(MAX_CLICKS):
        reached |= {_resolve(name, link)[0] for name in reached & pages.keys() for link in pages[name].links}
    yield from (
        f"{name} is more than {MAX_CLICKS} clicks from {START}"
        for name in pages
        if name not in {*reached, *BY_FORM}
    )
