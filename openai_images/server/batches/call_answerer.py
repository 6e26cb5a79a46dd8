"""Answers the calls of `/v1/files` and `/v1/batches`: checks the key, applies a fault, then runs the action.

Invariants: the key is checked before a body is read; a fault is one of the call's own step. The checks below are those
that files and batches have in common: the time after which a file expires, and the pages of a list.
Must not: know what an action does.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from openai_images.server.faults.batches import CallPlan
from openai_images.server.faults.plan import Fault
from openai_images.server.faults.queues import FaultQueues, is_of_batch
from openai_images.server.faults.statuses import status_reply
from openai_images.server.images.delivery import hang_up, open_transport
from openai_images.server.protocol.error_replies import (
    Reply,
    RequestRejectedError,
    bad_request,
    check_api_key,
    check_names_and_types,
    check_range,
    choice,
    compact_json,
    error_reply,
    missing_parameter,
    to_response,
    wrong_type,
)
from openai_images.server.requests.settings import ServerSettings
from openai_images.server.requests.state import ActiveRequest, ServerState

MIN_SECONDS: Final = 3600
MAX_SECONDS: Final = 2_592_000
"""Seconds for which a file may be kept: 30 days, also the default for the files of batches."""


@attrs.frozen(kw_only=True)
class ActiveCall:
    """One call being answered."""

    request: web.Request
    active: ActiveRequest
    plan: CallPlan

    def respond(self, reply: Reply) -> web.Response:
        """Return the response with the common headers."""
        return to_response(reply, self.active.headers())


Action = Callable[[ActiveCall], Awaitable[web.StreamResponse]]


@attrs.frozen(kw_only=True)
class CallAnswerer:
    """Answers the calls of one server."""

    settings: ServerSettings
    state: ServerState
    faults: FaultQueues

    def handler(self, step: str, action: Action) -> Handler:
        """Return the handler of a step; `action` does the work."""

        async def handle(request: web.Request) -> web.StreamResponse:
            active = ActiveRequest(clock=self.settings.clock, connection=request.transport)
            try:
                with self.state.track(active):
                    return await self._answer(step, action, request, active)
            except RequestRejectedError as error:
                self.state.refused += error.reply.status == 429
                return to_response(error.reply, active.headers())
            except ConnectionError:
                # The client has disconnected: aiohttp would log the error, but drops a response silently.
                return web.Response()

        return handle

    async def _answer(
        self, step: str, action: Action, request: web.Request, active: ActiveRequest
    ) -> web.StreamResponse:
        unauthorized = check_api_key(request, self.settings.api_key)
        if unauthorized is not None:
            raise RequestRejectedError(unauthorized)
        plan = self._next_fault(step, request).plan
        if not plan.is_after:
            await self._interfere(plan, request, active)
        response = await action(ActiveCall(request=request, active=active, plan=plan))
        if plan.is_after:
            await self._interfere(plan, request, active)
        return response

    def _next_fault(self, step: str, request: web.Request) -> Fault[CallPlan]:
        header = request.headers.get("X-Local-Fault")
        fault = self.faults.calls[step].next_fault(None if is_of_batch(header) else header)
        self.state.faults_by_request[id(request)] = fault.name
        self.state.recent.describe(request, {}, fault.name)
        return fault

    async def _interfere(self, plan: CallPlan, request: web.Request, active: ActiveRequest) -> None:
        if plan.hold:
            await self.state.gate.event.wait()
        if plan.hang_up is not None:
            hang_up(active, open_transport(request), plan.hang_up)
            raise ConnectionResetError
        if plan.status is not None:
            raise RequestRejectedError(status_reply(plan.status))


class ListItem(Protocol):
    """An item of a list."""

    @property
    def id(self) -> str:
        """Its id, which a cursor refers to."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return its object in the API's form."""
        ...


T = TypeVar("T", bound=ListItem)


def check_expiry(name: str, value: object) -> int:
    """Return the seconds in `{"anchor": "created_at", "seconds": ...}`, or the 400."""
    if not isinstance(value, dict):
        wrong_type(name, "an object", value)
    fields = {f"{name}.{key}": field for key, field in cast("dict[str, Any]", value).items()}
    anchor, seconds = f"{name}.anchor", f"{name}.seconds"
    present = check_names_and_types(fields, {anchor: ("a string", str), seconds: ("an integer", int)})
    for field in (anchor, seconds):
        if field not in present:
            raise missing_parameter(field)
    choice(present, anchor, ("created_at",), "")
    check_range(seconds, present[seconds], MIN_SECONDS, MAX_SECONDS)
    return int(present[seconds])


def page(items: Sequence[T], query: Mapping[str, str], *, limit: int, most: int) -> Reply:
    """Return the page that `after`, `limit` and `order` of `query` select; the newest items are last in `items`."""
    text = query.get("limit", str(limit))
    if not text.isascii() or not text.isdigit():
        raise bad_request(
            "Invalid type for 'limit': expected an integer.", code="invalid_type", param="limit"
        )
    size = int(text[:10])
    check_range("limit", size, 1, most)
    ordered = list(items) if query.get("order", "desc") == "asc" else list(reversed(items))
    if (after := query.get("after")) is not None:
        ids = [item.id for item in ordered]
        if after not in ids:
            raise bad_request(
                f"Invalid 'after': no object with id '{after[:200]}'.", code=None, param="after"
            )
        ordered = ordered[ids.index(after) + 1 :]
    shown = ordered[:size]
    body = {
        "object": "list",
        "data": [item.as_dict() for item in shown],
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": len(ordered) > size,
    }
    return Reply(200, compact_json(body))


def no_file(file_id: str, *, status: int = 404, param: str = "id") -> RequestRejectedError:
    """Return the error for a file that does not exist."""
    return RequestRejectedError(error_reply(status, f"No such File object: {file_id[:200]}", param=param))
