"""What a response told of the images it brought, as a row of the journal has it.

Invariants: pure and total; a field that is odd is None, or empty; values are compact, as there is one for each item.
Must not: hold a prompt.
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
    """When it was recorded (`at`), its request id, the quality it names, seconds with waits, US dollars, tokens.

    Tokens and cost are those of all its images, the author of an SVG included.
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
    """The facts of a row; None where it is not about a response: its images were adopted, moved or fetched."""
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
    """A duration as a row has it, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MAX_INTEGER and isfinite(value) else None


def parse_amount(value: object) -> Decimal | None:
    """An amount of US dollars as a row has it, None where it is none."""
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
    """The tokens of the image model, and of the author of an SVG; None where neither was counted."""
    usages = [row.get("usage"), row.get("svg_usage")]
    counts = [usage.get(name) for usage in usages if is_object(usage)]
    counted = [count for count in counts if type(count) is int and 0 <= count <= _MAX_INTEGER]
    return sum(counted) if counted else None
