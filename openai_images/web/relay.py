"""`relay`: the events of a stream on their way to a browser, and what becomes of a paid call whose browser leaves.

Invariants: an event is read only when the one before it is written, so that a relay holds one image; two pieces of
bytes come at most a heartbeat apart, as long as the reader reads. A relay ends with the last image or with one `error`
event; its end, `aclose` and a cancellation leave nothing open. `on_result` gets a result once, also without a browser.
Must not: cancel a call that is to be finished, or import a web framework.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from types import MappingProxyType
from typing import Any, Final, Literal, Self, TypeAlias, TypedDict, TypeVar

from openai_images import (
    CompletedImage,
    ConfigurationError,
    ImageResult,
    ImageStream,
    PartialImage,
    PartialResultError,
    UnknownEvent,
)
from openai_images.web.events import HEARTBEAT, encode_error, encode_event, encode_url_event
from openai_images.web.store import PictureStore

__all__ = [
    "RELAY_HEADERS",
    "OnDisconnect",
    "OnResult",
    "Relay",
    "relay",
    "run_call",
    "run_until",
    "wait_for_background",
]

_log = logging.getLogger("openai_images")

_T = TypeVar("_T")

OnDisconnect: TypeAlias = Literal["cancel", "finish"]
"""What happens when the browser leaves: "cancel" closes the call, "finish" reads it to its end in the background."""
OnResult: TypeAlias = Callable[[ImageResult], object]
"""A function or async function that is called with each `ImageResult`."""


class RelaySettings(TypedDict, total=False):
    """The settings of `relay`, which the frameworks' responses take too."""

    heartbeat: float
    pictures: Literal["inline"] | PictureStore
    on_disconnect: OnDisconnect
    on_result: OnResult | None


RELAY_HEADERS: Final = MappingProxyType(
    {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx passes each event on as it comes
        "X-Content-Type-Options": "nosniff",
    }
)
"""The headers of a relay's response."""

_background: set[asyncio.Task[Any]] = set()
"""Calls that are finished, or being closed, after their browser has left; asyncio itself keeps no task alive."""


