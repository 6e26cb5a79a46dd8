"""Bodies that are neither events nor JSON: bare images, pages, words, nothing; and what tells them apart."""

import io
from typing import Any

import pytest
from PIL import Image as Pillow

from openai_images import errors
from openai_images.models.image import Image
from openai_images.wire.base64_decoder import MemorySink
from tests.helpers.decoding import fed, pieces
from tests.helpers.reading import EVENT_STREAM, JSON, answer, reading

KEY, PROMPT = "sk-sentinel-key", 'a sentinel prompt, with an \u00f6tter and "quotes"'
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="3" height="2"><path d="M0 0"/></svg>'


def painted(kind: str) -> bytes:
    """A small image by Pillow."""
    out = io.BytesIO()
    Pillow.effect_noise((3, 2), 50).save(out, kind)
    return out.getvalue()


PICTURES = {kind: painted(kind) for kind in ("png", "jpeg", "webp", "gif")}


@pytest.mark.parametrize("stated", ["image/png", "application/octet-stream", EVENT_STREAM, JSON, ""])
@pytest.mark.parametrize("kind", PICTURES)
def test_a_bare_picture(kind: str, stated: str) -> None:
    """The bytes of an image are one, whatever the content type says."""
    read = fed(reading(stated), PICTURES[kind])
    assert read.kinds == "C"
    assert read.result.image.data == PICTURES[kind]
    assert (read.result.image.width, read.result.image.media_type) == (3, f"image/{kind}")
    assert read.result.images == (read.events[0].image,)


@pytest.mark.parametrize(
    "start",
    [b"", b"\xef\xbb\xbf", b"<?xml version='1.0'?>\n", b"<!-- " + b"by hand " * 200 + b"-->\n<!DOCTYPE svg>"],
)
def test_a_bare_svg(start: bytes) -> None:
    """An SVG is told from a page, however late its tag comes and however it is cut."""
    read = fed(reading("image/svg+xml"), start + SVG)
    assert (read.result.image.width, read.result.image.media_type) == (3, "image/svg+xml")


def test_a_picture_of_an_unknown_format() -> None:
    """What is declared as an image is one if its own bytes say so, and is kept with the error if not."""
    assert fed(reading("image/tiff"), b"II*\0 and so on").result.image.data == b"II*\0 and so on"
    read = fed(reading("IMAGE/X-MINE; v=1"), b"sorry, try again later")
    assert type(read.error) is errors.DecodeError
    assert "it begins 'sorry, try again later'" in str(read.error)
    [kept] = read.damaged
    assert (kept.data, kept.flaw) == (b"sorry, try again later", "no image")


