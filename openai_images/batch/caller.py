"""A client as a batch uses it, and the circuit breaker: while the server is unreachable one item probes it.

Invariants: a request that was not executed opens the circuit, any response closes it. Probes wait from one second,
doubling, to a minute. The batch ends after `max_outage` seconds without a response, or after half a minute where the
server has never responded: its address is probably wrong then. No other module of this package reads private
attributes of a client.
"""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from attrs import frozen

from openai_images.catalog.prices import Prices
from openai_images.client.calls import run_observer
from openai_images.client.client import ImagesClient
from openai_images.client.prepared import split_counts
from openai_images.errors import RequestInvalidError
from openai_images.models.cost import cost_of
from openai_images.models.options import Timing
from openai_images.models.outcomes import CallObserver, RunObserver
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult

if TYPE_CHECKING:
    from openai_images.batch_api.service import BatchService
    from openai_images.wire.requests import CompositeBody

_log = logging.getLogger("openai_images")

_FIRST_PAUSE, _MAX_PAUSE = 1.0, 60.0
_MAX_FIRST_OUTAGE = 30.0
"""Seconds to wait for a server that has never responded."""


@frozen
class Caller:
    """Sends requests and fetches images; knows the client's default model, its concurrency and its clock."""

    client: ImagesClient

    async def generate(self, request: GenerateRequest, observer: CallObserver) -> ImageResult:
        """One call, which waits for rate limits as long as they take."""
        call = self.client._calls.new(request, observer=observer, wait_for_rate_limits=True)
        return await call.result_or_raise()

    def check(self, request: GenerateRequest) -> None:
        """Check what a call checks before it is sent. Raises `RequestInvalidError`."""
        self.client._calls.new(request)

    def check_economy(self, request: GenerateRequest) -> None:
        """Check also what a batch of the provider takes. Raises `RequestInvalidError` and `ConfigurationError`."""
        self.batch_service()  # raises where there is none
        self.check(request)
        extra = request.extra_body or {}
        if request.partial_images or any(extra.get(name) for name in ("stream", "partial_images")):
            raise RequestInvalidError("a batch of the provider does not stream: leave partial_images out")
        if counts := split_counts(request, stream=False):
            raise RequestInvalidError(
                f"n={request.n} takes {len(counts)} requests, and in economy an item is one: n is {counts[0]} at most"
            )

    def batch_service(self) -> BatchService:
        """The provider's Batch API, by the client's key and connections. Raises `ConfigurationError`."""
        # Imported when it is needed: other batches start without it.
        from openai_images.batch_api.service import BatchService  # noqa: PLC0415

        return BatchService(*self.client._calls.connection())

    async def json_body(self, request: GenerateRequest) -> bytes | CompositeBody:
        """The body of a request. Raises `RequestInvalidError`."""
        return await self.client._calls.json_body(request)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no error may repeat, besides the prompt."""
        return self.client._calls.connection()[0].secrets

    @property
    def max_image_bytes(self) -> int:
        """The largest image that is decoded."""
        return self.client._limits.max_picture_bytes

    @property
    def retries(self) -> int:
        """How often what was not executed is sent again."""
        return self.client._calls.context.retry.max_retries

    async def fetch(self, result: ImageResult) -> ImageResult:
        """The result with its remote images downloaded. Raises `DownloadError`."""
        return await self.client.download(result)

    @property
    def model(self) -> str | None:
        """The model of requests that name none. Raises `ConfigurationError`."""
        return self.client._calls.model

    @property
    def concurrency(self) -> int:
        """How many requests the client's limits allow at once."""
        return self.client._limits.concurrency

    def run_observer(self) -> RunObserver | None:
        """What observes a run of the batch, if the client has telemetry."""
        return run_observer(self.client._calls.context, "batch")

    @property
    def show_prompts(self) -> bool:
        """Whether outcomes show the beginning of their prompts."""
        return self.client._settings.show_prompts

    @property
    def timing(self) -> Timing:
        """The client's clock."""
        return self.client._context.timing

    def wait_reason(self) -> str | None:
        """Why requests wait, if they do."""
        return self.client._calls.context.limiter.wait_reason


def run_cost(prices: Prices, request: GenerateRequest, result: ImageResult) -> Decimal | None:
    """What this run paid for a result in US dollars; nothing if its images were paid for before, and fetched now."""
    fetched_only = not result.attempts
    return Decimal(0) if fetched_only else cost_of(result, request.model, prices)


class CircuitBreaker:
    """`acquire` before each attempt, then `record_success` or `record_failure`."""

    def __init__(self, max_outage: float, timing: Timing) -> None:
        self._max_outage = max_outage
        self._timing = timing
        self._has_responded = False
        self._open_since: float | None = None
        self._pause = _FIRST_PAUSE
        self._is_probing = False
        self._change = asyncio.Event()

    async def acquire(self, on_wait: Callable[[], None]) -> bool:
        """Wait until the circuit is closed (False), or until this item is the one to probe (True).

        A probe must be reported. `on_wait` is called before each wait, and may raise.
        """
        while self._open_since is not None:
            on_wait()
            if self._is_probing:
                await self._change.wait()
                continue
            self._is_probing = True
            try:
                await self._timing.sleep(self._pause)
            except BaseException:
                self.release_probe()
                raise
            return True
        return False

    def record_success(self) -> None:
        """The server responded: the circuit is closed."""
        self._has_responded = True
        self._open_since = None
        self._pause = _FIRST_PAUSE
        self.release_probe()

    def record_failure(self, *, is_probe: bool, has_response: bool) -> bool:
        """The request was not executed; whether to keep waiting."""
        now = self._timing.monotonic()
        self._has_responded = self._has_responded or has_response
        max_outage = self._max_outage if self._has_responded else min(self._max_outage, _MAX_FIRST_OUTAGE)
        if self._open_since is None:
            self._open_since = now
            _log.warning(
                "the server is not there for us; nothing is lost, and it is asked again for %.0f s",
                max_outage,
            )
        if is_probe:
            self._pause = min(self._pause * 2, _MAX_PAUSE)
            self.release_probe()
        return now - self._open_since < max_outage

    def release_probe(self) -> None:
        """Let the next item probe, or all pass."""
        self._is_probing = False
        change, self._change = self._change, asyncio.Event()
        change.set()
