"""`Call`: the interface of a call in execution: a sequence of events, then a result or an error.

Invariants: nothing is sent before `open` or the first `read`; the connection is closed at the end, by an error and by
`close`.
Must not: depend on the number of requests, or on who iterates (`ImageStream` does).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from openai_images.client.attempts import Attempts, annotate_cancellation
from openai_images.models.results import ImageEvent, ImageResult


class Call(ABC):
    """A call in execution: `open` it, `read` until that returns nothing; then `result` or `error` is set."""

    def __init__(self, all_attempts: Sequence[Attempts]) -> None:
        """`all_attempts` are the attempts of each of its requests."""
        self.all_attempts = all_attempts
        self.is_over = False
        self.error: Exception | None = None

    @property
    @abstractmethod
    def result(self) -> ImageResult | None:
        """The result, or None until every image is complete."""

    @property
    def request_id(self) -> str | None:
        """The server's request id (of the first request, if there are several), or None before its response."""
        return next(filter(None, (attempts.request_id for attempts in self.all_attempts)), None)

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
        annotate_cancellation(error, self.all_attempts)

    def note_end(self, error: BaseException | None) -> None:
        """Correct that info after `wait_closed`: a cancelled task may have just sent its request."""
        if getattr(error, "maybe_billed", None) is False:
            annotate_cancellation(error, self.all_attempts)

    async def fail(self, error: BaseException) -> None:
        """Close the call after this error, and wait for its cancelled tasks unless awaiting is impossible."""
        self.note(error)
        self.close()
        if not isinstance(error, GeneratorExit):  # a coroutine that is being closed must not await
            await self.wait_closed()
            self.note_end(error)

    def require_result(self) -> ImageResult:
        """Return the result. Raises RuntimeError if there is none."""
        result = self.result
        if result is None:
            raise RuntimeError(
                "there is no result yet: iterate the stream to its end, or at least to its CompletedImage"
            )
        return result

    def raise_error(self) -> None:
        """Raise the call's error, if any, and forget it."""
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: a reference cycle


class WrappingCall(Call):
    """The base class of a call that wraps another one; methods that it does not override are those of `_inner`."""

    def __init__(self, inner: Call) -> None:
        super().__init__(inner.all_attempts)
        self._inner = inner

    @property
    def result(self) -> ImageResult | None:
        """The result of the inner call."""
        return self._inner.result

    @property
    def is_open(self) -> bool:
        """Whether the inner call is in flight."""
        return self._inner.is_open

    async def open(self) -> None:
        """Send the request. Raises `ImagesError` and OSError."""
        await self._inner.open()

    async def wait_closed(self) -> None:
        """Wait for cancelled tasks to end."""
        await self._inner.wait_closed()
