"""What the server has seen and will do: recorded requests, counters, requests in progress, queued faults.

Invariants: counters change on the event loop alone; fault queues change under a lock, as tests fill them from other
threads; a fault is used up by one request, in order of arrival.
Must not: keep the bytes of uploads, count the server's own hang-ups as disconnects, send or decide anything.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Generic

import attrs

from openai_images.server.error_replies import bad_request, common_headers, new_request_id
from openai_images.server.faults import DOWNLOAD_OK, OK, find_download_fault, find_fault, is_download_fault
from openai_images.server.faults.plan import Fault, FaultPlan, P


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


@attrs.define
class FaultQueue(Generic[P]):
    """Queued faults of POSTs or of downloads; `find` makes a fault of a name, `normal` is none."""

    find: Callable[[str], Fault[P]]
    normal: Fault[P]
    lock: threading.Lock
    always: Fault[P] | None = None
    pending: deque[Fault[P]] = attrs.field(factory=deque[Fault[P]])
    _turns: dict[str, int] = attrs.field(factory=dict[str, int])

    def next_fault(self, header: str | None) -> Fault[P]:
        """The fault for the request that has just arrived; `header` is its X-Local-Fault."""
        with self.lock:
            if header is not None:
                return self._alternate(self._find_in_header(header))
            if self.pending:
                return self.pending.popleft()
            return self.normal if self.always is None else self._alternate(self.always)

    def _find_in_header(self, name: str) -> Fault[P]:
        try:
            return self.find(name)
        except ValueError as error:
            raise bad_request(str(error), code="invalid_value", param="X-Local-Fault") from None

    def _alternate(self, fault: Fault[P]) -> Fault[P]:
        if not fault.plan.every_other:
            return fault
        turn = self._turns.get(fault.name, 0)
        self._turns[fault.name] = turn + 1
        return self.normal if turn % 2 else fault


class FaultQueues:
    """The two queues of a server, filled by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.posts = FaultQueue(find_fault, OK, self._lock)
        self.downloads = FaultQueue(find_download_fault, DOWNLOAD_OK, self._lock)

    @property
    def names(self) -> tuple[str, ...]:
        """The queued names, those of downloads last."""
        with self._lock:
            posts = [fault.name for fault in self.posts.pending]
            return (*posts, *(fault.name for fault in self.downloads.pending))

    def extend(self, names: Iterable[str], *, replace: bool = False) -> None:
        """Appends faults, or replaces the queued ones; changes nothing if one of the names is unknown."""
        listed = list(names)
        posts = [find_fault(name) for name in listed if not is_download_fault(name)]
        downloads = [find_download_fault(name) for name in listed if is_download_fault(name)]
        with self._lock:
            if replace:
                self.posts.pending.clear()
                self.downloads.pending.clear()
            self.posts.pending.extend(posts)
            self.downloads.pending.extend(downloads)

    def always(self, name: str | None) -> None:
        """The fault of every request for which none is queued; None for none of either kind."""
        if name is None:
            self.posts.always = self.downloads.always = None
        elif is_download_fault(name):
            self.downloads.always = find_download_fault(name)
        else:
            self.posts.always = find_fault(name)


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
