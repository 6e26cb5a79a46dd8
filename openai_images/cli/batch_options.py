"""What was typed behind `openai-images batch`, and what it comes to.

Rules: options that are not given are not sent; what can be found wrong is found here, before anything is sent. It
refuses to mix up two servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from attrs import field, frozen

from openai_images import BatchOptions, Limits
from openai_images.cli.batch_input import load_items, load_prices, parse_budget
from openai_images.cli.endpoint import Endpoint, model_for
from openai_images.cli.paths import format_of
from openai_images.cli.thumbnails import find_thumbnail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from openai_images import BatchItem, Prices

__all__ = ["Options", "Task", "read_task"]

_STAND_IN = (
    "Local stand-ins: painted by a program on this machine, not by a model. Nothing was billed: amounts are what the "
    "API would have taken."
)


@frozen(kw_only=True)
class Options:
    """What was typed."""

    file: str
    out: str
    input_format: str | None = None
    concurrency: int | None = None
    images_per_minute: int | None = None
    budget: str | None = None
    prices: str | None = None
    max_identical_failures: int = 5
    retry_failed: bool = False
    retry_unknown: bool = False
    retry_missing: bool = False
    dedupe: bool = False
    dry_run: bool = False
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    model: str | None = None
    output_format: str | None = None
    background: str | None = None
    compression: int | None = None
    moderation: str | None = None
    local: bool = False
    azure: bool | None = None
    base_url: str | None = None
    timeout: float | None = None
    as_json: bool = False
    verbose: bool = False
    quiet: bool = False


@frozen(kw_only=True)
class Task:
    """What is to be done: the options, and what they name."""

    options: Options
    endpoint: Endpoint
    items: Sequence[BatchItem] = field(repr=False)
    prices: Prices
    budget: Decimal | None

    @property
    def batch_options(self) -> BatchOptions:
        """How the batch behaves."""
        options = self.options
        return BatchOptions(
            budget=self.budget,
            prices=self.prices,
            max_identical_failures=options.max_identical_failures or None,
            retry_failed=options.retry_failed,
            retry_unknown=options.retry_unknown,
            retry_missing=options.retry_missing,
            dedupe=options.dedupe,
            thumbnail=find_thumbnail(),
            note=_STAND_IN if options.local else "",
        )


def read_task(options: Options) -> Task:
    """Read and check all of it; nothing is sent. Raises click.UsageError and `ImagesError`."""
    if options.local and options.base_url:
        raise click.UsageError("--local starts a server of its own; leave --base-url out.")
    if options.local and options.azure:
        raise click.UsageError("--local starts a server of its own; leave --azure out.")
    endpoint = _endpoint(options)
    budget = parse_budget(options.budget)
    defaults = {
        "model": model_for(options.model, endpoint),
        "n": options.n,
        "size": options.size,
        "quality": options.quality,
        "background": options.background,
        "output_format": format_of(None, options.output_format),
        "output_compression": options.compression,
        "moderation": options.moderation,
    }
    given = {name: value for name, value in defaults.items() if value is not None}
    prices = load_prices(options.prices)
    return Task(
        options=options,
        endpoint=endpoint,
        items=load_items(options.file, options.input_format, given),
        prices=prices,
        budget=budget,
    )


def _endpoint(options: Options) -> Endpoint:
    """Where to send, and how fast."""
    chosen = {"concurrency": options.concurrency, "images_per_minute": options.images_per_minute}
    return Endpoint(
        local=options.local,
        azure=options.azure,
        base_url=options.base_url,
        timeout=options.timeout,
        limits=Limits(**{name: value for name, value in chosen.items() if value is not None}),
        pace=0.0,
    )
