"""The public values of a batch: its items and options, its plan and its summary.

Invariants: frozen values; options that may cost money again are off by default; an invalid option is rejected at
creation; an unknown cost is None, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias, cast

from attrs import field, frozen

from openai_images._util.attrs import is_count, is_number, keyword_hints, must_be, repr_names, short_repr
from openai_images.catalog.prices import PUBLISHED_PRICES, Prices, is_amount
from openai_images.errors import ConfigurationError, RequestInvalidError
from openai_images.many.failure_streaks import DEFAULT_IDENTICAL_FAILURES
from openai_images.models.notebook import table_of_fields
from openai_images.models.requests import GenerateRequest

Thumbnail: TypeAlias = Callable[[Path, Path], object]
"""Writes a small WebP copy of the image at the first path to the second path; may raise anything."""


@short_repr
@frozen(repr=False)
class BatchItem:
    """One request of a batch: `key` names it and its files; `line` is its line in an input file, if any."""

    key: str
    request: GenerateRequest
    """A `GenerateRequest` or an `EditRequest`."""
    line: int | None = None

    def __attrs_post_init__(self) -> None:
        key, request = cast("object", self.key), cast("object", self.request)  # callers may be untyped
        if not isinstance(key, str):
            raise RequestInvalidError(f"the key of a BatchItem must be text, not {type(key).__name__}")
        if not isinstance(request, GenerateRequest):
            kind = type(request).__name__
            raise RequestInvalidError(
                f"the request of a BatchItem must be a GenerateRequest or an EditRequest, not {kind}"
            )


_count = must_be("a whole number above 0, or None", lambda value: value is None or is_count(value))
_dollars = must_be(
    "a Decimal of US dollars, 0 or more, or None", lambda value: value is None or is_amount(value)
)
_seconds = must_be("a number of seconds, 0 or more", lambda value: is_number(value) and value >= 0)


@keyword_hints
@frozen(kw_only=True)
class BatchOptions:
    """The options of a batch: concurrency, budget, and which items are sent again.

    `concurrency`: the most concurrent requests; None means the client's `Limits`. `budget`: US dollars for all runs of
    the folder together, by `prices`; it is exceeded by one item in flight at most, and never if all requests set size
    and quality and have no images to edit. `max_image_cost`: the most US dollars that one image can cost, if you know
    that it is less than the estimate, or if there is no estimate. `retry_failed` sends failed items again;
    `retry_unknown` those that may have been billed, or whose image cannot be downloaded; `retry_missing` those that
    were done and whose images are missing, and requests the missing images of items that failed with only some of them.
    `dedupe` sends identical requests once. The batch ends after `max_identical_failures` identical failures without a
    success between them; only failures that may have cost money or reject the account count (None: it continues). While
    the server is unreachable, the batch waits for up to `max_outage` seconds. `thumbnail` makes small WebP copies of
    images for `index.html`, which starts with the text `note`. Without `record_prompts`, no file of the folder and no
    outcome contains a prompt or `extra_body`. `economy` sends requests through the provider's Batch API, which executes
    them within a day at half of `prices`; `concurrency`, `max_identical_failures` and the client's rate limits do not
    apply to it. `cancel` sends nothing: it cancels batches at the provider and collects their finished requests. Raises
    `ConfigurationError`.
    """

    concurrency: int | None = field(default=None, validator=_count)
    budget: Decimal | None = field(default=None, validator=_dollars)
    max_image_cost: Decimal | None = field(default=None, validator=_dollars)
    prices: Prices = PUBLISHED_PRICES
    retry_failed: bool = False
    retry_unknown: bool = False
    retry_missing: bool = False
    dedupe: bool = False
    max_identical_failures: int | None = field(default=DEFAULT_IDENTICAL_FAILURES, validator=_count)
    max_outage: float = field(default=600.0, validator=_seconds)
    thumbnail: Thumbnail | None = None
    note: str = ""
    record_prompts: bool = True
    economy: bool = False
    cancel: bool = False

    def __attrs_post_init__(self) -> None:
        if self.cancel and not self.economy:
            raise ConfigurationError("cancel is for batches at the provider: set economy=True, too")


@short_repr
@frozen(kw_only=True, repr=False)
class BatchPlan:
    """The state of a batch before a run, as keys in the order of its items; `to_send` are those that the run sends.

    Each item is in exactly one of `done`, `away` (paid for, but not downloaded yet: a run downloads it), `submitted`
    (in a batch at the provider, from which a run with `BatchOptions(economy=True)` collects it), `pending` (not sent,
    or not executed), `failed`, `unknown` (may have been billed) and `missing` (was done, but its images are missing).
    Subsets of `done` are `adopted` (images found without a row) and `altered` (the images differ from those that were
    written); `incomplete` are failed and unknown items with some of their images; `changed` are pending items that had
    failed with another request. `removed` are in the journal, but not in the items. `same` maps items that are not sent
    to the item whose images they share. `notes` describe repairs. `spent` is the cost of earlier runs in US dollars,
    None if no cost is known; it does not include `unpriced` results.
    """

    total: int
    """The number of items."""
    done: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys whose images are in the folder."""
    away: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys whose images are paid for, but not downloaded yet; a run downloads them."""
    submitted: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys in a batch at the provider; a run in economy collects them."""
    pending: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys that were never sent, or certainly not executed."""
    failed: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys whose request failed."""
    unknown: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys that may have been billed and do not have all images."""
    missing: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys that were done, but whose images are missing."""
    adopted: tuple[str, ...] = field(default=(), repr=repr_names)
    altered: tuple[str, ...] = field(default=(), repr=repr_names)
    """Done keys whose images differ from those that were written."""
    changed: tuple[str, ...] = field(default=(), repr=repr_names)
    incomplete: tuple[str, ...] = field(default=(), repr=repr_names)
    removed: tuple[str, ...] = field(default=(), repr=repr_names)
    to_send: tuple[str, ...] = field(default=(), repr=repr_names)
    same: Mapping[str, str] = field(factory=dict[str, str], hash=False, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=repr_names)
    spent: Decimal | None = None
    unpriced: int = 0

    @property
    def to_fetch(self) -> tuple[str, ...]:
        """The keys whose images a run downloads; those also in `to_send` are sent again if that fails."""
        return tuple(key for key in self.away if key not in self.same)

    def _repr_html_(self) -> str:
        return table_of_fields("Plan of a batch", self)


