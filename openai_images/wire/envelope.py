"""The JSON that is left when its pictures are taken out: to the documents that it holds, with the pictures in place.

Rules: pure; grammar is `json.loads`'s own. In the envelope each picture is a `NaN`, which no legal JSON has: they are
met in document order. More than one document may stand in it, as gateways write an error behind an answer that was
whole, and some servers an object a line: what is no JSON ends the row, and is nobody's loss. It refuses nesting deeper
than `MAX_DEPTH`, and reads no more than `MAX_DOCUMENTS`.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from openai_images._util.json import MAX_VALUES, is_deeper, is_list, is_object
from openai_images.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH = 100
"""Python's own limit depends on who calls, and what passes it here may fail where it is copied or pickled."""

MAX_DOCUMENTS = 100
"""Four megabytes hold two million empty objects, each of which takes a call."""

_NOT_JSON = "the answer is not valid JSON: {}"
TOO_LARGE = f"the answer's JSON has over {MAX_VALUES:,} values or is nested more than {MAX_DEPTH} levels deep"
_SPACE = re.compile(r"[ \t\r\n]*")
_UNFINISHED_WORD = re.compile(r"[\w.+-]*\s*")


class IncompleteJSONError(DecodeError):
    """More was due: never leaves the decoder."""


def parse_documents(
    text: str, pictures: Iterable[object], constant_at: int | None = None, *, strict: bool
) -> list[Any]:
    """The document, and those behind it if it is an object or a list; at `constant_at` is a `NaN` of the server's own.

    Raises `DecodeError` where the first is not legal JSON (`IncompleteJSONError` where more would complete it), or
    where `strict` and it is not the only thing.
    """
    left = iter(pictures)
    decoder = json.JSONDecoder(parse_constant=lambda _: next(left, None), parse_int=_int)
    first, end = _decoded(decoder, text, 0)
    if constant_at is not None and (strict or constant_at < end):
        raise DecodeError(_NOT_JSON.format("it holds NaN or Infinity"))
    found = [first]
    rest = text if constant_at is None else text[:constant_at]
    if end < len(text) and (strict or not (is_object(first) or is_list(first))):
        raise DecodeError(_NOT_JSON.format(f"Extra data at character {end:,} of its envelope"))
    with suppress(DecodeError):
        while end < len(rest) and len(found) < MAX_DOCUMENTS:
            document, end = _decoded(decoder, rest, end)
            found.append(document)
    return found


def _decoded(decoder: json.JSONDecoder, text: str, start: int) -> tuple[Any, int]:
    """The document that begins there, and where the next one would."""
    try:
        document, end = decoder.raw_decode(text, _behind_space(text, start))
    except RecursionError:
        raise DecodeError(TOO_LARGE) from None
    except json.JSONDecodeError as error:
        kind = IncompleteJSONError if _UNFINISHED_WORD.fullmatch(text, error.pos) else DecodeError
        raise kind(_NOT_JSON.format(f"{error.msg} at character {error.pos:,} of its envelope")) from None
    if is_deeper(document, MAX_DEPTH):
        raise DecodeError(TOO_LARGE)
    return document, _behind_space(text, end)


def _behind_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _int(digits: str) -> int | float:
    """A whole number; as a float where it has more digits than Python reads."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)
