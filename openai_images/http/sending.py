"""A request on its way out: when it began to be sent, when all of it was, and which timer runs meanwhile.

Rules: before its first byte goes out nothing can have run; from then on nobody knows, unless the body comes in pieces
and was cut. "first_byte" waits for the answer alone, so it begins behind the last piece; "total" begins with the first.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Literal

from aiohttp.http import StreamWriter
from aiohttp.payload import BytesPayload

from openai_images.http.deadlines import sooner

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from openai_images.http.timing import Timing
    from openai_images.http.uploading import UploadBody
    from openai_images.models.options import Timeouts
    from openai_images.wire.uploads import Upload

__all__ = ["Body", "Sending"]


class Sending:
    """The body of one attempt, and the timer around it."""

    def __init__(self, body: bytes | Upload, timeouts: Timeouts, timing: Timing) -> None:
        """Nothing is sent yet."""
        self.deadline = asyncio.timeout(None)
        self.timer, self.seconds = "total", timeouts.total
        self._timeouts = timeouts
        self._timing = timing
        self._began: float | None = None
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

    def _body_of(self, body: bytes | Upload) -> Body | UploadBody:
        if isinstance(body, bytes):
            return Body(body, self)
        # Here, so that those who send no pictures need not wait for its import.
        from openai_images.http.uploading import UploadBody  # noqa: PLC0415

        return UploadBody(body, self)


class Body(BytesPayload):
    """A body in memory."""

    cut: Literal[False] = False
    """It goes out with the headers, all of it."""

    def __init__(self, body: bytes, sending: Sending) -> None:
        """Tell `sending`."""
        super().__init__(body, content_type="application/json")
        self._sending = sending

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write it."""
        # On a kept connection that the server has closed meanwhile nothing goes out: the next line raises.
        if not isinstance(writer, StreamWriter) or (writer.transport and not writer.transport.is_closing()):
            self._sending.begin()
            self._sending.sent()
        await super().write_with_length(writer, content_length)
