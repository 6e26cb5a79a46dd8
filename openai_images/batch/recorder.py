"""What the items of a run share, and how an item's outcome gets to disk: images, then rows; remote images fetched.

Invariants: an image is synced and named before its row, and a row is on disk before anybody acts on it; where the
disk fails the batch is halted. URLs are on disk before they are fetched, and what could not be fetched stays on
record for the next run: it is never requested again.
Must not: decide what a row says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

from attrs import evolve, frozen

from openai_images._util.aio import run_to_completion
from openai_images.batch.caller import Caller, CircuitBreaker
from openai_images.batch.filesystem import Disk
from openai_images.batch.image_files import ImageNotStoredError, ImageStore, StoredImages
from openai_images.batch.journal import Journal, dated_row, error_fields, files_field, timestamp
from openai_images.batch.journal_reader import JournalRow, StoredFile
from openai_images.batch.ledger import Budget, ItemRecord
from openai_images.batch.models import BatchOptions
from openai_images.batch.plan import ResolvedItem, StopReason
from openai_images.batch.recovery import OpenedBatch
from openai_images.errors import (
    APIConnectionError,
    AuthenticationError,
    BatchFolderError,
    ConfigurationError,
    DownloadError,
    ImagesError,
    PartialResultError,
    QuotaExhaustedError,
    annotate,
)
from openai_images.models.image import Image, is_remote
from openai_images.models.outcomes import Progress
from openai_images.models.results import ImageResult

_log = logging.getLogger("openai_images")

_MAX_SHOWN_KEY = 60
_THREADS = 8
"""Images that are written concurrently: a disk syncs several in little more time than one."""

_STOP_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (QuotaExhaustedError, "quota"),
    (AuthenticationError, "key"),
    (ConfigurationError, "key"),
    (ImagesError, "server"),
)


@frozen(kw_only=True)
class RunSettings:
    """What a run is made of."""

    caller: Caller
    items: Sequence[ResolvedItem]
    opened: OpenedBatch
    options: BatchOptions
    progress: Callable[[Progress], object] | None
    disk: Disk
    start_time: float


class RunState:
    """What all items of a run share; `stop` ends the sending of new requests."""

    def __init__(self, settings: RunSettings, stop: Callable[[], None]) -> None:
        opened, options = settings.opened, settings.options
        self.caller = settings.caller
        self.prices = options.prices
        self.paths = opened.folder.paths
        self.ledger = opened.ledger
        self.budget = Budget(options.budget, opened.ledger.spending.upper_bound)
        self.budget_freed = asyncio.Event()
        self.breaker = CircuitBreaker(options.max_outage, settings.caller.timing)
        self.image_store = ImageStore(settings.disk, opened.folder.paths.root)
        self.threads = ThreadPoolExecutor(_THREADS, "openai_images batch")
        self.stop_reason = StopReason()
        self._journal = Journal(settings.disk, opened.journal.descriptor, opened.journal.size)
        self._stop = stop

    async def record(self, row: JournalRow, *, has_images: bool) -> None:
        """Write a row, after the names of its images have been synced, and count it. Raises OSError."""
        row = dated_row(row, timestamp(self.caller.timing.wall()))
        await self._journal.append(row, self.paths.images if has_images else None)
        self.ledger.add(row)

    def halt(self, error: Exception, images: Sequence[Image] = ()) -> None:
        """Send nothing more because of this error; `images` may have been saved outside of the folder."""
        paths = [image.path for image in images if image.path is not None]
        outside = [str(path) for path in paths if path.parent != self.paths.images]
        reason = self.stop_reason
        reason.saved_elsewhere += [path for path in outside if path not in reason.saved_elsewhere]
        if reason.error is None:
            reason.error = error
            reason.reason = next((name for cls, name in _STOP_REASONS if isinstance(error, cls)), "folder")
        self._stop()

    def pop_error(self) -> Exception | None:
        """The error that ended the run, with what to do; once."""
        error, self.stop_reason.error = self.stop_reason.error, None
        root = str(self.paths.root)
        if isinstance(error, OSError) and not isinstance(error, ImagesError):  # an APITimeoutError is both
            msg = (
                f"the batch stopped because {root!r} could not be written ({error.strerror or error}); make room or "
                "see to the rights, and run it again to go on"
            )
            if self.stop_reason.saved_elsewhere:
                places = "".join(f"\n  {path}" for path in self.stop_reason.saved_elsewhere)
                msg += (
                    ". Pictures that were paid for and did not fit were saved elsewhere, and the next run fetches them "
                    f"(should it call their items unknown, move them to {str(self.paths.images)!r}):{places}"
                )
            return BatchFolderError(msg)
        if isinstance(error, APIConnectionError):
            msg = f"the batch stopped, as the server stayed away: {error}; run it again to go on"
            return APIConnectionError(msg)
        return error

    def settle(self, estimate: Decimal, cost: Decimal | None, *, ran: bool) -> None:
        """Replace a reserved estimate by its cost, or free it where the request did not run."""
        if ran:
            self.budget.settle(estimate, cost)
        else:
            self.budget.release(estimate)
        self.budget_freed.set()

    def close(self) -> None:
        """Finish writing; blocks."""
        self.threads.shutdown()
        self._journal.close()


@frozen(kw_only=True)
class WorkItem:
    """What is to be done for an item: `remote` is its record where its images are behind URLs.

    Such an item is fetched, and sent only if that fails and `can_send`; its estimate is reserved if it can be sent.
    `kept_files` are its images of earlier runs: `item` is for the rest.
    """

    item: ResolvedItem
    stem: str
    remote: ItemRecord | None = None
    can_send: bool = True
    kept_files: tuple[StoredFile, ...] = ()

    @property
    def image_count(self) -> int:
        """How many images there are when it is done."""
        return len(self.kept_files) + self.item.image_count

    @property
    def estimate(self) -> Decimal:
        """What is reserved for it, in US dollars."""
        return (self.item.estimate or Decimal(0)) if self.can_send else Decimal(0)


class ItemRecorder:
    """Has images and rows of one item on disk; `is_open` while there may be a `sent` row without an end."""

    def __init__(self, run: RunState, work: WorkItem) -> None:
        self.run = run
        self.work = work
        self.is_open = False

    async def save(
        self, images: Sequence[Image], before: int = 0, urls: Sequence[str | None] = ()
    ) -> StoredImages:
        """Store images, `before` of the item being there already; where that fails the batch is halted.

        Where they cannot be stored anywhere the row says so, and that they are still at `urls`. Raises
        `ImageNotStoredError` and OSError.
        """
        if not images:
            return StoredImages()
        run, loop = self.run, asyncio.get_running_loop()
        arguments = (self.work.stem, images, self.work.image_count, before)
        try:
            stored = await loop.run_in_executor(run.threads, run.image_store.save, *arguments)
        except ImageNotStoredError as error:
            run.halt(error)
            fields = error_fields(error)
            await self.record(*(("away", {**fields, "urls": urls}) if urls else ("unknown", fields)))
            raise
        if stored.error is not None:
            run.halt(stored.error, stored.images)
        return stored

    async def record(self, state: str, fields: JournalRow, stored: StoredImages | None = None) -> None:
        """Have a row on disk, after the names of its images. Raises OSError, and halts the batch then."""
        item = self.work.item
        files = {"files": files_field(stored.files)} if stored is not None and stored.files else {}
        row = {"state": state, "key": item.key, "request": item.digest, **fields, **files}
        try:
            await self.run.record(row, has_images=bool(files))
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
        """Have the `done` row on disk. Raises `PartialResultError` where images are missing, and OSError."""
        count, expected = len(stored.files), self.work.image_count
        if count >= expected or "n" in (self.work.item.request.extra_body or {}):
            await self.record("done", fields, stored)
            return
        sent = f"the server sent {count} of {expected} images"
        msg = f"{sent}; those are kept, and retry_failed asks for the missing ones"
        error = PartialResultError(msg, result=result, errors=[ImagesError(msg)])
        facts = {"attempts": result.attempts, "elapsed": result.elapsed, "request_id": result.request_id}
        annotate(error, facts)
        await self.record("failed", {**fields, **error_fields(error), "billed": True}, stored)
        raise error


async def fetch_remote(recorder: ItemRecorder, result: ImageResult, stored: StoredImages) -> ImageResult:
    """Fetch and store the remote images of a result, and record them. Raises `DownloadError` and OSError."""
    fetched, error = await _fetch_available(result, recorder.run.caller)
    return await run_to_completion(_store_fetched(recorder, result, fetched, stored, error))


async def resume_fetch(recorder: ItemRecorder, remote: ItemRecord) -> ImageResult:
    """Fetch what an earlier run could not; the result made no attempt. Raises as `fetch_remote`."""
    images = images_from_files(remote.files, recorder.run.paths.root)
    images += [Image(url=url) for url in remote.urls]
    result = ImageResult(images=tuple(images), attempts=0)
    return await fetch_remote(recorder, result, StoredImages(files=remote.files))


async def fetch_partial_result(error: ImagesError, caller: Caller) -> None:
    """Fetch the images of an item that failed nevertheless; what cannot be fetched keeps its URL."""
    if isinstance(error, PartialResultError):
        if any(map(is_remote, error.result.images)):
            error.result, _ = await _fetch_available(error.result, caller)
        return
    images = tuple(image for image in error.images if isinstance(image, Image))
    if any(map(is_remote, images)):
        result, _ = await _fetch_available(ImageResult(images=images), caller)
        error.images = result.images


async def _fetch_available(result: ImageResult, caller: Caller) -> tuple[ImageResult, DownloadError | None]:
    """The result as far as it could be fetched, and the error of the rest."""
    try:
        return await caller.fetch(result), None
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
    pairs = list(zip(before.images, fetched.images, strict=True))
    fetched_images = [new for old, new in pairs if is_remote(old) and not is_remote(new)]
    old_urls = [old.url for old, _ in pairs if is_remote(old)]
    stored_now = await recorder.save(fetched_images, len(stored.files), old_urls)
    all_stored = StoredImages(stored_now.images, (*stored.files, *stored_now.files))
    if error is not None:
        urls = [new.url for _, new in pairs if is_remote(new)]
        await recorder.record("away", {**error_fields(error), "urls": urls}, all_stored)
        raise error
    local = iter(stored_now.images)
    result = evolve(fetched, images=tuple(next(local) if is_remote(old) else old for old, _ in pairs))
    await recorder.finish(result, {}, all_stored)
    return result


def images_from_files(files: Iterable[StoredFile], root: Path) -> list[Image]:
    """Images of files in the folder."""
    return [
        Image(path=root / f.name, nbytes=f.nbytes, media_type=f.media_type, width=f.width, height=f.height)
        for f in files
    ]
