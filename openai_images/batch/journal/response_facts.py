"""The facts of a response that a journal row has, such as its cost and tokens.

Invariants: pure; never raises; an invalid field is None, or empty; values are compact, as there is one for each item.
Must not: contain a prompt.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from math import isfinite
from typing import Any, Final, NamedTuple

from openai_images._util.json import is_object

_MAX_TEXT: Final = 500
_MAX_INTEGER: Final = 2**63
_MAX_AMOUNT_LENGTH: Final = 150
_MAX_AMOUNT: Final = Decimal(10) ** 12


class ResponseFacts(NamedTuple):
    """The time of its row (`at`), its request id and quality, seconds with waits, its cost in US dollars, and tokens.

    Cost and tokens are those of all its images, including the model that wrote an SVG.
    """

    at: str = ""
    request_id: str = ""
    quality: str = ""
    seconds: float | None = None
    cost: Decimal | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


NO_FACTS: Final = ResponseFacts()


def response_facts(row: Mapping[str, Any]) -> ResponseFacts | None:
    """Return the facts of a row; None for a row without a response (images were adopted, moved or downloaded)."""
    if "attempts" not in row and "cost" not in row:
        return None
    return ResponseFacts(
        _text(row.get("at")),
        _text(row.get("request_id")),
        sys.intern(_text(row.get("quality"))),
        parse_seconds(row.get("seconds")),
        parse_amount(row.get("cost")),
        _tokens(row, "input_tokens"),
        _tokens(row, "output_tokens"),
    )


def parse_seconds(value: object) -> float | None:
    """Parse a duration of a row; None if it is invalid."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MAX_INTEGER and isfinite(value) else None


def parse_amount(value: object) -> Decimal | None:
    """Parse an amount in US dollars of a row; None if it is invalid."""
    return _parse_decimal(value) if isinstance(value, str) and len(value) <= _MAX_AMOUNT_LENGTH else None


@lru_cache(maxsize=1024)
def _parse_decimal(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= _MAX_AMOUNT:
        return None
    exponent = amount.as_tuple().exponent
    return amount if isinstance(exponent, int) and exponent >= -_MAX_AMOUNT_LENGTH else None


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _MAX_TEXT else ""


def _tokens(row: Mapping[str, Any], name: str) -> int | None:
    """Return the tokens of the image model and of the model that wrote an SVG; None if neither was counted."""
    usages = [row.get("usage"), row.get("svg_usage")]
    counts = [usage.get(name) for usage in usages if is_object(usage)]
    counted = [count for count in counts if type(count) is int and 0 <= count <= _MAX_INTEGER]
    return sum(counted) if counted else None
