"""The stand-in images: what they are, that they repeat, and that they come to be sharp."""

import asyncio
import base64
import io
import time
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageFilter, ImageStat

from openai_images.server import LocalImagesServer
from openai_images.server.paint.drawing import PALETTES, STATEMENT
from openai_images.server.paint.painter import (
    CanvasSpec,
    ImageSpec,
    SingleFlightCache,
    encode_image,
    paint_canvas,
)
from openai_images.server.paint.scenes import SCENES, choose_palette, choose_scene, prompt_words


def spec(prompt: str = "a lighthouse", *, size: tuple[int, int] = (256, 256), **more: Any) -> ImageSpec:
    """A specification of a small image."""
    canvas = CanvasSpec(
        prompt=prompt,
        index=more.pop("index", 0),
        width=size[0],
        height=size[1],
        transparent=more.pop("clear", False),
    )
    options = {"output_format": "png", "compression": 100, "quality": "low", "progress": 1.0} | more
    return ImageSpec(canvas=canvas, **options)


def painted(what: ImageSpec) -> bytes:
    """The bytes of an image."""
    return encode_image(paint_canvas(what.canvas), what)


def opened(data: bytes) -> Image.Image:
    """An image, decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def sharpness(image: Image.Image) -> float:
    """How much a blur takes away, the caption left out."""
    grey = image.convert("L").crop((0, 0, image.width, image.height * 3 // 4))
    return ImageStat.Stat(ImageChops.difference(grey, grey.filter(ImageFilter.GaussianBlur(3)))).rms[0]


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("size", [(256, 256), (384, 128), (128, 384)])
def test_every_scene_fits_every_shape(
    monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int]
) -> None:
    """Each scene paints wide, high and square images that are not blank."""
    monkeypatch.setattr("openai_images.server.paint.painter.choose_scene", lambda *_: SCENES[name])
    image = opened(painted(spec(size=size)))
    assert (image.size, image.mode) == (size, "RGB")
    assert len(image.getcolors(size[0] * size[1]) or []) > 1000


def test_the_same_request_gives_the_same_bytes() -> None:
    """Nothing but the request decides."""
    assert painted(spec()) == painted(spec())


@pytest.mark.parametrize(
    "other", [spec("a harbour"), spec(index=1), spec(size=(256, 384)), spec(progress=0.5)]
)
def test_another_request_gives_another_picture(other: ImageSpec) -> None:
    """Prompt, number, size and progress each make a difference."""
    assert painted(other) != painted(spec())


@pytest.mark.parametrize(
    "prompt", ["x", "snow at night", "a paper map", "a planet", "a rose garden", "silk", "hills"]
)
def test_partial_images_come_to_be_sharp(prompt: str) -> None:
    """Each stage has more detail than the one before."""
    what = [spec(prompt, size=(384, 384), progress=part) for part in (0.25, 0.5, 0.75, 1.0)]
    canvas = paint_canvas(what[0].canvas)
    stages = [sharpness(opened(encode_image(canvas, one))) for one in what]
    assert stages == sorted(stages)
    assert stages[-1] > 1.5 * stages[0]


@pytest.mark.parametrize(("name", "format_"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_formats(name: str, format_: str) -> None:
    """Each output format is what it says."""
    assert opened(painted(spec(output_format=name))).format == format_


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_compression_makes_files_smaller(name: str) -> None:
    """A lower output_compression gives fewer bytes, down to 0."""
    sizes = [len(painted(spec(output_format=name, compression=share))) for share in (0, 50, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2


@pytest.mark.parametrize("name", ["png", "webp"])
def test_transparent_pictures_have_clear_corners(name: str) -> None:
    """A transparent background is clear at the corners and covered in the middle."""
    image = opened(painted(spec(output_format=name, clear=True)))
    assert image.mode == "RGBA"
    assert image.getpixel((2, 2))[3] == 0
    assert image.getpixel((128, 128))[3] == 255


def test_pngs_say_what_they_are() -> None:
    """The statement of the caption is in the file too."""
    assert opened(painted(spec())).info["Comment"] == STATEMENT == "local placeholder \u00b7 not a model"


@pytest.mark.parametrize(
    "prompt", ["short", "long " * 200, "x" * 3000, "\u65e5\u672c\u8a9e", " ", "\u00fcber \U0001f9a6", "a\nb"]
)
def test_every_picture_is_captioned(prompt: str) -> None:
    """The caption is there whatever the prompt, and only at the lower left."""
    what = spec(prompt, size=(512, 384))
    canvas = paint_canvas(what.canvas)
    changed = ImageChops.difference(canvas, opened(encode_image(canvas, what))).getbbox()
    assert changed is not None
    left, top, right, bottom = changed
    assert left < 20
    assert top > 300
    assert right < 512
    assert bottom < 384


def test_words_choose_scene_and_mood() -> None:
    """Words of the prompt pick a scene and a palette; other prompts get one by chance."""
    import random

    assert choose_scene(random.Random(1), prompt_words("An Otter, at sea!")) is SCENES["sea"]
    assert choose_palette(random.Random(1), prompt_words("autumn")) is PALETTES["ember"]
    chosen = {choose_scene(random.Random(seed), frozenset()) for seed in range(60)}
    assert chosen == set(SCENES.values())


async def test_the_server_paints_what_was_asked_for(ask: Any) -> None:
    """Through the server a stream is refined, repeats, and ends with the image that JSON gives."""
    body = {"size": "1024x1024", "output_format": "jpeg", "output_compression": 80}
    async with LocalImagesServer() as server:
        events = (await ask(of=server, stream=True, partial_images=2, **body)).events
        again = (await ask(of=server, n=2, **body)).json["data"]
    images = [opened(base64.b64decode(event["b64_json"])) for event in events]
    assert [image.size for image in images] == [(1024, 1024)] * 3
    assert sharpness(images[0]) < sharpness(images[1]) < sharpness(images[2])
    assert events[-1]["b64_json"] == again[0]["b64_json"] != again[1]["b64_json"]


async def test_painting_does_not_block_the_loop(ask: Any) -> None:
    """While a large image is painted the server answers others."""
    async with LocalImagesServer() as server:
        large = asyncio.ensure_future(ask(of=server, size="2048x2048"))
        while not server.requests:
            await asyncio.sleep(0)
        answered = 0
        while not large.done() and answered < 5:
            assert (await ask(of=server, size="big")).status == 400
            answered += 1
        assert answered == 5
        assert not large.done()
        assert (await large).status == 200


async def test_a_painted_picture_is_kept(ask: Any) -> None:
    """The second time it comes from memory, also when the first asker has left."""
    async with LocalImagesServer() as server:
        seconds = []
        for _ in range(2):
            begun = time.process_time()
            await ask(of=server, size="1024x1024")
            seconds.append(time.process_time() - begun)
        assert seconds[1] < seconds[0] / 2


async def test_fixed_pictures_are_served_as_they_are(ask: Any) -> None:
    """`pictures` may be one for all or one per format; formats without one are painted."""
    async with LocalImagesServer(pictures={"webp": b"RIFF"}) as server:
        fixed = (await ask(of=server, output_format="webp")).json["data"][0]["b64_json"]
        other = (await ask(of=server, output_format="jpeg")).json["data"][0]["b64_json"]
    assert base64.b64decode(fixed) == b"RIFF"
    assert base64.b64decode(other).startswith(b"\xff\xd8")


async def test_the_cache_makes_each_value_once_and_forgets_the_oldest() -> None:
    """Askers at the same time share one making; the limit is in bytes; failures are not kept."""
    cache = SingleFlightCache[str, bytes](10, len)
    made: list[str] = []

    def make(key: str) -> Any:
        async def work() -> bytes:
            made.append(key)
            await asyncio.sleep(0)
            if key == "bad":
                raise ValueError(key)
            return key.encode() * 4

        return lambda: asyncio.ensure_future(work())

    both = await asyncio.gather(cache.get("a", make("a")), cache.get("a", make("a")))
    assert both == [b"aaaa", b"aaaa"]
    for key in ("b", "a", "c", "a", "b"):
        assert await cache.get(key, make(key)) == key.encode() * 4
    assert made == ["a", "b", "c", "b"]
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            await cache.get("bad", make("bad"))
    assert made[-2:] == ["bad", "bad"]


async def test_an_asker_who_leaves_does_not_stop_the_painter() -> None:
    """A cancelled asker leaves the making to the others."""
    cache = SingleFlightCache[str, bytes](10, len)
    go = asyncio.Event()

    async def work() -> bytes:
        await go.wait()
        return b"done"

    first = asyncio.ensure_future(cache.get("a", lambda: asyncio.ensure_future(work())))
    second = asyncio.ensure_future(cache.get("a", lambda: asyncio.ensure_future(work())))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == b"done"
    with pytest.raises(asyncio.CancelledError):
        await first
