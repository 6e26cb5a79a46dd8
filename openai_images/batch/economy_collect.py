"""Collects a batch of the provider that has ended: its files are decoded while they arrive, line by line.

Invariants: constant memory: images go into files while they arrive, and a few lines at a time are waiting for the disk.
A broken download goes on after the last whole line. A request without a line is not executed only where the provider's
count proves it. The row `ended` is written when each item has its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from attrs import define, field

from openai_images.batch.downloads import Downloads, complete, discard
from openai_images.batch.ledger import SubmittedBatch
from openai_images.batch.provider_rows import ProviderRows
from openai_images.batch.run_state import RunState
from openai_images.batch_api.input_file import custom_id_of
from openai_images.batch_api.output_file import OutputLine, OutputReader, not_run
from openai_images.batch_api.provider_batch import ProviderBatch
from openai_images.batch_api.service import BatchService, Download
from openai_images.client.files import FileSink
from openai_images.errors import APIConnectionError, ImagesError, NotFoundError, StatusOutcomeUnknownError
from openai_images.models.image import Image
from openai_images.models.results import ImageResult, with_images
from openai_images.wire.response import chunk_end

_log = logging.getLogger("openai_images")

_LINES_AT_ONCE = 8
"""Lines that wait for the disk: it syncs several in little more time than one."""

_YIELD_INTERVAL = 0.005
"""Seconds of decoding after which other tasks run."""

EndItem = Callable[[str, ImageResult | ImagesError], Awaitable[None]]


@define
class _Batch:
    """A batch that is being collected: `keys` by custom id of the items without an end; `unreadable` are lines."""

    submitted: SubmittedBatch
    keys: dict[str, str]
    succeeded: set[str] = field(factory=set[str])
    unreadable: int = 0


class Collector:
    """`collect` batches that have ended, one after the other; `is_stopping` ends it between two lines."""

    def __init__(
        self,
        run: RunState,
        service: BatchService,
        secrets_of: Callable[[str], tuple[str, ...]],
        end_item: EndItem,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._run = run
        self._service = service
        self._downloads = Downloads(run.root)
        self._secrets_of = secrets_of
        self._end_item = end_item
        self._is_stopping = is_stopping
        self._slots = asyncio.Semaphore(_LINES_AT_ONCE)
        self._rows = ProviderRows(run)

    async def collect(self, submitted: SubmittedBatch, ended: ProviderBatch) -> None:
        """Record an answer for each item of the batch. Raises `ImagesError` where its files cannot be read."""
        if ended.reasons:
            _log.warning("the provider did not accept a batch: %s", "; ".join(ended.reasons))
        batch = _Batch(submitted, {custom_id_of(key): key for key in submitted.keys})
        failure: ImagesError | None = None
        async with asyncio.TaskGroup() as group:
            try:
                for file_id in ended.files:
                    await self._read_file(file_id, batch, group)
            except ImagesError as error:  # raised when the lines before it are recorded
                failure = error
        if failure is not None:
            raise failure
        if self._is_stopping():
            return
        if batch.unreadable:
            _log.warning(
                "%d lines in the files of batch %s cannot be read; the files stay at the provider for 30 days",
                *(batch.unreadable, ended.id),
            )
        async with asyncio.TaskGroup() as group:
            for key in list(submitted.keys):
                await self._slots.acquire()
                group.create_task(self._end(key, _unanswered(ended, len(batch.succeeded))))
        if not self._is_stopping():
            await self._rows.ended(submitted.tag, ended.status)

    async def _read_file(self, file_id: str, batch: _Batch, group: asyncio.TaskGroup) -> None:
        """Read a file to its end, after broken connections from the last whole line on. Raises `ImagesError`."""
        caller, start, failures = self._run.caller, 0, 0
        while not self._is_stopping():
            reader = OutputReader(
                self._downloads.new_sink,
                lambda name: self._secrets_of(batch.keys.get(name, "")),
                max_image_bytes=caller.max_image_bytes,
                now=caller.timing.wall(),
            )
            try:
                download = await self._service.open_file(file_id, start)
            except NotFoundError as error:
                _log.warning("a file of the provider is gone, and its images with it: %s", error)
                return
            start = start if download.is_continued else 0
            try:
                if await self._read(download, reader, batch, group):
                    return
            except APIConnectionError:
                failures = 0 if reader.nbytes else failures + 1
                if failures > caller.retries:
                    raise
                start += reader.nbytes
                await caller.timing.sleep(1.0)
            finally:
                download.close()
                reader.discard()
                discard(self._downloads.take())

    async def _read(
        self, download: Download, reader: OutputReader, batch: _Batch, group: asyncio.TaskGroup
    ) -> bool:
        """Read to the end; False if the run is stopped before that. Raises `APIConnectionError`."""
        monotonic, loop = self._run.caller.timing.monotonic, asyncio.get_running_loop()
        yielded_at = monotonic()
        while not self._is_stopping() and (chunk := await download.read()):
            offset = len(chunk) if reader.in_image and reader.feed_image(chunk) else 0
            while offset < len(chunk):
                end = chunk_end(chunk, offset)
                for line in reader.feed(chunk[offset:end]):
                    await self._take(line, batch, group)
                offset = end
                if monotonic() - yielded_at > _YIELD_INTERVAL:
                    await asyncio.sleep(0)
                    yielded_at = monotonic()
            for sink in self._downloads.due:
                await loop.run_in_executor(self._run.threads, sink.flush)
        if self._is_stopping():
            return False
        for line in reader.finish():
            await self._take(line, batch, group)
        return True

    async def _take(self, line: OutputLine, batch: _Batch, group: asyncio.TaskGroup) -> None:
        """Begin to record a line, when few others wait for the disk."""
        sinks = self._downloads.take()
        if line.result is not None:
            batch.succeeded.add(line.custom_id)
        key = batch.keys.pop(line.custom_id, None)
        answer = line.result or line.error
        if key is None or answer is None or key not in batch.submitted.keys:
            batch.unreadable += not line.custom_id
            discard(sinks)
            return
        await self._slots.acquire()
        group.create_task(self._record(key, answer, sinks))

    async def _record(self, key: str, answer: ImageResult | ImagesError, sinks: dict[Path, FileSink]) -> None:
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._run.threads, _complete_images, answer, sinks)
        await self._end(key, answer)

    async def _end(self, key: str, answer: ImageResult | ImagesError) -> None:
        try:
            await self._end_item(key, answer)
        finally:
            self._slots.release()


def _complete_images(
    answer: ImageResult | ImagesError, sinks: dict[Path, FileSink]
) -> ImageResult | ImagesError:
    """Close the files of an answer's images, and remove the others. Blocks."""
    if isinstance(answer, ImageResult):
        answer = with_images(answer, [complete(image, sinks) for image in answer.images])
    else:
        images = [complete(image, sinks) if isinstance(image, Image) else image for image in answer.images]
        answer.images = images
        answer.damaged = [complete(image, sinks) for image in answer.damaged]
    discard(sinks)
    return answer


def _unanswered(batch: ProviderBatch, succeeded: int) -> ImagesError:
    """Return the error of a request that has no line in the files of its batch."""
    why = f": {'; '.join(batch.reasons)}" if batch.reasons else ""
    if batch.proves_not_run(succeeded):
        msg = f"the provider did not run it, as its batch ended as {batch.status!r}{why}"
        return not_run(msg, f"batch_{batch.status}")
    return StatusOutcomeUnknownError(
        f"its batch ended as {batch.status!r}, and the provider's files do not have it; it may have been billed",
        status_code=0,
    )
