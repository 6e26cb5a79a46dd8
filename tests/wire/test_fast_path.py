"""Inside of a stream's image, pieces of only base64 are decoded unsearched; what comes of an answer stays the same."""

import base64

import pytest
from hypothesis import example, given, settings, strategies as st

from benchmarks import fast_path
from openai_images.errors import ImagesError
from openai_images.wire.base64_decoder import Base64Decoder
from tests.helpers.decoding import pieces
from tests.helpers.reading import EVENT_STREAM, reading
from tests.helpers.tiny_images import gif

CORPUS = fast_path.large_answers()
BASE64 = st.integers(1022, 2050).map(lambda quads: b"QUJD" * quads)
ENDS = [b"A", b"QUI", b"QQ==", b"=", b"-", b"\n", b'"', b"\\/", b" ", b"\xe9", b"data:;base64,"]
TEXTS = st.lists(
    BASE64 | st.sampled_from(ENDS) | st.tuples(BASE64, st.sampled_from(ENDS)).map(b"".join), max_size=8
)


def outcome(chunks: list[bytes], max_bytes: int, *, fast: bool) -> tuple[bytes, int, str]:
    """What was written, how much was counted, and the error."""
    out = bytearray()
    decoder = Base64Decoder(out.extend, max_bytes)
    try:
        for chunk in chunks:
            if not (fast and decoder.feed_plain(chunk)):
                decoder.feed(chunk)
        decoder.close()
    except ImagesError as error:
        return b"", 0, repr(error)
    return bytes(out), decoder.nbytes, ""


@example([b"QUJD" * 1024 + b"QQ==", b"QUJD" * 1024], 0, 1 << 20)
@example([b"QUJD" * 1024, b"data:;base64,"], 0, 1 << 20)
@example([b"A", b"QUJD" * 1022, b"QUJD" * 1022, b"data:;base64,"], 0, 3072)
@settings(max_examples=500)
@given(TEXTS, st.sampled_from([0, 1, 4096, 4097, 4098, 4099]), st.sampled_from([3072, 7000, 1 << 20]))
def test_the_same_bytes_or_the_same_error(texts: list[bytes], size: int, max_bytes: int) -> None:
    """Whatever the text, the cuts and the limit; of a text that is too large and invalid, either may be said."""
    chunks = list(pieces(b"".join(texts), size)) if size else texts
    fast, slow = (outcome(chunks, max_bytes, fast=fast) for fast in (True, False))
    is_invalid = bool(outcome(chunks, 1 << 30, fast=False)[2])
    assert fast == slow or (is_invalid and fast[2] and slow[2])


def test_answers_decode_to_the_same() -> None:
    """The first of 30,000 (`python -m benchmarks fast_path`): events, images, errors and their texts."""
    compared = [fast_path.compare(CORPUS, 1, number) for number in range(300)]
    assert [found.difference for found in compared if found.difference] == []
    assert sum(found.fast_pieces > 0 for found in compared) > 50


def test_a_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One character too few in a fast piece changes what comes of the answer."""
    original = Base64Decoder.feed_plain

    def feed_plain(decoder: Base64Decoder, piece: bytes) -> bool:
        return original(decoder, piece[:-4])

    monkeypatch.setattr(Base64Decoder, "feed_plain", feed_plain)
    assert any(fast_path.compare(CORPUS, 1, number).difference for number in range(100))


@pytest.mark.parametrize("size", [1_000, 1_448, 5_000, 65_536])
def test_the_megabytes_of_a_stream_take_it(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the ends of an image, also in small pieces, which are joined first."""
    fast_bytes = 0
    original = Base64Decoder.feed_plain

    def feed_plain(decoder: Base64Decoder, piece: bytes) -> bool:
        nonlocal fast_bytes
        taken = original(decoder, piece)
        fast_bytes += len(piece) * taken
        return taken

    monkeypatch.setattr(Base64Decoder, "feed_plain", feed_plain)
    picture = gif("A") + bytes(1_000_000)
    text = base64.b64encode(picture)
    body = b'event: image_generation.completed\ndata: {"b64_json":"' + text + b'"}\n\n'
    [image] = reading(EVENT_STREAM)(pieces(body, size)).result.images
    assert image.data == picture
    assert fast_bytes > len(text) - 3 * 65_536
