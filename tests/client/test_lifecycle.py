"""One client in many event loops, in threads, built by the thousand; sessions that are ours and that are not."""

import asyncio
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from openai_images import ConfigurationError, ImagesClient
from openai_images.server import LocalImagesServer
from tests.helpers.leaks import nothing_left, until
from tests.helpers.server_thread import serving
from tests.helpers.tiny_images import png

PNG = png(bytes(5_000))


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Any]:
    """A server in a thread of its own."""
    with serving(pictures=PNG) as server:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server in this loop."""
    async with LocalImagesServer(pictures=PNG) as server:
        yield server


def run(server: Any, script: str) -> str:
    """Run a script in a process of its own, in development mode with warnings as errors; nothing may be on stderr.

    But what asyncio says there of a callback that took 100 ms: that is a busy machine.
    """
    code = "import asyncio, sys\nfrom openai_images import ImagesClient\n" + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code],
        env={"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.api_key, "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = [
        line for line in done.stderr.splitlines() if not re.fullmatch(r"Executing .* took .* seconds", line)
    ]
    assert (done.returncode, said) == (0, [])
    return done.stdout


AT_MODULE_LEVEL = """
client = ImagesClient()

async def main():
    first = await client.generate("an otter")
    async with client.stream("an otter", partial_images=1) as stream:
        async for event in stream:
            pass
    await asyncio.gather(*(client.generate("an otter") for _ in range(5)))
    print(stream.result.image.data == first.image.data)
