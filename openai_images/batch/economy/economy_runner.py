"""A run in economy: sends items in batches to the provider, waits for the batches, and collects them.

Invariants: a batch that was created is collected after its end, by this run or a later one; stopping, an error or a
crash does not change it; the error of one batch is raised after the others are collected.
Must not: decide what a response means (`SubmittedItem`), or what is sent (`plan.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from attrs import evolve

from openai_images.batch.economy.collector import Collector
from openai_images.batch.economy.economy_run import EconomyItems, EconomySettings
from openai_images.batch.economy.submitter import Submitter
from openai_images.batch.economy.watcher import Watcher
from openai_images.batch.folder.image_files import Downloads
from openai_images.batch.provider.service import BatchService
from openai_images.errors import (
    APIStatusError,
    AuthenticationError,
    ImagesError,
    QuotaExhaustedError,
)
from openai_images.many.items import RunOptions, Send
from openai_images.many.runner import Runner
from openai_images.models.outcomes import Progress, Succeeded
from openai_images.models.results import ImageResult

_log = logging.getLogger("openai_images")

_ENDED_ALREADY = (400, 404, 409)
"""Statuses of cancelling a batch that has ended, or is already being cancelled."""


class _StoppedError(Exception):
    """The run was stopped while it waited."""


class EconomyRun(Runner):
    """Downloads remote images as any run does; then sends items in batches, waits for them, and collects them."""

    def __init__(
        self,
        requests: Iterable[object] | AsyncIterable[object],
        send: Send,
        options: RunOptions,
        settings: EconomySettings,
    ) -> None:
        count = len(settings.to_send) + sum(map(len, (b.keys for b in settings.run.ledger.batches.values())))
        super().__init__(requests, send, evolve(options, total=(options.total or 0) + count))
        self._settings = settings
        self._state = settings.run
        self._timing = settings.run.caller.timing
        self._items = EconomyItems(settings)
        self._downloads = Downloads(settings.run.root)
        self._tickets: dict[str, int] = {}
        self._have_room: set[str] = set()  # tags of batches after whose creation another batch has ended
        self._sends = True  # False if there is a budget, and the cost of earlier runs is unknown
        self._reason: str | None = None
        self._error: ImagesError | None = None
        self._stopping = asyncio.Event()

    def progress(self) -> Progress:
        """Return the current progress, with the reason of the wait."""
        return evolve(super().progress(), wait_reason=self._reason)

    def stop(self) -> None:
        """Send nothing new and stop waiting: batches continue at the provider, and another run collects them."""
        self._stopping.set()
        super().stop()

    async def _main(self) -> None:
        await super()._main()
        try:
            await asyncio.to_thread(self._downloads.clear)
            if not self._stopping.is_set():
                await self._run_batches(self._state.caller.batch_service())
        except _StoppedError:
            pass
        except (ImagesError, OSError) as error:
            self._state.halt(error)
        finally:
            with suppress(OSError):
                await asyncio.to_thread(self._downloads.clear)
        if self._error is not None:
            self._state.halt(self._error)

    async def _run_batches(self, service: BatchService) -> None:
        """Resume the batches of earlier runs, send the planned items, and collect all batches. Raises `ImagesError`."""
        submitter = Submitter(self._state, service, self._items, self)
        watcher = Watcher(self._state, service, self._settings.options, self)
        collector = Collector(self._state, service, self._items, self)
        options, batches = self._settings.options, self._state.ledger.batches
        for batch in list(batches.values()):
            for key in batch.keys:
                self.on_start(key)
        submitter.queue.extend(self._settings.to_send)
        for batch in [batch for batch in batches.values() if not batch.id]:
            try:
                if not await submitter.resolve(batch):
                    await submitter.release(batch)
            except ImagesError as error:  # left to another run; the others are collected
                self._error = self._error or error
        if options.budget is not None and (count := self._state.ledger.submitted_unpriceable):
            _log.warning(
                "%d requests at the provider have no estimate: this run only collects, and sends nothing more",
                count,
            )
            submitter.lacks_budget, self._sends = bool(submitter.queue), False
        if options.cancel:
            submitter.queue.clear()
            await self._cancel(service)
        try:
            await self._collect_all(submitter, collector, watcher)
        finally:
            self._error = self._error or watcher.error or submitter.refusal
        if submitter.lacks_budget and not self._stopping.is_set():
            self._state.stop_reason.set("budget")

    async def _collect_all(self, submitter: Submitter, collector: Collector, watcher: Watcher) -> None:
        """Send the queue, and collect batches until there are none. Raises `ImagesError` and OSError."""
        batches, is_queue_full = self._state.ledger.batches, False
        while not self._stopping.is_set():
            if self._error is None and not is_queue_full:
                await self._submit(submitter)
            found = await watcher.next_ended()
            self._reason = None
            if found is None:
                break
            batch, ended = found
            has_room = batch.tag in self._have_room
            if ended.is_queue_full and (has_room or len(batches) > 1):
                codes = "; ".join(ended.codes)
                _log.warning("the provider accepts no more requests now: %s", codes)
                await submitter.release(batch, status=ended.status)
                is_queue_full = not has_room  # sent again after another batch has ended
            elif await watcher.collect(batch, ended, collector.collect):
                self._have_room.update(batches)
                is_queue_full = False

    async def _submit(self, submitter: Submitter) -> None:
        """Send what the budget allows; after an error, which is raised at the end, nothing more is sent."""
        if not self._sends:
            return
        try:
            await submitter.submit(is_budgeted=self._settings.options.budget is not None)
        except ImagesError as error:
            self._error = error

    async def _cancel(self, service: BatchService) -> None:
        """Cancel all existing batches. Raises the first `ImagesError` after trying each of them."""
        failure: ImagesError | None = None
        for batch in [batch for batch in self._state.ledger.batches.values() if batch.id]:
            try:
                await service.cancel(batch.id)
            except ImagesError as error:
                if isinstance(error, APIStatusError) and error.status_code in _ENDED_ALREADY:
                    continue
                _log.warning("batch %s could not be cancelled: %s", batch.id, error)
                failure = failure or error
        if failure is not None:
            raise failure

    def is_stopping(self) -> bool:
        """Return whether the run is being stopped."""
        return self._stopping.is_set()

    async def wait_for(self, seconds: float, reason: str) -> None:
        """Sleep, showing the reason. Raises `_StoppedError`."""
        self._reason = reason
        self.changed()
        waits = [
            asyncio.ensure_future(self._timing.sleep(seconds)),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        if self._stopping.is_set():
            raise _StoppedError

    def on_start(self, key: str) -> None:
        """Count an item that is sent next, or is at the provider."""
        self._tickets[key] = ticket = self.scheduler.start()
        self.scheduler.send(ticket)

    async def on_end(self, key: str, error: ImagesError | None) -> None:
        """End an item with an error, or without one if it was not sent."""
        if error is not None:
            await self.end_item(key, error)
        elif key in self._tickets:
            self._drop(self._tickets.pop(key))

    async def end_item(self, key: str, answer: ImageResult | ImagesError) -> None:
        """Record and emit the outcome of an item."""
        outcome = await self._items.end(key, answer)
        cost = None
        if isinstance(outcome, Succeeded):
            cost = self._cost(outcome.request, outcome.result)
        elif isinstance(outcome.error, QuotaExhaustedError | AuthenticationError):
            self._error = outcome.error
        self._finish(self._tickets.pop(key), outcome, cost)


def economy_runner(*settings: Any) -> Callable[..., Runner]:
    """Return the constructor of a run with these `EconomySettings`."""
    return partial(EconomyRun, settings=EconomySettings(*settings))
