"""A run in economy: items go into batches at the provider, which are waited for and collected.

Invariants: a batch that was created is waited for until it has ended, by this run or another: stopping, an error and a
crash leave it as it is. Looks become rarer with its age. Each wait says for what and until when, and has an end.
Must not: decide what an answer means (`submitted_item.py`), or what is sent (`plan.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from attrs import evolve

from openai_images.batch.downloads import Downloads
from openai_images.batch.economy_collect import Collector
from openai_images.batch.economy_items import EconomyItems, EconomySettings
from openai_images.batch.economy_submit import Submitter
from openai_images.batch.ledger import SubmittedBatch
from openai_images.batch_api.provider_batch import WINDOW, ProviderBatch, poll_delay
from openai_images.batch_api.service import BatchService
from openai_images.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ImagesError,
    InternalServerError,
    NotFoundError,
    QuotaExhaustedError,
    RateLimitError,
)
from openai_images.many.items import RunOptions, Send
from openai_images.many.runner import Runner
from openai_images.models.outcomes import Progress, Succeeded
from openai_images.models.results import ImageResult

_log = logging.getLogger("openai_images")

_GRACE = 6 * 3600.0
"""Seconds after the provider's window for which a batch is still waited for: finalizing and cancelling take time."""

_TRANSIENT = (APIConnectionError, InternalServerError, RateLimitError)


class _StoppedError(Exception):
    """The run was stopped while it waited."""


