"""A call under way: an async iterator of events that owns its connection.

Rules: nothing is sent before `__aenter__` or the first `__anext__`, and what the server refuses is raised there. It is
iterated once, by one task at a time. It ends with a completed picture or raises, also where it was closed before its
end; a picture that is whole is never lost to what comes after it. Leaving `async with`, an error, a cancellation
and the end all close the connection at once; a stream that was dropped without any of these is aborted with a
ResourceWarning.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections import deque
from typing import TYPE_CHECKING, Self

from attrs import evolve

from openai_images.errors import ImagesError, with_facts
from openai_images.http.loops import call_in
from openai_images.models.events import CompletedImage, Event, PartialImage
from openai_images.wire.reader import AnswerReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from openai_images.files import FileDestination
    from openai_images.http.call import Call
    from openai_images.http.transport import Exchange
    from openai_images.models.results import ImageResult
    from openai_images.wire.memory import Sink

__all__ = ["ImageStream"]

_REST_SECONDS = 1.0
"""How long the end of the body is waited for behind the last picture, so that its connection can be used again."""

_CLOSED = "this stream was closed before its end (aclose, an error or a cancelled step); ask the client for a new one"


class ImageStream:
    """The events of one call: `PartialImage`, `CompletedImage`, `UnknownEvent`; then `result`.

    Iterate it once, best inside `async with`. Iterating and entering raise `ImagesError` (and OSError where the files
    of `into=` cannot be written).
    """

    def __init__(
        self,
        call: Call,
        *,
        new_sink: Callable[[], Sink],
        files: FileDestination | None,
        expected: int,
        max_picture_bytes: int,
    ) -> None:
        """Made by `ImagesClient.stream`."""
        self._call = call
        self._new_sink = new_sink
        self._files = files
        self._expected = expected
        self._max_picture_bytes = max_picture_bytes
        self._exchange: Exchange | None = None
        self._reader: AnswerReader | None = None
        self._queue: deque[Event] = deque()
        self._partials: list[PartialImage] = []
        self._completed: list[CompletedImage] = []
        self._failure: ImagesError | None = None
        self._result: ImageResult | None = None
        self._iterated = False
        self._any_event = False
        self._ended = False
        self._closed_early = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._step: asyncio.Timeout | None = None

    @property
    def result(self) -> ImageResult:
        """What `generate` gives. Raises RuntimeError before the completed picture has arrived."""
        if self._result is None:
            msg = "there is no result yet: iterate the stream to its end, or at least to its CompletedImage"
            raise RuntimeError(msg)
        return self._result

    @property
    def request_id(self) -> str | None:
        """The server's name for the request, once it has answered."""
        return self._call.request_id

    async def __aenter__(self) -> Self:
        """Send the request; the events are on their way."""
        await self._guarded(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close at once."""
        await self.aclose()

    def __aiter__(self) -> Self:
        """Start the one iteration."""
        if self._iterated:
            msg = "a stream can be iterated once; its result stays in .result"
            raise RuntimeError(msg)
        self._iterated = True
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises `ImagesError`, and RuntimeError where the stream was closed before its end."""
        if not self._queue and not self._ended:
            await self._guarded(self._advance)
        if self._queue:
            return self._queue.popleft()
        self._raise_failure()
        if self._closed_early:
            raise RuntimeError(_CLOSED)
        raise StopAsyncIteration

    async def finish(self) -> ImageResult:
        """Read to the end, without the events on the way; the result. Raises as iterating does."""
        await self._guarded(self._run)
        self._raise_failure()
        return self.result

    async def aclose(self) -> None:
        """Close the connection and drop what is half-written; harmless when it is over, and when called twice.

        Another task that is waiting for the next event gets a RuntimeError.
        """
        if self._step is not None:
            self._step.reschedule(asyncio.get_running_loop().time())
        self._abort()

    def __del__(self) -> None:
        """A stream nobody closed: abort it and say so."""
        if getattr(self, "_exchange", None) is not None:
            what = f"unclosed {self!r}: iterate it to its end or use async with"
            with contextlib.suppress(RuntimeError):  # its loop may be gone
                call_in(self._loop, self._abort)
            warnings.warn(what, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        """Where it stands."""
        state = "ended" if self._ended else "open" if self._exchange else "not sent"
        return f"<ImageStream {state}, {len(self._partials)} partial, {len(self._completed)} completed>"

    # Reading. Each step leaves events in the queue, or an end; what can fail for good ends in `_end`.

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step that `aclose` can end; whatever it raises aborts the stream."""
        if self._step is not None:
            msg = "another task is waiting for this stream's next event; let one task iterate it"
            raise RuntimeError(msg)
        self._loop = asyncio.get_running_loop()
        self._step = asyncio.timeout(None)
        try:
            async with self._step:
                await step()
        except BaseException as error:
            self._abort()
            if self._step.expired() and isinstance(error, TimeoutError):
                raise RuntimeError(_CLOSED) from None
            raise
        finally:
            self._step = None

    async def _open(self) -> None:
        if self._ended:
            msg = "this stream is over; ask the client for a new one"
            raise RuntimeError(msg)
        if self._exchange is not None:
            return
        if self._files is not None:
            await self._files.prepare()
        exchange, answered = await self._call.open()
        self._exchange = exchange
        self._reader = AnswerReader(answered, self._new_sink, self._max_picture_bytes)

    async def _run(self) -> None:
        while not self._ended:
            await self._advance()
            self._queue.clear()

    async def _advance(self) -> None:
        """Read until there is an event, or the end."""
        while not self._queue and not self._ended:
            await self._open()
            if self._exchange is not None and self._reader is not None:
                await self._read(self._exchange, self._reader)

    async def _read(self, exchange: Exchange, reader: AnswerReader) -> None:
        if len(self._completed) >= self._expected:
            await self._read_rest(exchange, reader)
            return
        life = reader.life
        try:
            chunk = await exchange.read()
        except ImagesError as error:
            await self._take(reader.finish())
            await self._end(error)
            return
        failure = await self._take(reader.feed(chunk) if chunk else reader.finish())
        if reader.life > life:
            exchange.alive()
        if failure is not None or not chunk:
            await self._end(failure)

    async def _read_rest(self, exchange: Exchange, reader: AnswerReader) -> None:
        """All that was asked for is here: wait a moment for the end, and let nothing that happens there spoil it."""
        with contextlib.suppress(ImagesError, TimeoutError):
            async with asyncio.timeout(_REST_SECONDS):
                while not self._queue and (chunk := await exchange.read()):
                    if await self._take(reader.feed(chunk)) is not None:
                        break
        if not self._queue:
            await self._end(None)

    async def _take(self, events: Iterator[Event]) -> ImagesError | None:
        """Put events into the queue, their pictures where they belong; give the error that ended them."""
        failure: ImagesError | None = None
        try:
            for event in events:
                placed = event if self._files is None else await self._files.place(event)
                self._queue.append(placed)
                self._any_event = True
                if isinstance(placed, PartialImage):
                    self._partials.append(placed)
                elif isinstance(placed, CompletedImage):
                    self._completed.append(placed)
                    self._conclude()
        except ImagesError as error:
            failure = error
        if self._files is not None:
            await self._files.drain()
        return failure

    def _conclude(self) -> None:
        """Make the result once enough is here; the partials have had their day."""
        if self._reader is not None and len(self._completed) >= self._expected:
            self._result = evolve(self._reader.result(self._completed), **self._call.facts())
            self._call.used(self._result.usage)
            self._partials.clear()

    async def _end(self, error: ImagesError | None) -> None:
        """The body ended or broke: what is whole is the result; otherwise send again where that is allowed, or fail."""
        reader = self._reader
        if self._result is None and reader is not None:
            try:
                result = reader.result(self._completed)
            except ImagesError as failure:
                error = error or failure
            else:
                self._result = evolve(result, **self._call.facts()) if error is None else None
        if self._result is None and error is not None and reader is not None:
            waiting = reader.images()
            images = [event.image for event in self._completed]
            images += waiting if self._files is None else await self._files.keep_many(waiting)
            with_facts(
                error, {**self._call.facts(), "partials": tuple(self._partials), "images": tuple(images)}
            )
            self._let_go()
            if not (self._any_event or images) and await self._call.again(error):
                return
            self._failure = error
        self._let_go()
        self._ended = True

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it holds this frame

    def _let_go(self) -> None:
        """Close what is open and drop what is half-written."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()
        if self._reader is not None:
            self._reader.discard()
            self._reader = None
        if self._files is not None:
            self._files.discard()
        self._call.release()

    def _abort(self) -> None:
        """Stop at once, wherever it is."""
        self._closed_early = self._closed_early or not self._ended
        self._ended = True
        self._let_go()
        self._queue.clear()
