"""Draws the image file of a request in a small thread pool, and caches it by the values that determine it.

Invariants: an image requested concurrently is drawn once, and a cancelled caller does not stop it for other callers;
the cache is limited in bytes, and the least recently used image is removed first. A flat image, for tests, is made in
milliseconds: another prompt, index, source image or stage gives another colour.
Must not: draw on the event loop.
"""

import asyncio
import hashlib
import io
import math
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from random import Random
from typing import Any, Final, Generic, TypeVar

import attrs
from PIL import Image, ImageChops, PngImagePlugin

from openai_images.server.paint.drawing import (
    STATEMENT,
    apply_curve,
    blur,
    prompt_rng,
    resize,
    rounded_mask,
    write_caption,
)
from openai_images.server.paint.scenes import choose_palette, choose_scene, prompt_words
from openai_images.server.paint.variants import MARGIN, apply_edit, draw, encode_gif
from openai_images.server.protocol.catalog import Animation
from openai_images.server.requests.parameters import Parameters
from openai_images.server.requests.settings import Pictures
from openai_images.server.requests.source_images import CheckedEdit


@attrs.frozen(kw_only=True)
class CanvasSpec:
    """The values that determine a canvas; `sources` are the digests of source images."""

    prompt: str
    index: int
    width: int
    height: int
    transparent: bool
    sources: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ImageSpec:
    """The values that determine the bytes of a file; `progress` is 1 for the final image.

    The canvas of an animation is larger than its frames, by `MARGIN`.
    """

    canvas: CanvasSpec
    output_format: str
    compression: int
    quality: str
    progress: float
    animation: Animation | None = None


def image_spec(parameters: Parameters, index: int, stage: int | None) -> ImageSpec:
    """Return the specification of an image, or of a partial image of it."""
    margin = 1 if parameters.animation is None else MARGIN
    edit = parameters.edit
    sources = () if edit is None else (*edit.images, edit.mask, edit.markup)
    return ImageSpec(
        canvas=CanvasSpec(
            prompt=parameters.prompt,
            index=index,
            width=round(parameters.width * margin),
            height=round(parameters.height * margin),
            transparent=parameters.background == "transparent",
            sources=tuple("" if image is None else image.digest for image in sources),
        ),
        output_format=parameters.output_format,
        compression=parameters.compression,
        quality=parameters.quality,
        progress=1.0 if stage is None else (stage + 1) / (parameters.partials + 1),
        animation=parameters.animation,
    )


# Scenes are drawn larger than requested for smooth edges, up to this many pixels: more would be slow.
OVERSIZE: Final = 1.5
MAX_PIXELS: Final = 9_500_000
_GRAIN_TILE: Final = 512
_GRAIN_DEPTH: Final = 4

_KEPT: Final = 256
_CLEAR: Final = 128


def paint_canvas(spec: CanvasSpec, edit: CheckedEdit | None = None) -> Image.Image:
    """Return the image in full size, without its caption; `edit` has the images that `spec` names."""
    rng = prompt_rng(spec.prompt, spec.index)
    words = prompt_words(spec.prompt)
    palette, scene = choose_palette(rng, words), choose_scene(rng, words)
    scale = min(OVERSIZE, math.sqrt(MAX_PIXELS / (spec.width * spec.height)))
    size = max(2, round(spec.width * scale)), max(2, round(spec.height * scale))
    painted = scene(size, rng, palette)
    image = resize(painted, (spec.width, spec.height), Image.Resampling.LANCZOS)
    image = _add_grain(image, rng)
    if edit is not None:
        image = apply_edit(edit, image, palette, rng)
    return _as_sticker(image) if spec.transparent else image


def encode_image(canvas: Image.Image, spec: ImageSpec) -> bytes:
    """Return the bytes of the file: the canvas, as sharp as `progress` requires, with its caption.

    The frames of a gif are parts of its larger canvas.
    """
    caption = partial(write_caption, prompt=spec.canvas.prompt, opaque=bool(spec.canvas.sources))
    if spec.animation is not None:
        size = round(spec.canvas.width / MARGIN), round(spec.canvas.height / MARGIN)
        return encode_gif(canvas, size, spec.animation, caption)
    image = canvas
    if spec.progress < 1:
        image = blur(canvas, (1 - spec.progress) ** 1.6 * max(canvas.size) / 18)
    image, file = caption(image), io.BytesIO()
    if spec.output_format == "png":
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", STATEMENT, zip=False)
        image.save(file, "PNG", compress_level=1, pnginfo=info)
    elif spec.output_format == "jpeg":
        image.save(file, "JPEG", quality=max(1, min(95, spec.compression)))
    else:
        image.save(file, "WEBP", quality=spec.compression, method=1)
    return file.getvalue()


def _add_grain(image: Image.Image, rng: Random) -> Image.Image:
    """Return the image with light film grain, which also hides the steps of gradients."""
    tile = Image.frombytes("L", (_GRAIN_TILE, _GRAIN_TILE), rng.randbytes(_GRAIN_TILE * _GRAIN_TILE))
    tile = apply_curve(tile, lambda value: 128 + (value - 128) * _GRAIN_DEPTH / 128)
    grain = Image.new("L", image.size)
    for left in range(0, image.width, _GRAIN_TILE):
        for top in range(0, image.height, _GRAIN_TILE):
            grain.paste(tile, (left, top))
    return ImageChops.add(image, Image.merge("RGB", [grain] * 3), 1, -128)