class EconomyRun(Runner):
    """Fetches what is behind URLs as any run does; then sends items in batches, waits for them, and collects them."""

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
        self._seen: dict[str, ProviderBatch] = {}
        self._due: dict[str, float] = {}
        self._have_room: set[str] = set()  # tags of batches since whose creation another one has ended
        self._down_since: float | None = None
        self._reason: str | None = None
        self._error: ImagesError | None = None
        self._stopping = asyncio.Event()

    def progress(self) -> Progress:
        """Return the current progress, and what is waited for."""
        return evolve(super().progress(), wait_reason=self._reason)

    def stop(self) -> None:
        """Send nothing new and wait for nothing: batches go on at the provider, and another run collects them."""
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
        """Take up the batches of earlier runs, send what is to be sent, and collect all. Raises `ImagesError`."""
        submitter = Submitter(self._state, service, self._items, self)
        collector = Collector(
            self._state, service, self._items.secrets, self._end_item, self._stopping.is_set
        )
        options, batches = self._settings.options, self._state.ledger.batches
        for batch in list(batches.values()):
            for key in batch.keys:
                self.on_start(key)
        submitter.queue.extend(self._settings.to_send)
        for batch in [batch for batch in batches.values() if not batch.id]:
            if not await submitter.resolve(batch):
                await submitter.release(batch)
        if options.cancel:
            submitter.queue.clear()
            await self._cancel(service)
        await self._collect_all(submitter, collector, service)
        self._error = self._error or submitter.refusal
        if submitter.lacks_budget and not self._stopping.is_set():
            self._state.stop_reason.set("budget")

    async def _collect_all(self, submitter: Submitter, collector: Collector, service: BatchService) -> None:
        """Send what is in the queue, and collect batches until there are none. Raises `ImagesError`."""
        batches, is_queue_full = self._state.ledger.batches, False
        while not self._stopping.is_set():
            if self._error is None and not is_queue_full:
                await self._submit(submitter)
            if not self._known:
                break
            batch, ended = await self._wait_for_end(service)
            has_room = batch.tag in self._have_room
            if ended.is_queue_full and (has_room or len(batches) > 1):
                _log.warning("the provider takes no more for now: %s", "; ".join(ended.reasons))
                await submitter.release(batch, status=ended.status)
                is_queue_full = not has_room  # it is sent again when another one has ended
            else:
                await collector.collect(batch, ended)
                self._have_room.update(batches)
                is_queue_full = False

    @property
    def _known(self) -> list[SubmittedBatch]:
        """The batches that exist; whether another one does is found out by another run."""
        return [batch for batch in self._state.ledger.batches.values() if batch.id]

    async def _submit(self, submitter: Submitter) -> None:
        """Send what the budget allows. After an error nothing more is sent, and it is raised at the end."""
        try:
            await submitter.submit(
                is_budgeted=self._settings.options.budget is not None, is_stopping=self._stopping.is_set
            )
        except ImagesError as error:
            self._error = error

    async def _cancel(self, service: BatchService) -> None:
        for batch in self._known:
            try:
                await service.cancel(batch.id)
            except APIStatusError as error:  # it has ended, or is being cancelled
                _log.debug("batch %s was not cancelled: %s", batch.id, error)

    async def _wait_for_end(self, service: BatchService) -> tuple[SubmittedBatch, ProviderBatch]:
        """Look at the batches in turn until one has ended. Raises `ImagesError`, and `_StoppedError`."""
        while True:
            for batch in self._known:
                if self._due.get(batch.tag, 0.0) <= self._timing.monotonic():
                    ended = await self._look(service, batch)
                    if ended is not None:
                        self._reason = None
                        return batch, ended
                    if self._stopping.is_set():
                        raise _StoppedError
            due = min(self._due[batch.tag] for batch in self._known)
            await self.wait_for(max(0.0, due - self._timing.monotonic()), self._describe())

    async def _look(self, service: BatchService, batch: SubmittedBatch) -> ProviderBatch | None:
        """Look at a batch; return it if it has ended. Raises `ImagesError`."""
        age = self._timing.wall() - batch.since
        try:
            seen = await service.retrieve(batch.id)
        except NotFoundError as error:
            if self._settings.options.retry_unknown:
                return ProviderBatch(id=batch.id, status="gone")
            msg = (
                f"{error}. The batch of an earlier run is not known to this key: use the key and project that it was "
                "created with; retry_unknown gives it up, and counts its items as unknown"
            )
            raise NotFoundError(msg, status_code=error.status_code, code=error.code) from None
        except _TRANSIENT as error:
            now = self._timing.monotonic()
            self._down_since = now if self._down_since is None else self._down_since
            if now - self._down_since > self._settings.options.max_outage:
                raise
            _log.warning("the provider's batch could not be looked at, which is tried again: %s", error)
        else:
            self._down_since = None
            self._seen[batch.tag] = seen
            if seen.is_ended:
                return seen
            if age > WINDOW + _GRACE:
                msg = f"batch {seen.id} should have ended hours ago, and is still {seen.status!r}; ask the provider"
                raise ImagesError(f"{msg}, or run this again later")
        self._due[batch.tag] = self._timing.monotonic() + poll_delay(age)
        return None

    def _describe(self) -> str:
        """Say what is waited for, and until when."""
        batches = self._known
        seen = [self._seen[batch.tag] for batch in batches if batch.tag in self._seen]
        done = sum((batch.completed or 0) + (batch.failed or 0) for batch in seen)
        total = sum(len(batch.keys) for batch in batches)
        end = max((batch.since for batch in batches), default=0.0) + WINDOW
        number = f"{len(batches):,} batches" if len(batches) > 1 else "a batch"
        until = datetime.fromtimestamp(end).astimezone().strftime("%d %b %H:%M")
        return (
            f"waiting for {number} at the provider ({done:,} of {total:,} done), until {until} at the latest"
        )

    async def wait_for(self, seconds: float, reason: str) -> None:
        """Sleep, and say why. Raises `_StoppedError`."""
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
        """An item is sent next, or is at the provider."""
        self._tickets[key] = ticket = self.scheduler.start()
        self.scheduler.send(ticket)

    async def on_end(self, key: str, error: ImagesError | None) -> None:
        """An item has ended with an error, or without one: it was not sent."""
        if error is not None:
            await self._end_item(key, error)
        elif key in self._tickets:
            self._drop(self._tickets.pop(key))

    async def _end_item(self, key: str, answer: ImageResult | ImagesError) -> None:
        """Record the answer of an item, and make its outcome."""
        outcome = await self._items.end(key, answer)
        cost = None
        if isinstance(outcome, Succeeded):
            cost = self._cost(outcome.request, outcome.result)
        elif isinstance(outcome.error, QuotaExhaustedError | AuthenticationError):
            self._error = outcome.error
        self._finish(self._tickets.pop(key), outcome, cost)


def economy_runner(*settings: Any) -> Callable[..., Runner]:
    """Return what makes a run with these `EconomySettings`."""
    return partial(EconomyRun, settings=EconomySettings(*settings))
