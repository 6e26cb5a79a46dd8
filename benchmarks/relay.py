"""What a relay costs above its call, and what slow browsers cost: `python -m benchmarks relay [costs] [slow]`.

Rules: the API is the bare server, in a process of its own; browsers read and throw away, in this process; what is
measured, the app, is a process of its own, `python -m benchmarks.relay run WAY API-URL BROWSER-PORT LOAD`. CPU is that
of the app's process. `write` is the floor: the client's events, whose images are written as they are.

Whether slow browsers hold up fast ones is not left to the clock of a busy machine. `stuck`: the others read nothing at
all, so that fast ones which end have waited for none of them. `slow` and `quick`, in turns: until the last fast one has
all, the app may not need more processor time with slow ones than with as many more quick ones in their place.
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
from benchmarks.memory import begin, peak
from benchmarks.processes import ROOT, apart
from benchmarks.turn import LoopClock

SHAPE, SHAPE_BYTES = "stream-8mb", 8_000_000
SLOW_SHAPE, SLOW_BYTES = "stream-2mb", 2_000_000
GOALS = {"url": 1.3, "inline": 2.0}
"""CPU of a relayed stream by that of `write`."""
SLOW_RATE = 50_000  # bytes in a second
BUFFER = 64 * 1024  # bytes of a socket: loopback would take a whole image
SPARE = 30_000_000  # bytes above one image for each relay
STALL = 0.025  # seconds
SHARE = 1.1  # CPU until the fast ones had all, by that with quick ones in place of the slow
PATIENCE = 120.0  # seconds for the fast ones


@frozen
class Load:
    """So many relays at once, every other one to a browser of this `kind`; with None one by one, all fast.

    `quick` reads as fast as it can, as the fast ones do, `slow` at the slow rate, `stuck` nothing. With `to_end` it
    ends with the last relay, otherwise with the last fast one.
    """

    count: int
    kind: str | None = None
    to_end: bool = True


@frozen
class Seen:
    """CPU seconds, bytes above idle, the longest turn of the loop; CPU seconds until the fast browsers had all.

    `others` is how many of the other browsers had all before the last fast one.
    """

    cpu: float
    memory: int
    stall: float
    fast_cpu: float
    others: int


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
        await writer.drain()
        if b'"url":"' in piece:
            name = piece.partition(b'"url":"/images/')[2].partition(b'"')[0].decode()
            async for part in (await store.get(name)).pieces():
                writer.write(part)
                await writer.drain()


WAYS: dict[str, Send] = {"write": write, "inline": inline, "url": url}


async def serve(way: str, stream: Any, port: int, kind: str) -> None:
    """Relay one stream to a browser of a kind."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    writer.write(f"{kind}\n".encode())
    await reader.readexactly(1)
    try:
        await WAYS[way](stream, writer)
    except asyncio.CancelledError:
        writer.transport.abort()
        raise
    writer.close()


async def run(way: str, api: str, port: int, load: Load, clock: LoopClock) -> Seen:
    """Relay so many streams to the browsers at a port. Raises TimeoutError where fast ones wait for others."""
    from openai_images import ImagesClient, Limits

    limits = Limits(concurrency=1000)
    async with ImagesClient(api_key=KEY, base_url=api, model=MODEL, validate="off", limits=limits) as client:
        await serve(way, client.stream("an otter"), port, "fast")
        idle, cpu = begin(), time.process_time()
        clock.longest = fast_cpu = 0.0
        others = 0
        if load.kind is None:
            for _ in range(load.count):
                await serve(way, client.stream("an otter"), port, "fast")
        else:
            tasks: list[asyncio.Task[None]] = []
            for number in range(load.count):
                kind = load.kind if number % 2 else "fast"
                tasks.append(asyncio.create_task(serve(way, client.stream("an otter"), port, kind)))
                await asyncio.sleep(0)  # they do not come in the same turn of the loop
            try:
                async with asyncio.timeout(PATIENCE):
                    await asyncio.gather(*tasks[::2])
                fast_cpu = time.process_time() - cpu
                others = sum(task.done() for task in tasks[1::2])
                if load.to_end:
                    await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        return Seen(
            cpu=time.process_time() - cpu,
            memory=peak() - idle,
            stall=clock.longest,
            fast_cpu=fast_cpu,
            others=others,
        )


