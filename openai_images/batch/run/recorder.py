"""Writes an item's outcome to the disk: images, then rows; downloads remote images.

Invariants: an image is synced and renamed before its row, and a row is on disk before its effects; a write error stops
the batch; URLs are on disk before the download; an image that could not be downloaded stays in the journal for the next
run, and is not requested again.
Must not: decide what a row contains.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import evolve

from openai_images._util.aio import run_to_completion
from openai_images.batch.folder.image_files import ImageNotStoredError, StoredImages
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import decimal_text, done_row, error_fields, files_field
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.batch.journal.ledger import ItemRecord
from openai_images.batch.run.caller import Caller
from openai_images.batch.run.run_state import RunState, WorkItem
from openai_images.errors import DownloadError, ImagesError, PartialResultError, annotate
from openai_images.models.image import Image, is_remote
from openai_images.models.outcomes import Failed, Outcome
from openai_images.models.results import ImageResult

_log = logging.getLogger("openai_images")

_MAX_SHOWN_KEY = 60


class ItemRecorder:
    """Writes the images and rows of one item; `is_open` while there may be a `sent` row without an outcome."""

    def __init__(self, run: RunState, work: WorkItem) -> None:
        self.run = run
        self.work = work
        self.is_open = False
        self.is_repeatable = False  # its response can be downloaded again at no cost

    async def save(
        self, images: Sequence[Image], before: int = 0, urls: Sequence[str | None] = ()
    ) -> StoredImages:
        """Store images, after the `before` images of the item already stored; stop the batch if that fails.

        If they cannot be stored anywhere, a row records that, with their `urls`, unless the response is repeatable.
        Raises `ImageNotStoredError` and OSError.
        """
        if not images:
            return StoredImages()
        run, loop = self.run, asyncio.get_running_loop()
        arguments = (self.work.stem, images, self.work.image_count, before)
        try:
            with run.writing():
                stored = await loop.run_in_executor(run.threads, run.store.save, *arguments)
        except ImageNotStoredError as error:
            run.halt(error)
            fields = error_fields(error)
            with suppress(OSError):  # a disk that is full for both: the error has the images
                if urls:
                    await self.record("away", {**fields, "urls": urls})
                elif not self.is_repeatable:
                    await self.record("unknown", fields)
            raise
        if stored.error is not None:
            run.halt(stored.error, stored.images)
        return stored

    async def record_sent(self, attempt: int, **batch: object) -> None:
        """Write the `sent` row; in economy it names the `batch` and the line in its input file. Raises OSError."""
        item = self.work.item
        fields = {
            "stem": self.work.stem,
            "pictures": self.work.image_count,
            "attempt": attempt,
            **batch,
            "model": item.request.model,
            "estimate": decimal_text(item.estimate),
        }
        await self.record("sent", fields, StoredImages(files=self.work.kept_files))

    async def record(self, state: str, fields: JournalRow, stored: StoredImages | None = None) -> None:
        """Write a row to the disk, after the names of its images. Raises OSError after it has stopped the batch."""
        item = self.work.item
        files = {"files": files_field(stored.files)} if stored is not None and stored.files else {}
        count = 0 if stored is None else sum(not file.is_damaged for file in stored.files)
        expected = self.work.image_count
        is_incomplete = state in ("failed", "unknown") and 0 < count < expected
        missing = {"missing": expected - count} if is_incomplete else {}
        row = {"state": state, "key": item.key, "request": item.digest, **fields, **missing, **files}
        await self.run.record(row, () if stored is None else stored.images, has_images=bool(files))
        self.is_open = state == "sent"
        if is_incomplete and not self.run.has_reported_missing:
            self.run.has_reported_missing = True
            option = "retry_unknown" if state == "unknown" else "retry_missing"
            _log.warning(
                "%r has %d of %d images; %s requests the missing ones (logged once per run)",
                *(item.key[:_MAX_SHOWN_KEY], count, expected, option),
            )

    async def finish(self, result: ImageResult, fields: JournalRow, stored: StoredImages) -> None:
        """Write the `done` row. Raises `PartialResultError` if images are missing, and OSError."""
        count, expected = len(stored.files), self.work.image_count
        if count >= expected or "n" in (self.work.item.request.extra_body or {}):
            await self.record("done", fields, stored)
            return
        is_unknown = self.work.remote is not None and self.work.remote.is_unknown
        option = "retry_unknown" if is_unknown else "retry_missing"
        sent = f"the server sent {count} of {expected} images"
        msg = f"{sent}; they are kept, and {option} requests the missing ones"
        result = evolve(result, missing=expected - count)
        error = PartialResultError(msg, result=result, errors=[ImagesError(msg)])
        facts = {"attempts": result.attempts, "elapsed": result.elapsed, "request_id": result.request_id}
        annotate(error, {**facts, "maybe_billed": is_unknown})
        state = "unknown" if is_unknown else "failed"
        await self.record(state, {**fields, **error_fields(error), "billed": True}, stored)
        raise error


async def share_outcome(run: RunState, item: ResolvedItem, outcome: Outcome) -> Outcome:
    """Record and return the outcome of an item that shares another item's request."""
    shared = evolve(outcome, index=item.index, key=item.key, request=item.request)
    if isinstance(outcome, Failed):
        return shared
    files = run.ledger.get(outcome.key).files
    try:
        await run.record(done_row(item.key, item.digest, files, same_as=outcome.key))
    except OSError as error:
        return Failed(item.index, item.key, item.request, error, show_prompt=outcome.show_prompt)
    return shared


