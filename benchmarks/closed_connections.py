"""Race for kept connections: `python -m benchmarks closed_connections [--races 300] [--seed 1]`.

A server in another process closes each connection that was idle for `_IDLE` seconds; each race sends a request within a
millisecond of that, once while the loop was busy until then and once while it was not. A request that was never read
but may have been billed, for all that can be known, is a race lost. No figures but the share of those.
"""

import argparse
import asyncio
import multiprocessing
import random
import time
from multiprocessing.connection import Connection

from openai_images import APIConnectionError, ImagesClient, ImagesError, OutcomeUnknownError, RetryPolicy

_IDLE = 0.05
_NEAR = 0.001  # seconds before or after the server's moment
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_ANSWER = b'{"created": 1, "data": [{"b64_json": "%s"}]}' % _PNG.encode()
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_ANSWER)


def _serve(port: Connection) -> None:
    """Close what is idle, until this process is ended."""
    asyncio.run(_serve_on(port))


async def _serve_on(port: Connection) -> None:
    server = await asyncio.start_server(_connected, "127.0.0.1", 0)
    port.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            async with asyncio.timeout(_IDLE):
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r")[0]))
            writer.write(_HEAD + _ANSWER)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):  # TimeoutError is an OSError
        writer.close()


async def _race(client: ImagesClient, moment: float, *, is_busy: bool) -> str:
    """Whether a second request, so long after the first, was answered."""
    try:
        await client.generate("an otter", model="m")
    except ImagesError:
        return "no first answer"
    until = time.perf_counter() + moment
    await asyncio.sleep(max(0.0, moment - 3 * _NEAR))
    while time.perf_counter() < until:
        if not is_busy:
            await asyncio.sleep(0)
    try:
        await client.generate("an otter", model="m")
    except OutcomeUnknownError:
        return "unknown"
    except APIConnectionError:
        return "not sent"
    return "answered"


def races(count: int, seed: int, *, is_busy: bool) -> dict[str, int]:
    """How so many races ended."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    base_url = f"http://127.0.0.1:{ours.recv()}/v1"
    chance = random.Random(seed)  # noqa: S311
    ends: dict[str, int] = {}

    async def run() -> None:
        settings = {"api_key": "none", "base_url": base_url, "retry": RetryPolicy(max_retries=0)}
        async with ImagesClient(**settings, validate="off") as client:  # type: ignore[arg-type]
            for _ in range(count):
                end = await _race(client, _IDLE + chance.uniform(-_NEAR, _NEAR), is_busy=is_busy)
                ends[end] = ends.get(end, 0) + 1

    asyncio.run(run())
    server.terminate()
    server.join()
    server.close()
    ours.close()
    theirs.close()
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks closed_connections", description=__doc__)
    parser.add_argument("--races", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for is_busy in (False, True):
        ends = races(arguments.races, arguments.seed, is_busy=is_busy)
        told = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
        print(
            f"{'busy' if is_busy else 'idle'} loop: {told}; lost {ends.get('unknown', 0) / arguments.races:.1%}"
        )
