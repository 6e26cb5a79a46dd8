"""Results and errors that have only some of the images: of a split call, or of a response with fewer than requested.

Invariants: images are in the order of the requests; counts are added up, and one that a request lacks is unknown. An
image that was complete is never left out, also where its own request failed. Imported when it is needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
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

_COUNTS = ("input_tokens", "output_tokens", "reasoning_tokens", "total_tokens")


@frozen(kw_only=True)
class SubCallOutcome:
    """How one request ended: with a result or with an error, after so many attempts.

    Where it came short it is both: the `result` of the pictures that came, and the `error`.
    """

    result: ImageResult | None
    error: ImagesError | OSError | None
    attempts: int

    @property
    def whole(self) -> ImageResult | None:
        """The result, or what was whole before the error, as a result whose usage nobody knows."""
        images: tuple[Image, ...] = tuple(getattr(self.error, "images", ()))
        if self.result is not None or not images:
            return self.result
        about = {name: getattr(self.error, name) for name in ("request_id", "attempts", "elapsed")}
        return ImageResult(images, **about)

    @property
    def errors(self) -> tuple[ImagesError | OSError, ...]:
        """What befell the pictures that did not come."""
        if isinstance(self.error, PartialResultError):
            return self.error.errors
        return () if self.error is None else (self.error,)


def merge_results(results: Sequence[ImageResult], like: ImageResult | None = None) -> ImageResult:
    """One result of several, which stay in its `parts`; what is said once is that of the first, or of `like`."""
    return evolve(
        like or results[0],
        images=tuple(image for result in results for image in result.images),
        usage=total_usage(results),
        svg_usage=_svg_usage([result.svg_usage for result in results]),
        attempts=sum(result.attempts for result in results),
        elapsed=max(result.elapsed for result in results),
        parts=tuple(results),
    )


def combined_error(ended: Sequence[SubCallOutcome], wanted: int) -> ImagesError | OSError:
    """The error for `wanted` pictures where some requests have failed: a `PartialResultError`, unless all have."""
    errors = [error for one in ended for error in one.errors]
    whole = [result for one in ended if (result := one.whole) is not None]
    good = [one.result for one in ended if one.result is not None]
    facts: dict[str, Any] = {
        "attempts": sum(one.attempts for one in ended),
        "elapsed": max(getattr(one.error or one.result, "elapsed", 0.0) for one in ended),
        "partials": tuple(event for error in errors for event in getattr(error, "partials", ())),
        "images": tuple(image for result in whole for image in result.images),
        "damaged": tuple(image for one in ended for image in getattr(one.error, "damaged", ())),
    }
    if not good:
        worst = max(errors, key=_severity)
        worst.add_note(_total_message(errors, wanted))
        return annotate(worst, facts) if isinstance(worst, ImagesError) else worst
    told = [error if isinstance(error, ImagesError) else _of_the_disk(error) for error in errors]
    result = merge_results(whole, like=good[0])
    facts["maybe_billed"] = any(error.maybe_billed for error in told)
    facts["request_id"] = told[0].request_id
    msg = _partial_message(told[0], len(result.images), wanted, billed=facts["maybe_billed"])
    return annotate(PartialResultError(msg, result=result, errors=told), facts)


def shortfall(result: ImageResult, errors: Sequence[ImagesError], wanted: int) -> PartialResultError:
    """The error for an answer that is whole and has fewer pictures than were `wanted`; `errors` say why, if it does."""
    here = len(result.images)
    told = errors or [ImagesError(f"the server sent {here} of {wanted} images, and said no reason")]
    billed = any(error.maybe_billed for error in told)
    error = PartialResultError(
        _partial_message(told[0], here, wanted, billed=billed), result=result, errors=told
    )
    error.maybe_billed = billed
    return error


def _severity(error: ImagesError | OSError) -> tuple[bool, bool]:
    """The gravest is raised for all: one that may have cost money, or that at least says more than "not now"."""
    return getattr(error, "maybe_billed", False), not getattr(error, "safe_to_resend", False)


def _total_message(errors: Sequence[Exception], wanted: int) -> str:
    kinds = Counter(type(error).__name__ for error in errors)
    listed = ", ".join(f"{count} x {name}" for name, count in kinds.items())
    return f"all {len(errors)} requests for the {wanted} pictures failed: {listed}"


def _partial_message(first: ImagesError, here: int, wanted: int, *, billed: bool) -> str:
    missing = max(wanted - here, 1)
    doubt = ", some of which may have been billed" if billed and "billed" not in str(first) else ""
    came, are = "is" if here == 1 else "are", "is" if missing == 1 else "are"
    return (
        f"{missing} of {wanted} pictures {are} missing{doubt}; the {here} that came {came} in the error's result, and "
        f"n={missing} asks for the rest. The first reason: {first}"
    )


def _of_the_disk(error: OSError) -> ImagesError:
    """A disk's error among those of requests: its pictures may have been paid for."""
    told = ImagesError(f"a file could not be written or read back ({error.strerror or type(error).__name__})")
    told.maybe_billed = True
    told.__cause__ = error
    return told


