"""How values show themselves in a `repr`: names and sizes, never contents, which may echo a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["characters", "names"]


def characters(text: str) -> str:
    """How long a text is."""
    return f"<{len(text):,} characters>"


def names(mapping: Mapping[str, Any] | None) -> str:
    """The keys of a mapping, as far as they can be printed and are short."""
    if not mapping:
        return "None" if mapping is None else "{}"
    listed = ", ".join(str(key)[:40].encode("ascii", "backslashreplace").decode() for key in mapping)
    return f"<{listed}>"
