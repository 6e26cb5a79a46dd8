"""Describes what a batch will do and its estimated costs, as text and as JSON.

Invariants: an unknown cost is not counted, and reported as unknown; the estimate is a range if `auto` has several
possible costs, else one amount, the maximum that is billed.
Must not: report an unknown cost as zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from attrs import define, field, frozen

from openai_images import (
    BatchItem,
    BatchPlan,
    EditRequest,
    GenerateRequest,
    Prices,
    estimate_cost_range,
)
from openai_images.cli.console import (
    decimal_text,
    dollars,
    join_limited,
    plural,
    table_lines,
)

_AUTO = "auto counts as its most expensive size and quality"
_UNSET = (None, "auto")
_MAX_MODEL_LENGTH = 40


@define
class ModelCost:
    """The estimated cost in US dollars of `requests` for `images` by a model; `unpriced` requests are not counted."""

    requests: int = 0
    images: int = 0
    at_least: Decimal = Decimal(0)
    at_most: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, other: ModelCost) -> None:
        """Add another cost to this one."""
        self.requests += other.requests
        self.images += other.images
        self.at_least += other.at_least
        self.at_most += other.at_most
        self.unpriced += other.unpriced

    def __str__(self) -> str:
        if self.unpriced == self.requests:
            return "unknown"
        known, most = self.requests - self.unpriced, dollars(self.at_most, "ROUND_UP")
        text = f"at most {most}" if self.at_least == self.at_most else f"{dollars(self.at_least)} to {most}"
        return f"{text} for {known:,} of them" if self.unpriced else text

    def record(self) -> dict[str, Any]:
        """Return the fields of a JSON line; amounts are null if the cost of a request is unknown."""
        amounts = {"at_least": self.at_least, "at_most": self.at_most}
        return {
            "requests": self.requests,
            "images": self.images,
            **{name: None if self.unpriced else decimal_text(amount) for name, amount in amounts.items()},
        }


@frozen
class CostEstimate:
    """The estimated cost of requests; some may be unpriced, for `reason`. `prices` names the source of the prices."""

    total: ModelCost
    reason: str
    prices: str
    by_model: dict[str | None, ModelCost] = field(factory=dict[str | None, ModelCost], repr=False)

    def __str__(self) -> str:
        total = self.total
        if total.unpriced == total.requests:
            return f"unknown ({self.reason})"
        known = f"at most {dollars(total.at_most, 'ROUND_UP')} ({self.prices})"
        if not total.unpriced:
            return known
        of = f"{total.requests - total.unpriced:,} of {plural(total.requests, 'request')}"
        return f"{known} for {of}, unknown for the rest ({self.reason})"

    def table(self) -> list[str]:
        """Return lines with the costs of each model and the total."""
        rows = [(_display(model), each) for model, each in self.by_model.items()]
        if len(rows) > 1:
            rows.append(("total", self.total))
        cells = [(name, f"{each.requests:,}", f"{each.images:,}", str(each)) for name, each in rows]
        return table_lines([("model", "requests", "images", "estimated cost"), *cells], left=(3,))

    def records(self) -> list[dict[str, Any]]:
        """Return the costs of each model for a JSON line."""
        return [{"model": model, **each.record()} for model, each in self.by_model.items()]


@frozen
class BudgetLeft:
    """A `budget` in US dollars, the amount `spent`, and the least cost of the first request, if that is known."""

    budget: Decimal
    spent: Decimal | None
    first: Decimal | None

    @property
    def left(self) -> Decimal:
        """The amount that is not spent."""
        return self.budget - (self.spent or 0)

    @property
    def has_room(self) -> bool:
        """Whether the first request can be sent."""
        return self.left > 0 and (self.first is None or self.first <= self.left)

    def lines(self, cost: CostEstimate) -> list[str]:
        """Return lines with the budget, and whether it is enough."""
        spent = "" if self.spent is None else f", {dollars(self.spent)} of it spent before"
        lines = [f"budget: {dollars(self.budget)} for all runs of this folder{spent}"]
        if not self.has_room:
            lines.append("it is not enough for the first request: nothing would be sent; raise --budget")
        elif cost.total.at_most > self.left:
            lines.append("it may not be enough for all: requests that do not fit are not started")
        return lines


def estimate_items(
    items: Iterable[BatchItem],
    prices: Prices,
    file: str | None = None,
    max_image_cost: Decimal | None = None,
) -> CostEstimate:
    """Estimate the cost of the items; `file` has the user's prices, an image costs at most `max_image_cost`."""
    total, by_model = ModelCost(), dict[str | None, ModelCost]()
    one: GenerateRequest | None = None
    has_auto = False
    for item in items:
        request = item.request
        amounts = cost_range(request, prices, max_image_cost)
        has_auto = has_auto or request.size in _UNSET or request.quality in _UNSET
        if amounts is None:
            one = one or request
        least, most = amounts or (Decimal(0), Decimal(0))
        cost = ModelCost(1, request.n or 1, least, most, int(amounts is None))
        by_model.setdefault(request.model, ModelCost()).add(cost)
        total.add(cost)
    source = f"prices of {prices.as_of.isoformat()}" if file is None else f"prices in {file}"
    if max_image_cost is not None:
        source = f"{source}, and --max-image-cost"
    elif has_auto:
        source = f"{source}; {_AUTO}"
    return CostEstimate(
        total=total,
        reason="" if one is None else _why_unpriced(one, prices),
        prices=source,
        by_model=by_model,
    )


