"""Results and errors with only some of the images: of a split call, or of a response with fewer than requested.

Invariants: images are in the order of the requests; token counts are added, and are unknown if one request lacks them;
a complete image is never left out, even if its request failed. Imported with the first such call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from attrs import evolve, frozen

from openai_images.client.attempts import Attempts
from openai_images.client.files import OutputFiles
from openai_images.errors import ImagesError, PartialResultError, annotate
from openai_images.models.image import Image
from openai_images.models.outcomes import CallObserver
from openai_images.models.results import CompletedImage, ImageResult, total_usage
from openai_images.models.usage import SvgUsage
from openai_images.wire.response import ResponseDecoder

_log = logging.getLogger("openai_images")
_REPORTED = "fewer images than requested"
_COUNTS = ("input_tokens", "output_tokens", "reasoning_tokens", "total_tokens")


@frozen(kw_only=True)
class SubCallOutcome:
    """The outcome of one sub-request: a result or an error, after `attempts`.

    If some images are missing it has both: the `result` with the images received, and the `error`.
    """

    result: ImageResult | None
    error: ImagesError | OSError | None
    attempts: int

    @property
    def partial_result(self) -> ImageResult | None:
        """The result, or a result with the images that were complete before the error, without usage."""
        images: tuple[Image, ...] = tuple(getattr(self.error, "images", ()))
        if self.result is not None or not images:
            return self.result
        info = {name: getattr(self.error, name) for name in ("request_id", "attempts", "elapsed")}
        return ImageResult(images, **info)

    @property
    def errors(self) -> tuple[ImagesError | OSError, ...]:
        """The errors of the missing images."""
        if isinstance(self.error, PartialResultError):
            return self.error.errors
        return () if self.error is None else (self.error,)


def merge_results(results: Sequence[ImageResult], like: ImageResult | None = None) -> ImageResult:
    """Merge results, which become its `parts`; fields that are not added are those of `like`, or of the first."""
    return evolve(
        like or results[0],
        images=tuple(image for result in results for image in result.images),
        usage=total_usage(results),
        svg_usage=_svg_usage([result.svg_usage for result in results]),
        attempts=sum(result.attempts for result in results),
        elapsed=max(result.elapsed for result in results),
        parts=tuple(results),
    )


def combined_error(outcomes: Sequence[SubCallOutcome], expected: int) -> ImagesError | OSError:
    """Return the error of a split call for `expected` images: a `PartialResultError` unless all requests failed."""
    errors = [error for outcome in outcomes for error in outcome.errors]
    results = [result for outcome in outcomes if (result := outcome.partial_result) is not None]
    complete = [outcome.result for outcome in outcomes if outcome.result is not None]
    info: dict[str, Any] = {
        "attempts": sum(outcome.attempts for outcome in outcomes),
        "elapsed": max(getattr(outcome.error or outcome.result, "elapsed", 0.0) for outcome in outcomes),
        "partials": tuple(event for error in errors for event in getattr(error, "partials", ())),
        "images": tuple(image for result in results for image in result.images),
        "damaged": tuple(image for outcome in outcomes for image in getattr(outcome.error, "damaged", ())),
    }
    if not complete:
        worst = max(errors, key=_severity)
        worst.add_note(_total_message(errors, expected))
        return annotate(worst, info) if isinstance(worst, ImagesError) else worst
    reasons = [error if isinstance(error, ImagesError) else _disk_error(error) for error in errors]
    result = _count_missing(merge_results(results, like=complete[0]), expected)
    info["maybe_billed"] = any(error.maybe_billed for error in reasons)
    info["request_id"] = reasons[0].request_id
    msg = _partial_message(reasons[0], len(result.images), expected, billed=info["maybe_billed"])
    return annotate(PartialResultError(msg, result=result, errors=reasons), info)


def shortfall(result: ImageResult, errors: Sequence[ImagesError], expected: int) -> PartialResultError:
    """Return the error of a response with fewer images than `expected`; `errors` are the server's reasons."""
    result, count = _count_missing(result, expected), len(result.images)
    reasons = errors or [ImagesError(f"the server sent {count} of {expected} images without a reason")]
    billed = any(error.maybe_billed for error in reasons)
    error = PartialResultError(
        _partial_message(reasons[0], count, expected, billed=billed), result=result, errors=reasons
    )
    error.maybe_billed = billed
    return error


def _count_missing(result: ImageResult, expected: int) -> ImageResult:
    return evolve(result, missing=max(expected - len(result.images), 0))


