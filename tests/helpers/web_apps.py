"""One app for each web framework, behind its own real server: relays, images and a call without events."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import uvicorn
from aiohttp import web

from openai_images import ImageResult, ImagesClient
from openai_images.web import OnDisconnect, PictureStore


@attrs.define
class Shop:
    """What every app needs, and what it leaves behind."""

    client: ImagesClient
    on_disconnect: OnDisconnect = "cancel"
    pictures: PictureStore | None = None
    heartbeat: float = 15.0
    send_timeout: float | None = 60.0
    page: str = ""
    page_policy: str = "default-src 'none'"
    results: list[ImageResult] = attrs.field(factory=list)

    @property
    def page_headers(self) -> dict[str, str]:
        """The headers of its page."""
        return {"Content-Security-Policy": self.page_policy}

    @property
    def settings(self) -> dict[str, Any]:
        """The relay's."""
        return {
            "on_disconnect": self.on_disconnect,
            "on_result": self.results.append,
            "pictures": self.pictures or "inline",
            "heartbeat": self.heartbeat,
            "send_timeout": self.send_timeout,
        }

    def stream(self, body: dict[str, Any]) -> Any:
        """The call of a request, whose body is the API's."""
        return self.client.stream(
            body["prompt"], model="gpt-image-2", partial_images=body.get("partial_images", 2)
        )


def fastapi_app(shop: Shop) -> Any:
    """FastAPI."""
    import fastapi
    import fastapi.responses
    from starlette.middleware.gzip import GZipMiddleware

    from openai_images.web import starlette

    app = fastapi.FastAPI()
    app.add_middleware(GZipMiddleware)
    app.router.routes.append(starlette.script_route())
    if shop.pictures is not None:
        app.router.routes.append(starlette.picture_route(shop.pictures))

    @app.post("/v1/images/generations")
    async def relay(body: dict[str, Any]) -> starlette.ImageStreamResponse:
        return starlette.ImageStreamResponse(shop.stream(body), **shop.settings)

    @app.post("/image")
    async def image(request: fastapi.Request, body: dict[str, Any]) -> fastapi.Response:
        call = shop.client.generate(body["prompt"], model="gpt-image-2")
        result = await starlette.run_call(
            request, call, on_disconnect=shop.on_disconnect, on_result=shop.results.append
        )
        return fastapi.Response(b"" if result is None else result.image.data)

    @app.get("/page")
    async def page() -> fastapi.responses.HTMLResponse:
        return fastapi.responses.HTMLResponse(shop.page, headers=shop.page_headers)

    return app


def aiohttp_app(shop: Shop) -> web.Application:
    """aiohttp.web."""
    from openai_images.web import aiohttp

    async def relay(request: web.Request) -> web.StreamResponse:
        return await aiohttp.send_stream(request, shop.stream(await request.json()), **shop.settings)

    async def image(request: web.Request) -> web.Response:
        call = shop.client.generate((await request.json())["prompt"], model="gpt-image-2")
        result = await aiohttp.run_call(
            request, call, on_disconnect=shop.on_disconnect, on_result=shop.results.append
        )
        return web.Response(body=b"" if result is None else result.image.data)

    app = web.Application()
    aiohttp.setup(app, pictures=shop.pictures)
    app.router.add_post("/v1/images/generations", relay)
    app.router.add_post("/image", image)

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=shop.page, content_type="text/html", headers=shop.page_headers)

    app.router.add_get("/page", page)
    return app


def django_app(shop: Shop) -> Any:
    """Django under ASGI."""
    import json

    import django
    from django.conf import settings
    from django.core.handlers.asgi import ASGIHandler, ASGIRequest
    from django.http import HttpResponse
    from django.urls import clear_url_caches, path

    from openai_images.web import run_call
    from openai_images.web.django import ImageStreamResponse, picture_path, script_path

    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=None,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="for tests",
            LOGGING_CONFIG=None,
            MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"],
        )
        django.setup()

    async def relay(request: ASGIRequest) -> ImageStreamResponse:
        return ImageStreamResponse(shop.stream(json.loads(request.body)), **shop.settings)

    async def image(request: ASGIRequest) -> HttpResponse:
        call = shop.client.generate(json.loads(request.body)["prompt"], model="gpt-image-2")
        result = await run_call(call, on_disconnect=shop.on_disconnect, on_result=shop.results.append)
        return HttpResponse(result.image.data)

    async def page(request: ASGIRequest) -> HttpResponse:
        return HttpResponse(shop.page, headers=shop.page_headers)

    settings.ROOT_URLCONF = (
        path("page", page),
        path("v1/images/generations", relay),
        path("image", image),
        script_path(),
        *([] if shop.pictures is None else [picture_path(shop.pictures)]),
    )
    clear_url_caches()
    return ASGIHandler()


@contextlib.asynccontextmanager
async def under_uvicorn(app: Any) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Yield the address of an ASGI app, and what begins the server's shutdown."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, lifespan="off", log_level="critical", timeout_graceful_shutdown=2)
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))

    def stop() -> None:
        server.should_exit = True

    try:
        while not server.started:
            await asyncio.sleep(0)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", stop
    finally:
        stop()
        await task
        listener.close()


@contextlib.asynccontextmanager
async def under_aiohttp(app: web.Application) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Yield the address of an aiohttp app, and what begins the server's shutdown."""
    runner = web.AppRunner(app, shutdown_timeout=2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stopping: list[asyncio.Task[None]] = []
    try:
        yield (
            f"http://127.0.0.1:{runner.addresses[0][1]}",
            lambda: stopping.append(asyncio.create_task(runner.cleanup())),
        )
    finally:
        await (stopping[0] if stopping else runner.cleanup())


@contextlib.asynccontextmanager
async def serve(framework: str, shop: Shop) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Serve the app of a framework."""
    server = (
        under_aiohttp(aiohttp_app(shop))
        if framework == "aiohttp"
        else under_uvicorn(fastapi_app(shop) if framework == "fastapi" else django_app(shop))
    )
    async with server as served:
        yield served
