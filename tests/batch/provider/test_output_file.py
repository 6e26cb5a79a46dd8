"""Output files of provider batches: the same lines however the bytes are cut, and nothing lost to a broken line."""

import base64
import json
import random
import tracemalloc
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from openai_images.batch.provider.files import OutputLine, OutputReader
from openai_images.errors import (
    APIStatusError,
    BadRequestError,
    DecodeError,
    ImagesError,
    ModerationBlockedError,
    RateLimitError,
    ResponseTooLargeError,
    StatusOutcomeUnknownError,
)
from openai_images.models.image import Image
from openai_images.wire.base64_decoder import MemorySink
from tests.helpers.json_documents import texts
from tests.helpers.tiny_images import gif, png, text


def response(custom_id: str, body: Any, status: int = 200) -> dict[str, Any]:
    """A line with a response, as the provider writes it."""
    answer = {"status_code": status, "request_id": f"req_{custom_id}", "body": body}
    return {"id": f"batch_req_{custom_id}", "custom_id": custom_id, "response": answer, "error": None}


def images(*names: str, **fields: Any) -> dict[str, Any]:
    """A body with these images."""
    return {"created": 1, "data": [{"b64_json": text(name)} for name in names], **fields}


def unrun(custom_id: str, code: str) -> dict[str, Any]:
    """A line without a response."""
    return {
        "id": "x",
        "custom_id": custom_id,
        "response": None,
        "error": {"code": code, "message": "Too late."},
    }


ERROR = {
    "error": {
        "message": "No.",
        "type": "image_generation_user_error",
        "code": "moderation_blocked",
        "param": None,
    }
}
LIMIT = {"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded", "param": None}}
LINES = [
    response(
        "a", images("a", size="1024x1024", usage={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3})
    ),
    response("b", images("b", "c")),
    response("d", ERROR, 400),
    unrun("e", "batch_expired"),
    {
        **response("f", images("f")),
        "error": {"ignored": 'a "custom_id":"g" in it'},
        "new": [1, {"deep": None}],
    },
    response("h", LIMIT, 429),
]


def file_of(lines: Iterable[object]) -> bytes:
    """The lines as a file."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def read(pieces: Iterable[bytes], **options: Any) -> list[OutputLine]:
    """What the reader makes of these pieces."""
    reader = OutputReader(MemorySink, **options)
    found: list[OutputLine] = []
    for piece in pieces:
        if not (reader.in_image and reader.feed_image(piece)):
            found += reader.feed(piece)
    return [*found, *reader.finish()]


def told(lines: Sequence[OutputLine]) -> list[tuple[str, Any]]:
    """Each line's id with the bytes of its images, or its error's class and text."""
    return [
        (
            line.custom_id,
            [image.data for image in line.result.images]
            if line.result
            else (type(line.error), str(line.error)),
        )
        for line in lines
    ]


def one(line: object, **options: Any) -> OutputLine:
    """What one line says."""
    (found,) = read([file_of([line])], **options)
    return found


def error_of(line: object, **options: Any) -> ImagesError:
    """The error of one line."""
    error = one(line, **options).error
    assert error is not None
    return error


def test_a_whole_file() -> None:
    """Results and errors, each with the id of its line."""
    lines = read([file_of(LINES)])
    assert [line.custom_id for line in lines] == ["a", "b", "d", "e", "f", "h"]
    first, second, refused, expired, fifth, limited = lines
    assert first.result is not None
    assert first.result.image.data == gif("a")
    assert first.result.usage is not None
    assert (first.result.usage.output_tokens, first.result.size) == (2, "1024x1024")
    assert (first.result.request_id, first.result.attempts) == ("req_a", 1)
    assert second.result is not None
    assert [image.data for image in second.result.images] == [gif("b"), gif("c")]
    assert isinstance(refused.error, ModerationBlockedError)
    assert refused.error.request_id == "req_d"
    assert isinstance(expired.error, APIStatusError)
    assert expired.error.safe_to_resend
    assert not expired.error.maybe_billed
    assert fifth.result is not None
    assert isinstance(limited.error, RateLimitError)
    assert limited.error.safe_to_resend


def test_byte_by_byte() -> None:
    """The same."""
    data = file_of(LINES)
    assert told(read(data[i : i + 1] for i in range(len(data)))) == told(read([data]))


@pytest.mark.parametrize("seed", range(20))
def test_random_cuts(seed: int) -> None:
    """The same, with larger images than pieces."""
    chance = random.Random(seed)
    large = {"data": [{"b64_json": base64.b64encode(png(chance.randbytes(30_000))).decode()}]}
    data = file_of([*LINES, response("large", large), *LINES])
    cuts = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(40))})
    pieces = [data[start:end] for start, end in pairwise(cuts)]
    assert told(read(pieces)) == told(read([data]))


@given(
    st.lists(
        st.tuples(
            st.text("abc123", min_size=1, max_size=8), st.lists(st.sampled_from("abcxyz"), max_size=3), texts
        )
    ),
    st.lists(st.integers(1, 90), min_size=1, max_size=30),
    st.booleans(),
)
def test_any_lines_in_any_pieces(
    lines: list[tuple[str, list[str], str]], sizes: list[int], has_last_newline: bool
) -> None:
    """Each line gives its own images, whatever stands in the other fields."""
    docs = [
        {**response(name, images(*letters, prompt=noise)), "extra": noise} for name, letters, noise in lines
    ]
    data = file_of(docs) if has_last_newline else file_of(docs).removesuffix(b"\n")
    pieces: list[bytes] = []
    while data:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[:size])
        data = data[size:]
    found = read(pieces)
    assert [line.custom_id for line in found] == [name for name, _, _ in lines]
    for line, (_, letters, _) in zip(found, lines, strict=True):
        assert (
            [image.data for image in line.result.images if line.result]
            if line.result
            else [gif(letter) for letter in letters] == []
        )
        assert (line.error is None) == bool(letters)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_noise_costs_no_line(noise: bytes, size: int) -> None:
    """Any bytes in a line give at most an error; the lines after it are read."""
    noise = noise.replace(b"\n", b"")
    data = noise + b"\n" + file_of(LINES[:2])
    found = read(data[i : i + size] for i in range(0, len(data), size))
    assert told(found[-2:]) == told(read([file_of(LINES[:2])]))
    assert len(found) <= 3


def test_a_line_that_is_no_json_keeps_its_id_and_its_images() -> None:
    """They are paid for."""
    line = json.dumps(response("a", images("a"))).encode()[:-4] + b"\n"
    (found,) = read([line])
    assert found.custom_id == "a"
    assert isinstance(found.error, DecodeError)
    assert found.error.maybe_billed
    assert [image.data for image in found.error.images] == [gif("a")]


def test_a_cut_image() -> None:
    """A file that ends in the middle of an image has no whole line."""
    data = file_of([response("a", images("a"))])
    (found,) = read([data[: data.index(b"b64_json") + 20]])
    assert found.custom_id == "a"
    assert isinstance(found.error, DecodeError)
    assert found.error.images == ()


def test_damaged_images_are_kept() -> None:
    """What came in an image's place is in the error."""
    error = error_of(response("a", {"data": [{"b64_json": "aGVsbG8gd29ybGQ="}]}))
    assert isinstance(error, DecodeError)
    assert [image.data for image in error.damaged] == [b"hello world"]


