"""The official client talks to the local server and finds what its types promise."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
)

from openai_images.server import LocalImagesServer
from tests.helpers.edit_images import encoded, house, layer
from tests.helpers.server_thread import NOW


@pytest.fixture
async def official(server: LocalImagesServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, without retries."""
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", ["gpt-image-2", "gpt-image-1.5", "gpt-image-2.5-flare"])
async def test_generate(official: openai.AsyncOpenAI, picture: bytes, model: str) -> None:
    """A JSON answer is valid for its strict model."""
    answer = await official.images.generate(prompt="x", model=model, size="1024x1024", quality="high")
    ImagesResponse.model_validate(answer.model_dump())
    assert base64.b64decode(answer.data[0].b64_json) == picture
    assert (answer.quality, answer.size) == ("high", "1024x1024")
    assert answer.usage.output_tokens_details.image_tokens == answer.usage.output_tokens


async def test_stream(official: openai.AsyncOpenAI, picture: bytes) -> None:
    """A stream gives its typed events, each valid."""
    stream = await official.images.generate(
        prompt="x", model="gpt-image-2", size="1536x1024", stream=True, partial_images=2
    )
    events: list[Any] = [event async for event in stream]
    assert [type(event) for event in events] == [ImageGenPartialImageEvent] * 2 + [ImageGenCompletedEvent]
    for event in events:
        type(event).model_validate(event.model_dump())
        assert base64.b64decode(event.b64_json) == picture
    assert events[-1].usage.total_tokens > 0


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("status:401", openai.AuthenticationError),
        ("status:404", openai.NotFoundError),
        ("rate_limited", openai.RateLimitError),
        ("moderation_400", openai.BadRequestError),
        ("html_502", openai.InternalServerError),
        ("reset_after_body", openai.APIConnectionError),
    ],
)
async def test_errors(
    official: openai.AsyncOpenAI, server: LocalImagesServer, fault: str, error: type[Exception]
) -> None:
    """Errors arrive as the client's own classes."""
    server.script(fault)
    with pytest.raises(error):
        await official.images.generate(prompt="x", model="gpt-image-2")


async def test_an_error_in_mid_stream(official: openai.AsyncOpenAI, server: LocalImagesServer) -> None:
    """An error event is raised with its code after the partial image."""
    server.script("moderation_mid_stream")
    stream = await official.images.generate(prompt="x", model="gpt-image-2", stream=True, partial_images=1)
    assert (await anext(stream)).type == "image_generation.partial_image"
    with pytest.raises(openai.APIError) as caught:
        await anext(stream)
    assert caught.value.code == "moderation_blocked"


async def test_models(official: openai.AsyncOpenAI) -> None:
    """The catalogue is listed."""
    assert "gpt-image-2" in [model.id async for model in official.models.list()]


FILES = [(f"{number}.png", encoded(house((256, 256 + number))), "image/png") for number in range(3)]


async def test_edit_one_image(
    official: openai.AsyncOpenAI, server: LocalImagesServer, picture: bytes
) -> None:
    """It travels as `image`; the answer is valid for its strict model."""
    answer = await official.images.edit(
        image=FILES[0], prompt="night", model="gpt-image-2.5-flare", n=2, size="1024x1024"
    )
    ImagesResponse.model_validate(answer.model_dump())
    assert [base64.b64decode(item.b64_json) for item in answer.data] == [picture] * 2
    assert answer.usage.input_tokens_details.image_tokens == 64
    assert [part.name for part in server.requests[0].parts] == ["prompt", "model", "n", "size", "image"]


async def test_edit_three_images(official: openai.AsyncOpenAI, server: LocalImagesServer) -> None:
    """They travel as `image[]`, and each is counted."""
    answer = await official.images.edit(image=FILES, prompt="night", model="gpt-image-2")
    assert answer.usage.input_tokens_details.image_tokens == 64 + 2 * 72
    assert [part.filename for part in server.requests[0].parts if part.name == "image[]"] == [
        "0.png",
        "1.png",
        "2.png",
    ]


async def test_edit_with_a_mask(official: openai.AsyncOpenAI, server: LocalImagesServer) -> None:
    """A mask that does not fit, and bytes without a type, are the API's errors."""
    mask = ("mask.png", encoded(layer()), "image/png")
    answer = await official.images.edit(
        image=FILES[0], mask=mask, prompt="night", model="gpt-image-1.5", input_fidelity="high"
    )
    assert answer.data[0].b64_json
    with pytest.raises(openai.BadRequestError, match="mask size does not match image size"):
        await official.images.edit(image=FILES[1], mask=mask, prompt="night", model="gpt-image-1.5")
    with pytest.raises(openai.BadRequestError, match="unsupported mimetype"):
        await official.images.edit(image=FILES[0][1], prompt="night", model="gpt-image-1.5")


async def test_edit_streaming(official: openai.AsyncOpenAI, picture: bytes) -> None:
    """A stream gives the typed events of edits, each valid."""
    stream = await official.images.edit(
        image=FILES, prompt="night", model="gpt-image-2.6-flare", stream=True, partial_images=2
    )
    events: list[Any] = [event async for event in stream]
    assert [type(event) for event in events] == [ImageEditPartialImageEvent] * 2 + [ImageEditCompletedEvent]
    for event in events:
        type(event).model_validate(event.model_dump())
        assert base64.b64decode(event.b64_json) == picture
    assert events[-1].usage.input_tokens_details.image_tokens == 208


async def test_painted_edits(official: openai.AsyncOpenAI) -> None:
    """A server that paints gives partial images of the edited image, in the shape of the first."""
    async with LocalImagesServer(now=lambda: NOW) as server:
        painting = official.with_options(base_url=server.base_url, api_key=server.api_key)
        stream = await painting.images.edit(
            image=FILES, prompt="night", model="gpt-image-1.5", stream=True, partial_images=1
        )
        events: list[Any] = [event async for event in stream]
    assert [event.size for event in events] == ["1024x1024"] * 2
    assert events[0].b64_json != events[1].b64_json


async def test_nested_parameters(official: openai.AsyncOpenAI, server: LocalImagesServer) -> None:
    """`svg` travels in brackets in a form and as an object in JSON, and is understood in both."""
    svg: Any = {"model": "writer", "reasoning": {"effort": "low"}}
    more: Any = {"output_format": "svg", "svg": svg}
    edited: Any = await official.images.edit(image=FILES[0], prompt="x", model="gpt-image-2.6-flare", **more)
    made: Any = await official.images.generate(prompt="x", model="gpt-image-2.6-flare", **more)
    names = [part.name for part in server.requests[0].parts]
    assert {"svg[model]", "svg[reasoning][effort]"} <= set(names)
    assert edited.svg_usage.model == made.svg_usage.model == "writer"


async def test_urls(official: openai.AsyncOpenAI, picture: bytes) -> None:
    """The retired models answer with urls and a revised prompt."""
    async with LocalImagesServer(pictures=picture, legacy=True) as server:
        old = official.with_options(base_url=server.base_url, api_key=server.api_key)
        answer = await old.images.generate(prompt="a fox", model="dall-e-3", style="vivid", quality="hd")
        assert answer.data[0].url.startswith("http://127.0.0.1:")
        assert answer.data[0].revised_prompt.startswith("a fox")
