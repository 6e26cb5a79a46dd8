"""One call, read step by step: what streams and `generate` both drive.

Rules: nothing is sent before the first step. It ends with a completed picture or a failure; a picture that is whole is
never lost to what comes after it. The end, a failure and `abort` all close the connection at once. It refuses to know
who asks: how often it may be iterated, and by whom, is `ImageStream`'s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import evolve

from openai_images.errors import ImagesError, with_facts
from openai_images.models.results import CompletedImage, Event, PartialImage
from openai_images.wire.response import AnswerReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from openai_images.client.attempts import Call
    from openai_images.client.files import OutputFiles
    from openai_images.http.transport import Exchange
    from openai_images.models.results import ImageResult
    from openai_images.wire.sinks import Sink

_REST_SECONDS = 1.0
"""How long the end of the body is waited for behind the last picture, so that its connection can be used again."""


class Engine(ABC):
    """What goes on behind a stream: `open`, then `advance` until `is_over`; each step leaves events, or the end."""

    def __init__(self) -> None:
        """Nothing is sent."""
        self.queue: deque[Event] = deque()
        self.is_over = False
        self.failure: Exception | None = None

    @property
    @abstractmethod
    def result(self) -> ImageResult | None:
        """What it all comes to, once every picture is here."""

    @property
    @abstractmethod
    def request_id(self) -> str | None:
        """The server's name for the request, once it has answered."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether something is under way."""

    @property
    @abstractmethod
    def seen(self) -> tuple[int, int]:
        """How many partial and how many completed pictures there are."""

    @abstractmethod
    async def open(self) -> None:
        """Send; return when the server has answered. Raises `ImagesError` and OSError."""

    @abstractmethod
    async def advance(self) -> None:
        """Leave events in `queue`, or be over, with a `result` or a `failure`. Raises as `open` does."""

    @abstractmethod
    def abort(self) -> None:
        """Stop at once, wherever it is, and drop what is half-written; harmless when it is over."""

    async def settle(self) -> None:  # noqa: B027  most have nothing to wait for
        """Wait until nothing runs any more that was aborted."""

    async def run(self) -> None:
        """Read to the end, without the events on the way."""
        while not self.is_over:
            await self.advance()
            self.queue.clear()

    async def finish(self) -> ImageResult:
        """Read to the end; the result. Raises `ImagesError` and OSError, and leaves nothing open."""
        try:
            await self.run()
        except BaseException as error:
            await self.stop(error)
            raise
        self.raise_failure()
        return self.the_result()

    async def stop(self, error: BaseException) -> None:
        """Stop because of this; where one may wait, until nothing runs any more."""
        self.abort()
        if not isinstance(error, GeneratorExit):  # a coroutine that is thrown away may not wait
            await self.settle()

    def the_result(self) -> ImageResult:
        """The result. Raises RuntimeError where there is none."""
        result = self.result
        if result is None:
            msg = "there is no result yet: iterate the stream to its end, or at least to its CompletedImage"
            raise RuntimeError(msg)
        return result

    def raise_failure(self) -> None:
        """Raise what went wrong, once."""
        failure, self.failure = self.failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it holds this frame


