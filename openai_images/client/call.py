"""`Call`, a call in execution: a sequence of events, then a result or an error; `SingleCall` is one of one request.

Invariants: nothing is sent before `open` or the first `read`; a complete image is never lost to a later error; the
connection is closed at the end, by an error and by `close`.
Must not: depend on who iterates, or how often (`ImageStream` does).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from attrs import evolve

from openai_images._util.aio import free_gradually
from openai_images.client.attempts import Attempts, annotate_cancellation
from openai_images.client.files import OutputFiles
from openai_images.client.prepared_request import PreparedRequest
from openai_images.errors import ImagesError, annotate
from openai_images.http.small_pieces import Take
from openai_images.http.transport import Response
from openai_images.models.image import Image
from openai_images.models.media import format_warning
from openai_images.models.results import CompletedImage, ImageEvent, ImageResult, PartialImage
from openai_images.wire.base64_decoder import Sink
from openai_images.wire.response import ResponseDecoder

_REST_SECONDS = 1.0  # for the end of the body after the last image, so that the connection can be reused


class Call(ABC):
    """A call in execution: `open` it, `read` until that returns nothing; then `result` or `error` is set."""

    def __init__(self, all_attempts: Sequence[Attempts]) -> None:
        """`all_attempts` are the attempts of each of its requests."""
        self.all_attempts = all_attempts
        self.is_over = False
        self.error: Exception | None = None
        self._completed: list[CompletedImage] = []

    @property
    @abstractmethod
    def result(self) -> ImageResult | None:
        """The result, or None until every image is complete."""

    @property
    def request_id(self) -> str | None:
        """The server's request id (of the first request, if there are several), or None before its response."""
        return next(filter(None, (attempts.request_id for attempts in self.all_attempts)), None)

    @property
    def wait_reason(self) -> str | None:
        """Why it waits for a limit or its next attempt, and until when; None if it does not, or for a few seconds."""
        return next(filter(None, (attempts.wait_reason for attempts in self.all_attempts)), None)

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether a request is in flight."""

    @abstractmethod
    async def open(self) -> None:
        """Send the request and wait for the response headers. Raises `ImagesError` and OSError."""

    @abstractmethod
    async def read(self) -> list[ImageEvent]:
        """Return the next events; an empty list at the end. Raises as `open` does."""

    @abstractmethod
    def close(self) -> None:
        """Stop the call in any state and discard incomplete images. Idempotent."""

    async def wait_closed(self) -> None:  # noqa: B027  most have nothing to wait for
        """Wait for cancelled tasks to end."""

    async def result_or_raise(self) -> ImageResult:
        """Read to the end, close the call and return its result. Raises `ImagesError` and OSError."""
        try:
            while await self.read():
                pass
        except BaseException as error:
            await self.fail(error)
            raise
        self.raise_error()
        return self.require_result()

    def note(self, error: BaseException | None) -> None:
        """Add the call's info to a CancelledError that is about to close it."""
        annotate_cancellation(error, self.all_attempts, self.received_images)

    @property
    def received_images(self) -> tuple[Image, ...]:
        """The complete images so far."""
        return tuple(event.image for event in self._completed)

    def note_end(self, error: BaseException | None) -> None:
        """Correct that info after `wait_closed`: a cancelled task may have just sent its request."""
        if getattr(error, "maybe_billed", None) is False:
            annotate_cancellation(error, self.all_attempts, self.received_images)

    async def fail(self, error: BaseException) -> None:
        """Close the call after this error, and wait for its cancelled tasks unless awaiting is impossible."""
        self.note(error)
        self.close()
        if not isinstance(error, GeneratorExit):  # a coroutine that is being closed must not await
            await self.wait_closed()
            self.note_end(error)

    def require_result(self) -> ImageResult:
        """Return the result. Raises RuntimeError if there is none."""
        if (result := self.result) is None:
            text = "there is no result yet: iterate the stream to its end, or at least to its CompletedImage"
            raise RuntimeError(text)
        return result

    def raise_error(self) -> None:
        """Raise the call's error, if any, and forget it."""
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: a reference cycle


