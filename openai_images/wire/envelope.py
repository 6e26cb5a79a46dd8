"""Parses the envelope (a JSON text whose images were replaced by `NaN`) and puts the images back.

Invariants: pure; each `NaN`, which legal JSON does not have, is the next image in document order. More
documents may follow the first: gateways append an error to a complete response, some servers send an object a
line; what is not JSON ends the list without an error.
Must not: accept nesting deeper than `MAX_DEPTH`, or read more than `MAX_DOCUMENTS`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from openai_images._util.json import MAX_VALUES, is_deeper, is_list, is_object
from openai_images.errors import DecodeError

MAX_DEPTH = 100
"""Python's own limit depends on the caller's stack, and a document below it may still fail to copy or pickle."""

MAX_DOCUMENTS = 100
"""Four megabytes hold two million empty objects, each of which costs a call."""

_NOT_JSON = "the answer is not valid JSON: {}"
TOO_LARGE = f"the answer's JSON has over {MAX_VALUES:,} values or is nested more than {MAX_DEPTH} levels deep"
_SPACE = re.compile(r"[ \t\r\n]*")
_UNFINISHED_WORD = re.compile(r"[\w.+-]*\s*")


class IncompleteJSONError(DecodeError):
    """More text could complete the document. Never leaves the decoder."""


def parse_documents(
    text: str, images: Iterable[object], constant_offset: int | None = None, *, strict: bool
) -> list[Any]:
    """Return the document, and those after it if it is an object or a list.

    `constant_offset`: index of a `NaN` or `Infinity` that the server itself wrote. Raises `DecodeError` if the
    first document is not legal JSON (`IncompleteJSONError` if more text could complete it), or if `strict`
    and other text follows it.
    """
    _parser.images = iter(images)
    try:
        return _parse(text, constant_offset, strict=strict)
    finally:
        _parser.images = iter(())


class _Parser(threading.local):
    """A decoder for each thread, as making one takes longer than parsing; `images` are those of the next `NaN`s."""

    def __init__(self) -> None:
        self.images: Iterator[object] = iter(())
        self.decode = json.JSONDecoder(
            parse_constant=lambda _: next(self.images, None), parse_int=_parse_int
        ).raw_decode


def _parse(text: str, constant_offset: int | None, *, strict: bool) -> list[Any]:
    first, end = _decode_at(text, 0)
    if constant_offset is not None and (strict or constant_offset < end):
        raise DecodeError(_NOT_JSON.format("it holds NaN or Infinity"))
    found = [first]
    rest = text if constant_offset is None else text[:constant_offset]
    if end < len(text) and (strict or not (is_object(first) or is_list(first))):
        raise DecodeError(_NOT_JSON.format(f"Extra data at character {end:,} of its envelope"))
    with suppress(DecodeError):
        while end < len(rest) and len(found) < MAX_DOCUMENTS:
            document, end = _decode_at(rest, end)
            found.append(document)
    return found


def _decode_at(text: str, start: int) -> tuple[Any, int]:
    """Return the document that begins at `start`, and the index at which the next one would begin."""
    try:
        document, end = _parser.decode(text, _skip_space(text, start))
    except RecursionError:
        raise DecodeError(TOO_LARGE) from None
    except json.JSONDecodeError as error:
        cls = IncompleteJSONError if _UNFINISHED_WORD.fullmatch(text, error.pos) else DecodeError
        raise cls(_NOT_JSON.format(f"{error.msg} at character {error.pos:,} of its envelope")) from None
    brackets = text.count("{", start, end) + text.count("[", start, end)
    if brackets > MAX_DEPTH and is_deeper(document, MAX_DEPTH):
        raise DecodeError(TOO_LARGE)
    return document, _skip_space(text, end)


def _skip_space(text: str, offset: int) -> int:
    found = _SPACE.match(text, offset)
    return offset if found is None else found.end()


def _parse_int(digits: str) -> int | float:
    """Return a whole number; a float if it has more digits than Python reads."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


_parser = _Parser()
