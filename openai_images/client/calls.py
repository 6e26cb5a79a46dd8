"""The calls of one client: requests checked, completed with the client's own settings, and made into streams.

Rules: what cannot be sent is refused here and at once; nothing is sent before the stream is entered or read; what no
error may repeat is gathered here, beside the request that holds it.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from openai_images.client.attempts import Call, Means
from openai_images.client.call import Reading
from openai_images.client.downloads import Fetching
from openai_images.client.files import Output, OutputFiles
from openai_images.client.stream import ImageStream
from openai_images.models.media import format_warning
from openai_images.models.requests import GenerateRequest
from openai_images.wire.requests import HttpRequest, generation
from openai_images.wire.sinks import MemorySinks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openai_images.client.call import Engine
    from openai_images.client.prepared import Preparation
    from openai_images.client.remote_images import Downloads
    from openai_images.http.endpoint import Access
    from openai_images.models.image import Image
    from openai_images.models.options import Limits
    from openai_images.models.outcomes import Watcher
    from openai_images.models.results import ImageResult
    from openai_images.validation.validator import Checker

_MOST_PARTIALS = 10
"""Partial images of one picture that are kept for an error, whatever is asked for: the API gives three."""

_log = logging.getLogger("openai_images")


@frozen
class Ready:
    """A request that was checked, and its opened pictures where it has any; `evolve` it to ask for a part of it."""

    request: GenerateRequest
    preparation: Preparation | None

    @property
    def pictures(self) -> int:
        """How many are asked for."""
        number: Any = (self.request.extra_body or {}).get("n", self.request.n)  # callers may be untyped
        return max(number, 1) if isinstance(number, int) else 1

    @property
    def partials(self) -> int:
        """How many partial images of them are asked for."""
        each: Any = (self.request.extra_body or {}).get("partial_images", self.request.partial_images)
        return self.pictures * min(max(each, 0), _MOST_PARTIALS) if isinstance(each, int) else 0


class Calls:
    """`generate` waits for the pictures of a request, `stream` gives them while they are painted."""

    def __init__(
        self, access: Access, means: Means, limits: Limits, model: str | None, check: Checker
    ) -> None:
        """Send there, by these means; `model` where a request names none; `check` knows whether `n` is split."""
        self._access = access
        self._means = means
        self._limits = limits
        self._model = model
        self._check = check
        self._memory = MemorySinks()
        self._told: set[str] = set()
        self._fetches: Downloads | None = None

    async def generate(
        self,
        request: GenerateRequest,
        output: Output | None = None,
        *,
        watcher: Watcher | None = None,
        patient: bool = False,
    ) -> ImageResult:
        """The pictures of a request; a `patient` call waits for rate limits as long as they take."""
        means = evolve(self._means, retry=self._means.retry.patient) if patient else self._means
        asked = self._ready(request, stream=False)
        return await self._engine(asked, output, means, watcher, stream=False).finish()

    def stream(self, request: GenerateRequest, output: Output | None = None) -> ImageStream:
        """The events of a request."""
        asked = self._ready(request, stream=True)
        return ImageStream(self._engine(asked, output, self._means, None, stream=True))

    async def download(self, what: object, output: Output | None) -> ImageResult | Image:
        """The same with the pictures that are behind URLs."""
        return await self._downloads().download(what, output)

    def _engine(
        self, asked: Ready, output: Output | None, means: Means, watcher: Watcher | None, *, stream: bool
    ) -> Engine:
        """What reads the answers, and fetches pictures that are elsewhere where it is said where to put them."""
        files = None if output is None else OutputFiles(output, several=asked.pictures > 1)
        engine = self._reader(asked, files, means, watcher, stream=stream)
        return engine if files is None else Fetching(engine, self._fetch, files)

    async def _fetch(self, result: ImageResult, files: OutputFiles, places: Sequence[int]) -> ImageResult:
        return await self._downloads().fetch(result, files, places)

    def _downloads(self) -> Downloads:
        """What fetches pictures; imported with the first that is elsewhere."""
        if self._fetches is None:
            from openai_images.client.remote_images import Downloads  # noqa: PLC0415
            from openai_images.http.downloader import Fetcher  # noqa: PLC0415

            means = self._means
            fetcher = Fetcher(
                self._access,
                means.transport,
                retry=means.retry,
                timeouts=means.timeouts,
                timing=means.timing,
                max_bytes=self._limits.max_picture_bytes,
            )
            self._fetches = Downloads(fetcher, self._memory)
        return self._fetches

    def _reader(
        self,
        asked: Ready,
        files: OutputFiles | None,
        means: Means,
        watcher: Watcher | None,
        *,
        stream: bool,
    ) -> Engine:
        """What reads the answer, or the answers of all requests that a large `n` is shared out over."""
        if asked.pictures > 1 and self._check.split:
            # Here, so that those who want one picture at a time need not wait for its import.
            from openai_images.client.split import share_out  # noqa: PLC0415

            def open_part(
                request: GenerateRequest, files: OutputFiles | None, watcher: Watcher | None
            ) -> Reading:
                return self._open(evolve(asked, request=request), files, means, watcher, stream=stream)

            several = share_out(asked.request, files, watcher, open_part, stream=stream)
            if several is not None:
                return several
        return self._open(asked, files, means, watcher, stream=stream)

    def _ready(self, request: GenerateRequest, *, stream: bool) -> Ready:
        """The request as it will be sent, checked; its parts, if it is split, share what was prepared for it."""
        if request.model is None and self._model is not None:
            request = evolve(request, model=self._model)
        for doubtful in self._check(request, stream=stream):
            _log.warning("%s; it is sent all the same", doubtful)
        for notice in self._check.ending(request):
            _log.warning("%s", notice)
        if request.path == GenerateRequest.path:
            return Ready(request, None)
        # Here, so that those who edit nothing need not wait for its import.
        from openai_images.client.prepared import preparation_of  # noqa: PLC0415

        return Ready(request, preparation_of(request, self._check))

    def _open(
        self,
        asked: Ready,
        files: OutputFiles | None,
        means: Means,
        watcher: Watcher | None,
        *,
        stream: bool,
    ) -> Reading:
        """What reads the answer to one request."""
        request, preparation = asked.request, asked.preparation
        known = (*_texts(request), *self._access.secrets, *(preparation.secrets if preparation else ()))
        secrets = list(known)
        url = self._access.url(request.path, request.model)
        request = self._access.addressed(request)

        async def build() -> HttpRequest:
            headers, key = await self._access.headers()
            secrets[:] = [*known, key] if key else known
            if preparation is not None:
                return await preparation.build(url, request, headers, stream=stream)
            return generation(url, request, headers, stream=stream)

        return Reading(
            Call(
                means,
                build,
                lambda: tuple(secrets),
                prepare=None if preparation is None else preparation.ready,
                images=asked.pictures,
                watcher=watcher,
            ),
            new_sink=self._memory if files is None else files.new_sink,
            files=files,
            expected=asked.pictures,
            partials=asked.partials if stream else 0,
            max_picture_bytes=self._limits.max_picture_bytes,
            about={"model": asked.request.model, "edited": preparation is not None},
            look=partial(self._look_at_formats, asked.request.output_format),
        )

    def _look_at_formats(self, asked: str | None, result: ImageResult) -> None:
        """Say once where pictures are not what was asked for, or not what the server calls them."""
        for image in result.images:
            warning = format_warning(asked, result.output_format, image.media_type)
            if warning is not None and warning not in self._told:
                self._told.add(warning)
                _log.warning("%s", warning)


def _texts(request: GenerateRequest) -> Iterator[str]:
    """What the request itself holds that no error may repeat: the prompt."""
    overlaid = (request.extra_body or {}).get("prompt")
    yield request.prompt
    if isinstance(overlaid, str):
        yield overlaid
