"""Many calls at once: as many connections as allowed, and nobody fails for having queued."""

import asyncio

from openai_images import ImagesClient, Limits, Timeouts, Timing
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, client_of, generate, stream
from tests.helpers.raw_server import free_port

MANY, AT_ONCE = 400, 10


async def test_many_at_once() -> None:
    """200 calls, ten at a time: at most ten connections, and no timer runs while a call queues."""
    seen: list[int] = []

    async def watch(seconds: float) -> None:
        seen.append(server.open_connections)
        await asyncio.sleep(0.02)

    server = LocalImagesServer(pictures=PNG, pace=0.001, sleep=watch)
    short = Timeouts(connect=0.5, first_byte=0.5, idle=0.5, total=0.5)
    async with (
        server,
        client_of(server, limits=Limits(concurrency=AT_ONCE), timeouts=short, timing=Timing()) as client,
    ):
        calls = [stream(client) if index % 4 == 0 else generate(client) for index in range(MANY)]
        results = await asyncio.gather(*calls)
    assert len(results) == MANY
    assert {result.attempts for result in results} == {1}
    assert server.posts == MANY
    assert max(seen) == AT_ONCE
    assert len({request.peer_port for request in server.requests}) <= AT_ONCE
    assert max(result.elapsed for result in results) > 0.5


def test_a_limit_for_each_loop() -> None:
    """Slots belong to a loop: a client used in two, one after the other, is not stuck."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}/v1"
    client = ImagesClient(api_key="sk-local-key", base_url=base_url, limits=Limits(concurrency=1))

    async def run() -> int:
        async with LocalImagesServer(pictures=PNG, api_key="sk-local-key", port=port):
            return len(await asyncio.gather(*(generate(client) for _ in range(3))))

    assert [asyncio.run(run()) for _ in range(2)] == [3, 3]
