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

from openai_images.batch.circuit_breaker import Gate
from openai_images.batch.image_store import Saved, Saver, UnsavedPictureError, to_end
from openai_images.batch.journal import error_fields, files_field
from openai_images.batch.journal_reader import Row, SavedFile
from openai_images.batch.ledger import Budget, Record
from openai_images.batch.plan import Asked
from openai_images.catalog.prices import Prices
from openai_images.client.downloads import is_away
from openai_images.errors import DownloadError, ImagesError, PartialResultError, with_facts
from openai_images.http.watch import Watcher
from openai_images.models.image import Image
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult

_log = logging.getLogger("openai_images")

_LONGEST_SHOWN_KEY = 60

Generate: TypeAlias = Callable[[GenerateRequest, Watcher], Awaitable[ImageResult]]

Fetch: TypeAlias = Callable[[ImageResult], Awaitable[ImageResult]]


@frozen(kw_only=True)
class Means:
    """What all items of a run share.

    `record` has a row on the disk, behind the names of new pictures where that is said. `halt` keeps what ends the
    run, with the pictures that had to be saved elsewhere, and stops it. `settled` is told when money was set free.
    `root` is the batch's folder.
    """

    generate: Generate
    fetch: Fetch
    record: Callable[[Row, bool], Awaitable[None]]
    halt: Callable[[Exception, Sequence[Image]], None]
    settled: Callable[[], None]
    root: Path
    gate: Gate
    saver: Saver
    threads: Executor
    budget: Budget
    prices: Prices


@frozen(kw_only=True)
class Task:
    """What is to be done for an item: `away` is its record where its pictures are behind URLs.

    Such an item is fetched, and sent only if that fails and `may_send`; its estimate was set aside if it may be sent.
    `kept` are those of its pictures that came earlier: `asked` is for the rest.
    """

    asked: Asked
    stem: str
    away: Record | None = None
    may_send: bool = True
    kept: tuple[SavedFile, ...] = ()

    @property
    def pictures(self) -> int:
        """How many there are when it is done."""
        return len(self.kept) + self.asked.pictures

    @property
    def estimate(self) -> Decimal:
        """What is set aside for it, in US dollars."""
        return (self.asked.estimate or Decimal(0)) if self.may_send else Decimal(0)


class Keeper:
    """Has pictures and rows of one item on the disk; `is_open` while there may be a `sent` row without an end."""

    def __init__(self, means: Means, task: Task) -> None:
        """Nothing is written yet."""
        self.means = means
        self.task = task
        self.is_open = False

    async def save(self, images: Sequence[Image], before: int = 0, urls: Sequence[str | None] = ()) -> Saved:
        """Save pictures, so many of the item being there already; where that fails the batch is halted.

        Where they cannot be saved anywhere the row says so, and that they are still at `urls`. Raises
        `UnsavedPictureError` and OSError.
        """
        if not images:
            return Saved()
        means, task = self.means, self.task
        loop, pictures = asyncio.get_running_loop(), task.pictures
        try:
            saved = await loop.run_in_executor(
                means.threads, means.saver.save, task.stem, images, pictures, before
            )
        except UnsavedPictureError as error:
            means.halt(error, ())
            fields = error_fields(error)
            await self.record(*(("away", {**fields, "urls": urls}) if urls else ("unknown", fields)))
            raise
        if saved.error is not None:
            means.halt(saved.error, saved.images)
        return saved

    async def record(self, state: str, fields: Row, saved: Saved | None = None) -> None:
        """Have a row on the disk, behind the names of its pictures. Raises OSError, and halts the batch then."""
        asked = self.task.asked
        files = {"files": files_field(saved.files)} if saved is not None and saved.files else {}
        row = {"state": state, "key": asked.key, "request": asked.digest, **fields, **files}
        try:
            await self.means.record(row, bool(files))
        except OSError as error:
            self.means.halt(error, () if saved is None else saved.images)
            raise
        self.is_open = state == "sent"
        number = len(files.get("files", ()))
        if state in ("failed", "unknown") and 0 < number < self.task.pictures:
            _log.warning(
                "%r has %d of %d images; retry_%s asks for the missing ones",
                *(asked.key[:_LONGEST_SHOWN_KEY], number, self.task.pictures, state),
            )

    async def finish(self, result: ImageResult, fields: Row, saved: Saved) -> None:
        """Have it on the disk that it is done. Raises `PartialResultError` where pictures are missing, and OSError."""
        number, asked = len(saved.files), self.task.pictures
        if number >= asked or "n" in (self.task.asked.request.extra_body or {}):
            await self.record("done", fields, saved)
            return
        msg = f"the server sent {number} of {asked} images; those are kept, and retry_failed asks for the missing ones"
        error = PartialResultError(msg, result=result, errors=[ImagesError(msg)])
        with_facts(
            error, {"attempts": result.attempts, "elapsed": result.elapsed, "request_id": result.request_id}
        )
        await self.record("failed", {**fields, **error_fields(error), "billed": True}, saved)
        raise error


