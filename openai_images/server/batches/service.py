"""The files and batches of a server: the paths, the calls of `/v1/batches`, and the tasks in which batches run.

Invariants: at most `MAX_BATCHES` are kept; each batch runs in its own task, which ends with the server; a batch is
recorded before the response to its creation.
"""

import asyncio
from functools import partial
from typing import Any, Final

import attrs
from aiohttp import web

from openai_images.server.batches.batch import ENDED, ServerBatch
from openai_images.server.batches.file_calls import MAX_SECONDS, FileCalls, check_expiry, no_file, page
from openai_images.server.batches.runner import ServerBatchRunner
from openai_images.server.faults.calls import BatchFaultPlan
from openai_images.server.faults.queues import is_of_batch
from openai_images.server.images.handler import ImagesHandler
from openai_images.server.protocol.error_replies import (
    JSON_TYPE,
    RequestRejectedError,
    bad_request,
    check_api_key,
    check_length,
    check_names_and_types,
    choice,
    error_reply,
    require_parameters,
    wrong_type,
)
from openai_images.server.requests import request_body
from openai_images.server.requests.state import ActiveRequest, Answer, ServerState

MAX_BATCHES: Final = 2000
"""Maximum number of batches; the API allows as many new batches in an hour."""
ENDPOINTS: Final = ("/v1/images/generations", "/v1/images/edits")
_MAX_BODY_BYTES: Final = 256 * 1024
_MAX_METADATA: Final = 16
_MAX_KEY, _MAX_VALUE = 64, 512
_TYPES: Final = {
    **dict.fromkeys(("input_file_id", "endpoint", "completion_window"), str),
    **dict.fromkeys(("metadata", "output_expires_after"), dict),
}


