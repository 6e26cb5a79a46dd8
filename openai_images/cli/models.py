"""`openai-images models`: the values, prices and end dates of each model; `--check` asks the server.

Invariants: everything but `--check` works without key and network; a price or date that is not published is reported as
unknown; the server's end date of a model overrides the table.
Must not: report a model as available that the server did not list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

import click
from attrs import asdict, frozen

from openai_images import (
    PUBLISHED_PRICES,
    GenerateRequest,
    ModelInfo,
    ModelSpec,
    estimate_cost,
    known_models,
)
from openai_images.cli.command_runner import run_command
from openai_images.cli.console import (
    Console,
    Streams,
    decimal_text,
    join_limited,
    plural,
    printable,
    table_lines,
)
from openai_images.cli.options import CommandOptions, offline_client, open_client

_SIZES = ("1024x1024", "1536x1024", "1024x1536", "2048x2048", "3840x2160")
"""Example sizes if any size is accepted: those that all models have, a larger one, and the largest in 16:9."""

_SNAPSHOT = re.compile(r"-\d{4}-\d\d-\d\d$")
_MAX_LISTED = 20
"""Maximum number of unknown models that are all listed; a server with more has models for other tasks."""


@frozen(kw_only=True)
class ModelsOptions(CommandOptions):
    """Options of `models`."""

    ask_server: bool = False

    def check(self) -> None:
        """Raise click.UsageError for options that contradict each other."""
        super().check()
        server = {
            "--local": self.local,
            "--base-url": self.base_url,
            "--azure": self.azure,
            "--timeout": self.timeout,
        }
        for option, value in server.items():
            if value and not self.ask_server:
                raise click.UsageError(
                    f"{option} is about a server, and only --check calls one: add --check."
                )


def run_models(options: ModelsOptions, streams: Streams) -> int:
    """Print the models and return the exit code. Raises click.UsageError."""
    options.check()
    console = options.make_console(streams)
    if not options.ask_server:
        _print(console, [ModelStatus(spec, current_date()) for spec in known_models()])
        return 0
    return run_command(console, _check(options, console))


def current_date() -> date:
    """Return today's date in UTC."""
    return datetime.now(UTC).date()


async def _check(options: ModelsOptions, console: Console) -> int:
    if options.is_azure:
        await offline_client(options).list_models()  # raises: Azure has no such list
    async with open_client(options, console) as client:
        listed = {model.id: model for model in await client.list_models()}
        url = client.base_url
    today = current_date()
    known = [ModelStatus(spec, today, listed) for spec in known_models()]
    names = {name for spec in known_models() for name in (spec.name, *spec.snapshots)}
    others = [model for name, model in listed.items() if _SNAPSHOT.sub("", name) not in names]
    _print(console, known, others)
    available = sum(status.is_available is True for status in known)
    console.print_note(f"{url} lists {plural(len(listed), 'model')}, {available} of them in the table")
    return 0


