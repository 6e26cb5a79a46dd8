"""The paths of the local server, the middleware of every request, and the GETs of models and images.

Invariants: a request with a foreign Host or Origin is rejected; unknown paths and wrong methods get an error in the
API's form; a POST to an images path is counted when its headers arrive; downloads need no key, and after one of the
server's own redirects no other fault follows, except in a loop.
Must not: know how images are made, or why a response has a URL.
"""

import asyncio
import re
from base64 import b64decode
from typing import Any, Final

import attrs
from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from openai_images.server.batches.service import BatchesHandler
from openai_images.server.faults.downloads import DOWNLOAD_OK, LOOP, DownloadPlan
from openai_images.server.faults.plan import Fault
from openai_images.server.faults.queues import FaultQueue
from openai_images.server.images import delivery
from openai_images.server.images.encoder import LinkedImage, LinkStore
from openai_images.server.images.handler import ImagesHandler
from openai_images.server.protocol import error_replies
from openai_images.server.protocol.catalog import MODELS_CREATED, ServedModel, served_models
from openai_images.server.protocol.error_replies import Reply, RequestRejectedError, compact_json, error_reply
from openai_images.server.requests.records import AnsweredRequest, RecordedDownload
from openai_images.server.requests.settings import ServerSettings, is_loopback
from openai_images.server.requests.state import ActiveRequest, ServerState
from openai_images.server.start_page import add_start_page, answered_status

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\s]+)(?::[0-9]*)?", re.IGNORECASE)


def make_app(images: ImagesHandler, downloads: "DownloadHandler", batches: BatchesHandler) -> web.Application:
    """Return the aiohttp application of a server."""
    app = web.Application(middlewares=[_count_requests(images), _reject_foreign(images.settings.host)])
    models = _models(images.settings)
    app.router.add_post("/v1/images/generations", images.handle)
    app.router.add_post("/v1/images/edits", images.handle)
    app.router.add_get("/v1/images/{name}/content", downloads.handle, allow_head=False)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/v1/models/{name}", models)
    batches.add_routes(app.router)
    add_start_page(app, images.settings, images.state.recent)
    for path in {resource.canonical for resource in app.router.resources()}:
        app.router.add_route("*", path, _fixed_reply(error_replies.wrong_method))
    app.router.add_route("*", "/{path:.*}", _fixed_reply(error_replies.unknown_url))
    return app


def _count_requests(images: ImagesHandler) -> Middleware:
    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST" and request.path.startswith("/v1/images/"):
            images.state.posts += 1
        try:
            response = await handler(request)
        finally:
            fault = images.state.faults_by_request.pop(id(request), "ok")
        on_answer = images.settings.on_answer
        if on_answer is not None:
            status = answered_status(response)
            on_answer(AnsweredRequest(method=request.method, path=request.path, status=status, fault=fault))
        return response

    return count


def _reject_foreign(host: str) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        reply = _foreign_reply(request, host)
        return await handler(request) if reply is None else error_replies.to_response(reply, _headers())

    return guard


def _foreign_reply(request: web.Request, bound: str) -> Reply | None:
    """Return the 403 for a Host other than loopback and `bound`, or an Origin of another site; else None."""
    for host in request.headers.getall("Host", ()):
        if not _is_local_name(host, bound):
            return _foreign("Host", host)
    for origin in request.headers.getall("Origin", ()):
        scheme, _, host = origin.partition("://")
        if scheme.lower() not in {"http", "https"} or not _is_local_name(host, bound):
            return _foreign("Origin", origin)
    return None


def _is_local_name(host: str, bound: str) -> bool:
    """Whether `host`, with or without a port, is a name of this machine."""
    match = _HOST.fullmatch(host.strip())
    name = "" if match is None else match[1].strip("[]").rstrip(".").lower()
    return name in {"localhost", bound} or is_loopback(name)


def _foreign(header: str, value: str) -> Reply:
    message = (
        f"The local images server does not answer requests with the header '{header}: {value[:200]}'. "
        "Use an address of this machine: 127.0.0.1, localhost or [::1]."
    )
    return error_reply(403, message, code=f"{header.lower()}_not_allowed")


def _fixed_reply(reply: Any) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return error_replies.to_response(reply(request.method, request.path), _headers())

    return handle


def _headers() -> dict[str, str]:
    return error_replies.common_headers(error_replies.new_request_id(), 0.0)


