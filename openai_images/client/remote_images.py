"""`RemoteImages`: downloads images that the server returned as URLs, into memory or files.

Invariants: an image keeps its other fields; a failed download does not stop the others, and its `DownloadError` has all
images; a `data:` URL is decoded. Imported with the first remote image, as most servers send none.
Must not: touch images that are already downloaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrs import evolve

from openai_images.client.files import Output, OutputFiles
from openai_images.errors import DecodeError, DownloadError, RequestInvalidError, ResponseTooLargeError
from openai_images.http.address_guard import display_url
from openai_images.http.retry import FetchError
from openai_images.models.image import Image, is_remote
from openai_images.models.results import ImageResult, with_images
from openai_images.wire.base64_decoder import Sink, decode_data_url, is_data_url

if TYPE_CHECKING:
    from openai_images.http.downloader import ImageDownloader
    from openai_images.http.endpoint import Endpoint
    from openai_images.models.options import RetryPolicy, Timeouts

_CONCURRENCY = 4
"""Concurrent downloads of one result: enough to use the bandwidth, not too many for one server."""


class RemoteImages:
    """Downloads the remote images of one client."""

    def __init__(self, downloader: ImageDownloader, new_sink: Callable[[], Sink]) -> None:
        """Write images that are not written to files to a `new_sink()`."""
        self._downloader = downloader
        self._new_sink = new_sink

    def with_settings(self, endpoint: Endpoint, retry: RetryPolicy, timeouts: Timeouts) -> RemoteImages:
        """Return a copy with other headers, retries and timers, and the same connections."""
        return RemoteImages(self._downloader.with_settings(endpoint, retry, timeouts), self._new_sink)

    def for_call(self) -> RemoteImages:
        """Return the downloader of one call."""
        return RemoteImages(self._downloader.for_call(), self._new_sink)

    @property
    def wait_reason(self) -> str | None:
        """Why a download waits for its next attempt, and until when; None if it does not, or for a few seconds."""
        return self._downloader.wait_reason

    async def download(self, source: object, output: Output | None) -> ImageResult | Image:
        """Return the `ImageResult` or `Image` with its images downloaded.

        Raises `DownloadError`, `RequestInvalidError`, and OSError if the files cannot be written.
        """
        if isinstance(source, Image):
            return (await self._download(ImageResult(images=(source,)), output)).image
        if isinstance(source, ImageResult):
            return await self._download(source, output)
        raise RequestInvalidError(
            f"download takes an ImageResult or an Image, such as error.response, not {type(source).__name__}"
        )

    async def _download(self, result: ImageResult, output: Output | None) -> ImageResult:
        if not any(map(is_remote, result.images)):
            return result
        files = None if output is None else OutputFiles(output, several=len(result.images) > 1)
        if files is not None:
            await files.prepare()
        return await self.fetch(result, files, range(len(result.images)), list(result.images))

    async def fetch(
        self, result: ImageResult, files: OutputFiles | None, indexes: Sequence[int], images: list[Image]
    ) -> ImageResult:
        """Return the result with all its images downloaded; `indexes` number their files. Raises `DownloadError`.

        Each image replaces its original in `images` when it is downloaded.
        """
        slots = asyncio.Semaphore(_CONCURRENCY)
        failures: dict[int, FetchError] = {}

        async def fetch_one(index: int, image: Image) -> None:
            async with slots:
                try:
                    images[index] = await self._fetch_image(image, files, indexes[index])
                except FetchError as failure:
                    failures[index] = failure

        try:
            async with asyncio.TaskGroup() as group:
                for index, image in enumerate(result.images):
                    if is_remote(image):
                        group.create_task(fetch_one(index, image))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            if files is not None:
                files.discard()
        fetched = with_images(result, images)
        if failures:
            raise self._error(fetched, failures)
        return fetched

    async def _fetch_image(self, image: Image, files: OutputFiles | None, index: int) -> Image:
        """Download one image, keeping its other fields. Raises `FetchError`."""
        url = image.url or ""
        new_sink = self._new_sink if files is None else files.new_sink
        if is_data_url(url):
            fetched, url = _decode(url, new_sink(), self._downloader.max_bytes), ""
        else:
            fetched = await self._downloader.fetch(url, new_sink, None if files is None else files.flush_due)
        if files is not None:
            fetched = await files.store(fetched, index)
        return evolve(
            fetched,
            url=url or None,
            revised_prompt=image.revised_prompt,
            generation_id=image.generation_id,
            extra=image.extra,
        )

    def _error(self, response: ImageResult, failures: dict[int, FetchError]) -> DownloadError:
        """Return the error for the images that could not be downloaded."""
        failed_urls = [response.images[index].url or "" for index in sorted(failures)]
        urls = [self._downloader.resolve(url) for url in failed_urls if not is_data_url(url)]
        first = failures[min(failures)]
        tries = f", after {first.attempts} attempts" if first.attempts > 1 else ""
        place = f"{display_url(self._downloader.resolve(failed_urls[0]))} ({first}{tries})"
        if len(response.images) == 1:
            reason, it = f"the image could not be downloaded from {place}", "it is"
        else:
            failed = f"{len(failed_urls)} of {len(response.images)} images could not be downloaded"
            reason, it = f"{failed}, the first of them from {place}", "all are"
        msg = (
            f"{reason}; {it} paid for, and nothing was generated again: await client.download(error.response) tries "
            "the download again; error.url is the complete URL"
        )
        return DownloadError(msg, urls=urls, response=response, status_code=first.status, reason=reason)


def _decode(url: str, sink: Sink, max_bytes: int) -> Image:
    """Decode the image in a `data:` URL. Raises `FetchError`."""
    try:
        image = decode_data_url(url, sink, max_bytes)
    except (DecodeError, ResponseTooLargeError) as error:
        sink.discard()
        raise FetchError(str(error)) from None
    if image.flaw is not None:
        sink.discard()
        raise FetchError(f"it is not a complete image ({image.flaw})")
    return image
