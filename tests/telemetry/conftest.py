"""Fixtures of the tests of telemetry."""

from collections.abc import AsyncIterator

import pytest

from openai_images import ImagesClient
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.telemetry import Recorded


@pytest.fixture
def recorded() -> Recorded:
    """Providers that keep what they are told."""
    return Recorded()


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server of one-pixel images."""
    async with LocalImagesServer(pictures=PNG, now=lambda: FakeTime.WALL) as server:
        yield server


@pytest.fixture
async def client(server: LocalImagesServer, recorded: Recorded) -> AsyncIterator[ImagesClient]:
    """A client that reports."""
    async with client_of(server, telemetry=recorded.telemetry(), model="gpt-image-2") as client:
        yield client
