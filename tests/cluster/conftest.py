"""Fixtures of the tests of many machines: a server with one-pixel images, its client, and a shared folder to be."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openai_images import ImagesClient
from openai_images.cluster.worker import close_workers
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that draws nothing."""
    async with LocalImagesServer(pictures=PNG) as server:
        yield server


@pytest.fixture
async def client(server: LocalImagesServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ImagesClient]:
    """Its client; workers find its key in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:
        yield client
    await close_workers()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the batch goes; it makes the folder itself."""
    return tmp_path / "out"
