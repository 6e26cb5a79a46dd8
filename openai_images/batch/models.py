"""The public values of a batch: its items and options, its plan and its summary.

Invariants: frozen; what may cost money again is off by default; an invalid option is rejected when it is made; an
unknown cost is None, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from attrs import field, frozen

from openai_images._util.attrs import is_count, is_number, keyword_hints, must_be, repr_names, short_repr
from openai_images.catalog.prices import PUBLISHED_PRICES, Prices, is_amount
from openai_images.errors import ConfigurationError
from openai_images.many.failure_streaks import DEFAULT_IDENTICAL_FAILURES
from openai_images.models.notebook import table_of_fields
from openai_images.models.requests import GenerateRequest

Thumbnail: TypeAlias = Callable[[Path, Path], object]
"""Makes a small WebP copy of the first path's image at the second, which has another suffix; may raise anything."""


@short_repr
@frozen(repr=False)
class BatchItem:
    """One request of a batch: its `key` names it and its files; `line` is its line in an input file, if any."""

    key: str
    request: GenerateRequest
    """What to send: a `GenerateRequest`, or an `EditRequest`."""
    line: int | None = None


_count = must_be("a whole number above 0, or None", lambda value: value is None or is_count(value))
_dollars = must_be(
    "a Decimal of US dollars, 0 or more, or None", lambda value: value is None or is_amount(value)
)
_seconds = must_be("a number of seconds, 0 or more", lambda value: is_number(value) and value >= 0)


@keyword_hints
@frozen(kw_only=True)
class BatchOptions:
    """How many requests at once, for how much money, and what is sent again.

    `concurrency` requests at once, None for as many as the client's `Limits` allow. `budget` US dollars for all runs
    of the folder together, by `prices`: never exceeded by more than one request in flight, nor at all where requests
    name their size and quality. `max_image_cost` US dollars is what one image costs at most as you know it, where that
    is less than the estimate, or there is none. `retry_failed` sends failures again, `retry_unknown` what may have been
    billed, or is behind a URL that cannot be fetched, `retry_missing` what was done and whose images are gone, and the
    images that did not come of an item that failed with only some of them, without sending other failures again.
    `dedupe` sends identical requests once. After `max_identical_failures` with no success between them, each of which
    may have cost money or rejected the account, the batch ends; None: it continues. While the server is unreachable
    the batch waits, for `max_outage` seconds at a time. `thumbnail` makes a small WebP copy of the image in its first
    path at its second, for `index.html`, which begins with the remark `note`. Without `record_prompts` no file of the
    folder and no outcome shows a prompt, nor `extra_body`. `economy` sends requests in batches of the provider's Batch
    API, which runs them within a day at half of `prices`: `concurrency`, `max_identical_failures` and the client's
    rate limits do not count then. With `cancel` it sends nothing: batches at the provider are cancelled, and what they
    have done is collected. Raises `ConfigurationError`.
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
            raise ConfigurationError("cancel is for batches at the provider: give economy=True with it")


@short_repr
@frozen(kw_only=True, repr=False)
class BatchPlan:
    """Where a batch stands, by keys in the order of its items; `to_send` is what a run will send.

    `done`, `away`, `submitted`, `pending`, `failed`, `unknown` and `missing` are disjoint and complete: `away` was paid
    for, and a run fetches its images from URLs; `submitted` is in a batch at the provider, from which a run with
    `BatchOptions(economy=True)` collects it; `pending` was never sent, or not executed; `unknown` may have been billed;
    `missing` was done, and its images are gone. Of the done, `adopted` images were found without their row, and
    `altered` ones are not what was written; of the failed and unknown, `incomplete` ones have some of their images.
    `changed` are pending: they had failed, and their request is another one now. `removed` are in the journal and no
    longer in the items. `same` maps each item that is not sent to the one whose images it shares. `notes` tell what
    was repaired. `spent` US dollars went before this run, None where no cost is known; `unpriced` results are not in
    it.
    """

    total: int
    """How many items there are."""
    done: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys whose images are in the folder."""
    away: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys whose images are paid for and still behind URLs; a run fetches them."""
    submitted: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys that are in a batch at the provider; a run in economy collects them."""
    pending: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys that were never sent, or certainly not executed."""
    failed: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys whose request failed."""
    unknown: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys that may have been billed, without all of their images."""
    missing: tuple[str, ...] = field(default=(), repr=repr_names)
    """Keys that were done, and whose images are gone."""
    adopted: tuple[str, ...] = field(default=(), repr=repr_names)
    altered: tuple[str, ...] = field(default=(), repr=repr_names)
    """Of the done, those whose images are not what was written."""
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
        """The keys whose images a run fetches; those also in `to_send` are sent where that fails."""
        return tuple(key for key in self.away if key not in self.same)

    def _repr_html_(self) -> str:
        return table_of_fields("Plan of a batch", self)


@short_repr
@frozen(kw_only=True, repr=False)
class BatchSummary:
    """Where a batch stands after a run, or during it.

    `done`, `away` (paid for, and behind a URL that could not be fetched), `submitted` (in a batch at the provider),
    `failed`, `unknown`, `missing` and `not_started` are all items there are; `earlier` of the done were so before this
    run, `blocked` of the failed are the safety system's, and `incomplete` failed and unknown ones have some of their
    images, but not all. `reason` says what ended the run before all was sent: "" (nothing), "budget", "quota",
    "stopped" (`stop()`), "folder" (it could not be written), "server" (it could not be reached), "key" (it was not
    accepted), "cluster" (it was lost) or "failures" (too many identical ones in a row). `spent` US dollars went in all
    runs, None where no cost is known; `unpriced` results, and requests that may have been billed, are not in it.
    `saved_elsewhere` are images that the folder did not take. `elapsed` seconds are this run's. `assumed_cost` says
    what the budget assumes of a cost that is not certain, and how to make it certain.
    """

    total: int
    """How many items there are."""
    done: int = 0
    """Items whose images are in the folder."""
    away: int = 0
    """Items that are paid for, and whose images could not be fetched from their URLs."""
    failed: int = 0
    """Items whose request failed."""
    blocked: int = 0
    """Of the failed, those that the safety system blocked."""
    unknown: int = 0
    """Items that may have been billed, without all of their images."""
    missing: int = 0
    """Items that were done, and whose images are gone."""
    not_started: int = 0
    """Items that were not sent."""
    earlier: int = 0
    """Of the done, those that were done before this run."""
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