def _as_sticker(image: Image.Image) -> Image.Image:
    edge = round(min(image.size) * 0.04)
    corner = round(min(image.size) * 0.3)
    outer, inner = (rounded_mask(image.size, inset, corner - inset) for inset in (edge, round(edge * 1.7)))
    sticker = Image.new("RGB", image.size, (255, 255, 255))
    sticker.paste(image, mask=inner)
    sticker.putalpha(outer)
    return sticker


K = TypeVar("K")
V = TypeVar("V")

MAX_CACHED_BYTES: Final = 96 * 1024 * 1024
MAX_CANVAS_BYTES: Final = 64 * 1024 * 1024


class SingleFlightCache(Generic[K, V]):
    """A bounded LRU cache whose values are made once per key, also for concurrent callers."""

    def __init__(self, limit: int, size: Callable[[V], int]) -> None:
        self._limit = limit
        self._size = size
        self._held = 0
        self._values: OrderedDict[K, V] = OrderedDict()
        self._making: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, make: Callable[[], "asyncio.Future[V]"]) -> V:
        """Return the value of `key`, made by `make` if it is not cached."""
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
        """Cancel the values that are being made."""
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
        # Retrieved here: otherwise asyncio would report a failure that no task waited for.
        if not done.cancelled():
            done.exception()


class ImageCache:
    """Placeholder images of one server, drawn in a thread pool."""

    def __init__(self, pictures: Pictures) -> None:
        self.serve(pictures)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="local-images-painter")
        self._files = SingleFlightCache[ImageSpec, bytes](MAX_CACHED_BYTES, len)
        self._canvases = SingleFlightCache[CanvasSpec, Image.Image](
            MAX_CANVAS_BYTES, lambda canvas: canvas.width * canvas.height * len(canvas.getbands())
        )

    def serve(self, pictures: Pictures) -> None:
        """Serve fixed images or "small" ones; None: draw the images."""
        self._is_small = pictures == "small"
        self._fixed_for_all = b64encode(pictures) if isinstance(pictures, bytes) else None
        by_format = pictures.items() if isinstance(pictures, Mapping) else ()
        self._fixed = {name: b64encode(data) for name, data in by_format}

    async def image(self, parameters: Parameters, index: int, stage: int | None) -> bytes:
        """Return the base64 of one image, or of a partial image of it."""
        fixed = self._fixed.get(parameters.output_format, self._fixed_for_all)
        if fixed is not None:
            return fixed
        spec = image_spec(parameters, index, stage)
        if self._is_small and spec.output_format != "svg":
            return await asyncio.get_running_loop().run_in_executor(self._pool, flat_image, spec)
        return await self._files.get(spec, lambda: asyncio.ensure_future(self._make(spec, parameters.edit)))

    def close(self) -> None:
        """Stop drawing; running threads end by themselves."""
        self._files.cancel()
        self._canvases.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _make(self, spec: ImageSpec, edit: CheckedEdit | None) -> bytes:
        loop, canvas = asyncio.get_running_loop(), spec.canvas
        if spec.output_format == "svg":
            size = canvas.width, canvas.height
            return await loop.run_in_executor(
                self._pool, lambda: b64encode(draw(canvas.prompt, canvas.index, size, edit).encode())
            )
        image = await self._canvases.get(
            canvas, lambda: loop.run_in_executor(self._pool, paint_canvas, canvas, edit)
        )
        return await loop.run_in_executor(self._pool, lambda: b64encode(encode_image(image, spec)))


@lru_cache(_KEPT)
def flat_image(spec: ImageSpec) -> bytes:
    """Return the base64 of one image, or of a partial image of it; an svg is always drawn."""
    canvas, animation = spec.canvas, spec.animation
    margin = 1 if animation is None else MARGIN
    size = round(canvas.width / margin), round(canvas.height / margin)
    frames = [_frame(spec, size, step) for step in range(1 if animation is None else animation.frames)]
    file, options = io.BytesIO(), dict[str, Any]()
    if animation is not None:
        options = {
            "save_all": True,
            "append_images": frames[1:],
            "duration": animation.milliseconds,
            "loop": 0,
        }
    elif spec.output_format == "png":
        options = {"compress_level": 1, "bits": 1} | (
            {"transparency": bytes([_CLEAR])} if canvas.transparent else {}
        )
    elif spec.output_format == "webp":
        options = {"lossless": True, "quality": 0, "method": 0}
    frames[0].save(file, spec.output_format, **options)
    return b64encode(file.getvalue())


def _frame(spec: ImageSpec, size: tuple[int, int], step: int) -> Image.Image:
    canvas = spec.canvas
    identity = repr((canvas.prompt, canvas.index, canvas.sources, spec.progress, step))
    colour = tuple(hashlib.sha256(identity.encode("utf-8", "replace")).digest()[:3])
    if spec.output_format in {"png", "gif"}:
        frame = Image.new("P", size, 0)
        frame.putpalette(colour)
        return frame
    if spec.output_format == "webp" and canvas.transparent:
        return Image.new("RGBA", size, (*colour, _CLEAR))
    return Image.new("RGB", size, colour)
