"""Pictures of a batch that are behind URLs: fetched by the client, and never asked for again.

Rules: the URLs are on the disk before, and what came of them after; what could not be fetched stays on record for the
next run. Nothing is sent to the API but, where the picture is there, a GET.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import evolve

from openai_images.batch.journal_rows import SavedFile, error_fields
from openai_images.batch.ledger import Record
from openai_images.batch.pictures import Saved, to_end
from openai_images.batch.recorder import Fetch, Keeper
from openai_images.errors import DownloadError, ImagesError, PartialResultError
from openai_images.models.image import Image, is_remote as is_away
from openai_images.models.results import ImageResult

__all__ = ["fetch_away", "fetch_beside", "fetch_recorded", "images_of"]


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
