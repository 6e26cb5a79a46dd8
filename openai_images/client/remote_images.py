"""`client.download`, and what fetches for `into=`: pictures behind URLs made into pictures that are here.

Rules: what the server said of a picture stays with it. Several are fetched at once, and one that fails stops no other;
then a `DownloadError` carries them all. A `data:` URL is the picture itself, and is decoded here. It is imported with
the first such picture, as most servers send none. It refuses to touch pictures that are here already.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import evolve

from openai_images.client.downloads import is_away
from openai_images.client.files import Output, OutputFiles
from openai_images.errors import DecodeError, DownloadError, RequestInvalidError, ResponseTooLargeError
from openai_images.http.intake import NotFetchedError
from openai_images.http.urls import decode_data_url, is_data_url, shown
from openai_images.models.image import Image
from openai_images.models.results import ImageResult, with_images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from openai_images.http.downloader import Fetcher
    from openai_images.wire.sinks import Sink

_AT_ONCE = 4
"""Pictures of one result that are fetched at once: enough to fill a line, few enough for a server of pictures."""


class Downloads:
    """Fetches the pictures of one client."""

    def __init__(self, fetcher: Fetcher, new_sink: Callable[[], Sink]) -> None:
        """Pictures that are for no file go into sinks of this kind."""
        self._fetcher = fetcher
        self._new_sink = new_sink

    async def download(self, what: object, output: Output | None) -> ImageResult | Image:
        """An `ImageResult` or an `Image`, the same with its pictures.

        Raises `DownloadError`, `RequestInvalidError`, and OSError where the files cannot be written.
        """
        if isinstance(what, Image):
            return (await self._download(ImageResult(images=(what,)), output)).image
        if isinstance(what, ImageResult):
            return await self._download(what, output)
        msg = f"download takes an ImageResult or an Image, such as error.response, not {type(what).__name__}"
        raise RequestInvalidError(msg)

    async def _download(self, result: ImageResult, output: Output | None) -> ImageResult:
        if not any(map(is_away, result.images)):
            return result
        files = None if output is None else OutputFiles(output, several=len(result.images) > 1)
        if files is not None:
            await files.prepare()
        return await self.fetch(result, files, range(len(result.images)))

    async def fetch(
        self, result: ImageResult, files: OutputFiles | None, places: Sequence[int]
    ) -> ImageResult:
        """The result with all its pictures; into files their numbers are `places`. Raises `DownloadError`."""
        room = asyncio.Semaphore(_AT_ONCE)
        failures: dict[int, NotFetchedError] = {}

        async def one(number: int, image: Image) -> Image:
            async with room:
                try:
                    return await self._fetched(image, files, places[number])
                except NotFetchedError as failure:
                    failures[number] = failure
                    return image

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(one(number, image)) if is_away(image) else None
                    for number, image in enumerate(result.images)
                ]
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            if files is not None:
                files.discard()
        images = [
            image if task is None else task.result() for task, image in zip(tasks, result.images, strict=True)
        ]
        here = with_images(result, images)
        if failures:
            raise self._error(here, failures)
        return here

    async def _fetched(self, image: Image, files: OutputFiles | None, place: int) -> Image:
        """One picture, with what was said of it. Raises `NotFetchedError`."""
        url = image.url or ""
        new_sink = self._new_sink if files is None else files.new_sink
        if is_data_url(url):
            here, url = _decoded(url, new_sink(), self._fetcher.max_bytes), ""
        else:
            here = await self._fetcher.fetch(url, new_sink, None if files is None else files.drain)
        if files is not None:
            here = await files.keep(here, place)
        return evolve(
            here,
            url=url or None,
            revised_prompt=image.revised_prompt,
            generation_id=image.generation_id,
            extra=image.extra,
        )

    def _error(self, response: ImageResult, failures: dict[int, NotFetchedError]) -> DownloadError:
        """What befell those that did not come."""
        given = [response.images[number].url or "" for number in sorted(failures)]
        urls = [self._fetcher.whole(url) for url in given if not is_data_url(url)]
        first = failures[min(failures)]
        tries = f", after {first.attempts} attempts" if first.attempts > 1 else ""
        where = f"{shown(self._fetcher.whole(given[0]))} ({first}{tries})"
        if len(response.images) == 1:
            reason, it = f"the picture could not be fetched from {where}", "it is"
        else:
            number = f"{len(given)} of {len(response.images)} pictures could not be fetched"
            reason, it = f"{number}, the first of them from {where}", "all are"
        msg = (
            f"{reason}; {it} paid for, so nothing was generated again: await client.download(error.response) tries "
            "once more, and error.url is the whole address"
        )
        return DownloadError(msg, urls=urls, response=response, status_code=first.status, reason=reason)


def _decoded(url: str, sink: Sink, max_bytes: int) -> Image:
    """The picture in a `data:` URL. Raises `NotFetchedError`."""
    try:
        image = decode_data_url(url, sink, max_bytes)
    except (DecodeError, ResponseTooLargeError) as error:
        sink.discard()
        raise NotFetchedError(str(error)) from None
    if image.flaw is not None:
        sink.discard()
        raise NotFetchedError(f"what it holds is no whole picture ({image.flaw})")
    return image
