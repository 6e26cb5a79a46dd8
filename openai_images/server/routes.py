"""The paths of the local server, the middleware of every request, and the GETs of models and images.

Invariants: a request with a foreign Host or Origin is rejected; unknown paths and wrong methods get an error in the
API's form; a POST to an images path is counted when its headers arrive; downloads need no key, and after one of the
server's own redirects no other fault follows, except in a loop.
Must not: know how images are made, or why a response has a URL.
"""

import asyncio
import re
from base64 import b64decode
from functools import partial
from typing import Any, Final, NoReturn

import attrs
from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from openai_images.server.batches.service import BatchesHandler
from openai_images.server.faults.calls import DOWNLOAD_OK, LOOP, DownloadPlan
from openai_images.server.faults.plan import Fault
from openai_images.server.images.delivery import SEGMENT_DELAY, SLICE, huge_png, write_slices
from openai_images.server.images.encoder import LinkedImage, LinkStore
from openai_images.server.images.handler import ImagesHandler
from openai_images.server.protocol import error_replies
from openai_images.server.protocol.catalog import MODELS_CREATED, ServedModel, served_models
from openai_images.server.protocol.error_replies import (
    Reply,
    RequestRejectedError,
    check_api_key,
    error_reply,
    to_response,
)
from openai_images.server.requests.records import AnsweredRequest, RecordedDownload
from openai_images.server.requests.settings import ServerSettings, is_loopback
from openai_images.server.requests.state import (
    ActiveRequest,
    RecentRequest,
    ServerState,
    peer_port,
    shorten,
)
from openai_images.server.start_page import page_handler

_NOT_LISTED: Final = frozenset({"/", "/favicon.ico"})  # requested by a browser for the start page
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\s]+)(?::[0-9]*)?", re.IGNORECASE)


def make_app(
    state: ServerState, images: ImagesHandler, downloads: "DownloadHandler", batches: BatchesHandler
) -> web.Application:
    """Return the aiohttp application of a server."""
    app = web.Application(middlewares=[_observe(state)])
    models, posts = state.handler(partial(_answer_models, state.settings)), state.handler(images.answer)
    app.router.add_get("/", page_handler(state))
    app.router.add_post("/v1/images/generations", posts)
    app.router.add_post("/v1/images/edits", posts)
    app.router.add_get("/v1/images/{name}/content", state.handler(downloads.answer), allow_head=False)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/v1/models/{name}", models)
    batches.add_routes(app.router)
    for path in {resource.canonical for resource in app.router.resources()}:
        app.router.add_route("*", path, state.handler(_wrong_method))
    app.router.add_route("*", "/{path:.*}", state.handler(_unknown_url))
    return app


def _observe(state: ServerState) -> Middleware:
    """Return the middleware that rejects foreign requests, counts and lists all, and calls `on_answer`."""

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        settings, method, path, status = state.settings, request.method, request.path, 0
        started = settings.clock()
        if method == "POST" and path.startswith("/v1/images/"):
            state.posts += 1
        try:
            foreign = _foreign_reply(request, settings.host)
            headers = error_replies.common_headers(error_replies.new_request_id(), 0.0)
            response = to_response(foreign, headers) if foreign else await handler(request)
            status = _sent_status(response)
        finally:
            fault, model, prompt = state.pop_details(request)
            if path not in _NOT_LISTED:
                seconds, shown = settings.clock() - started, (shorten(path), status, shorten(fault))
                state.add_recent(RecentRequest(settings.now(), seconds, method, *shown, model, prompt))
        if settings.on_answer is not None:
            settings.on_answer(AnsweredRequest(method=method, path=path, status=status, fault=fault))
        return response

    return observe


def _sent_status(response: web.StreamResponse) -> int:
    """Return the status that was sent; 0 if the connection was closed without a response."""
    hung_up = isinstance(response, web.Response) and response.body is None and not response.prepared
    return 0 if hung_up else response.status


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


