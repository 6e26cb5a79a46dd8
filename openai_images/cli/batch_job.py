"""Everything that `batch` needs before it sends: options, items, prices, budget, limits.

Invariants: everything is read and checked before anything is sent.
Must not: send, or write a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click
from attrs import evolve, field, frozen

from openai_images import (
    PUBLISHED_PRICES,
    BatchItem,
    BatchOptions,
    BatchPlan,
    ConfigurationError,
    Limits,
    Prices,
    read_prices,
)
from openai_images.cli.batch_folder import STAND_IN
from openai_images.cli.batch_input import BatchCommandOptions, BatchInput, load_items
from openai_images.cli.batch_plan import BudgetLeft, cost_range
from openai_images.cli.console import dollars, plural
from openai_images.cli.files import reading
from openai_images.cli.preview import write_thumbnail

if TYPE_CHECKING:  # a batch on one machine does not need it
    from openai_images import Shard


@frozen(kw_only=True)
class BatchJob:
    """The options, and the data that was read for them."""

    options: BatchCommandOptions
    input: BatchInput = field(repr=False)
    prices: Prices
    budget: Decimal | None
    max_image_cost: Decimal | None = None
    limits: Limits
    shard: Shard | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other processes share the batch."""
        return self.shard is not None or self.options.dask is not None

    @property
    def items(self) -> Sequence[BatchItem]:
        """The items of the batch."""
        return self.input.items

    def budget_left(self, plan: BatchPlan) -> BudgetLeft | None:
        """Return the rest of the budget for a plan that sends something; None without a budget."""
        if self.budget is None:
            return None
        first = next(item.request for item in self.items if item.key == plan.to_send[0])
        amounts = cost_range(first, self.effective_prices, self.max_image_cost)
        least = None if amounts is None else amounts[0 if self.max_image_cost is None else 1]
        return BudgetLeft(self.budget, plan.spent, least)

    def shard_lines(self, plan: BatchPlan) -> Iterator[str]:
        """Yield a line with this process's part of the batch, of the rate limit and of the budget."""
        shard = self.shard
        if shard is None or shard.count == 1:
            return
        parts = [f"{plan.total:,} of {plural(len(self.items), 'request')}"]
        if self.limits.images_per_minute is not None:
            parts.append(
                f"{self.limits.images_per_minute:g} of {self.options.images_per_minute} images per minute"
            )
        if self.budget is not None:
            parts.append(f"{dollars(self.budget)} of the budget of {dollars(self.budget * shard.count)}")
        yield f"shard {shard.index} of {shard.count}: {', '.join(parts)}"

    @property
    def effective_prices(self) -> Prices:
        """The prices of this run: half of the prices with `--economy`."""
        return self.prices.at_half() if self.options.economy else self.prices

    @property
    def batch_options(self) -> BatchOptions:
        """Options of the `Batch`."""
        options = self.options
        return BatchOptions(
            budget=self.budget,
            max_image_cost=self.max_image_cost,
            prices=self.prices,
            max_identical_failures=options.max_identical_failures or None,
            retry_failed=options.retry_failed,
            retry_unknown=options.retry_unknown,
            retry_missing=options.retry_missing,
            dedupe=options.dedupe,
            thumbnail=write_thumbnail if find_spec("PIL") else None,
            note=STAND_IN if options.local else "",
            record_prompts=not options.no_prompts,
            economy=options.economy,
            cancel=options.cancel,
        )


def load_job(options: BatchCommandOptions) -> BatchJob:
    """Read and check everything that the options name. Raises click.UsageError and `ImagesError`."""
    options.check()
    shard = options.shared_by
    limits = options.share(Limits(images_per_minute=options.images_per_minute))
    if options.concurrency is not None:
        limits = evolve(limits, concurrency=options.concurrency)
    parts = 1 if shard is None else shard.count
    if limits.images_per_minute is not None and limits.shared is None:
        limits = evolve(limits, images_per_minute=limits.images_per_minute / parts)
    budget = parse_budget(options.budget)
    if budget is not None:
        budget /= parts
    max_image_cost = parse_budget(options.max_image_cost, "--max-image-cost")
    prices = load_prices(options.prices)
    return BatchJob(
        options=options,
        input=load_items(options),
        prices=prices,
        budget=budget,
        max_image_cost=max_image_cost,
        limits=limits,
        shard=shard,
    )


_EXAMPLE = '{"gpt-image-2": {"text_input": "5", "image_output": "30"}}'


def parse_budget(text: str | None, option: str = "--budget") -> Decimal | None:
    """Parse US dollars. Raises click.UsageError."""
    if text is None:
        return None
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise click.UsageError(f"{option} {text!r} is not an amount of US dollars, such as 5 or 12.50.")
    return amount


def load_prices(file: str | None) -> Prices:
    """Return the published prices, overridden by a JSON file. Raises `ConfigurationError` and click.UsageError."""
    if file is None:
        return PUBLISHED_PRICES
    try:
        with reading(file):
            document: object = json.loads(Path(file).read_text(encoding="utf-8-sig"))
        return PUBLISHED_PRICES.with_prices(read_prices(document))
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    except ValueError as error:
        message = (
            f"{file} is not JSON: {error}"
            if isinstance(error, json.JSONDecodeError)
            else f"{file} is not UTF-8"
        )
        raise ConfigurationError(f"{message}; it should look like {_EXAMPLE}") from None