@contextlib.asynccontextmanager
async def browsers() -> AsyncGenerator[int]:
    """Yield the port of those who read: fast, at the slow rate, or not at all."""
    end = asyncio.Event()
    reading: set[asyncio.Task[None] | None] = set()  # a connection that is not read is kept by nothing else

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reading.add(asyncio.current_task())
        with contextlib.suppress(asyncio.CancelledError, ConnectionError), contextlib.closing(writer):
            kind = (await reader.readline()).decode().strip()
            writer.write(b"+")
            if kind == "stuck":
                await end.wait()
            while await reader.read(SLOW_RATE // 5 if kind == "slow" else 1 << 20):
                if kind == "slow":
                    await asyncio.sleep(0.2)

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(read, sock=listener, limit=SLOW_RATE, backlog=1000)
    async with server:
        yield listener.getsockname()[1]
        end.set()
        await asyncio.wait([task for task in reading if task is not None])


async def measure(way: str, shape: str, load: Load) -> Seen:
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
            seen = await apart("benchmarks.relay", "run", way, address, str(port), json.dumps(asdict(load)))
        return Seen(**seen)
    finally:
        api.stdin.close()
        await api.wait()


async def costs(rounds: int) -> bool:
    """Compare the ways; whether the goals are met."""
    seen: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            seen[way].append((await measure(way, SHAPE, Load(12))).cpu)
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


async def slow(count: int, rounds: int) -> bool:
    """Relay many streams at once, half of them to slow browsers; whether the goals are met."""
    good = True
    what = f"{count} relays of {SLOW_BYTES // 1_000_000} MB, every other browser"
    for way in ("inline", "url"):
        seen = await measure(way, SLOW_SHAPE, Load(count, "slow"))
        allowed = count * SLOW_BYTES + SPARE
        good = good and seen.memory <= allowed and seen.stall <= STALL
        print(
            f"{way}: {what} reads {SLOW_RATE // 1000} kB/s: {seen.memory / 1e6:.0f} MB above idle "
            f"(goal {allowed / 1e6:.0f}), longest turn {seen.stall * 1e3:.1f} ms (goal {STALL * 1e3:.0f})"
        )
        stuck = await measure(way, SLOW_SHAPE, Load(count, "stuck", to_end=False))
        print(f"{way}: {what} reads nothing: the fast ones had theirs, and {stuck.others} of the others")
        spent = {"quick": 0.0, "slow": 0.0}
        others = stuck.others
        for _ in range(rounds):
            for kind in spent:
                part = await measure(way, SLOW_SHAPE, Load(count, kind, to_end=False))
                spent[kind] += part.fast_cpu
                others += part.others if kind == "slow" else 0
        share = spent["slow"] / spent["quick"]
        good = good and share <= SHARE and not others
        print(
            f"{way}: until the last fast one had its image, before any slow one: CPU {share:.2f} x that with quick "
            f"ones in their place (goal {SHARE}), {rounds} rounds"
        )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks relay", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["costs", "slow", []], help="all by default")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison (%(default)s)")
    parser.add_argument("--count", type=int, default=200, help="relays at once (%(default)s)")
    arguments = parser.parse_args()
    parts = arguments.parts or ["costs", "slow"]
    good = [
        asyncio.run(costs(arguments.rounds) if part == "costs" else slow(arguments.count, arguments.rounds))
        for part in parts
    ]
    return 0 if all(good) else 1


def _run(way: str, api: str, port: str, load: str) -> None:
    """In a process of its own: what was seen as JSON."""
    clock = LoopClock()
    with asyncio.Runner(loop_factory=clock.new_loop) as runner:
        seen = runner.run(run(way, api, int(port), Load(**json.loads(load)), clock))
        print(json.dumps(asdict(seen)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        _run(*sys.argv[2:])
    else:
        sys.exit(main())
