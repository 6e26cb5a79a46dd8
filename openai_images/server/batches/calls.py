"""Answers the calls of `/v1/files` and `/v1/batches`: checks the key, applies a fault, then runs the action.

Invariants: the key is checked before a body is read; a fault is one of the call's own step.
Must not: know what an action does.
"""

from collections.abc import Awaitable, Callable

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from openai_images.server.delivery import hang_up, open_transport
from openai_images.server.error_replies import Reply, RequestRejectedError, check_api_key, to_response
from openai_images.server.faults.batches import CallPlan
from openai_images.server.faults.plan import Fault
from openai_images.server.faults.queues import FaultQueues, is_of_batch
from openai_images.server.faults.statuses import status_reply
from openai_images.server.state import ActiveRequest, ServerSettings, ServerState


@attrs.frozen(kw_only=True)
class Call:
    """One call being answered."""

    request: web.Request
    active: ActiveRequest
    plan: CallPlan

    def respond(self, reply: Reply) -> web.Response:
        """Return the response with the common headers."""
        return to_response(reply, self.active.headers())


Action = Callable[[Call], Awaitable[web.StreamResponse]]


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
        response = await action(Call(request=request, active=active, plan=plan))
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