def _models(settings: ServerSettings) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        served, name = served_models(settings.now(), legacy=settings.legacy), request.match_info.get("name")
        if name is None:
            reply = Reply(200, compact_json({"object": "list", "data": [_model(m) for m in served.values()]}))
        elif name in served:
            reply = Reply(200, compact_json(_model(served[name])))
        else:
            message = f"The model '{name}' does not exist"
            reply = error_reply(404, message, code="model_not_found", param="model")
        return error_replies.to_response(
            error_replies.check_api_key(request, settings.api_key) or reply, _headers()
        )

    return handle


def _model(model: ServedModel) -> dict[str, Any]:
    ends = None if model.ends is None else model.ends.isoformat()
    common = {"object": "model", "created": MODELS_CREATED, "owned_by": "system"}
    return {"id": model.name, **common, "shutdown_date": ends}


_ON_THE_LOOP: Final = 64 * 1024


@attrs.frozen(kw_only=True)
class DownloadHandler:
    """The handler of one server's downloads."""

    state: ServerState
    faults: FaultQueue[DownloadPlan]
    links: LinkStore
    settings: ServerSettings

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one download."""
        active = ActiveRequest(clock=self.settings.clock, connection=request.transport)
        try:
            with self.state.track(active):
                return await self._answer(request, active)
        except RequestRejectedError as error:
            return error_replies.to_response(error.reply, active.headers())
        except ConnectionError:
            # The client has disconnected: aiohttp would log the error, but drops a response silently.
            return web.Response()

    async def _answer(self, request: web.Request, active: ActiveRequest) -> web.StreamResponse:
        fault = self._next_fault(request)
        self.state.faults_by_request[id(request)] = fault.name
        self.state.record(
            RecordedDownload(
                method=request.method,
                path=request.path_qs,
                headers=request.headers,
                peer_port=delivery.peer_port(request),
                fault=fault.name,
            )
        )
        plan, hop = fault.plan, request.query.get("hop", "")
        if plan.hold:
            await self.state.gate.event.wait()
        if plan.reply is not None:
            raise RequestRejectedError(plan.reply())
        if plan.location is not None:
            target = plan.location(delivery.local_address(request)[1], request.path_qs, hop)
            raise RequestRejectedError(Reply(302, b"", "text/plain", {"location": target}))
        image = self.links.find(request.match_info["name"], request.query.get("variant", "0"))
        if image is None:
            raise RequestRejectedError(error_reply(404, "The image does not exist, or its link has expired."))
        return await self._send(request, active, plan, image)

    def _next_fault(self, request: web.Request) -> Fault[DownloadPlan]:
        hop = request.query.get("hop", "")
        if hop.startswith("loop-"):
            return Fault("download_redirect_loop", LOOP)
        if hop:
            return DOWNLOAD_OK
        return self.faults.next_fault(request.headers.get("X-Local-Fault"))

    async def _send(
        self, request: web.Request, active: ActiveRequest, plan: DownloadPlan, image: LinkedImage
    ) -> web.StreamResponse:
        """Send the image, or the part that its plan allows."""
        data = await _read_image(image, plan)
        response = web.StreamResponse(headers={"content-type": image.media_type, **active.headers()})
        if plan.body != "endless":
            response.content_length = len(data)
        elif request.version == HttpVersion11:
            response.enable_chunked_encoding()
        await response.prepare(request)
        whole = plan.body in {"whole", "endless", "empty"}
        await _write(response, data if whole else data[: len(data) // 2])
        match plan.body:
            case "endless":
                piece = (data * (delivery.SLICE // len(data) + 1))[: delivery.SLICE]
                while True:
                    await response.write(piece)
                    # A write with free buffer space does not wait, so other tasks must get a turn.
                    await asyncio.sleep(0)
            case "stalled":
                await self.state.gate.event.wait()
                await _write(response, data[len(data) // 2 :])
            case "cut":
                delivery.hang_up(active, delivery.open_transport(request), "close")
            case "reset":
                await asyncio.sleep(delivery.SEGMENT_DELAY)
                delivery.hang_up(active, delivery.open_transport(request), "reset")
            case _:
                pass
        if not active.hung_up:
            await response.write_eof()
        return response


async def _read_image(image: LinkedImage, plan: DownloadPlan) -> bytes:
    if plan.body == "empty":
        return b""
    if plan.megabytes is not None:
        return await asyncio.to_thread(delivery.huge_png, plan.megabytes, 1024, 1024)
    if len(image.base64) <= _ON_THE_LOOP:
        return b64decode(image.base64)
    return await asyncio.to_thread(b64decode, image.base64)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    view = memoryview(data)
    for start in range(0, len(data), delivery.SLICE):
        await response.write(view[start : start + delivery.SLICE])
