"""Answers `GET /v1/images/{id}/content`: keeps the images behind URLs in responses, and serves them.

Invariants: a link is an id that cannot be guessed; what is kept is bounded in bytes, the oldest goes first; no key is
needed; after one of the server's own redirects nothing more goes wrong, except in a loop.
Must not: know how a response came to carry a URL.
"""

import asyncio
import uuid
from base64 import b64decode
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Literal

import attrs
from aiohttp import HttpVersion11, web

from openai_images.server.delivery import (
    SEGMENT_DELAY,
    SLICE,
    hang_up,
    huge_png,
    local_address,
    open_transport,
    peer_port,
)
from openai_images.server.error_replies import Reply, RequestRejectedError, error_reply, to_response
from openai_images.server.faults import DOWNLOAD_OK, LOOP, DownloadInfo, DownloadPlan, FaultQueue
from openai_images.server.faults.plan import Fault
from openai_images.server.state import ActiveRequest, RecordedDownload, ServerState

MAX_LINKED_BYTES: Final = 256 * 1024 * 1024
MAX_LINKS: Final = 100_000


_ON_THE_LOOP: Final = 64 * 1024


@attrs.frozen
class LinkedImage:
    """One image: its base64 and its media type."""

    base64: bytes = attrs.field(repr=lambda text: f"<{len(text):,} characters>")
    media_type: str


class LinkStore:
    """The images behind the URLs of one server."""

    def __init__(self, limit: int = MAX_LINKED_BYTES) -> None:
        self._limit = limit
        self._held = 0
        self._counts = Counter[int]()
        self._images: OrderedDict[str, LinkedImage] = OrderedDict()

    def add(self, image: LinkedImage, number: int) -> str:
        """Keeps an image and gives the path of its URL."""
        path = f"/v1/images/img_{uuid.uuid4().hex}/content?variant={number}"
        self._images[path] = image
        key = id(image.base64)
        self._held += 0 if self._counts[key] else len(image.base64)
        self._counts[key] += 1
        while len(self._images) > 1 and (self._held > self._limit or len(self._images) > MAX_LINKS):
            self._drop_oldest()
        return path

    def find(self, name: str, number: str) -> LinkedImage | None:
        """The image behind a link, or None if it does not exist any more."""
        return self._images.get(f"/v1/images/{name}/content?variant={number}")

    def _drop_oldest(self) -> None:
        _, oldest = self._images.popitem(last=False)
        key = id(oldest.base64)
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
            self._held -= len(oldest.base64)


@attrs.frozen(kw_only=True)
class DownloadHandler:
    """The handler of one server's downloads."""

    state: ServerState
    faults: FaultQueue[DownloadPlan]
    links: LinkStore
    clock: Callable[[], float]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one download."""
        active = ActiveRequest(clock=self.clock, connection=request.transport)
        try:
            with self.state.track(active):
                return await self._answer(request, active)
        except RequestRejectedError as error:
            return to_response(error.reply, active.headers())
        except ConnectionError:
            # The client has gone: aiohttp would log the error, and drops a response without a word.
            return web.Response()

    async def _answer(self, request: web.Request, active: ActiveRequest) -> web.StreamResponse:
        fault = self._next_fault(request)
        self._record(request, fault)
        plan = fault.plan
        if plan.hold:
            await self.state.gate.event.wait()
        if plan.reply is not None:
            raise RequestRejectedError(plan.reply())
        if plan.location is not None:
            info = DownloadInfo(
                port=local_address(request)[1], path=request.path_qs, hop=request.query.get("hop", "")
            )
            raise RequestRejectedError(Reply(302, b"", "text/plain", {"location": plan.location(info)}))
        image = self.links.find(request.match_info["name"], request.query.get("variant", "0"))
        if image is None:
            raise RequestRejectedError(error_reply(404, "The picture does not exist, or its link is over."))
        return await _DownloadWriter(request, active, plan, self.state).send(image)

    def _next_fault(self, request: web.Request) -> Fault[DownloadPlan]:
        hop = request.query.get("hop", "")
        if hop.startswith("loop-"):
            return Fault("download_redirect_loop", LOOP)
        if hop:
            return DOWNLOAD_OK
        return self.faults.next_fault(request.headers.get("X-Local-Fault"))

    def _record(self, request: web.Request, fault: Fault[DownloadPlan]) -> None:
        self.state.faults_by_request[id(request)] = fault.name
        self.state.record_download(
            RecordedDownload(
                method=request.method,
                path=request.path_qs,
                headers=request.headers,
                peer_port=peer_port(request),
                fault=fault.name,
            )
        )


@attrs.frozen
class _DownloadWriter:
    """Sends one image, or as much of it as its plan lets through."""

    request: web.Request
    active: ActiveRequest
    plan: DownloadPlan
    state: ServerState

    async def send(self, image: LinkedImage) -> web.StreamResponse:
        """Sends the image and returns the response, ended or broken."""
        data = await self._bytes(image)
        response = web.StreamResponse(headers={"content-type": image.media_type, **self.active.headers()})
        if self.plan.body == "endless":
            if self.request.version == HttpVersion11:
                response.enable_chunked_encoding()
        else:
            response.content_length = len(data)
        await response.prepare(self.request)
        whole = self.plan.body in {"whole", "endless", "empty"}
        await _write(response, data if whole else data[: len(data) // 2])
        match self.plan.body:
            case "endless":
                await self._never_end(response, data)
            case "stalled":
                await self.state.gate.event.wait()
                await _write(response, data[len(data) // 2 :])
            case "cut":
                self._hang_up("close")
            case "reset":
                await asyncio.sleep(SEGMENT_DELAY)
                self._hang_up("reset")
            case _:
                pass
        if not self.active.hung_up:
            await response.write_eof()
        return response

    async def _bytes(self, image: LinkedImage) -> bytes:
        if self.plan.body == "empty":
            return b""
        if self.plan.megabytes is not None:
            return await asyncio.to_thread(huge_png, self.plan.megabytes, 1024, 1024)
        if len(image.base64) <= _ON_THE_LOOP:
            return b64decode(image.base64)
        return await asyncio.to_thread(b64decode, image.base64)

    async def _never_end(self, response: web.StreamResponse, data: bytes) -> None:
        piece = (data * (SLICE // len(data) + 1))[:SLICE]
        while True:
            await response.write(piece)
            # A write that finds room does not wait, so other tasks need a turn.
            await asyncio.sleep(0)

    def _hang_up(self, how: Literal["close", "reset"]) -> None:
        hang_up(self.active, open_transport(self.request), how)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    view = memoryview(data)
    for start in range(0, len(data), SLICE):
        await response.write(view[start : start + SLICE])
