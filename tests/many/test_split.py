"""`generate_many` with requests for more images than one carries: each is one outcome, and counts as one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openai_images import (
    Failed,
    GenerateRequest,
    ImagesClient,
    Limits,
    PartialResultError,
    Progress,
    Succeeded,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.leaks import until


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that paints nothing."""
    async with LocalImagesServer(pictures=PNG, now=lambda: FakeTime.WALL) as server:
        yield server


def requests(count: int, n: int) -> list[GenerateRequest]:
    """So many requests for so many images each."""
    return [GenerateRequest(f"otter {number}", model="gpt-image-2", n=n) for number in range(count)]


async def test_counts(server: LocalImagesServer) -> None:
    """In flight and waiting are requests as they were given; images, attempts and money are those of all."""
    seen: list[Progress] = []
    async with (
        client_of(server, limits=Limits(concurrency=2)) as client,
        client.generate_many(requests(6, 23), concurrency=3, progress=seen.append) as outcomes,
    ):
        ended = [outcome async for outcome in outcomes]
    assert all(isinstance(one, Succeeded) and one.result.attempts == 3 for one in ended)
    assert (server.posts, seen[-1].done, seen[-1].images, seen[-1].unpriced) == (18, 6, 138, 0)
    assert seen[-1].spent is not None
    assert max(one.in_flight + one.waiting for one in seen) == 3
    assert (seen[-1].in_flight, seen[-1].waiting) == (0, 0)


async def test_stop_lets_what_was_sent_finish(server: LocalImagesServer) -> None:
    """One of its requests is in flight: the others are not sent, and its images are on the error."""
    server.script("stall")
    async with (
        ImagesClient(
            base_url=server.base_url, api_key=server.api_key, limits=Limits(concurrency=1)
        ) as client,
        client.generate_many(requests(3, 23), concurrency=2) as outcomes,
    ):
        await until(lambda: server.posts == 1)
        outcomes.stop()
        server.always(None)
        server.release()
        ended = [outcome async for outcome in outcomes]
    [failed] = ended
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, PartialResultError)
    assert (len(failed.error.result.images), failed.error.result.missing) == (10, 13)
    assert all(error.safe_to_resend for error in failed.error.errors)
    assert (failed.maybe_billed, server.posts) == (False, 1)


async def test_what_came_of_a_failure(server: LocalImagesServer) -> None:
    """A `Failed` whose error has the images of the others; nobody else is disturbed."""
    server.script("ok", "moderation_400")
    async with (
        client_of(server, limits=Limits(concurrency=1)) as client,
        client.generate_many(requests(2, 12), ordered=True) as outcomes,
    ):
        failed, good = [outcome async for outcome in outcomes]
    assert isinstance(good, Succeeded) or isinstance(failed, Succeeded)
    (error,) = (one.error for one in (failed, good) if isinstance(one, Failed))
    assert isinstance(error, PartialResultError)
    assert len(error.result.images) in (2, 10)


async def test_files(server: LocalImagesServer, tmp_path: Path) -> None:
    """Named by their request's key, as of one request."""
    async with (
        client_of(server) as client,
        client.generate_many([{"prompt": "a", "key": "otter", "n": 12}], into=tmp_path) as outcomes,
    ):
        (outcome,) = [outcome async for outcome in outcomes]
    assert isinstance(outcome, Succeeded)
    assert [image.path for image in outcome.result.images] == [
        tmp_path / f"otter-{number}.png" for number in range(12)
    ]


async def test_what_came_of_a_failure_is_counted(server: LocalImagesServer) -> None:
    """Its images are there and paid for, so the progress has them."""
    server.script("fewer_images:2")
    request = {"prompt": "a", "model": "gpt-image-2", "size": "1024x1024", "quality": "low", "n": 3}
    async with client_of(server) as client, client.generate_many([request]) as outcomes:
        (outcome,) = [outcome async for outcome in outcomes]
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, PartialResultError)
    now = outcomes.progress
    assert (now.done, now.failed, now.images, now.unpriced) == (0, 1, 2, 0)
    assert now.spent == outcome.error.result.cost()
    assert now.spent
