"""JSON values: type guards, limits of their size, and the conversion of any value to JSON values of limited size.

Invariants: pure; conversion has a result for every value and never raises: values that JSON lacks (infinite numbers,
bytes, objects, lone surrogates) become text; values that are too deep, too long or too many are cut and marked.
Must not: read objects; an image is named by its class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final, TypeGuard, cast

MAX_VALUES: Final = 32_000
"""Maximum number of values in a response (usually a few dozen): parsing them blocks the event loop for up to 30 ms."""

_MAX_DEPTH: Final = 16
_MAX_COPIED: Final = 1_000
_MAX_TEXT_LENGTH: Final = 4_000
_MAX_BITS: Final = 64
LONGEST_VALUE: Final = 16_000
"""Maximum characters of JSON of one value."""

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


def json_value(value: object) -> Any:
    """Convert a value for `json.dumps` with `allow_nan=False`; at most 16,000 characters of JSON."""
    left = _MAX_COPIED

    def copy(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if value is None or isinstance(value, bool | str | int | float):
            return _copy_scalar(value)
        if depth and is_mapping(value):
            fields: dict[str, Any] = {}
            for key, item in value.items():
                if left <= 0:
                    return {**fields, "…": f"<{len(value) - len(fields)} more>"}
                fields[_text(key) if isinstance(key, str) else f"<{type(key).__name__}>"] = copy(
                    item, depth - 1
                )
            return fields
        if depth and isinstance(value, list | tuple):
            sequence = cast("Sequence[Any]", value)
            items: list[Any] = []
            for item in sequence:
                if left <= 0:
                    return [*items, f"<{len(sequence) - len(items)} more>"]
                items.append(copy(item, depth - 1))
            return items
        if isinstance(value, Mapping | list | tuple):
            return "<nested deeper>"
        # Imported here: a client starts without Decimal.
        from decimal import Decimal  # noqa: PLC0415

        return _text(str(value)) if isinstance(value, Decimal) else f"<{type(value).__name__}>"

    plain = copy(value, _MAX_DEPTH)
    length = len(json.dumps(plain, allow_nan=False))
    return plain if length <= LONGEST_VALUE else f"<{length:,} characters of JSON, left out>"


def well_formed(text: str) -> str:
    """Replace lone surrogates, which cannot be written to a file; surrogate pairs become their character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _copy_scalar(value: bool | str | float | None) -> bool | str | float | None:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return float(value) if isfinite(value) else str(float(value))
    if value is None or isinstance(value, bool):
        return value
    return int(value) if value.bit_length() <= _MAX_BITS else f"<number of {value.bit_length()} bits>"


def _text(text: str) -> str:
    text = str(text[: _MAX_TEXT_LENGTH + 1])
    return well_formed(text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH]}…")
