"""Relays and images for aiohttp.web.

Invariants: a disconnect is noticed within `POLL_SECONDS`, also without aiohttp's `handler_cancellation`; all open
relays of an app share one timer, and end when the app shuts down.
Must not: write to a closed connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, Unpack

from aiohttp import web

from openai_images import ConfigurationError, ImageResult, ImageStream
from openai_images.web.background import OnDisconnect, OnResult, run_until
from openai_images.web.relay import RELAY_HEADERS, RelaySettings, relay
from openai_images.web.script import SCRIPT_HEADERS, read_script
from openai_images.web.store import PictureStore
from openai_images.web.watch import POLL_SECONDS, Watch, close_when

__all__ = ["POLL_SECONDS", "run_call", "send_stream", "setup"]

_CONNECTIONS = web.AppKey("openai_images connections", Watch)


def setup(
    app: web.Application, *, pictures: PictureStore | None = None, script: str | None = "/openai-images.js"
) -> None:
    """Prepare an app for `send_stream` and `run_call`; call it once, before the app starts.

    Adds routes for the images of `pictures` and for the JavaScript module, at the path `script`.

    `app` is the application whose handlers relay streams.
    """
    connections = app[_CONNECTIONS] = Watch()

    async def end(_: web.Application) -> None:
        connections.set_all()

    app.on_shutdown.append(end)
    if script is not None:
        app.router.add_get(script, _serve_script)
    if pictures is not None:

        async def serve(request: web.Request) -> web.Response:
            answer = await pictures.get(
                request.match_info["name"],
                if_none_match=request.headers.get("If-None-Match"),
                head=request.method == "HEAD",
            )
            return web.Response(body=answer.pieces(), status=answer.status, headers=answer.headers)

        app.router.add_get(pictures.url_prefix + "{name}", serve)


async def send_stream(
    request: web.Request, stream: ImageStream, **settings: Unpack[RelaySettings]
) -> web.StreamResponse:
    """Relay a stream as the response to `request`, and return the response when it is sent; the settings are `relay`'s.

    Raises `ConfigurationError` for an app without `setup`.

    `stream` is one that is not entered yet.
    """
    connections = _connections(request)
    source = relay(stream, **settings)
    response = web.StreamResponse(headers=RELAY_HEADERS)
    gone = connections.add(lambda: _is_lost(request) or source.is_stalled)
    watch = asyncio.create_task(close_when(gone, source, partial(_cut, request)))
    try:
        await response.prepare(request)
        async for piece in source:
            await response.write(piece)
        if not gone.is_set():
            await response.write_eof()
    except ConnectionError:
        pass  # the browser has disconnected; a write that waits gets a plain ConnectionError
    finally:
        watch.cancel()
        connections.discard(gone)
        await source.aclose()
    return response


async def run_call(
    request: web.Request,
    call: Coroutine[Any, Any, ImageResult],
    *,
    on_disconnect: OnDisconnect = "cancel",
    on_result: OnResult | None = None,
) -> ImageResult | None:
    """Await a call, such as `client.generate(…)`, or return None as soon as the browser has disconnected.

    Then "cancel" closes the call, "finish" lets it finish in the background. Raises the errors of the call, and
    `ConfigurationError` for an app without `setup`.

    `request` is the handler's, `call` the coroutine, not awaited yet; `on_disconnect` is "cancel" or "finish",
    `on_result` as in `relay`.
    """
    connections = _connections(request)
    gone = connections.add(partial(_is_lost, request))
    try:
        return await run_until(gone.wait(), call, on_disconnect=on_disconnect, on_result=on_result)
    finally:
        connections.discard(gone)


def _is_lost(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _serve_script(request: web.Request) -> web.Response:  # noqa: ARG001  aiohttp gives it
    return web.Response(body=read_script(), headers=SCRIPT_HEADERS)


def _connections(request: web.Request) -> Watch:
    if _CONNECTIONS not in request.app:
        raise ConfigurationError("this app is not set up: call openai_images.web.aiohttp.setup(app) first")
    return request.app[_CONNECTIONS]
