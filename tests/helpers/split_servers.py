"""What tests of split calls share: a server that answers by what is asked, and images that can be told apart."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from openai_images import ImagesClient
from tests.helpers.clients import KEY, PNG, FakeTime, event

Answer = Callable[[web.Request, "Asked"], Awaitable[web.StreamResponse]]


class Asked(dict[str, Any]):
    """The body of a request, with its number in the order of arrival."""

    number: int = 0


class Painter:
    """Where the server is, and what it was asked for; `busy` requests are in flight, `most` were at once."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.base_url = ""
        self.asked: list[Asked] = []
        self.busy = self.most = 0

    @property
    def numbers(self) -> list[int]:
        """The `n` of each request."""
        return [asked.get("n", 1) for asked in self.asked]


@asynccontextmanager
async def painting(answer: Answer) -> AsyncIterator[Painter]:
    """A server that answers so."""
    painter = Painter()

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = Asked(await request.json())
        asked.number = len(painter.asked)
        painter.asked.append(asked)
        painter.busy += 1
        painter.most = max(painter.most, painter.busy)
        try:
            return await answer(request, asked)
        finally:
            painter.busy -= 1

    app = web.Application()
    app.router.add_post("/v1/images/generations", handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        painter.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield painter
    finally:
        await runner.cleanup()


def client_of(painter: Painter, **options: Any) -> ImagesClient:
    """A client of this server, whose waits take no time."""
    return ImagesClient(
        **{"base_url": painter.base_url, "api_key": KEY, "timing": FakeTime().timing, **options}
    )


def picture(*marks: int) -> bytes:
    """An image that is like no other."""
    return PNG + bytes(marks)


def b64(data: bytes) -> str:
    """As it travels."""
    return base64.b64encode(data).decode()


def usage(count: int) -> dict[str, Any]:
    """The usage of so many images."""
    return {
        "input_tokens": 10,
        "output_tokens": 100 * count,
        "total_tokens": 10 + 100 * count,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
    }


def whole(mark: int, count: int, **more: Any) -> web.Response:
    """A JSON answer with images marked (mark, 0), (mark, 1), …."""
    data = [{"b64_json": b64(picture(mark, number))} for number in range(count)]
    return web.json_response(
        {"created": 100 + mark, "data": data, "usage": usage(count), **more},
        headers={"x-request-id": f"req_{mark}"},
    )


def refusal(status: int, code: str = "") -> web.Response:
    """A refusal."""
    return web.json_response({"error": {"message": "No.", "code": code}}, status=status)


async def begin(request: web.Request, mark: int = 0) -> web.StreamResponse:
    """An event stream with its headers sent."""
    response = web.StreamResponse(
        headers={"content-type": "text/event-stream", "x-request-id": f"req_{mark}"}
    )
    await response.prepare(request)
    return response


def part_event(mark: int, number: int, **more: Any) -> bytes:
    """A partial image, marked (mark, number)."""
    return event("partial_image", b64_json=b64(picture(mark, number)), partial_image_index=number, **more)


def last_event(mark: int, **more: Any) -> bytes:
    """A finished image, marked (mark)."""
    return event("completed", b64_json=b64(picture(mark)), created_at=100 + mark, usage=usage(1), **more)


async def streamed(request: web.Request, asked: Asked) -> web.StreamResponse:
    """As many partial images as were asked for and the image, marked by the number of the request."""
    response = await begin(request, asked.number)
    for number in range(asked.get("partial_images", 0)):
        await response.write(part_event(asked.number, number))
    await response.write(last_event(asked.number))
    return response


class Gate:
    """Requests that wait here until they may go on; `came` is set when there are enough."""

    def __init__(self, expected: int) -> None:
        """Wait for so many."""
        self._left = expected
        self.came = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self) -> None:
        """One more is here."""
        self._left -= 1
        if self._left <= 0:
            self.came.set()
        await self.go_on.wait()