def _severity(error: ImagesError | OSError) -> tuple[bool, bool]:
    """Return a sort key: errors that may have been billed are highest, then those not safe to resend."""
    return getattr(error, "maybe_billed", False), not getattr(error, "safe_to_resend", False)


def _total_message(errors: Sequence[Exception], expected: int) -> str:
    kinds = Counter(type(error).__name__ for error in errors)
    listed = ", ".join(f"{count} x {name}" for name, count in kinds.items())
    return f"all {len(errors)} requests for the {expected} images failed: {listed}"


def _partial_message(first: ImagesError, count: int, expected: int, *, billed: bool) -> str:
    missing = max(expected - count, 1)
    billing = ", some may have been billed" if billed and "billed" not in str(first) else ""
    have, are = "is" if count == 1 else "are", "is" if missing == 1 else "are"
    return (
        f"{missing} of {expected} images {are} missing{billing}; the {count} received {have} in error.result, "
        f"and n={missing} requests the missing ones. The first error: {first}"
    )


def _disk_error(error: OSError) -> ImagesError:
    """Wrap a file error as an `ImagesError` with `maybe_billed`: its images may have been paid for."""
    wrapper = ImagesError(
        f"a file could not be written or read back ({error.strerror or type(error).__name__})"
    )
    wrapper.maybe_billed = True
    wrapper.__cause__ = error
    return wrapper


def _svg_usage(usages: Sequence[SvgUsage | None]) -> SvgUsage | None:
    counted = [usage for usage in usages if usage is not None]
    if len(counted) < len(usages):
        return None
    totals: dict[str, Any] = {name: _sum([getattr(usage, name) for usage in counted]) for name in _COUNTS}
    models = {usage.model for usage in counted}
    return SvgUsage(models.pop() if len(models) == 1 else None, **totals)


def _sum(counts: Sequence[int | None]) -> int | None:
    return None if None in counts else sum(filter(None, counts))


class SharedObserver:
    """Merges the observers of sub-calls (`for_sub_call`) into the observer of the split call."""

    def __init__(self, observer: CallObserver) -> None:
        self.observer = observer
        self.lock = asyncio.Lock()
        self.maybe_executed: set[int] = set()

    def for_sub_call(self, number: int) -> CallObserver:
        """Return the observer of one sub-call."""
        return _SubCallObserver(self, number)


class _SubCallObserver(CallObserver):
    """Reports a sub-call's wait unless another one is in flight or done, and that none was executed."""

    def __init__(self, shared: SharedObserver, number: int) -> None:
        self._shared = shared
        self._number = number

    def on_wait(self) -> None:
        if not self._shared.maybe_executed:
            self._shared.observer.on_wait()

    def waiting(self) -> AbstractContextManager[object]:
        return self._shared.observer.waiting()

    async def before_send(self, attempt: int) -> None:
        shared = self._shared
        async with shared.lock:
            if not shared.maybe_executed or self._number in shared.maybe_executed:
                await shared.observer.before_send(attempt)
            shared.maybe_executed.add(self._number)

    async def on_not_executed(self, error: ImagesError) -> None:
        shared = self._shared
        async with shared.lock:
            shared.maybe_executed.discard(self._number)
            if not shared.maybe_executed:
                await shared.observer.on_not_executed(error)

    def on_retry(self, attempt: int, error: ImagesError, seconds: float) -> None:
        self._shared.observer.on_retry(attempt, error, seconds)


def incomplete_error(
    result: ImageResult, decoder: ResponseDecoder, attempts: Attempts, expected: int
) -> PartialResultError:
    """Return the error of a response with fewer images than `expected`; log the first one of a client as a warning."""
    attempts.record_usage(result.usage)
    error = shortfall(result, decoder.errors(), expected)
    for reason in error.errors:
        attempts.annotate(reason)
    reported = attempts.context.reported
    _log.log(logging.DEBUG if _REPORTED in reported else logging.WARNING, "%s", error)
    reported.add(_REPORTED)
    return error


async def store_rest(
    decoder: ResponseDecoder, files: OutputFiles | None, completed: Sequence[CompletedImage]
) -> dict[str, Any]:
    """Store the remaining images in files, if any; return the error's fields `images` and `damaged`."""
    images, damaged = decoder.undelivered_images(), decoder.damaged()
    if files is not None:
        images, damaged = await files.store_all(images), await files.store_all(damaged, ".damaged")
    return {"images": (*(event.image for event in completed), *images), "damaged": tuple(damaged)}
