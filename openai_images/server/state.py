"""What the server has seen: requests, answers in progress, clients that left, and the gate of stalled answers.

Rules: everything is counted on the event loop, so a test reads plain attributes, in whatever thread; only a client that
leaves while it is being answered counts as a disconnect, never our own hanging up. It refuses to send or to decide
anything.
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import attrs

from openai_images.server.error_replies import common_headers, new_request_id
from openai_images.server.faults import OK, Fault, Plan
from openai_images.server.records import RecordedDownload, RecordedRequest


@attrs.define(kw_only=True, eq=False)
class Exchange:
    """One request being answered."""

    clock: Callable[[], float]
    fault: Fault[Plan] = OK
    connection: asyncio.Transport | None
    hung_up: bool = False
    request_id: str = attrs.field(factory=new_request_id)
    started: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.started = self.clock()

    def abort(self) -> None:
        """Drops the connection."""
        if self.connection is not None:
            self.connection.abort()

    def headers(self) -> dict[str, str]:
        """The common headers of the answer."""
        return common_headers(self.request_id, self.clock() - self.started)


class Gate:
    """Holds answers back until it is opened; it closes again behind those it let through."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Waits for the next opening."""
        await self._event.wait()

    @property
    def event(self) -> asyncio.Event:
        """The event of the next opening."""
        return self._event

    def open(self) -> None:
        """Lets go on everyone who waits now."""
        self._event.set()
        self._event = asyncio.Event()


class Traffic:
    """The counters and records of one server."""

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        self.downloads: list[RecordedDownload] = []
        self.keep_requests: int | None = None
        self.met: dict[int, str] = {}  # the faults of the requests that are being answered, by identity
        self.posts = 0
        self.refused = 0
        self.disconnects = 0
        self.gate = Gate()
        self._closing = False
        self._active: set[Exchange] = set()
        self._changed = Gate()

    def record(self, request: RecordedRequest) -> None:
        """Keeps the request, and lets go of the oldest where there are too many."""
        self.requests.append(request)
        self._let_go(self.requests)

    def record_download(self, download: RecordedDownload) -> None:
        """Keeps the download, likewise."""
        self.downloads.append(download)
        self._let_go(self.downloads)

    @contextmanager
    def answering(self, exchange: Exchange) -> Generator[None]:
        """Around the answer to one request: notices that its client has left."""
        self._active.add(exchange)
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            if not exchange.hung_up and not self._closing:
                self.disconnects += 1
                self._changed.open()
            raise
        finally:
            self._active.discard(exchange)

    async def wait_disconnected(self, n: int) -> None:
        """Waits until `n` clients in all have left while they were being answered."""
        while self.disconnects < n:
            await self._changed.wait()

    def reopen(self) -> None:
        """Clients that leave count again, perhaps in another loop than before."""
        self._closing = False
        self.gate, self._changed = Gate(), Gate()

    def close(self) -> None:
        """Drops every answer in progress."""
        self._closing = True
        for exchange in tuple(self._active):
            exchange.abort()

    def _let_go(self, kept: list[Any]) -> None:
        if self.keep_requests is not None:
            del kept[: max(0, len(kept) - self.keep_requests)]
