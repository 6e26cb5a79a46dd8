"""`ImageStream`: a call as an async iterator of events, which owns its connections.

Invariants: nothing is sent before `__aenter__` or the first `__anext__`; it is iterated once, by one task at a time; it
ends when all images are complete, or raises; the connections are closed at the end, by an error, by a cancellation and
by leaving `async with`; a stream that is dropped without these is closed with a ResourceWarning.
Must not: read from the connection (its `Call` does).
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

from openai_images._util.aio import call_in_loop
from openai_images._util.attrs import safe_repr
from openai_images.client.call import Call
from openai_images.models.results import CompletedImage, ImageEvent, ImageResult, PartialImage

_CLOSED = "this stream was closed before its end (aclose, an error or a cancelled step); ask the client for a new one"


@safe_repr
class ImageStream:
    """The events of one call: `PartialImage`, `CompletedImage`, `UnknownEvent`; then `result`.

    Iterate it once, inside `async with`. Entering and iterating raise `ImagesError`, and OSError if the files of
    `into=` cannot be written. Events of several images are in the order of arrival; `image_index` names the image.
    """

    def __init__(self, call: Call, *, edited: bool = False) -> None:
        self._call = call
        self._edited = edited
        self._events: deque[ImageEvent] = deque()
        self._partial = self._completed = 0
        self._iterated = False
        self._closed_early = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._step: asyncio.Timeout | None = None

    @property
    def result(self) -> ImageResult:
        """The result, as returned by `generate`. Raises RuntimeError until every image is complete."""
        return self._call.require_result()

    @property
    def request_id(self) -> str | None:
        """The server's request id (of the first request, if there are several), or None before its response."""
        return self._call.request_id

    @property
    def wait_reason(self) -> str | None:
        """Why it waits for a limit or its next attempt, and until when; None if it does not, or for a few seconds."""
        return None if self._call.is_over else self._call.wait_reason

    @property
    def edited(self) -> bool:
        """Whether the stream is one of `stream_edit`."""
        return self._edited

    async def __aenter__(self) -> Self:
        await self._guard(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._call.is_over:  # cancelled while the caller's code ran
            self._call.note(error)
        await self.aclose()
        self._call.note_end(error)

    def __aiter__(self) -> Self:
        if self._iterated:
            raise RuntimeError("a stream can be iterated once; its result stays in .result")
        self._iterated = True
        return self

    async def __anext__(self) -> ImageEvent:
        """Return the next event. Raises `ImagesError`, OSError, and RuntimeError if the stream was closed early."""
        if not self._events and not self._call.is_over:
            await self._guard(self._read)
        if self._events:
            return self._events.popleft()
        self._call.raise_error()
        if self._closed_early:
            raise RuntimeError(_CLOSED)
        raise StopAsyncIteration

    def images(self) -> AsyncIterator[PartialImage | CompletedImage]:
        """Return an iterator of the events that have an `image`: all except unknown events.

        Iterate it instead of the stream: once, inside the stream's `async with`.
        """
        return _ImageEvents(self)

    async def finish(self) -> ImageResult:
        """Read to the end, discarding events, and return the result. Raises as iterating does."""
        await self._guard(self._drain)
        self._call.raise_error()
        return self.result

    async def aclose(self) -> None:
        """Close the connections and delete incomplete files. Idempotent.

        In a task that waits for the next event, this raises a RuntimeError.
        """
        if self._step is not None:
            self._step.reschedule(asyncio.get_running_loop().time())
        self._closed_early = self._closed_early or not self._call.is_over
        self._events.clear()
        self._call.close()
        await self._call.wait_closed()

    def __del__(self) -> None:
        call: Call | None = getattr(self, "_call", None)
        if call is not None and call.is_open:
            message = f"unclosed {self!r}: iterate it to its end or use async with"
            with contextlib.suppress(RuntimeError):  # its loop may be closed
                call_in_loop(self._loop, call.close)
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        call = self._call
        state = "ended" if call.is_over else "open" if call.is_open else "not sent"
        partial = self._partial if call.result is None else 0
        return f"<ImageStream {state}, {partial} partial, {self._completed} completed>"

    async def _guard(self, step: Callable[[], Awaitable[None]]) -> None:
        """Await a step, which `aclose` can interrupt; an exception closes the stream."""
        if self._step is not None:
            raise RuntimeError(
                "another task is waiting for this stream's next event; let one task iterate it"
            )
        self._loop = asyncio.get_running_loop()
        guard = self._step = asyncio.timeout(None)
        try:
            async with guard:
                await step()
        except BaseException as error:
            self._step = None
            self._closed_early = self._closed_early or not self._call.is_over
            self._events.clear()
            await self._call.fail(error)
            if guard.expired() and isinstance(error, TimeoutError):
                raise RuntimeError(_CLOSED) from None
            raise
        self._step = None

    async def _open(self) -> None:
        if self._call.is_over:
            raise RuntimeError("this stream is over; ask the client for a new one")
        await self._call.open()

    async def _read(self) -> None:
        for event in await self._call.read():
            self._events.append(event)
            self._partial += isinstance(event, PartialImage)
            self._completed += isinstance(event, CompletedImage)

    async def _drain(self) -> None:
        while not self._call.is_over:
            self._events.clear()
            await self._read()
        self._events.clear()


class _ImageEvents:
    """A stream without its unknown events; it refers only to the stream, so that both are dropped together."""

    def __init__(self, stream: ImageStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        aiter(self._stream)
        return self

    async def __anext__(self) -> PartialImage | CompletedImage:
        """Return the next event with an image. Raises as the stream does."""
        while True:
            event = await anext(self._stream)
            if isinstance(event, PartialImage | CompletedImage):
                return event
