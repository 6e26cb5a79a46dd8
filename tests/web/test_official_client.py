"""The official `openai` package reads a relay as if it were the API."""

import base64
from collections.abc import AsyncIterator

import openai
import pytest

from openai_images import ImagesClient, RetryPolicy
from openai_images.server import LocalImagesServer
from tests.helpers.edit_images import encoded, house
from tests.helpers.web_apps import Shop, serve

PNG = encoded(house((96, 64)))


@pytest.fixture
async def upstream() -> AsyncIterator[LocalImagesServer]:
    """The images API."""
    async with LocalImagesServer(pictures=PNG) as server:
        yield server


async def test_events_and_errors(upstream: LocalImagesServer) -> None:
    """Its events have their types and their images, and the error event is its `APIError`."""
    async with (
        ImagesClient(
            base_url=upstream.base_url, api_key=upstream.api_key, retry=RetryPolicy(max_retries=0)
        ) as client,
        serve("aiohttp", Shop(client)) as (url, _),
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="browser", max_retries=0) as official,
    ):
        stream = await official.images.generate(
            prompt="an otter", model="gpt-image-2", stream=True, partial_images=2
        )
        events = [event async for event in stream]
        assert [event.type for event in events] == [
            "image_generation.partial_image",
            "image_generation.partial_image",
            "image_generation.completed",
        ]
        assert [base64.b64decode(event.b64_json) for event in events] == [PNG] * 3
        assert events[-1].type == "image_generation.completed"
        assert events[-1].usage.total_tokens > 0

        upstream.script("moderation_400")
        stream = await official.images.generate(prompt="an otter", model="gpt-image-2", stream=True)
        with pytest.raises(openai.APIError, match="safety system") as caught:
            [event async for event in stream]
        assert caught.value.code == "moderation_blocked"