class SingleCall(Call):
    """A call of one request: yields `PartialImage`, `CompletedImage` and `UnknownEvent`, then has a result."""

    def __init__(
        self,
        attempts: Attempts,
        prepared: PreparedRequest,
        new_sink: Callable[[], Sink],
        files: OutputFiles | None,
    ) -> None:
        """Write each image to a `new_sink()`, which is one of `files` unless these are None."""
        super().__init__((attempts,))
        self.attempts = attempts
        self._prepared = prepared
        self._expected = prepared.image_count
        self._partials = deque[PartialImage](maxlen=prepared.partial_count)  # an error keeps no more
        self._new_sink = new_sink
        self._files = files
        self._response: Response | None = None
        self._decoder: ResponseDecoder | None = None
        self._decoded: ImageResult | None = None
        self._result: ImageResult | None = None
        self._any_event = False

    @property
    def result(self) -> ImageResult | None:
        """The result, or None until every image is complete."""
        return self._result

    @property
    def is_open(self) -> bool:
        """Whether a connection is open."""
        return self._response is not None

    async def open(self) -> None:
        """Send the request. Raises `ImagesError` and OSError."""
        if self._response is not None:
            return
        if self._files is not None:
            await self._files.prepare()
        self._response, about = await self.attempts.open()
        self._decoder = ResponseDecoder(about, self._new_sink, self.attempts.context.max_image_bytes)

    async def read(self) -> list[ImageEvent]:
        """Return the next events; an empty list at the end. Raises as `open` does."""
        events: list[ImageEvent] = []
        try:
            while not events and not self.is_over:
                await self.open()
                if self._response is not None and self._decoder is not None:
                    await self._read(self._response, self._decoder, events)
        finally:
            if self._response is not None:
                self._response.pause()
        return events

    def close(self) -> None:
        """Stop the call in any state and discard incomplete images. Idempotent."""
        self.is_over = True
        self._release()

    async def _read(self, response: Response, decoder: ResponseDecoder, events: list[ImageEvent]) -> None:
        """Read and decode a chunk. After the last image, wait only briefly and ignore errors."""
        has_all = len(self._completed) >= self._expected
        if has_all:
            response.hurry(_REST_SECONDS)
        activity, feed_image = decoder.activity, decoder.feed_image
        try:
            chunk = await (response.read() if feed_image is None else self._read_image(response, feed_image))
        except ImagesError as error:
            if not has_all:
                await self._emit(decoder.finish(), events)
            await self._finish(None if has_all else error)
            return
        if feed_image is not None:
            chunk = response.cut(chunk)
        failure = await self._emit(decoder.feed(chunk) if chunk else decoder.finish(), events)
        if chunk and failure is None and response.at_end:
            chunk, failure = b"", await self._emit(decoder.finish(), events)
        if decoder.activity > activity:
            response.reset_idle()
        if failure is not None or not chunk:
            await self._finish(None if has_all else failure)

    async def _read_image(self, response: Response, feed_image: Take) -> bytes:
        """Read and decode nearly all of an image, as it arrives; return the first bytes that are more than that."""
        # With files nothing is taken before it is read: the disk may be slower than what arrives.
        take: Take = feed_image if self._files is None else lambda _chunk: False
        while feed_image(chunk := await response.read(take)):
            response.reset_idle()
            if self._files is not None:
                await self._files.flush_due()
        return chunk

    async def _emit(self, decoded: Iterator[ImageEvent], events: list[ImageEvent]) -> ImagesError | None:
        """Append the events, with images stored in files if there are any; return the error that ended them."""
        error = None
        try:
            for event in decoded:
                stored = event if self._files is None else await self._files.store_event(event)
                events.append(stored)
                self._any_event = True
                if isinstance(stored, PartialImage):
                    self._partials.append(stored)
                elif isinstance(stored, CompletedImage):
                    self._completed.append(stored)
        except ImagesError as failure:
            error = failure
        self._complete()
        if self._files is not None:
            await self._files.flush_due()
        return error

    def _complete(self) -> None:
        """Set the result when every image is complete."""
        if self._result is None and self._decoder is not None and len(self._completed) >= self._expected:
            self._decoded = self._decoder.result(self._completed)
            self._result = self._annotate(self._decoded)
            self.attempts.record_usage(self._result.usage)
            free_gradually(self._partials)

    async def _finish(self, error: ImagesError | None) -> None:
        """Handle the end of the body: set the result, or wait for a retry if that is allowed, or set the error."""
        decoder, result = self._decoder, None
        if decoder is not None and (error is None or self._result is not None):
            try:
                decoded = decoder.result(self._completed)
                result = self._result if decoded is self._decoded else self._annotate(decoded)
            except ImagesError as failure:
                error = error or failure
        if self._result is not None:
            if result is not None and self._result.usage is None:  # Doubao sends it after the last image
                self.attempts.record_usage(result.usage)
            self._result = result or self._result
        elif decoder is not None and (failed := await self._failure(decoder, result, error)) is not None:
            self._release()
            has_images = self._any_event or failed.images or failed.damaged
            if not has_images and await self.attempts.wait_to_retry(failed):
                return
            self.error = failed
        self._release()
        self.is_over = True

    async def _failure(
        self, decoder: ResponseDecoder, result: ImageResult | None, error: ImagesError | None
    ) -> ImagesError | None:
        """Return `error`, or the error for missing images, with all images received; None if all are complete."""
        # Complete responses never load it.
        from openai_images.client.partial_results import incomplete_error, store_rest  # noqa: PLC0415

        if result is not None:
            error = incomplete_error(result, decoder, self.attempts, self._expected)
        if error is not None:
            rest = await store_rest(decoder, self._files, self._completed)
            annotate(self.attempts.annotate(error), {**rest, "partials": tuple(self._partials)})
        return error

    def _annotate(self, result: ImageResult) -> ImageResult:
        """Add the call's info to the result; log an unrequested format once."""
        context, requested = self.attempts.context, self._prepared.request.output_format
        for image in result.images:
            context.warn_once(format_warning(requested, result.output_format, image.media_type))
        return evolve(result, **self._prepared.result_fields, **self.attempts.call_info())

    def _release(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()
        if self._decoder is not None:
            self._decoder.discard()
            self._decoder = None
        if self._files is not None:
            self._files.discard()
        self.attempts.release()
