"""Checks the items that a run will send before the first one is sent.

Invariants: nothing is sent if one item is invalid, or if the budget cannot be enforced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openai_images.batch.items.models import BatchOptions, BatchPlan
from openai_images.batch.items.resolved_item import ResolvedItem, reject_invalid_items
from openai_images.batch.journal.ledger import Ledger
from openai_images.errors import ConfigurationError
from openai_images.models.requests import EditRequest, GenerateRequest


def reject_unsendable_items(
    items: Sequence[ResolvedItem],
    plan: BatchPlan,
    ledger: Ledger,
    options: BatchOptions,
    check: Callable[[GenerateRequest], None],
) -> None:
    """Reject items that the client would not send, and a budget for items of unknown cost.

    Raises `BatchInputError` and `ConfigurationError`.
    """
    to_send = set(plan.to_send)
    reject_invalid_items((item for item in items if item.key in to_send), check)
    if options.budget is not None:
        _reject_unknown_costs([item for item in items if item.key in to_send], ledger, options)


def _reject_unknown_costs(items: Sequence[ResolvedItem], ledger: Ledger, options: BatchOptions) -> None:
    unknown = [item for item in items if item.estimate is None and not _has_cost(item.request, options)]
    if unknown:
        models = ", ".join(sorted({repr(item.request.model)[:60] for item in unknown})[:3])
        msg = (
            f"a budget needs prices, but the cost of {len(unknown):,} of the requests is unknown (model "
            f"{models}); nothing was sent. Use a model, size and quality with a published price, set prices or "
            "max_image_cost, or leave the budget out"
        )
        raise ConfigurationError(msg)
    unpriceable = ledger.spending.unpriceable
    if unpriceable:
        msg = (
            f"a budget needs all costs so far, but {unpriceable:,} earlier requests of this folder have "
            "neither a cost nor an estimate; nothing was sent. Set max_image_cost, use another folder, or leave "
            "the budget out"
        )
        raise ConfigurationError(msg)
    submitted = (
        0 if options.economy or not items else ledger.submitted_unpriceable
    )  # a run in economy collects them first
    if submitted:
        msg = (
            f"a budget needs all costs so far, but {submitted:,} requests at the provider have no estimate; "
            "nothing was sent. Collect them with economy first, or leave the budget out"
        )
        raise ConfigurationError(msg)


def _has_cost(request: GenerateRequest, options: BatchOptions) -> bool:
    """Return whether the cost of an edit will be known from its usage, although there is no estimate."""
    return isinstance(request, EditRequest) and options.prices.of(request.model) is not None
