"""`RecordedStream`: an `ImageStream` whose images and end are stored in the history before they are shown.

Invariants: an image is stored when it arrives, before the relay writes its event; an image that cannot be stored is
shown anyway. The record of the stream has exactly one end.
Must not: be iterated by other code than its relay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Self

from attrs import evolve

from openai_images import (
    CompletedImage,
    Image,
    ImageEvent,
    ImageResult,
    ImagesClient,
    ImagesError,
    ImageStream,
    PartialResultError,
)
from openai_images.studio.history import History

__all__ = ["RecordedStream"]

_log = logging.getLogger("openai_images")


class CancelledGenerationError(Exception):
    """The generation was cancelled on the page."""


class RecordedStream:
    """Replaces `stream` for a relay; `record_id` is a generation that was recorded in the history."""

    def __init__(self, stream: ImageStream, client: ImagesClient, history: History, record_id: str) -> None:
        self._stream = stream
        self._client = client
        self._history = history
        self._id = record_id
        self._events = aiter(stream)
        self._problems: list[str] = []
        self._step: asyncio.Task[ImageEvent] | None = None
        self._is_cancelled = self._is_over = self._maybe_billed = False
        self.on_end: Callable[[], object] = lambda: None

    @property
    def edited(self) -> bool:
        """The value of the stream."""
        return self._stream.edited

    @property
    def result(self) -> ImageResult:
        """The value of the stream."""
        return self._stream.result

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ImageEvent:
        """Return the next event. Raises as the stream does, and `CancelledGenerationError` after `cancel`."""
        try:
            event = await self._read()
            return await self._store(event) if isinstance(event, CompletedImage) else event
        except StopAsyncIteration:
            await self._end("done", **_facts(self._stream.result))
            raise
        except Exception as error:
            await self._fail(error)
            raise

    async def cancel(self) -> None:
        """Close the call; a request that was sent and not rejected may still be billed."""
        self._is_cancelled = True
        if self._step is not None:
            self._step.cancel()
            await asyncio.wait({self._step})
        await self._stream.aclose()
        await self._end("cancelled", maybe_billed=self._maybe_billed)

    async def aclose(self) -> None:
        """Close the call, if it has not ended."""
        await self._stream.aclose()
        await self._end("cancelled", maybe_billed=True)

    async def _read(self) -> ImageEvent:
        """Return the next event from a task of its own, which `cancel` cancels."""

        async def read() -> ImageEvent:
            try:
                event = await anext(self._events)
            except asyncio.CancelledError as error:
                self._maybe_billed |= getattr(error, "maybe_billed", True)
                raise
            self._maybe_billed = True
            return event

        if self._is_cancelled:
            raise CancelledGenerationError
        self._step = asyncio.create_task(read())
        try:
            return await self._step
        except asyncio.CancelledError:
            if self._is_cancelled:
                raise CancelledGenerationError from None
            raise

    async def _store(self, event: CompletedImage) -> CompletedImage:
        image = event.image
        if image.url and not image.nbytes:  # the server sent a URL in the image's place
            try:
                image = await self._client.download(image)
            except ImagesError:  # the other images go on
                self._problems.append(
                    f"an image could not be downloaded; until it expires, it is at {image.url}"
                )
                return event
            event = evolve(event, image=image)
        await self._keep(event.image_index or 0, image)
        return event

    async def _keep(self, index: int, image: Image) -> None:
        try:
            await self._history.add_image(self._id, index, image)
        except OSError as error:
            self._problems.append(
                f"an image could not be written ({error.strerror or error}): save it from this page, which has it "
                "until the studio stops"
            )

    async def _fail(self, error: Exception) -> None:
        if self._is_cancelled:
            await self._end("cancelled", maybe_billed=self._maybe_billed)
            return
        if not isinstance(error, ImagesError):
            await self._end(
                "failed", message=f"an unexpected error happened ({type(error).__name__})", maybe_billed=True
            )
            return
        for index, image in enumerate(error.damaged):
            await self._keep(index, image)
        result = error.result if isinstance(error, PartialResultError) else None
        facts = {} if result is None else _facts(result)
        await self._end("failed", **facts, message=str(error), maybe_billed=error.maybe_billed)

    async def _end(self, status: str, **fields: Any) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._problems:
            fields["message"] = "; ".join([*filter(None, [fields.get("message")]), *self._problems])
        try:
            await self._history.end(self._id, status=status, **fields)
        except OSError as error:
            # The page shows the end anyway; after a restart the generation counts as unknown.
            _log.warning("the studio's journal could not be written: %s", error.strerror or error)
        self.on_end()


def _facts(result: ImageResult) -> dict[str, Any]:
    cost = result.cost()
    return {
        "cost": None if cost is None else f"{cost.normalize():f}",
        "seconds": round(result.elapsed, 2),
        "size": result.size,
        "quality": result.quality,
        "request_id": result.request_id,
    }
