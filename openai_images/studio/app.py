"""`Studio`: the aiohttp.web app of the page.

Invariants: a request is in the history before it is sent; its call is finished and stored even if the tab is closed;
only an explicit cancel closes it; one that comes before the form keeps it from being sent. Partial images are in memory
for a limited time; paid images are in the folder.
Must not: answer before `Access` has checked the request; show or keep the key.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any, Final, cast

from aiohttp import web
from attrs import frozen
from multidict import MultiMapping

from openai_images import Image, ImagesClient, ImagesError, ImageStream
from openai_images.studio.access import Access
from openai_images.studio.history import FILE_NAME, RECORD_ID, History
from openai_images.studio.orders import Order, OrderError, model_choices, parse_order
from openai_images.studio.recorded_stream import RecordedStream
from openai_images.web import RELAY_HEADERS, PictureStore
from openai_images.web.aiohttp import send_stream, setup
from openai_images.web.background import wait_finished
from openai_images.web.store import MEDIA_TYPES

__all__ = ["Studio", "StudioSettings"]

_PAGE: Final = {
    "/": ("page.html", "text/html"),
    "/studio.css": ("studio.css", "text/css"),
    "/studio.js": ("studio.js", "text/javascript"),
    "/mask.js": ("mask.js", "text/javascript"),
}
_MOST_BYTES: Final = 512 * 1024 * 1024
"""Maximum bytes of a request; 16 images of 50 MB would be more, but do not occur in practice."""
_MOST_SOURCES: Final = 16
_MOST_CANCELLED: Final = 100
"""Generations that were cancelled before their form was read."""
_PAGE_LENGTH: Final = 60
_THUMBNAIL_EDGE: Final = 480
_IMMUTABLE: Final = {
    "Cache-Control": "private, max-age=31536000, immutable",
    # An SVG may have scripts: in a sandbox without its own origin they do not run.
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
}


@frozen(kw_only=True)
class StudioSettings:
    """`model` is selected first on the page; `local`: images are placeholders and cost nothing."""

    model: str
    local: bool = False
    now: Callable[[], float] = time.time


class Studio:
    """The app: sends with `client` and stores everything in `history`; it closes neither."""

    def __init__(self, client: ImagesClient, history: History, settings: StudioSettings) -> None:
        self._client = client
        self._history = history
        self._settings = settings
        self._access = Access()
        self._running: dict[str, RecordedStream] = {}
        self._preparing: set[str] = set()
        self._cancelled = deque[str](maxlen=_MOST_CANCELLED)
        self._partials = PictureStore(max_bytes=128 * 1024 * 1024, url_prefix="/partials/")
        self._thumbnails = asyncio.Semaphore(2)

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncGenerator[str]:
        """Serve on loopback and yield the address, whose token works once. Raises OSError.

        On exit the pages' connections are closed; then `finish` waits for calls in flight.
        """
        # No access log: the address has the token.
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/?token={self._access.token}"
        finally:
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._access.middleware()], client_max_size=_MOST_BYTES)
        app.on_response_prepare.append(self._access.add_headers)
        setup(app, pictures=self._partials)
        for path in _PAGE:
            app.router.add_get(path, _serve_page)
        app.router.add_get("/api/settings", self._get_settings)
        app.router.add_get("/api/history", self._get_history)
        app.router.add_get("/api/history/{id}", self._get_record)
        app.router.add_post("/api/check", self._check)
        app.router.add_post("/api/generate", self._generate)
        app.router.add_post("/api/cancel/{id}", self._cancel)
        app.router.add_get("/files/{name}", self._get_file)
        app.router.add_get("/thumbnails/{name}", self._get_thumbnail)
        return app

    @property
    def running_count(self) -> int:
        """Number of generations that have not ended."""
        return len(self._running)

    async def finish(self) -> None:
        """Wait for the calls whose browsers have disconnected; they are paid for."""
        await wait_finished()

    async def _get_settings(self, request: web.Request) -> web.Response:  # noqa: ARG002
        settings = self._settings
        return web.json_response(
            {
                "models": model_choices(settings.model),
                "model": settings.model,
                "local": settings.local,
                "folder": str(self._history.folder.resolve()),
                "server": self._client.base_url,
            }
        )

    async def _get_history(self, request: web.Request) -> web.Response:
        records = self._history.page(request.query.get("before"), _PAGE_LENGTH)
        return web.json_response({"records": records, "total": len(self._history)})

    async def _get_record(self, request: web.Request) -> web.Response:
        record = self._history.get(request.match_info["id"])
        if record is None:
            return web.json_response({}, status=404)
        if record["status"] == "running":
            record = record | {"wait_reason": self._client.wait_reason}
        return web.json_response(record)

    async def _check(self, request: web.Request) -> web.Response:
        try:
            order = parse_order(await request.text())
            description = order.describe(self._client, local=self._settings.local)
        except (OrderError, ImagesError) as error:
            nothing: dict[str, str] = {}
            description = {"estimate": None, "problem": str(error), "code": nothing}
        return web.json_response(description)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        try:
            form = await request.post()
        except web.HTTPRequestEntityTooLarge:
            return _refuse(f"the images have more than {_MOST_BYTES // 1024**2} MB together")
        record_id = form.get("id")
        if (
            not isinstance(record_id, str)
            or not RECORD_ID.fullmatch(record_id)
            or self._history.get(record_id)
            or record_id in self._preparing
        ):
            return _refuse("this generation exists already, or has no id")
        self._preparing.add(record_id)
        try:
            stream = await self._prepare(record_id, form)
        except (OrderError, ImagesError) as error:
            return _refuse(str(error))
        except OSError as error:
            return _refuse(f"the folder cannot be written, so nothing was sent: {error.strerror or error}")
        finally:
            self._preparing.discard(record_id)
        if record_id in self._cancelled:
            with suppress(OSError):  # after a restart it counts as unknown
                await self._history.end(record_id, status="cancelled", maybe_billed=False)
            return _refuse("cancelled before it was sent")
        recorded = self._running[record_id] = RecordedStream(stream, self._client, self._history, record_id)
        recorded.on_end = lambda: self._running.pop(record_id, None)
        # A relay uses only `edited`, `result`, the events and `aclose`, which a RecordedStream has.
        return await send_stream(
            request, cast("ImageStream", recorded), pictures=self._partials, on_disconnect="finish"
        )

    async def _prepare(self, record_id: str, form: MultiMapping[Any]) -> ImageStream:
        """Store the images of a form and record it as sent. Raises `OrderError`, `ImagesError` and OSError."""
        text = form.get("order")
        order = parse_order(text if isinstance(text, str) else "")
        images, mask = _images(form)
        sources = [await self._add_source(field) for field in images]
        mask_name = None if mask is None else await self._add_source(mask)
        stream = self._stream(order, sources, mask_name)
        estimate = order.describe(self._client, local=self._settings.local)["estimate"]
        await self._history.begin(
            {
                "id": record_id,
                "at": self._settings.now(),
                "prompt": order.prompt,
                "params": dict(order.params),
                "sources": sources,
                "mask": mask_name,
                "local": self._settings.local,
                "estimate": None if sources else estimate,
            }
        )
        return stream

    async def _add_source(self, field: web.FileField) -> str:
        return await self._history.add_source(await asyncio.to_thread(field.file.read))

    def _stream(self, order: Order, sources: list[str], mask: str | None) -> ImageStream:
        params: dict[str, Any] = dict(order.params)
        if not sources:
            params.pop("input_fidelity", None)
            return self._client.stream(order.prompt, **params)
        folder = self._history.folder
        if mask is not None:
            params["mask"] = folder / mask
        return self._client.stream_edit(order.prompt, image=[folder / name for name in sources], **params)

    async def _cancel(self, request: web.Request) -> web.Response:
        record_id = request.match_info["id"]
        if stream := self._running.get(record_id):
            await stream.cancel()
        elif RECORD_ID.fullmatch(record_id) and self._history.get(record_id) is None:
            self._cancelled.append(record_id)
            return web.json_response({})
        return await self._get_record(request)

    async def _get_file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if not FILE_NAME.fullmatch(name):
            raise web.HTTPNotFound
        try:
            data = await asyncio.to_thread(self._history.read_file, name)
        except OSError:
            raise web.HTTPNotFound from None
        media_type = MEDIA_TYPES.get(name[name.rindex(".") :], "application/octet-stream")
        return web.Response(body=data, content_type=media_type, headers=_IMMUTABLE)

    async def _get_thumbnail(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if not FILE_NAME.fullmatch(name):
            raise web.HTTPNotFound
        async with self._thumbnails:
            data = await asyncio.to_thread(self._thumbnail, name)
        if data is None:  # Pillow is missing, or lacks this format
            return await self._get_file(request)
        return web.Response(body=data, content_type="image/webp", headers=_IMMUTABLE)

    def _thumbnail(self, name: str) -> bytes | None:
        """Return a cached small image; None if it cannot be made. Blocks."""
        path = self._history.folder / ".thumbnails" / f"{name}.webp"
        with suppress(OSError):
            return path.read_bytes()
        try:
            picture = Image.from_bytes(self._history.read_file(name)).open()
            picture.draft("RGB", (_THUMBNAIL_EDGE, _THUMBNAIL_EDGE))
            picture.thumbnail((_THUMBNAIL_EDGE, _THUMBNAIL_EDGE))
            file = io.BytesIO()
            picture.save(file, "WEBP", quality=80)
        except Exception:  # noqa: BLE001  any failure of Pillow: the image itself is shown
            return None
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(file.getvalue())
            part.replace(path)
        return file.getvalue()


async def _serve_page(request: web.Request) -> web.Response:
    name, media_type = _PAGE[request.path]
    text = await asyncio.to_thread(files("openai_images.studio").joinpath(name).read_text, "utf-8")
    return web.Response(text=text, content_type=media_type)


def _images(form: MultiMapping[Any]) -> tuple[list[web.FileField], web.FileField | None]:
    """Return the images to edit, and their mask. Raises `OrderError`."""
    images, mask = form.getall("image", []), form.get("mask")
    if not all(isinstance(field, web.FileField) for field in [*images, *[mask] * ("mask" in form)]):
        raise OrderError("an image is not a file")
    if len(images) > _MOST_SOURCES or (mask is not None and not images):
        raise OrderError(f"at most {_MOST_SOURCES} images can be edited, and a mask needs one")
    return images, mask


def _refuse(message: str) -> web.Response:
    """Answer like a relay whose call failed: nothing was sent."""
    data = json.dumps({"type": "error", "error": {"code": "refused", "message": message}})
    return web.Response(body=f"event: error\ndata: {data}\n\n".encode(), headers=RELAY_HEADERS)
