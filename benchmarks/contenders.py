"""Who is measured: each contender asks for images and hands them to its user.

Rules: each is used as its own documentation says, with its defaults, but for the number of connections; each ends where
its user has the bytes of every image, or the files. The first, the floor, only reads and throws away: it is what
aiohttp itself costs. Imports are inside: what is missing is missing alone.
"""

import base64
import itertools
import json
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.payloads import Shape

if TYPE_CHECKING:
    from openai import AsyncOpenAI


PROMPT = "a cute baby sea otter"
MODEL = "gpt-image-2"
KEY = "benchmark"

Hand: TypeAlias = Callable[[bytes | Path | int], None]
"""Takes an image's bytes, or its file; of the floor only the number of bytes that it read."""

Ask: TypeAlias = Callable[[Hand], Awaitable[None]]


class Missing(Exception):  # noqa: N818  nothing is wrong
    """A contender that is not installed."""


def _body(shape: Shape) -> dict[str, Any]:
    body: dict[str, Any] = {"prompt": PROMPT, "model": MODEL}
    return body | ({"stream": True, "partial_images": 1} if shape.stream else {"n": shape.images})


@asynccontextmanager
async def read_and_discard(url: str, shape: Shape) -> AsyncGenerator[Ask]:
    """The floor: aiohttp reads the body in the pieces that come and keeps none."""
    import aiohttp

    body = _body(shape)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(hand: Hand) -> None:
            async with session.post(f"{url}/images/generations", json=body) as response:
                received = 0
                async for piece in response.content.iter_any():
                    received += len(piece)
            hand(received)

        yield ask


@asynccontextmanager
async def naive(url: str, shape: Shape) -> AsyncGenerator[Ask]:
    """What one writes first: `response.json()`, or a buffer that is cut at blank lines; then base64."""
    import aiohttp

    body = _body(shape)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(hand: Hand) -> None:
            async with session.post(f"{url}/images/generations", json=body) as response:
                if not shape.stream:
                    answer = await response.json()
                    for image in [base64.b64decode(item["b64_json"]) for item in answer["data"]]:
                        hand(image)
                    return
                buffer = bytearray()
                async for piece in response.content.iter_any():
                    seen = max(0, len(buffer) - 1)
                    buffer += piece
                    while (end := buffer.find(b"\n\n", seen)) >= 0:
                        data = buffer[:end].partition(b"data: ")[2]
                        del buffer[: end + 2]
                        seen = 0
                        hand(base64.b64decode(json.loads(data)["b64_json"]))

        yield ask


@asynccontextmanager
async def openai_images(url: str, shape: Shape) -> AsyncGenerator[Ask]:
    """This client, images in memory."""
    from openai_images import CompletedImage, ImagesClient, Limits, PartialImage

    limits = Limits(concurrency=1_000)
    async with ImagesClient(api_key=KEY, base_url=url, model=MODEL, limits=limits) as client:

        async def ask(hand: Hand) -> None:
            if not shape.stream:
                for image in (await client.generate(PROMPT, n=shape.images)).images:
                    hand(image.data)
                return
            async with client.stream(PROMPT, partial_images=1) as stream:
                async for event in stream:
                    if isinstance(event, PartialImage | CompletedImage):
                        hand(event.image.data)

        yield ask


@asynccontextmanager
async def openai_images_into(url: str, shape: Shape) -> AsyncGenerator[Ask]:
    """This client, images written to disk while they arrive."""
    from openai_images import CompletedImage, ImagesClient, Limits, PartialImage

    limits = Limits(concurrency=1_000)
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as folder:
        async with ImagesClient(api_key=KEY, base_url=url, model=MODEL, limits=limits) as client:

            async def ask(hand: Hand) -> None:
                into = f"{folder}/{next(numbers)}"
                if not shape.stream:
                    for image in (await client.generate(PROMPT, n=shape.images, into=into)).images:
                        hand(image.path or image.data)
                    return
                async with client.stream(PROMPT, partial_images=1, into=into) as stream:
                    async for event in stream:
                        if isinstance(event, PartialImage | CompletedImage):
                            hand(event.image.path or event.image.data)

            yield ask


def _async_openai(*, on_aiohttp: bool) -> Callable[[str, Shape], AbstractAsyncContextManager[Ask]]:
    @asynccontextmanager
    async def async_openai(url: str, shape: Shape) -> AsyncGenerator[Ask]:
        """The official client, with the base64 decoding that it leaves to its user."""
        from openai import AsyncOpenAI

        backend: dict[str, Any] = {}
        if on_aiohttp:
            from openai import DefaultAioHttpClient

            try:
                backend["http_client"] = DefaultAioHttpClient()
            except RuntimeError as error:  # so it says that its extra is not installed
                raise Missing(str(error)) from None
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(AsyncOpenAI(api_key=KEY, base_url=url, **backend))
            yield _ask_of(client, shape)

    return async_openai


def _ask_of(client: "AsyncOpenAI", shape: Shape) -> Ask:
    async def ask(hand: Hand) -> None:
        if not shape.stream:
            response = await client.images.generate(prompt=PROMPT, model=MODEL, n=shape.images)
            for image in [base64.b64decode(image.b64_json or "") for image in response.data or []]:
                hand(image)
            return
        stream = await client.images.generate(prompt=PROMPT, model=MODEL, stream=True, partial_images=1)
        async with stream:
            async for event in stream:
                hand(base64.b64decode(event.b64_json))

    return ask


OURS, INTO = "openai_images", "openai_images into="
SDK, SDK_AIOHTTP = "AsyncOpenAI", "AsyncOpenAI on aiohttp"
FLOOR, NAIVE = "raw aiohttp", "naive aiohttp"
CONTENDERS: dict[str, Callable[[str, Shape], AbstractAsyncContextManager[Ask]]] = {
    OURS: openai_images,
    INTO: openai_images_into,
    SDK: _async_openai(on_aiohttp=False),
    SDK_AIOHTTP: _async_openai(on_aiohttp=True),
    NAIVE: naive,
    FLOOR: read_and_discard,
}
