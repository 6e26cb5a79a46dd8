"""What is wrong with an edit is told before it is sent: its parameters first, then the images by their bytes."""

import io
import struct
import time
import zlib
from typing import Any

import pytest
from PIL import Image as Pillow

from openai_images import EditRequest, GenerateRequest, ImageReference, RequestInvalidError
from openai_images.validation.rules import SourceInfo, image_problems
from openai_images.validation.validator import Problem, RequestValidator, find_problems
from tests.validation.test_validator import DAYS, arguments, end_of, rows, spelled

ROWS = [line.split(" | ") for line in rows("edits")]
MEGABYTE = 1024 * 1024


def png(mode: str = "RGBA", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    """The bytes of a PNG."""
    buffer = io.BytesIO()
    Pillow.new(mode, size).save(buffer, "PNG", **options)
    return buffer.getvalue()


def other(kind: str, size: tuple[int, int] = (8, 6)) -> bytes:
    """The bytes of another format."""
    buffer = io.BytesIO()
    Pillow.new("RGB", size).save(buffer, kind)
    return buffer.getvalue()


PNG, OPAQUE, LARGER = png(), png("RGB"), png(size=(9, 6))
LYING = png(size=(6, 8))


@pytest.mark.parametrize("row", ROWS, ids=[row[1][:60] for row in ROWS])
def test_the_parameters(row: list[str]) -> None:
    """A row of the table: nothing, or one problem with the message it gives; of an ended model its end."""
    given = {"prompt": "an otter", "image": b"p", "stream": False} | arguments(row[1])
    how = {name: given.pop(name) for name in ("stream", "official", "split") if name in given}
    request, end = EditRequest(given.pop("prompt"), **given), end_of(row[1])
    for day in DAYS:
        problems = find_problems(request, today=day, **how)
        told = [(problem.certain, str(problem)) for problem in problems]
        if end is None or day < end:
            assert told == ([] if row[0] == "valid" else [(row[0] == "certain", spelled(row[2], day))])
        else:
            assert any(sure and text.startswith("model: OpenAI ended ") for sure, text in told)


def judged(*pictures: SourceInfo | ImageReference, official: bool = True, as_json: bool = False) -> list[str]:
    """The problems of images, each with how sure it is."""
    problems = image_problems(pictures, official=official, as_json=as_json)
    return [f"{'certain' if problem.certain else 'perhaps'} {problem}" for problem in problems]


def fact(data: bytes, name: str = "image", nbytes: int | None = None) -> SourceInfo:
    """What is known of an image."""
    return SourceInfo(name.partition("[")[0], name, len(data) if nbytes is None else nbytes, data)


@pytest.mark.parametrize(
    "data", [PNG, OPAQUE, other("WEBP"), other("JPEG")], ids=["png", "opaque", "webp", "jpeg"]
)
def test_good_pictures(data: bytes) -> None:
    """The three formats, with a mask and a markup of their size."""
    assert not judged(fact(data), fact(PNG, "mask"))
    assert not judged(fact(data), fact(PNG, "markup"))
    assert not judged(fact(data), fact(LYING, "mask"))


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ([fact(b"")], ["certain image: it is empty (accepted: an image)"]),
        (
            [fact(PNG, "image[0]"), fact(other("GIF"), "image[1]")],
            ["certain image[1]: it is image/gif (accepted: image/png, image/webp, image/jpeg)"],
        ),
        (
            [fact(b"%PDF-1.4")],
            [
                (
                    "certain image: its bytes are not an image of a known format "
                    "(accepted: image/png, image/webp, image/jpeg)"
                )
            ],
        ),
        (
            [fact(PNG, nbytes=50 * MEGABYTE)],
            ["certain image: it has 52,428,800 bytes (accepted: less than 52,428,800)"],
        ),
        (
            [fact(PNG), fact(OPAQUE, "mask")],
            ["certain mask: it has no transparency (accepted: a PNG with an alpha channel)"],
        ),
        (
            [fact(PNG), fact(other("JPEG"), "markup")],
            ["certain markup: it is image/jpeg (accepted: image/png)"],
        ),
        (
            [fact(PNG), fact(LARGER, "mask")],
            ["certain mask: it is 9x6 and the first image 8x6 (accepted: the size of the first image)"],
        ),
        (
            [fact(PNG), fact(PNG, "mask", 4 * MEGABYTE)],
            [
                "perhaps mask: it has 4,194,304 bytes, and not all documents allow that (accepted: less than 4,194,304)"
            ],
        ),
    ],
)
def test_bad_pictures(pictures: list[SourceInfo], said: list[str]) -> None:
    """Each with its message; elsewhere than at OpenAI only an empty one is certain."""
    assert judged(*pictures) == said
    elsewhere = judged(*pictures, official=False)
    assert [line.partition(" ")[2] for line in elsewhere] == [line.partition(" ")[2] for line in said]
    assert all(line.startswith("perhaps") or "empty" in line for line in elsewhere)


