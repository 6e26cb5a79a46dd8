"""Answers the calls of `/v1/files` and `/v1/batches`: checks the key, applies a fault, then runs the action.

Invariants: the key is checked before a body is read; a fault is one of the call's own step. The checks below are those
that files and batches have in common: the time after which a file expires, and the pages of a list.
Must not: know what an action does.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from openai_images.server.batches.batch import ServerBatch
from openai_images.server.faults.calls import CallPlan
from openai_images.server.faults.plan import ReleaseGate
from openai_images.server.faults.queues import is_of_batch
from openai_images.server.faults.statuses import status_reply
from openai_images.server.protocol.error_replies import (
    A_STRING,
    AN_INTEGER,
    Reply,
    RequestRejectedError,
    bad_request,
    check_api_key,
    check_members,
    check_range,
    choice,
    compact_json,
    error_reply,
    require_parameters,
    to_response,
)
from openai_images.server.requests.files import ServerFile
from openai_images.server.requests.state import ActiveRequest, ServerState

MIN_SECONDS: Final = 3600
MAX_SECONDS: Final = 2_592_000
"""Seconds for which a file may be kept: 30 days, also the default for the files of batches."""


@attrs.frozen(kw_only=True)
class ActiveCall:
    """One call being answered."""

    active: ActiveRequest
    plan: CallPlan

    @property
    def request(self) -> web.Request:
        """The request of the call."""
        return self.active.request


Action = Callable[[ActiveCall], Awaitable[dict[str, Any] | web.StreamResponse]]
"""Does what a call requests; returns the JSON of the response, or the response if it was sent."""


def call_handler(state: ServerState, step: str, action: Action) -> Handler:
    """Return the handler of a step; `action` does the work."""

    async def answer(active: ActiveRequest) -> web.StreamResponse:
        unauthorized = check_api_key(active.request, state.settings.api_key)
        if unauthorized is not None:
            raise RequestRejectedError(unauthorized)
        header = active.request.headers.get("X-Local-Fault")
        fault = state.faults.calls[step].next_fault(None if is_of_batch(header) else header)
        state.describe(active.request, fault.name)
        if not fault.plan.is_after:
            await _interfere(fault.plan, active, state.gate)
        result = await action(ActiveCall(active=active, plan=fault.plan))
        if fault.plan.is_after:
            await _interfere(fault.plan, active, state.gate)
        if isinstance(result, dict):
            return to_response(Reply(200, compact_json(result)), active.headers())
        return result

    return state.handler(answer)


async def _interfere(plan: CallPlan, active: ActiveRequest, gate: ReleaseGate) -> None:
    if plan.hold:
        await gate.event.wait()
    if plan.hang_up is not None:
        active.hang_up(plan.hang_up)
        raise ConnectionResetError
    if plan.status is not None:
        raise RequestRejectedError(status_reply(plan.status))


def check_expiry(name: str, value: object) -> int:
    """Return the seconds in `{"anchor": "created_at", "seconds": ...}`, or the 400."""
    present = check_members(name, value, {"anchor": A_STRING, "seconds": AN_INTEGER})
    anchor, seconds = f"{name}.anchor", f"{name}.seconds"
    require_parameters(present, anchor, seconds)
    choice(present, anchor, ("created_at",), "")
    check_range(seconds, present[seconds], MIN_SECONDS, MAX_SECONDS)
    return int(present[seconds])


def page(
    items: Sequence[ServerFile | ServerBatch], query: Mapping[str, str], *, limit: int, most: int
) -> dict[str, Any]:
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
    return {
        "object": "list",
        "data": [item.as_dict() for item in shown],
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": len(ordered) > size,
    }


def no_file(file_id: str, *, status: int = 404, param: str = "id") -> RequestRejectedError:
    """Return the error for a file that does not exist."""
    return RequestRejectedError(error_reply(status, f"No such File object: {file_id[:200]}", param=param))