@attrs.define(kw_only=True, eq=False)
class BatchesHandler:
    """The files and batches of one server that is started."""

    state: ServerState
    images: ImagesHandler
    _batches: dict[str, ServerBatch] = attrs.field(init=False, factory=dict[str, ServerBatch])
    _tasks: set[asyncio.Task[None]] = attrs.field(init=False, factory=set["asyncio.Task[None]"])

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the paths of files and batches; each step has its own faults."""
        files = FileCalls(state=self.state)
        calls: dict[str, tuple[str, str, Answer]] = {
            "file_upload": ("POST", "/v1/files", files.upload),
            "file_list": ("GET", "/v1/files", files.list),
            "file_retrieve": ("GET", "/v1/files/{id}", files.retrieve),
            "file_delete": ("DELETE", "/v1/files/{id}", files.delete),
            "file_content": ("GET", "/v1/files/{id}/content", files.content),
            "batch_create": ("POST", "/v1/batches", self.create),
            "batch_list": ("GET", "/v1/batches", self.list),
            "batch_retrieve": ("GET", "/v1/batches/{id}", self.retrieve),
            "batch_cancel": ("POST", "/v1/batches/{id}/cancel", self.cancel),
        }
        for step, (method, path, action) in calls.items():
            router.add_route(method, path, self.state.handler(partial(self._answer, step, action)))

    async def _answer(
        self, step: str, action: Answer, active: ActiveRequest
    ) -> dict[str, Any] | web.StreamResponse:
        """Check the key, apply a fault of the step, and do what the call requests; bodies are read only then."""
        check_api_key(active.request, self.state.settings.api_key)
        header = active.request.headers.get("X-Local-Fault")
        active.fault = self.state.faults.calls[step].next_fault(None if is_of_batch(header) else header)
        self.state.describe(active.request, active.fault.name)
        if not active.fault.plan.is_after:
            await self.state.interfere(active, {})
        response = await action(active)
        if active.fault.plan.is_after:
            await self.state.interfere(active, {})
        return response

    async def create(self, active: ActiveRequest) -> dict[str, Any]:
        """Answer `POST /v1/batches`."""
        values = await self._read_json(active)
        present = check_names_and_types(values, _TYPES)
        require_parameters(present, "input_file_id", "endpoint", "completion_window")
        choice(present, "completion_window", ("24h",), "24h")
        _check_metadata(present.get("metadata", {}))
        kept = present.get("output_expires_after")
        seconds = MAX_SECONDS if kept is None else check_expiry("output_expires_after", kept)
        file_id = present["input_file_id"]
        stored = self.state.files.find(file_id)
        if stored is None:
            raise no_file(file_id, status=400, param="input_file_id")
        if stored.purpose != "batch":
            message = f"Invalid input file: its purpose must be 'batch', not '{stored.purpose}'."
            raise bad_request(message, code="invalid_value", param="input_file_id")
        if len(self._batches) >= MAX_BATCHES:
            message = f"Rate limit reached for batches: Limit {MAX_BATCHES:,}."
            raise RequestRejectedError(error_reply(429, message, "requests", code="rate_limit_exceeded"))
        now = self.state.settings.now()
        fault = self.state.faults.next_of_batch(active.request.headers.get("X-Local-Fault"))
        if fault.plan != BatchFaultPlan():
            self.state.describe(active.request, fault.name)
        batch = ServerBatch(
            endpoint=choice(present, "endpoint", ENDPOINTS, ""),
            input_file_id=file_id,
            metadata=present.get("metadata"),
            output_seconds=seconds,
            plan=fault.plan,
            created_at=int(now),
            expires_at=now + self.state.settings.batch_pace.window,
            gate=self.state.gate,
        )
        created = batch.as_dict()
        self._start(batch)
        return created

    async def retrieve(self, active: ActiveRequest) -> dict[str, Any]:
        """Answer `GET /v1/batches/{id}`."""
        return self._find(active).as_dict()

    async def list(self, active: ActiveRequest) -> dict[str, Any]:
        """Answer `GET /v1/batches` with the newest first."""
        listed = [batch for batch in self._batches.values() if batch.is_listed]
        for batch in listed:
            batch.check_time(self.state.settings.now())
        query = {name: value for name, value in active.request.query.items() if name != "order"}
        return page(listed, query, limit=20, most=100)

    async def cancel(self, active: ActiveRequest) -> dict[str, Any]:
        """Answer `POST /v1/batches/{id}/cancel`."""
        batch = self._find(active)
        if batch.status in ENDED or batch.status == "finalizing":
            message = f"Cannot cancel a batch with status '{batch.status}'."
            raise RequestRejectedError(error_reply(409, message))
        if batch.status != "cancelling":
            batch.enter("cancelling", self.state.settings.now())
            batch.interrupted.set()
        return batch.as_dict()

    def clear(self) -> None:
        """Stop all batches in their present state; forget them and all files."""
        for task in self._tasks:
            task.cancel()
        self._batches.clear()
        self.state.files.clear()

    async def aclose(self) -> None:
        """End all batches and remove all files."""
        tasks = tuple(self._tasks)
        self.clear()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.state.files.clear()

    def _start(self, batch: ServerBatch) -> None:
        self._batches[batch.id] = batch
        self.state.batches.append(batch.record)
        works = [ServerBatchRunner(state=self.state, images=self.images, batch=batch).run()]
        if batch.plan.is_unlisted:
            batch.is_listed = False
            works.append(self._list_later(batch))
        for work in works:
            task = asyncio.get_running_loop().create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _list_later(self, batch: ServerBatch) -> None:
        await self.state.gate.event.wait()
        batch.is_listed = True

    def _find(self, active: ActiveRequest) -> ServerBatch:
        batch_id = active.request.match_info["id"]
        batch = self._batches.get(batch_id)
        if batch is None:
            message = f"No batch found with id '{batch_id[:200]}'."
            raise RequestRejectedError(error_reply(404, message))
        batch.check_time(self.state.settings.now())
        return batch

    async def _read_json(self, active: ActiveRequest) -> dict[str, Any]:
        request_body.require_type(active.request.headers.get("content-type"), JSON_TYPE)
        chunks = request_body.BodyChunks(active.request, self.state.settings.body_timeout, _MAX_BODY_BYTES)
        body = await request_body.read_body(chunks)
        try:
            return request_body.require_object(request_body.parse(body))
        except ValueError:
            raise request_body.not_json() from None


def _check_metadata(metadata: dict[str, Any]) -> None:
    if len(metadata) > _MAX_METADATA:
        message = (
            f"Invalid 'metadata': expected at most {_MAX_METADATA} pairs, but got {len(metadata)} instead."
        )
        raise bad_request(message, code="object_above_max_properties", param="metadata")
    for key, value in metadata.items():
        check_length("metadata", key, _MAX_KEY)
        if not isinstance(value, str):
            raise wrong_type(f"metadata.{key}", "a string", value)
        check_length(f"metadata.{key}", value, _MAX_VALUE)
