"""Answers `POST /v1/images/generations` and `/edits`: key, body, fault, parameters, limits, picture, in that order.

Rules: the key is checked before a body is read or a fault is taken, so that a stranger costs nothing; a fault that
replaces the whole answer also replaces the checks; JSON or stream is decided by `stream` in the body alone, as the
official clients send `Accept: application/json` with both. It refuses to hold state: that is in `Traffic`, `Scripts`
and `RateLimits`.
"""

from base64 import b64decode
from collections.abc import Awaitable, Callable

import attrs
from aiohttp import web

from openai_images.server.delivery import Answer, Renderer, hang_up, open_transport
from openai_images.server.downloads import Shelf, Shelved
from openai_images.server.encoder import Encoder, Link
from openai_images.server.error_replies import (
    RefusalError,
    Reply,
    refuse,
    refuse_stranger,
    send_whole,
)
from openai_images.server.faults import Fault, Plan, Situation, moderation_reply
from openai_images.server.faults.plan import Step, Steps, Text, normal_steps
from openai_images.server.paint import Studio
from openai_images.server.parameters import MODERATED_PHRASE, Parameters
from openai_images.server.rate_limits import RateLimits
from openai_images.server.received import Received, Reception
from openai_images.server.state import Exchange, Script, Traffic


@attrs.frozen(kw_only=True)
class Conduct:
    """How a server behaves; its options in one value."""

    api_key: str
    pace: float
    keepalive: float | None
    clock: Callable[[], float]
    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]


@attrs.frozen(kw_only=True)
class ImagesEndpoint:
    """The handler of one server."""

    conduct: Conduct
    reception: Reception
    traffic: Traffic
    script: Script[Plan]
    limits: RateLimits
    studio: Studio
    shelf: Shelf

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one request."""
        exchange = Exchange(clock=self.conduct.clock, connection=request.transport)
        try:
            with self.traffic.answering(exchange):
                return await self._answer(request, exchange)
        except RefusalError as refusal:
            return self._refuse(refusal.reply, exchange)
        except ConnectionError:
            # The client has gone: aiohttp would log the error, and drops a response without a word.
            return web.Response()

    async def _answer(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        stranger = refuse_stranger(request, self.conduct.api_key)
        if stranger is not None:
            self.traffic.record(Received(reception=self.reception).record(request, exchange.fault))
            raise RefusalError(stranger)
        exchange.fault = self._fault_of(request)
        plan = exchange.fault.plan
        received = await self.reception.receive(request, looks=plan.reply is None and plan.hang_up is None)
        self.traffic.met[id(request)] = exchange.fault.name
        self.traffic.record(received.record(request, exchange.fault))
        if plan.delay:
            await self.conduct.sleep(plan.delay)
        if plan.hold:
            await self.traffic.gate.wait()
        if plan.hang_up is not None:
            hang_up(exchange, open_transport(request), plan.hang_up)
            return web.Response()
        if plan.reply is not None:
            raise RefusalError(plan.reply(self._situation(request, exchange, received)))
        return await self._paint(request, exchange, await self._parameters(request, exchange, received))

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
        asked = await received.parameters(request.headers.get("content-type"))
        self.limits.charge(asked.model, asked.n)
        if MODERATED_PHRASE in asked.prompt.lower():
            raise RefusalError(moderation_reply(self._situation(request, exchange, received)))
        return asked

    async def _paint(self, request: web.Request, exchange: Exchange, asked: Parameters) -> web.StreamResponse:
        plan = exchange.fault.plan
        as_stream = plan.kind == "sse" or (asked.stream and plan.kind != "json")
        encoder = Encoder(
            parameters=asked,
            dialect=plan.dialect,
            created=int(self.conduct.now()),
            link=self._link(request, asked, plan),
        )
        renderer = Renderer(
            encoder=encoder,
            studio=self.studio,
            exchange=exchange,
            pace=self.conduct.pace,
            sleep=self.conduct.sleep,
            as_stream=as_stream,
            partials=asked.partials,
            huge=plan.picture_megabytes,
        )
        answer = Answer(
            request=request,
            exchange=exchange,
            plan=plan,
            gate=self.traffic.gate,
            sleep=self.conduct.sleep,
            render=renderer,
            as_stream=as_stream,
            headers=self.limits.headers(),
            keepalive=self.conduct.keepalive,
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
            now=self.conduct.now(),
        )


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