def _svg_usage(usages: Sequence[SvgUsage | None]) -> SvgUsage | None:
    """Several as one; None where one is missing."""
    counted = [usage for usage in usages if usage is not None]
    if len(counted) < len(usages):
        return None
    totals: dict[str, Any] = {name: _sum([getattr(usage, name) for usage in counted]) for name in _COUNTS}
    models = {usage.model for usage in counted}
    return SvgUsage(models.pop() if len(models) == 1 else None, **totals)


def _sum(counts: Sequence[int | None]) -> int | None:
    return None if None in counts else sum(filter(None, counts))


class SharedObserver:
    """Stands between the observer of the call and `of` each request."""

    def __init__(self, observer: CallObserver) -> None:
        """Tell `observer`."""
        self._observer = observer
        self._one_at_a_time = asyncio.Lock()
        self._may_have_run: set[int] = set()

    def for_sub_call(self, number: int) -> CallObserver:
        """The observer of one of the requests."""
        return _SubCallObserver(self, number)

    def on_wait(self) -> None:
        """One waits; the call does where none is under way or over."""
        if not self._may_have_run:
            self._observer.on_wait()

    async def before_send(self, number: int, attempt: int) -> None:
        """One is about to be sent."""
        async with self._one_at_a_time:
            if not self._may_have_run or number in self._may_have_run:
                await self._observer.before_send(attempt)
            self._may_have_run.add(number)

    async def on_not_executed(self, number: int, error: ImagesError) -> None:
        """One provably did not run; the call did not where none did."""
        async with self._one_at_a_time:
            self._may_have_run.discard(number)
            if not self._may_have_run:
                await self._observer.on_not_executed(error)


class _SubCallObserver(CallObserver):
    """One request's side of it."""

    def __init__(self, shared: SharedObserver, number: int) -> None:
        self._shared = shared
        self._number = number

    def on_wait(self) -> None:
        """It waits."""
        self._shared.on_wait()

    async def before_send(self, attempt: int) -> None:
        """It is about to be sent."""
        await self._shared.before_send(self._number, attempt)

    async def on_not_executed(self, error: ImagesError) -> None:
        """It provably did not run."""
        await self._shared.on_not_executed(self._number, error)


_log = logging.getLogger("openai_images")


def incomplete_error(
    result: ImageResult, reader: ResponseDecoder, attempts: Attempts, wanted: int
) -> PartialResultError:
    """The error for an answer that is whole and has fewer pictures than were `wanted`."""
    attempts.record_usage(result.usage)
    error = shortfall(result, reader.errors(), wanted)
    for reason in error.errors:
        attempts.annotate(reason)
    _log.warning("%s", error)
    return error


async def store_rest(
    reader: ResponseDecoder, files: OutputFiles | None, completed: Sequence[CompletedImage]
) -> dict[str, Any]:
    """What the error has besides: the pictures that are whole, and what came in the place of others."""
    images, damaged = reader.undelivered_images(), reader.damaged()
    if files is not None:
        images, damaged = await files.store_all(images), await files.store_all(damaged, ".damaged")
    return {"images": (*(event.image for event in completed), *images), "damaged": tuple(damaged)}
