"""The items of a run in economy: started when they are added to a batch at the provider, ended with their outcome.

Invariants: an item's outcome is made after its row is on disk; an item at the provider that is no longer in the input
is still collected, because it is paid for. Rows, images and verdicts are those of any item (`item_runner.py`), but an
interruption or a write error writes no row, as the output can be read again. A batch has a row `creating` before it is
created, `created` when its id is known, and `ended` at the end.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence

from attrs import evolve

from openai_images._util.stop_signal import StopSignal
from openai_images.batch.items.plan import states_to_send
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.run.item_runner import ItemRunner
from openai_images.batch.run.run_state import RunState, WorkItem, planned_work
from openai_images.batch.run.verdicts import stops_batch
from openai_images.errors import (
    AuthenticationError,
    DownloadError,
    ImagesError,
    QuotaExhaustedError,
    StoppedBeforeSendError,
)
from openai_images.many.items import RequestItem, RunOptions, Send
from openai_images.many.runner import Runner
from openai_images.models.image import Image
from openai_images.models.outcomes import CallObserver, Failed, Outcome, Progress, Succeeded
from openai_images.models.requests import EditRequest, GenerateRequest
from openai_images.models.results import ImageResult

_log = logging.getLogger("openai_images")


class EconomyRun(Runner):
    """The items and the waits of a run, for its steps: each item is started, then ended or dropped."""

    def __init__(
        self,
        requests: Iterable[object] | AsyncIterable[object],
        send: Send,
        options: RunOptions,
        state: RunState,
        make_thumbnails: Callable[[str], Awaitable[None]],
    ) -> None:
        plan = state.opened.plan
        count = len(set(plan.to_send) - set(plan.to_fetch))
        count += sum(len(batch.keys) for batch in state.ledger.batches.values())
        super().__init__(requests, send, evolve(options, total=(options.total or 0) + count))
        self.state = state
        self.error: ImagesError | None = None
        """The first error after which nothing more is sent; it is raised after all batches are collected."""
        self._make_thumbnails = make_thumbnails
        self._items = {item.key: item for item in state.opened.items}
        self._to_send = frozenset(state.opened.plan.to_send)
        self._work: dict[str, WorkItem] = {}
        self._tickets: dict[str, int] = {}
        self._wait_reason: str | None = None
        self._logged = set[str]()
        self.stopping = StopSignal()

    @property
    def is_stopping(self) -> bool:
        """Whether the run is being stopped."""
        return self.stopping.is_set

    @property
    def gives_up(self) -> bool:
        """Whether to give up what cannot be found or read at the provider, so that its items count as unknown."""
        return self.state.options.retry_unknown

    def progress(self) -> Progress:
        """Return the current progress, with the reason of the wait."""
        progress = super().progress()
        return evolve(progress, wait_reason=self._wait_reason or progress.wait_reason)

    def stop(self) -> None:
        """Send nothing new and stop waiting: batches continue at the provider, and another run collects them."""
        self.stopping.set()
        super().stop()

    async def wait_for(self, seconds: float, reason: str) -> None:
        """Sleep, showing the reason. Raises `StoppedError`."""
        self._wait_reason = reason
        if (kind := re.sub(r"\d+", "", reason)) not in self._logged:
            self._logged.add(kind)
            _log.info("%s", reason)
        self.changed()
        with self.stopping.waiting():
            await self.state.caller.timing.sleep(seconds)

    def end_wait(self) -> None:
        """Forget the reason of the last wait."""
        self._wait_reason = None

    def work(self, key: str) -> WorkItem:
        """Return the work of an item."""
        if key not in self._work:
            item = self._items.get(key) or self._removed(key)
            work = planned_work(self.state.opened, item, self.state.options, can_send=False)
            if work.remote is not None:  # this run could not download its images
                work = work.without_download(work.remote, self.state.options)
            self._work[key] = evolve(work, reservation=self.state.submitted.pop(key, None))
        return self._work[key]

    def replace(self, work: WorkItem) -> None:
        """Replace an item's work, whose reservation has changed."""
        self._work[work.item.key] = work

    def keys_to_send(self) -> list[str]:
        """Return the keys of the planned items, without those that this run has downloaded."""
        plan, ledger = self.state.opened.plan, self.state.ledger
        ended = {key for key in plan.to_fetch if ledger.get(key).state != "away"}
        return [key for key in plan.to_send if key not in ended]

    def is_to_send(self, key: str) -> bool:
        """Return whether this run sends an item that was not executed: by its plan, or by its options."""
        options = self.state.options
        if key not in self._items or options.cancel:
            return False
        return key in self._to_send or self.state.ledger.get(key).state in states_to_send(options)

    def secrets(self, key: str) -> tuple[str, ...]:
        """Return the texts to redact in an item's errors."""
        item = self._items.get(key)
        return (*(() if item is None else (item.request.prompt,)), *self.state.caller.secrets)

    def start_item(self, key: str) -> None:
        """Count an item that is sent next, or is at the provider."""
        self._tickets[key] = ticket = self.scheduler.start()
        self.scheduler.send(ticket)

    def drop_item(self, key: str) -> None:
        """Uncount an item that was not sent."""
        if key in self._tickets:
            self._drop(self._tickets.pop(key))

    async def end_item(self, key: str, answer: ImageResult | ImagesError) -> None:
        """Record and emit the outcome of an item."""
        outcome = await self._record(key, answer)
        cost = None
        if isinstance(outcome, Succeeded):
            cost = self._cost(outcome.request, outcome.result)
        elif isinstance(outcome.error, QuotaExhaustedError | AuthenticationError):
            self.error = outcome.error
        self._finish(self._tickets.pop(key), outcome, cost)

    async def record_batch(self, tag: str, step: str, **fields: object) -> None:
        """Write a row about a batch. Raises OSError after it has stopped the run."""
        await self.state.record({"state": "provider_batch", "key": None, "tag": tag, "step": step, **fields})

    async def _call(self, ticket: int, item: RequestItem) -> ImageResult:
        """Download remote images; without an outcome if that fails and the item is sent."""
        try:
            return await super()._call(ticket, item)
        except DownloadError:
            if self.is_to_send(item.key):
                raise StoppedBeforeSendError from None
            raise

    async def _record(self, key: str, answer: ImageResult | ImagesError) -> Outcome:
        work = self.work(key)
        del self._work[key]
        item = self._items.get(key) or work.item
        try:
            result = await SubmittedItem(self.state, work, answer).run()
        except (ImagesError, OSError) as error:
            return Failed(item.index, key, item.request, error)
        await self._make_thumbnails(key)
        return Succeeded(item.index, key, item.request, result)

    def _removed(self, key: str) -> ResolvedItem:
        """Return an item that is no longer in the input; only the digest of its request is known."""
        record = self.state.ledger.get(key)
        request = GenerateRequest("", n=record.image_count - len(record.files) or 1)
        return ResolvedItem(len(self._items), key, request, record.request)


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

    async def _abandon(self, error: ImagesError | None = None, images: Sequence[Image] = ()) -> None:
        if error is not None:
            await super()._abandon(error, images)
