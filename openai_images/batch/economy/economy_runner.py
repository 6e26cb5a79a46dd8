"""A run in economy: sends items in batches to the provider, waits for the batches, and collects them.

Invariants: a batch that was created is collected after its end, by this run or a later one; stopping, an error or a
crash does not change it; the error of one batch is raised after the others are collected.
Must not: decide what a response means (`SubmittedItem`), or what is sent (`plan.py`).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from openai_images.batch.economy.collector import Collector
from openai_images.batch.economy.economy_run import EconomyRun, StoppedError
from openai_images.batch.economy.submitter import Submitter
from openai_images.batch.economy.watcher import Watcher
from openai_images.batch.folder.image_files import Downloads
from openai_images.batch.provider.service import BatchService
from openai_images.errors import APIStatusError, ImagesError

_log = logging.getLogger("openai_images")

_ENDED_ALREADY = (400, 404, 409)
"""Statuses of cancelling a batch that has ended, or is already being cancelled."""


class EconomyRunner(EconomyRun):
    """Downloads remote images as any run does; then sends items in batches, waits for them, and collects them."""

    async def _main(self) -> None:
        await super()._main()
        downloads = Downloads(self.state.root)
        try:
            await asyncio.to_thread(downloads.clear)
            if not self.is_stopping:
                await self._run_batches(self.state.caller.batch_service())
        except StoppedError:
            pass
        except (ImagesError, OSError) as error:
            self.state.halt(error)
        finally:
            with suppress(OSError):
                await asyncio.to_thread(downloads.clear)
        if self.error is not None:
            self.state.halt(self.error)

    async def _run_batches(self, service: BatchService) -> None:
        """Resume the batches of earlier runs, send the planned items, and collect all batches. Raises `ImagesError`."""
        submitter, watcher = Submitter(self, service), Watcher(self, service)
        options, batches = self.state.options, self.state.ledger.batches
        for batch in list(batches.values()):
            for key in batch.keys:
                self.start_item(key)
        submitter.queue.extend(self.state.opened.plan.to_send)
        for batch in [batch for batch in batches.values() if not batch.id]:
            try:
                if not await submitter.resolve(batch):
                    await submitter.release(batch)
            except ImagesError as error:  # left to another run; the others are collected
                self.error = self.error or error
        if options.budget is not None and (count := self.state.ledger.submitted_unpriceable):
            _log.warning(
                "%d requests at the provider have no estimate: this run only collects, and sends nothing more",
                count,
            )
            submitter.lacks_budget, submitter.is_closed = bool(submitter.queue), True
        if options.cancel:
            submitter.queue.clear()
            await self._cancel(service)
        try:
            await self._collect_all(submitter, watcher, Collector(self, service))
        finally:
            self.error = self.error or watcher.error or submitter.refusal
        if submitter.lacks_budget and not self.is_stopping:
            self.state.stop_reason.set("budget")

    async def _collect_all(self, submitter: Submitter, watcher: Watcher, collector: Collector) -> None:
        """Send the queue, and collect batches until there are none. Raises `ImagesError` and OSError."""
        batches, is_queue_full = self.state.ledger.batches, False
        have_room: set[str] = set()  # tags of batches after whose creation another batch has ended
        while not self.is_stopping:
            if self.error is None and not is_queue_full:
                try:
                    await submitter.submit()
                except ImagesError as error:  # raised at the end
                    self.error = error
            found = await watcher.next_ended()
            self.end_wait()
            if found is None:
                break
            batch, ended = found
            has_room = batch.tag in have_room
            if ended.is_queue_full and (has_room or len(batches) > 1):
                codes = "; ".join(ended.codes)
                _log.warning("the provider accepts no more requests now: %s", codes)
                await submitter.release(batch, status=ended.status)
                is_queue_full = not has_room  # sent again after another batch has ended
            elif await watcher.collect(batch, ended, collector.collect):
                have_room.update(batches)
                is_queue_full = False

    async def _cancel(self, service: BatchService) -> None:
        """Cancel all existing batches. Raises the first `ImagesError` after trying each of them."""
        failure: ImagesError | None = None
        for batch in [batch for batch in self.state.ledger.batches.values() if batch.id]:
            try:
                await service.cancel(batch.id)
            except ImagesError as error:
                if isinstance(error, APIStatusError) and error.status_code in _ENDED_ALREADY:
                    continue
                _log.warning("batch %s could not be cancelled: %s", batch.id, error)
                failure = failure or error
        if failure is not None:
            raise failure