@short_repr
@frozen(kw_only=True, repr=False)
class BatchSummary:
    """The state of a batch after a run, or during it.

    Each item counts in exactly one of `done`, `away` (paid for, but not downloaded), `submitted` (in a batch at the
    provider), `failed`, `unknown`, `missing` and `not_started`. `earlier` counts items that were done before this run,
    `blocked` failures by the safety system, `incomplete` failed and unknown items with some of their images. `reason`
    is why the run ended before everything was sent: "" (it did not), "budget", "quota", "stopped" (`stop()`), "folder"
    (not writable), "server" (unreachable), "key" (not accepted), "cluster" (lost) or "failures" (too many identical
    ones). `spent` is the cost of all runs in US dollars, None if no cost is known; it does not include `unpriced`
    results and requests that may have been billed. `saved_elsewhere` are paths of images that could not be written to
    the folder. `elapsed` is the duration of this run in seconds. `assumed_cost` says what the budget assumes of an
    uncertain cost, and how to make it certain.
    """

    total: int
    """The number of items."""
    done: int = 0
    """Items whose images are in the folder."""
    away: int = 0
    """Items that are paid for, but whose images could not be downloaded."""
    failed: int = 0
    """Items whose request failed."""
    blocked: int = 0
    """Failed items that the safety system blocked."""
    unknown: int = 0
    """Items that may have been billed and do not have all images."""
    missing: int = 0
    """Items that were done, but whose images are missing."""
    not_started: int = 0
    """Items that were not sent."""
    earlier: int = 0
    """Items that were done before this run."""
    reason: str = ""
    spent: Decimal | None = None
    unpriced: int = 0
    saved_elsewhere: tuple[str, ...] = field(default=(), repr=repr_names)
    elapsed: float = 0.0
    incomplete: int = 0
    """Failed and unknown items that have some of their images."""
    assumed_cost: str = ""
    submitted: int = 0
    """Items that are in a batch at the provider."""

    def _repr_html_(self) -> str:
        return table_of_fields("Batch", self)