async def _wrong_method(active: ActiveRequest) -> NoReturn:
    request, hint = active.request, "(HINT: Perhaps you meant to use a different HTTP method?)"
    message = f"Not allowed to {request.method} on {request.path}. {hint}"
    raise RequestRejectedError(error_reply(405, message, code="method_not_supported"))


async def _unknown_url(active: ActiveRequest) -> NoReturn:
    message = f"Invalid URL ({active.request.method} {active.request.path})"
    raise RequestRejectedError(error_reply(404, message))


async def _answer_models(settings: ServerSettings, active: ActiveRequest) -> dict[str, Any]:
    check_api_key(active.request, settings.api_key)
    served = served_models(settings.now(), legacy=settings.legacy)
    name = active.request.match_info.get("name")
    if name is None:
        return {"object": "list", "data": [_model(model) for model in served.values()]}
    if name not in served:
        message = f"The model '{name}' does not exist"
        raise RequestRejectedError(error_reply(404, message, code="model_not_found", param="model"))
    return _model(served[name])


def _model(model: ServedModel) -> dict[str, Any]:
    ends = None if model.ends is None else model.ends.isoformat()
    common = {"object": "model", "created": MODELS_CREATED, "owned_by": "system"}
    return {"id": model.name, **common, "shutdown_date": ends}


_ON_THE_LOOP: Final = 64 * 1024


@attrs.frozen(kw_only=True)
class DownloadHandler:
    """Answers the downloads of one server."""

    state: ServerState
    links: LinkStore

    async def answer(self, active: ActiveRequest) -> web.StreamResponse:
        """Answer one download."""
        request = active.request
        active.fault = fault = self._next_fault(request)
        self.state.describe(request, fault.name)
        self.state.record(
            RecordedDownload(
                method=request.method,
                path=request.path_qs,
                headers=request.headers,
                peer_port=peer_port(request),
                fault=fault.name,
            )
        )
        await self.state.interfere(active, {})
        image = self.links.find(request.match_info["name"], request.query.get("variant", "0"))
        if image is None:
            raise RequestRejectedError(error_reply(404, "The image does not exist, or its link has expired."))
        return await self._send(active, fault.plan, image)

    def _next_fault(self, request: web.Request) -> Fault[DownloadPlan]:
        hop = request.query.get("hop", "")
        if hop.startswith("loop-"):
            return Fault("download_redirect_loop", LOOP)
        if hop:
            return DOWNLOAD_OK
        return self.state.faults.downloads.next_fault(request.headers.get("X-Local-Fault"))

    async def _send(
        self, active: ActiveRequest, plan: DownloadPlan, image: LinkedImage
    ) -> web.StreamResponse:
        """Send the image, or the part that its plan allows."""
        request, data = active.request, await _read_image(image, plan)
        response = web.StreamResponse(headers={"content-type": image.media_type, **active.headers()})
        if plan.body != "endless":
            response.content_length = len(data)
        elif request.version == HttpVersion11:
            response.enable_chunked_encoding()
        await response.prepare(request)
        whole = plan.body in {"whole", "endless", "empty"}
        await write_slices(response, data if whole else data[: len(data) // 2])
        match plan.body:
            case "endless":
                piece = (data * (SLICE // len(data) + 1))[:SLICE]
                while True:
                    await response.write(piece)
                    # A write with free buffer space does not wait, so other tasks must get a turn.
                    await asyncio.sleep(0)
            case "stalled":
                await self.state.gate.event.wait()
                await write_slices(response, data[len(data) // 2 :])
            case "cut":
                active.hang_up("close")
            case "reset":
                await asyncio.sleep(SEGMENT_DELAY)
                active.hang_up("reset")
            case _:
                pass
        if not active.hung_up:
            await response.write_eof()
        return response


async def _read_image(image: LinkedImage, plan: DownloadPlan) -> bytes:
    if plan.body == "empty":
        return b""
    if plan.megabytes is not None:
        return await asyncio.to_thread(huge_png, plan.megabytes, 1024, 1024)
    if len(image.base64) <= _ON_THE_LOOP:
        return b64decode(image.base64)
    return await asyncio.to_thread(b64decode, image.base64)
