"""Answers `POST /v1/images/generations` and `/edits`: key, body, fault, parameters, limits, image, in that order.

Invariants: the key is checked before a body is read or a fault is taken; what came is recorded before it is judged; a
fault that replaces the whole response also replaces the checks; `stream` in the body alone decides JSON or stream, as
the official clients send `Accept: application/json` with both.
Must not: hold state, or parse long JSON and decode images on the event loop.
"""

import asyncio
from base64 import b64decode
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any, Final, cast

import attrs
from aiohttp import web

from openai_images.server.delivery import Answer, Renderer, hang_up, open_transport
from openai_images.server.downloads import Shelf, Shelved
from openai_images.server.edits import take_references
from openai_images.server.encoder import Encoder, Link
from openai_images.server.error_replies import RefusalError, Reply, refuse, refuse_stranger, send_whole
from openai_images.server.faults import Fault, Plan, Situation, moderation_reply
from openai_images.server.faults.plan import Step, Steps, Text, normal_steps
from openai_images.server.image_info import GivenPictures
from openai_images.server.legacy import check_legacy
from openai_images.server.paint import Studio
from openai_images.server.parameters import MODERATED_PHRASE, Parameters, check, find_model
from openai_images.server.rate_limits import RateLimits
from openai_images.server.request_body import (
    FORM,
    JSON,
    MOST_STRUCTURE,
    Arriving,
    media_type_of,
    not_json,
    parse,
    read_body,
    require_object,
    require_type,
)
from openai_images.server.settings import ServerSettings
from openai_images.server.state import Exchange, RecordedRequest, Script, Traffic
from openai_images.server.uploads import Form, FormReader

_NO_JSON: Final = object()


@attrs.frozen(kw_only=True)
class Received:
    """A body that has arrived: a form, or bytes and the JSON in them, if there is any."""

    form: Form | None = None
    body: bytes = attrs.field(default=b"", repr=lambda body: f"<{len(body):,} bytes>")
    value: Any = attrs.field(default=_NO_JSON, repr=False)

    @property
    def json(self) -> Any:
        """The JSON in it, or None."""
        return None if self.value is _NO_JSON else self.value

    @property
    def fields(self) -> Mapping[str, Any]:
        """The parameters in it, unchecked."""
        if self.form is not None:
            return self.form.fields
        given: Any = self.json
        return cast("dict[str, Any]", given) if isinstance(given, dict) else {}

    def record(self, request: web.Request, fault: Fault[Plan]) -> RecordedRequest:
        """What the server remembers of it."""
        peer = request.transport.get_extra_info("peername") if request.transport else None
        return RecordedRequest(
            method=request.method,
            path=request.path,
            headers=request.headers,
            body=self.body,
            json=self.json,
            peer_port=peer[1] if peer else None,
            fault=fault.name,
            parts=() if self.form is None else tuple(self.form.parts),
        )


