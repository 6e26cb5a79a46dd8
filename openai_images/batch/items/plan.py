"""Decides what a run sends, from its items, the ledger and the folder; and returns the state of every item.

Invariants: pure; a done item is never sent again, an unknown, failed or missing item only if configured; remote images
are downloaded before anything is sent; an item in a batch at the provider is never sent; a changed request of an item
that may have been billed stops the run before anything is sent, and so does an item that is invalid, or a budget that
cannot be enforced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from attrs import define, field, frozen

from openai_images.batch.items.models import BatchOptions, BatchPlan, BatchSummary
from openai_images.batch.items.resolved_item import ResolvedItem, reject_invalid_items
from openai_images.batch.journal.ledger import ItemRecord, Ledger
from openai_images.errors import BatchFolderError, ConfigurationError
from openai_images.models.requests import EditRequest, GenerateRequest

_MAX_SHOWN = 10


@frozen(kw_only=True)
class FolderFindings:
    """What was found in the folder: keys of done items whose images are missing or altered, and notes."""

    missing: Collection[str] = frozenset()
    altered: Collection[str] = frozenset()
    notes: Sequence[str] = ()


def reject_changed_items(items: Iterable[ResolvedItem], ledger: Ledger) -> None:
    """Raise `BatchFolderError` if the request of an item that may have been billed has changed."""
    paid = ("done", "away", "unknown", "submitted")
    changed = [item.key for item in items if ledger.get(item.key).state in paid and _is_changed(item, ledger)]
    if changed:
        raise BatchFolderError(
            f"{_subject(changed, 'item')} changed: this folder's journal has another request under the same key, which "
            f"may have been paid for: {_list_limited(changed, 40)}; nothing was sent. Use another folder, give new "
            "prompts new keys (or append them to the old ones), or restore the old prompts, parameters and images"
        )


def reject_lost_rows(lost_images: Sequence[str], folder: str) -> None:
    """Raise `BatchFolderError` if the folder has images of items to send that are not in the journal."""
    if lost_images:
        raise BatchFolderError(
            f"{_subject(lost_images, 'image')} in {folder!r} without a row in the journal, with names of items that "
            f"would be sent and paid for again: {_list_limited(lost_images, 80)}; nothing was sent. "
            "journal.jsonl has lost rows: restore it. To generate these images again, move them to another folder "
            "first"
        )


def _subject(names: Sequence[str], noun: str) -> str:
    return f"1 {noun} is" if len(names) == 1 else f"{len(names):,} {noun}s are"


def _list_limited(names: Sequence[str], length: int) -> str:
    shown = ", ".join(repr(name[:length]) for name in names[:_MAX_SHOWN])
    return f"{shown} and {len(names) - _MAX_SHOWN:,} more" if len(names) > _MAX_SHOWN else shown


def make_plan(
    items: Sequence[ResolvedItem], ledger: Ledger, findings: FolderFindings, options: BatchOptions
) -> BatchPlan:
    """Return the plan of a run."""
    states = {item.key: _state(item, ledger, findings) for item in items}
    wanted = states_to_send(options)
    to_send = {item.key for item in items if states[item.key] in wanted}
    if options.retry_missing and not options.cancel:
        to_send |= {
            item.key for item in items if states[item.key] == "failed" and _has_rest(item, ledger, options)
        }
    same = _find_duplicates(items, states, to_send) if options.dedupe else {}
    states |= {key: states[other] for key, other in same.items() if other not in to_send}

    names = ("done", "away", "submitted", "pending", "failed", "unknown", "missing")
    keys: dict[str, list[str]] = {state: [] for state in names}
    for key, state in states.items():
        keys[state].append(key)
    return BatchPlan(
        total=len(items),
        **{state: tuple(keys_in_state) for state, keys_in_state in keys.items()},
        adopted=tuple(key for key in keys["done"] if ledger.get(key).adopted),
        altered=tuple(key for key in keys["done"] if key in findings.altered),
        changed=tuple(item.key for item in items if _is_changed(item, ledger)),
        incomplete=tuple(
            key
            for key, state in states.items()
            if state in ("failed", "unknown") and ledger.get(key).is_incomplete
        ),
        removed=tuple(
            key for key, record in ledger.records.items() if key not in states and record.state != "pending"
        ),
        to_send=tuple(item.key for item in items if item.key in to_send and item.key not in same),
        same=same,
        notes=tuple(findings.notes),
        spent=ledger.spending.known,
        unpriced=ledger.spending.unpriced,
    )


def states_to_send(options: BatchOptions) -> set[str]:
    """Return the states of items that a run with these options sends."""
    if options.cancel:
        return set()
    states = {"pending"}
    states |= {"failed"} if options.retry_failed else set()
    states |= {"unknown", "away"} if options.retry_unknown else set()
    return states | ({"missing"} if options.retry_missing else set())


def _state(item: ResolvedItem, ledger: Ledger, findings: FolderFindings) -> str:
    if _is_changed(item, ledger):
        return "pending"
    return "missing" if item.key in findings.missing else ledger.get(item.key).state


def _has_rest(item: ResolvedItem, ledger: Ledger, options: BatchOptions) -> bool:
    """Return whether only the missing images can be requested."""
    return item.rest(len(ledger.get(item.key).kept_files), options) is not None


def _is_changed(item: ResolvedItem, ledger: Ledger) -> bool:
    return ledger.get(item.key).request not in ("", item.digest)


def _find_duplicates(
    items: Iterable[ResolvedItem], states: Mapping[str, str], to_send: Collection[str]
) -> dict[str, str]:
    """Map each item that need not be sent to the item with the same request that represents it."""
    groups: dict[str, list[str]] = {}
    for item in items:
        groups.setdefault(item.digest, []).append(item.key)
    same: dict[str, str] = {}
    for group in groups.values():
        representative = _representative(group, states, to_send)
        same |= {key: representative for key in group if key in to_send and key != representative}
    return same


def _representative(group: Sequence[str], states: Mapping[str, str], to_send: Collection[str]) -> str:
    """Return the item that is done; else the one that is downloaded, sent again or ended; else the first."""
    by_choice = [key for key in group if key in to_send and states[key] != "pending"]
    settled = [key for key in group if key not in to_send and states[key] in ("failed", "unknown")]
    done = [key for state in ("done", "away", "submitted") for key in group if states[key] == state]
    return next(iter([*done, *by_choice, *settled, *group]))


@define
class StopReason:
    """Why a run ended before everything was sent: a word, the error, and the images in fallback folders."""

    reason: str = ""
    error: Exception | None = None
    saved_elsewhere: list[str] = field(factory=list[str])

    def set(self, reason: str) -> None:
        """Keep the first reason."""
        self.reason = self.reason or reason


class BatchStatus:
    """The states of a batch's items: at first those of the plan, then those of new rows."""

    def __init__(self, plan: BatchPlan, ledger: Ledger) -> None:
        self._plan = plan
        self._ledger = ledger
        self._done = frozenset(plan.done)
        self._missing = {key: ledger.get(key) for key in plan.missing}
        self._changed = {key: ledger.get(key) for key in plan.changed}

    def record(self, key: str) -> ItemRecord:
        """Return the record of an item, or of the item whose images it shares."""
        record = self._ledger.get(key)
        representative = self._plan.same.get(key)
        if representative is None or record.state == "done":
            return record
        return self._ledger.get(representative)

    def state(self, key: str) -> str:
        """Return "pending", "submitted", "done", "away", "failed", "unknown" or "missing"."""
        record = self.record(key)
        if record is self._missing.get(key):
            return "missing"
        return "pending" if record is self._changed.get(key) else record.state

    def summary(self, keys: Iterable[str], stop_reason: StopReason, elapsed: float) -> BatchSummary:
        """Return the numbers of the batch."""
        states = {key: self.state(key) for key in keys}
        counts = Counter(states.values())
        blocked = sum(state == "failed" and self.record(key).blocked for key, state in states.items())
        return BatchSummary(
            total=len(states),
            done=counts["done"],
            away=counts["away"],
            submitted=counts["submitted"],
            failed=counts["failed"],
            blocked=blocked,
            unknown=counts["unknown"],
            missing=counts["missing"],
            not_started=counts["pending"],
            earlier=len(self._done),
            reason=stop_reason.reason,
            spent=self._ledger.spending.known,
            unpriced=self._ledger.spending.unpriced,
            saved_elsewhere=tuple(stop_reason.saved_elsewhere),
            elapsed=elapsed,
            incomplete=sum(
                state in ("failed", "unknown") and self.record(key).is_incomplete
                for key, state in states.items()
            ),
        )


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
