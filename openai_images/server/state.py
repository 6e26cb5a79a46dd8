"""What the server has seen and does: recorded requests, counters, requests in progress.

Invariants: counters change on the event loop alone.
Must not: keep the bytes of uploads, count the server's own hang-ups as disconnects, send or decide anything.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from openai_images.server.error_replies import common_headers, new_request_id
from openai_images.server.faults import OK
from openai_images.server.faults.plan import Fault, FaultPlan


def _count_of_characters(text: str | None) -> str:
    return "None" if text is None else f"<{len(text):,} characters>"


@attrs.frozen(kw_only=True)
class RecordedPart:
    """One part of a multipart request as it arrived; `text` is None for a file, whose bytes are not kept.

    `filename` and `content_type` are None where the part did not say, `sha256` is of its bytes, in hexadecimal.
    """

    name: str
    filename: str | None
    content_type: str | None
    nbytes: int
    sha256: str
    text: str | None = attrs.field(repr=_count_of_characters)
    headers: Mapping[str, str] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """One request for images as it arrived: `json` is None if the body was not JSON, `fault` is its fault's name.

    Of a multipart body there are `parts`, in order, and `body` is empty.
    """

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=lambda body: f"<{len(body):,} bytes>")
    json: Any
    peer_port: int | None
    fault: str
    parts: tuple[RecordedPart, ...] = ()


@attrs.frozen(kw_only=True)
class RecordedDownload:
    """One GET of an image behind a URL as its headers arrived; `path` has its query, `fault` is its fault's name."""

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    peer_port: int | None
    fault: str

    @property
    def host(self) -> str:
        """The Host header: the name under which the server was asked."""
        return self.headers.get("Host", "")

    @property
    def with_key(self) -> bool:
        """Whether a key came along."""
        return any(name.lower() in {"authorization", "api-key", "x-api-key"} for name in self.headers)


@attrs.frozen(kw_only=True)
class AnsweredRequest:
    """One answered request, whatever its path; `status` is 0 if the connection was closed without a response."""

    method: str
    path: str
    status: int
    fault: str


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
        """Drops the connection."""
        if self.connection is not None:
            self.connection.abort()

    def headers(self) -> dict[str, str]:
        """The common headers of the response."""
        return common_headers(self.request_id, self.clock() - self.started)


class ReleaseGate:
    """Holds back who awaits `event` until it is opened; it closes again immediately."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def open(self) -> None:
        """Releases everyone who waits now."""
        self.event.set()
        self.event = asyncio.Event()


class ServerState:
    """The counters and records of one server."""

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        self.downloads: list[RecordedDownload] = []
        self.keep_requests: int | None = None
        self.faults_by_request: dict[int, str] = {}  # of active requests, by identity
        self.posts = 0
        self.refused = 0
        self.disconnects = 0
        self.gate = ReleaseGate()
        self._closing = False
        self._active: set[ActiveRequest] = set()
        self._changed = ReleaseGate()

    def record(self, request: RecordedRequest) -> None:
        """Keeps the request, and drops the oldest if there are too many."""
        self.requests.append(request)
        self._drop_oldest(self.requests)

    def record_download(self, download: RecordedDownload) -> None:
        """Keeps the download, likewise."""
        self.downloads.append(download)
        self._drop_oldest(self.downloads)

    @contextmanager
    def track(self, active: ActiveRequest) -> Generator[None]:
        """Counts a client that leaves while the block answers it."""
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
        """Waits until `n` clients in all have left while they were being answered."""
        while self.disconnects < n:
            await self._changed.event.wait()

    def reopen(self) -> None:
        """Starts again, perhaps in another loop."""
        self._closing = False
        self.gate, self._changed = ReleaseGate(), ReleaseGate()

    def close(self) -> None:
        """Drops every response in progress."""
        self._closing = True
        for active in tuple(self._active):
            active.abort()

    def _drop_oldest(self, kept: list[Any]) -> None:
        if self.keep_requests is not None:
            del kept[: max(0, len(kept) - self.keep_requests)]