@attrs.frozen(kw_only=True)
class ImagesEndpoint:
    """The handler of one server; `reader` is an executor with one thread."""

    settings: ServerSettings
    reader: Executor
    traffic: Traffic
    script: Script[Plan]
    limits: RateLimits
    studio: Studio
    shelf: Shelf

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one request."""
        exchange = Exchange(clock=self.settings.clock, connection=request.transport)
        try:
            with self.traffic.answering(exchange):
                return await self._answer(request, exchange)
        except RefusalError as refusal:
            return self._refuse(refusal.reply, exchange)
        except ConnectionError:
            # The client has gone: aiohttp would log the error, and drops a response without a word.
            return web.Response()

    async def _answer(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        stranger = refuse_stranger(request, self.settings.api_key)
        if stranger is not None:
            self.traffic.record(Received().record(request, exchange.fault))
            raise RefusalError(stranger)
        exchange.fault = self._fault_of(request)
        plan = exchange.fault.plan
        received = await self._receive(request, looks=plan.reply is None and plan.hang_up is None)
        self.traffic.met[id(request)] = exchange.fault.name
        self.traffic.record(received.record(request, exchange.fault))
        if plan.delay:
            await self.settings.sleep(plan.delay)
        if plan.hold:
            await self.traffic.gate.wait()
        if plan.hang_up is not None:
            hang_up(exchange, open_transport(request), plan.hang_up)
            return web.Response()
        if plan.reply is not None:
            raise RefusalError(plan.reply(self._situation(request, exchange, received)))
        return await self._paint(request, exchange, await self._parameters(request, exchange, received))

    async def _receive(self, request: web.Request, *, looks: bool) -> Received:
        """The body of a request, or the 413; `looks` is whether its images will matter."""
        given = request.headers.get("content-type", "")
        chunks, declared = Arriving(request, self.settings.body_timeout), request.content_length
        limit = self.settings.max_upload_bytes if _is_edit(request) else self.settings.max_body_bytes
        if _is_edit(request) and media_type_of(given) == FORM:
            reader = FormReader(limit=limit, looks=looks, pixels=self._pixels, thread=self.reader)
            return Received(form=await reader.read(chunks, declared, given))
        body = await read_body(chunks, declared, limit)
        return Received(body=body, value=await self._parsed(body))

    async def _parsed(self, body: bytes) -> Any:
        """The value of a body, or `_NO_JSON`."""
        try:
            if len(body) <= MOST_STRUCTURE:
                return parse(body)
            return await asyncio.get_running_loop().run_in_executor(self.reader, parse, body)
        except ValueError:
            return _NO_JSON

    @property
    def _pixels(self) -> bool:
        """Whether images are drawn from source images."""
        return not isinstance(self.settings.pictures, bytes)

    def _refuse(self, reply: Reply, exchange: Exchange) -> web.Response:
        self.traffic.refused += reply.status == 429
        shown = attrs.evolve(reply, headers=self.limits.visible(reply.headers))
        return send_whole(shown, exchange.headers())

    def _fault_of(self, request: web.Request) -> Fault[Plan]:
        try:
            return self.script.next_fault(request.headers.get("X-Local-Fault"))
        except ValueError as error:
            raise refuse(str(error), code="invalid_value", param="X-Local-Fault") from None

    async def _parameters(self, request: web.Request, exchange: Exchange, received: Received) -> Parameters:
        asked = await self._checked(request, received)
        self.limits.charge(asked.model, asked.n)
        if MODERATED_PHRASE in asked.prompt.lower():
            raise RefusalError(moderation_reply(self._situation(request, exchange, received)))
        return asked

    async def _checked(self, request: web.Request, received: Received) -> Parameters:
        is_edit, form = _is_edit(request), received.form
        require_type(request.headers.get("content-type"), *((FORM, JSON) if is_edit else (JSON,)))
        if form is not None:
            if form.problem is not None:
                raise form.problem
            return self._accept(form.fields, form.pictures)
        if received.value is _NO_JSON:
            raise not_json()
        given = require_object(received.value)
        if not is_edit:
            return self._accept(given, None)
        return await asyncio.get_running_loop().run_in_executor(self.reader, self._accept_references, given)

    def _accept_references(self, given: dict[str, Any]) -> Parameters:
        return self._accept(given, take_references(given, pixels=self._pixels))

    def _accept(self, given: Mapping[str, Any], pictures: GivenPictures | None) -> Parameters:
        model = find_model(given, self.settings)
        check_all = check_legacy if model.generation == "dall-e" else check
        return check_all(given, model, self.settings, pictures)

    async def _paint(self, request: web.Request, exchange: Exchange, asked: Parameters) -> web.StreamResponse:
        plan = exchange.fault.plan
        as_stream = plan.kind == "sse" or (asked.stream and plan.kind != "json")
        encoder = Encoder(
            parameters=asked,
            dialect=plan.dialect,
            created=int(self.settings.now()),
            link=self._link(request, asked, plan),
        )
        renderer = Renderer(
            encoder=encoder,
            studio=self.studio,
            exchange=exchange,
            pace=self.settings.pace,
            sleep=self.settings.sleep,
            as_stream=as_stream,
            partials=asked.partials,
            huge=plan.picture_megabytes,
        )
        answer = Answer(
            request=request,
            exchange=exchange,
            plan=plan,
            gate=self.traffic.gate,
            sleep=self.settings.sleep,
            render=renderer,
            as_stream=as_stream,
            headers=self.limits.headers(),
            keepalive=self.settings.keepalive_comments,
        )
        return await answer.send(_steps(asked, exchange.fault, as_stream=as_stream))

    def _link(self, request: web.Request, asked: Parameters, plan: Plan) -> Link | None:
        """What gives a picture its url, None where pictures come as base64."""
        links = plan.dialect.links or asked.links
        if links is None:
            return None
        origin = _origin(request) if links == "absolute" else ""

        def link(base64: bytes, number: int) -> bytes:
            media_type = _media_type(base64, asked)
            if links == "data":
                return b"data:%s;base64,%s" % (media_type.encode(), base64)
            return (origin + self.shelf.put(Shelved(base64, media_type), number)).encode()

        return link

    def _situation(self, request: web.Request, exchange: Exchange, received: Received) -> Situation:
        return Situation(
            request_id=exchange.request_id,
            authorization=request.headers.get("authorization", ""),
            prompt=str(received.fields.get("prompt", "")),
            model=str(received.fields.get("model", "gpt-image-2")),
            path=request.path,
            port=_address(request)[1],
            now=self.settings.now(),
        )


def _is_edit(request: web.Request) -> bool:
    return request.path.endswith("/edits")


def _address(request: web.Request) -> tuple[str, int]:
    """The address and port the request came to; its Host header may name none that exists."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return (str(name[0]), int(name[1])) if name else ("127.0.0.1", 0)


def _origin(request: web.Request) -> str:
    host, port = _address(request)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _media_type(base64: bytes, asked: Parameters) -> str:
    """What the bytes are, which need not be what was asked for where fixed pictures are served."""
    start = b64decode(base64[:16])
    known = {b"\x89PNG": "png", b"\xff\xd8": "jpeg", b"RIFF": "webp", b"GIF8": "gif"}
    found = [f"image/{name}" for magic, name in known.items() if start.startswith(magic)]
    return found[0] if found else asked.media_type


def _steps(asked: Parameters, fault: Fault[Plan], *, as_stream: bool) -> Steps:
    plan = fault.plan
    frames = normal_steps(asked.partials if as_stream else 0)
    steps: Steps = frames
    if plan.edit is not None and (as_stream or not plan.stream_only):
        steps = plan.edit(frames)
    mark: tuple[Step, ...] = (Text(b"\xef\xbb\xbf"),) if as_stream and plan.dialect.byte_order_mark else ()
    return (*mark, *steps)
