"""Collects an ended batch of the provider: decodes its files while they arrive, line by line.

Invariants: constant memory: images are written to files while they arrive, and only a few lines wait for the disk; a
broken download resumes after the last complete line; a request without a line counts as not executed only if the
provider's count proves it, all files were read, and every line belongs to a known request; the lines that the provider
rejects by number have failed; the row `ended` is written after the rows of all items; a line that may be readable later
(missing, or an image over the limit) gets no row.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field

from openai_images._util.stop_signal import StoppedError
from openai_images.batch.economy.economy_run import EconomyRun
from openai_images.batch.folder.image_files import Downloads, complete, discard
from openai_images.batch.journal.ledger import SubmittedBatch
from openai_images.batch.provider.files import OutputLine, OutputReader, custom_id_of, not_run
from openai_images.batch.provider.provider_batch import BatchError, ProviderBatch
from openai_images.batch.provider.service import BatchService
from openai_images.client.files import FileSink
from openai_images.errors import (
    APIConnectionError,
    BadRequestError,
    ImagesError,
    NotFoundError,
    ResponseTooLargeError,
    StatusOutcomeUnknownError,
)
from openai_images.http.get_requests import FileDownload
from openai_images.models.image import Image
from openai_images.models.results import ImageResult, with_images
from openai_images.wire.redaction import Redaction
from openai_images.wire.response import chunk_end

_log = logging.getLogger("openai_images")

_LINES_AT_ONCE = 8
"""Lines that wait for the disk concurrently: it syncs several in little more time than one."""

_YIELD_INTERVAL = 0.005
"""Seconds of decoding after which other tasks run."""


@define
class _Batch:
    """A batch that is being collected; `keys`, by custom id, are those of items without an outcome."""

    submitted: SubmittedBatch
    keys: dict[str, str]
    succeeded: set[str] = field(factory=set[str])
    errors: dict[str, ImagesError] = field(factory=dict[str, ImagesError])
    """Of lines without images; they count if no other line has a result."""
    strange: int = 0
    """Lines that are unreadable, or belong to no request of this folder."""
    is_last: bool = False
    """Whether this is the last time that its files are read."""
    is_unread: bool = False
    """Whether a file could not be read, or its last line is incomplete."""
    start: int = 0
    """The offset in bytes at which the download of the current file started."""
    position: int = 0
    """The offset of the end of the last line taken from the current file."""
    too_large: ResponseTooLargeError | None = None


class Collector:
    """Collects ended batches one after the other; whether the run is being stopped is checked between lines."""

    def __init__(self, run: EconomyRun, service: BatchService) -> None:
        self._run = run
        self._state = run.state
        self._service = service
        self._downloads = Downloads(run.state.root)
        self._slots = asyncio.Semaphore(_LINES_AT_ONCE)
        self._known: tuple[int, frozenset[str]] = (0, frozenset())

    async def collect(self, submitted: SubmittedBatch, ended: ProviderBatch, is_last: bool) -> bool:
        """Record the outcome of each item of the batch; return False if lines are missing that may still be written.

        With `is_last`, items without a line are recorded as unknown. Raises `ImagesError` if its files cannot be read,
        and `StoppedError`.
        """
        batch = _Batch(submitted, {custom_id_of(key): key for key in submitted.keys}, is_last=is_last)
        await self._read_files(ended, batch)
        self._run.stopping.check()  # a failed write stops the run: its items are not missing
        if batch.too_large is not None:
            msg = f"{batch.too_large}; it stays at the provider for 30 days; retry_unknown gives it up"
            raise ResponseTooLargeError(msg)
        missing = list(submitted.keys)
        is_not_run = not (batch.is_unread or batch.strange) and ended.proves_not_run(len(batch.succeeded))
        if batch.strange < len(missing) and not (is_not_run or is_last):
            return False
        if batch.strange:
            _log.warning(
                "%d lines in the files of batch %s are unreadable or belong to no request of this folder; the files "
                "stay at the provider for 30 days",
                *(batch.strange, ended.id),
            )
        if ended.codes:
            _log.warning("the provider did not accept batch %s: %s", ended.id, "; ".join(ended.codes))
        redaction = await asyncio.to_thread(self._redaction, missing if ended.reasons else ())
        async with asyncio.TaskGroup() as group:
            for key in missing:
                await self._slots.acquire()
                rejected = ended.rejected.get(submitted.keys[key]) if is_not_run else None
                error = (
                    _rejected(rejected, redaction)
                    if rejected
                    else _unanswered(ended, redaction, is_not_run=is_not_run)
                )
                group.create_task(self._end(key, error))
        if not self._run.is_stopping:
            await self._run.record_batch(submitted.tag, "ended", status=ended.status)
        return True

    def _redaction(self, keys: Sequence[str]) -> Redaction:
        """Return what removes the prompts of these items from the provider's messages. Blocks."""
        return Redaction(tuple({secret for key in keys for secret in self._run.secrets(key)}))

    async def _read_files(self, ended: ProviderBatch, batch: _Batch) -> None:
        """Read both files. Raises `ImagesError` and `StoppedError` after the images before it are recorded."""
        failure: ImagesError | StoppedError | None = None
        async with asyncio.TaskGroup() as group:
            try:
                for file_id in ended.files:
                    await self._read_file(file_id, batch, group)
                for name in batch.keys.keys() & batch.errors.keys():
                    await self._start_record(name, batch.errors[name], {}, batch, group)
            except (ImagesError, StoppedError) as error:  # not in the group, which it would cancel
                failure = error
        if failure is not None:
            raise failure

    async def _read_file(self, file_id: str, batch: _Batch, group: asyncio.TaskGroup) -> None:
        """Read a file to its end; after a lost connection, resume at the last complete line.

        Raises `ImagesError` and `StoppedError`.
        """
        caller, failures = self._state.caller, 0
        batch.position = 0
        while True:
            before = batch.position
            reader = OutputReader(
                self._downloads.new_sink,
                lambda name: self._run.secrets(batch.keys.get(name, "")),
                max_image_bytes=caller.max_image_bytes,
                now=caller.timing.wall(),
            )
            start = max(
                before - 1, 0
            )  # one byte earlier, as a range that begins at the end of a file is rejected
            try:
                download = await self._service.open_file(file_id, start)
            except NotFoundError as error:
                _log.warning("a file of the provider was not found, so its images are missing: %s", error)
                batch.is_unread = True
                return
            batch.start = start if download.is_continued else 0
            try:
                await self._read(download, reader, batch, group)
            except APIConnectionError:
                failures = 0 if batch.position > before else failures + 1
                if failures > caller.retries:
                    raise
                with self._run.stopping.waiting():
                    await caller.timing.sleep(1.0)
            else:
                return
            finally:
                download.close()
                reader.discard()
                discard(self._downloads.take())

    async def _read(
        self, download: FileDownload, reader: OutputReader, batch: _Batch, group: asyncio.TaskGroup
    ) -> None:
        """Read to the end. Raises `APIConnectionError` and `StoppedError`."""
        monotonic, loop = self._state.caller.timing.monotonic, asyncio.get_running_loop()
        yielded_at = monotonic()
        while chunk := await self._next(download):
            offset = len(chunk) if reader.in_image and reader.feed_image(chunk) else 0
            while offset < len(chunk):
                end = chunk_end(chunk, offset)
                for line in reader.feed(chunk[offset:end]):
                    await self._take(line, batch.start + reader.nbytes, batch, group)
                offset = end
                if monotonic() - yielded_at > _YIELD_INTERVAL:
                    await asyncio.sleep(0)
                    yielded_at = monotonic()
            for sink in self._downloads.due:
                await loop.run_in_executor(self._state.threads, sink.flush)
        for line in reader.finish():
            if line.is_torn and not batch.is_last:  # the file may be complete the next time
                batch.is_unread = True
            else:
                await self._take(line, batch.start + reader.nbytes, batch, group)

    async def _next(self, download: FileDownload) -> bytes:
        with self._run.stopping.waiting():
            return await download.read()

    async def _take(self, line: OutputLine, end: int, batch: _Batch, group: asyncio.TaskGroup) -> None:
        """Start to record the line that ends at byte `end`, when not too many lines wait for the disk."""
        sinks, name = self._downloads.take(), line.custom_id
        if end <= batch.position:  # it was taken before the connection was lost
            discard(sinks)
            return
        batch.position = end
        key = batch.keys.get(name)
        if key is None and name not in batch.succeeded and name not in await self._known_names():
            batch.strange += 1
        elif line.result is not None:
            batch.succeeded.add(name)
        answer = line.result or line.error
        if key is not None and isinstance(answer, ResponseTooLargeError) and not self._run.gives_up:
            batch.too_large, answer = answer, None
        if key is None or answer is None or key not in batch.submitted.keys:
            discard(sinks)
        elif isinstance(answer, ImagesError) and not sinks:
            batch.errors.setdefault(name, answer)
        else:
            await self._start_record(name, answer, sinks, batch, group)

    async def _start_record(
        self,
        name: str,
        answer: ImageResult | ImagesError,
        sinks: dict[Path, FileSink],
        batch: _Batch,
        group: asyncio.TaskGroup,
    ) -> None:
        key = batch.keys.pop(name)
        await self._slots.acquire()
        group.create_task(self._record(key, answer, sinks))

    async def _known_names(self) -> frozenset[str]:
        """Return the custom ids of all requests of the folder, for lines of other batches."""
        keys = list(self._state.ledger.records)
        if len(keys) != self._known[0]:
            names = await asyncio.to_thread(lambda: frozenset(map(custom_id_of, keys)))
            self._known = len(keys), names
        return self._known[1]

    async def _record(self, key: str, answer: ImageResult | ImagesError, sinks: dict[Path, FileSink]) -> None:
        steps = asyncio.get_running_loop().run_in_executor(
            self._state.threads, _complete_images, answer, sinks
        )
        await self._end(key, await steps)

    async def _end(self, key: str, answer: ImageResult | ImagesError) -> None:
        try:
            await self._run.end_item(key, answer)
        finally:
            self._slots.release()


