"""Examples of the public names: those of `reference/examples.md`, and the guides whose code uses a name.

Invariants: `tests/test_docs.py` runs every block of these pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from docs.generate.contents import CONTENTS, DOCS

PAGE: Final = DOCS / "reference" / "examples.md"
_EXAMPLE: Final = re.compile(r"^## `(?P<name>[\w.]+)`\n(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK: Final = re.compile(r"^```(?:python|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@cache
def examples() -> Mapping[str, str]:
    """Return the Markdown of each example by the name that it shows."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    return {match["name"]: match["body"].strip() for match in _EXAMPLE.finditer(text)}


@cache
def _guides() -> Mapping[Path, tuple[str, str]]:
    """Return the code and the whole text of each guide, in the order of the contents."""
    order = [name for names in CONTENTS.values() for name in names]
    pages = sorted(
        DOCS.glob("*.md"), key=lambda page: order.index(page.stem) if page.stem in order else len(order)
    )
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    return {page: ("\n".join(_BLOCK.findall(text)), text) for page, text in texts.items()}


def guides_using(name: str) -> Iterator[Path]:
    """Yield the guides whose code has the last part of a name."""
    word = re.compile(rf"\b{re.escape(name.rpartition('.')[2])}\b")
    yield from (page for page, (code, _) in _guides().items() if word.search(code))


def guides_naming(name: str) -> Iterator[Path]:
    """Yield the guides whose text has a name in backticks."""
    yield from (page for page, (_, text) in _guides().items() if f"`{name}`" in text)


def title(page: Path) -> str:
    """Return the title of a page."""
    return page.read_text(encoding="utf-8").partition("# ")[2].partition("\n")[0]


def example_of(name: str) -> str:
    """Return the Markdown to show below a name: its example, or links to the guides that use it or tell of it."""
    if name in examples():
        return examples()[name]
    used, named = list(guides_using(name)), list(guides_naming(name))
    links = [f"[{title(page)}](../{page.name})" for page in (used or named)][:4]
    return f"{'Used in' if used else 'See'}: {', '.join(links)}." if links else ""
