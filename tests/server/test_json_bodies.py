"""Long JSON, held against the parser of Python."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from openai_images.server.requests.request_body import _SLICE, MAX_STRING_BYTES, MAX_STRUCTURE, parse

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["\U0001f600" * 9, '"\\' * 40, "é" * 70]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@given(VALUES, st.booleans())
def test_long_json_is_what_short_json_is(value: Any, ascii_only: bool) -> None:
    """The same value comes out, however its strings are written."""
    filler = "x" * MAX_STRUCTURE
    body = json.dumps([value, filler], ensure_ascii=ascii_only).encode()
    assert parse(body) == [value, filler]


@pytest.mark.parametrize("shift", range(14))
@pytest.mark.parametrize(
    "unit", ["\\ud83d\\ude00", "\\\\", '\\"', "\\u00e9", "é", "\U0001f600", "\\n\\u0041"]
)
def test_a_string_may_be_cut_anywhere(unit: str, shift: int) -> None:
    """No escape, no character and no pair of surrogates is lost where a slice ends."""
    text = '"' + "x" * shift + unit * (2 * _SLICE // len(unit)) + '"'
    assert parse(text.encode()) == json.loads(text)


LONG = b"x" * MAX_STRUCTURE


@pytest.mark.parametrize("pad", [b"", LONG])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nul", b"[1,]", b"[NaN]", b"[-Infinity]", b'["\\ud800"]', b'["\\udc00"]', b'["\\ud83dx"]', b'["\\x"]',
     b'["\\u12"]', b'["\n"]', b'["\xff"]', b"[" * 9000, b"9" * 5000, b"\xef\xbb\xbf[]", '["a"]'.encode("utf-16"),
     b'["a" "b"]', b'["a]', b'["a\\"]'],
)  # fmt: skip
def test_what_is_no_json_is_an_error(body: bytes, pad: bytes) -> None:
    """Alone, and behind a string that makes it long."""
    with pytest.raises(ValueError):  # noqa: PT011
        parse(b'["%s",%s]' % (pad, body) if pad else body)


@pytest.mark.parametrize(
    "text", ["\\ud83d", "\\ude00", "\\ud83d\\n", "\\ud83d\\ud83d\\ude00", "\\u12", "\\x", "\n"]
)
def test_a_long_string_with_a_fault_is_an_error(text: str) -> None:
    """In its middle and at its end."""
    for body in (f'"{"x" * _SLICE}{text}"', f'"{"x" * _SLICE}{text}{"y" * _SLICE}"'):
        with pytest.raises(ValueError):  # noqa: PT011
            parse(body.encode())


def test_the_bounds() -> None:
    """Outside strings, and of a string: as much as is allowed passes, and a little more does not."""
    spaces = b" " * (MAX_STRUCTURE - 1000)
    assert parse(spaces + b'{"a":"' + LONG + b'"}') == {"a": LONG.decode()}
    with pytest.raises(ValueError, match="outside strings"):
        parse(spaces + b" " * 2000 + b'{"a":"' + LONG + b'"}')
    with pytest.raises(ValueError, match="very long"):
        parse(b'"' + b"x" * MAX_STRING_BYTES + b'"')
    assert len(parse(b'"' + b"x" * (MAX_STRING_BYTES - 1) + b'"')) == MAX_STRING_BYTES - 1


def test_equal_names_are_read_as_ever() -> None:
    """The last one counts, long names included."""
    name = "n" * 100
    assert parse(f'{{"{name}":1,"a":"{LONG.decode()}","{name}":2}}'.encode())[name] == 2
