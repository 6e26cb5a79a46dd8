"""Runs batches from validating to their end; every request is checked and answered like a POST.

Invariants: the order of the requests is arbitrary; each is run once and recorded; a batch always ends, unless a fault
holds it; one request and its images are in memory at a time.
Must not: count against the rate limits of POSTs: the API has separate limits for batches.
"""

import asyncio
import errno
import random
from collections.abc import Awaitable, Sequence
from typing import Any, BinaryIO, Final

import attrs

from openai_images.server.batches.batch import (
    GARBAGE,
    LineFile,
    ParsedInput,
    ServerBatch,
    error_line,
    read_request,
    response_line,
)
from openai_images.server.faults.calls import batch_error
from openai_images.server.faults.plan import Dialect, RequestInfo
from openai_images.server.faults.queues import POST_FAULTS, find_fault
from openai_images.server.faults.statuses import moderation_reply
from openai_images.server.images.encoder import Encoder
from openai_images.server.images.handler import ImagesHandler
from openai_images.server.protocol.catalog import served_models
from openai_images.server.protocol.error_replies import (
    JSON_TYPE,
    RequestRejectedError,
    bad_request,
    compact_json,
    new_request_id,
)
from openai_images.server.requests.files import MAX_STORED_BYTES
from openai_images.server.requests.parameters import MODERATED_PHRASE, Parameters
from openai_images.server.requests.records import RecordedBatchRequest
from openai_images.server.requests.state import ServerState

_EXPIRED: Final = "This request could not be executed before the completion window expired."
_CANCELLED: Final = "This request was not executed, as the batch was cancelled."


@attrs.frozen
class Answer:
    """The response to one request: a JSON body with a status, and the tokens of its images."""

    status: int
    body: bytes
    tokens: dict[str, int]


