"""The table of contents: the order of the pages, with every page that exists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[1]

CONTENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "Start": ("getting-started", "tutorial", "from-openai", "troubleshooting"),
    "Guides": (
        "streaming",
        "web-apps",
        "batches",
        "editing",
        "pictures",
        "errors-and-money",
        "costs",
        "testing",
        "compatible-servers",
        "azure",
        "downloads",
        "many-machines",
        "half-the-price",
        "telemetry",
        "performance",
    ),
    "Tools": ("command-line", "studio", "local-server"),
    "Reference": (
        "reference/models",
        "reference/parameters",
        "reference/client",
        "reference/requests",
        "reference/results",
        "reference/errors",
        "reference/settings",
        "reference/batches",
        "reference/costs",
        "reference/command-line",
        "reference/server",
        "reference/faults",
        "reference/web",
        "reference/testing",
        "reference/examples",
    ),
    "Project": ("architecture", "contributing", "changelog"),
}
"""The order of the pages; others that exist come after the guides."""


def contents() -> str:
    """Return the tables of contents, with every page that there is."""
    pages = {
        page.relative_to(DOCS).with_suffix("").as_posix()
        for page in (*DOCS.glob("*.md"), *DOCS.glob("reference/*.md"))
    } - {"index"}
    listed = {name for names in CONTENTS.values() for name in names}
    more = {"Guides": tuple(sorted(pages - listed))}
    return "\n\n".join(
        "\n".join(
            [
                "```{toctree}",
                ":hidden:",
                f":caption: {caption}",
                "",
                *(name for name in (*names, *more.get(caption, ())) if name in pages),
                "```",
            ]
        )
        for caption, names in CONTENTS.items()
    )
