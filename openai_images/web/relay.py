"""`relay`: sends the events of a stream to a browser, and handles a paid call whose browser disconnects.

Invariants: an event is read only after the previous one is written, so that a relay holds one image; while the reader
reads, bytes come at least once per heartbeat. A relay ends with the last image or with one `error` event; its end,
`aclose` and a cancellation leave nothing open. `on_result` gets a result once, also without a browser, and also if an
image cannot be shown. A reader that takes nothing counts as disconnected.
Must not: cancel a call that is to be finished, or import a web framework.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from types import MappingProxyType
from typing import Final, Literal, Self, TypedDict

from openai_images import (
    CompletedImage,
    ConfigurationError,
    ImagesError,
    ImageStream,
    PartialImage,
    PartialResultError,
    UnknownEvent,
)
from openai_images.web.background import (
    OnDisconnect,
    OnResult,
    check_on_disconnect,
    deliver,
    keep_open,
    keep_running,
)
from openai_images.web.events import HEARTBEAT, encode_error, encode_event, encode_url_event
from openai_images.web.store import PictureStore

__all__ = ["RELAY_HEADERS", "Relay", "RelaySettings", "relay"]

_log = logging.getLogger("openai_images")


class RelaySettings(TypedDict, total=False):
    """The settings of `relay`, also accepted by the frameworks' responses."""

    heartbeat: float
    pictures: Literal["inline"] | PictureStore
    on_disconnect: OnDisconnect
    on_result: OnResult | None
    send_timeout: float | None


RELAY_HEADERS: Final = MappingProxyType(
    {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx passes each event on immediately
        "X-Content-Type-Options": "nosniff",
    }
)
"""The headers of a relay's response."""


