"""The calls of the Batch API: what is free is repeated, creating a batch is not; the list is read as far as needed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from openai_images import (
    APIStatusError,
    ConfigurationError,
    DecodeError,
    ImagesClient,
    OutcomeUnknownError,
    Timeouts,
)
from openai_images._util.stop_signal import StoppedError, StopSignal
from openai_images.batch.provider.provider_batch import TAG
from openai_images.batch.provider.service import BatchService
from openai_images.http.request_body import RequestProgress
from openai_images.wire.requests import HTTPRequest
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


@pytest.mark.parametrize("status", [301, 408, 409, 425, 500, 502, 503, 504, 524])
@pytest.mark.parametrize("headers", [{}, {"x-should-retry": "true"}, {"Retry-After": "1"}])
async def test_a_batch_may_exist_behind_any_other_answer(
    status: int, headers: dict[str, str], provider: BatchProvider, service: BatchService
) -> None:
    """Whatever it says of sending again; what is free is sent again by the rules of any request."""
    provider.lost = lambda: web.Response(status=status, headers=headers, text="<html>upstream</html>")
    with pytest.raises(OutcomeUnknownError) as raised:
        await service.create("file-1", "/v1/images/generations", "tag")
    assert provider.calls == ["create"]
    assert not raised.value.safe_to_resend


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 422])
async def test_a_refusal(status: int, provider: BatchProvider, service: BatchService) -> None:
    """It was not created."""
    provider.creating = lambda: web.json_response({"error": {"message": "No."}}, status=status)
    with pytest.raises(APIStatusError) as raised:
        await service.create("file-1", "/v1/images/generations", "tag")
    assert not isinstance(raised.value, OutcomeUnknownError)
    assert provider.calls == ["create"]


async def test_a_creation_that_is_sent_when_the_run_is_stopped(provider: BatchProvider) -> None:
    """At the same moment: the batch may exist."""
    stop = StopSignal()

    async def send(
        request: HTTPRequest, timeouts: Timeouts, watch: Callable[[RequestProgress], object]
    ) -> None:
        def stop_and_start() -> None:
            stop.set()
            progress.mark_started()

        progress = RequestProgress(request.body, timeouts, FakeTime().timing)
        watch(progress)
        asyncio.get_running_loop().call_soon(stop_and_start)
        await asyncio.Event().wait()

    async with client_of(provider) as client:
        endpoint, context = client._calls.connection()  # pyright: ignore[reportPrivateUsage]
        context.transport.open = send  # type: ignore[method-assign, assignment]
        service = BatchService(endpoint, context, stop)
        with pytest.raises(OutcomeUnknownError, match="may exist"):
            await service.create("file-1", "/v1/images/generations", "tag")
        with pytest.raises(StoppedError):
            await service.retrieve("batch_1")
    assert provider.calls == []


async def test_a_creation_after_another_when_the_run_is_stopped(provider: BatchProvider) -> None:
    """Only the first batch exists."""
    stop = StopSignal()
    async with client_of(provider) as client:
        endpoint, context = client._calls.connection()  # pyright: ignore[reportPrivateUsage]
        service = BatchService(endpoint, context, stop)
        provider.files["file-1"] = b""
        await service.create("file-1", "/v1/images/generations", "tag")
        stop.set()
        with pytest.raises(StoppedError):
            await service.create("file-1", "/v1/images/generations", "another")
    assert provider.calls == ["create"]


async def test_files_of_the_project(provider: BatchProvider, service: BatchService) -> None:
    """One that is not known is another project's; other failures say nothing."""
    provider.files["file-1"] = b""
    assert await service.has_file("file-1")
    assert not await service.has_file("file-2")


async def test_a_batch_is_found_by_its_file(provider: BatchProvider, service: BatchService) -> None:
    """Where its metadata is gone."""
    provider.batches = {"batch_1": batch(1, FakeTime.WALL) | {"input_file_id": "file-1"}}
    assert [found.id for found in await service.find("mine", FakeTime.WALL, "file-1")] == ["batch_1"]
    assert await service.find("mine", FakeTime.WALL, "file-2") == []
    assert await service.find("mine", FakeTime.WALL) == []


async def test_a_list_that_does_not_say_whether_it_goes_on(
    provider: BatchProvider, service: BatchService
) -> None:
    """It is read until nothing new comes."""
    provider.batches = {
        f"batch_{number}": batch(number, FakeTime.WALL + number, "mine" if number == 4 else "")
        for number in range(5)
    }
    provider.page = lambda page: {"data": page["data"]}
    assert [found.id for found in await service.find("mine", FakeTime.WALL)] == ["batch_4"]
    first = [batch(0, FakeTime.WALL, "mine"), batch(1, FakeTime.WALL)]
    provider.calls.clear()
    provider.page = lambda _: {"data": first}
    assert len(await service.find("mine", FakeTime.WALL)) == 1
    assert len(provider.calls) == 2


@pytest.mark.parametrize("page", [{"data": [{"id": "batch_1"}], "has_more": False}, {"data": ["x"]}])
async def test_a_list_of_something_else(
    page: dict[str, Any], provider: BatchProvider, service: BatchService
) -> None:
    """Proves nothing."""
    provider.page = lambda _: page
    with pytest.raises(DecodeError):
        await service.find("mine", FakeTime.WALL)


async def test_a_list_that_begins_again(provider: BatchProvider, service: BatchService) -> None:
    """And says that there is more: it was not read to its end."""
    provider.batches = {"batch_0": batch(0, FakeTime.WALL)}
    provider.page = lambda _: {"data": [batch(0, FakeTime.WALL)], "has_more": True}
    with pytest.raises(DecodeError, match="does not end"):
        await service.find("mine", FakeTime.WALL)
    assert len(provider.calls) == 2


async def test_azure_is_refused() -> None:
    """Its batches have another address."""
    async with ImagesClient.azure("https://x.openai.azure.com", api_key="k", deployment="d") as client:
        connection = client._calls.connection()  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(ConfigurationError, match="Azure"):
            BatchService(*connection)
