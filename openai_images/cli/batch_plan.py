"""Describes what a batch will do, as text and as JSON.

Must not: report an unknown cost as zero.
"""

from __future__ import annotations

from typing import Any

from openai_images import (
    BatchPlan,
)
from openai_images.cli.batch_costs import CostEstimate
from openai_images.cli.console import (
    decimal_text,
    join_limited,
    plural,
)

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
        (plan.removed, "is in the journal, but no longer in the input"),
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
    cost = None if estimate.unpriced else decimal_text(estimate.cost)
    money = {"at_most": cost, "spent": decimal_text(plan.spent), "by_model": estimate.records()}
    return {"plan": {"total": plan.total, **counts, **money}}
