"""One client pointed at another server for a while, as tests of an app do with the app's own clients."""

import asyncio
from collections.abc import Iterator

import pytest

from openai_images import ConfigurationError, ImagesClient, RateLimitError, RetryPolicy
from openai_images.server import LocalImagesServer
from tests.helpers.clients import BOTH, KEY, PNG, PROMPT, Call, client_of, generate


@pytest.fixture(scope="module")
def other() -> Iterator[LocalImagesServer]:
    """A server in a thread, as tests have it."""
    with LocalImagesServer.in_thread(pictures=PNG) as server:
        yield server


@BOTH
async def test_calls_of_the_block_go_there(
    call: Call, server: LocalImagesServer, other: LocalImagesServer
) -> None:
    """Several clients, whatever they were built with, and afterwards each is as it was."""
    other.reset()
    azure = ImagesClient.azure("https://name.openai.azure.com", api_key="k", proxy="http://127.0.0.1:9")
    own = client_of(server, headers={"Authorization": "Bearer wrong", "X-App": "shop"}, model="gpt-image-2")
    unready = ImagesClient()
    before = [repr(each) for each in (azure, own, unready)]
    with other.patch(azure, own, unready) as patched:
        assert patched is other
        for client in (azure, own, unready):
            assert client.base_url == other.base_url
            await call(client)
            await client.aclose()
    assert [request.headers.get("X-App") for request in other.requests] == [None, "shop", None]
    assert [repr(each) for each in (azure, own, unready)] == before
    assert server.posts == 0
    with pytest.raises(ConfigurationError, match="no API key"):
        unready.stream(PROMPT)


async def test_calls_in_flight_go_on(server: LocalImagesServer, other: LocalImagesServer) -> None:
    """A call that began before the block, and one that began in it, end where they are."""
    other.reset(faults=["stall"])
    server.script("stall")
    async with client_of(server) as client:
        first = asyncio.ensure_future(generate(client))
        while not server.requests:
            await asyncio.sleep(0)
        with other.patch(client):
            second = asyncio.ensure_future(generate(client))
            while not other.requests:
                await asyncio.sleep(0)
            server.release()
            assert (await first).image.data == PNG
        other.release()
        assert (await second).image.data == PNG
    assert (server.posts, other.posts) == (1, 1)


async def test_its_limits_stay_there(server: LocalImagesServer, other: LocalImagesServer) -> None:
    """A 429 of a test holds back nothing after it."""
    other.reset(always="rate_limited")
    async with client_of(server, retry=RetryPolicy(max_retries=0, max_rate_limit_wait=0)) as client:
        with other.patch(client), pytest.raises(RateLimitError):
            await generate(client)
        assert client._context.limiter.wait_reason is None
        await generate(client)


def test_an_address_that_cannot_be_used_changes_nothing() -> None:
    """The client stays as it was."""
    client = ImagesClient(api_key=KEY)
    with pytest.raises(ConfigurationError), client.override(base_url="nowhere", api_key="k"):
        pass
    assert client.base_url == "https://api.openai.com/v1"


async def test_the_environment_of_a_server(other: LocalImagesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has it finds the server, past any proxy."""
    other.reset()
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for direct, expected in (("*", "*"), ("a.example", "a.example,127.0.0.1"), ("", "127.0.0.1")):
        monkeypatch.setenv("NO_PROXY", direct)
        assert other.environment["NO_PROXY"] == other.environment["no_proxy"] == expected
    for name, value in other.environment.items():
        monkeypatch.setenv(name, value)
    async with ImagesClient() as client:
        await generate(client)
    assert other.posts == 1
