"""`generate_many`: the outcomes of many calls of one client.

Invariants: an invalid keyword is rejected before anything is read; after a write error, no request is sent. Imported
with the first such call, so that importing the client stays fast.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sized
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path

from attrs import evolve

from openai_images._util.filenames import safe_file_name
from openai_images.catalog.prices import PUBLISHED_PRICES, Prices
from openai_images.client.call_factory import CallFactory, run_observer
from openai_images.client.files import Output
from openai_images.errors import ImagesError, RequestInvalidError
from openai_images.many.failure_streaks import UnsentOSError
from openai_images.many.items import RequestItem, RunOptions, parse_defaults
from openai_images.many.outcomes import Outcomes
from openai_images.models.cost import cost_of
from openai_images.models.outcomes import CallObserver
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult


def start_many(
    calls: CallFactory,
    requests: Iterable[object] | AsyncIterable[object],
    options: RunOptions,
    folder: Output | None,
) -> Outcomes:
    """Return the outcomes of one call per request, whose images are written to files in the `folder`, if there is one.

    Raises `RequestInvalidError` and TypeError.
    """
    if folder is not None and (not str(folder.into) or "\0" in str(folder.into)):
        raise RequestInvalidError(f"into={str(folder.into)!r} is not a folder name; pass one, such as 'out'")
    disk = None if folder is None else _Disk(folder)

    async def send(item: RequestItem, observer: CallObserver) -> ImageResult:
        output = None
        if disk is not None:
            output, observer = disk.output(item.key), _DiskObserver(disk, observer)
        call = calls.new(item.request, output, observer, wait_for_rate_limits=True)
        return await call.result_or_raise()

    context = calls.context
    run_options = evolve(
        options,
        total=len(requests) if isinstance(requests, Sized) else None,
        timing=context.timing,
        wait_reason=lambda: context.wait_reason,
        defaults=parse_defaults(options.defaults),
        observer=run_observer(context, "generate_many"),
    )
    return Outcomes(requests, send, run_options)


class Costs:
    """The cost of each result; the last one's is kept, as images of one run mostly have the same token counts."""

    def __init__(self, prices: Prices | None) -> None:
        """Use these prices, by default the published ones."""
        self._prices = prices or PUBLISHED_PRICES
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

    def __init__(self, folder: Output) -> None:
        self._folder = Path(folder.into)
        self._overwrite = folder.overwrite
        self._error: OSError | None = None

    def output(self, key: str) -> Output:
        return Output(self._folder / safe_file_name(key), self._overwrite, on_disk_error=self._fail)

    def _fail(self, error: OSError) -> None:
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

    def waiting(self) -> AbstractContextManager[object]:
        return self._inner.waiting()

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
