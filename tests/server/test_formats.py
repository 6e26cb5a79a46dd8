"""Animated gifs and svg text: what they are, and what does not go with them."""

import base64
import io
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from PIL import Image, ImageChops

from openai_images.server import LocalImagesServer
from openai_images.server.paint.drawing import STATEMENT
from openai_images.server.paint.variants import draw
from openai_images.server.protocol.catalog import MODELS, Animation, automatic_gif_size, gif_problem
from openai_images.server.requests.source_images import CheckedEdit, inspect_image
from tests.helpers.edit_images import encoded, house

GIF = {"model": "gpt-image-2.6-flare", "output_format": "gif"}
SVG = {"model": "gpt-image-2.6-flare", "output_format": "svg", "svg": {"model": "writer"}}
NS = "{http://www.w3.org/2000/svg}"


def data_of(reply: Any, number: int = 0) -> bytes:
    """The bytes of an image in an answer."""
    return base64.b64decode(reply.json["data"][number]["b64_json"])


@pytest.mark.parametrize(
    ("more", "frames", "milliseconds"),
    [
        ({}, 9, 200),
        ({"frame_count": 2, "frame_duration_ms": 44}, 2, 40),
        ({"frame_count": 16, "frame_duration_ms": 655_350}, 16, 655_350),
    ],
)
async def test_a_gif_moves(ask: Any, more: dict[str, int], frames: int, milliseconds: int) -> None:
    """So many different frames, each for so long, over and over."""
    async with LocalImagesServer() as server:
        reply = await ask(of=server, size="288x288", **GIF, **more)
    assert (reply.json["output_format"], reply.json["size"]) == ("gif", "288x288")
    gif = Image.open(io.BytesIO(data_of(reply)))
    assert (gif.format, gif.n_frames, gif.size, gif.info["loop"]) == ("GIF", frames, (288, 288), 0)
    views = []
    for frame in range(frames):
        gif.seek(frame)
        assert gif.info["duration"] == milliseconds
        views.append(gif.convert("RGB"))
    for one, other in zip(views, views[1:] + views[:1], strict=True):
        assert ImageChops.difference(one, other).getbbox() is not None


async def test_several_gifs(ask: Any) -> None:
    """`n` works; `auto` gives what their sheets have room for together."""
    async with LocalImagesServer() as server:
        reply = await ask(of=server, n=2, frame_count=3, **GIF)
    assert data_of(reply, 0) != data_of(reply, 1)
    assert reply.json["size"] == "640x640"
    assert reply.json["usage"]["output_tokens"] == 2 * 1280


@pytest.mark.parametrize(("frames", "cap"), [(2, 960), (9, 960), (10, 816), (12, 816), (13, 720), (16, 720)])
def test_the_measured_caps_of_squares(frames: int, cap: int) -> None:
    """The largest square that was accepted is, and the next is not."""
    model, animation = MODELS["gpt-image-2.6-flare"], Animation(frames, 200)
    assert gif_problem(model, (cap, cap), animation, 1) is None
    too_large = gif_problem(model, (cap + 16, cap + 16), animation, 1)
    assert too_large is not None
    assert too_large.startswith(f"Invalid size '{cap + 16}x{cap + 16}'. ")


def test_automatic_gifs_are_accepted() -> None:
    """For every number of frames and of images, `auto` chooses a size that may be asked for."""
    model = MODELS["gpt-image-2.6-flare"]
    for frames in range(2, 17):
        for n in range(1, 11):
            size = automatic_gif_size(Animation(frames, 200), n)
            assert gif_problem(model, size, Animation(frames, 200), n) is None


REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    (GIF | {"stream": True}, "invalid_value", "stream", "Streaming is not supported for GIF output format."),
    (
        GIF | {"output_compression": 50},
        "invalid_value",
        "output_compression",
        "Compression less than 100 is not",
    ),
    (
        GIF | {"frame_count": 1},
        "integer_below_min_value",
        "frame_count",
        "Invalid 'frame_count': integer below",
    ),
    (
        GIF | {"frame_count": 17},
        "integer_above_max_value",
        "frame_count",
        "Invalid 'frame_count': integer above",
    ),
    (
        GIF | {"frame_duration_ms": 9},
        "integer_below_min_value",
        "frame_duration_ms",
        "Invalid 'frame_duration_ms'",
    ),
    (
        GIF | {"frame_duration_ms": 655_351},
        "integer_above_max_value",
        "frame_duration_ms",
        "Invalid 'frame_duration",
    ),
    (
        GIF | {"size": "976x976"},
        "invalid_value",
        "size",
        "Invalid size '976x976'. Requested resolution exceeds",
    ),
    (
        GIF | {"size": "200x200"},
        "invalid_value",
        "size",
        "Invalid size '200x200'. Width and height must both be div",
    ),
    (
        GIF | {"size": "960x960", "n": 2},
        "invalid_value",
        "size",
        "Invalid size '960x960'. 2 animations together",
    ),
    (GIF | {"size": "64x64"}, "invalid_value", "size", "Invalid size '64x64'. Requested resolution is below"),
    (
        GIF | {"background": "transparent"},
        "invalid_value",
        "background",
        "Transparent background is not supported for",
    ),
    (
        GIF | {"svg": {"model": "writer"}},
        "invalid_value",
        "svg",
        "The 'svg' parameter is only supported when",
    ),
    (
        SVG | {"frame_count": 3},
        "invalid_value",
        "frame_count",
        "The 'frame_count' parameter is only supported when",
    ),
    (SVG | {"stream": True}, "invalid_value", "stream", "Streaming is not supported for SVG output format."),
    (SVG | {"n": 2}, "invalid_value", "n", "SVG output format is only supported with n=1."),
    (
        SVG | {"output_compression": 100},
        "invalid_value",
        "output_compression",
        "Compression is not supported for SVG",
    ),
    (SVG | {"svg": None}, "missing_required_parameter", "svg", "Missing required parameter: 'svg'."),
    (
        SVG | {"svg": {}},
        "missing_required_parameter",
        "svg.model",
        "Missing required parameter: 'svg.model'.",
    ),
    (
        SVG | {"svg": "writer"},
        "invalid_type",
        "svg",
        "Invalid type for 'svg': expected an object, but got a string",
    ),
    (
        SVG | {"svg": {"model": 5}},
        "invalid_type",
        "svg.model",
        "Invalid type for 'svg.model': expected a string",
    ),
    (SVG | {"svg": {"model": ""}}, "invalid_value", "svg.model", "Invalid 'svg.model': empty string."),
    (SVG | {"svg": {"model": "w", "x": 1}}, "unknown_parameter", "svg.x", "Unknown parameter: 'svg.x'."),
    (
        SVG | {"svg": {"model": "w", "reasoning": "low"}},
        "invalid_type",
        "svg.reasoning",
        "Invalid type for 'svg.reasoning': expected an object",
    ),
    (
        SVG | {"svg": {"model": "w", "reasoning": {"summary": "auto"}}},
        "unknown_parameter",
        "svg.reasoning.summary",
        "Unknown parameter",
    ),
    (
        SVG | {"svg": {"model": "w", "reasoning": {"effort": 1}}},
        "invalid_type",
        "svg.reasoning.effort",
        "Invalid type for 'svg.reasoning.effort'",
    ),
    (
        {"model": "gpt-image-2.5-flare", "output_format": "svg"},
        "invalid_value",
        "output_format",
        "Invalid value: 'svg'.",
    ),
    (
        {"model": "gpt-image-2", "svg": {"model": "w"}},
        "unknown_parameter",
        "svg",
        "Unknown parameter: 'svg'.",
    ),
]


@pytest.mark.parametrize(("body", "code", "param", "message"), REFUSED)
async def test_what_does_not_go_together(
    ask: Any, body: dict[str, Any], code: str, param: str, message: str
) -> None:
    """Each is a 400 with code, param and words."""
    reply = await ask(**body)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
    assert reply.error["message"].startswith(message)


@pytest.mark.parametrize(
    "body",
    [
        SVG | {"partial_images": 0},
        SVG | {"svg": {"model": "w", "reasoning": {"effort": None}}},
        GIF | {"output_compression": 100},
    ],
)
async def test_what_goes_together(ask: Any, body: dict[str, Any]) -> None:
    """Defaults that are written out, and null."""
    assert (await ask(**body)).status == 200


async def test_an_svg_is_text_that_parses(ask: Any) -> None:
    """In the size that was asked for, captioned, and with the usage of its author."""
    prompt = "<script>alert('x')</script> & \"sea\" ]]> \x07 é"
    async with LocalImagesServer() as server:
        reply = await ask(
            of=server,
            prompt=prompt,
            size="1536x1024",
            **SVG | {"svg": {"model": "w", "reasoning": {"effort": "high"}}},
        )
    text = data_of(reply).decode()
    root = ET.fromstring(text)
    assert (root.tag, root.get("width"), root.get("viewBox")) == (f"{NS}svg", "1536", "0 0 1536 1024")
    words = ["".join(node.itertext()) for node in root.iter(f"{NS}text")]
    assert words[0] == STATEMENT
    assert words[1].startswith("<script>alert('x')</script> &")
    assert list(root.iter(f"{NS}script")) == []
    assert "href" not in text
    usage = reply.json["svg_usage"]
    assert list(usage) == ["model", "input_tokens", "output_tokens", "reasoning_tokens", "total_tokens"]
    assert usage["model"] == "w"
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["reasoning_tokens"] == 4096


@pytest.mark.parametrize("prompt", ["sea", "a planet", "roses", "a valley", "\u65e5\u672c\u8a9e", "x" * 900])
@pytest.mark.parametrize("size", [(1024, 1024), (1536, 512), (512, 1536)])
def test_every_drawing_fits_every_shape(prompt: str, size: tuple[int, int]) -> None:
    """Each parses, is drawn, is the same each time, and is small."""
    text = draw(prompt, 0, size, None)
    shapes = [node for node in ET.fromstring(text).iter() if node.tag.endswith(("path", "circle", "ellipse"))]
    assert len(shapes) >= 5
    assert text == draw(prompt, 0, size, None)
    assert len(text) < 20_000


def test_the_svg_of_an_edit_is_made_from_its_picture() -> None:
    """A mosaic in its colours: blue above, green below."""
    seen = inspect_image(io.BytesIO(encoded(house())), "00" * 32, "first", pixels=True)
    assert seen is not None
    dots = list(ET.fromstring(draw("x", 0, (400, 400), CheckedEdit(images=(seen,)))).iter(f"{NS}circle"))
    assert len(dots) == 1600
    assert (dots[0].get("fill"), dots[-1].get("fill")) == ("#8cbef0", "#469646")
