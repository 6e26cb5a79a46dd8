"""`pictures="small"`: real images of the format and size that were asked for, which cost next to nothing."""

import base64
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from PIL import Image

from openai_images.server import LocalImagesServer
from openai_images.server.paint import painter
from tests.server.conftest import Ask


@pytest.fixture
async def small(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalImagesServer]:
    """A server of small images, on which painting would fail."""
    monkeypatch.setattr(painter, "paint_canvas", None)
    async with LocalImagesServer(pictures="small", legacy=True) as server:  # models that have ended, too
        yield server


def opened(image: dict[str, Any]) -> Image.Image:
    """The image of an answer or event, decoded."""
    picture = Image.open(io.BytesIO(base64.b64decode(image["b64_json"])))
    picture.load()
    return picture


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("size", ["1024x1024", "1536x1024", "1024x1536"])
async def test_format_and_size_are_those_of_the_request(
    small: LocalImagesServer, ask: Ask, output_format: str, size: str
) -> None:
    """What an app checks of an image holds, and its bytes are few."""
    answer = await ask(of=small, output_format=output_format, size=size, n=2)
    pictures = [opened(image) for image in answer.json["data"]]
    assert {picture.format for picture in pictures} == {output_format.upper()}
    assert {"{}x{}".format(*picture.size) for picture in pictures} == {size}
    assert len(answer.body) < 80_000
    assert len({image["b64_json"] for image in answer.json["data"]}) == 2


async def test_each_request_has_a_picture_of_its_own(small: LocalImagesServer, ask: Ask) -> None:
    """The same one twice is the same; another prompt gives another one; partial ones differ from the final one."""
    first, again, other = [(await ask(of=small, prompt=prompt)).json["data"][0] for prompt in ("a", "a", "b")]
    assert first["b64_json"] == again["b64_json"] != other["b64_json"]
    answer = await ask(of=small, prompt="a", stream=True, partial_images=2)
    images = [opened(event) for event in answer.events]
    assert [image.size for image in images] == [opened(first).size] * 3
    assert len({image.convert("RGB").getpixel((0, 0)) for image in images}) == 3


@pytest.mark.parametrize("output_format", ["png", "webp"])
async def test_a_transparent_background(small: LocalImagesServer, ask: Ask, output_format: str) -> None:
    """It can be seen through."""
    answer = await ask(of=small, model="gpt-image-1.5", background="transparent", output_format=output_format)
    assert opened(answer.json["data"][0]).convert("RGBA").getextrema()[3] == (128, 128)


async def test_an_edit(small: LocalImagesServer, edit: Any) -> None:
    """Another source gives another image, and neither is drawn from."""
    answers = []
    for colour in ("red", "blue"):
        source, form = io.BytesIO(), aiohttp.FormData({"prompt": "night"})
        Image.new("RGB", (64, 64), colour).save(source, "PNG")
        form.add_field("image", source.getvalue(), filename="a.png", content_type="image/png")
        answers.append((await edit(form, of=small)).json["data"][0])
    assert answers[0]["b64_json"] != answers[1]["b64_json"]
    assert opened(answers[0]).size == opened(answers[1]).size


async def test_a_gif(small: LocalImagesServer, ask: Ask) -> None:
    """It moves, for as long as was asked."""
    options = {"model": "gpt-image-2.6-flare", "output_format": "gif", "size": "288x288"}
    answer = await ask(of=small, frame_count=3, frame_duration_ms=100, **options)
    gif: Any = Image.open(io.BytesIO(base64.b64decode(answer.json["data"][0]["b64_json"])))
    assert (gif.format, gif.n_frames, gif.size) == ("GIF", 3, (288, 288))
    colours, durations = set(), []
    for frame in range(3):
        gif.seek(frame)
        colours.add(gif.convert("RGB").getpixel((0, 0)))
        durations.append(gif.info["duration"])
    assert (len(colours), durations) == (3, [100] * 3)