def test_a_data_url_that_is_too_long() -> None:
    """16 MB are more than 20,971,520 characters of base64, in a form they are fine."""
    large = fact(PNG, nbytes=16 * MEGABYTE)
    assert judged(large, as_json=True) == [
        (
            "certain image: it has 16,777,216 bytes, which are more as a data: URL in JSON "
            "(accepted: a URL of at most 20,971,520 characters, or a form)"
        )
    ]
    assert not judged(large)


def test_a_mask_beside_a_reference() -> None:
    """Nothing is known of the image's size."""
    assert not judged(ImageReference(file_id="f"), fact(PNG, "mask"))


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    ("data", "transparent"),
    [
        (png("LA"), True),
        (png("P", transparency=0), True),
        (png("P"), False),
        (png("L"), False),
        (png("RGB", transparency=(0, 0, 0)), True),
        (OPAQUE[:33] + chunk(b"caBX", b"x" * 22_000) + OPAQUE[33:], False),
        (OPAQUE[:33] + chunk(b"caBX", b"x" * 99_000)[:60_000], True),
        (OPAQUE[:20], True),
    ],
)
def test_transparency(data: bytes, transparent: bool) -> None:
    """By the colour type or a list of transparent colours; what was not seen may be there."""
    assert (judged(fact(data, "mask")) == []) is transparent


def test_modes() -> None:
    """Strict raises for doubts, warn tells each once, off says nothing."""
    doubt = Problem("mask", "it has 5 bytes", "less", certain=False)
    sure = Problem("mask", "it is empty", "an image", certain=True)
    checker = RequestValidator("warn", official=True, wall=time.time)
    assert [checker.pictures([doubt]), checker.pictures([doubt])] == [[str(doubt)], []]
    with pytest.raises(RequestInvalidError, match="it is empty"):
        checker.pictures([doubt, sure])
    with pytest.raises(RequestInvalidError, match="perhaps mask: it has 5 bytes"):
        RequestValidator("strict", official=True, wall=time.time).pictures([doubt])
    assert RequestValidator("off", official=True, wall=time.time).pictures([sure]) == []


def test_verbs_take_their_own_requests() -> None:
    """A request of the other endpoint is not taken for one of its own."""
    with pytest.raises(TypeError, match="takes a prompt or its own GenerateRequest, not EditRequest"):
        GenerateRequest.of(EditRequest("x", image=b"p"), {})
    with pytest.raises(TypeError, match="takes a prompt or its own EditRequest, not GenerateRequest"):
        EditRequest.of(GenerateRequest("x"), {})
    with pytest.raises(TypeError, match="image"):
        EditRequest.of("x", {})
    with pytest.raises(TypeError, match="unknown parameter 'images'"):
        EditRequest.of("x", {"images": []})
    assert EditRequest.of(EditRequest("x", image=b"p"), {"n": 2}) == EditRequest("x", image=b"p", n=2)
