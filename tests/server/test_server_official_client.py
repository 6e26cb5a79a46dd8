"""The official client talks to the local server and finds what its types promise."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent, ImagesResponse

from openai_images.server import LocalImagesServer


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
