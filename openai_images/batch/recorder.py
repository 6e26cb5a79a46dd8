"""What one item of a batch shares with all others, and how what becomes of it gets to the disk: pictures, then rows.

Rules: a picture is synced and named before its row, and a row is on the disk before anybody acts on it. Where the disk
does not take one, the batch is halted. It refuses to decide what a row says.
Pictures behind URLs are fetched and never asked for again: the URLs are on the disk before, and what came of them
after; what could not be fetched stays on record for the next run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from attrs import evolve, frozen

from openai_images.batch.circuit_breaker import CircuitBreaker
from openai_images.batch.image_store import ImageNotStoredError, ImageStore, StoredImages, run_to_completion
from openai_images.batch.journal import error_fields, files_field
from openai_images.batch.journal_reader import JournalRow, StoredFile
from openai_images.batch.ledger import Budget, ItemRecord
from openai_images.batch.plan import ResolvedItem
from openai_images.catalog.prices import Prices
from openai_images.client.downloads import is_away
from openai_images.errors import DownloadError, ImagesError, PartialResultError, with_facts
from openai_images.http.watch import Watcher
from openai_images.models.image import Image
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult

_log = logging.getLogger("openai_images")

_MAX_SHOWN_KEY = 60

Generate: TypeAlias = Callable[[GenerateRequest, Watcher], Awaitable[ImageResult]]

Fetch: TypeAlias = Callable[[ImageResult], Awaitable[ImageResult]]


@frozen(kw_only=True)
class RunState:
    """What all items of a run share.

    `record` has a row on the disk, behind the names of new pictures where that is said. `halt` keeps what ends the
    run, with the pictures that had to be saved elsewhere, and stops it. `settled` is told when money was set free.
    `root` is the batch's folder.
    """

    generate: Generate
    fetch: Fetch
    record: Callable[[JournalRow, bool], Awaitable[None]]
    halt: Callable[[Exception, Sequence[Image]], None]
    settled: Callable[[], None]
    root: Path
    breaker: CircuitBreaker
    store: ImageStore
    threads: Executor
    budget: Budget
    prices: Prices


@frozen(kw_only=True)
class WorkItem:
    """What is to be done for an item: `remote` is its record where its pictures are behind URLs.

    Such an item is fetched, and sent only if that fails and `can_send`; its estimate was set aside if it may be sent.
    `kept_files` are those of its pictures that came earlier: `item` is for the rest.
    """

    item: ResolvedItem
    stem: str
    remote: ItemRecord | None = None
    can_send: bool = True
    kept_files: tuple[StoredFile, ...] = ()

    @property
    def image_count(self) -> int:
        """How many there are when it is done."""
        return len(self.kept_files) + self.item.image_count

    @property
    def estimate(self) -> Decimal:
        """What is set aside for it, in US dollars."""
        return (self.item.estimate or Decimal(0)) if self.can_send else Decimal(0)


class ItemRecorder:
    """Has pictures and rows of one item on the disk; `is_open` while there may be a `sent` row without an end."""

    def __init__(self, run: RunState, work: WorkItem) -> None:
        """Nothing is written yet."""
        self.run = run
        self.work = work
        self.is_open = False

    async def store(
        self, images: Sequence[Image], before: int = 0, urls: Sequence[str | None] = ()
    ) -> StoredImages:
        """Save pictures, so many of the item being there already; where that fails the batch is halted.

        Where they cannot be saved anywhere the row says so, and that they are still at `urls`. Raises
        `ImageNotStoredError` and OSError.
        """
        if not images:
            return StoredImages()
        run, work = self.run, self.work
        loop, image_count = asyncio.get_running_loop(), work.image_count
        try:
            stored = await loop.run_in_executor(
                run.threads, run.store.store, work.stem, images, image_count, before
            )
        except ImageNotStoredError as error:
            run.halt(error, ())
            fields = error_fields(error)
            await self.record(*(("away", {**fields, "urls": urls}) if urls else ("unknown", fields)))
            raise
        if stored.error is not None:
            run.halt(stored.error, stored.images)
        return stored

    async def record(self, state: str, fields: JournalRow, stored: StoredImages | None = None) -> None:
        """Have a row on the disk, behind the names of its pictures. Raises OSError, and halts the batch then."""
        item = self.work.item
        files = {"files": files_field(stored.files)} if stored is not None and stored.files else {}
        row = {"state": state, "key": item.key, "request": item.digest, **fields, **files}
        try:
            await self.run.record(row, bool(files))
        except OSError as error:
            self.run.halt(error, () if stored is None else stored.images)
            raise
        self.is_open = state == "sent"
        count = len(files.get("files", ()))
        if state in ("failed", "unknown") and 0 < count < self.work.image_count:
            _log.warning(
                "%r has %d of %d images; retry_%s asks for the missing ones",
                *(item.key[:_MAX_SHOWN_KEY], count, self.work.image_count, state),
            )

    async def finish(self, result: ImageResult, fields: JournalRow, stored: StoredImages) -> None:
        """Have it on the disk that it is done. Raises `PartialResultError` where pictures are missing, and OSError."""
        count, expected = len(stored.files), self.work.image_count
        if count >= expected or "n" in (self.work.item.request.extra_body or {}):
            await self.record("done", fields, stored)
            return
        msg = (
            f"the server sent {count} of {expected} images; those are kept, and retry_failed asks for the "
            "missing ones"
        )
        error = PartialResultError(msg, result=result, errors=[ImagesError(msg)])
        with_facts(
            error, {"attempts": result.attempts, "elapsed": result.elapsed, "request_id": result.request_id}
        )
        await self.record("failed", {**fields, **error_fields(error), "billed": True}, stored)
        raise error


async def fetch_remote(recorder: ItemRecorder, result: ImageResult, stored: StoredImages) -> ImageResult:
    """Fetch and save what is away, beside what is `stored`; that is on record. Raises `DownloadError` and OSError."""
    fetched, error = await _fetch_available(result, recorder.run.fetch)
    return await run_to_completion(_store_fetched(recorder, result, fetched, stored, error))


async def resume_fetch(recorder: ItemRecorder, remote: ItemRecord) -> ImageResult:
    """Fetch what an earlier run could not; the result made no attempt. Raises as `fetch_remote`."""
    return await fetch_remote(
        recorder, _known_result(remote, recorder.run.root), StoredImages(files=remote.files)
    )


async def fetch_partial_result(error: ImagesError, fetch: Fetch) -> None:
    """Fetch what came of an item that failed all the same; what cannot be fetched stays there with its URL."""
    if isinstance(error, PartialResultError):
        if any(map(is_away, error.result.images)):
            error.result, _ = await _fetch_available(error.result, fetch)
        return
    images = tuple(image for image in error.images if isinstance(image, Image))
    if any(map(is_away, images)):
        result, _ = await _fetch_available(ImageResult(images=images), fetch)
        error.images = result.images


async def _fetch_available(result: ImageResult, fetch: Fetch) -> tuple[ImageResult, DownloadError | None]:
    """The result as far as it could be fetched, and why not the rest."""
    try:
        return await fetch(result), None
    except DownloadError as error:
        response: ImageResult = error.response
        msg = f"{error.reason}; it is paid for, and the journal has its URL: run the batch again to fetch it"
        explained = DownloadError(
            msg, urls=error.urls, response=response, status_code=error.status_code, reason=error.reason
        )
        return response, explained


async def _store_fetched(
    recorder: ItemRecorder,
    before: ImageResult,
    fetched: ImageResult,
    stored: StoredImages,
    error: DownloadError | None,
) -> ImageResult:
    """Have what was fetched on the disk, and on record."""
    pairs = list(zip(before.images, fetched.images, strict=True))
    fetched_images = [new for old, new in pairs if is_away(old) and not is_away(new)]
    stored_now = await recorder.store(
        fetched_images, len(stored.files), [old.url for old, _ in pairs if is_away(old)]
    )
    all_stored = StoredImages(stored_now.images, (*stored.files, *stored_now.files))
    if error is not None:
        urls = [new.url for _, new in pairs if is_away(new)]
        await recorder.record("away", {**error_fields(error), "urls": urls}, all_stored)
        raise error
    local = iter(stored_now.images)
    result = evolve(fetched, images=tuple(next(local) if is_away(old) else old for old, _ in pairs))
    await recorder.finish(result, {}, all_stored)
    return result


def _known_result(remote: ItemRecord, root: Path) -> ImageResult:
    """What the journal knows of an item: the pictures that are there, and those that are away."""
    remote_images = (Image(url=url) for url in remote.urls)
    return ImageResult(images=(*images_from_files(remote.files, root), *remote_images), attempts=0)


def images_from_files(files: Iterable[StoredFile], root: Path) -> list[Image]:
    """The pictures that are there."""
    return [
        Image(
            path=root / file.name,
            nbytes=file.nbytes,
            media_type=file.media_type,
            width=file.width,
            height=file.height,
        )
        for file in files
    ]
