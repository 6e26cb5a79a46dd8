"""Answers `POST /v1/images/generations` and `/edits`: key, body, fault, parameters, limits, image, in that order.

Invariants: the key is checked before a body is read; a request is recorded before it is checked; only `stream` in the
body decides between JSON and a stream: the official clients send `Accept: application/json` with both.
Must not: hold state, or parse long JSON and decode images on the event loop.
"""

import asyncio
from base64 import b64decode
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any, cast

import attrs
from aiohttp import web

from openai_images.server.faults.plan import Fault, FaultPlan
from openai_images.server.faults.statuses import moderation_reply
from openai_images.server.images.delivery import ResponseWriter
from openai_images.server.images.encoder import Encoder, LinkedImage, LinkStore, MakeURL
from openai_images.server.paint.painter import ImageCache
from openai_images.server.protocol.error_replies import JSON_TYPE, RequestRejectedError, check_api_key
from openai_images.server.requests import request_body
from openai_images.server.requests.edit_bodies import Form, FormReader, read_references
from openai_images.server.requests.parameters import (
    MODERATED_PHRASE,
    Parameters,
    check_legacy,
    check_parameters,
    find_model,
)
from openai_images.server.requests.records import RecordedRequest
from openai_images.server.requests.source_images import UploadedImages
from openai_images.server.requests.state import ActiveRequest, ServerState, local_address, origin, peer_port


@attrs.frozen(kw_only=True)
class ReceivedBody:
    """A complete body: a form, or bytes and the JSON in them (None if they are not JSON)."""

    form: Form | None = None
    body: bytes = attrs.field(default=b"", repr=lambda body: f"<{len(body):,} bytes>")
    json: Any = attrs.field(default=None, repr=False)
    is_json: bool = False

    @property
    def fields(self) -> Mapping[str, Any]:
        """The unchecked parameters."""
        values: Any = self.json if self.form is None else self.form.fields
        return cast("dict[str, Any]", values) if isinstance(values, dict) else {}

    def record(self, request: web.Request, fault: Fault[FaultPlan]) -> RecordedRequest:
        """Return the record of the request."""
        return RecordedRequest(
            method=request.method,
            path=request.path,
            headers=request.headers,
            body=self.body,
            json=self.json,
            peer_port=peer_port(request),
            fault=fault.name,
            parts=() if self.form is None else tuple(self.form.parts),
        )


