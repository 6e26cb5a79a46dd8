"""Puts generated Markdown in the place of `<!-- generate: NAME -->` and `<!-- if PAGE: TEXT -->` lines.

Invariants: an unknown name is an error; every page is in the table of contents, listed or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from docs.generate import commands, error_table, faults, fixtures, model_tables, parameters
from docs.generate.contents import DOCS, contents
from docs.generate.examples import example_of, title
from docs.generate.members import members, public_bases
from docs.generate.objects import describe
from docs.generate.public import PublicName, order_on_page, public_names

_LINK: Final = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_ROW: Final = re.compile(r"^<!-- if (?P<page>[\w-]+): (?P<text>.*) -->\n", re.MULTILINE)
_MARKER: Final = re.compile(r"^<!-- generate: (?P<name>[\w-]+)(?: (?P<argument>[\w-]+))? -->$", re.MULTILINE)


def names_on(page: str) -> str:
    """Return the reference of the public names of a page, module by module."""
    found = sorted((public for each, public in public_names() if each == page), key=_order)
    parts: list[str] = []
    module = ""
    modules = {public.module for public in found}
    for public in found:
        if public.module != module:
            module = public.module
            title = f"\n## {module}\n" if len(modules) > 1 else ""
            parts.append(f"```{{py:currentmodule}} {module}\n```\n{title}")
        qualified = [public.name, *(name for name, _ in members(public))]
        examples = {name: text for name in qualified if (text := example_of(name))}
        parts.append(describe(public, examples))
    return "\n".join(parts)


def _order(public: PublicName) -> tuple[int, ...]:
    """Order names by their part: bases before what is based on them, and those with the most methods first."""
    return (*order_on_page(public), len(public_bases(public.value)), -sum(1 for _ in members(public)))


def changelog() -> str:
    """Return the changelog of the project without its title."""
    text = (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    return _LINK.sub(_changelog_link, text.partition("\n")[2])


def _changelog_link(match: re.Match[str]) -> str:
    """Return a link of the changelog as one of the site; the text alone if it is not to a page."""
    text, target = match["text"], match["target"]
    page, _, anchor = target.removeprefix("docs/").partition("#")
    if target.startswith(("http://", "https://")) or not page:
        return match[0]
    return f"[{text}]({page}{'#' + anchor if anchor else ''})" if (DOCS / page).suffix == ".md" else text


GENERATORS: Final[Mapping[str, Callable[[], str]]] = {
    "contents": contents,
    "changelog": changelog,
    "parameters": parameters.page,
    "models": model_tables.overview,
    "model-details": model_tables.details,
    "token-prices": model_tables.token_prices,
    "errors": error_table.page,
    "commands": commands.page,
    "faults": faults.page,
    "fixtures": fixtures.page,
}


def expand(text: str) -> str:
    """Return a page with its generated parts. Raises KeyError for an unknown one."""

    def generated(match: re.Match[str]) -> str:
        name, argument = match["name"], match["argument"]
        return names_on(argument) if name == "names" else GENERATORS[name]()

    return _MARKER.sub(generated, _ROW.sub(_row, text))


def _row(match: re.Match[str]) -> str:
    """Return the row of a table about a page, if there is one."""
    page = DOCS / f"{match['page']}.md"
    return f"| {match['text']} | [{title(page)}]({page.name}) |\n" if page.exists() else ""
