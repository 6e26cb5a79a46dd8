"""Fixtures of the tests of economy: a provider of the Batch API, and its client."""

from collections.abc import AsyncIterator

import pytest

from openai_images import ImagesClient
from tests.helpers.batch_provider import BatchProvider
from tests.helpers.clients import FakeTime, client_of


@pytest.fixture
async def provider() -> AsyncIterator[BatchProvider]:
    """A provider."""
    async with BatchProvider() as provider:
        yield provider


@pytest.fixture
async def client(provider: BatchProvider, time: FakeTime) -> AsyncIterator[ImagesClient]:
    """Its client."""
    async with client_of(provider, timing=time.timing) as client:
        yield client
