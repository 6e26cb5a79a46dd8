"""The paths of the local server, and what every request passes through.

Invariants: a request with a foreign Host or Origin goes no further; unknown paths and wrong methods get an error of the
API's shape; a POST to an images path is counted when its headers arrive.
Must not: know how images are made.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from openai_images.server.catalog import MODELS_CREATED, ServedModel, served_models
from openai_images.server.downloads import DownloadHandler
from openai_images.server.error_replies import (
    Reply,
    check_api_key,
    common_headers,
    compact_json,
    error_reply,
    new_request_id,
    to_response,
    unknown_url,
    wrong_method,
)
from openai_images.server.handler import ImagesHandler
from openai_images.server.settings import ServerSettings, is_loopback
from openai_images.server.state import AnsweredRequest

OnAnswer = Callable[[AnsweredRequest], object]

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\s]+)(?::[0-9]*)?", re.IGNORECASE)


def make_app(
    images: ImagesHandler, downloads: DownloadHandler, on_answer: OnAnswer | None
) -> web.Application:
    """The aiohttp application of a server; `on_answer` is called with each request once it is answered."""
    app = web.Application(
        middlewares=[_count_requests(images, on_answer), _reject_foreign(images.settings.host)]
    )
    models = _models(images.settings)
    app.router.add_post("/v1/images/generations", images.handle)
    app.router.add_post("/v1/images/edits", images.handle)
    app.router.add_get("/v1/images/{name}/content", downloads.handle, allow_head=False)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/v1/models/{name}", models)
    for route in list(app.router.routes()):
        if route.method != "HEAD" and route.resource is not None:
            app.router.add_route("*", route.resource.canonical, _fixed_reply(wrong_method))
    app.router.add_route("*", "/{path:.*}", _fixed_reply(unknown_url))
    return app


def _count_requests(images: ImagesHandler, on_answer: OnAnswer | None) -> Middleware:
    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST" and request.path.startswith("/v1/images/"):
            images.state.posts += 1
        try:
            response = await handler(request)
        finally:
            fault = images.state.faults_by_request.pop(id(request), "ok")
        if on_answer is not None:
            hung_up = isinstance(response, web.Response) and response.body is None and not response.prepared
            status = 0 if hung_up else response.status
            on_answer(AnsweredRequest(method=request.method, path=request.path, status=status, fault=fault))
        return response

    return count


def _reject_foreign(host: str) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        reply = _foreign_reply(request, host)
        return await handler(request) if reply is None else to_response(reply, _headers())

    return guard


def _foreign_reply(request: web.Request, bound: str) -> Reply | None:
    """The 403 for a Host that is not of loopback or `bound`, or an Origin of another site; else None."""
    for host in request.headers.getall("Host", ()):
        if not _is_local_name(host, bound):
            return _foreign("Host", host, "host_not_allowed")
    for origin in request.headers.getall("Origin", ()):
        scheme, _, host = origin.partition("://")
        if scheme.lower() not in {"http", "https"} or not _is_local_name(host, bound):
            return _foreign("Origin", origin, "origin_not_allowed")
    return None


def _is_local_name(host: str, bound: str) -> bool:
    """Whether `host`, with or without a port, is a name of this machine."""
    match = _HOST.fullmatch(host.strip())
    name = "" if match is None else match[1].strip("[]").rstrip(".").lower()
    return name in {"localhost", bound} or is_loopback(name)


def _foreign(header: str, value: str, code: str) -> Reply:
    message = (
        f"The local images server does not answer requests with the header '{header}: {value[:200]}'. "
        "Use an address of this machine: 127.0.0.1, localhost or [::1]."
    )
    return error_reply(403, message, code=code)


def _fixed_reply(reply: Any) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return to_response(reply(request.method, request.path), _headers())

    return handle


def _headers() -> dict[str, str]:
    return common_headers(new_request_id(), 0.0)


def _models(settings: ServerSettings) -> Handler:
    """All models that are served, or the one that is named in the path."""

    async def handle(request: web.Request) -> web.StreamResponse:
        served, name = served_models(settings.now(), legacy=settings.legacy), request.match_info.get("name")
        if name is None:
            reply = Reply(200, compact_json({"object": "list", "data": [_model(m) for m in served.values()]}))
        elif name in served:
            reply = Reply(200, compact_json(_model(served[name])))
        else:
            message = f"The model '{name}' does not exist"
            reply = error_reply(404, message, code="model_not_found", param="model")
        return to_response(check_api_key(request, settings.api_key) or reply, _headers())

    return handle


def _model(model: ServedModel) -> dict[str, Any]:
    ends = None if model.ends is None else model.ends.isoformat()
    common = {"object": "model", "created": MODELS_CREATED, "owned_by": "system"}
    return {"id": model.name, **common, "shutdown_date": ends}
