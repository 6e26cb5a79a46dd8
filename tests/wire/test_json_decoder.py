"""The payload scanner gives what `json.loads` and base64 give, for every spelling and every cut."""

import gc
import json
import tracemalloc
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pybase64
import pytest
from hypothesis import example, given, settings, strategies as st

from openai_images.errors import DecodeError, ImagesError, ResponseTooLargeError
from openai_images.models.image import Image
from openai_images.wire.base64_decoder import MemorySink
from openai_images.wire.json_decoder import JSONImageDecoder
from tests.helpers.decoding import cut, fed, pieces, said
from tests.helpers.json_documents import (
    Pairs,
    Picture,
    by_the_plain_way,
    documents,
    pictures_as_bytes,
    spelled,
)
from tests.helpers.reading import Nowhere
from tests.helpers.tiny_images import gif, text

OTTER = b"\x89PNG\r\n\x1a\n" + bytes(range(255))
TEXT = pybase64.b64encode(OTTER).decode()
assert "+" in TEXT
assert "/" in TEXT
assert TEXT.endswith("=")


def decode(chunks: Iterable[bytes], **limits: int) -> Any:
    """The document, with bytes for images."""
    scanner = JSONImageDecoder(**limits)
    for chunk in chunks:
        scanner.feed(chunk)
    return pictures_as_bytes(scanner.finish())


class Sink(MemorySink):
    """A sink that remembers what was done to it."""

    def __init__(self, all_sinks: list["Sink"]) -> None:
        super().__init__()
        self.done: list[str] = []
        all_sinks.append(self)

    def finish(self) -> Image:
        """Finish, for the record."""
        self.done.append("finished")
        return super().finish()

    def discard(self) -> None:
        """Discard, for the record."""
        self.done.append("discarded")
        super().discard()


@settings(max_examples=200)
@given(documents, st.integers(0, 2**32), st.lists(st.integers(0, 2000), max_size=8))
@example(Pairs([("b64_json", Picture(OTTER)), ("b64_json", None), ("b64_json", Picture(b""))]), 3, [9])
def test_any_document_in_any_spelling_cut_anywhere(document: Any, seed: int, places: list[int]) -> None:
    """The result is that of `json.loads` and base64, and each sink is either finished or discarded, once."""
    text = spelled(document, Random(seed)).encode()
    expected = by_the_plain_way(json.loads(text))
    sinks: list[Sink] = []
    scanner = JSONImageDecoder(lambda: Sink(sinks))
    for chunk in cut(text, places):
        scanner.feed(chunk)
    assert scanner.is_complete
    assert pictures_as_bytes(scanner.finish()) == expected
    assert decode(pieces(text, 1)) == expected
    scanner.discard()
    assert all(len(sink.done) == 1 for sink in sinks)


READ = {
    "image last": ('{"size":"1x1","b64_json":"%s"}', {"size": "1x1", "b64_json": OTTER}),
    "image first": ('{"b64_json":"%s","type":"t"}', {"b64_json": OTTER, "type": "t"}),
    "spaces": ('\n{ "b64_json"\t:\r\n "%s" } \n', {"b64_json": OTTER}),
    "key with escapes": (r'{"b64\u005fj\u0073on":"%s"}', {"b64_json": OTTER}),
    "key all escapes": (r'{"\u0062\u0036\u0034\u005f\u006a\u0073\u006F\u006e":"%s"}', {"b64_json": OTTER}),
    "key spelled otherwise": (r'{"b64_json\u0020":"x","B64_json":"y","\b64_json":"z"}', None),
    "a broken escape in a key": (r'{"\u005":"%s"}', (DecodeError, "escape")),
    "bytes that are no text in a key": (b'{"\xff\\n":"x"}', {"\ufffd\n": "x"}),
    "the value of another key": ('{"a":"b64_json","b":"x"}', {"a": "b64_json", "b": "x"}),
    "texts of a list": ('["b64_json","%s"]', ["b64_json", OTTER]),
    "a list under the key": ('{"b64_json":["%s"]}', {"b64_json": [OTTER]}),
    "an object under the key": ('{"b64_json":{"a":"%s"}}', {"b64_json": {"a": OTTER}}),
    "null": ('{"b64_json":null,"a":"%s"}', {"b64_json": None, "a": OTTER}),
    "a number": ('{"b64_json":5}', {"b64_json": 5}),
    "empty": ('{"b64_json":""}', {"b64_json": None}),
    "an empty data URL": ('{"b64_json":"data:image/png;base64,"}', {"b64_json": None}),
    "two of a key": ('{"b64_json":"QQ==","b64_json":"%s"}', {"b64_json": OTTER}),
    "nested images": ('{"b64_json":{"b64_json":"%s"}}', {"b64_json": {"b64_json": OTTER}}),
    "a prompt that quotes": (
        r'{"p":"\"b64_json\":\"x\"","b64_json":"%s"}',
        {"p": '"b64_json":"x"', "b64_json": OTTER},
    ),
    "a prompt that ends in a backslash": (r'{"p":"\\","b64_json":"%s"}', {"p": "\\", "b64_json": OTTER}),
    "NaN in texts": ('{"a":"NaN","Infinity":1}', {"a": "NaN", "Infinity": 1}),
    "a byte that is no UTF-8": (b'{"p":"\xff","b64_json":"QQ=="}', {"p": "\ufffd", "b64_json": b"A"}),
}


