"""A studio on loopback, and the images API behind it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openai_images import ImagesClient, RetryPolicy
from openai_images.server import LocalImagesServer
from openai_images.studio import History, Studio, StudioSettings
from tests.helpers.edit_images import encoded, house

PNG = encoded(house((96, 64)))


@pytest.fixture
async def upstream() -> AsyncIterator[LocalImagesServer]:
    """The images API."""
    async with LocalImagesServer(pictures=PNG) as server:
        yield server


@pytest.fixture
async def client(upstream: LocalImagesServer) -> AsyncIterator[ImagesClient]:
    """The studio's client."""
    async with ImagesClient(
        base_url=upstream.base_url, api_key=upstream.api_key, retry=RetryPolicy(max_retries=0)
    ) as client:
        yield client


@pytest.fixture
def history(tmp_path: Path) -> AsyncIterator[History]:
    """An empty history."""
    history = History(tmp_path / "studio")
    yield history
    history.close()


@pytest.fixture
def studio(client: ImagesClient, history: History) -> Studio:
    """The studio."""
    return Studio(client, history, StudioSettings(model="gpt-image-2", now=lambda: 1_795_939_200.0))
