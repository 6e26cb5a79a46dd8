"""Pictures behind URLs, fetched into the files of `into=` when the answer that names them is complete.

Rules: fetching begins when the call's connection is closed and its slot is given back. A `CompletedImage` whose picture
is a file elsewhere is held until it is a file here, and given as it is where that fails; then comes the
`DownloadError`. It refuses to fetch for those who did not say where to put it: they have `client.download`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import evolve

from openai_images.client.call import Engine
from openai_images.errors import DownloadError, PartialResultError, with_facts
from openai_images.models.results import CompletedImage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_images.client.files import OutputFiles
    from openai_images.models.image import Image
    from openai_images.models.results import Event, ImageResult


class Fetch(Protocol):
    """Fetches those pictures of a result that are behind URLs into files; `places` are their numbers there."""

    async def __call__(
        self, result: ImageResult, files: OutputFiles, places: Sequence[int], /
    ) -> ImageResult:
        """The result with its pictures. Raises `DownloadError`."""
        ...


def is_away(image: Image) -> bool:
    """Whether the server gave a URL in the picture's place, and nobody has fetched it yet."""
    return image.url is not None and not image.nbytes


class Fetching(Engine):
    """Another engine, whose pictures come from where they are."""

    def __init__(self, inner: Engine, fetch: Fetch, files: OutputFiles) -> None:
        """Fetch into these files when `inner` is over."""
        super().__init__()
        self._inner = inner
        self._fetch = fetch
        self._files = files
        self._held: list[CompletedImage] = []
        self._completed: list[CompletedImage] = []
        self._result: ImageResult | None = None

    @property
    def result(self) -> ImageResult | None:
        """That of the call, with the pictures once they are here."""
        return self._result or self._inner.result

    @property
    def request_id(self) -> str | None:
        """The server's name for the request."""
        return self._inner.request_id

    @property
    def is_open(self) -> bool:
        """Whether the call is under way."""
        return self._inner.is_open

    @property
    def seen(self) -> tuple[int, int]:
        """How many partial and how many completed pictures there are."""
        return self._inner.seen

    async def open(self) -> None:
        """Send. Raises `ImagesError` and OSError."""
        await self._inner.open()

    async def advance(self) -> None:
        """Read until there is an event that need not be held, or the end."""
        inner = self._inner
        while not self.queue and not self.is_over:
            if not inner.is_over:
                await inner.advance()
            while inner.queue:
                self._take(inner.queue.popleft())
            if inner.is_over and not (self.queue and self._is_due()):
                await self._conclude()
                self.is_over = True

    def abort(self) -> None:
        """Stop at once, wherever it is."""
        self.is_over = True
        self._inner.abort()
        self._files.discard()
        self.queue.clear()

    async def settle(self) -> None:
        """Wait until nothing runs any more that was aborted."""
        await self._inner.settle()

    def _take(self, event: Event) -> None:
        if isinstance(event, CompletedImage):
            self._completed.append(event)
            if is_away(event.image):
                self._held.append(event)
                return
        self.queue.append(event)

    def _is_due(self) -> bool:
        """Whether something is to be fetched."""
        result = _result_of(self._inner)
        return result is not None and any(map(is_away, result.images))

    async def _conclude(self) -> None:
        """The call is over: fetch what is away."""
        inner = self._inner
        result = _result_of(inner) if self._is_due() else None
        self.failure, inner.failure = inner.failure, None
        if result is None:
            self._give({})
            return
        numbers = {id(event.image): event.image_index for event in self._completed}
        places = [numbers.get(id(image), index) for index, image in enumerate(result.images)]
        error: DownloadError | None = None
        try:
            fetched = await self._fetch(result, self._files, places)
        except DownloadError as failure:
            error, fetched = failure, failure.response
            facts = {"attempts": result.attempts, "elapsed": result.elapsed, "request_id": result.request_id}
            with_facts(error, facts)
        if isinstance(self.failure, PartialResultError):
            self.failure.result = fetched
            self.failure.errors += () if error is None else (error,)
        else:
            self._result, self.failure = fetched, error
        self._give({id(old): new for old, new in zip(result.images, fetched.images, strict=True)})

    def _give(self, here: dict[int, Image]) -> None:
        """Let go of the events that were held, with their pictures."""
        held, self._held = self._held, []
        self.queue.extend(evolve(event, image=here.get(id(event.image), event.image)) for event in held)


def _result_of(engine: Engine) -> ImageResult | None:
    """What came, also where it is not all that was asked for."""
    failure = engine.failure
    result: ImageResult | None = failure.result if isinstance(failure, PartialResultError) else engine.result
    return result
