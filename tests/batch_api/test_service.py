"""The calls of the Batch API: what is free is repeated, creating a batch is not; the list is read as far as needed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from openai_images import ConfigurationError, ImagesClient, OutcomeUnknownError
from openai_images.batch_api.provider_batch import TAG
from openai_images.batch_api.service import BatchService
from tests.helpers.batch_provider import BatchProvider
from tests.helpers.clients import FakeTime, client_of

DAY = 24 * 3600


@pytest.fixture
async def provider() -> AsyncIterator[BatchProvider]:
    """A provider, which lists two batches on a page."""
    async with BatchProvider() as provider:
        yield provider


@pytest.fixture
async def service(provider: BatchProvider) -> AsyncIterator[BatchService]:
    """Its service."""
    async with client_of(provider) as client:
        yield BatchService(*client._calls.connection())  # pyright: ignore[reportPrivateUsage]


def batch(number: int, created_at: float, tag: str = "") -> dict[str, Any]:
    """A batch in the list."""
    return {
        "id": f"batch_{number}",
        "status": "completed",
        "created_at": int(created_at),
        "metadata": {TAG: tag},
    }


async def test_a_tag_is_found_on_any_page(provider: BatchProvider, service: BatchService) -> None:
    """The oldest of several first."""
    tags = ["", "", "mine", "", "", "mine"]
    provider.batches = {
        f"batch_{number}": batch(number, FakeTime.WALL - number, tag) for number, tag in enumerate(tags)
    }
    assert [found.id for found in await service.find("mine", FakeTime.WALL)] == ["batch_5", "batch_2"]
    assert await service.find("other", FakeTime.WALL) == []
    assert provider.calls.count("list") == 6


@pytest.mark.parametrize(("newest_first", "lists"), [(True, 2), (False, 10)])
async def test_old_pages_are_not_read(
    newest_first: bool, lists: int, provider: BatchProvider, service: BatchService
) -> None:
    """Where the newest batches come first; else the tag may be on the last page."""
    ages = range(20) if newest_first else range(19, -1, -1)
    provider.batches = {
        f"batch_{number}": batch(number, FakeTime.WALL - age * DAY) for number, age in enumerate(ages)
    }
    assert await service.find("mine", FakeTime.WALL) == []
    assert provider.calls.count("list") == lists


async def test_creating_is_not_repeated(provider: BatchProvider, service: BatchService) -> None:
    """Its outcome is unknown; a refusal is none, and is repeated by the rules of any request."""
    provider.lost = lambda: web.json_response({}, status=500)
    with pytest.raises(OutcomeUnknownError):
        await service.create("file-1", "/v1/images/generations", "tag")
    assert provider.calls == ["create"]
    answers = iter([web.json_response({"error": {"message": "Slow down."}}, status=429), None])
    provider.creating = lambda: next(answers)
    provider.lost = lambda: None
    created = await service.create("file-1", "/v1/images/generations", "tag")
    assert (created.tag, created.is_ended) == ("tag", False)
    assert provider.calls == ["create"] * 3


async def test_azure_is_refused() -> None:
    """Its batches have another address."""
    async with ImagesClient.azure("https://x.openai.azure.com", api_key="k", deployment="d") as client:
        connection = client._calls.connection()  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(ConfigurationError, match="Azure"):
            BatchService(*connection)
