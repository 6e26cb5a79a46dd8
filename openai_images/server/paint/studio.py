"""Gives out pictures as base64: from memory if it can, else painted by a small pool of threads.

Rules: a picture wanted by many at once is painted once; a caller who leaves does not stop it for the others; what is
kept is bounded in bytes, the oldest going first. It refuses to paint on the event loop.
"""

import asyncio
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from PIL import Image

from openai_images.server.edits import Edit
from openai_images.server.paint.painter import (
    CanvasSpec,
    PictureSpec,
    develop,
    paint_canvas,
    spec_of,
)
from openai_images.server.paint.svg import draw
from openai_images.server.parameters import Parameters

K = TypeVar("K")
V = TypeVar("V")

PICTURE_BYTES: Final = 96 * 1024 * 1024
CANVAS_BYTES: Final = 64 * 1024 * 1024


class OnceCache(Generic[K, V]):
    """Values made once per key by a function run in a pool, the least recently used forgotten first."""

    def __init__(self, limit: int, size: Callable[[V], int]) -> None:
        self._limit = limit
        self._size = size
        self._held = 0
        self._values: OrderedDict[K, V] = OrderedDict()
        self._making: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, make: Callable[[], "asyncio.Future[V]"]) -> V:
        """The value of `key`, waiting for it to be made if need be."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        task = self._making.get(key)
        if task is None:
            task = asyncio.ensure_future(self._make(key, make))
            self._making[key] = task
            task.add_done_callback(lambda done: self._forget_task(key, done))
        return await asyncio.shield(task)

    def cancel(self) -> None:
        """Gives up on everything that is being made."""
        for task in tuple(self._making.values()):
            task.cancel()

    async def _make(self, key: K, make: Callable[[], "asyncio.Future[V]"]) -> V:
        value = await make()
        self._values[key] = value
        self._held += self._size(value)
        while self._held > self._limit and len(self._values) > 1:
            _, oldest = self._values.popitem(last=False)
            self._held -= self._size(oldest)
        return value

    def _forget_task(self, key: K, done: asyncio.Task[V]) -> None:
        self._making.pop(key, None)
        # Looked at here, or a failure nobody waited for would be reported at its collection.
        if not done.cancelled():
            done.exception()


class Studio:
    """The painter of one server."""

    def __init__(self, fixed: bytes | Mapping[str, bytes] | None = None, *, threads: int = 2) -> None:
        self._fixed_for_all = b64encode(fixed) if isinstance(fixed, bytes) else None
        by_format = fixed.items() if isinstance(fixed, Mapping) else ()
        self._fixed = {name: b64encode(data) for name, data in by_format}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="local-images-painter")
        self._pictures = OnceCache[PictureSpec, bytes](PICTURE_BYTES, len)
        self._canvases = OnceCache[CanvasSpec, Image.Image](CANVAS_BYTES, _canvas_bytes)

    async def picture(self, asked: Parameters, index: int, stage: int | None) -> bytes:
        """The base64 of one picture, or of a partial image of it."""
        fixed = self._fixed.get(asked.output_format, self._fixed_for_all)
        if fixed is not None:
            return fixed
        spec = spec_of(asked, index, stage)
        make = self._write if asked.output_format == "svg" else self._develop
        return await self._pictures.get(spec, lambda: asyncio.ensure_future(make(spec, asked.edit)))

    def close(self) -> None:
        """Stops painting; a stroke under way ends by itself."""
        self._pictures.cancel()
        self._canvases.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _develop(self, spec: PictureSpec, edit: Edit | None) -> bytes:
        loop = asyncio.get_running_loop()
        canvas = await self._canvases.get(
            spec.canvas, lambda: loop.run_in_executor(self._pool, paint_canvas, spec.canvas, edit)
        )
        return await loop.run_in_executor(self._pool, _develop_base64, canvas, spec)

    async def _write(self, spec: PictureSpec, edit: Edit | None) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _drawn_base64, spec.canvas, edit)


def _develop_base64(canvas: Image.Image, spec: PictureSpec) -> bytes:
    return b64encode(develop(canvas, spec))


def _drawn_base64(spec: CanvasSpec, edit: Edit | None) -> bytes:
    return b64encode(draw(spec.prompt, spec.index, (spec.width, spec.height), edit).encode())


def _canvas_bytes(canvas: Image.Image) -> int:
    return canvas.width * canvas.height * len(canvas.getbands())
