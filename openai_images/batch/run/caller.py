"""A client as a batch uses it, and the circuit breaker: while the server is unreachable, one item probes it.

Invariants: a request that was not executed opens the circuit, any response closes it; probes wait 1 second, doubling up
to a minute; the batch ends after `max_outage` seconds without a response, or after 30 if the server has never responded
(its address is probably wrong); no other module of `batch` reads private attributes of a client.
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

from openai_images._util.waits import describe_end
from openai_images.catalog.prices import Prices
from openai_images.client.call_factory import run_observer
from openai_images.client.client import ImagesClient
from openai_images.client.prepared_request import split_counts
from openai_images.errors import APIStatusError, ImagesError, RequestInvalidError
from openai_images.http.retry import describe_failure
from openai_images.models.cost import cost_of
from openai_images.models.options import Timing
from openai_images.models.outcomes import CallObserver, RunObserver
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult

if TYPE_CHECKING:
    from openai_images._util.stop_signal import StopSignal
    from openai_images.batch.provider.service import BatchService
    from openai_images.wire.requests import CompositeBody

_log = logging.getLogger("openai_images")

_FIRST_PAUSE, _MAX_PAUSE = 1.0, 60.0
_MAX_FIRST_OUTAGE = 30.0
"""Seconds to wait for a server that has never responded."""


@frozen
class Caller:
    """Sends requests and downloads images; has the client's default model, concurrency and clock."""

    client: ImagesClient

    async def generate(self, request: GenerateRequest, observer: CallObserver) -> ImageResult:
        """Make one call, without a maximum wait for rate limits."""
        call = self.client._calls.new(request, observer=observer, wait_for_rate_limits=True)
        return await call.result_or_raise()

    def check(self, request: GenerateRequest) -> None:
        """Validate a request as a call does. Raises `RequestInvalidError`."""
        self.client._calls.new(request)

    def check_economy(self, request: GenerateRequest) -> None:
        """Also check the rules of the provider's batches. Raises `RequestInvalidError` and `ConfigurationError`."""
        self.batch_service()  # raises if there is none
        self.check(request)
        extra = request.extra_body or {}
        if request.partial_images or any(extra.get(name) for name in ("stream", "partial_images")):
            raise RequestInvalidError("economy does not stream: leave partial_images out")
        if counts := split_counts(request, stream=False):
            raise RequestInvalidError(
                f"n={request.n} needs {len(counts)} requests; in economy an item is one: set n to {counts[0]} at most"
            )

    def batch_service(self, stop: StopSignal | None = None) -> BatchService:
        """Return the provider's Batch API, with the client's key and connections. Raises `ConfigurationError`.

        Its calls end when the `stop` signal is set.
        """
        # Imported here: other batches never load it.
        from openai_images.batch.provider.service import BatchService  # noqa: PLC0415

        return BatchService(*self.client._calls.connection(), stop)

    async def json_body(self, request: GenerateRequest) -> bytes | CompositeBody:
        """Return the JSON body of a request. Raises `RequestInvalidError`."""
        return await self.client._calls.json_body(request)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts to redact in errors, in addition to the prompt."""
        return self.client._calls.connection()[0].secrets

    @property
    def max_image_bytes(self) -> int:
        """The most bytes of a decoded image."""
        return self.client._limits.max_picture_bytes

    @property
    def retries(self) -> int:
        """The most retries of a request that was not executed."""
        return self.client._calls.context.retry.max_retries

    async def fetch(self, result: ImageResult) -> ImageResult:
        """Return the result with its remote images downloaded. Raises `DownloadError`."""
        return await self.client.download(result)

    @property
    def model(self) -> str | None:
        """The default model of requests. Raises `ConfigurationError`."""
        return self.client._calls.model

    @property
    def concurrency(self) -> int:
        """The client's limit of concurrent requests."""
        return self.client._limits.concurrency

    def run_observer(self) -> RunObserver | None:
        """Return the telemetry of a run of the batch, or None."""
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
        """Return why requests wait, if they do."""
        return self.client.wait_reason


def run_cost(prices: Prices, request: GenerateRequest, result: ImageResult) -> Decimal | None:
    """Return what this run paid for a result in US dollars; 0 if its images were paid for earlier."""
    fetched_only = not result.attempts
    return Decimal(0) if fetched_only else cost_of(result, request.model, prices)


class CircuitBreaker:
    """The circuit breaker: `acquire` before each attempt, then `record_success` or `record_failure`."""

    def __init__(self, max_outage: float, timing: Timing) -> None:
        self._max_outage = max_outage
        self._timing = timing
        self._has_responded = False
        self._open_since: float | None = None
        self._cause = ""
        self._pause = _FIRST_PAUSE
        self._is_probing = False
        self._change = asyncio.Event()

    async def acquire(self, on_wait: Callable[[], None]) -> bool:
        """Wait until the circuit is closed (False), or until this item may probe (True).

        The result of a probe must be recorded. `on_wait` is called before each wait, and may raise.
        """
        while self._open_since is not None:
            on_wait()
            if self._is_probing:
                await self._change.wait()
                continue
            self._is_probing = True
            try:
                left = self._open_since + self._longest - self._timing.monotonic()
                await self._timing.sleep(max(0.0, min(self._pause, left)))
            except BaseException:
                self.release_probe()
                raise
            return True
        return False

    def record_success(self) -> None:
        """Close the circuit: the server responded."""
        self._has_responded = True
        self._open_since = None
        self._pause = _FIRST_PAUSE
        self.release_probe()

    def record_failure(self, error: ImagesError, *, is_probe: bool) -> bool:
        """Open the circuit: the request was not executed. Return whether to continue waiting."""
        now, longest = self._timing.monotonic(), self._longest
        self._has_responded = self._has_responded or isinstance(error, APIStatusError)
        self._cause = (
            f"no request is executed ({describe_failure(error)}); nothing is lost, and one is sent again"
        )
        is_new = self._open_since is None
        if self._open_since is None:
            self._open_since = now
        if is_new or self._longest > longest:
            _log.warning("%s", self.wait_reason)
        if is_probe:
            self._pause = min(self._pause * 2, _MAX_PAUSE)
            self.release_probe()
        return now < self._open_since + self._longest

    @property
    def wait_reason(self) -> str | None:
        """Why nothing but probes is sent, and until when; None while the circuit is closed."""
        if self._open_since is None:
            return None
        left = self._open_since + self._longest - self._timing.monotonic()
        return f"{self._cause}, {describe_end(max(0.0, left), self._timing.wall())}"

    @property
    def _longest(self) -> float:
        """The longest outage, in seconds."""
        return self._max_outage if self._has_responded else min(self._max_outage, _MAX_FIRST_OUTAGE)

    def release_probe(self) -> None:
        """Allow the next item to probe, or all items to pass."""
        self._is_probing = False
        change, self._change = self._change, asyncio.Event()
        change.set()
