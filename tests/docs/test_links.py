"""Each link between the pages leads to a page and a heading that exist, also where Sphinx is not installed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate.contents import DOCS
from docs.generate.pages import expand

FENCED = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)\s]+)\)")
PAGES = {page: expand(page.read_text(encoding="utf-8")) for page in sorted(DOCS.rglob("*.md"))}


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as code hosts and MyST make them."""
    headings = re.findall(r"^#{1,4} (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, pages: dict[Path, str]) -> Iterator[str]:
    """The links of a page that lead nowhere."""
    for link in LINK.findall(FENCED.sub("", pages[page])):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if path in pages and anchor and anchor not in anchors(pages[path]):
            yield f"{link}: no such heading"
        elif path not in pages and not path.exists():
            yield f"{link}: no such file"


@pytest.mark.parametrize("page", [page.relative_to(DOCS).as_posix() for page in PAGES])
def test_links_lead_to_a_heading(page: str) -> None:
    """Links of the generated parts included."""
    assert list(broken(DOCS / page, PAGES)) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    """To a page, to a heading, to a heading of the same page; not in code."""
    pages = {
        tmp_path
        / "a.md": "# A `b`!\n[1](b.md) [2](a.md#a-b) [3](#no) [4](c.md#no)\n```text\n[5](d.md)\n```\n",
        tmp_path / "c.md": "# C",
    }
    assert list(broken(tmp_path / "a.md", pages)) == [
        "b.md: no such file",
        "#no: no such heading",
        "c.md#no: no such heading",
    ]