@pytest.mark.parametrize("kind", READ)
def test_a_document_is_read(kind: str) -> None:
    """Keys are told from values, and images found where they are, however the document is cut."""
    document, expected = READ[kind]
    text = document if isinstance(document, bytes) else document.replace("%s", TEXT).encode()
    result = fed(said(decode), text, trailing=[b" \n"])
    if isinstance(expected, tuple):
        assert result[0] is expected[0]
        assert expected[1] in result[1]
    else:
        assert result == (json.loads(text) if expected is None else expected)


SPELLINGS = {
    "escaped slashes": TEXT.replace("/", "\\/"),
    "escaped plus": TEXT.replace("+", "\\u002B").replace("=", "\\u003d"),
    "all escaped": "".join(f"\\u{ord(one):04x}" for one in TEXT),
    "url-safe, unpadded": TEXT.replace("+", "-").replace("/", "_").rstrip("="),
    "a data URL": "data:image/png;base64," + TEXT,
    "a data URL with escapes": "data:image\\/png;base64,\\u0069" + TEXT[1:],
    "escaped line ends": "\\r\\n".join(pieces(TEXT, 76)),
    "raw line ends": "\n".join(pieces(TEXT, 76)),
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_a_picture_is_read(kind: str) -> None:
    """The tenth image of a document, in each spelling that is read."""
    items = ",".join('{"b64_json":"QQ=="}' for _ in range(9))
    text = f'{{"data":[{items},{{"b64_json":"{SPELLINGS[kind]}"}}]}}'
    assert fed(said(decode), text.encode())["data"][9]["b64_json"] == OTTER


NO_PICTURES = [
    "*", "AAAAA", "QQ==QQ==", "a b", "=", "\u00e9", "\0", "NaN*", "null*", "data:,", "data:image/png", "https://example.com",
    "\\", "\\u", "\\u00", "\\u00e9", "\\uD83E", "\\x", "\\b", "\\\\", "\\\\/", '\\"', "\\u0022", "\\u00zz",
]  # fmt: skip


def scan(scanner: JSONImageDecoder, chunks: Iterable[bytes]) -> Any:
    """Feed it and finish it."""
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner.finish()


@pytest.mark.parametrize("text", NO_PICTURES)
@pytest.mark.parametrize("around", [0, 10_000])
def test_a_broken_picture_is_an_error(text: str, around: int) -> None:
    """What is no base64 raises, alone and in the middle of a long image, and its sink is discarded."""
    fill = "A" * around
    document = f'{{"b64_json":"{fill}{text}{fill}"}}'.encode()
    sinks: list[Sink] = []
    for size in (1, 7, 10**6):
        scanner = JSONImageDecoder(lambda: Sink(sinks))
        with pytest.raises(DecodeError, match="ends in a string" if text + fill == "\\" else "base64"):
            scan(scanner, pieces(document, size))
        scanner.discard()
        scanner.discard()
        assert sinks.pop().done == ["discarded"]


ILLEGAL = [
    "", " ", "//", "\ufeff{}", "N", "I", "tru", "{", "[", '"', '{"a"', "[1],", "{}{}",
    '{"a":1,}', "[1,]", "{'a':1}", "{a:1}", "[1 2]", '["\n"]', '["\\x"]', '{1:"QQ=="}',
    "[NaN]", "[Infinity]", "[-Infinity]", "[01]", "[1.]", "[+1]",
    '{"b64_json":NaN}', '{"b64_json":"QQ=="NaN}', '{"b64_json":"QQ==","a":NaN}', '{"a":NaN,"b64_json":"QQ=="}',
    '{"b64_json" "QQ=="}', '{"b64_json"::"QQ=="}', '["b64_json":"QQ=="]', '{"b64_json":"QQ==" "QQ=="}',
]  # fmt: skip


@pytest.mark.parametrize("text", ILLEGAL, ids=lambda text: repr(text[:20]))
def test_illegal_json_is_an_error(text: str) -> None:
    """Whatever `json.loads` refuses is refused, and so is what it alone takes for numbers."""
    chunkings: list[Iterable[bytes]] = [[text.encode()], pieces(text.encode(), 7)]
    for chunks in chunkings:
        with pytest.raises(DecodeError, match=r"the response is not valid JSON: \w") as caught:
            decode(chunks)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_every_truncation_is_seen() -> None:
    """A document cut after any byte is refused, as cut and not as wrong; the whole one is not."""
    text = (Path(__file__).parent / "answer.json").read_bytes().rstrip()
    for end in range(len(text)):
        scanner = JSONImageDecoder()
        scanner.feed(text[:end])
        assert not scanner.is_complete
        assert scanner.is_cut, text[:end]
    assert len(decode([text])["data"]) == 3


@pytest.mark.parametrize(
    "text", ['{"a":1,}', '{"a":1} x', '{"a":1}}', "[1]2", '{"a" 1}', "[NaN]", "[tru]", '["\\x"]']
)
def test_a_wrong_document_is_not_taken_for_a_cut_one(text: str) -> None:
    """`is_cut` is only said of what more bytes could have completed."""
    scanner = JSONImageDecoder()
    scanner.feed(text.encode())
    assert not scanner.is_complete
    assert not scanner.is_cut


def test_pictures_that_are_whole_survive_a_cut() -> None:
    """When a document breaks off, the images before the break are there, in order."""
    scanner = JSONImageDecoder()
    one, two, three = map(text, "ABC")
    body = f'{{"data":[{{"b64_json":"{one}"}},{{"b64_json":""}},{{"b64_json":"{two}"}},{{"b64_json":"{three[:-4]}'
    scanner.feed(body.encode())
    assert [picture.data for picture in scanner.images] == [gif("A"), gif("B")]


@pytest.mark.parametrize(
    "chunked", [lambda text: [text], lambda text: pieces(text, 1)], ids=["whole", "bytes"]
)
def test_the_envelope_has_a_largest_size(chunked: Callable[[bytes], Iterable[bytes]]) -> None:
    """JSON beside the images may have as many bytes as the limit says, and the images do not count."""
    text = b'{"a":"%s","b64_json":"%s"}' % (b"x" * 100, TEXT.encode())
    envelope = len(text) - len(TEXT) + 1  # the image and its quotes leave three letters behind
    assert decode(chunked(text), max_envelope_bytes=envelope)["b64_json"] == OTTER
    with pytest.raises(ResponseTooLargeError, match="in addition to its images"):
        decode(chunked(text), max_envelope_bytes=envelope - 1)


def test_a_picture_has_a_largest_size() -> None:
    """An image over the limit is abandoned with an error that names the setting; its sink is discarded once."""
    text = f'{{"b64_json":"{TEXT}"}}'.encode()
    assert decode([text], max_picture_bytes=len(OTTER))["b64_json"] == OTTER
    sinks: list[Sink] = []
    scanner = JSONImageDecoder(lambda: Sink(sinks), max_picture_bytes=len(OTTER) - 1)
    with pytest.raises(ResponseTooLargeError, match="max_picture_bytes"):
        scanner.feed(text)
    scanner.discard()
    assert [sink.done for sink in sinks] == [["discarded"]]


@pytest.mark.parametrize(
    "line", [b"QUJD" * 19, b"QUJD" * 9 + b"QU\\/D", b"QUJD" * 19 + b"\\n"], ids=["plain", "slashes", "lines"]
)
def test_nothing_of_the_size_of_the_picture_is_held(line: bytes) -> None:
    """While twenty megabytes go through to a sink that drops them, less than half a megabyte is in use."""
    line *= 64_000 // len(line)
    scanner = JSONImageDecoder(Nowhere)
    scanner.feed(b'{"b64_json":"')
    tracemalloc.start()
    try:
        for _ in range(20_000_000 // len(line)):
            scanner.feed(line)
        scanner.feed(b'"}')
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    assert set(scanner.finish()) == {"b64_json"}


@settings(max_examples=100)
@given(documents, st.randoms(use_true_random=False), st.binary(max_size=3))
def test_a_damaged_document_never_surprises(document: Any, chance: Random, noise: bytes) -> None:
    """Bytes replaced anywhere give a document or an error of ours, and every sink ends once."""
    text = spelled(document, chance).encode()
    at = chance.randrange(len(text) + 1)
    sinks: list[Sink] = []
    scanner = JSONImageDecoder(lambda: Sink(sinks))
    with suppress(ImagesError):
        scan(scanner, pieces(text[:at] + noise + text[at + len(noise) :], 5))
    scanner.discard()
    assert all(len(sink.done) == 1 for sink in sinks)


def test_a_dropped_scanner_frees_its_pictures_at_once() -> None:
    """Nothing refers to itself: an image that nobody holds does not wait for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        scanner = JSONImageDecoder()
        scanner.feed(b'{"b64_json":"QUJD","a":["b"')
        gone = weakref.ref(scanner)
        del scanner
        assert gone() is None
    finally:
        gc.enable()
