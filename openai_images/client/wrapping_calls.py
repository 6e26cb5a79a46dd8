"""Calls that wrap another one: `DownloadingCall` downloads its remote images into the files of `into=`.

Invariants: downloads start when the call's connection is closed and its slot is free; a remote `CompletedImage` is held
until it is downloaded, and emitted unchanged if that fails.
Must not: download for a call without `into=` (the caller uses `client.download`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import evolve

from openai_images.client.call import Call
from openai_images.client.files import OutputFiles
from openai_images.errors import DownloadError, PartialResultError, annotate
from openai_images.models.image import Image, is_remote
from openai_images.models.results import CompletedImage, ImageEvent, ImageResult

if TYPE_CHECKING:
    from openai_images.client.remote_images import RemoteImages


class WrappingCall(Call):
    """The base class of a call that wraps another one; methods that it does not override are those of `_inner`."""

    def __init__(self, inner: Call) -> None:
        super().__init__(inner.all_attempts)
        self._inner = inner

    @property
    def result(self) -> ImageResult | None:
        """The result of the inner call."""
        return self._inner.result

    @property
    def wait_reason(self) -> str | None:
        """Why the inner call waits."""
        return self._inner.wait_reason

    @property
    def is_open(self) -> bool:
        """Whether the inner call is in flight."""
        return self._inner.is_open

    async def open(self) -> None:
        """Send the request. Raises `ImagesError` and OSError."""
        await self._inner.open()

    @property
    def received_images(self) -> tuple[Image, ...]:
        """The complete images so far."""
        return self._inner.received_images

    async def wait_closed(self) -> None:
        """Wait for cancelled tasks to end."""
        await self._inner.wait_closed()


class DownloadingCall(WrappingCall):
    """Wraps a call and downloads its remote images into files."""

    def __init__(self, inner: Call, remote_images: Callable[[], RemoteImages], files: OutputFiles) -> None:
        """Wrap `inner`; `remote_images` is called only if there is a remote image."""
        super().__init__(inner)
        self._remote_images = remote_images
        self._files = files
        self._held: list[CompletedImage] = []
        self._downloads: RemoteImages | None = None
        self._images: list[Image] = []  # of the result whose images are downloaded
        self._result: ImageResult | None = None

    @property
    def result(self) -> ImageResult | None:
        """The result of the call, with downloaded images after the end."""
        return self._result or self._inner.result

    @property
    def wait_reason(self) -> str | None:
        """Why the call, or a download, waits."""
        return self._inner.wait_reason if self._downloads is None else self._downloads.wait_reason

    @property
    def received_images(self) -> tuple[Image, ...]:
        """The complete images so far; those that are not downloaded have their URLs."""
        return tuple(self._images) or self._inner.received_images

    async def read(self) -> list[ImageEvent]:
        """Return the next events that are not held; an empty list at the end."""
        events: list[ImageEvent] = []
        while not events and not self.is_over:
            events = [event for event in await self._inner.read() if not self._holds(event)]
            if self._inner.is_over and not (events and self._has_remote()):
                events += await self._finish()
                self.is_over = True
        return events

    def close(self) -> None:
        """Stop the call in any state. Idempotent."""
        self.is_over = True
        self._inner.close()
        self._files.discard()

    def _holds(self, event: ImageEvent) -> bool:
        if not isinstance(event, CompletedImage):
            return False
        self._completed.append(event)
        if is_remote(event.image):
            self._held.append(event)
        return is_remote(event.image)

    def _has_remote(self) -> bool:
        result = _available_result(self._inner)
        return result is not None and any(map(is_remote, result.images))

    async def _finish(self) -> list[ImageEvent]:
        """Download the remote images of the finished call; return the held events."""
        inner = self._inner
        result = _available_result(inner) if self._has_remote() else None
        self.error, inner.error = inner.error, None
        if result is None:
            return self._release_held({})
        numbers = {id(event.image): event.image_index for event in self._completed}
        indexes = [numbers.get(id(image), index) for index, image in enumerate(result.images)]
        error: DownloadError | None = None
        try:
            self._downloads, self._images = self._remote_images().for_call(), list(result.images)
            fetched = await self._downloads.fetch(result, self._files, indexes, self._images)
        except DownloadError as failure:
            error, fetched = failure, failure.response
            info = {"attempts": result.attempts, "elapsed": result.elapsed, "request_id": result.request_id}
            annotate(error, info)
        if isinstance(self.error, PartialResultError):
            self.error.result = fetched
            self.error.errors += () if error is None else (error,)
            self.error.maybe_billed = self.error.maybe_billed or error is not None
        else:
            self._result, self.error = fetched, error
        return self._release_held(
            {id(old): new for old, new in zip(result.images, fetched.images, strict=True)}
        )

    def _release_held(self, fetched: dict[int, Image]) -> list[ImageEvent]:
        held, self._held = self._held, []
        return [evolve(event, image=fetched.get(id(event.image), event.image)) for event in held]


def _available_result(call: Call) -> ImageResult | None:
    """Return the call's result, including one with missing images."""
    error = call.error
    result: ImageResult | None = error.result if isinstance(error, PartialResultError) else call.result
    return result