class Relay:
    """The bytes of an event stream: iterate it once, and close it with `aclose`.

    `aclose`, and a cancellation while the next bytes are awaited, count as the browser's disconnect.
    """

    def __init__(
        self,
        stream: ImageStream,
        *,
        heartbeat: float,
        pictures: PictureStore | None,
        on_disconnect: OnDisconnect,
        on_result: OnResult | None,
    ) -> None:
        self._stream = stream
        self._heartbeat = heartbeat
        self._pictures = pictures
        self._on_disconnect = on_disconnect
        self._on_result = on_result
        self._events = aiter(stream)
        # Sent at once: the server sends its headers with it, before the image service has answered.
        self._pieces: Iterator[bytes] = iter((HEARTBEAT,))
        self._step: asyncio.Task[Iterator[bytes] | None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes: a heartbeat, or a piece of an event (at most 64 KiB)."""
        while (piece := next(self._pieces, None)) is None:
            if self._is_over or self._closing is not None:
                await self.aclose()
                raise StopAsyncIteration
            if self._step is None:
                self._step = asyncio.create_task(self._read())
            try:
                done, _ = await asyncio.wait({self._step}, timeout=self._heartbeat)
            except asyncio.CancelledError:
                self._close()
                raise
            if not done:
                return HEARTBEAT
            step, self._step = self._step, None
            self._pieces = (not step.cancelled() and step.result()) or iter(())
        return piece

    async def aclose(self) -> None:
        """End the relay: close the call, or with "finish" leave it to finish in the background. Idempotent."""
        closing = self._close()
        if self._is_over or self._on_disconnect == "cancel":
            await asyncio.shield(closing)

    async def _read(self) -> Iterator[bytes] | None:
        """Return the pieces of the next event, or of the error in its place; None at the end."""
        try:
            while (event := await anext(self._events, None)) is not None:
                if not isinstance(event, UnknownEvent) and self._closing is None:
                    return await self._encode(event)
            self._is_over = True
            await _deliver(self._on_result, self._stream.result)
        except Exception as error:  # noqa: BLE001  whatever it is, the browser gets an event that says so
            self._is_over = True
            _log.warning("a relayed call failed: %s", type(error).__name__)
            if isinstance(error, PartialResultError) and error.result is not None:
                await _deliver(self._on_result, error.result)
            return iter((encode_error(error),))
        return None

    async def _encode(self, event: PartialImage | CompletedImage) -> Iterator[bytes]:
        edited = self._stream.edited
        url = None if self._pictures is None else await self._pictures.put(event.image)
        if url is not None:
            return iter((encode_url_event(event, url, edited=edited),))
        return encode_event(event, await event.image.read(), edited=edited)

    def _close(self) -> asyncio.Task[None]:
        """Begin to close, once, in a task of its own: the caller's may be cancelled at every `await` (anyio)."""
        if self._closing is None:
            self._pieces = iter(())
            ends = self._end() if self._is_over or self._on_disconnect == "cancel" else self._finish()
            self._closing = _keep(ends)
        return self._closing

    async def _end(self) -> None:
        """Close the call; a result that is there already is not lost."""
        if self._step is not None:
            self._step.cancel()
            await asyncio.wait({self._step})
        await self._stream.aclose()
        if not self._is_over:
            with contextlib.suppress(RuntimeError):  # there is no result yet
                await _deliver(self._on_result, self._stream.result)

    async def _finish(self) -> None:
        """Read the call to its end without a browser."""
        if self._step is not None:
            await asyncio.wait({self._step})
        if not self._is_over:
            await self._read()
        await self._stream.aclose()


def relay(
    stream: ImageStream,
    *,
    heartbeat: float = 15.0,
    pictures: Literal["inline"] | PictureStore = "inline",
    on_disconnect: OnDisconnect = "cancel",
    on_result: OnResult | None = None,
) -> Relay:
    """Return the stream's events as the bytes of a `text/event-stream`, in the wire format of the API.

    The response needs `RELAY_HEADERS`. The relay owns `stream`: pass one that is not entered. Where nothing comes for
    `heartbeat` seconds, a comment is sent. With a `PictureStore` as `pictures`, events carry the `url` of their image,
    which the store serves, in place of `b64_json`. A failed call ends with an event `error` that is safe to show.

    When the browser leaves, `on_disconnect="cancel"` closes the call (what was sent may be billed), "finish" reads it
    to its end in the background, see `wait_for_background`. `on_result`, a function or async function, is called with
    each result, also when the browser is gone. Raises `ConfigurationError`.
    """
    if not heartbeat > 0:
        raise ConfigurationError(
            f"relay: heartbeat must be a number of seconds above 0, and is {heartbeat!r}"
        )
    _check(on_disconnect)
    store = None if pictures == "inline" else pictures
    return Relay(
        stream, heartbeat=heartbeat, pictures=store, on_disconnect=on_disconnect, on_result=on_result
    )


async def run_call(
    call: Coroutine[Any, Any, ImageResult],
    *,
    on_disconnect: OnDisconnect = "cancel",
    on_result: OnResult | None = None,
) -> ImageResult:
    """Await `call`, such as `client.generate(…)`, in a handler that is cancelled when its browser leaves.

    A cancellation closes the call (`on_disconnect="cancel"`), or leaves it to finish in the background ("finish").
    `on_result` as in `relay`. Raises what the call raises.
    """
    _check(on_disconnect)
    task = _keep(_run(call, on_result))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if on_disconnect == "cancel":
            task.cancel()
        raise


async def run_until(
    disconnect: Coroutine[Any, Any, object],
    call: Coroutine[Any, Any, ImageResult],
    *,
    on_disconnect: OnDisconnect,
    on_result: OnResult | None,
) -> ImageResult | None:
    """Await a call, or return None as soon as `disconnect` ends; for handlers that are not cancelled then."""
    task = asyncio.create_task(run_call(call, on_disconnect=on_disconnect, on_result=on_result))
    gone = asyncio.create_task(disconnect)
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        gone.cancel()
        task.cancel()


async def wait_for_background(timeout: float | None = None) -> int:  # noqa: ASYNC109  as `asyncio.wait` has it
    """Wait for the calls that are finished in the background of this event loop; call it before the server exits.

    Returns how many are still not finished after `timeout` seconds (None: no limit).
    """
    loop = asyncio.get_running_loop()
    tasks = {task for task in _background if task.get_loop() is loop}
    if not tasks:
        return 0
    _, unfinished = await asyncio.wait(tasks, timeout=timeout)
    return len(unfinished)


async def _run(call: Awaitable[ImageResult], on_result: OnResult | None) -> ImageResult:
    try:
        result = await call
    except PartialResultError as error:
        if error.result is not None:
            await _deliver(on_result, error.result)
        raise
    await _deliver(on_result, result)
    return result


async def _deliver(on_result: OnResult | None, result: ImageResult) -> None:
    """Give a result to `on_result`; its exceptions are logged, as nobody else would hear of them."""
    if on_result is None:
        return
    try:
        value = on_result(result)
        if inspect.isawaitable(value):
            await value
    except Exception:  # noqa: BLE001  the app's own; it is logged
        _log.exception("on_result raised for a relayed call")


def _keep(coroutine: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """Run it in a task that is kept alive until its end."""
    task = asyncio.create_task(coroutine)
    _background.add(task)
    task.add_done_callback(_drop)
    return task


def _drop(task: asyncio.Task[Any]) -> None:
    _background.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.debug("a call of a web handler ended with %s", type(error).__name__)


def _check(on_disconnect: str) -> None:
    if on_disconnect not in ("cancel", "finish"):
        raise ConfigurationError(f'on_disconnect must be "cancel" or "finish", and is {on_disconnect!r}')
