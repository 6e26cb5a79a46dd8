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

from openai_images.server.delivery import LATER_SEGMENT, SLICE, hang_up, huge_png, open_transport
from openai_images.server.error_replies import RefusalError, Reply, error_reply, refuse, send_whole
from openai_images.server.faults import DOWNLOAD_OK, LOOP, DownloadPlan, Fault, Place
from openai_images.server.state import Exchange, RecordedDownload, Script, Traffic

SHELF_BYTES: Final = 256 * 1024 * 1024
MOST_LINKS: Final = 100_000


@attrs.frozen
class Shelved:
    """One picture: its base64 and its media type."""

    base64: bytes = attrs.field(repr=lambda text: f"<{len(text):,} characters>")
    media_type: str


class Shelf:
    """The pictures behind the urls of one server."""

    def __init__(self, limit: int = SHELF_BYTES) -> None:
        self._limit = limit
        self._held = 0
        self._times = Counter[int]()
        self._pictures: OrderedDict[str, Shelved] = OrderedDict()

    def put(self, picture: Shelved, number: int) -> str:
        """Keeps a picture and gives the path of its url."""
        path = f"/v1/images/img_{uuid.uuid4().hex}/content?variant={number}"
        self._pictures[path] = picture
        key = id(picture.base64)
        self._held += 0 if self._times[key] else len(picture.base64)
        self._times[key] += 1
        while len(self._pictures) > 1 and (self._held > self._limit or len(self._pictures) > MOST_LINKS):
            self._drop_oldest()
        return path

    def find(self, name: str, number: str) -> Shelved | None:
        """The picture of a link, or None if there is none such or it is over."""
        return self._pictures.get(f"/v1/images/{name}/content?variant={number}")

    def _drop_oldest(self) -> None:
        _, oldest = self._pictures.popitem(last=False)
        key = id(oldest.base64)
        self._times[key] -= 1
        if not self._times[key]:
            del self._times[key]
            self._held -= len(oldest.base64)


_ON_THE_LOOP: Final = 64 * 1024


@attrs.frozen(kw_only=True)
class Downloads:
    """The handler of one server's downloads."""

    traffic: Traffic
    script: Script[DownloadPlan]
    shelf: Shelf
    clock: Callable[[], float]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one download."""
        exchange = Exchange(clock=self.clock, connection=request.transport)
        try:
            with self.traffic.answering(exchange):
                return await self._answer(request, exchange)
        except RefusalError as refusal:
            return send_whole(refusal.reply, exchange.headers())
        except ConnectionError:
            # The client has gone: aiohttp would log the error, and drops a response without a word.
            return web.Response()

    async def _answer(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        fault = self._fault_of(request)
        self._record(request, fault)
        plan = fault.plan
        if plan.hold:
            await self.traffic.gate.wait()
        if plan.reply is not None:
            raise RefusalError(plan.reply())
        if plan.location is not None:
            place = Place(port=_port(request), path=request.path_qs, hop=request.query.get("hop", ""))
            raise RefusalError(Reply(302, b"", "text/plain", {"location": plan.location(place)}))
        picture = self.shelf.find(request.match_info["name"], request.query.get("variant", "0"))
        if picture is None:
            raise RefusalError(error_reply(404, "The picture does not exist, or its link is over."))
        return await _Delivery(request, exchange, plan, self.traffic).send(picture)

    def _fault_of(self, request: web.Request) -> Fault[DownloadPlan]:
        hop = request.query.get("hop", "")
        if hop.startswith("loop-"):
            return Fault("download_redirect_loop", LOOP)
        if hop:
            return DOWNLOAD_OK
        try:
            return self.script.next_fault(request.headers.get("X-Local-Fault"))
        except ValueError as error:
            raise refuse(str(error), code="invalid_value", param="X-Local-Fault") from None

    def _record(self, request: web.Request, fault: Fault[DownloadPlan]) -> None:
        self.traffic.met[id(request)] = fault.name
        peer = request.transport.get_extra_info("peername") if request.transport else None
        self.traffic.record_download(
            RecordedDownload(
                method=request.method,
                path=request.path_qs,
                headers=request.headers,
                peer_port=peer[1] if peer else None,
                fault=fault.name,
            )
        )


@attrs.frozen
class _Delivery:
    """One picture on its way, or as much of it as its plan lets through."""

    request: web.Request
    exchange: Exchange
    plan: DownloadPlan
    traffic: Traffic

    async def send(self, picture: Shelved) -> web.StreamResponse:
        """Sends the picture and returns the response, ended or broken."""
        data = await self._bytes(picture)
        response = web.StreamResponse(headers={"content-type": picture.media_type, **self.exchange.headers()})
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
                await self.traffic.gate.wait()
                await _write(response, data[len(data) // 2 :])
            case "cut":
                self._break_off("close")
            case "reset":
                await asyncio.sleep(LATER_SEGMENT)
                self._break_off("reset")
            case _:
                pass
        if not self.exchange.hung_up:
            await response.write_eof()
        return response

    async def _bytes(self, picture: Shelved) -> bytes:
        if self.plan.body == "empty":
            return b""
        if self.plan.megabytes is not None:
            return await asyncio.to_thread(huge_png, self.plan.megabytes, 1024, 1024)
        if len(picture.base64) <= _ON_THE_LOOP:
            return b64decode(picture.base64)
        return await asyncio.to_thread(b64decode, picture.base64)

    async def _never_end(self, response: web.StreamResponse, data: bytes) -> None:
        piece = (data * (SLICE // len(data) + 1))[:SLICE]
        while True:
            await response.write(piece)
            # A write that finds room does not wait, and nobody else would have their turn.
            await asyncio.sleep(0)

    def _break_off(self, how: Literal["close", "reset"]) -> None:
        hang_up(self.exchange, open_transport(self.request), how)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    view = memoryview(data)
    for at in range(0, len(data), SLICE):
        await response.write(view[at : at + SLICE])


def _port(request: web.Request) -> int:
    """The port the request came to."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return int(name[1]) if name else 0
