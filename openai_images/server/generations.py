"""Answers `POST /v1/images/generations`: key, body, fault, parameters, limits, picture, in that order.

Rules: the key is checked before a fault is taken, so that a stranger uses none up; a fault that replaces the whole
answer also replaces the checks; JSON or stream is decided by `stream` in the body alone, as the official clients send
`Accept: application/json` with both. It refuses to hold state: that is in `Traffic`, `Script` and `RateLimits`.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import attrs
from aiohttp import web

from openai_images.server.answer import Answer, hang_up, open_transport
from openai_images.server.body import parse_leniently, parse_object, read_body, require_json_type
from openai_images.server.encode import Encoder
from openai_images.server.faults import Fault, Situation, moderation_reply
from openai_images.server.limits import RateLimits
from openai_images.server.paint import Studio
from openai_images.server.parameters import MODERATED_PHRASE, Parameters, check
from openai_images.server.rendering import Renderer
from openai_images.server.replies import RefusalError, Reply, invalid_key, missing_key, refuse
from openai_images.server.script import Script
from openai_images.server.steps import Step, Steps, Text, normal_steps
from openai_images.server.traffic import Exchange, RecordedRequest, Traffic


@attrs.frozen(kw_only=True)
class Conduct:
    """How a server behaves; its options in one value."""

    api_key: str
    pace: float
    keepalive: float | None
    max_body_bytes: int
    clock: Callable[[], float]
    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]


@attrs.frozen(kw_only=True)
class Generations:
    """The handler of one server."""

    conduct: Conduct
    traffic: Traffic
    script: Script
    limits: RateLimits
    studio: Studio

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
        if stranger is None:
            exchange.fault = self._fault_of(request)
        body = await read_body(
            request.content.iter_any(), request.content_length, self.conduct.max_body_bytes
        )
        self.traffic.met[id(request)] = exchange.fault.name
        self._record(request, exchange.fault, body)
        if stranger is not None:
            raise RefusalError(stranger)
        plan = exchange.fault.plan
        if plan.delay:
            await self.conduct.sleep(plan.delay)
        if plan.hold:
            await self.traffic.gate.wait()
        if plan.hang_up is not None:
            hang_up(exchange, open_transport(request), plan.hang_up)
            return web.Response()
        if plan.reply is not None:
            raise RefusalError(plan.reply(self._situation(request, exchange, body)))
        return await self._paint(request, exchange, self._parameters(request, exchange, body))

    def _refuse(self, reply: Reply, exchange: Exchange) -> web.Response:
        self.traffic.refused += reply.status == 429
        shown = attrs.evolve(reply, headers=self.limits.visible(reply.headers))
        return send_whole(shown, exchange.headers())

    def _fault_of(self, request: web.Request) -> Fault:
        try:
            return self.script.next_fault(request.headers.get("X-Local-Fault"))
        except ValueError as error:
            raise refuse(str(error), code="invalid_value", param="X-Local-Fault") from None

    def _record(self, request: web.Request, fault: Fault, body: bytes) -> None:
        peer = request.transport.get_extra_info("peername") if request.transport else None
        self.traffic.record(
            RecordedRequest(
                method=request.method,
                path=request.path,
                headers=request.headers,
                body=body,
                json=parse_leniently(body),
                peer_port=peer[1] if peer else None,
                fault=fault.name,
            )
        )

    def _parameters(self, request: web.Request, exchange: Exchange, body: bytes) -> Parameters:
        require_json_type(request.headers.get("content-type"))
        asked = check(parse_object(body))
        self.limits.charge(asked.model, asked.n)
        if MODERATED_PHRASE in asked.prompt.lower():
            raise RefusalError(moderation_reply(self._situation(request, exchange, body)))
        return asked

    async def _paint(self, request: web.Request, exchange: Exchange, asked: Parameters) -> web.StreamResponse:
        plan = exchange.fault.plan
        as_stream = plan.kind == "sse" or (asked.stream and plan.kind != "json")
        encoder = Encoder(parameters=asked, dialect=plan.dialect, created=int(self.conduct.now()))
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

    def _situation(self, request: web.Request, exchange: Exchange, body: bytes) -> Situation:
        given: Any = parse_leniently(body)
        fields = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        return Situation(
            request_id=exchange.request_id,
            authorization=request.headers.get("authorization", ""),
            prompt=str(fields.get("prompt", "")),
            model=str(fields.get("model", "gpt-image-2")),
            port=_port(request),
            now=self.conduct.now(),
        )


def _port(request: web.Request) -> int:
    """The port the request came to; its Host header may name none that exists."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return int(name[1]) if name else 0


def _steps(asked: Parameters, fault: Fault, *, as_stream: bool) -> Steps:
    plan = fault.plan
    frames = normal_steps(asked.partials if as_stream else 0)
    steps: Steps = frames
    if plan.edit is not None and (as_stream or not plan.stream_only):
        steps = plan.edit(frames)
    mark: tuple[Step, ...] = (Text(b"\xef\xbb\xbf"),) if as_stream and plan.dialect.byte_order_mark else ()
    return (*mark, *steps)


def refuse_stranger(request: web.Request, api_key: str) -> Reply | None:
    """The 401 for a request without the right key, or None."""
    given = request.headers.get("authorization")
    if given is None:
        return missing_key()
    scheme, _, key = given.partition(" ")
    right = hmac.compare_digest(key.strip().encode("utf-8", "replace"), api_key.encode())
    return None if scheme.lower() == "bearer" and right else invalid_key(key.strip())


def send_whole(reply: Reply, common: Mapping[str, str]) -> web.Response:
    """A reply as a response, with the common headers."""
    headers = {"content-type": reply.content_type, **common, **reply.headers}
    return web.Response(status=reply.status, body=reply.body, headers=headers)
