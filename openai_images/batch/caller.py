"""A client as a batch uses it. The only module of this package that reads private attributes of a client."""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false

from __future__ import annotations

from attrs import frozen

from openai_images.client.client import ImagesClient
from openai_images.models.options import Timing
from openai_images.models.outcomes import CallObserver
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult


@frozen
class Caller:
    """Sends requests and fetches images; knows the client's default model, its concurrency and its clock."""

    client: ImagesClient

    async def generate(self, request: GenerateRequest, observer: CallObserver) -> ImageResult:
        """One call, which waits for rate limits as long as they take."""
        call = self.client._calls.new(request, observer=observer, wait_for_rate_limits=True)
        return await call.result_or_raise()

    async def fetch(self, result: ImageResult) -> ImageResult:
        """The result with its remote images downloaded. Raises `DownloadError`."""
        return await self.client.download(result)

    @property
    def model(self) -> str | None:
        """The model of requests that name none."""
        return self.client._model

    @property
    def concurrency(self) -> int:
        """How many requests the client's limits allow at once."""
        return self.client._limits.concurrency

    @property
    def timing(self) -> Timing:
        """The client's clock."""
        return self.client._context.timing

    def wait_reason(self) -> str | None:
        """Why requests wait, if they do."""
        return self.client._context.limiter.wait_reason
