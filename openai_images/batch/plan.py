"""Decides what a run sends, from its items, the journal's ledger and the folder; and tells where every item stands.

Invariants: pure. Two requests are the same if their bodies are, the client's model included; rows hold the digest of
a body. A done item is never sent again; an unknown, failed or missing one only when configured. Remote images are
fetched before anything is sent. A changed request of an item that may have been billed stops the run before anything
is sent.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from attrs import define, evolve, field, frozen

from openai_images.batch.ledger import ItemRecord, Ledger
from openai_images.batch.models import BatchItem, BatchOptions, BatchPlan, BatchSummary
from openai_images.catalog.prices import Prices
from openai_images.errors import BatchFolderError, BatchInputError, RequestInvalidError
from openai_images.models.cost import estimate_cost
from openai_images.models.requests import GenerateRequest
from openai_images.wire.codec import encode_json, request_params

_MAX_SHOWN = 10
_MAX_SHOWN_PROBLEMS = 20
_MAX_IMAGES = 1_000


@frozen
class ResolvedItem:
    """An item as it will be sent: its index, the whole `request`, its body's digest, its estimate in US dollars."""

    index: int
    key: str
    request: GenerateRequest
    digest: str
    estimate: Decimal | None = field(default=None)

    @property
    def image_count(self) -> int:
        """How many images it asks for."""
        return self.request.n or 1

    def rest(self, kept_count: int, prices: Prices) -> ResolvedItem | None:
        """The same item asking only for the images that are missing; None where it must ask for all."""
        missing = self.image_count - kept_count
        if not 0 < kept_count < self.image_count or "n" in (self.request.extra_body or {}):
            return None
        request = evolve(self.request, n=missing)
        return evolve(self, request=request, estimate=estimate_cost(request, prices))


def resolve_items(items: Iterable[BatchItem], model: str | None, prices: Prices) -> list[ResolvedItem]:
    """The items as they will be sent, `model` where one names none. Raises `BatchInputError` with all problems."""
    resolved: list[ResolvedItem] = []
    problems: list[str] = []
    first: dict[str, str] = {}
    for index, item in enumerate(items):
        where = f"item {index}" if item.line is None else f"line {item.line}"
        if item.key in first:
            problems.append(f"{where}: the key {item.key[:40]!r} is that of {first[item.key]} already")
        first.setdefault(item.key, where)
        request = item.request
        if request.path != GenerateRequest.path:
            problems.append(f"{where}: a batch takes no {type(request).__name__}; generate_many does")
            continue
        if request.model is None and model is not None:
            request = evolve(request, model=model)
        try:
            _check_image_count(request)
            resolved.append(
                ResolvedItem(index, item.key, request, _digest(request), estimate_cost(request, prices))
            )
        except RequestInvalidError as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise input_error("the items", problems)
    return resolved


_canonical_encoder = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _check_image_count(request: GenerateRequest) -> None:
    """Reject a number of images for which there are no file names. Raises `RequestInvalidError`."""
    number: Any = request.n  # callers may be untyped
    if number is not None and (
        isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _MAX_IMAGES
    ):
        msg = f"n must be a whole number from 1 to {_MAX_IMAGES:,}"
        raise RequestInvalidError(msg)


def input_error(where: str, problems: Sequence[str]) -> BatchInputError:
    """The exception with all `problems`, the first of them in its text."""
    shown = "".join(f"\n  {problem}" for problem in problems[:_MAX_SHOWN_PROBLEMS])
    more = (
        f"\n  … and {len(problems) - _MAX_SHOWN_PROBLEMS:,} more"
        if len(problems) > _MAX_SHOWN_PROBLEMS
        else ""
    )
    rows = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    return BatchInputError(
        f"{where} cannot be used, and nothing was sent: {rows}{shown}{more}", problems=problems
    )


def _digest(request: GenerateRequest) -> str:
    """The SHA-256 of the request's canonical body. Raises `RequestInvalidError`."""
    body = request_params(request, stream=False)
    if {str} >= set(map(type, body)) and {str, int} >= set(map(type, body.values())):
        with suppress(ValueError):  # raised below, without the prompt
            return _hash_json(body)
    return _hash_json(json.loads(encode_json(body)))  # a tuple becomes a list, 1 as a name "1"


def _hash_json(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical_encoder.encode(body).encode()).hexdigest()


@frozen(kw_only=True)
class FolderFindings:
    """What the folder shows: keys of done items whose images are gone, or altered, and notes."""

    missing: Collection[str] = frozenset()
    altered: Collection[str] = frozenset()
    notes: Sequence[str] = ()


def reject_changed_items(items: Iterable[ResolvedItem], ledger: Ledger) -> None:
    """Raise `BatchFolderError` where the request of an item that may have been billed has changed."""
    paid = ("done", "away", "unknown")
    changed = [item.key for item in items if ledger.get(item.key).state in paid and _is_changed(item, ledger)]
    if changed:
        raise BatchFolderError(
            f"{_subject(changed, 'item')} not what this folder's journal has under the same key, and may have been "
            f"paid for already: {_list_limited(changed, 40)}; nothing was sent. Use another folder, give new prompts "
            "keys of their own or put them behind the old ones, or go back to the old prompts and parameters"
        )


