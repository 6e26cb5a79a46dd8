"""Fetches remote images: for `client.download`, and for `into=` when the response is complete.

Invariants: an image keeps the server's information about it; one that fails stops no other, and a `DownloadError`
then has them all. Fetching begins when the call's connection is closed and its slot is free; a `CompletedImage` that is
remote is held until it is fetched, and given unchanged where that fails.
Must not: fetch for a call without `into=`; the caller has `client.download`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrs import evolve

from openai_images.client.call import Call
from openai_images.client.files import Output, OutputFiles
from openai_images.errors import (
    DecodeError,
    DownloadError,
    PartialResultError,
    RequestInvalidError,
    ResponseTooLargeError,
    annotate,
)
from openai_images.http.download_body import FetchError
from openai_images.http.urls import decode_data_url, display_url, is_data_url
from openai_images.models.image import Image, is_remote
from openai_images.models.results import CompletedImage, Event, ImageResult, with_images
from openai_images.wire.sinks import Sink

if TYPE_CHECKING:
    from openai_images.http.downloader import ImageDownloader

_CONCURRENCY = 4
"""Images of one result that are fetched concurrently: enough to use the bandwidth, not too many for one server."""


class RemoteImages:
    """Fetches the remote images of one client."""

    def __init__(self, downloader: ImageDownloader, new_sink: Callable[[], Sink]) -> None:
        """Images that go to no file are written to a `new_sink()`."""
        self._downloader = downloader
        self._new_sink = new_sink

    async def download(self, source: object, output: Output | None) -> ImageResult | Image:
        """Return the `ImageResult` or `Image` with its images fetched.

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
        return await self.fetch(result, files, range(len(result.images)))

    async def fetch(
        self, result: ImageResult, files: OutputFiles | None, indexes: Sequence[int]
    ) -> ImageResult:
        """Return the result with all its images fetched; `indexes` number their files. Raises `DownloadError`."""
        slots = asyncio.Semaphore(_CONCURRENCY)
        failures: dict[int, FetchError] = {}

        async def fetch_one(index: int, image: Image) -> Image:
            async with slots:
                try:
                    return await self._fetch_image(image, files, indexes[index])
                except FetchError as failure:
                    failures[index] = failure
                    return image

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(fetch_one(index, image)) if is_remote(image) else None
                    for index, image in enumerate(result.images)
                ]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            if files is not None:
                files.discard()
        images = [
            image if task is None else task.result() for task, image in zip(tasks, result.images, strict=True)
        ]
        fetched = with_images(result, images)
        if failures:
            raise self._error(fetched, failures)
        return fetched

    async def _fetch_image(self, image: Image, files: OutputFiles | None, index: int) -> Image:
        """Fetch one image; the fields about it are kept. Raises `FetchError`."""
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
        """The error for the images that could not be fetched."""
        failed_urls = [response.images[index].url or "" for index in sorted(failures)]
        urls = [self._downloader.resolve(url) for url in failed_urls if not is_data_url(url)]
        first = failures[min(failures)]
        tries = f", after {first.attempts} attempts" if first.attempts > 1 else ""
        place = f"{display_url(self._downloader.resolve(failed_urls[0]))} ({first}{tries})"
        if len(response.images) == 1:
            reason, it = f"the picture could not be fetched from {place}", "it is"
        else:
            failed = f"{len(failed_urls)} of {len(response.images)} pictures could not be fetched"
            reason, it = f"{failed}, the first of them from {place}", "all are"
        msg = (
            f"{reason}; {it} paid for, so nothing was generated again: await client.download(error.response) tries "
            "once more, and error.url is the whole address"
        )
        return DownloadError(msg, urls=urls, response=response, status_code=first.status, reason=reason)


class DownloadingCall(Call):
    """Wraps a call and fetches its remote images into files."""

    def __init__(self, inner: Call, remote_images: Callable[[], RemoteImages], files: OutputFiles) -> None:
        """`remote_images` is called only when there is something to fetch."""
        super().__init__()
        self._inner = inner
        self._remote_images = remote_images
        self._files = files
        self._held: list[CompletedImage] = []
        self._completed: list[CompletedImage] = []
        self._result: ImageResult | None = None

    @property
    def result(self) -> ImageResult | None:
        """The result of the call, with the images when they are fetched."""
        return self._result or self._inner.result

    @property
    def request_id(self) -> str | None:
        """The server's request id."""
        return self._inner.request_id

    @property
    def is_open(self) -> bool:
        """Whether the call is in flight."""
        return self._inner.is_open

    @property
    def counts(self) -> tuple[int, int]:
        """How many partial and how many completed images there are."""
        return self._inner.counts

    async def open(self) -> None:
        """Send the request. Raises `ImagesError` and OSError."""
        await self._inner.open()

    async def read(self) -> list[Event]:
        """Return the next events that are not held; none when the call is over."""
        events: list[Event] = []
        while not events and not self.is_over:
            events = [event for event in await self._inner.read() if not self._holds(event)]
            if self._inner.is_over and not (events and self._has_remote()):
                events += await self._finish()
                self.is_over = True
        return events

    def close(self) -> None:
        """Stop in any state. Idempotent."""
        self.is_over = True
        self._inner.close()
        self._files.discard()

    async def wait_closed(self) -> None:
        """Wait for cancelled tasks to end."""
        await self._inner.wait_closed()

    def _holds(self, event: Event) -> bool:
        if not isinstance(event, CompletedImage):
            return False
        self._completed.append(event)
        if is_remote(event.image):
            self._held.append(event)
        return is_remote(event.image)

    def _has_remote(self) -> bool:
        result = _available_result(self._inner)
        return result is not None and any(map(is_remote, result.images))

    async def _finish(self) -> list[Event]:
        """Fetch the remote images of the finished call; return the held events."""
        inner = self._inner
        result = _available_result(inner) if self._has_remote() else None
        self.error, inner.error = inner.error, None
        if result is None:
            return self._release_held({})
        numbers = {id(event.image): event.image_index for event in self._completed}
        indexes = [numbers.get(id(image), index) for index, image in enumerate(result.images)]
        error: DownloadError | None = None
        try:
            fetched = await self._remote_images().fetch(result, self._files, indexes)
        except DownloadError as failure:
            error, fetched = failure, failure.response
            info = {"attempts": result.attempts, "elapsed": result.elapsed, "request_id": result.request_id}
            annotate(error, info)
        if isinstance(self.error, PartialResultError):
            self.error.result = fetched
            self.error.errors += () if error is None else (error,)
        else:
            self._result, self.error = fetched, error
        return self._release_held(
            {id(old): new for old, new in zip(result.images, fetched.images, strict=True)}
        )

    def _release_held(self, fetched: dict[int, Image]) -> list[Event]:
        held, self._held = self._held, []
        return [evolve(event, image=fetched.get(id(event.image), event.image)) for event in held]


def _available_result(call: Call) -> ImageResult | None:
    """The call's result, also if images are missing from it."""
    error = call.error
    result: ImageResult | None = error.result if isinstance(error, PartialResultError) else call.result
    return result


def _decode(url: str, sink: Sink, max_bytes: int) -> Image:
    """Decode the image in a `data:` URL. Raises `FetchError`."""
    try:
        image = decode_data_url(url, sink, max_bytes)
    except (DecodeError, ResponseTooLargeError) as error:
        sink.discard()
        raise FetchError(str(error)) from None
    if image.flaw is not None:
        sink.discard()
        raise FetchError(f"what it holds is no whole picture ({image.flaw})")
    return image
