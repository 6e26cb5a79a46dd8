"""What tests of the client share: its two verbs as one, a clock that costs no time, answers of one pixel."""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final, Protocol

import pytest

from openai_images import ImageResult, ImagesClient, Timing

PROMPT: Final = "an otter on a raft"
KEY: Final = "sk-test-0123456789abcdef"

# One pixel.
PNG: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
B64: Final = base64.b64encode(PNG).decode()
JSON_ANSWER: Final = json.dumps({"created": 1, "data": [{"b64_json": B64}]}).encode()
TWO_PICTURES: Final = json.dumps({"created": 1, "data": [{"b64_json": B64}] * 2}).encode()


def event(kind: str, **fields: Any) -> bytes:
    """One event of a stream, as it travels."""
    name = kind if kind == "error" else f"image_generation.{kind}"
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


def partial(index: int = 0) -> bytes:
    """The event of a partial image."""
    return event("partial_image", b64_json=B64, partial_image_index=index)


COMPLETED: Final = event("completed", b64_json=B64)


class Served(Protocol):
    """Any of the servers of the tests."""

    @property
    def base_url(self) -> str:
        """Where it is."""
        ...


class FakeTime:
    """Time that passes, and is skipped where somebody sleeps; `slept` says how long, each time."""

    WALL: Final = 1_700_000_000.0

    def __init__(self) -> None:
        """Start the clock."""
        self.skipped = 0.0
        self.slept: list[float] = []

    @property
    def timing(self) -> Timing:
        """What a client takes."""
        return Timing(monotonic=self.monotonic, wall=lambda: self.WALL, sleep=self.sleep, random=lambda: 0.0)

    def monotonic(self) -> float:
        """The clock."""
        return time.monotonic() + self.skipped

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept.append(round(seconds, 1))
        self.skipped += seconds
        await asyncio.sleep(0)


def client_of(server: Served, **options: Any) -> ImagesClient:
    """A client of this server, whose waits take no time unless `timing` is given."""
    key = getattr(server, "api_key", KEY)
    return ImagesClient(
        **{"base_url": server.base_url, "api_key": key, "timing": FakeTime().timing, **options}
    )


Call = Callable[[ImagesClient], Awaitable[ImageResult]]


async def generate(client: ImagesClient) -> ImageResult:
    """An image, awaited."""
    return await client.generate(PROMPT, model="gpt-image-2")


async def stream(client: ImagesClient) -> ImageResult:
    """An image, streamed with up to two partial images."""
    async with client.stream(PROMPT, model="gpt-image-2", partial_images=2) as events:
        async for _ in events:
            pass
    return events.result


BOTH = pytest.mark.parametrize("call", [generate, stream])


def before_each_request(client: ImagesClient, hook: Callable[[int], Awaitable[None]]) -> None:
    """Let the hook run before each request, with its number from 1; what it raises ends the request."""
    transport = client._context.transport  # pyright: ignore[reportPrivateUsage]
    send, numbers = transport.open, count(1)

    async def open_after_hook(*args: Any) -> Any:
        await hook(next(numbers))
        return await send(*args)

    transport.open = open_after_hook  # type: ignore[method-assign]
