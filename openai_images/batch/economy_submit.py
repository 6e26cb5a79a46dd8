"""Puts items into batches at the provider: an input file, its upload, the rows, and then the batch.

Invariants: a file has the requests of one endpoint and one model. Rows are on disk before a batch is created. One of
which it is not known whether it was created is looked for by its tag; it is created again only when the provider's list
shows that it does not exist. An item that does not fit into the budget waits for the costs of the others.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import Protocol

from attrs import define, evolve, field

from openai_images.batch.economy_items import EconomyItems
from openai_images.batch.journal import error_fields
from openai_images.batch.journal_reader import JournalRow
from openai_images.batch.ledger import SubmittedBatch
from openai_images.batch.provider_rows import ProviderRows
from openai_images.batch.recorder import ItemRecorder
from openai_images.batch.run_state import RunState, WorkItem
from openai_images.batch.submitted_item import record_submitted
from openai_images.batch_api.input_file import InputFile, custom_id_of
from openai_images.batch_api.service import BatchService
from openai_images.errors import (
    APIConnectionError,
    ImagesError,
    OutcomeUnknownError,
    RequestInvalidError,
    annotate,
)

_log = logging.getLogger("openai_images")

MAX_ITEMS = 1_000
"""Items of one batch, fewer than the provider takes: their outcomes come earlier, and its output has about 2 GB."""

SETTLE = 120.0
"""Seconds after which a batch that the provider's list does not have was not created: servers and gateways end requests
that take so long."""

Group = tuple[str, str | None]


@define
class _Draft:
    """An input file, and the items in it."""

    file: InputFile
    work: list[WorkItem] = field(factory=list[WorkItem])


class ItemObserver(Protocol):
    """Told of the items that are sent; waits for a run."""

    def on_start(self, key: str) -> None:
        """An item is sent next."""

    async def on_end(self, key: str, error: ImagesError | None) -> None:
        """An item has ended with an error, or without one: it was not sent."""

    async def wait_for(self, seconds: float, reason: str) -> None:
        """Sleep for a reason that is shown."""


class Submitter:
    """`submit` what the budget allows; `resolve` a batch of which it is not known whether it exists."""

    def __init__(
        self, run: RunState, service: BatchService, items: EconomyItems, observer: ItemObserver
    ) -> None:
        self._run = run
        self._service = service
        self._items = items
        self._observer = observer
        self._rows = ProviderRows(run)
        self.queue: deque[str] = deque()
        self.lacks_budget = False

    async def submit(self, *, is_budgeted: bool, is_stopping: Callable[[], bool]) -> None:
        """Send the items of the queue, as far as the budget allows. Raises `ImagesError` and OSError."""
        self.lacks_budget = False
        drafts: dict[Group, _Draft] = {}
        try:
            while self.queue and not is_stopping():
                work = self._items.work(self.queue[0])
                if is_budgeted and work.reservation is None:
                    reservation = self._run.budget.try_reserve(self._run.cost(work.item))
                    if reservation is None:
                        self.lacks_budget = True
                        break
                    work = evolve(work, reservation=reservation)
                    self._items.replace(work.item.key, work)
                self.queue.popleft()
                await self._add(work, drafts)
            for group in list(drafts):
                if not is_stopping():
                    await self._send(drafts.pop(group))
        finally:
            for draft in drafts.values():
                self._drop(draft)

    async def resolve(self, batch: SubmittedBatch) -> bool:
        """Find a batch by its tag; False if it was not created, which is certain then. Raises `ImagesError`."""
        found = await self._service.find(batch.tag, batch.since)
        if not found:
            rest = min(SETTLE, batch.since + SETTLE - self._run.caller.timing.wall())
            if rest > 0:
                reason = f"it is not known whether a batch was created; the provider is asked again in {rest:.0f} s"
                await self._observer.wait_for(rest, reason)
                found = await self._service.find(batch.tag, batch.since)
        if not found:
            return False
        for extra in found[1:]:
            _log.warning("the provider has batch %s twice; %s is cancelled", found[0].id, extra.id)
            await self._service.cancel(extra.id)
        await self._rows.created(batch, found[0].id)
        return True

    async def release(
        self, batch: SubmittedBatch, error: ImagesError | None = None, status: str = "not created"
    ) -> None:
        """Record that no request of the batch was run, and have its items in the queue again. Raises OSError."""
        keys = list(batch.keys)
        message = {"message": f"its batch at the provider was {status}"}
        fields = message if error is None else error_fields(error)
        await asyncio.gather(*(self._release_item(key, fields) for key in keys))
        await self._rows.ended(batch.tag, status)
        self.queue.extendleft(key for key in reversed(keys) if self._items.is_in_input(key))

    async def _release_item(self, key: str, fields: JournalRow) -> None:
        work = self._items.work(key)
        await ItemRecorder(self._run, work).record("refused", fields)
        self._free(work)
        await self._observer.on_end(key, None)

    async def _add(self, work: WorkItem, drafts: dict[Group, _Draft]) -> None:
        """Add an item to the file of its group; one that is full is sent first. Raises as `submit`."""
        request = work.item.request
        group = (request.path, request.model)
        custom_id = custom_id_of(work.item.key)
        try:
            body = await self._run.caller.json_body(request)
            draft = drafts.get(group)
            if draft is None or not await asyncio.to_thread(draft.file.add, custom_id, body):
                if draft is not None:
                    await self._send(drafts.pop(group))
                draft = drafts[group] = _Draft(InputFile(request.path, max_lines=MAX_ITEMS))
                await asyncio.to_thread(draft.file.add, custom_id, body)
        except RequestInvalidError as error:  # an image that cannot be read
            self._observer.on_start(work.item.key)
            await self._observer.on_end(work.item.key, error)
            return
        draft.work.append(work)

    async def _send(self, draft: _Draft) -> None:
        """Create the batch of a file. Raises `ImagesError` and OSError."""
        tag, since = secrets.token_hex(16), self._run.caller.timing.wall()
        try:
            input_file_id = await self._service.upload(draft.file)
        except BaseException:
            self._drop(draft)
            raise
        endpoint = draft.file.endpoint
        draft.file.close()
        for work in draft.work:
            self._observer.on_start(work.item.key)
        batch = await self._rows.creating(tag, since, len(draft.work))
        await asyncio.gather(*(record_submitted(self._run, work, tag) for work in draft.work))
        await self._create(batch, input_file_id, endpoint)

    async def _create(self, batch: SubmittedBatch, input_file_id: str, endpoint: str) -> None:
        """Create a batch whose rows are written; again only if it certainly does not exist. Raises `ImagesError`."""
        failure: ImagesError | None = None
        for _ in range(1 + self._run.caller.retries):
            try:
                created = await self._service.create(input_file_id, endpoint, batch.tag)
            except OutcomeUnknownError as error:
                _log.warning(
                    "it is not known whether a batch was created, so the provider's list is read: %s", error
                )
                failure, batch.since = error, self._run.caller.timing.wall()
                if await self.resolve(batch):
                    return
            except ImagesError as error:
                failure = error
                break
            else:
                await self._rows.created(batch, created.id)
                return
        if isinstance(failure, OutcomeUnknownError):
            msg = f"the provider's list shows that a batch was not created, so nothing is billed for it ({failure})"
            failure = annotate(APIConnectionError(msg), {"safe_to_resend": True})
        await self.release(batch, failure)
        if failure is not None:
            raise failure

    def _drop(self, draft: _Draft) -> None:
        """Forget a file that is not sent: its items stay where they stood."""
        draft.file.close()
        for work in draft.work:
            self._free(work)

    def _free(self, work: WorkItem) -> None:
        self._run.budget.settle(work.reservation, None, ran=False)
        self._items.replace(work.item.key, evolve(work, reservation=None))