@frozen
class ModelStatus:
    """A model of the table on a day; `listed` are the server's models, None without `--check`."""

    spec: ModelSpec
    today: date
    listed: Mapping[str, ModelInfo] | None = None

    @property
    def names(self) -> list[str]:
        """The names that the server listed."""
        return [name for name in (self.spec.name, *self.spec.snapshots) if name in (self.listed or {})]

    @property
    def is_available(self) -> bool | None:
        """Whether the server listed it; None without `--check`."""
        return None if self.listed is None else bool(self.names)

    @property
    def end(self) -> date | None:
        """The first day without it, from the server or else from the table."""
        days = [(self.listed or {})[name].shutdown_date for name in self.names]
        return next(filter(None, days), self.spec.ends)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended; a model that the server lists has not."""
        return not self.names and self.spec.has_ended(self.today)

    @property
    def costs(self) -> dict[str, dict[str, Decimal | None]]:
        """The maximum cost of an image without its prompt, by size and quality."""
        name, qualities = self.spec.name, [q for q in self.spec.values.get("quality", ()) if q != "auto"]
        return {
            size: {
                quality: estimate_cost(GenerateRequest("", model=name, size=size, quality=quality))
                for quality in qualities
            }
            for size in self.spec.sizes or _SIZES
        }

    @property
    def end_line(self) -> str:
        """Its end date and replacements."""
        end = self.end
        if end is None:
            return "no date is known"
        days = (end - self.today).days
        when = f"in {plural(days, 'day')}" if days > 0 else "over by the table"
        use = f"; use {' or '.join(self.spec.replacements)}" if self.spec.replacements else ""
        return f"{end.isoformat()} ({when}){use}"

    def record(self) -> dict[str, Any]:
        """Return the JSON line."""
        spec, price = self.spec, PUBLISHED_PRICES.of(self.spec.name)
        prices: dict[str, Decimal | None] = {} if price is None else asdict(price)
        rules = spec.size_rules
        return {
            "model": spec.name,
            "known": True,
            "available": self.is_available,
            "snapshots": list(spec.snapshots),
            "ends": None if self.end is None else self.end.isoformat(),
            "ended": self.has_ended,
            "replacements": list(spec.replacements),
            "sizes": list(spec.sizes) or None,
            "size_rules": None if rules is None else rules._asdict(),
            "values": {name: list(values) for name, values in spec.values.items()},
            "uncertain": [list(pair) for pair in sorted(spec.unsure)],
            "streaming": spec.streams,
            "edits": spec.edits,
            "max_n": spec.max_images,
            "max_prompt": spec.prompt,
            "image_cost": {
                size: {quality: decimal_text(cost) for quality, cost in by_quality.items()}
                for size, by_quality in self.costs.items()
            },
            "token_prices": {
                name: decimal_text(value) for name, value in prices.items() if value is not None
            },
            "prices_as_of": PUBLISHED_PRICES.as_of.isoformat(),
        }


def _usd(cost: Decimal) -> str:
    """Format with four digits, so that all rows align."""
    return f"${cost.quantize(Decimal('0.0001'), 'ROUND_UP')}"


def _print(console: Console, known: Sequence[ModelStatus], others: Sequence[ModelInfo] = ()) -> None:
    if console.as_json:
        for status in known:
            console.print_record(status.record())
        for model in others:
            end = None if model.shutdown_date is None else model.shutdown_date.isoformat()
            console.print_record({"model": model.id, "known": False, "available": True, "ends": end})
        return
    live = [status for status in known if not status.has_ended]
    # Neighbors that differ only in their name share a block.
    for lines, same in groupby(live, key=_block):
        console.print_result(", ".join(status.spec.name for status in same))
        for line in lines:
            console.print_result(line)
        console.print_result("")
    ended = [f"{status.spec.name} ({status.end})" for status in known if status.has_ended]
    if ended:
        console.print_result(f"ended: {', '.join(ended)}")
    for line in _other_lines(others):
        console.print_result(line)
    console.print_note(
        f"costs: the maximum for one image without its prompt, by the prices of {PUBLISHED_PRICES.as_of}"
    )


def _other_lines(others: Sequence[ModelInfo]) -> Iterator[str]:
    is_short = len(others) <= _MAX_LISTED
    shown = [model for model in others if is_short or "image" in model.id]
    names = [
        printable(model.id) + (f" (ends {model.shutdown_date})" if model.shutdown_date else "")
        for model in shown
    ]
    if names:
        yield f"not in the table: {join_limited(names, _MAX_LISTED)}"
    if rest := len(others) - len(shown):
        yield f"and {plural(rest, 'model')} without 'image' in the name; --json lists all"


def _block(status: ModelStatus) -> list[str]:
    spec, availability = status.spec, "available" if status.names else "not available to this key"
    still = [f for f in spec.values.get("output_format", ()) if f not in ("gif", "svg")]
    facts = [
        ("sizes", [_size_line(spec)]),
        *((name.replace("_", " "), [_value_line(spec, name)]) for name in spec.values),
        ("streaming", [f"yes, with partial images ({', '.join(still)})" if spec.streams else "no"]),
        ("edits", ["yes" if spec.edits else "no"]),
        (
            "limits",
            [f"up to {spec.max_images} images in one request; prompts of up to {spec.prompt:,} characters"],
        ),
        ("ends", [status.end_line]),
        *([] if status.listed is None else [("server", [availability])]),
        ("cost", _cost_lines(status)),
    ]
    width = max(len(name) for name, _ in facts)
    return [
        f"  {'' if number else name:{width}}  {line}".rstrip()
        for name, lines in facts
        for number, line in enumerate(lines)
    ]


def _value_line(spec: ModelSpec, name: str) -> str:
    """Return the values of a parameter; values that the API may not accept are marked."""
    return ", ".join(
        f"{value} (uncertain)" if (name, value) in spec.unsure else value for value in spec.values[name]
    )


def _size_line(spec: ModelSpec) -> str:
    rules = spec.size_rules
    if rules is None:
        return ", ".join(("auto", *spec.sizes))
    return (
        f"auto, or any in steps of {rules.step}: {rules.min_pixels:,} to {rules.max_pixels:,} pixels, "
        f"no edge over {rules.max_edge}, at most {rules.max_ratio}:1"
    )


def _cost_lines(status: ModelStatus) -> list[str]:
    costs = status.costs
    qualities = list(next(iter(costs.values())))
    if not any(cost for by_quality in costs.values() for cost in by_quality.values()):
        return ["unknown"]
    rows = [
        [size, *("unknown" if cost is None else _usd(cost) for cost in by_quality.values())]
        for size, by_quality in costs.items()
    ]
    return table_lines([["", *qualities], *rows])
