"""How much memory an edit of large images takes: `python -m benchmarks uploads [--count 16] [--megabytes 40]`.

Rules: the server reads and throws away; each way is measured in a process of its own, `python -m benchmarks.uploads
run WAY URL FOLDER COUNT`, where everything was imported and used once, with a small image, before the memory counts.
What the user holds in memory counts as well: where bytes are sent, they are read after the idle moment. Prints the
figures and the goals; exits with 1 where a goal is not met.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from benchmarks.contenders import KEY, MODEL
from benchmarks.memory import begin, peak
from benchmarks.processes import apart

MEGABYTE = 1_000_000
SPARE = 4  # megabytes
COPIES = {"paths": 0, "files": 0, "bytes": 1, "json": 0}
"""How often the images may lie in memory: what the user holds is one copy."""

ANSWER = b'{"created":1,"data":[{"b64_json":"R0lGODlhQQABAAAAADs="}]}'


PROMPT = "make it night"


@frozen
class Sent:
    """What a way showed: bytes of resident memory when idle and at the peak, and seconds."""

    idle: int
    peak: int
    seconds: float


Send = Callable[[list[Path]], Awaitable[object]]


def ours(hand: Callable[[Path], Any], **params: Any) -> Callable[[str], tuple[Any, Send]]:
    """This client, handed images so."""

    def make(url: str) -> tuple[Any, Send]:
        from openai_images import ImagesClient

        client = ImagesClient(api_key=KEY, base_url=url, model=MODEL, validate="off")
        return client, lambda paths: client.edit(PROMPT, image=[hand(path) for path in paths], **params)

    return make


def official(hand: Callable[[Path], Any]) -> Callable[[str], tuple[Any, Send]]:

    def make(url: str) -> tuple[Any, Send]:
        from openai import AsyncOpenAI

        client = AsyncOpenAI(api_key=KEY, base_url=url, max_retries=0)

        async def send(paths: list[Path]) -> None:
            await client.images.edit(prompt=PROMPT, image=[hand(path) for path in paths], model=MODEL)

        return client, send

    return make


def by_hand(url: str) -> tuple[Any, Send]:
    """A form of aiohttp's own, with open files."""
    import aiohttp

    session = aiohttp.ClientSession()

    async def send(paths: list[Path]) -> None:
        form = aiohttp.FormData({"prompt": PROMPT, "model": MODEL})
        for path in paths:
            form.add_field("image[]", path.open("rb"), filename="a.png", content_type="image/png")
        async with session.post(f"{url}/images/edits", data=form) as answer:
            answer.raise_for_status()
            await answer.read()

    return session, send


WAYS: dict[str, Callable[[str], tuple[Any, Send]]] = {
    "paths": ours(lambda path: path),
    "files": ours(lambda path: path.open("rb")),
    "bytes": ours(Path.read_bytes),
    "json": ours(lambda path: path, as_json=True),
    "AsyncOpenAI, paths": official(lambda path: path),
    "AsyncOpenAI, bytes": official(Path.read_bytes),
    "aiohttp, files": by_hand,
}


def png(nbytes: int) -> bytes:
    """What looks like a PNG to whoever reads its beginning."""
    from benchmarks.kill import noise

    head = noise(8)
    return head + bytes(max(0, nbytes - len(head)))


async def run(way: str, url: str, paths: list[Path], small: Path) -> Sent:
    client, send = WAYS[way](url)
    async with client:
        await send([small, small])
        idle, started = begin(), time.monotonic()
        await send(paths)
        return Sent(idle, peak(), time.monotonic() - started)


class Drain(asyncio.Protocol):
    """Reads a request, throws its body away, and answers."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._head, self._missing = transport, b"", 0

    def data_received(self, data: bytes) -> None:
        """Count; answer at the end of the body."""
        Drain.taken += len(data)
        if not self._missing:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            chunked = length is None
            self._missing, self._head = 1 << 60 if chunked else int(length[1]) if length else 0, b""
        self._missing -= len(data)
        if self._missing <= 0 or data.endswith(b"\r\n0\r\n\r\n"):
            self._missing = 0
            status = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}\r\n\r\n"
            )
            self._transport.write(status.encode() + ANSWER)


async def measure(way: str, count: int, nbytes: int, folder: Path) -> Sent:
    """What one way showed, with images in the folder. Raises RuntimeError where its process fails."""
    (folder / "small.png").write_bytes(png(1000))
    for number in range(count):
        (folder / f"{number}.png").write_bytes(png(nbytes))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Drain, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        before = Drain.taken
        seen = await apart("benchmarks.uploads", "run", way, url, str(folder), str(count))
        if Drain.taken - before < count * nbytes:
            raise RuntimeError(f"{way} sent {Drain.taken - before:,} bytes only")
        return Sent(**seen)


def judge(way: str, seen: Sent, count: int, nbytes: int) -> tuple[str, str, bool]:
    """The goal, what was found, and whether that is enough; those who are compared with have none."""
    above = (seen.peak - seen.idle) / MEGABYTE
    found = f"{above:.1f} MB above idle, {seen.seconds:.2f} s"
    if way not in COPIES:
        return "", found, True
    allowed = COPIES[way] * count * nbytes / MEGABYTE + SPARE
    return f"<= {allowed:.0f} MB", found, above <= allowed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks uploads", description=__doc__)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of: {'; '.join(WAYS)} (all)")
    parser.add_argument("--count", type=int, default=16, help="how many images (%(default)s)")
    parser.add_argument("--megabytes", type=float, default=40, help="of each (%(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.ways) - set(WAYS):
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    nbytes, good = int(arguments.megabytes * MEGABYTE), True
    print(f"an edit of {arguments.count} images of {arguments.megabytes:g} MB each")
    for way in arguments.ways or WAYS:
        with tempfile.TemporaryDirectory() as folder:
            seen = asyncio.run(measure(way, arguments.count, nbytes, Path(folder)))
        goal, found, met = judge(way, seen, arguments.count, nbytes)
        good = good and met
        print(f"{way:20} {found:30} {goal and ('met' if met else 'NOT MET')} {goal}".rstrip())
    return 0 if good else 1


def _run(way: str, url: str, folder: str, count: str) -> None:
    """In a process of its own: bytes and seconds as JSON."""
    paths = [Path(folder) / f"{number}.png" for number in range(int(count))]
    print(json.dumps(asdict(asyncio.run(run(way, url, paths, Path(folder) / "small.png")))))


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        _run(*sys.argv[2:])
    else:
        sys.exit(main())