@attrs.frozen(kw_only=True)
class ImagesHandler:
    """Answers the requests for images of one server; `reader` is an executor with one thread."""

    state: ServerState
    reader: Executor
    cache: ImageCache
    links: LinkStore

    async def answer(self, active: ActiveRequest) -> web.StreamResponse:
        """Answer one request. Raises `RequestRejectedError`."""
        request = active.request
        try:
            check_api_key(request, self.state.settings.api_key)
        except RequestRejectedError:
            self.state.record(ReceivedBody().record(request, active.fault))
            raise
        active.fault = self.state.faults.posts.next_fault(request.headers.get("X-Local-Fault"))
        plan: FaultPlan = active.fault.plan
        received = await self._receive(request, inspect=plan.reply is None and plan.hang_up is None)
        self.state.describe(request, active.fault.name, received.fields)
        self.state.record(received.record(request, active.fault))
        if plan.delay:
            await self.state.settings.sleep(plan.delay)
        await self.state.interfere(active, received.fields)
        parameters = await self._check_parameters(request, received)
        if plan.max_images is not None:
            parameters = attrs.evolve(parameters, n=min(parameters.n, plan.max_images))
        self.state.limits.charge(parameters.model, parameters.n)
        if MODERATED_PHRASE in parameters.prompt.lower():
            info = self.state.request_info(active, received.fields)
            raise RequestRejectedError(moderation_reply("input", info))
        return await self._send_images(active, parameters)

    async def _receive(self, request: web.Request, *, inspect: bool) -> ReceivedBody:
        """Return the body of a request, or raise the 413; `inspect`: its images will be needed."""
        settings, content_type = self.state.settings, request.headers.get("content-type", "")
        limit = settings.max_upload_bytes if _is_edit(request) else settings.max_body_bytes
        chunks = request_body.BodyChunks(request, settings.body_timeout, limit)
        if _is_edit(request) and request_body.parse_media_type(content_type) == request_body.FORM:
            reader = FormReader(inspect=inspect, pixels=self._pixels, thread=self.reader)
            return ReceivedBody(form=await reader.read(chunks, content_type))
        body = await request_body.read_body(chunks)
        try:
            if len(body) <= request_body.MAX_STRUCTURE:
                value = request_body.parse(body)
            else:
                loop = asyncio.get_running_loop()
                value = await loop.run_in_executor(self.reader, request_body.parse, body)
            return ReceivedBody(body=body, json=value, is_json=True)
        except ValueError:
            return ReceivedBody(body=body)

    @property
    def _pixels(self) -> bool:
        """Whether images are drawn from the pixels of source images."""
        pictures = self.state.settings.pictures
        return not isinstance(pictures, bytes) and pictures != "small"

    async def _check_parameters(self, request: web.Request, received: ReceivedBody) -> Parameters:
        is_edit, form = _is_edit(request), received.form
        accepted = (request_body.FORM, JSON_TYPE) if is_edit else (JSON_TYPE,)
        request_body.require_type(request.headers.get("content-type"), *accepted)
        if form is not None:
            if form.problem is not None:
                raise form.problem
            return self._accept(form.fields, form.uploads)
        if not received.is_json:
            raise request_body.not_json()
        return await self.check_json(received.json, is_edit=is_edit)

    async def check_json(self, body: object, *, is_edit: bool) -> Parameters:
        """Return the parameters of a JSON body. Raises `RequestRejectedError`."""
        values = request_body.require_object(body)
        if not is_edit:
            return self._accept(values, None)

        def read() -> Parameters:
            return self._accept(values, read_references(values, self.state.files, pixels=self._pixels))

        return await asyncio.get_running_loop().run_in_executor(self.reader, read)

    def _accept(self, values: Mapping[str, Any], uploads: UploadedImages | None) -> Parameters:
        model = find_model(values, self.state.settings)
        check_all = check_legacy if model.generation == "dall-e" else check_parameters
        return check_all(values, model, self.state.settings, uploads)

    async def _send_images(self, active: ActiveRequest, parameters: Parameters) -> web.StreamResponse:
        plan: FaultPlan = active.fault.plan
        as_stream = plan.kind == "sse" or (parameters.stream and plan.kind != "json")
        encoder = Encoder(
            parameters=parameters,
            dialect=plan.dialect,
            created=int(self.state.settings.now()),
            link=self._link(active.request, parameters, plan),
        )
        writer = ResponseWriter(
            active=active,
            plan=plan,
            state=self.state,
            encoder=encoder,
            cache=self.cache,
            as_stream=as_stream,
            headers=self.state.limits.headers(),
        )
        return await writer.send()

    def _link(self, request: web.Request, parameters: Parameters, plan: FaultPlan) -> MakeURL | None:
        """Return the function that makes the URL of an image; None if images are sent as base64."""
        links = plan.dialect.links or parameters.links
        if links is None:
            return None
        start = origin(*local_address(request)) if links == "absolute" else ""

        def link(base64: bytes, number: int) -> bytes:
            media_type = _media_type(base64, parameters)
            if links == "data":
                return b"data:%s;base64,%s" % (media_type.encode(), base64)
            return (start + self.links.add(LinkedImage(base64, media_type), number)).encode()

        return link


def _is_edit(request: web.Request) -> bool:
    return request.path.endswith("/edits")


def _media_type(base64: bytes, parameters: Parameters) -> str:
    """Return the media type of the bytes: fixed images may differ from the requested format."""
    start = b64decode(base64[:16])
    known = {b"\x89PNG": "png", b"\xff\xd8": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}
    matches = [f"image/{name}" for magic, name in known.items() if start.startswith(magic)]
    return matches[0] if matches else parameters.media_type