"""

RUNS = {
    "two runs": """
        asyncio.run(main())
        asyncio.run(main())
    """,
    "closed in each run": """
        async def closing():
            async with client:
                await main()
            await client.aclose()
        asyncio.run(closing())
        asyncio.run(closing())
    """,
    "a session handed in": """
        import aiohttp
        async def main_with_session():
            global client
            async with aiohttp.ClientSession() as session:
                client = ImagesClient(session=session)
                await main()
                await client.aclose()
                print(not session.closed)
        asyncio.run(main_with_session())
        asyncio.run(main_with_session())
    """,
    "loops closed by hand": """
        for _ in range(2):
            loop = asyncio.new_event_loop()
            async def tidy():
                async with client:
                    await main()
            loop.run_until_complete(tidy())
            loop.close()
    """,
    "a run that is left in the middle": """
        async def leave():
            task = asyncio.create_task(client.generate("an otter"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        asyncio.run(leave())
        asyncio.run(main())
    """,
    "an error in the middle of a stream": """
        async def fail():
            async with client.stream("an otter", partial_images=2) as stream:
                async for event in stream:
                    raise LookupError
        for _ in range(2):
            try:
                asyncio.run(fail())
            except LookupError:
                print(True)
    """,
}


@pytest.mark.parametrize("runs", RUNS)
def test_one_client_at_module_level(shared_server: Any, runs: str) -> None:
    """It serves one loop after the other and leaves nothing to warn about."""
    output = run(shared_server, AT_MODULE_LEVEL + textwrap.dedent(RUNS[runs]))
    assert output
    assert set(output.split()) == {"True"}


def test_loops_run_by_hand(shared_server: Any) -> None:
    """Loops that were made and closed one after the other, each with many calls at once."""

    async def main() -> list[int]:
        async with client:
            calls = [client.generate("an otter") for _ in range(8)]
            return [result.image.nbytes for result in await asyncio.gather(*calls)]

    client = ImagesClient(base_url=shared_server.base_url, api_key=shared_server.api_key)
    for _ in range(3):
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(main()) == [len(PNG)] * 8
        loop.close()
    assert client._sessions._owned == {}


def test_a_dead_loop_is_forgotten(shared_server: Any) -> None:
    """A loop that was closed over the client's head takes its session along; calls that race share the new one."""
    script = AT_MODULE_LEVEL + textwrap.dedent("""
        import gc, warnings
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio says that the loop left its sockets open
        for _ in range(3):
            loop = asyncio.new_event_loop()
            async def race():
                await asyncio.gather(*(client.generate("an otter") for _ in range(8)))
                assert len(client._sessions._owned) == 1
            loop.run_until_complete(race())
            loop.close()
        gc.collect()
        asyncio.run(main())
    """)
    assert set(run(shared_server, script).split()) == {"True"}


def test_loops_in_threads_at_once(shared_server: Any) -> None:
    """Several event loops share one client."""
    client = ImagesClient(base_url=shared_server.base_url, api_key=shared_server.api_key)
    seen: list[int] = []

    async def main() -> None:
        results = [await client.generate("an otter") for _ in range(5)]
        seen.extend(result.image.nbytes for result in results)

    def work() -> None:
        for _ in range(3):
            asyncio.run(main())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [len(PNG)] * 60


def test_loops_that_come_and_go_in_threads() -> None:
    """Threads that meet the closed loops of others tidy them up without tripping over one another."""
    client = ImagesClient(base_url="http://127.0.0.1:9/v1", api_key="k")
    failures: list[BaseException] = []

    async def touch() -> None:
        limiter = client._context.limiter
        (await limiter.acquire()).release()
        await client._sessions.get()

    def work() -> None:
        try:
            for _ in range(40):
                asyncio.run(touch())
        except BaseException as error:  # noqa: BLE001  told below
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(interval)
    assert failures == []


AT_THE_TOP: list[ImagesClient] = []


@pytest.mark.parametrize("number", range(3))
async def test_a_client_outlives_the_loops_of_tests(shared_server: Any, number: int) -> None:
    """Function-scoped loops: each test has its own, the client at module level serves all."""
    if not AT_THE_TOP:
        AT_THE_TOP.append(ImagesClient(base_url=shared_server.base_url, api_key=shared_server.api_key))
    assert (await AT_THE_TOP[0].generate("an otter")).image.nbytes == len(PNG)


async def test_a_thousand_clients_leave_nothing() -> None:
    """Built and closed, or built and never used: no descriptor stays open."""
    async with nothing_left():
        for _ in range(1000):
            async with ImagesClient(api_key="k", base_url="http://127.0.0.1:9/v1"):
                pass
        kept = [ImagesClient(api_key="k", base_url="http://127.0.0.1:9/v1") for _ in range(1000)]
        assert len(kept) == 1000


async def test_a_hundred_clients_that_worked_leave_nothing(server: LocalImagesServer) -> None:
    """Each opens a connection and closes it."""
    async with nothing_left():
        for _ in range(100):
            async with ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:
                await client.generate("an otter")
        await until(lambda: server.open_connections == 0)


async def test_aclose_twice_and_use_after_it(server: LocalImagesServer) -> None:
    """Closing is idempotent, and a call after it opens a new connection."""
    async with nothing_left():
        client = ImagesClient(base_url=server.base_url, api_key=server.api_key)
        await client.aclose()
        await client.generate("an otter")
        await client.generate("an otter")
        await client.aclose()
        await client.aclose()
        await until(lambda: server.open_connections == 0)
        await client.generate("an otter")
        assert server.open_connections == 1
        await client.aclose()
    ports = [request.peer_port for request in server.requests]
    assert ports[0] == ports[1] != ports[2]


async def test_a_session_handed_in_stays_open(server: LocalImagesServer) -> None:
    """It is used and never closed, and its headers travel; a closed one is a mistake that says so."""
    async with aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        async with ImagesClient(base_url=server.base_url, api_key=server.api_key, session=session) as client:
            await client.generate("an otter")
        await client.aclose()
        assert not session.closed
        await client.generate("an otter")
    assert [request.headers.get("X-Mine") for request in server.requests] == ["1", "1"]
    with pytest.raises(ConfigurationError, match="session passed as session= is closed"):
        await client.generate("an otter")


async def test_uvloop() -> None:
    """Another event loop serves as well, where it is installed."""
    uvloop = pytest.importorskip("uvloop")

    async def main() -> int:
        async with (
            LocalImagesServer(pictures=PNG) as server,
            ImagesClient(base_url=server.base_url, api_key=server.api_key) as client,
        ):
            return (await client.generate("an otter")).image.nbytes

    assert await asyncio.to_thread(uvloop.run, main()) == len(PNG)
