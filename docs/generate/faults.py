"""The table of the local server's faults, from its registry."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Final, cast

from docs.generate.text import code, table
from openai_images.server import FAULTS, faults
from openai_images.server.faults.queues import POST_FAULTS

_TITLES: Final = {
    "STATUS": "Error responses",
    "BODY": "Bodies and connections",
    "DOWNLOAD": "Downloads of images behind URLs",
    "CALL": "Calls for files and batches",
    "BATCH": "Batches",
}
"""Titles of the registries, in the order of the page."""

_ARGUMENT: Final = re.compile(
    r"(?P<name>\w+):(?P<argument>[A-Z]+(?:\[[^\]]*\])?)(?: \((?P<default>[^)]*)\))?[,:]? (?P<rest>.*)"
)


def page() -> str:
    """Return a table for each registry of faults."""
    parts = [f"## {title}\n\n{_table(names)}" for title, names in _registries().items() if names]
    return "\n\n".join(parts)


def _registries() -> dict[str, list[str]]:
    """Return the names of the faults of each registry of `server/faults/`: the `…_FAULTS`, without their union."""
    found: dict[str, list[str]] = {}
    for module in pkgutil.iter_modules(faults.__path__, f"{faults.__name__}."):
        for name, value in vars(import_module(module.name)).items():
            kind = name.removesuffix("_FAULTS")
            title = _TITLES.get(kind, kind.capitalize())
            if name.endswith("_FAULTS") and isinstance(value, Mapping) and value is not POST_FAULTS:
                found.setdefault(title, list(cast("Mapping[str, object]", value)))
    listed = {name for names in found.values() for name in names}
    order = [*_TITLES.values(), *found]
    found["No fault"] = [name for name in FAULTS if name not in listed]
    return dict(
        sorted(found.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
    )


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
