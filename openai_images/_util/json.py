"""Type guards for the values of `json.loads`, and limits of their size, so that other modules need no `Any`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

MAX_VALUES: Final = 32_000
"""Maximum number of values in a response (usually a few dozen): parsing them blocks the event loop for up to 30 ms."""

_decoder = json.JSONDecoder()  # making one takes longer than most texts


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether this is a JSON object."""
    return isinstance(value, dict)


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether this can be written as a JSON object."""
    return isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether this is a JSON array."""
    return isinstance(value, list)


def is_deeper(value: object, levels: int) -> bool:
    """Whether objects and arrays are nested deeper than `levels`; not recursive."""
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
    """Decode the JSON object or array that begins at `start`, ignoring what follows; None if there is none."""
    try:
        doc = _decoder.raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None
    return doc if is_object(doc) or is_list(doc) else None


def has_too_many_values(text: bytearray) -> bool:
    """Whether JSON has more than about `MAX_VALUES` values; counts commas and brackets, also in strings, for speed."""
    return len(text) > MAX_VALUES < text.count(b",") + text.count(b"[") + text.count(b"{")
