"""Relays and images for Starlette and FastAPI (extra `starlette`).

sse-starlette sends the response: it notices a disconnect and a server shutdown at any time.
Invariants: only the relay sends heartbeats; a second writer would break an event apart.
Must not: let a piece of an image into a debug log.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Unpack

from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from openai_images import ImageResult, ImageStream
from openai_images.web.background import OnDisconnect, OnResult, run_until
from openai_images.web.relay import RELAY_HEADERS, RelaySettings, relay
from openai_images.web.script import SCRIPT_HEADERS, read_script
from openai_images.web.store import PictureStore

__all__ = ["ImageStreamResponse", "picture_route", "run_call", "script_route"]


class ImageStreamResponse(EventSourceResponse):
    """The response that relays a stream; the settings are those of `relay`.

    `return ImageStreamResponse(client.stream(prompt, partial_images=2))`

    `stream` must not be entered yet.
    """

    def __init__(self, stream: ImageStream, **settings: Unpack[RelaySettings]) -> None:
        source = relay(stream, **settings)
        headers = {name: value for name, value in RELAY_HEADERS.items() if name != "Content-Type"}
        super().__init__(  # pyright: ignore[reportUnknownMemberType]  its `dict`
            source, headers=headers, ping=0, send_timeout=source.send_timeout
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, as ASGI has it."""
        with suppress(SendTimeoutError):  # the relay has logged it
            await super().__call__(scope, receive, send)


def picture_route(pictures: PictureStore) -> Route:
    """Return the route that serves the store's images; append it to the app's `routes`.

    `pictures` is the store that the responses use.
    """

    async def serve(request: Request) -> Response:
        answer = await pictures.get(
            request.path_params["name"],
            if_none_match=request.headers.get("if-none-match"),
            head=request.method == "HEAD",
        )
        return StreamingResponse(answer.pieces(), answer.status, answer.headers)

    return Route(pictures.url_prefix + "{name}", serve, include_in_schema=False)


def script_route(path: str = "/openai-images.js") -> Route:
    """Return the route that serves the JavaScript module; append it to the app's `routes`.

    `path` is the path from which a page imports it.
    """

    async def serve(request: Request) -> Response:  # noqa: ARG001  Starlette gives it
        return Response(read_script(), headers=dict(SCRIPT_HEADERS))

    return Route(path, serve, include_in_schema=False)


async def run_call(
    request: Request,
    call: Coroutine[Any, Any, ImageResult],
    *,
    on_disconnect: OnDisconnect = "cancel",
    on_result: OnResult | None = None,
) -> ImageResult | None:
    """Await a call, such as `client.generate(…)`, or return None as soon as the browser has disconnected.

    Read the request's body before. After a disconnect, "cancel" closes the call, "finish" lets it finish in the
    background. Raises the errors of the call.

    `request` is the endpoint's, `call` the coroutine, not awaited yet; `on_disconnect` is "cancel" or "finish",
    `on_result` as in `relay`.
    """

    async def disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return await run_until(disconnect(), call, on_disconnect=on_disconnect, on_result=on_result)


def _hide_bytes(record: logging.LogRecord) -> bool:
    """Replace a chunk in a log record by its size."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            f"<{len(value):,} bytes>" if isinstance(value, bytes) else value for value in record.args
        )
    return True


# At level DEBUG sse-starlette logs each chunk: megabytes of base64.
logging.getLogger("sse_starlette.sse").addFilter(_hide_bytes)