class Relay:
    """The bytes of an event stream: iterate it once, and close it with `aclose`.

    `aclose`, and a cancellation while the next bytes are awaited, count as the browser's disconnect.
    """

    def __init__(  # noqa: PLR0913  the settings of `relay`
        self,
        stream: ImageStream,
        *,
        heartbeat: float,
        pictures: PictureStore | None,
        on_disconnect: OnDisconnect,
        on_result: OnResult | None,
        send_timeout: float | None,
    ) -> None:
        self._stream = stream
        self._heartbeat = heartbeat
        self._pictures = pictures
        self._on_disconnect = on_disconnect
        self._on_result = on_result
        self._send_timeout = send_timeout
        if _is_finished(stream):
            raise RuntimeError("the stream was read before: its events cannot be relayed, only its result")
        self._events = aiter(stream)
        # Sent first: with it the server sends its headers, before the image service has responded.
        self._pieces: Iterator[bytes] = iter((HEARTBEAT,))
        self._step: asyncio.Task[Iterator[bytes] | None] | None = None
        self._waiter: asyncio.Future[object] | None = None
        self._unfinished: asyncio.Future[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._returned_at: float | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._is_over = self._is_stalled = False
        self._failure: bytes | None = None

    def __aiter__(self) -> Self:
        return self

    @property
    def send_timeout(self) -> float | None:
        """The setting."""
        return self._send_timeout

    @property
    def is_stalled(self) -> bool:
        """Whether the browser took nothing for `send_timeout` seconds; the relay is closed then."""
        return self._is_stalled

    async def __anext__(self) -> bytes:
        """Return the next bytes: a heartbeat, or a piece of an event (at most 64 KiB)."""
        self._returned_at = None
        piece = await self._next_piece()
        self._returned_at = asyncio.get_running_loop().time()
        if self._send_timer is None:
            self._set_send_timer()
        return piece

    async def _next_piece(self) -> bytes:
        while (piece := next(self._pieces, None)) is None:
            if self._is_over or self._closing is not None:
                await self.aclose()
                raise StopAsyncIteration
            if self._unfinished is None and self._on_disconnect == "finish":
                self._unfinished = keep_open()
            if self._step is None or self._waiter is None:
                self._step = asyncio.create_task(self._read())
                self._waiter = asyncio.shield(self._step)  # cancelled by `_close`; the step is not
            try:
                done, _ = await asyncio.wait((self._waiter,), timeout=self._heartbeat)
            except asyncio.CancelledError:
                self._close()
                raise
            if self._closing is not None:
                continue
            if not done:
                return HEARTBEAT
            step, self._step = self._step, None
            self._pieces = (not step.cancelled() and step.result()) or iter(())
        return piece

    async def aclose(self) -> None:
        """End the relay: close the call, or with "finish" let it finish in the background. Idempotent."""
        closing = self._close()
        if self._is_over or self._on_disconnect == "cancel":
            await asyncio.shield(closing)

    def _set_send_timer(self) -> None:
        """Close the relay `send_timeout` seconds after a piece was returned, if the next is not awaited then."""
        self._send_timer = None
        if self._send_timeout is None or self._returned_at is None or self._closing is not None:
            return
        loop, end = asyncio.get_running_loop(), self._returned_at + self._send_timeout
        if loop.time() < end:
            self._send_timer = loop.call_at(end, self._set_send_timer)
            return
        self._is_stalled = True
        _log.warning(
            "a browser has taken nothing for %g s, and counts as disconnected: send_timeout",
            self._send_timeout,
        )
        self._close()

    async def _read(self) -> Iterator[bytes] | None:
        """Return the pieces of the next event or of an error event; None at the end."""
        try:
            while (event := await anext(self._events, None)) is not None:
                if not isinstance(event, UnknownEvent) and self._closing is None:
                    try:
                        return await self._encode(event)
                    except (ImagesError, OSError) as error:  # the call goes on: its images are paid for
                        if isinstance(event, CompletedImage):
                            self._note_failure(error)
            self._is_over = True
            await deliver(self._on_result, self._stream.result)
        except Exception as error:  # noqa: BLE001  for any exception the browser gets an error event
            self._is_over = True
            self._note_failure(error)
            if isinstance(error, PartialResultError) and error.result is not None:
                await deliver(self._on_result, error.result)
        return None if self._failure is None else iter((self._failure,))

    def _note_failure(self, error: Exception) -> None:
        if isinstance(error, ImagesError | OSError):
            _log.warning("a relayed call failed: %s: %s", type(error).__name__, error)
        else:  # a mistake in the program
            _log.error("a relayed call failed", exc_info=error)
        self._failure = encode_error(error)

    async def _encode(self, event: PartialImage | CompletedImage) -> Iterator[bytes]:
        edited = self._stream.edited
        if self._pictures is not None:
            try:
                url = await self._pictures.put(event.image)
            except OSError as error:
                _log.warning("an image could not be stored, and is sent inline: %s", error.strerror or error)
            else:
                if url is not None:
                    return iter((encode_url_event(event, url, edited=edited),))
        return encode_event(event, await event.image.read(), edited=edited)

    def _close(self) -> asyncio.Task[None]:
        """Start to close, once, in a separate task: the caller's task may be cancelled at every `await` (anyio)."""
        if self._closing is None:
            self._pieces = iter(())
            if self._send_timer is not None:
                self._send_timer.cancel()
            if self._waiter is not None:
                self._waiter.cancel()
            ends = self._end() if self._is_over or self._on_disconnect == "cancel" else self._finish()
            self._closing = keep_running(ends)
            if self._unfinished is not None:
                self._unfinished.set_result(None)
        return self._closing

    async def _end(self) -> None:
        """Close the call; a result that has already arrived is not lost."""
        if self._step is not None:
            if not self._is_over:  # otherwise `on_result` is running
                self._step.cancel()
            await asyncio.wait({self._step})
        await self._stream.aclose()
        if not self._is_over:
            with contextlib.suppress(RuntimeError):  # there is no result yet
                await deliver(self._on_result, self._stream.result)

    async def _finish(self) -> None:
        """Read the call to its end without a browser."""
        if self._step is not None:
            await asyncio.wait({self._step})
        if not self._is_over:
            await self._read()
        await self._stream.aclose()


def _is_finished(stream: ImageStream) -> bool:
    try:
        _ = stream.result
    except RuntimeError:
        return False
    return True


def relay(  # noqa: PLR0913  each setting is a keyword
    stream: ImageStream,
    *,
    heartbeat: float = 15.0,
    pictures: Literal["inline"] | PictureStore = "inline",
    on_disconnect: OnDisconnect = "cancel",
    on_result: OnResult | None = None,
    send_timeout: float | None = 60.0,
) -> Relay:
    """Return the stream's events as the bytes of a `text/event-stream`, in the wire format of the API.

    The response needs `RELAY_HEADERS`. The relay owns `stream`, which must not be entered yet. If nothing comes for
    `heartbeat` seconds, a comment is sent. With a `PictureStore` as `pictures`, events carry the `url` of their image,
    which the store serves, in place of `b64_json`. A failed call ends with an event `error` that is safe to show.

    A browser that takes nothing for `send_timeout` seconds (None: no limit), while there are bytes for it, counts as
    disconnected.

    When the browser disconnects, `on_disconnect="cancel"` closes the call (the request may be billed), "finish" reads
    it to its end in the background, see `wait_for_background`. `on_result`, a function or async function, is called
    with each result, also after a disconnect. Raises `ConfigurationError`, and RuntimeError for a stream that was read.
    """
    for name, seconds in {"heartbeat": heartbeat, "send_timeout": send_timeout}.items():
        if seconds is not None and not seconds > 0:
            raise ConfigurationError(f"relay: {name} must be a number of seconds above 0, and is {seconds!r}")
    check_on_disconnect(on_disconnect)
    store = None if pictures == "inline" else pictures
    return Relay(
        stream,
        heartbeat=heartbeat,
        pictures=store,
        on_disconnect=on_disconnect,
        on_result=on_result,
        send_timeout=send_timeout,
    )