def test_a_line_beyond_the_limit_is_passed_over() -> None:
    """The next one is read."""
    bad = response("a", {"data": [], "noise": "x" * 5_000_000})
    found = read([file_of([bad, *LINES[:1]])])
    assert [type(line.error) for line in found] == [ResponseTooLargeError, type(None)]


def test_an_image_beyond_the_limit() -> None:
    """It is not decoded further."""
    assert isinstance(error_of(LINES[0], max_image_bytes=5), ResponseTooLargeError)


@pytest.mark.parametrize("code", ["batch_expired", "batch_cancelled"])
def test_lines_that_were_never_run(code: str) -> None:
    """They are not billed."""
    error = error_of(unrun("a", code))
    assert (error.safe_to_resend, error.maybe_billed) == (True, False)
    assert "Too late." in str(error)


def test_a_line_without_response_for_another_reason() -> None:
    """Nobody knows whether it ran."""
    error = error_of(unrun("a", "request_timeout"))
    assert isinstance(error, StatusOutcomeUnknownError)
    assert error.maybe_billed


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_may_have_been_billed(status: int) -> None:
    """As in any other response."""
    body = {"error": {"message": "Oh.", "type": "server_error", "code": None, "param": None}}
    assert error_of(response("a", body, status)).maybe_billed


def test_a_body_as_text() -> None:
    """Of an error that is no JSON."""
    assert isinstance(error_of(response("a", "<html>no</html>", 400)), BadRequestError)


def test_secrets_are_hidden() -> None:
    """Prompts that the server echoes are in no error."""
    body = {
        "error": {
            "message": "Bad prompt: a secret otter",
            "type": "x",
            "code": "invalid_value",
            "param": None,
        }
    }

    def secrets_of(name: str) -> tuple[str, ...]:
        return ("a secret otter",) if name == "a" else ()

    error = error_of(response("a", body, 400), secrets_of=secrets_of)
    assert "secret otter" not in str(error)


def test_offsets() -> None:
    """Reading may start again after the last whole line."""
    data = file_of(LINES)
    first = data.index(b"\n") + 1
    reader = OutputReader(MemorySink)
    assert len(list(reader.feed(data[: first + 30]))) == 1
    assert reader.nbytes == first
    reader.discard()
    again = [*reader.feed(data[first:])]
    assert told(again) == told(read([data]))[1:]
    assert reader.nbytes == len(data)


class _NoSink:
    """Keeps nothing."""

    def write(self, data: bytes, /) -> None:
        """Drop it."""

    def finish(self) -> Image:
        """No bytes."""
        return Image(nbytes=1)

    def discard(self) -> None:
        """Nothing to drop."""


def test_memory_is_bounded() -> None:
    """A line of 32 MB takes less than one."""
    start, end = json.dumps(response("a", {"data": [{"b64_json": "@"}]})).encode().split(b"@")
    head = base64.b64encode(png(b"", (1, 1))[:30])
    piece = b"A" * 256 * 1024
    reader = OutputReader(_NoSink)
    tracemalloc.start()
    try:
        found = [*reader.feed(start + head)]
        for _ in range(128):
            assert reader.feed_image(piece)
        found += reader.feed(end + b"\n")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [line.custom_id for line in found] == ["a"]
    assert peak < 1_000_000