def cost_range(
    request: GenerateRequest, prices: Prices, max_image_cost: Decimal | None
) -> tuple[Decimal, Decimal] | None:
    """Return the minimum and maximum cost of a request, None if unknown; an image costs at most `max_image_cost`."""
    amounts = estimate_cost_range(request, prices)
    if max_image_cost is None:
        return amounts
    most = max_image_cost * (request.n or 1)
    return (Decimal(0), most) if amounts is None else (min(amounts[0], most), min(amounts[1], most))


def _why_unpriced(request: GenerateRequest, prices: Prices) -> str:
    model = _display(request.model) if request.model is None else repr(request.model)
    of = "" if prices.of(request.model) is None else "all parameters of a request to "
    edits = "images to edit by " if isinstance(request, EditRequest) else of
    return f"no price is known for {edits}{model}"


def _display(model: str | None) -> str:
    return "a model that is not named" if model is None else model[:_MAX_MODEL_LENGTH]


_MAX_NOTED_KEYS = 5


def plan_lines(plan: BatchPlan, *, economy: bool = False) -> list[str]:
    """Describe what was done before, what will be done now, and other findings."""
    to_send = set(plan.to_send)
    resent = ", and sent again if that fails" if to_send.intersection(plan.to_fetch) else ""
    counts = (
        (plan.done, "done", ""),
        (plan.to_fetch, "behind a URL", f"paid for; fetched now{resent}"),
        (plan.submitted, "at the provider", "collected now" if economy else "--economy collects them"),
        (plan.failed, "failed", _failed_hint(plan)),
        (plan.unknown, "unknown", "may have been billed; --retry-unknown sends them again"),
        (plan.missing, "missing", "done, but their images are missing; --retry-missing sends them again"),
    )
    parts: list[str] = []
    for keys, state, hint in counts:
        if keys:
            again = all(key in to_send or key in plan.same for key in keys) and keys != plan.to_fetch
            what = "sent again now" if again else hint
            parts.append(f"{len(keys):,} {state}{f' ({what})' if what else ''}")
    if not parts:
        lines = [f"{plural(plan.total, 'request')} to do"]
    else:
        parts += [f"{len(plan.pending):,} to do"] if plan.pending else []
        parts += [] if plan.to_send or plan.away or plan.submitted else ["nothing to do"]
        lines = [f"resuming: {', '.join(parts)}"]
    if plan.same:
        verb = "shares" if len(plan.same) == 1 else "share"
        lines.append(f"{plural(len(plan.same), 'request')} {verb} the images of an identical one")
    noticed = (
        (plan.changed, "failed before, and the request is different now"),
        (plan.adopted, "the image existed without a row in the journal; the row was added"),
        (plan.altered, "the image was changed after it was written; it is left unchanged"),
        (plan.removed, "in the journal, but no longer in the input"),
    )
    notes = [f"{what}: {join_limited(keys, _MAX_NOTED_KEYS)}" for keys, what in noticed if keys]
    return [*lines, *(f"note: {note}" for note in (*notes, *plan.notes))]


def _failed_hint(plan: BatchPlan) -> str:
    """Return the advice for failed requests, and for requests with only some of their images."""
    incomplete = set(plan.incomplete).intersection(plan.failed)
    hint = "--retry-failed sends them again"
    if not incomplete:
        return hint
    asked = (
        "requested now" if incomplete.intersection(plan.to_send) else "--retry-missing requests the others"
    )
    return f"{len(incomplete):,} with only some of the images: {asked}; {hint}"


def plan_record(plan: BatchPlan, estimate: CostEstimate) -> dict[str, Any]:
    """Make the plan's JSON line; amounts are in US dollars, null if unknown."""
    names = ("done", "away", "failed", "unknown", "missing", "pending", "to_send")
    counts = {name: len(getattr(plan, name)) for name in names}
    counts |= {"submitted": len(plan.submitted)} if plan.submitted else {}
    cost = estimate.total.record()["at_most"]
    money = {"at_most": cost, "spent": decimal_text(plan.spent), "by_model": estimate.records()}
    return {"plan": {"total": plan.total, **counts, **money}}
