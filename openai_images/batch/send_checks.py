"""What is checked of the items that a run will send, before it sends the first.

Invariants: nothing is sent where one cannot be, or where a budget cannot be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openai_images.batch.items import ResolvedItem, reject_invalid_items
from openai_images.batch.ledger import Ledger
from openai_images.batch.models import BatchOptions, BatchPlan
from openai_images.errors import ConfigurationError
from openai_images.models.requests import EditRequest, GenerateRequest


def reject_unsendable_items(
    items: Sequence[ResolvedItem],
    plan: BatchPlan,
    ledger: Ledger,
    options: BatchOptions,
    check: Callable[[GenerateRequest], None],
) -> None:
    """Reject what the client would not send, and a budget where costs cannot be estimated.

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
            f"a budget needs prices, and what {len(unknown):,} of the requests may cost is not known (model "
            f"{models}); nothing was sent. Name a model, size and quality with a published price, give prices or "
            "max_image_cost, or leave the budget out"
        )
        raise ConfigurationError(msg)
    unpriceable = ledger.spending.unpriceable
    if unpriceable:
        msg = (
            f"a budget needs to know what was spent, and {unpriceable:,} earlier requests of this folder have "
            "neither a cost nor an estimate; nothing was sent. Give max_image_cost, use another folder, or leave "
            "the budget out"
        )
        raise ConfigurationError(msg)
    submitted = (
        0 if options.economy or not items else ledger.submitted_unpriceable
    )  # economy collects them first
    if submitted:
        msg = (
            f"a budget needs to know what was spent, and {submitted:,} requests that are at the provider have no "
            "estimate; nothing was sent. Collect them with economy first, or leave the budget out"
        )
        raise ConfigurationError(msg)


def _has_cost(request: GenerateRequest, options: BatchOptions) -> bool:
    """Whether what an edit has cost can be told from its usage, although nothing is known before."""
    return isinstance(request, EditRequest) and options.prices.of(request.model) is not None
