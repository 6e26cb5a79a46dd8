"""Makes a value of a JSON body of any length, without holding the interpreter for long.

Rules: time is linear; what stands outside the strings is bounded, and so are the number of values and their depth; long
strings are decoded in slices, between which other threads have their turn (`json.loads` gives them none). NaN,
Infinity, half a surrogate pair, a mile of brackets and a number of ten thousand digits are no JSON. It refuses to look
at what the JSON means.
"""

import codecs
import json
import re
import secrets
from typing import Any, Final, NoReturn, cast

MOST_STRUCTURE: Final = 64 * 1024
"""Bytes outside its strings that a body may have; a request needs a few hundred."""
MOST_TEXT: Final = 32 * 1024 * 1024
"""Bytes that a string may be long as it is written; the longest that the API takes has 20 MiB."""

_SHORT: Final = 64
_SLICE: Final = 256 * 1024
# What `json.loads` may be given alone: no escape is cut in two, and no pair of surrogates.
_WHOLE: Final = re.compile(
    r"(?:[^\\]|\\[^u]|\\u(?![dD][89abAB])....|\\u[dD][89abAB]..(?:\\u....|(?=[^\\]|\\[^u])))*+", re.DOTALL
)


def parse(body: bytes) -> Any:
    """The value; raises ValueError where the body is no JSON or has more than the bounds allow."""
    try:
        if len(body) <= MOST_STRUCTURE:
            return _loaded(body.decode("utf-8"))
        mark = secrets.token_hex(8)
        skeleton, texts = _taken_apart(body, mark)
        return _put_together(_loaded(skeleton.decode("utf-8")), mark, texts)
    except RecursionError:
        raise ValueError("too deep") from None


def _taken_apart(body: bytes, mark: str) -> tuple[bytes, list[str]]:
    """The body with a mark and a number in the place of each longer string, and those strings."""
    pieces: list[bytes] = []
    texts: list[str] = []
    at = structure = 0
    while at < len(body):
        opening = body.find(b'"', at, at + MOST_STRUCTURE)
        outside = body[at : opening if opening >= 0 else at + MOST_STRUCTURE]
        structure += len(outside) + 2
        if structure > MOST_STRUCTURE:
            raise ValueError("too much outside strings")
        pieces.append(outside)
        if opening < 0:
            break
        closing = _end_of_string(body, opening + 1)
        raw = body[opening + 1 : closing]
        if len(raw) > _SHORT or b"\\" in raw:
            pieces.append(b'"%s%d"' % (mark.encode(), len(texts)))
            texts.append(_text(raw))
        else:
            pieces.append(body[opening : closing + 1])
        at = closing + 1
    return b"".join(pieces), texts


def _end_of_string(body: bytes, start: int) -> int:
    """Where the quotation mark is that ends the string."""
    at = start
    while True:
        quote = body.find(b'"', at, start + MOST_TEXT)
        if quote < 0:
            raise ValueError("a string without an end, or a very long one")
        before = body[at:quote]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return quote
        at = quote + 1


def _text(raw: bytes) -> str:
    """What a string says, from what stands between its quotation marks."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    found: list[str] = []
    held = ""
    for at in range(0, len(raw), _SLICE):
        final = at + _SLICE >= len(raw)
        held += decode(raw[at : at + _SLICE], final)
        end = len(held) if final else cast("re.Match[str]", _WHOLE.match(held)).end()
        found.append(_loaded(f'"{held[:end]}"'))
        held = held[end:]
    return "".join(found)


def _put_together(value: Any, mark: str, texts: list[str]) -> Any:
    """The value of a skeleton, its strings put back."""
    match value:
        case str() if value.startswith(mark):
            return texts[int(value.removeprefix(mark))]
        case list():
            return [_put_together(one, mark, texts) for one in cast("list[Any]", value)]  # type: ignore[redundant-cast]  # pyright needs it
        case dict():
            given = cast("dict[str, Any]", value)
            return {
                _put_together(name, mark, texts): _put_together(one, mark, texts)
                for name, one in given.items()
            }
        case _:
            return value


def _loaded(text: str) -> Any:
    value = json.loads(text, parse_constant=_refuse_constant)
    if "\\u" in text:  # the only way to half a surrogate pair
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
