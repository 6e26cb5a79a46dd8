"""The state of one local server: its records, counts, faults, limits and files, and the requests in progress.

Invariants: counters change only on the event loop; a request in progress keeps its fault, its model and the beginning
of its prompt until it has been answered.
Must not: count connections that the server itself closed as disconnects, or decide what a response is.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from openai_images.server.faults.plan import Fault, HangUpKind, Plan, ReleaseGate, RequestInfo
from openai_images.server.faults.queues import OK, FaultQueues
from openai_images.server.protocol.error_replies import (
    Reply,
    RequestRejectedError,
    common_headers,
    compact_json,
    new_request_id,
    to_response,
)
from openai_images.server.protocol.rate_limits import MinuteBucket, RateLimits
from openai_images.server.requests.files import FileStore
from openai_images.server.requests.records import (
    RecordedBatch,
    RecordedBatchRequest,
    RecordedDownload,
    RecordedRequest,
)
from openai_images.server.requests.settings import ServerSettings

RECENT_REQUESTS: Final = 50
"""Maximum number of requests that are kept, enough for a page."""


PROMPT_BEGINNING: Final = 160
"""Characters of a prompt that are kept."""


_MAX_TEXT: Final = 200


class RequestDetails(NamedTuple):
    """The facts of a request that are known when its body has arrived."""

    fault: str = "ok"
    model: str = ""
    prompt: str = ""


class RecentRequest(NamedTuple):
    """One answered request: `at` is a Unix time in seconds; `status` is 0 if there was no response."""

    at: float
    seconds: float
    method: str
    path: str
    status: int
    fault: str
    model: str
    prompt: str


def shorten(value: object, limit: int = _MAX_TEXT) -> str:
    """Return the beginning of a text, on one line; empty for anything else."""
    text = " ".join(value[: 4 * limit].split()) if isinstance(value, str) else ""
    return text if len(text) <= limit else f"{text[:limit].rstrip()}\N{HORIZONTAL ELLIPSIS}"


@attrs.define(kw_only=True, eq=False)
class ActiveRequest:
    """One request being answered."""

    request: web.Request
    clock: Callable[[], float]
    fault: Fault[Any] = OK
    hung_up: bool = False
    request_id: str = attrs.field(factory=new_request_id)
    started: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.started = self.clock()

    def headers(self) -> dict[str, str]:
        """Return the common headers of the response."""
        return common_headers(self.request_id, self.clock() - self.started)

    def abort(self) -> None:
        """Drop the connection."""
        if self.request.transport is not None:
            self.request.transport.abort()

    def open_transport(self) -> asyncio.Transport:
        """Return the connection. Raises `ConnectionResetError` if the client has disconnected."""
        transport = self.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has disconnected")
        return transport

    def hang_up(self, how: HangUpKind) -> None:
        """Close the connection: a FIN after the written data, or an immediate RST."""
        transport = self.open_transport()
        self.hung_up = True
        if how == "reset":
            sock: socket.socket = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()


def local_address(request: web.Request) -> tuple[str, int]:
    """Return the address and port that a request came to; its Host header may be invalid."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return (str(name[0]), int(name[1])) if name else ("127.0.0.1", 0)


def origin(host: str, port: int) -> str:
    """Return the beginning of the URLs of a server."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def peer_port(request: web.Request) -> int | None:
    """Return the client's port."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return peer[1] if peer else None


Answer = Callable[[ActiveRequest], Awaitable[dict[str, Any] | web.StreamResponse]]
"""Returns the JSON of a response, or the response if it was sent. Raises `RequestRejectedError`."""