class Reading(Engine):
    """One call: `PartialImage`, `CompletedImage` and `UnknownEvent`, then its result."""

    def __init__(  # noqa: PLR0913  all that a stream is made of
        self,
        call: Call,
        *,
        new_sink: Callable[[], Sink],
        files: OutputFiles | None,
        expected: int,
        partials: int,
        max_picture_bytes: int,
        about: Mapping[str, Any],
        look: Callable[[ImageResult], None],
    ) -> None:
        """Read the answer to `call`, where `expected` pictures are asked for, and so many `partials` of them.

        An error keeps no more partials than that. The result has what is `about` them, and is shown to `look`.
        """
        super().__init__()
        self.call = call
        self.expected = expected
        self.partials: deque[PartialImage] = deque(maxlen=partials)
        self._new_sink = new_sink
        self._files = files
        self._max_picture_bytes = max_picture_bytes
        self._about = about
        self._look = look
        self._exchange: Exchange | None = None
        self._reader: AnswerReader | None = None
        self._completed: list[CompletedImage] = []
        self._result: ImageResult | None = None
        self._any_event = False

    @property
    def result(self) -> ImageResult | None:
        """What `generate` gives, once enough is here."""
        return self._result

    @property
    def request_id(self) -> str | None:
        """The server's name for the request, once it has answered."""
        return self.call.request_id

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._exchange is not None

    @property
    def seen(self) -> tuple[int, int]:
        """How many partial and how many completed pictures there are."""
        return len(self.partials), len(self._completed)

    async def open(self) -> None:
        """Send the request; the events are on their way."""
        if self._exchange is not None:
            return
        if self._files is not None:
            await self._files.prepare()
        exchange, answered = await self.call.open()
        self._exchange = exchange
        self._reader = AnswerReader(answered, self._new_sink, self._max_picture_bytes)

    async def advance(self) -> None:
        """Read until there is an event, or the end."""
        try:
            while not self.queue and not self.is_over:
                await self.open()
                if self._exchange is not None and self._reader is not None:
                    await self._read(self._exchange, self._reader)
        finally:
            if self._exchange is not None:
                self._exchange.pause()

    def abort(self) -> None:
        """Stop at once, wherever it is."""
        self.is_over = True
        self._let_go()
        self.queue.clear()

    async def _read(self, exchange: Exchange, reader: AnswerReader) -> None:
        """Read and decode a piece. Behind the last picture only a moment is left, and nothing there can spoil it."""
        has_all = len(self._completed) >= self.expected
        if has_all:
            exchange.hurry(_REST_SECONDS)
        life = reader.life
        try:
            piece = await exchange.read()
        except ImagesError as error:
            if not has_all:
                await self._take(reader.finish())
            await self._end(None if has_all else error)
            return
        failure = await self._take(reader.feed(piece) if piece else reader.finish())
        if reader.life > life:
            exchange.alive()
        if failure is not None or not piece:
            await self._end(None if has_all else failure)

    async def _take(self, events: Iterator[Event]) -> ImagesError | None:
        """Put events into the queue, their pictures where they belong; give the error that ended them."""
        failure: ImagesError | None = None
        try:
            for event in events:
                placed = event if self._files is None else await self._files.place(event)
                self.queue.append(placed)
                self._any_event = True
                if isinstance(placed, PartialImage):
                    self.partials.append(placed)
                elif isinstance(placed, CompletedImage):
                    self._completed.append(placed)
        except ImagesError as error:
            failure = error
        self._conclude()
        if self._files is not None:
            await self._files.drain()
        return failure

    def _conclude(self) -> None:
        """Make the result once enough is here, and once only; the partials have had their day."""
        if self._result is None and self._reader is not None and len(self._completed) >= self.expected:
            self._result = self._told(self._reader.result(self._completed))
            self.call.used(self._result.usage)
            self.partials.clear()

    async def _end(self, error: ImagesError | None) -> None:
        """The body ended or broke: what is whole is the result; otherwise send again where that is allowed, or fail."""
        reader, result = self._reader, None
        if reader is not None and (error is None or self._result is not None):
            try:
                result = self._told(reader.result(self._completed))
            except ImagesError as failure:
                error = error or failure
        if self._result is not None:
            if result is not None and self._result.usage is None:  # Doubao tells it behind the last picture
                self.call.used(result.usage)
            self._result = result or self._result
        elif reader is not None and (failed := await self._failed(reader, result, error)) is not None:
            self._let_go()
            if not (self._any_event or failed.images or failed.damaged) and await self.call.again(failed):
                return
            self.failure = failed
        self._let_go()
        self.is_over = True

    async def _failed(
        self, reader: AnswerReader, result: ImageResult | None, error: ImagesError | None
    ) -> ImagesError | None:
        """The error, or what a result lacks of what was asked for, with all that came."""
        # Here, so that those who get what they asked for need not wait for its import.
        from openai_images.client.incomplete import came_short, keep_rest  # noqa: PLC0415

        if result is not None:
            error = came_short(result, reader, self.call, self.expected)
        if error is not None:
            rest = await keep_rest(reader, self._files, self._completed)
            with_facts(self.call.failed(error), {**rest, "partials": tuple(self.partials)})
        return error

    def _told(self, result: ImageResult) -> ImageResult:
        """The result with what the call knows."""
        self._look(result)
        return evolve(result, **self._about, **self.call.facts())

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
        self.call.release()
