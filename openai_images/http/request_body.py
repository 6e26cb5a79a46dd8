"""A request on its way out: when it began to be sent, when all of it was, and which timer runs meanwhile.

Rules: before its first byte goes out nothing can have run; from then on nobody knows, unless the body comes in pieces
and was cut. "first_byte" waits for the answer alone, so it begins behind the last piece; "total" begins with the first.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from aiohttp import payload_type
from aiohttp.payload import BytesPayload

from openai_images.http.deadlines import sooner
from openai_images.http.liveness import is_open

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from openai_images.http.uploading import UploadBody
    from openai_images.models.options import Timeouts, Timing
    from openai_images.wire.uploads import Upload


class Sending:
    """The body of one attempt, and the timer around it."""

    def __init__(self, body: bytes | Upload, timeouts: Timeouts, timing: Timing) -> None:
        """Nothing is sent yet."""
        self.deadline = asyncio.timeout(None)
        self.timer, self.seconds = "total", timeouts.total
        self._timeouts = timeouts
        self._timing = timing
        self._began: float | None = None
        self.is_stale = False
        """Whether the connection was found closed before the first byte."""
        self.body = self._body_of(body)

    @property
    def began(self) -> bool:
        """Whether its first byte went out."""
        return self._began is not None

    @property
    def waited(self) -> float:
        """Seconds since then."""
        return 0.0 if self._began is None else self._timing.monotonic() - self._began

    def begin(self) -> None:
        """The first byte is about to go out."""
        if self._began is None:
            self._began = self._timing.monotonic()
            self._start("total", self._timeouts.total, 0.0)

    def sent(self) -> None:
        """The last byte is about to go out: now the answer is waited for."""
        waited, first_byte = self.waited, self._timeouts.first_byte
        total = None if self._timeouts.total is None else self._timeouts.total - waited
        timer, _ = sooner("first_byte", first_byte, "total", total)
        if timer == "total":
            self._start("total", self._timeouts.total, waited)
        else:
            self._start("first_byte", first_byte, 0.0)

    def _start(self, timer: str, seconds: float | None, waited: float) -> None:
        self.timer, self.seconds = timer, seconds
        when = None if seconds is None else asyncio.get_running_loop().time() + seconds - waited
        with contextlib.suppress(RuntimeError):  # given up in the meantime
            self.deadline.reschedule(when)

    def _body_of(self, body: bytes | Upload) -> BodyBytes | UploadBody:
        if isinstance(body, bytes):
            return BodyBytes(body, self)
        # Here, so that those who send no pictures need not wait for its import.
        from openai_images.http.uploading import UploadBody  # noqa: PLC0415

        return UploadBody(body, self)


class BodyBytes(bytes):
    """A body in memory: bytes to whoever looks at it or copies it, and tracked on its way out."""

    cut: ClassVar[Literal[False]] = False
    """It goes out with the headers, all of it."""

    sending: Sending

    def __new__(cls, body: bytes, sending: Sending) -> Self:
        """Tell `sending`."""
        made = super().__new__(cls, body)
        made.sending = sending
        return made

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        """A copy is plain bytes: what tracks this one belongs to a task."""
        return bytes, (bytes(self),)


@payload_type(BodyBytes)
class _BodyPayload(BytesPayload):
    """What aiohttp makes of `BodyBytes`."""

    def __init__(self, body: BodyBytes, **headers: Any) -> None:
        """Tell its `sending`."""
        super().__init__(body, **{"content_type": "application/json", **headers})
        self._sending = body.sending

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write it."""
        sending = self._sending
        if await is_open(writer):
            sending.begin()
            sending.sent()
        else:  # nothing goes out: the next line raises
            sending.is_stale = True
        await super().write_with_length(writer, content_length)
