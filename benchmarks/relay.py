"""What a relay costs above its call, and what slow browsers cost: `python -m benchmarks relay [costs] [slow]`.

Rules: the API is the bare server, in a process of its own; browsers read and throw away, in this process; what is
measured, the app, is a process of its own, `python -m benchmarks.relay run WAY API-URL BROWSER-PORT COUNT`. CPU is that
of the app's process. `write` is the floor: the client's events, whose images are written as they are.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from attrs import asdict, frozen

from benchmarks.contenders import KEY, MODEL
from benchmarks.loop_clock import LoopClock
from benchmarks.memory import begin, peak
from benchmarks.running import ROOT, apart

__all__ = ["WAYS", "Seen", "main"]

SHAPE, SHAPE_BYTES = "stream-8mb", 8_000_000
SLOW_SHAPE, SLOW_BYTES = "stream-2mb", 2_000_000
GOALS = {"url": 1.3, "inline": 2.0}
"""CPU of a relayed stream by that of `write`."""
SLOW_RATE = 50_000  # bytes in a second
BUFFER = 64 * 1024  # bytes of a socket: loopback would take a whole image
SPARE = 30_000_000  # bytes above one image for each relay
STALL = 0.025  # seconds


@frozen
class Seen:
    """CPU seconds, bytes above idle, the longest turn of the loop and the seconds until the fast browsers had all."""

    cpu: float
    memory: int
    stall: float
    fast: float


Send = Callable[[Any, asyncio.StreamWriter], Awaitable[None]]


async def write(stream: Any, writer: asyncio.StreamWriter) -> None:
    """The floor: each image as it is."""
    async with stream:
        async for event in stream:
            writer.write(event.image.data)
            await writer.drain()


async def inline(stream: Any, writer: asyncio.StreamWriter) -> None:
    """Events with base64."""
    from openai_images.web import relay

    async for piece in relay(stream):
        writer.write(piece)
        await writer.drain()


async def url(stream: Any, writer: asyncio.StreamWriter) -> None:
    """Events with URLs, and each image from the store."""
    from openai_images.web import PictureStore, relay

    store = PictureStore(max_bytes=64_000_000)
    async for piece in relay(stream, pictures=store):
        writer.write(piece)
        if b'"url":"' in piece:
            name = piece.partition(b'"url":"/images/')[2].partition(b'"')[0].decode()
            writer.write((await store.get(name)).body)
        await writer.drain()


WAYS: dict[str, Send] = {"write": write, "inline": inline, "url": url}


async def run(way: str, api: str, numbers: tuple[int, int, int | None], clock: LoopClock) -> Seen:
    """Relay so many streams: all at once, some of them to slow browsers, or, with None of these, one by one."""
    port, count, slow = numbers
    from openai_images import ImagesClient, Limits

    limits = Limits(concurrency=1000)
    async with ImagesClient(api_key=KEY, base_url=api, model=MODEL, validate="off", limits=limits) as client:
        ended: list[float] = []

        async def one(is_slow: bool) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            writer.write(b"slow\n" if is_slow else b"fast\n")
            await reader.readexactly(1)
            await WAYS[way](client.stream("an otter"), writer)
            writer.close()
            if not is_slow:
                ended.append(time.monotonic())

        await one(is_slow=False)
        ended.clear()
        idle, cpu, started = begin(), time.process_time(), time.monotonic()
        clock.longest = 0.0
        if slow is not None:
            async with asyncio.TaskGroup() as group:
                for number in range(count):
                    group.create_task(one(number % 2 == 1 and number < 2 * slow))
                    await asyncio.sleep(0)  # they do not come in the same turn of the loop
        else:
            for _ in range(count):
                await one(is_slow=False)
        return Seen(
            cpu=time.process_time() - cpu,
            memory=peak() - idle,
            stall=clock.longest,
            fast=max(ended) - started,
        )


@contextlib.asynccontextmanager
async def browsers() -> AsyncGenerator[int]:
    """Yield the port of those who read: fast, or at the slow rate."""

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError, ConnectionError), contextlib.closing(writer):
            is_slow = await reader.readline() == b"slow\n"
            writer.write(b"+")
            while await reader.read(SLOW_RATE // 5 if is_slow else 1 << 20):
                if is_slow:
                    await asyncio.sleep(0.2)

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(read, sock=listener, limit=SLOW_RATE, backlog=1000)
    async with server:
        yield listener.getsockname()[1]


async def measure(way: str, shape: str, count: int, slow: int | None = None) -> Seen:
    """What one way showed. Raises RuntimeError where its process fails."""
    command = (sys.executable, "-m", "benchmarks.server", shape)
    api = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert api.stdin is not None
    assert api.stdout is not None
    try:
        address = f"http://127.0.0.1:{int(await api.stdout.readline())}/{shape}"
        async with browsers() as port:
            seen = await apart(
                "benchmarks.relay", "run", way, address, str(port), str(count), json.dumps(slow)
            )
        return Seen(**seen)
    finally:
        api.stdin.close()
        await api.wait()


async def costs(rounds: int) -> bool:
    """Compare the ways; whether the goals are met."""
    seen: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            seen[way].append((await measure(way, SHAPE, 12)).cpu)
    floor = sorted(seen["write"])[rounds // 2]
    print(f"CPU of a relayed stream of {SHAPE_BYTES // 1_000_000} MB, median of {rounds} rounds")
    good = True
    for way, figures in seen.items():
        median = sorted(figures)[rounds // 2]
        ratio, goal = median / floor, GOALS.get(way)
        good = good and (goal is None or ratio <= goal)
        judged = "" if goal is None else f"  <= {goal} {'met' if ratio <= goal else 'NOT MET'}"
        print(
            f"{way:8} {median / 12 / (SHAPE_BYTES / 1_000_000) * 1000:6.2f} ms/MB  {ratio:5.2f} x write{judged}"
        )
    return good


async def slow(count: int) -> bool:
    """Relay many streams at once, half of them to slow browsers; whether the goals are met."""
    good = True
    for way in ("inline", "url"):
        alone = await measure(way, SLOW_SHAPE, count // 2, slow=0)
        seen = await measure(way, SLOW_SHAPE, count, slow=count // 2)
        allowed = count * SLOW_BYTES + SPARE
        good = good and seen.memory <= allowed and seen.stall <= STALL
        print(
            f"{way}: {count} relays of {SLOW_BYTES // 1_000_000} MB, half of them read {SLOW_RATE // 1000} kB/s: "
            f"{seen.memory / 1e6:.0f} MB above idle (goal {allowed / 1e6:.0f}), longest turn "
            f"{seen.stall * 1e3:.1f} ms "
            f"(goal {STALL * 1e3:.0f}); the fast ones had theirs after {seen.fast:.1f} s, "
            f"without slow ones after {alone.fast:.1f} s"
        )
    return good


def main() -> int:
    """Measure and print; 1 where a goal is not met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks relay", description="What relays cost.")
    parser.add_argument("parts", nargs="*", choices=["costs", "slow", []], help="all by default")
    parser.add_argument("--rounds", type=int, default=3, help="for the costs (%(default)s)")
    parser.add_argument("--count", type=int, default=200, help="relays at once (%(default)s)")
    arguments = parser.parse_args()
    parts = arguments.parts or ["costs", "slow"]
    good = [
        asyncio.run(costs(arguments.rounds) if part == "costs" else slow(arguments.count)) for part in parts
    ]
    return 0 if all(good) else 1


def _run(way: str, api: str, *numbers: str) -> None:
    """In a process of its own: what was seen as JSON."""
    port, count, slow = map(json.loads, numbers)
    clock = LoopClock()
    with asyncio.Runner(loop_factory=clock.new_loop) as runner:
        print(json.dumps(asdict(runner.run(run(way, api, (port, count, slow), clock)))))


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        _run(*sys.argv[2:])
    else:
        sys.exit(main())
