"""The items of a run in economy: started when they are added to a batch at the provider, ended with their outcome.

Invariants: an item's outcome is made after its row is on disk; an item at the provider that is no longer in the input
is still collected, because it is paid for. Rows, images and verdicts are those of any item (`item_runner.py`), but an
interruption or a write error writes no row, as the output can be read again. A batch has a row `creating` before it is
created, `created` when its id is known, and `ended` at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import evolve, field, frozen

from openai_images.batch.folder.image_files import StoredImages
from openai_images.batch.items.models import BatchOptions
from openai_images.batch.items.plan import states_to_send
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import decimal_text
from openai_images.batch.journal.ledger import SubmittedBatch
from openai_images.batch.run.item_runner import ItemRunner, stops_batch
from openai_images.batch.run.item_store import OpenBatch
from openai_images.batch.run.recorder import ItemRecorder
from openai_images.batch.run.run_state import RunState, WorkItem, planned_work
from openai_images.errors import ImagesError
from openai_images.models.outcomes import CallObserver, Failed, Outcome, Succeeded
from openai_images.models.requests import EditRequest, GenerateRequest
from openai_images.models.results import ImageResult


@frozen
class EconomySettings:
    """The parts of a run in economy: `to_send` are keys of `items`."""

    run: RunState
    options: BatchOptions
    items: Mapping[str, ResolvedItem] = field(repr=False)
    to_send: Sequence[str] = field(repr=False)
    opened: OpenBatch = field(repr=False)
    make_thumbnails: Callable[[str], None]


class EconomyObserver(Protocol):
    """The run, as its submitter, watcher and collector see it."""

    def on_start(self, key: str) -> None:
        """Called before an item is sent."""

    async def on_end(self, key: str, error: ImagesError | None) -> None:
        """Called after an item ended with an error, or without one if it was not sent."""

    async def end_item(self, key: str, answer: ImageResult | ImagesError) -> None:
        """Record and emit the outcome of an item."""

    async def wait_for(self, seconds: float, reason: str) -> None:
        """Sleep, showing the reason. Raises if the run is stopped."""

    def is_stopping(self) -> bool:
        """Whether the run is being stopped."""
        ...


class EconomyItems:
    """The items of a run: `work` returns an item's work, `end` ends it once."""

    def __init__(self, settings: EconomySettings) -> None:
        self._settings = settings
        self._run = settings.run
        self._to_send = frozenset(settings.to_send)
        self._work: dict[str, WorkItem] = {}

    def work(self, key: str) -> WorkItem:
        """Return the work of an item."""
        if key not in self._work:
            item = self._settings.items.get(key) or self._removed(key)
            work = planned_work(self._settings.opened, item, self._settings.options, can_send=False)
            self._work[key] = evolve(work, reservation=self._run.submitted.pop(key, None))
        return self._work[key]

    def is_to_send(self, key: str) -> bool:
        """Return whether this run sends an item that was not executed: by its plan, or by its options."""
        if key not in self._settings.items or self._settings.options.cancel:
            return False
        state = self._run.ledger.get(key).state
        return key in self._to_send or state in states_to_send(self._settings.options)

    @property
    def gives_up(self) -> bool:
        """Whether to give up what cannot be found or read at the provider, so that its items count as unknown."""
        return self._settings.options.retry_unknown

    def secrets(self, key: str) -> tuple[str, ...]:
        """Return the texts to redact in an item's errors."""
        item = self._settings.items.get(key)
        return (*(() if item is None else (item.request.prompt,)), *self._run.caller.secrets)

    def replace(self, key: str, work: WorkItem) -> None:
        """Replace the item's work, which has a reservation now."""
        self._work[key] = work

    async def end(self, key: str, answer: ImageResult | ImagesError) -> Outcome:
        """Record and return the outcome of an item."""
        work = self.work(key)
        del self._work[key]
        item = self._settings.items.get(key) or work.item
        try:
            result = await SubmittedItem(self._run, work, answer).run()
        except (ImagesError, OSError) as error:
            return Failed(item.index, key, item.request, error)
        if self._settings.options.thumbnail is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._run.threads, self._settings.make_thumbnails, key)
        return Succeeded(item.index, key, item.request, result)

    def _removed(self, key: str) -> ResolvedItem:
        """Return an item that is no longer in the input; only the digest of its request is known."""
        record = self._run.ledger.get(key)
        request = GenerateRequest("", n=record.image_count - len(record.files) or 1)
        return ResolvedItem(len(self._settings.items), key, request, record.request)


@frozen
class ProviderRows:
    """Writes these rows; each method raises OSError after it has stopped the run."""

    _run: RunState

    async def creating(self, tag: str, input_file_id: str, since: float, items: int) -> SubmittedBatch:
        """Write that a batch will be created from this file; return it from the ledger."""
        fields = {"since": int(since), "input_file_id": input_file_id, "items": items}
        await self._record(tag, "creating", **fields)
        return self._run.ledger.batches[tag]

    async def created(self, batch: SubmittedBatch, batch_id: str) -> None:
        """Write that the batch exists, with its id."""
        await self._record(batch.tag, "created", since=int(batch.since), id=batch_id)

    async def ended(self, tag: str, status: str) -> None:
        """Write that each of its items has an outcome."""
        await self._record(tag, "ended", status=status)

    async def _record(self, tag: str, step: str, **fields: object) -> None:
        row = {"state": "provider_batch", "key": None, "tag": tag, "step": step, **fields}
        try:
            await self._run.record(row, has_images=False)
        except OSError as error:
            self._run.halt(error)
            raise


class SubmittedItem(ItemRunner):
    """One item with its response, to `run` once."""

    def __init__(self, run: RunState, work: WorkItem, answer: ImageResult | ImagesError) -> None:
        super().__init__(run, work, CallObserver())
        self._answer = answer
        self._recorder.is_open = self._recorder.is_repeatable = self._may_have_run = True

    async def _generate(self) -> ImageResult:
        if isinstance(self._answer, ImagesError):
            raise self._answer
        request = self._item.request
        return evolve(self._answer, model=request.model, edited=isinstance(request, EditRequest))

    async def _record_failure(self, error: ImagesError) -> None:
        if stops_batch(error):  # other lines may have images, which are still collected
            self._may_have_run = False
            await self._abandon(error)
        else:
            await super()._record_failure(error)

    async def _abandon(self, error: ImagesError | None = None) -> None:
        if error is not None:
            await super()._abandon(error)


async def record_submitted(run: RunState, work: WorkItem, tag: str, line: int) -> None:
    """Write the `sent` row, which names the batch and the line in its input file.

    Raises OSError after it has stopped the run.
    """
    fields = {
        "stem": work.stem,
        "pictures": work.image_count,
        "attempt": 1,
        "batch": tag,
        "line": line,
        "model": work.item.request.model,
        "estimate": decimal_text(work.item.estimate),
    }
    await ItemRecorder(run, work).record("sent", fields, StoredImages(files=work.kept_files))