def reject_lost_rows(lost_images: Sequence[str], folder: str) -> None:
    """Raise `BatchFolderError` where the folder has images of items to send, and the journal no rows of them."""
    if lost_images:
        raise BatchFolderError(
            f"{_subject(lost_images, 'image')} in {folder!r} that no row of the journal knows, with the names of items "
            f"that would be sent, and paid for again: {_list_limited(lost_images, 80)}; nothing was sent. "
            "journal.jsonl has lost rows: restore it. To have them generated again, move these images to another "
            "folder first"
        )


def _subject(names: Sequence[str], noun: str) -> str:
    return f"1 {noun} is" if len(names) == 1 else f"{len(names):,} {noun}s are"


def _list_limited(names: Sequence[str], length: int) -> str:
    shown = ", ".join(repr(name[:length]) for name in names[:_MAX_SHOWN])
    return f"{shown} and {len(names) - _MAX_SHOWN:,} more" if len(names) > _MAX_SHOWN else shown


def make_plan(
    items: Sequence[ResolvedItem], ledger: Ledger, findings: FolderFindings, options: BatchOptions
) -> BatchPlan:
    """The plan of a run."""
    states = {item.key: _state(item, ledger, findings) for item in items}
    states_to_send = {"pending"}
    states_to_send |= {"failed"} if options.retry_failed else set()
    states_to_send |= {"unknown", "away"} if options.retry_unknown else set()
    states_to_send |= {"missing"} if options.retry_missing else set()
    to_send = {item.key for item in items if states[item.key] in states_to_send}
    same = _find_duplicates(items, states, to_send) if options.dedupe else {}
    states |= {key: states[other] for key, other in same.items() if other not in to_send}

    names = ("done", "away", "pending", "failed", "unknown", "missing")
    keys: dict[str, list[str]] = {state: [] for state in names}
    for key, state in states.items():
        keys[state].append(key)
    return BatchPlan(
        total=len(items),
        **{state: tuple(keys_in_state) for state, keys_in_state in keys.items()},
        adopted=tuple(key for key in keys["done"] if ledger.get(key).adopted),
        altered=tuple(key for key in keys["done"] if key in findings.altered),
        changed=tuple(item.key for item in items if _is_changed(item, ledger)),
        removed=tuple(
            key for key, record in ledger.records.items() if key not in states and record.state != "pending"
        ),
        to_send=tuple(item.key for item in items if item.key in to_send and item.key not in same),
        same=same,
        notes=tuple(findings.notes),
        spent=ledger.spending.known,
        unpriced=ledger.spending.unpriced,
    )


def _state(item: ResolvedItem, ledger: Ledger, findings: FolderFindings) -> str:
    if _is_changed(item, ledger):
        return "pending"
    return "missing" if item.key in findings.missing else ledger.get(item.key).state


def _is_changed(item: ResolvedItem, ledger: Ledger) -> bool:
    return ledger.get(item.key).request not in ("", item.digest)


def _find_duplicates(
    items: Iterable[ResolvedItem], states: Mapping[str, str], to_send: Collection[str]
) -> dict[str, str]:
    """For each item that need not be sent, the one with the same request that represents it."""
    groups: dict[str, list[str]] = {}
    for item in items:
        groups.setdefault(item.digest, []).append(item.key)
    same: dict[str, str] = {}
    for group in groups.values():
        representative = _representative(group, states, to_send)
        same |= {key: representative for key in group if key in to_send and key != representative}
    return same


def _representative(group: Sequence[str], states: Mapping[str, str], to_send: Collection[str]) -> str:
    """The one that is done; else the one that is fetched, sent again, or settled, in this order; else the first."""
    by_choice = [key for key in group if key in to_send and states[key] != "pending"]
    settled = [key for key in group if key not in to_send and states[key] in ("failed", "unknown")]
    done = [key for state in ("done", "away") for key in group if states[key] == state]
    return next(iter([*done, *by_choice, *settled, *group]))


@define
class StopReason:
    """Why a run ends before all is sent: a word, the error, and the images in a fallback folder."""

    reason: str = ""
    error: Exception | None = None
    saved_elsewhere: list[str] = field(factory=list[str])

    def set(self, reason: str) -> None:
        """Keep the first reason."""
        self.reason = self.reason or reason


class BatchStatus:
    """Where the items of a batch stand: by its plan at first, by the journal's rows from then on."""

    def __init__(self, plan: BatchPlan, ledger: Ledger) -> None:
        self._plan = plan
        self._ledger = ledger
        self._done = frozenset(plan.done)
        self._missing = {key: ledger.get(key) for key in plan.missing}
        self._changed = {key: ledger.get(key) for key in plan.changed}

    def record(self, key: str) -> ItemRecord:
        """The record of an item, or of the one whose images it shares."""
        record = self._ledger.get(key)
        representative = self._plan.same.get(key)
        if representative is None or record.state == "done":
            return record
        return self._ledger.get(representative)

    def state(self, key: str) -> str:
        """One of "pending", "done", "away", "failed", "unknown" and "missing"."""
        record = self.record(key)
        if record is self._missing.get(key):
            return "missing"
        return "pending" if record is self._changed.get(key) else record.state

    def summary(self, keys: Iterable[str], stop_reason: StopReason, elapsed: float) -> BatchSummary:
        """The numbers of the batch."""
        states = {key: self.state(key) for key in keys}
        counts = Counter(states.values())
        blocked = sum(state == "failed" and self.record(key).blocked for key, state in states.items())
        return BatchSummary(
            total=len(states),
            done=counts["done"],
            away=counts["away"],
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
