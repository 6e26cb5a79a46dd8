"""The server in a thread of its own: what other threads and loops may ask of it."""

import asyncio
import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import aiohttp
import pytest

from openai_images.server import LocalImagesServer
from tests.server.conftest import PICTURE


@pytest.fixture
def threaded() -> Iterator[LocalImagesServer]:
    """A server whose loop is in another thread."""
    with LocalImagesServer.in_thread(pictures=PICTURE) as server:
        yield server


def ask(server: LocalImagesServer) -> int:
    """The status of a request that blocks this thread."""
    request = urllib.request.Request(
        f"{server.base_url}/images/generations",
        json.dumps({"prompt": "a"}).encode(),
        {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            response.read()
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def ask_later(server: LocalImagesServer) -> int:
    """The status of a request in this loop."""
    headers = {"Authorization": f"Bearer {server.api_key}"}
    url = f"{server.base_url}/images/generations"
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(url, json={"prompt": "a"}) as answer,
    ):
        await answer.read()
        return answer.status


def test_synchronous_code_is_answered(threaded: LocalImagesServer) -> None:
    """Faults, counters and records from this thread; the thread ends with the block."""
    threaded.script("status:503", "ok")
    threaded.always("status:418")
    assert [ask(threaded) for _ in range(3)] == [503, 200, 418]
    threaded.faults = ["status:404"]
    threaded.always(None)
    assert threaded.faults == ("status:404",)
    assert [ask(threaded) for _ in range(2)] == [404, 200]
    assert (threaded.posts, [request.fault for request in threaded.requests][-1]) == (5, "ok")
    assert repr(threaded) == f"<LocalImagesServer {threaded.base_url}>"


def test_the_thread_ends_with_the_block() -> None:
    """Also where the block raises; then the server is as one that was closed."""
    before = set(threading.enumerate())
    with contextlib.suppress(ZeroDivisionError), LocalImagesServer.in_thread(pictures=PICTURE) as server:
        assert ask(server) == 200
        raise ZeroDivisionError
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.base_url
    server.release()
    asyncio.run(server.aclose())


def test_what_is_wrong_is_raised_where_the_block_begins() -> None:
    """A port in use and an impossible option, each as without a thread."""
    with LocalImagesServer.in_thread() as server:
        port = int(server.base_url.rpartition(":")[2].removesuffix("/v1"))
        with pytest.raises(OSError, match="already in use"), LocalImagesServer.in_thread(port=port):
            raise AssertionError
    with pytest.raises(ValueError, match="pace must not"), LocalImagesServer.in_thread(pace=-1):
        raise AssertionError


@pytest.mark.parametrize("fault", ["stall", "stall_after_headers", "stall_mid_event"])
async def test_a_stall_is_released_from_another_loop(threaded: LocalImagesServer, fault: str) -> None:
    """`release` reaches the server's loop, and its answers go on."""
    threaded.script(fault)
    asked = asyncio.create_task(ask_later(threaded))
    async with asyncio.timeout(60):
        while not threaded.requests:
            await asyncio.sleep(0)
        while not asked.done():  # headers and halves may still be on their way to the stall
            threaded.release()
            await asyncio.sleep(0)
    assert await asked == 200


def test_a_stall_is_released_from_a_thread(threaded: LocalImagesServer) -> None:
    """The same without a loop."""
    threaded.script("stall")
    asking = threading.Thread(target=ask, args=(threaded,))
    asking.start()
    while not threaded.requests:
        pass
    threaded.release()
    asking.join(10)
    assert not asking.is_alive()


async def test_disconnects_are_awaited_from_another_loop(threaded: LocalImagesServer) -> None:
    """`wait_disconnected` works, and ends with its time or when it is cancelled."""
    threaded.script("stall")
    asked = asyncio.create_task(ask_later(threaded))
    async with asyncio.timeout(60):
        while not threaded.requests:
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError, match="0 of 1 clients"):
            await threaded.wait_disconnected(timeout=0.05)
        waiting = asyncio.create_task(threaded.wait_disconnected(timeout=None))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        asked.cancel()
        await threaded.wait_disconnected()
    assert threaded.disconnects == 1


async def test_it_is_closed_and_started_from_another_loop(threaded: LocalImagesServer) -> None:
    """`aclose` closes it where it runs; after that it starts where it is told to."""
    threaded.script("stall")
    asked = asyncio.create_task(ask_later(threaded))
    async with asyncio.timeout(60):
        while not threaded.requests:
            await asyncio.sleep(0)
        await threaded.aclose()
        with pytest.raises(aiohttp.ClientError):
            await asked
    assert threaded.open_connections == 0
    async with threaded:
        assert await ask_later(threaded) == 200
    threaded.script("stall")
    async with threaded:
        asked = asyncio.create_task(ask_later(threaded))
        while len(threaded.requests) < 3:
            await asyncio.sleep(0)
        threaded.release()
        assert await asked == 200


def test_a_script_is_used_up_once_whoever_asks(threaded: LocalImagesServer) -> None:
    """Threads script and ask at the same time: no fault is lost, none is met twice."""
    met: list[int] = []

    def work() -> None:
        for _ in range(10):
            threaded.script("status:418")
            _ = threaded.faults
            met.append(ask(threaded))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (met, threaded.faults) == ([418] * 40, ())
