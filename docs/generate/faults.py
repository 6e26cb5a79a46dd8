"""The table of the local server's faults, from its registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from docs.generate.text import code, table
from openai_images.server import FAULTS
from openai_images.server.faults.batches import BATCH_FAULTS, CALL_FAULTS
from openai_images.server.faults.bodies import BODY_FAULTS
from openai_images.server.faults.downloads import DOWNLOAD_FAULTS
from openai_images.server.faults.statuses import STATUS_FAULTS

_ARGUMENT: Final = re.compile(
    r"(?P<name>\w+):(?P<argument>[A-Z]+(?:\[[^\]]*\])?)(?: \((?P<default>[^)]*)\))?[,:]? (?P<rest>.*)"
)


def page() -> str:
    """Return a table for each kind of fault."""
    others = set(FAULTS) - {*STATUS_FAULTS, *BODY_FAULTS, *DOWNLOAD_FAULTS, *CALL_FAULTS, *BATCH_FAULTS}
    kinds: dict[str, Mapping[str, object] | set[str]] = {
        "Error responses": STATUS_FAULTS,
        "Bodies and connections": BODY_FAULTS,
        "Downloads of images behind URLs": DOWNLOAD_FAULTS,
        "Calls for files and batches": CALL_FAULTS,
        "Batches": BATCH_FAULTS,
        "None": others,
    }
    return "\n\n".join(f"## {title}\n\n{_table(list(names))}" for title, names in kinds.items() if names)


def _table(names: list[str]) -> str:
    return table(("Fault", "What it does"), [_row(name, FAULTS[name]) for name in names])


def _row(name: str, about: str) -> tuple[str, str]:
    match = _ARGUMENT.fullmatch(about)
    if match is None or match["name"] != name:
        return code(name), _escape(about)
    default = match["default"]
    note = "needs its argument" if default is None else f"without an argument: {default}"
    return code(f"{name}:{match['argument']}"), f"{_escape(match['rest'])} ({note})"


def _escape(text: str) -> str:
    return (
        text.replace("<", "\\<")
        .replace("*", "\\*")
        .replace("[", "\\[")
        .replace("http:", "`http:`")
        .replace("file:///", "`file:///`")
    )
