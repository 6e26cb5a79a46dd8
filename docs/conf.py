"""Sphinx configuration of the documentation; `make docs` builds it into site/, without network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.data import JsonLexer
from pygments.lexers.special import TextLexer
from sphinx.errors import SphinxError

sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.generate.check_site import problems_of_site
from docs.generate.pages import expand
from openai_images import __version__

project = "openai_images"
author = "The openai_images authors"
project_copyright = author
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["generate", "_static"]
myst_enable_extensions = ["attrs_inline", "colon_fence", "fieldlist"]
myst_heading_anchors = 4
smartquotes = False
suppress_warnings = ["misc.highlighting_failure"]  # a shortened JSON example is no JSON
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
add_module_names = False

html_theme = "furo"
html_title = f"openai_images {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).with_name("_static") / "scorer.js")
html_favicon = "_static/favicon.svg"
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6a68", "color-brand-content": "#0b6a68"},
    "dark_css_variables": {"color-brand-primary": "#5cc8bd", "color-brand-content": "#5cc8bd"},
}


def expand_page(_app: Any, _name: str, source: list[str]) -> None:
    """Put the generated parts into a page."""
    source[0] = expand(source[0])


def set_dashes(_app: Any, doctree: Any) -> None:
    """Write a dash between a parameter and its description: Sphinx leaves that to smart quotes, which are off."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def check_site(app: Any, error: Exception | None) -> None:
    """Fail the build if a link leads nowhere, or a page is more than two clicks from the start page."""
    if error is None and app.builder.name in {"html", "dirhtml"}:
        problems = problems_of_site(Path(app.outdir))
        if problems:
            raise SphinxError("the site has problems:\n  " + "\n  ".join(problems))


def setup(app: Any) -> dict[str, bool]:
    """Connect the generator and the check."""
    app.add_lexer("jsonl", JsonLexer)
    app.add_lexer("csv", TextLexer)
    app.connect("source-read", expand_page)
    app.connect("doctree-read", set_dashes)
    app.connect("build-finished", check_site)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
