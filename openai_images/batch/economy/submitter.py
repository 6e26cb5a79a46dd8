"""Creates batches at the provider: the input file, its upload, the rows, then the batch.

Invariants: a file has requests of one endpoint and one model; rows are on disk before a batch is created; if it is
unknown whether a batch was created, it is searched by its tag and file, and created again only if the project has the
file and its list lacks the batch twice, two minutes apart by the monotonic clock; an item that was not executed is sent
again only if this run is configured to; an item that does not fit into the budget waits for the costs of the others.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque

from attrs import define, evolve, field

from openai_images._util.stop_signal import StoppedError
from openai_images._util.waits import describe_end
from openai_images.batch.economy.economy_run import EconomyRun
from openai_images.batch.journal.journal import error_fields
from openai_images.batch.journal.journal_reader import JournalRow
from openai_images.batch.journal.ledger import SubmittedBatch
from openai_images.batch.provider.files import InputFile, custom_id_of, endpoint_of
from openai_images.batch.provider.provider_batch import ProviderBatch
from openai_images.batch.provider.service import BatchService
from openai_images.batch.run.recorder import ItemRecorder
from openai_images.batch.run.run_state import WorkItem
from openai_images.errors import (
    APIConnectionError,
    BadRequestError,
    ImagesError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RequestInvalidError,
    StatusOutcomeUnknownError,
    annotate,
)
from openai_images.wire.requests import CompositeBody

_log = logging.getLogger("openai_images")

MAX_ITEMS = 1_000
"""Items per batch, fewer than the provider allows: outcomes arrive earlier, and the output is at most about 2 GB."""

SETTLE = 120.0
"""Seconds after which a batch that is not in the provider's list was not created: servers abort longer requests."""

_REFUSALS = (BadRequestError, NotFoundError, PermissionDeniedError)
"""Errors of creating a batch that may concern only the model."""

Group = tuple[str, str | None]


@define
class _Draft:
    """An input file and its items."""

    file: InputFile
    work: list[WorkItem] = field(factory=list[WorkItem])


