"""A call under way, as people hold it: an async iterator of events that owns its connections.

Rules: nothing is sent before `__aenter__` or the first `__anext__`, and what the server refuses is raised there. It is
iterated once, by one task at a time. It ends with every picture completed or raises, also where it was closed before
its end. Leaving `async with`, an error, a cancellation and the end all close the connections at once; a stream that
was dropped without any of these is aborted with a ResourceWarning. It refuses to read: that is its engine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from typing import TYPE_CHECKING, Self

from openai_images._util.aio import call_in
from openai_images._util.attrs import safe_repr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from openai_images.client.call import Engine
    from openai_images.models.results import Event, ImageResult

_CLOSED = "this stream was closed before its end (aclose, an error or a cancelled step); ask the client for a new one"


@safe_repr
class ImageStream:
    """The events of one call: `PartialImage`, `CompletedImage`, `UnknownEvent`; then `result`.

    Iterate it once, best inside `async with`. Iterating and entering raise `ImagesError` (and OSError where the files
    of `into=` cannot be written). The events of several pictures come as they arrive, told apart by `image_index`.
    """

    def __init__(self, engine: Engine) -> None:
        """Made by `ImagesClient.stream`."""
        self._engine = engine
        self._iterated = False
        self._closed_early = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._step: asyncio.Timeout | None = None

    @property
    def result(self) -> ImageResult:
        """What `generate` gives. Raises RuntimeError before the completed pictures have arrived."""
        return self._engine.the_result()

    @property
    def request_id(self) -> str | None:
        """The server's name for the request (of several, the first), once it has answered."""
        return self._engine.request_id

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
        engine = self._engine
        if not engine.queue and not engine.is_over:
            await self._guarded(engine.advance)
        if engine.queue:
            return engine.queue.popleft()
        engine.raise_failure()
        if self._closed_early:
            raise RuntimeError(_CLOSED)
        raise StopAsyncIteration

    async def finish(self) -> ImageResult:
        """Read to the end, without the events on the way; the result. Raises as iterating does."""
        await self._guarded(self._engine.run)
        self._engine.raise_failure()
        return self.result

    async def aclose(self) -> None:
        """Close the connections and drop what is half-written; harmless when it is over, and when called twice.

        Another task that is waiting for the next event gets a RuntimeError.
        """
        if self._step is not None:
            self._step.reschedule(asyncio.get_running_loop().time())
        self._abort()
        await self._engine.settle()

    def __del__(self) -> None:
        """A stream nobody closed: abort it and say so."""
        engine: Engine | None = getattr(self, "_engine", None)
        if engine is not None and engine.is_open:
            what = f"unclosed {self!r}: iterate it to its end or use async with"
            with contextlib.suppress(RuntimeError):  # its loop may be gone
                call_in(self._loop, engine.abort)
            warnings.warn(what, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        """Where it stands."""
        engine = self._engine
        state = "ended" if engine.is_over else "open" if engine.is_open else "not sent"
        return "<ImageStream {}, {} partial, {} completed>".format(state, *engine.seen)

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step that `aclose` can end; whatever it raises aborts the stream."""
        if self._step is not None:
            msg = "another task is waiting for this stream's next event; let one task iterate it"
            raise RuntimeError(msg)
        self._loop = asyncio.get_running_loop()
        guard = self._step = asyncio.timeout(None)
        try:
            async with guard:
                await step()
        except BaseException as error:
            self._step = None
            self._closed_early = self._closed_early or not self._engine.is_over
            await self._engine.stop(error)
            if guard.expired() and isinstance(error, TimeoutError):
                raise RuntimeError(_CLOSED) from None
            raise
        self._step = None

    async def _open(self) -> None:
        if self._engine.is_over:
            msg = "this stream is over; ask the client for a new one"
            raise RuntimeError(msg)
        await self._engine.open()

    def _abort(self) -> None:
        """Stop at once, wherever it is."""
        self._closed_early = self._closed_early or not self._engine.is_over
        self._engine.abort()
