"""`generate_many`: the outcomes of many calls of one client.

Invariants: an invalid keyword is rejected before anything is read; after a write error, no request is sent. Imported
with the first such call, so that importing the client stays fast.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sized
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import frozen

from openai_images._util.filenames import safe_file_name
from openai_images.catalog.prices import PUBLISHED_PRICES, Prices
from openai_images.client.attempts import CallContext
from openai_images.client.call_factory import CallFactory, run_observer
from openai_images.client.files import Output
from openai_images.errors import ImagesError, RequestInvalidError
from openai_images.many.failure_streaks import DEFAULT_IDENTICAL_FAILURES, UnsentOSError
from openai_images.many.items import RequestItem, RunOptions, parse_defaults
from openai_images.many.outcomes import Outcomes
from openai_images.models.cost import cost_of
from openai_images.models.outcomes import CallObserver, Progress
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult


@frozen(kw_only=True)
class ManyOptions:
    """The keywords of `generate_many`."""

    concurrency: int
    ordered: bool
    into: str | os.PathLike[str] | None
    overwrite: bool
    progress: Callable[[Progress], object] | None
    prices: Prices | None
    context: CallContext
    show_prompts: bool = True
    max_identical_failures: int | None = DEFAULT_IDENTICAL_FAILURES


def start_many(
    calls: CallFactory,
    requests: Iterable[object] | AsyncIterable[object],
    params: Mapping[str, Any],
    options: ManyOptions,
) -> Outcomes:
    """Return the outcomes of one call per request; `params` are defaults for the requests.

    Raises `RequestInvalidError`, `ConfigurationError` and TypeError.
    """
    into, prices = options.into, options.prices or PUBLISHED_PRICES
    if into is not None and (not str(into) or "\0" in str(into)):
        raise RequestInvalidError(f"into={str(into)!r} is not a folder name; pass one, such as 'out'")
    folder = None if into is None else Path(into)

    disk = _Disk(folder)

    async def send(item: RequestItem, observer: CallObserver) -> ImageResult:
        stem = None if folder is None else folder / safe_file_name(item.key)
        output = Output.from_into(stem, options.overwrite, on_disk_error=disk.fail)
        guarded = _DiskObserver(disk, observer)
        call = calls.new(item.request, output, guarded, wait_for_rate_limits=True)
        return await call.result_or_raise()

    run_options = RunOptions(
        concurrency=options.concurrency,
        ordered=options.ordered,
        total=len(requests) if isinstance(requests, Sized) else None,
        progress=options.progress,
        cost=Costs(prices),
        timing=options.context.timing,
        wait_reason=lambda: options.context.limiter.wait_reason,
        defaults=parse_defaults(params),
        show_prompts=options.show_prompts,
        max_identical_failures=options.max_identical_failures,
        observer=run_observer(options.context, "generate_many"),
    )
    return Outcomes(requests, send, run_options)


class Costs:
    """The cost of each result; the last one's is kept, as images of one run mostly have the same token counts."""

    def __init__(self, prices: Prices) -> None:
        """Price by these."""
        self._prices = prices
        self._last: tuple[object, Decimal | None] = None, None

    def __call__(self, request: GenerateRequest, result: ImageResult) -> Decimal | None:
        """Return what a result of this request cost; see `cost_of`."""
        if result.parts:
            return cost_of(result, request.model, self._prices)
        types = [image.media_type for image in result.images]
        facts = (result.usage, result.svg_usage, result.output_format, types, request.model, result.model)
        if facts != self._last[0]:
            self._last = facts, cost_of(result, request.model, self._prices)
        return self._last[1]


class _Disk:
    """The folder of `into=`: after a write error, no request is sent."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._error: OSError | None = None

    def fail(self, error: OSError) -> None:
        self._error = self._error or error

    def check(self) -> None:
        """Raise `UnsentOSError` if an image could not be written."""
        if self._error is not None:
            reason = self._error.strerror or type(self._error).__name__
            msg = (
                f"{reason}: this request was not sent. Paid images that could not be written are in memory, in the "
                "outcomes whose images have no path; free disk space, then send the failed requests again"
            )
            raise UnsentOSError(self._error.errno, msg, str(self._folder))


class _DiskObserver(CallObserver):
    """Stops a call that cannot have been billed if a write has failed; forwards everything to the inner observer."""

    def __init__(self, disk: _Disk, inner: CallObserver) -> None:
        self._disk = disk
        self._inner = inner
        self._may_have_run = False

    def on_wait(self) -> None:
        self._check()
        self._inner.on_wait()

    async def before_send(self, attempt: int) -> None:
        self._check()
        await self._inner.before_send(attempt)
        self._may_have_run = True

    async def on_not_executed(self, error: ImagesError) -> None:
        self._may_have_run = False
        await self._inner.on_not_executed(error)

    def _check(self) -> None:
        if not self._may_have_run:
            self._disk.check()

    def on_retry(self, attempt: int, error: ImagesError, seconds: float) -> None:
        self._inner.on_retry(attempt, error, seconds)
