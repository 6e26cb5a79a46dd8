"""Relays and images for Django under ASGI.

Invariants: Django closes the response's iterator, and cancels the view, as soon as the browser disconnects. A server
that stops waits for open responses, and does not tell Django; open relays check whether uvicorn stops, and end then;
so do those whose browser takes nothing.
Must not: be used under WSGI, where Django would collect the complete stream first.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, Unpack
from weakref import WeakKeyDictionary

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, path

from openai_images import ImageStream
from openai_images.web.relay import RELAY_HEADERS, RelaySettings, relay
from openai_images.web.script import SCRIPT_HEADERS, read_script
from openai_images.web.store import PictureStore
from openai_images.web.watch import Watch, close_when

__all__ = ["ImageStreamResponse", "picture_path", "script_path"]

_UNCOMPRESSED: Final = {"Content-Encoding": "identity"}
"""GZipMiddleware leaves such responses alone. It would compress each piece by itself, which browsers do not read."""

_watches: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Watch]] = WeakKeyDictionary()


class ImageStreamResponse(StreamingHttpResponse):
    """The response that relays a stream; the settings are those of `relay`. Return it from an async view.

    `return ImageStreamResponse(client.stream(prompt, partial_images=2))`

    `stream` must not be entered yet.
    """

    def __init__(self, stream: ImageStream, **settings: Unpack[RelaySettings]) -> None:
        self._source = relay(stream, **settings)
        super().__init__(self._source, headers=RELAY_HEADERS | _UNCOMPRESSED)

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        # Django closes what this returns, and not what it wraps.
        task: Any = asyncio.current_task()
        watch = _watches.setdefault(asyncio.get_running_loop(), Watch())
        gone = watch.add(lambda: _is_server_stopping() or self._source.is_stalled)
        closing = asyncio.create_task(close_when(gone, self._source, task.cancel))
        try:
            body: Any = super().__aiter__()  # with what middleware has put around it
            async with aclosing(body):
                async for piece in body:
                    yield piece
        finally:
            watch.discard(gone)
            closing.cancel()
            await self._source.aclose()


def _is_server_stopping() -> bool:
    """Whether uvicorn, whose signal handler is a method of its server, is stopping."""
    handler: Any = signal.getsignal(signal.SIGTERM)
    return bool(getattr(getattr(handler, "__self__", None), "should_exit", False))


def picture_path(pictures: PictureStore) -> URLPattern:
    """Return the URL pattern that serves the store's images, for `urlpatterns`.

    `pictures` is the store that the responses use.
    """

    async def serve(request: HttpRequest, name: str) -> StreamingHttpResponse:
        answer = await pictures.get(
            name, if_none_match=request.headers.get("If-None-Match"), head=request.method == "HEAD"
        )
        headers = answer.headers | _UNCOMPRESSED
        return StreamingHttpResponse(answer.pieces(), status=answer.status, headers=headers)

    return path(f"{pictures.url_prefix.lstrip('/')}<str:name>", serve)


def script_path(route: str = "openai-images.js") -> URLPattern:
    """Return the URL pattern that serves the JavaScript module, for `urlpatterns`.

    `route` is the path from which a page imports it, without the leading slash.
    """

    def serve(request: HttpRequest) -> HttpResponse:  # noqa: ARG001  Django gives it
        return HttpResponse(read_script(), headers=dict(SCRIPT_HEADERS))

    return path(route, serve)
