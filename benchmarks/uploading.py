"""One way to send pictures, in a process of its own: `python -m benchmarks.uploading WAY URL FOLDER COUNT`.

Rules: everything was imported and used once, with a small picture, before the memory counts. What the user holds in
memory counts as well: where bytes are sent, they are read after the idle moment. Prints bytes and seconds as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from benchmarks.contenders import KEY, MODEL
from benchmarks.memory import begin, peak

__all__ = ["WAYS", "Sent", "png"]

PROMPT = "make it night"


@frozen
class Sent:
    """What a way showed: bytes of resident memory when idle and at the peak, and seconds."""

    idle: int
    peak: int
    seconds: float


Send = Callable[[list[Path]], Awaitable[object]]


def ours(hand: Callable[[Path], Any], **params: Any) -> Callable[[str], tuple[Any, Send]]:
    """This client, handed pictures so."""

    def make(url: str) -> tuple[Any, Send]:
        from openai_images import ImagesClient

        client = ImagesClient(api_key=KEY, base_url=url, model=MODEL, validate="off")
        return client, lambda paths: client.edit(PROMPT, image=[hand(path) for path in paths], **params)

    return make


def official(hand: Callable[[Path], Any]) -> Callable[[str], tuple[Any, Send]]:
    """The official client."""

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
    """Send the small one, then all."""
    client, send = WAYS[way](url)
    async with client:
        await send([small, small])
        idle, started = begin(), time.monotonic()
        await send(paths)
        return Sent(idle, peak(), time.monotonic() - started)


if __name__ == "__main__":
    way, url, folder, count = sys.argv[1:]
    paths = [Path(folder) / f"{number}.png" for number in range(int(count))]
    print(json.dumps(asdict(asyncio.run(run(way, url, paths, Path(folder) / "small.png")))))
