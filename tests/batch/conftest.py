"""Fixtures of the batches' tests: a server with one-pixel images, its client, a folder to be."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openai_images import ImagesClient
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, FakeTime, client_of


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that paints nothing."""
    async with LocalImagesServer(pictures=PNG, now=lambda: FakeTime.WALL) as server:
        yield server


@pytest.fixture
def time() -> FakeTime:
    """The client's clock."""
    return FakeTime()


@pytest.fixture
async def client(server: LocalImagesServer, time: FakeTime) -> AsyncIterator[ImagesClient]:
    """Its client."""
    async with client_of(server, timing=time.timing) as client:
        yield client


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the batch goes; it makes the folder itself."""
    return tmp_path / "out"
