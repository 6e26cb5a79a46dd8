"""The input of `batch`: options, rows, prices and budget, checked, and what they may cost.

Invariants: everything is read and checked before anything is sent; a row's own parameters override the options.
Must not: accept part of an input: one bad row rejects it, and every bad row is named.
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
from openai_images.cli.batch_costs import BudgetLeft, cost_range
from openai_images.cli.batch_folder import is_shared
from openai_images.cli.batch_items import BatchInput, InputOptions, load_items
from openai_images.cli.console import dollars, plural
from openai_images.cli.options import CallOptions
from openai_images.cli.output import output_format
from openai_images.cli.parameters import parse_parameters
from openai_images.cli.preview import write_thumbnail

if TYPE_CHECKING:  # a batch on one machine does not need it
    from openai_images import Shard

STAND_IN = (
    "Local stand-ins: painted by a program on this machine, not by a model. Nothing was billed: amounts are what the "
    "API would have taken."
)


@frozen(kw_only=True)
class BatchCommandOptions(CallOptions):
    """Options of `batch`."""

    file: str | None = None
    prompt: tuple[str, ...] = field(default=(), repr=False)
    out: str
    input_format: str | None = None
    prompt_column: str | None = None
    key_column: str | None = None
    ignore_unknown: bool = False
    comments: bool = False
    matrix: tuple[str, ...] = ()
    var: tuple[str, ...] = field(default=(), repr=False)
    concurrency: int | None = None
    images_per_minute: int | None = None
    budget: str | None = None
    max_image_cost: str | None = None
    prices: str | None = None
    max_identical_failures: int = 5
    retry_failed: bool = False
    retry_unknown: bool = False
    retry_missing: bool = False
    dedupe: bool = False
    dry_run: bool = False
    no_prompts: bool = False
    shard: str | None = None
    dask: str | None = None
    economy: bool = False
    cancel: bool = False

    def check(self) -> None:
        """Raise click.UsageError for options that contradict each other."""
        super().check()
        if self.cancel and not self.economy:
            raise click.UsageError("--cancel is for batches at the provider: give --economy with it.")
        if self.economy and (self.shard is not None or self.dask is not None):
            raise click.UsageError("--economy sends from one machine: leave --shard and --dask out.")
        if self.output_format is not None:  # otherwise each row may have one
            self.check_format(output_format(None, self.output_format), "write --format {0}")
        if self.dask is not None and self.shard is not None:
            raise click.UsageError("--dask shares the work out itself; leave --shard out.")
        if self.dask is not None and self.local:
            raise click.UsageError(
                "--dask sends from other processes, which have no key of --local's server; for a try start "
                "openai-images serve, and set OPENAI_API_KEY for the workers."
            )

    @property
    def shared_by(self) -> Shard | None:
        """Which part of a batch that several processes share this one is; None for a batch on one machine or on Dask.

        Raises `ConfigurationError`.
        """
        if self.dask is not None and not self.dry_run:
            return None
        if self.shard is None and self.dask is None and not is_shared(self.out):
            return None
        from openai_images import Shard

        shard = Shard() if self.shard is None else Shard.parse(self.shard)
        return evolve(shard, plan_only=self.dry_run)

    @property
    def input_options(self) -> InputOptions:
        """Where the items come from."""
        return InputOptions(
            file=self.file,
            prompts=self.prompt,
            input_format=self.input_format,
            prompt_column=self.prompt_column,
            key_column=self.key_column,
            ignore_unknown=self.ignore_unknown,
            comments=self.comments,
            matrix=self.matrix,
            variables=self.var,
        )

    @property
    def typed_options(self) -> dict[str, str]:
        """The option that was typed for each parameter."""
        names = ("n", "size", "quality", "model", "background", "moderation")
        options = {name: (f"--{name}", getattr(self, name)) for name in names} | {
            "output_format": ("--format", self.output_format),
            "output_compression": ("--compression", self.compression),
            "frame_count": ("--frames", self.frames),
            "svg": ("--svg-model", self.svg_model),
        }
        typed = {name: option for name, (option, value) in options.items() if value is not None}
        return typed | {name: f"--param {name}" for name in parse_parameters(self.param)}


@frozen(kw_only=True)
class BatchJob:
    """The options, and what was read for them."""

    options: BatchCommandOptions
    input: BatchInput = field(repr=False)
    prices: Prices
    budget: Decimal | None
    max_image_cost: Decimal | None = None
    limits: Limits
    shard: Shard | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other processes take part."""
        return self.shard is not None or self.options.dask is not None

    @property
    def items(self) -> Sequence[BatchItem]:
        """What is to be done."""
        return self.input.items

    def budget_left(self, plan: BatchPlan) -> BudgetLeft | None:
        """The budget of a plan that sends something; None without one."""
        if self.budget is None:
            return None
        first = next(item.request for item in self.items if item.key == plan.to_send[0])
        amounts = cost_range(first, self.effective_prices, self.max_image_cost)
        is_certain = amounts is not None and (amounts[0] == amounts[1] or self.max_image_cost is not None)
        return BudgetLeft(self.budget, plan.spent, amounts[1] if amounts and is_certain else None)

    def shard_lines(self, plan: BatchPlan) -> Iterator[str]:
        """What this process has of the batch, of its limit and of its budget."""
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
        """What is paid: half of the prices in economy."""
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
    defaults = options.request_params()
    prices = load_prices(options.prices)
    return BatchJob(
        options=options,
        input=load_items(options.input_options, defaults, options.typed_options),
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
        raise click.UsageError(f"{option} {text!r} is no amount of US dollars, such as 5 or 12.50.")
    return amount


def load_prices(file: str | None) -> Prices:
    """Return the published prices, overridden by a JSON file. Raises `ConfigurationError` and click.UsageError."""
    if file is None:
        return PUBLISHED_PRICES
    try:
        document: object = json.loads(Path(file).read_text(encoding="utf-8-sig"))
        return PUBLISHED_PRICES.with_prices(read_prices(document))
    except OSError as error:
        raise click.UsageError(f"cannot read {file!r}: {error.strerror or type(error).__name__}.") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    except ValueError as error:
        message = (
            f"{file} is not JSON: {error}"
            if isinstance(error, json.JSONDecodeError)
            else f"{file} is not UTF-8"
        )
        raise ConfigurationError(f"{message}; it should look like {_EXAMPLE}") from None
