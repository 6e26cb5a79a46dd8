"""Base64 in pieces: right bytes or an error, whatever the cuts; lenient exactly where compatible servers stray."""

import base64
import random
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given, strategies as st

from openai_images.errors import DecodeError, ResponseTooLargeError
from openai_images.wire.base64_decoder import Base64Decoder, MemorySink, MemorySinkFactory
from tests.helpers.decoding import cut, fed, pieces, said

PICTURE = bytes(range(256)) * 41  # longer than what is gathered before decoding, and no multiple of three
PLAIN = base64.b64encode(PICTURE)
assert PLAIN.endswith(b"=")


def decode(chunks: Iterable[bytes], max_bytes: int = 1 << 20) -> bytes:
    """The bytes behind the characters."""
    out = bytearray()
    decoder = Base64Decoder(out.extend, max_bytes)
    for chunk in chunks:
        decoder.feed(chunk)
    decoder.close()
    assert decoder.nbytes == len(out)
    return bytes(out)


LENIENT = {
    "standard": PLAIN,
    "no padding": PLAIN.rstrip(b"="),
    "url-safe": PLAIN.translate(bytes.maketrans(b"+/", b"-_")),
    "both alphabets": PLAIN.replace(b"+", b"-", 40),
    "a data URL": b"data:image/png;base64," + PLAIN,
    "a data URL with a parameter": b"data:image/png;name=a.png;BASE64," + PLAIN,
    "lines of 76": base64.encodebytes(PICTURE),
    "lines of CRLF": base64.encodebytes(PICTURE).replace(b"\n", b"\r\n"),
    "white space around": b"\t\n" + PLAIN + b"\r\n\f",
    "white space in the padding": PLAIN[:-1] + b"\n" + PLAIN[-1:] + b"\n",
    "url-safe in the last characters only": PLAIN[:-4] + base64.urlsafe_b64encode(PICTURE[-2:]),
}


@pytest.mark.parametrize("spelling", LENIENT)
def test_what_servers_send_is_read(spelling: str) -> None:
    """Each spelling gives the image, however it is cut."""
    assert fed(said(decode), LENIENT[spelling]) == PICTURE


@pytest.mark.parametrize("short", [b"", b"a", b"ab", b"abc", b"u\xabZ", b"v\xfa"])
def test_a_few_bytes_are_read(short: bytes) -> None:
    """The shortest texts come through, with and without padding; "data" itself is base64, too."""
    text = base64.b64encode(short)
    assert fed(said(decode), text) == short
    assert fed(said(decode), text.rstrip(b"=")) == short
    assert fed(said(decode), b"data:;base64," + text) == short


INVALID = {
    "one character": b"A",
    "one too many": PLAIN.rstrip(b"=") + b"AA",
    "a stranger at the start": b"!" + PLAIN,
    "a stranger in the middle": PLAIN[:6000] + b"*" + PLAIN[6001:],
    "a stranger at the end": PLAIN + b"?",
    "a byte above ASCII": PLAIN[:6000] + b"\xc3\xa9" + PLAIN[6002:],
    "NUL": PLAIN[:6000] + b"\0" + PLAIN[6001:],
    "padding in the middle": PLAIN + PLAIN,
    "padding, then a quad": b"QQ==QUJD",
    "padding, then a quad without padding": b"QQ==QU",
    "padding, then a large piece": b"QQ==" + PLAIN,
    "padding, a line end, a large piece": b"QQ==\n" + PLAIN,
    "nothing but padding": b"====",
    "one padding": b"=",
    "padding too long": b"QUJD=",
    "padding much too long": b"QUJD====",
    "a character and padding": b"Q===",
    "a data URL that is no base64": b"data:image/svg+xml,<svg/>",
    "a data URL that does not say": b"data:image/png," + PLAIN,
    "a data URL without its comma": b"data:image/png;base64" + PLAIN,
    "a data URL cut short": b"data:image/png;base64",
    "a data URL with a long name": b"data:image/png;name=" + b"a" * 2000 + b";base64," + PLAIN,
    "two prefixes": b"data:;base64,data:;base64," + PLAIN,
    "a URL": b"https://example.com/otter.png",
    "words": b"the picture is not ready yet",
    "a plus that became a space on its way": PLAIN.replace(b"+", b" "),
}