def _complete_images(
    answer: ImageResult | ImagesError, sinks: dict[Path, FileSink]
) -> ImageResult | ImagesError:
    """Close the image files of an outcome, and remove the other files. Blocks."""
    if isinstance(answer, ImageResult):
        answer = with_images(answer, [complete(image, sinks) for image in answer.images])
    else:
        images = [complete(image, sinks) if isinstance(image, Image) else image for image in answer.images]
        answer.images = images
        answer.damaged = [complete(image, sinks) for image in answer.damaged]
    discard(sinks)
    return answer


def _unanswered(ended: ProviderBatch, redaction: Redaction, *, is_not_run: bool) -> ImagesError:
    """Return the error of a request without a line in its batch's files."""
    if is_not_run:
        reasons = f": {'; '.join(map(redaction.text, ended.reasons))}" if ended.reasons else ""
        return not_run(
            f"the provider did not execute it: its batch ended with the status {ended.status!r}{reasons}",
            f"batch_{ended.status}",
        )
    return StatusOutcomeUnknownError(
        f"its batch ended with the status {ended.status!r}, without a line for it; it may have been billed",
        status_code=0,
    )


def _rejected(line: BatchError, redaction: Redaction) -> ImagesError:
    """Return the error of a request that the provider did not accept, and its whole batch for it."""
    reason = f": {redaction.text(line.reason)}" if line.reason else ""
    msg = f"the provider did not accept this request, and its batch was not run{reason}; it is not billed"
    return BadRequestError(msg, status_code=0, code=line.code or None)