class Submitter:
    """Sends items: `submit` what the budget allows, `resolve` a batch that may or may not exist."""

    def __init__(self, run: EconomyRun, service: BatchService) -> None:
        self._run = run
        self._state = run.state
        self._service = service
        self.queue: deque[str] = deque()
        self.lacks_budget = False
        self.is_closed = False
        """Whether nothing more is sent."""
        self._refused: dict[Group, ImagesError] = {}

    @property
    def refusal(self) -> ImagesError | None:
        """The error with which the provider rejected a model's batch, whose items are left for another run."""
        return next(iter(self._refused.values()), None)

    async def submit(self) -> None:
        """Send the items of the queue, as far as the budget allows. Raises `ImagesError` and OSError."""
        if self.is_closed:
            return
        self.lacks_budget = False
        is_budgeted = self._state.options.budget is not None
        drafts: dict[Group, _Draft] = {}
        try:
            while self.queue and not self._run.is_stopping:
                work = self._run.work(self.queue[0])
                if is_budgeted and work.reservation is None:
                    reservation = self._state.budget.try_reserve(self._state.cost(work.item))
                    if reservation is None:
                        self.lacks_budget = True
                        break
                    work = evolve(work, reservation=reservation)
                    self._run.replace(work)
                self.queue.popleft()
                await self._add(work, drafts)
            for group in list(drafts):
                if not self._run.is_stopping:
                    await self._send(group, drafts.pop(group))
        finally:
            for draft in drafts.values():
                self._drop(draft)

    async def resolve(self, batch: SubmittedBatch, *, is_own: bool = False) -> bool:
        """Find a batch whose id is not known; return False if it was certainly not created.

        A batch of another key or project is given up with `retry_unknown`, unless this run created it (`is_own`).
        Raises `ImagesError`.
        """
        if await self._find(batch):
            return True
        if not batch.input_file_id or not await self._service.has_file(batch.input_file_id):
            if is_own or not self._run.gives_up:
                file = f"have its input file {batch.input_file_id}" if batch.input_file_id else "list it"
                msg = (
                    f"it is not known whether a batch was created, because this key does not {file}: use the key "
                    "and project of its creation; retry_unknown gives it up, and counts its items as unknown"
                )
                raise NotFoundError(msg, status_code=404)
            await self._give_up(batch)
            return True
        until = describe_end(SETTLE, self._state.caller.timing.wall())
        reason = f"it is not known whether a batch was created: its list is read again after a wait, {until}"
        await self._run.wait_for(SETTLE, reason)
        self._run.end_wait()
        return await self._find(batch)

    async def _find(self, batch: SubmittedBatch) -> bool:
        found = await self._service.find(batch.tag, batch.since, batch.input_file_id)
        if not found:
            return False
        best = min(found, key=lambda each: (each.has_failed, -(each.completed or 0)))
        batch.since = batch.since or best.created_at or self._state.caller.timing.wall()
        await self._record_created(batch, best.id)
        for extra in found:
            if extra is not best and (extra.completed or not extra.is_ended):
                await self._cancel_extra(best, extra)
        return True

    async def _record_created(self, batch: SubmittedBatch, batch_id: str) -> None:
        await self._run.record_batch(batch.tag, "created", since=int(batch.since), id=batch_id)

    async def _cancel_extra(self, batch: ProviderBatch, extra: ProviderBatch) -> None:
        if extra.is_ended:
            msg = "the provider has batch %s twice; %s has run, too, and is billed; its files stay there for 30 days"
            _log.warning(msg, batch.id, extra.id)
            return
        _log.warning("the provider has batch %s twice; %s is cancelled", batch.id, extra.id)
        try:
            await self._service.cancel(extra.id)
        except ImagesError as error:  # it may have just ended
            _log.warning("batch %s was not cancelled: %s", extra.id, error)

    async def _give_up(self, batch: SubmittedBatch) -> None:
        """Record the items of a batch that may exist in another project as unknown. Raises OSError."""
        for key in list(batch.keys):
            msg = "it is not known whether its batch was created; it may have been billed"
            await self._run.end_item(key, StatusOutcomeUnknownError(msg))
        await self._run.record_batch(batch.tag, "ended", status="gone")

    async def release(self, batch: SubmittedBatch, status: str = "not created") -> None:
        """Record that no request of the batch was executed, and queue those to send again. Raises OSError."""
        keys = list(batch.keys)
        await self._record_not_run(batch, {"message": f"its batch at the provider was {status}"}, status)
        self.queue.extendleft(key for key in reversed(keys) if self._run.is_to_send(key))

    async def _record_not_run(self, batch: SubmittedBatch, fields: JournalRow, status: str) -> None:
        await asyncio.gather(*(self._release_item(key, fields) for key in list(batch.keys)))
        await self._run.record_batch(batch.tag, "ended", status=status)

    async def _release_item(self, key: str, fields: JournalRow) -> None:
        work = self._run.work(key)
        await ItemRecorder(self._state, work).record("refused", fields)
        self._free(work)
        self._run.drop_item(key)

    async def _add(self, work: WorkItem, drafts: dict[Group, _Draft]) -> None:
        """Add an item to the file of its group; a full file is sent first. Raises as `submit` does."""
        request = work.item.request
        group = (request.path, request.model)
        custom_id = custom_id_of(work.item.key)
        try:
            body = await self._state.caller.json_body(request)
            draft = drafts.get(group)
            if draft is not None and not await asyncio.to_thread(draft.file.add, custom_id, body):
                await self._send(group, drafts.pop(group))
                draft = None
            if group in self._refused:
                self._free(work)
                return
            if draft is None:
                draft = drafts[group] = await asyncio.to_thread(
                    self._new_draft, request.path, custom_id, body
                )
        except RequestInvalidError as error:  # an unreadable image, or a request that is too large
            self._run.start_item(work.item.key)
            await self._run.end_item(work.item.key, error)
            return
        draft.work.append(work)

    def _new_draft(self, path: str, custom_id: str, body: bytes | CompositeBody) -> _Draft:
        """Return a file with one line. Blocks. Raises OSError and `RequestInvalidError`."""
        draft = _Draft(InputFile(path, self._state.root, max_lines=MAX_ITEMS))
        try:
            draft.file.add(custom_id, body)
        except BaseException:
            draft.file.close()
            raise
        return draft

    async def _send(self, group: Group, draft: _Draft) -> None:
        """Upload a file and create its batch. Raises `ImagesError` and OSError."""
        try:
            input_file_id = await self._service.upload(draft.file)
        except BaseException:
            self._drop(draft)
            raise
        if self._run.is_stopping:
            self._drop(draft)
            return
        draft.file.close()
        for work in draft.work:
            self._run.start_item(work.item.key)
        tag, since, count = secrets.token_hex(16), int(self._state.caller.timing.wall()), len(draft.work)
        await self._run.record_batch(tag, "creating", since=since, input_file_id=input_file_id, items=count)
        recorders = [ItemRecorder(self._state, work) for work in draft.work]
        await asyncio.gather(
            *(recorder.record_sent(1, batch=tag, line=line) for line, recorder in enumerate(recorders, 1))
        )
        await self._create(self._state.ledger.batches[tag], group)

    async def _create(self, batch: SubmittedBatch, group: Group) -> None:
        """Create a batch after its rows; try again only if it certainly does not exist. Raises `ImagesError`."""
        failure: ImagesError | None = None
        for _ in range(1 + self._state.caller.retries):
            try:
                created = await self._service.create(batch.input_file_id, endpoint_of(group[0]), batch.tag)
            except StoppedError:
                fields: JournalRow = {"message": "the run was stopped before its batch was created"}
                await self._record_not_run(batch, fields, "not created")
                raise
            except OutcomeUnknownError as error:
                _log.warning(
                    "it is not known whether a batch was created; reading the provider's list: %s", error
                )
                failure = error
                if await self.resolve(batch, is_own=True):
                    return
            except ImagesError as error:
                failure = error
                break
            else:
                await self._record_created(batch, created.id)
                return
        if isinstance(failure, OutcomeUnknownError):
            msg = f"the provider's list shows that a batch was not created, so nothing is billed for it ({failure})"
            failure = annotate(APIConnectionError(msg), {"safe_to_resend": True})
        if failure is None:  # impossible after the loop
            return
        await self._record_not_run(batch, error_fields(failure), "not created")
        if not isinstance(failure, _REFUSALS):
            raise failure
        _log.warning("the provider accepts no batch of model %s: %s", group[1], failure)
        self._refused[group] = failure

    def _drop(self, draft: _Draft) -> None:
        """Discard a file that is not sent; the state of its items does not change."""
        draft.file.close()
        for work in draft.work:
            self._free(work)

    def _free(self, work: WorkItem) -> None:
        self._state.budget.settle(work.reservation, None, ran=False)
        self._run.replace(evolve(work, reservation=None))
