"""Fixtures of the tests of many machines: a server with one-pixel images, its client, and a shared folder to be."""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from benchmarks.s3_server import BUCKET, s3_server
from openai_images import ImagesClient
from openai_images.cluster.worker import close_workers
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG

_runs = count(1)


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that draws nothing."""
    async with LocalImagesServer(pictures=PNG) as server:
        yield server


@pytest.fixture
def server_thread() -> Iterator[LocalImagesServer]:
    """One with a loop of its own."""
    with LocalImagesServer.in_thread(pictures=PNG) as server:
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


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """A local S3 server for all tests: the environment of its clients."""
    with s3_server() as environment:
        yield environment


@pytest.fixture
def s3_url(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a batch goes in an object store."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/run-{next(_runs)}"