async def fetch_remote(recorder: ItemRecorder, result: ImageResult, stored: StoredImages) -> ImageResult:
    """Download, store and record the remote images of a result. Raises `DownloadError` and OSError."""
    fetched, error = await _fetch_available(result, recorder.run.caller)
    return await run_to_completion(_store_fetched(recorder, result, fetched, stored, error))


async def resume_fetch(recorder: ItemRecorder, remote: ItemRecord) -> ImageResult:
    """Download the images that an earlier run could not; the result has 0 attempts. Raises as `fetch_remote` does."""
    images = images_from_files(remote.files, recorder.run.root)
    images += [Image(url=url) for url in remote.urls]
    result = ImageResult(images=tuple(images), attempts=0)
    return await fetch_remote(recorder, result, StoredImages(files=remote.files))


async def fetch_partial_result(error: ImagesError, caller: Caller) -> None:
    """Download the remote images of a failed item; an image that cannot be downloaded keeps its URL."""
    if isinstance(error, PartialResultError):
        if any(map(is_remote, error.result.images)):
            error.result, _ = await _fetch_available(error.result, caller)
        return
    images = tuple(image for image in error.images if isinstance(image, Image))
    if any(map(is_remote, images)):
        result, _ = await _fetch_available(ImageResult(images=images), caller)
        error.images = result.images


async def _fetch_available(result: ImageResult, caller: Caller) -> tuple[ImageResult, DownloadError | None]:
    """Return the result with the images that could be downloaded, and the error of the others."""
    try:
        return await caller.fetch(result), None
    except DownloadError as error:
        response: ImageResult = error.response
        return response, error


def _with_advice(error: DownloadError) -> DownloadError:
    msg = f"{error.reason}; it is paid for, and the journal has its URL: run the batch again to download it"
    return DownloadError(
        msg, urls=error.urls, response=error.response, status_code=error.status_code, reason=error.reason
    )


async def _store_fetched(
    recorder: ItemRecorder,
    before: ImageResult,
    fetched: ImageResult,
    stored: StoredImages,
    error: DownloadError | None,
) -> ImageResult:
    pairs = list(zip(before.images, fetched.images, strict=True))
    fetched_images = [new for old, new in pairs if is_remote(old) and not is_remote(new)]
    old_urls = [old.url for old, _ in pairs if is_remote(old)]
    stored_now = await recorder.save(fetched_images, len(stored.files), old_urls)
    all_stored = StoredImages(stored_now.images, (*stored.files, *stored_now.files))
    if error is not None:
        urls = [new.url for _, new in pairs if is_remote(new)]
        advised = _with_advice(error)
        try:
            await recorder.record("away", {**error_fields(advised), "urls": urls}, all_stored)
        except OSError:  # it has stopped the batch, and only the error has the URLs
            raise error from None
        raise advised
    local = iter(stored_now.images)
    result = evolve(fetched, images=tuple(next(local) if is_remote(old) else old for old, _ in pairs))
    await recorder.finish(result, {}, all_stored)
    return result


def images_from_files(files: Iterable[StoredFile], root: Path) -> list[Image]:
    """Return images of files in the folder."""
    return [
        Image(path=root / f.name, nbytes=f.nbytes, media_type=f.media_type, width=f.width, height=f.height)
        for f in files
    ]