async def fetch_away(keeper: Keeper, result: ImageResult, saved: Saved) -> ImageResult:
    """Fetch and save what is away, beside what is `saved`; that is on record. Raises `DownloadError` and OSError."""
    fetched, error = await _fetched(result, keeper.means.fetch)
    return await to_end(_keep(keeper, result, fetched, saved, error))


async def fetch_recorded(keeper: Keeper, away: Record) -> ImageResult:
    """Fetch what an earlier run could not; the result made no attempt. Raises as `fetch_away`."""
    return await fetch_away(keeper, _known(away, keeper.means.root), Saved(files=away.files))


async def fetch_beside(error: ImagesError, fetch: Fetch) -> None:
    """Fetch what came of an item that failed all the same; what cannot be fetched stays there with its URL."""
    if isinstance(error, PartialResultError):
        if any(map(is_away, error.result.images)):
            error.result, _ = await _fetched(error.result, fetch)
        return
    images = tuple(image for image in error.images if isinstance(image, Image))
    if any(map(is_away, images)):
        result, _ = await _fetched(ImageResult(images=images), fetch)
        error.images = result.images


async def _fetched(result: ImageResult, fetch: Fetch) -> tuple[ImageResult, DownloadError | None]:
    """The result as far as it could be fetched, and why not the rest."""
    try:
        return await fetch(result), None
    except DownloadError as error:
        response: ImageResult = error.response
        msg = f"{error.reason}; it is paid for, and the journal has its URL: run the batch again to fetch it"
        told = DownloadError(
            msg, urls=error.urls, response=response, status_code=error.status_code, reason=error.reason
        )
        return response, told


async def _keep(
    keeper: Keeper, before: ImageResult, fetched: ImageResult, saved: Saved, error: DownloadError | None
) -> ImageResult:
    """Have what was fetched on the disk, and on record."""
    pairs = list(zip(before.images, fetched.images, strict=True))
    came = [new for old, new in pairs if is_away(old) and not is_away(new)]
    more = await keeper.save(came, len(saved.files), [old.url for old, _ in pairs if is_away(old)])
    both = Saved(more.images, (*saved.files, *more.files))
    if error is not None:
        urls = [new.url for _, new in pairs if is_away(new)]
        await keeper.record("away", {**error_fields(error), "urls": urls}, both)
        raise error
    here = iter(more.images)
    result = evolve(fetched, images=tuple(next(here) if is_away(old) else old for old, _ in pairs))
    await keeper.finish(result, {}, both)
    return result


def _known(away: Record, root: Path) -> ImageResult:
    """What the journal knows of an item: the pictures that are there, and those that are away."""
    away_ones = (Image(url=url) for url in away.urls)
    return ImageResult(images=(*images_of(away.files, root), *away_ones), attempts=0)


def images_of(files: Iterable[SavedFile], root: Path) -> list[Image]:
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
