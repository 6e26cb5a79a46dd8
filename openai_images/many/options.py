"""The options of many calls, validated when they are created, and the type of the function that makes one call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from attrs import field, frozen

from openai_images._util.attrs import is_count, must_be
from openai_images.many.failure_streaks import DEFAULT_IDENTICAL_FAILURES
from openai_images.many.items import RequestItem
from openai_images.models.options import Timing
from openai_images.models.outcomes import CallObserver, Progress
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult

Send: TypeAlias = Callable[[RequestItem, CallObserver], Awaitable[ImageResult]]
"""Makes one call, and notifies the observer when it waits and when it is about to send."""


# The message names the keyword of `generate_many` alone: callers never see this class.
_count = must_be("a whole number above 0", is_count, names_class=False)
_count_or_none = must_be(
    "a whole number above 0", lambda value: value is None or is_count(value), names_class=False
)


@frozen(kw_only=True)
class RunOptions:
    """The options of a run of many calls.

    At most `concurrency` requests and results are held; with `ordered`, outcomes come in the order of the requests.
    `total` is the number of requests, if it is known. `progress` is called after each change, `cost` for each result;
    `wait_reason` returns why nothing is sent and until when. `defaults` are parameters of requests that do not set
    them. `max_identical_failures` without a success between them end the run (None: never; see `FailureStreak`).
    Raises `ConfigurationError`.
    """

    concurrency: int = field(validator=_count)
    ordered: bool = False
    total: int | None = None
    progress: Callable[[Progress], object] | None = None
    cost: Callable[[GenerateRequest, ImageResult], Decimal | None] | None = None
    timing: Timing = Timing()  # noqa: RUF009  frozen
    wait_reason: Callable[[], str | None] = lambda: None
    defaults: Mapping[str, Any] = field(factory=dict[str, Any], repr=False)
    max_identical_failures: int | None = field(default=DEFAULT_IDENTICAL_FAILURES, validator=_count_or_none)
