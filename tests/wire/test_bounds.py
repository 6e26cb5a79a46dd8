"""What a document may hold: how deep, how many images, which numbers; never more memory or time than it is worth."""

import json
import math
import sys
import tracemalloc
from typing import Any

import pytest

from openai_images._util.json import MAX_VALUES
from openai_images.errors import DecodeError, ResponseTooLargeError
from openai_images.wire import json_text
from openai_images.wire.json_decoder import MAX_IMAGES, JSONImageDecoder
from openai_images.wire.json_text import MAX_DEPTH
from tests.helpers.reading import EVENT_STREAM, JSON, reading
from tests.helpers.tiny_images import gif


def scanned(text: bytes) -> JSONImageDecoder:
    """A scanner that was fed it."""
    scanner = JSONImageDecoder()
    scanner.feed(text)
    return scanner


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":[', "]}]")])
def test_deep_nesting_is_refused(opening: str, closing: str, levels: int) -> None:
    """By a limit of ours, not by Python's, which depends on who calls; an image beside it is kept."""
    deep = opening * levels + "1" + closing * levels
    scanner = scanned(f'{{"b64_json":"R0lGODlhQQABAAAAADs=","a":{deep}}}'.encode())
    with pytest.raises(DecodeError, match="nested more than 100 levels deep") as caught:
        scanner.finish()
    assert caught.value.__cause__ is None
    assert [picture.data for picture in scanner.images] == [gif("A")]


def test_nesting_that_is_not_too_deep_is_read() -> None:
    """As deep as the limit says."""
    text = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    assert scanned(text.encode()).finish() == json.loads(text)


def test_a_number_with_more_digits_than_python_reads_is_a_float() -> None:
    """It costs no image that stands beside it."""
    scanner = scanned(
        b'{"seed":' + b"9" * 5000 + b',"b64_json":"R0lGODlhQQABAAAAADs=","n":[-1' + b"0" * 5000 + b"]}"
    )
    doc = scanner.finish()
    assert (doc["seed"], doc["n"], doc["b64_json"].data) == (math.inf, [-math.inf], gif("A"))


def test_the_time_for_a_long_number_is_not_quadratic() -> None:
    """Not even in a program that lets Python read numbers of any length."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        doc = scanned(b'{"seed":' + b"9" * 4000 + b"}").finish()
    finally:
        sys.set_int_max_str_digits(before)
    assert doc == {"seed": math.inf}


@pytest.mark.parametrize("end", [b"\n\n", b"x\n\n", b"\n"])
def test_an_event_is_parsed_once(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes after it: each time takes as long as it is large."""
    starts: list[int] = []
    original = json_text._decode_at

    def decode_at(text: str, start: int) -> tuple[Any, int]:
        starts.append(start)
        return original(text, start)

    monkeypatch.setattr(json_text, "_decode_at", decode_at)
    body = b'event: image_generation.completed\ndata: {"b64_json":"R0lGODlhQQABAAAAADs="}' + end
    assert reading(EVENT_STREAM)([body]).result.image.data == gif("A")
    assert starts.count(0) == 1


@pytest.mark.parametrize(
    "count", [-1, -(10**30), 2**53 + 1, 10**400, 1.5, True, "1.5", "-1", "", [], math.inf, "1" * 5000]
)
def test_what_is_no_count_is_kept_beside(count: Any) -> None:
    """A usage counts, or it says nothing; whatever it holds instead is in `extra`."""
    doc = {"data": [{"b64_json": "R0lGODlhQQABAAAAADs="}], "usage": {"input_tokens": count}}
    body = json.dumps(doc).replace("Infinity", "1e999").encode()
    usage = reading(JSON)([body]).result.usage
    assert usage.input_tokens is None
    assert usage.extra == {"input_tokens": count}


@pytest.mark.parametrize("count", [0, 2**53, 7.0, "7", " 7 "])
def test_what_is_a_count(count: Any) -> None:
    """However it is spelled."""
    doc = {"data": [{"b64_json": "R0lGODlhQQABAAAAADs="}], "usage": {"input_tokens": count}}
    assert reading(JSON)([json.dumps(doc).encode()]).result.usage.input_tokens == int(count)


def test_what_is_too_long_for_a_name_is_kept_beside() -> None:
    """A size, a quality or an event's type of a thousand characters is none, and fills no `repr`."""
    long = "QUJD" * 250
    doc = {
        "data": [{"b64_json": "R0lGODlhQQABAAAAADs="}],
        "size": long,
        "quality": "q" * 128,
        "background": "b" * 129,
    }
    result = reading(JSON)([json.dumps(doc).encode()]).result
    assert (result.size, result.quality, result.background) == (None, "q" * 128, None)
    assert result.extra == {"size": long, "background": "b" * 129}
    assert long not in repr(result)
    for event in (f'data: {{"type":"{long}"}}\n\n', f"event: {long}\ndata: {{}}\n\n"):
        [unknown] = reading("")([event.encode()]).events
        assert unknown.type == long[:80]


def test_too_many_pictures_are_abandoned() -> None:
    """Each takes memory, or a file, however small it is."""
    scanner = scanned(b"[" + b'{"b64_json":"R0lGODlhQQABAAAAADs="},' * MAX_IMAGES)
    with pytest.raises(ResponseTooLargeError, match="more than 1,000 images"):
        scanner.feed(b'{"b64_json":"')
    assert len(scanner.images) == MAX_IMAGES


@pytest.mark.slow
@pytest.mark.parametrize("part", [b"[],", b"{},", b'"",', b"0,", b'{"a":0},', b'"\\u0000",', b"1e5,"])
def test_the_memory_for_an_envelope_is_bounded(part: bytes) -> None:
    """The densest JSON takes some dozens of times its size, once, and no more."""
    body = b'{"data":[' + part * (200_000 // len(part)) + b"0]}"
    tracemalloc.start()
    try:
        read = reading(JSON)([body])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read.result is None
    assert peak < 80 * len(body)


@pytest.mark.parametrize("value", ["[],", "{},", "1,", '"",', "[[[]]],"])
def test_values_without_number_are_refused(value: str) -> None:
    """More small values than the loop can look at in a moment; an image beside them is kept."""
    values = value * (MAX_VALUES // value.count(",") + 1)
    scanner = scanned(f'{{"b64_json":"R0lGODlhQQABAAAAADs=","a":[{values}1]}}'.encode())
    with pytest.raises(DecodeError, match=f"has over {MAX_VALUES:,} values"):
        scanner.finish()
    assert [picture.data for picture in scanner.images] == [gif("A")]


def test_a_prompt_full_of_commas_is_read() -> None:
    """The longest prompts, ten times echoed, are within the limit."""
    text = json.dumps({"data": [{"revised_prompt": "a, " * 3_000} for _ in range(10)]})
    assert len(scanned(text.encode()).finish()["data"]) == 10
