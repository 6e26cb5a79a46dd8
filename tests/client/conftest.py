"""Fixtures of the client's tests: a local server with one-pixel images."""

from collections.abc import AsyncIterator

import pytest

from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, FakeTime


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that paints nothing, so that each test takes milliseconds."""
    async with LocalImagesServer(pictures=PNG, now=lambda: FakeTime.WALL) as server:
        yield server
