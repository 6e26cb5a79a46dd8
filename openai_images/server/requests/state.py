"""The state of one local server: its records and counts, and the requests in progress.

Invariants: counters change only on the event loop.
Must not: count connections that the server itself closed as disconnects, send or decide anything.
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import attrs

from openai_images.server.faults import OK
from openai_images.server.faults.plan import Fault, FaultPlan, ReleaseGate
from openai_images.server.protocol.error_replies import common_headers, new_request_id
from openai_images.server.requests.records import (
    RecentRequests,
    RecordedBatch,
    RecordedBatchRequest,
    RecordedDownload,
    RecordedRequest,
)
from openai_images.server.requests.settings import ServerSettings


@attrs.define(kw_only=True, eq=False)
class ActiveRequest:
    """One request being answered."""

    clock: Callable[[], float]
    fault: Fault[FaultPlan] = OK
    connection: asyncio.Transport | None
    hung_up: bool = False
    request_id: str = attrs.field(factory=new_request_id)
    started: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.started = self.clock()

    def abort(self) -> None:
        """Drop the connection."""
        if self.connection is not None:
            self.connection.abort()

    def headers(self) -> dict[str, str]:
        """Return the common headers of the response."""
        return common_headers(self.request_id, self.clock() - self.started)


class ServerState:
    """The counters and records of one server."""

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        self.downloads: list[RecordedDownload] = []
        self.batch_requests: list[RecordedBatchRequest] = []
        self.batches: list[Callable[[], RecordedBatch]] = []
        self.keep_requests: int | None = None
        self.recent = RecentRequests()
        self.faults_by_request: dict[int, str] = {}  # of active requests, by identity
        self.posts = 0
        self.refused = 0
        self.disconnects = 0
        self.gate = ReleaseGate()
        self._closing = False
        self._active: set[ActiveRequest] = set()
        self._changed = ReleaseGate()

    def record(self, arrived: RecordedRequest | RecordedDownload | RecordedBatchRequest) -> None:
        """Keep a record, and drop the oldest if there are too many."""
        kept: list[Any] = self.requests
        if not isinstance(arrived, RecordedRequest):
            kept = self.downloads if isinstance(arrived, RecordedDownload) else self.batch_requests
        kept.append(arrived)
        if self.keep_requests is not None:
            del kept[: max(0, len(kept) - self.keep_requests)]

    @contextmanager
    def track(self, active: ActiveRequest) -> Generator[None]:
        """Count a disconnect if the client leaves during the block."""
        self._active.add(active)
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            if not active.hung_up and not self._closing:
                self.disconnects += 1
                self._changed.open()
            raise
        finally:
            self._active.discard(active)

    async def wait_disconnected(self, n: int) -> None:
        """Wait until `n` clients in total have disconnected early."""
        while self.disconnects < n:
            await self._changed.event.wait()

    def open_gate(self) -> None:
        """Release every stalled response."""
        self.gate.open()

    def reset(self, keep_requests: int | None) -> None:
        """Drop every response in progress (not counted as disconnects), and forget records and counts."""
        for active in tuple(self._active):
            active.hung_up = True
            active.abort()
        self.keep_requests = keep_requests
        self.requests, self.downloads, self.batch_requests, self.batches = [], [], [], []
        self.posts = self.refused = self.disconnects = 0

    def reopen(self) -> None:
        """Prepare for another start, perhaps in another loop."""
        self._closing = False
        self.gate, self._changed = ReleaseGate(), ReleaseGate()

    def close(self) -> None:
        """Drop every response in progress."""
        self._closing = True
        for active in tuple(self._active):
            active.abort()


@attrs.define(kw_only=True, eq=False, repr=False)
class ObservedServer(ServerSettings):
    """The records and counts that tests read from a server."""

    _state: ServerState = attrs.field(init=False, factory=ServerState)

    @property
    def requests(self) -> list[RecordedRequest]:
        """The image requests whose body has arrived, in order."""
        return self._state.requests

    @property
    def downloads(self) -> list[RecordedDownload]:
        """The GETs of images by their URLs, in the order in which their headers arrived."""
        return self._state.downloads

    @property
    def batches(self) -> list[RecordedBatch]:
        """The batches that were created, in order, also if the response to the creation was an error."""
        return [snapshot() for snapshot in self._state.batches]

    @property
    def batch_requests(self) -> list[RecordedBatchRequest]:
        """The requests of batches that were run, in order."""
        return self._state.batch_requests

    @property
    def posts(self) -> int:
        """Number of POSTs to an images path whose headers have arrived."""
        return self._state.posts

    @property
    def refused(self) -> int:
        """Number of responses that were a 429, for any reason."""
        return self._state.refused

    @property
    def disconnects(self) -> int:
        """Number of clients that disconnected before the end of their response."""
        return self._state.disconnects
