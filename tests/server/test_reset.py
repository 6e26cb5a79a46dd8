"""A server that several tests share: `reset` makes it as new, and what a test sets lasts until the next one."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from openai_images.server import AnsweredRequest, LocalImagesServer
from tests.server.conftest import PICTURE, Ask


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalImagesServer]:
    """One server in a thread."""
    with LocalImagesServer.in_thread(pictures=PICTURE, requests_per_minute=2, faults=["quota_429"]) as server:
        yield server


async def test_it_forgets(shared: LocalImagesServer, ask: Ask) -> None:
    """Requests, counts, faults and what the limits have let through; the constructor's own faults are back."""
    shared.reset()
    kept = shared.requests
    shared.script("stall")
    shared.always("status:502")
    assert (await ask(of=shared)).status == 429
    shared.faults = ()
    assert [(await ask(of=shared)).status for _ in range(2)] == [502, 502]
    assert (shared.posts, shared.refused, len(shared.requests)) == (3, 1, 3)
    shared.reset(faults=())
    assert (shared.posts, shared.refused, shared.requests, shared.faults) == (0, 0, [], ())
    assert len(kept) == 3, "a list that a test has kept is its own"
    assert [(await ask(of=shared)).status for _ in range(3)] == [200, 200, 429]
    shared.reset(faults=())
    assert (await ask(of=shared)).status == 200
    shared.reset()
    assert shared.faults == ("quota_429",)


async def test_options_last_until_the_next_one(shared: LocalImagesServer, ask: Ask) -> None:
    """Settings, callbacks, limits and images."""
    answered: list[AnsweredRequest] = []
    options: dict[str, Any] = {"requests_per_minute": 1, "on_answer": answered.append, "keep_requests": 1}
    shared.reset(pictures=b"GIF8 other", faults=(), picture_links="absolute", **options)
    first = await ask(of=shared)
    assert "url" in first.json["data"][0]
    assert [(await ask(of=shared)).status for _ in range(2)] == [429, 429]
    assert (len(answered), len(shared.requests)) == (3, 1)
    shared.reset(faults=())
    assert "b64_json" in (await ask(of=shared)).json["data"][0]
    assert (shared.pictures, shared.picture_links, shared.requests_per_minute) == (PICTURE, None, 2)
    assert len(answered) == 3


async def test_a_request_in_progress_is_dropped(shared: LocalImagesServer, ask: Ask) -> None:
    """What a test has left behind disturbs no other."""
    shared.reset(faults=["stall"])
    left = asyncio.ensure_future(ask(of=shared))
    while not shared.requests:
        await asyncio.sleep(0)
    shared.reset(faults=())
    with pytest.raises(aiohttp.ClientError, match="disconnected"):
        await left
    assert (await ask(of=shared)).status == 200
    assert (shared.posts, len(shared.requests), shared.disconnects) == (1, 1, 0)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"port": 1}, ValueError, "port cannot change"),
        ({"pace": -1}, ValueError, "pace must not be negative"),
        ({"faults": ["stal"]}, ValueError, "unknown fault 'stal'; did you mean 'stall'"),
        ({"pictuers": "small"}, TypeError, "pictuers"),
        ({"pictures": "tiny"}, ValueError, "pictures must be 'small', 'full'"),
    ],
)
def test_what_cannot_be_changes_nothing(
    shared: LocalImagesServer, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    """A wrong option leaves the server as it was."""
    shared.reset(faults=["reset_after_body"])
    with pytest.raises(error, match=said):
        shared.reset(**options)
    assert shared.faults == ("reset_after_body",)


async def test_a_server_that_has_not_started() -> None:
    """It can be reset as well, and starts with the new settings."""
    server = LocalImagesServer(pictures=PICTURE)
    server.reset(pictures="small")
    async with server:
        assert server.pictures == "small"
