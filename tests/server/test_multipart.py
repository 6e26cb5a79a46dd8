"""The server's own reader of multipart bodies, held against every cut of them."""

import random
from typing import Any

import pytest

from openai_images.server.requests.multipart import (
    HEAD_BYTES,
    FormParser,
    MalformedFormError,
    PartEnd,
    PartStart,
    parse_boundary,
)

BODY = (
    b"a preamble nobody reads\r\n--XX\r\n"
    b'Content-Disposition: form-data; name="image[]"; filename="a;\\"b.png"\r\nContent-Type: image/png\r\n\r\n'
    b"\r\n--X\r\n-\r\n--XY\r\n\r\n--XX\r\n"
    b'CONTENT-DISPOSITION: form-data; name="empty"\r\n\r\n'
    b"\r\n--XX  \r\n\r\nno headers\r\n--XX--\r\nan epilogue\r\n--XX\r\n"
)
PARTS = [
    ("image[]", 'a;"b.png', b"\r\n--X\r\n-\r\n--XY\r\n"),
    ("empty", None, b""),
    (None, None, b"no headers"),
]


def read(chunks: list[bytes], boundary: bytes = b"XX") -> list[Any]:
    """Name, filename and data of each part."""
    parser, parts, ended = FormParser(boundary), [], 0
    for chunk in chunks:
        for found in parser.feed(chunk):
            match found:
                case PartStart():
                    parts.append([found.name, found.filename, b""])
                case PartEnd():
                    ended += 1
                case data:
                    parts[-1][2] += data
    parser.close()
    assert ended == len(parts)
    return [tuple(part) for part in parts]


def cuts(body: bytes, seed: int) -> list[bytes]:
    """The body in small pieces."""
    chance, pieces, at = random.Random(seed), [], 0
    while at < len(body):
        size = chance.randint(1, 9)
        pieces.append(body[at : at + size])
        at += size
    return pieces


@pytest.mark.parametrize("seed", range(40))
def test_a_body_is_the_same_in_any_pieces(seed: int) -> None:
    """Whole, byte by byte and cut at random it gives the same parts."""
    assert read([BODY]) == read([bytes([byte]) for byte in BODY]) == PARTS
    assert read(cuts(BODY, seed)) == PARTS


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ends before its last boundary"),
        (b"no boundary at all", "ends before its last boundary"),
        (BODY[:-50], "ends before its last boundary"),
        (b"--XX\r\nno colon\r\n\r\n\r\n--XX--", "a header line without a colon"),
        (b"--XX\r\n: no name\r\n\r\n\r\n--XX--", "a header line without a colon"),
        (b"--XXYZ\r\n\r\nx\r\n--XX--", "followed by text in its line"),
        (b"--XX\r\nA: " + b"b" * HEAD_BYTES + b"\r\n\r\nx\r\n--XX--", "longer than"),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, said: str) -> None:
    """Each is an error that says why, in one piece or in many."""
    for chunks in ([body], [bytes([byte]) for byte in body]):
        with pytest.raises(MalformedFormError, match=said):
            read(chunks)


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; charset=utf-8; boundary="a b"', b"a b"),
        ("multipart/form-data;BOUNDARY=abc", b"abc"),
    ],
)
def test_the_boundary_is_found(header: str, boundary: bytes) -> None:
    """Bare, quoted and in large letters."""
    assert parse_boundary(header) == boundary


@pytest.mark.parametrize("header", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 71, ""])
def test_a_missing_boundary_is_refused(header: str) -> None:
    """So is one that is too long."""
    with pytest.raises(MalformedFormError, match="boundary of 1 to 70"):
        parse_boundary(header)


@pytest.mark.parametrize(
    ("written", "filename"),
    [
        ('form-data; name="x"; filename="\u00e4.png"', "\u00e4.png"),
        ("form-data; name=x; filename=plain.png", "plain.png"),
        ("form-data; name=x; filename*=UTF-8''%e2%82%ac.png", "\u20ac.png"),
        ('form-data; name="x"; filename=""', ""),
        ('form-data; name="x"', None),
        ("", None),
    ],
)
def test_file_names(written: str, filename: str | None) -> None:
    """However they are written; an empty one is a file too."""
    assert PartStart({"content-disposition": written}).filename == filename


def test_a_part_without_data_may_lack_a_line() -> None:
    """Its delimiter may share the line break behind its headers."""
    head = b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    assert read([head + b"--XX--"]) == read([head + b"\r\n--XX--"]) == [("a", None, b"")]


def test_little_is_held_back() -> None:
    """Of a part that is arriving no more than a delimiter stays in the parser."""
    parser = FormParser(b"XX")
    head = b'--XX\r\nContent-Disposition: form-data; name="image"\r\n\r\n'
    given = sum(len(found) for found in parser.feed(head + b"z" * 1_000_000) if isinstance(found, bytes))
    assert 1_000_000 - len(b"\r\n--XX") < given <= 1_000_000