@pytest.mark.parametrize("kind", [*PICTURES, "svg"])
def test_a_bare_picture_that_is_cut(kind: str) -> None:
    """An image without its end is interrupted, never delivered."""
    body = PICTURES.get(kind, SVG)
    read = fed(reading(f"image/{kind}"), body[: len(body) // 2])
    assert read.kinds == ""
    assert type(read.error) is errors.StreamInterruptedError
    assert f"after {len(body) // 2} bytes" in str(read.error)


class Sink(MemorySink):
    """A sink that remembers what was done to it."""

    def __init__(self, done: list[str]) -> None:
        super().__init__()
        self._done = done

    def finish(self) -> Image:
        """Finish, for the record."""
        self._done.append("finished")
        return super().finish()

    def discard(self) -> None:
        """Discard, for the record."""
        self._done.append("discarded")


@pytest.mark.parametrize(
    ("body", "done"),
    [
        (PICTURES["png"], ["finished"]),
        (PICTURES["png"][:-1], ["finished"]),
        (b'{"b64_json":"R0lGODlhQQABAAAAADs=","data":[]}', ["finished"]),
        (b'{"b64_json":"QQ=', ["discarded"]),
        (b'{"b64_json":"*"}', ["discarded"]),
        (b'{"b64_json":""}', ["discarded"]),
        (
            b'data: {"type":"image_generation.completed","b64_json":"R0lGODlhQQABAAAAADs=","a":1}\n\n',
            ["finished"],
        ),
        (b'data: {"type":"image_generation.completed","b64_json":"R0lGODlhQQABAAAAADs=', ["discarded"]),
        (b'data: {"type":"image_generation.completed","b64_json":"QQ\n\ndata: {}\n\n', ["discarded"]),
        (b'event: note\ndata: "b64_json":"QQ\n\ndata: {}\n\n', ["discarded"]),
    ],
)
def test_every_sink_ends_once(body: bytes, done: list[str]) -> None:
    """A sink is finished or discarded, and nothing happens to it after that."""
    for cut in (1, 5, 1000):
        record: list[str] = []
        reading("", new_sink=lambda record=record: Sink(record))(
            body[at : at + cut] for at in range(0, len(body), cut)
        )
        assert record == done


@pytest.mark.parametrize(
    ("body", "stated", "said"),
    [
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "text/html", "with text/html .* an HTML page"),
        (b"<html>504</html>", EVENT_STREAM, "an HTML page"),
        (b"<html>" + b"x" * 5000, JSON, "with application/json .* an HTML page"),
        (b"\xef\xbb\xbf\n<html>", "image/png", "an HTML page"),
        (b"upstream request timeout", "text/plain", "with text/plain .* 'upstream request timeout'"),
        (b"ok", "", "with no content type .* 'ok'"),
        (b"x y " * 2000, "text/plain", "'x y x y .*\u2026'"),
        (b"\xff\xfe\0\1", "application/x-thing", "\ufffd"),
        (b"null", JSON, "'null'"),
        (b"", JSON, "answered 200 with an empty body"),
        (b"\xef\xbb\xbf \r\n", "text/html", "answered 200 with an empty body"),
        (b" " * 50_000, "", "answered 200 with an empty body"),
    ],
)
def test_what_is_no_answer(body: bytes, stated: str, said: str) -> None:
    """A page, words or nothing with status 200 raise an error that says what came and what to check."""
    read = fed(reading(stated), body)
    assert type(read.error) is errors.DecodeError
    assert read.error.maybe_billed
    with pytest.raises(errors.DecodeError, match=said):
        raise read.error
    assert len(str(read.error)) < 500


@pytest.mark.parametrize("body", [b"", b"\n", b"\xef\xbb\xbf"])
def test_an_empty_stream_was_interrupted(body: bytes) -> None:
    """Where events were due, nothing is a stream that broke off."""
    read = fed(reading(EVENT_STREAM), body)
    assert type(read.error) is errors.StreamInterruptedError
    assert "before its first event" in str(read.error)


@pytest.mark.parametrize("size", [0, 40, 170, 4090])
def test_a_page_that_echoes_shows_no_secret(size: int) -> None:
    """Neither the key nor the prompt is repeated, not even where the text is cut in the middle of them."""
    body = ("." * size + PROMPT + KEY + "y" * 3000).encode()
    for secret in (KEY, PROMPT):
        for more in range(len(secret)):
            read = reading("text/plain", secrets=(KEY, PROMPT))([body[: size + more]])
            assert PROMPT[:6] not in str(read.error)
        read = reading("text/plain", secrets=(KEY, PROMPT))([body])
        assert secret[:6] not in str(read.error)


@pytest.mark.parametrize("size", [1, 1000, 4095, 4096, 5000, 100_000])
def test_what_is_shown_of_a_body_is_the_same_however_it_came(size: int) -> None:
    """Base64 is blotted out of as much of it as is needed to tell, whatever came with that."""
    body = b"9" * 3000 + b";" + b"8" * 6000 + b" and words"
    assert reading("text/plain")(pieces(body, size)).said == reading("text/plain")([body]).said


def test_blank_bytes_are_not_gathered() -> None:
    """A gateway that sends blanks to keep the connection open fills no memory, and the answer is read after them."""
    from openai_images.wire.error_mapping import ResponseContext
    from openai_images.wire.response import ResponseDecoder

    reader = ResponseDecoder(ResponseContext(200, {}))
    for _ in range(2000):
        assert list(reader.feed(b" " * 100)) == []
        assert len(reader._buffer) == 0
    events: list[Any] = [*reader.feed(answer("openai-generation")), *reader.finish()]
    assert reader.result(events).image.width == 3


def test_the_status_is_named() -> None:
    """A 202 with words instead of an image says so."""
    read = fed(reading("text/plain", status=202), b"queued")
    assert "answered 202 with text/plain" in str(read.error)
    assert "answered 202 with an empty body" in str(fed(reading("", status=202), b"").error)