@attrs.define(kw_only=True, eq=False)
class ServerBatchRunner:
    """Runs one batch."""

    state: ServerState
    images: ImagesHandler
    batch: ServerBatch
    _output: LineFile = attrs.field(init=False)
    _errors: LineFile = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._output, self._errors = LineFile(self.state.files), LineFile(self.state.files)

    async def run(self) -> None:
        """Take the batch from `validating` to its end."""
        try:
            await self._run()
        except Exception as error:  # noqa: BLE001  # as in the API: a batch that cannot be run fails
            message = f"The local server could not run the batch: {type(error).__name__}."
            self._fail([batch_error("server_error", message)])
        finally:
            self._output.discard()
            self._errors.discard()

    async def _run(self) -> None:
        batch = self.batch
        if batch.plan.hold:
            await self._until(self.state.gate.event.wait())
            batch.released = self.state.gate.event
        await self._stay()
        if batch.plan.error is not None and not batch.interrupted.is_set():
            self._fail([dict(batch.plan.error)])
            return
        stored = self.state.files.find(batch.input_file_id)
        if stored is None:
            message = f"No such File object: {batch.input_file_id}"
            self._fail([batch_error("file_not_found", message, param="input_file_id")])
            return
        with stored.path.open("rb") as source:
            await self._run_file(source)

    async def _run_file(self, source: BinaryIO) -> None:
        batch = self.batch
        models = served_models(self.state.settings.now(), legacy=self.state.settings.legacy)
        found = ParsedInput(batch.endpoint, models)
        await asyncio.to_thread(found.read, source)
        if found.errors:
            self._fail(found.errors)
            return
        batch.model = found.model
        late = await self._run_requests(source, found)
        end = await self._finish(source, late)
        await self._publish()
        batch.enter(end, self.state.settings.now())

    async def _run_requests(self, source: BinaryIO, found: ParsedInput) -> Sequence[int]:
        """Run requests until the batch is interrupted; return the offsets of those that were not run."""
        batch, order, pace = self.batch, list(found.offsets), self.state.settings.batch_pace
        rng = random.Random(batch.id)  # noqa: S311  # an arbitrary order, not for security
        rng.shuffle(order)
        batch.total = len(order)
        if batch.interrupted.is_set():
            return order
        batch.enter("in_progress", self.state.settings.now())
        last = 0 if batch.plan.expires else len(order) - round(pace.expired * len(order))
        failing = set(rng.sample(range(last), min(last, round(pace.failed * len(order)))))
        started = self.state.settings.clock()
        for index in range(last):
            if pace.requests_per_second is not None:
                wait = started + (index + 1) / pace.requests_per_second - self.state.settings.clock()
                await self._until(self.state.settings.sleep(max(0.0, wait)))
            batch.check_time(self.state.settings.now())
            if batch.interrupted.is_set():
                return order[index:]
            request = await asyncio.to_thread(read_request, source, order[index])
            if self.state.files.nbytes + self._output.nbytes > MAX_STORED_BYTES:
                raise OSError(errno.EDQUOT, "the files of the server are too large")
            answer = await self._answer(request, fails=index in failing)
            await self._write(request, answer)
            if batch.plan.garbage and index == last // 2:
                await self._output.write(GARBAGE)
        if pace.hold:
            await self._stay()
        return order[last:]

    async def _finish(self, source: BinaryIO, late: Sequence[int]) -> str:
        """Go through the last states, list the requests that were not run, and return the batch's final state."""
        batch = self.batch
        cancelled = batch.status == "cancelling"
        if cancelled and batch.plan.holds_cancel:
            await self.state.gate.event.wait()
            batch.released = self.state.gate.event
        if not cancelled:
            batch.enter("finalizing", self.state.settings.now())
        await self._stay(to_its_end=True)
        code, message = ("batch_cancelled", _CANCELLED) if cancelled else ("batch_expired", _EXPIRED)
        for offset in late:
            request = await asyncio.to_thread(read_request, source, offset)
            await self._errors.write(*error_line(request["custom_id"], code, message))
            batch.failed += 1
        return "cancelled" if cancelled else "expired" if late else "completed"

    async def _publish(self) -> None:
        batch = self.batch
        if batch.plan.has_output:
            stored = await self._output.publish(f"{batch.id}_output.jsonl", batch.output_seconds)
            batch.output_file_id = None if stored is None else stored.id
        if batch.plan.has_errors:
            stored = await self._errors.publish(f"{batch.id}_error.jsonl", batch.output_seconds)
            batch.error_file_id = None if stored is None else stored.id

    def _fail(self, errors: list[dict[str, Any]]) -> None:
        """End the batch before any of its requests; a batch in `cancelling` becomes `cancelled`."""
        self.batch.errors = errors
        cancelled = self.batch.status == "cancelling"
        self.batch.enter("cancelled" if cancelled else "failed", self.state.settings.now())

    # One request

    async def _answer(self, request: dict[str, Any], *, fails: bool) -> Answer:
        body = request["body"]
        try:
            parameters = await self.images.check_json(body, is_edit=self.batch.endpoint.endswith("/edits"))
            self._check(body, parameters, fails=fails)
            return await self._paint(parameters)
        except RequestRejectedError as error:
            reply = error.reply
            data = reply.body if reply.content_type == JSON_TYPE else compact_json(reply.body.decode())
            return Answer(reply.status, data, {})

    def _check(self, body: dict[str, Any], parameters: Parameters, *, fails: bool) -> None:
        """Reject what the Batch API does not support, and requests that the safety system or the pace let fail."""
        if parameters.stream:
            message = "Streaming is not supported in the Batch API."
            raise bad_request(message, code="invalid_value", param="stream")
        info = RequestInfo(
            request_id=new_request_id(),
            now=self.state.settings.now(),
            prompt=parameters.prompt,
            model=str(body.get("model", parameters.model.name)),
            path=self.batch.endpoint,
        )
        failure = find_fault(self.state.settings.batch_pace.failure, POST_FAULTS, "POSTs").plan.reply
        if fails and failure is not None:
            raise RequestRejectedError(failure(info))
        if MODERATED_PHRASE in parameters.prompt.lower():
            raise RequestRejectedError(moderation_reply("input", info))

    async def _paint(self, parameters: Parameters) -> Answer:
        parameters = attrs.evolve(parameters, links=None)
        encoder = Encoder(parameters=parameters, dialect=Dialect(), created=int(self.state.settings.now()))
        images = [await self.images.cache.image(parameters, index, None) for index in range(parameters.n)]
        usage = encoder.usage(details=False)
        tokens = {name: usage[name] for name in ("input_tokens", "output_tokens", "total_tokens")}
        return Answer(200, encoder.json_body(images), tokens)

    async def _write(self, request: dict[str, Any], answer: Answer) -> None:
        batch, custom_id = self.batch, request["custom_id"]
        self.state.record(
            RecordedBatchRequest(
                batch_id=batch.id, custom_id=custom_id, json=request["body"], status=answer.status
            )
        )
        batch.tokens.update(answer.tokens)
        file, copies = self._errors, 1
        if answer.status == 200:
            batch.completed += 1
            lacks_line = batch.plan.lacks_line and batch.completed == 1
            file, copies = self._output, 0 if lacks_line else 2 if batch.plan.duplicates else 1
        else:
            batch.failed += 1
        for _ in range(copies):
            await file.write(*response_line(custom_id, answer.status, new_request_id(), answer.body))

    # Waiting

    async def _stay(self, *, to_its_end: bool = False) -> None:
        """Wait as long as a state lasts; an interruption ends the wait, except in the last states."""
        pace = self.state.settings.batch_pace
        if not pace.hold and not pace.seconds_per_state:
            return
        waits = self.batch.released.wait() if pace.hold else self.state.settings.sleep(pace.seconds_per_state)
        if to_its_end:
            await waits
        else:
            await self._until(waits)

    async def _until(self, waits: Awaitable[object]) -> None:
        """Wait for `waits`, or until the batch is interrupted."""
        tasks = [asyncio.ensure_future(waits), asyncio.ensure_future(self.batch.interrupted.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
