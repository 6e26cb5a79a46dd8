"""The calls of one client: requests checked, completed with the client's own settings, and made into streams.

Rules: what cannot be sent is refused here and at once; nothing is sent before the stream is entered or read; what no
error may repeat is gathered here, beside the request that holds it.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from openai_images.files import FileDestination
from openai_images.http.call import Call, Means
from openai_images.stream import ImageStream
from openai_images.wire.memory import MemorySinks
from openai_images.wire.protocol import HttpRequest, generation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai_images.http.access import Access
    from openai_images.http.watch import Watcher
    from openai_images.models.checks import Checker
    from openai_images.models.options import Limits
    from openai_images.models.request import GenerateRequest
    from openai_images.models.results import ImageResult

__all__ = ["Calls", "Place"]

_log = logging.getLogger("openai_images")


@frozen
class Place:
    """Where pictures go: the keywords of `into=`."""

    into: str | os.PathLike[str]
    overwrite: bool
    keep_partials: bool

    @classmethod
    def of(
        cls, into: str | os.PathLike[str] | None, overwrite: bool, *, keep_partials: bool = True
    ) -> Place | None:
        """A place, None for the memory."""
        return None if into is None else cls(into, overwrite, keep_partials)

    def files(self, *, several: bool) -> FileDestination:
        """The files of one call, for one or several pictures."""
        return FileDestination(
            self.into, overwrite=self.overwrite, keep_partials=self.keep_partials, several=several
        )


class Calls:
    """`generate` waits for the pictures of a request, `stream` gives them while they are painted."""

    def __init__(
        self, access: Access, means: Means, limits: Limits, model: str | None, check: Checker
    ) -> None:
        """Send there, by these means; `model` where a request names none."""
        self._access = access
        self._means = means
        self._limits = limits
        self._model = model
        self._check = check
        self._memory = MemorySinks()

    async def generate(
        self,
        request: GenerateRequest,
        place: Place | None = None,
        *,
        watcher: Watcher | None = None,
        patient: bool = False,
    ) -> ImageResult:
        """The pictures of a request; a `patient` call waits for rate limits as long as they take."""
        means = evolve(self._means, retry=self._means.retry.patient) if patient else self._means
        return await self._open(
            self._ready(request, stream=False), place, means, watcher, stream=False
        ).finish()

    def stream(self, request: GenerateRequest, place: Place | None = None) -> ImageStream:
        """The events of a request."""
        return self._open(self._ready(request, stream=True), place, self._means, None, stream=True)

    def _ready(self, request: GenerateRequest, *, stream: bool) -> GenerateRequest:
        """The request as it will be sent, checked."""
        if request.model is None and self._model is not None:
            request = evolve(request, model=self._model)
        for doubtful in self._check(request, stream=stream):
            _log.warning("%s; it is sent all the same", doubtful)
        return request

    def _open(
        self,
        request: GenerateRequest,
        place: Place | None,
        means: Means,
        watcher: Watcher | None,
        *,
        stream: bool,
    ) -> ImageStream:
        """One request's stream."""
        expected = request.n if isinstance(request.n, int) else 1  # pyright: ignore[reportUnnecessaryIsInstance]  unchecked
        known = (*_texts(request), *self._access.secrets)
        secrets = list(known)
        url = self._access.url(request.path, request.model)

        async def build() -> HttpRequest:
            headers, key = await self._access.headers()
            secrets[:] = [*known, key] if key else known
            return generation(url, request, headers, stream=stream)

        files = None if place is None else place.files(several=expected > 1)
        return ImageStream(
            Call(means, build, lambda: tuple(secrets), images=expected, watcher=watcher),
            new_sink=self._memory if files is None else files.new_sink,
            files=files,
            expected=expected,
            max_picture_bytes=self._limits.max_picture_bytes,
        )


def _texts(request: GenerateRequest) -> Iterator[str]:
    """What the request itself holds that no error may repeat: the prompt."""
    overlaid = (request.extra_body or {}).get("prompt")
    yield request.prompt
    if isinstance(overlaid, str):
        yield overlaid
