"""What `json.loads` gives, told apart in a way type checkers follow. `Any` stays behind these functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

MAX_VALUES: Final = 100_000
"""An answer has a few dozen; `json.loads` and what looks at them keep the loop for about 20 ms with so many."""


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether this is a JSON object."""
    return isinstance(value, dict)


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether JSON could write this as an object."""
    return isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether this is a JSON array."""
    return isinstance(value, list)


def is_deeper(value: object, levels: int) -> bool:
    """Whether objects and arrays are nested deeper than so many levels; takes no room on the stack."""
    layer: list[object] = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if is_object(outer) else outer if is_list(outer) else ())
            if is_object(inner) or is_list(inner)
        ]
        if not layer:
            return False
    return True


def decoded(text: str, start: int) -> object:
    """The JSON object or list that begins there, whatever follows it; None where there is none."""
    try:
        doc = json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None
    return doc if is_object(doc) or is_list(doc) else None


def has_too_many_values(text: bytearray) -> bool:
    """Whether JSON has about more than `MAX_VALUES`; commas and brackets in its strings count, as telling costs."""
    return text.count(b",") + text.count(b"[") + text.count(b"{") > MAX_VALUES