@pytest.mark.parametrize("kind", INVALID)
def test_what_is_no_base64_is_refused(kind: str) -> None:
    """Each broken text raises, however it is cut, and the text is not repeated."""
    kind_of_error, text = fed(said(decode), INVALID[kind])
    assert kind_of_error is DecodeError
    assert "not valid base64" in text
    assert INVALID[kind][:20].decode("latin-1") not in text


@given(st.binary(max_size=9000), st.lists(st.integers(0, 20_000), max_size=6), st.sampled_from([b"", b"="]))
def test_any_bytes_cut_anywhere(data: bytes, places: list[int], kept: bytes) -> None:
    """Whatever the image and the cuts, the bytes come back, with or without padding."""
    text = base64.b64encode(data)
    text = text if kept else text.rstrip(b"=")
    assert decode(cut(text, places)) == data


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=6))
def test_noise_is_an_error_or_harmless(noise: bytes, places: list[int]) -> None:
    """Any bytes at all are decoded alike for all cuts, or refused for all cuts."""
    assert said(decode)([noise]) == said(decode)(cut(noise, places))


@pytest.mark.parametrize("text", [PLAIN, LENIENT["lines of 76"]], ids=["plain", "in lines"])
@pytest.mark.parametrize("size", [1, 7, 5000, 10**6])
def test_a_picture_has_a_largest_size(text: bytes, size: int) -> None:
    """An image of the largest size passes, one byte more does not, and the error names the setting."""
    assert decode(pieces(text, size), len(PICTURE)) == PICTURE
    with pytest.raises(ResponseTooLargeError, match=r"larger than 10,495 bytes .* Limits\(max_picture_bytes"):
        decode(pieces(text, size), len(PICTURE) - 1)


@pytest.mark.parametrize("text", [b"QUJD" * 50_000, b"QUJD\n" * 50_000], ids=["plain", "in lines"])
def test_hardly_anything_is_held(text: bytes) -> None:
    """Between two pieces no more is held than what is gathered for one step."""
    decoder = Base64Decoder(lambda _: None)
    for piece in pieces(text, 1000):
        decoder.feed(piece)
        assert len(decoder._buffer) <= 8192


MB = 1_000_000


def written(sinks: MemorySinkFactory, picture: bytes, piece: int = 65_536) -> MemorySink:
    """A sink that was given the image in pieces."""
    sink = sinks()
    for at in range(0, len(picture), piece):
        sink.write(picture[at : at + piece])
    return sink


@pytest.mark.parametrize("expected", [0, 1, 262_144, 262_145, 300_000, 999_999, MB, MB + 1, 5 * MB])
def test_the_picture_is_what_was_written_whatever_was_expected(expected: int) -> None:
    """No guess changes a byte."""
    sinks = MemorySinkFactory()
    sinks.expected = expected
    for size in (1, 262_143, 262_144, 262_145, MB):
        picture = random.Random(size).randbytes(size)
        assert written(sinks, picture).finish().data == picture


def test_room_that_is_not_needed_is_given_back() -> None:
    """Twenty MB were expected, one came: one is kept."""
    sinks = MemorySinkFactory()
    sinks.expected = 20 * MB
    picture = random.Random(1).randbytes(MB)
    tracemalloc.start()
    try:
        image = written(sinks, picture).finish()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert image.nbytes == MB
    assert held < 1.1 * MB


def test_a_picture_of_the_expected_size_never_moves() -> None:
    """The second image of a size is held once at every moment."""
    sinks = MemorySinkFactory()
    picture = random.Random(2).randbytes(8 * MB)
    written(sinks, picture).finish()
    tracemalloc.start()
    try:
        image = written(sinks, picture).finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert image.data == picture
    assert peak < 8.5 * MB


def test_what_is_expected_follows_the_largest_of_late() -> None:
    """It rises at once and sinks slowly."""
    sinks = MemorySinkFactory()
    sinks.record_size(8 * MB)
    assert sinks.expected == 8 * MB
    sinks.record_size(9 * MB)
    assert sinks.expected == 9 * MB
    for _ in range(40):
        sinks.record_size(MB)
    assert MB <= sinks.expected < 1.2 * MB


def test_a_small_picture_takes_no_room() -> None:
    """Whatever larger ones needed."""
    sinks = MemorySinkFactory()
    sinks.expected = 50 * MB
    tracemalloc.start()
    try:
        sink = written(sinks, bytes(200_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.finish().nbytes == 200_000
    assert peak < MB