class ServerState:
    """The counters and records of one server, and what changes its next responses."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.faults = FaultQueues()
        self.files = FileStore(settings)
        self.gate = ReleaseGate()
        self.recent: deque[RecentRequest] = deque(maxlen=RECENT_REQUESTS)
        self.answered = 0
        self._details: dict[int, RequestDetails] = {}  # of requests in progress, by identity
        self._closing = False
        self._active: set[ActiveRequest] = set()
        self._changed = ReleaseGate()
        self._forget()

    def _forget(self) -> None:
        self.requests: list[RecordedRequest] = []
        self.downloads: list[RecordedDownload] = []
        self.batch_requests: list[RecordedBatchRequest] = []
        self.batches: list[Callable[[], RecordedBatch]] = []
        self.posts = self.refused = self.disconnects = 0
        images, requests = (
            None
            if limit is None
            else MinuteBucket(limit, self.settings.clock, self.settings.rate_limit_burst)
            for limit in (self.settings.images_per_minute, self.settings.requests_per_minute)
        )
        self.limits = RateLimits(
            images=images,
            requests=requests,
            are_visible=self.settings.rate_limit_headers,
            retry_after=self.settings.retry_after,
        )

    def record(self, arrived: RecordedRequest | RecordedDownload | RecordedBatchRequest) -> None:
        """Keep a record, and drop the oldest if there are too many."""
        kept: list[Any] = self.requests
        if not isinstance(arrived, RecordedRequest):
            kept = self.downloads if isinstance(arrived, RecordedDownload) else self.batch_requests
        kept.append(arrived)
        if self.settings.keep_requests is not None:
            del kept[: max(0, len(kept) - self.settings.keep_requests)]

    def describe(self, request: web.Request, fault: str, fields: Mapping[str, Any] | None = None) -> None:
        """Keep the name of a request's fault, its model and the beginning of its prompt."""
        model, prompt = (fields or {}).get("model"), (fields or {}).get("prompt")
        self._details[id(request)] = RequestDetails(fault, shorten(model), shorten(prompt, PROMPT_BEGINNING))

    def pop_details(self, request: web.Request) -> RequestDetails:
        """Return and forget the details of a request that has ended."""
        return self._details.pop(id(request), RequestDetails())

    def add_recent(self, request: RecentRequest) -> None:
        """Keep an answered request for the start page."""
        self.recent.append(request)
        self.answered += 1

    def handler(self, answer: Answer) -> Handler:
        """Return the handler of requests that `answer` answers, or rejects by `RequestRejectedError`."""

        async def handle(request: web.Request) -> web.StreamResponse:
            active = ActiveRequest(request=request, clock=self.settings.clock)
            try:
                with self._track(active):
                    response = await answer(active)
            except RequestRejectedError as error:
                self.refused += error.reply.status == 429
                return to_response(error.reply, active.headers())
            except ConnectionError:
                # The client has disconnected: aiohttp would log the error, but drops a response silently.
                return web.Response()
            if isinstance(response, dict):
                return to_response(Reply(200, compact_json(response)), active.headers())
            return response

        return handle

    def request_info(self, active: ActiveRequest, fields: Mapping[str, Any]) -> RequestInfo:
        """Return what a reply may quote of a request; `fields` are its unchecked parameters."""
        request = active.request
        return RequestInfo(
            request_id=active.request_id,
            now=self.settings.now(),
            prompt=str(fields.get("prompt", "")),
            model=str(fields.get("model", "gpt-image-2")),
            authorization=request.headers.get("authorization", ""),
            path=request.path,
            target=request.path_qs,
            port=local_address(request)[1],
        )

    async def interfere(self, active: ActiveRequest, fields: Mapping[str, Any]) -> None:
        """Do what the fault of a request has in place of a response: wait, close the connection, reject the request."""
        plan: Plan = active.fault.plan
        if plan.hold:
            await self.gate.event.wait()
        if plan.hang_up is not None:
            active.hang_up(plan.hang_up)
            raise ConnectionResetError
        if plan.reply is not None:
            reply = plan.reply(self.request_info(active, fields))
            raise RequestRejectedError(attrs.evolve(reply, headers=self.limits.visible(reply.headers)))

    @contextmanager
    def _track(self, active: ActiveRequest) -> Generator[None]:
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

    def reset(self, faults: Iterable[str], always: str | None) -> None:
        """Drop every response in progress (not counted as disconnects); forget records, counts and used limits."""
        self.faults.reset(faults, always)
        for active in tuple(self._active):
            active.hung_up = True
            active.abort()
        self._forget()

    def reopen(self) -> None:
        """Prepare for another start, perhaps in another loop."""
        self._closing = False
        self.gate, self._changed = ReleaseGate(), ReleaseGate()

    def close(self) -> None:
        """Drop every response in progress."""
        self._closing = True
        for active in tuple(self._active):
            active.abort()
