"""How a batch behaves, as a frozen value.

Rules: what may cost money again is off unless it is asked for; a value that makes no sense is refused when it is made.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from attrs import Attribute, field, frozen

from openai_images.batch.thumbs import Thumbnail
from openai_images.catalog.prices import PUBLISHED_PRICES, Prices
from openai_images.errors import ConfigurationError
from openai_images.many.failure_streaks import DEFAULT_IDENTICAL_FAILURES

__all__ = ["BatchOptions"]


def _count(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        msg = f"BatchOptions({attribute.name}={value!r}): must be a whole number above 0, or None"
        raise ConfigurationError(msg)


def _dollars(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None and not (isinstance(value, Decimal) and value.is_finite() and value >= 0):
        msg = f"BatchOptions({attribute.name}={value!r}): must be a Decimal of US dollars, 0 or more, or None"
        raise ConfigurationError(msg)


def _seconds(_: object, attribute: Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not (isinstance(value, int | float) and value >= 0):
        msg = f"BatchOptions({attribute.name}={value!r}): must be a number of seconds, 0 or more"
        raise ConfigurationError(msg)


@frozen(kw_only=True)
class BatchOptions:
    """How much at once, for how much, and what is sent although it was sent before.

    `concurrency` requests at once, None for as many as the client's `Limits` allow. `budget` US dollars for all runs of
    the folder together, by `prices`. `retry_failed` sends failures again, `retry_unknown` what may have been billed, or
    is behind a URL that cannot be fetched, `retry_missing` what was done and whose pictures are gone. `dedupe` sends
    identical requests once. After `max_identical_failures` with no success between, each of which may have cost money
    or refused the account, the batch ends, so that no more is paid for nothing; None: it goes on. While the server
    cannot be reached the batch waits, for `max_outage` seconds at a time.
    `thumbnail` makes a small WebP copy of the picture in its first path at its second, for `index.html`, which begins
    with the remark `note`. Raises `ConfigurationError`.
    """

    concurrency: int | None = field(default=None, validator=_count)
    budget: Decimal | None = field(default=None, validator=_dollars)
    prices: Prices = PUBLISHED_PRICES
    retry_failed: bool = False
    retry_unknown: bool = False
    retry_missing: bool = False
    dedupe: bool = False
    max_identical_failures: int | None = field(default=DEFAULT_IDENTICAL_FAILURES, validator=_count)
    max_outage: float = field(default=600.0, validator=_seconds)
    thumbnail: Thumbnail | None = None
    note: str = ""
