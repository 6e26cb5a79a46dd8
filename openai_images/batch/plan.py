"""What a run will do, decided before anything is sent: from what is asked, what the journal says, and what is there.

Rules: pure. Two requests are the same if their bodies are, the client's model included; the digest of a body stands
for it in the journal, so that a journal holds no prompt. What is done is never sent again; what may have been billed
only when asked for, and so is what failed and what was deleted. What is behind a URL is fetched, which costs nothing,
before anything is sent. An item whose request is not the one in the journal stops the run before anything is sent,
unless it was never paid for.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from attrs import define, evolve, field, frozen

from openai_images.batch.ledger import Ledger, Record
from openai_images.batch.models import BatchItem, BatchOptions, BatchPlan, BatchSummary
from openai_images.catalog.prices import Prices
from openai_images.errors import BatchFolderError, BatchInputError, RequestInvalidError
from openai_images.models.cost import estimate_cost
from openai_images.models.requests import GenerateRequest
from openai_images.wire.codec import encode_request

_SHOWN_PROBLEMS = 20

_MOST = 1_000


@frozen
class Asked:
    """An item as it will be sent: its place, the whole `request`, its body's digest, its estimate in US dollars."""

    index: int
    key: str
    request: GenerateRequest
    digest: str
    estimate: Decimal | None = field(default=None)

    @property
    def pictures(self) -> int:
        """How many are asked for."""
        return self.request.n or 1

    def rest(self, kept: int, prices: Prices) -> Asked | None:
        """The same item, asking only for what is missing when so many are kept; None where it must ask for all."""
        missing = self.pictures - kept
        if not 0 < kept < self.pictures or "n" in (self.request.extra_body or {}):
            return None
        request = evolve(self.request, n=missing)
        return evolve(self, request=request, estimate=estimate_cost(request, prices))


def asked_of(items: Iterable[BatchItem], model: str | None, prices: Prices) -> list[Asked]:
    """The items as they will be sent, `model` where one names none. Raises `BatchInputError` with all that is wrong."""
    asked: list[Asked] = []
    problems: list[str] = []
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        where = f"item {index + 1}" if item.line is None else f"line {item.line}"
        if item.key in first:
            problems.append(
                f"{where}: the key {item.key[:40]!r} is that of item {first[item.key] + 1} already"
            )
        first.setdefault(item.key, index)
        request = item.request
        if request.path != GenerateRequest.path:
            problems.append(f"{where}: a batch takes no {type(request).__name__}; generate_many does")
            continue
        if request.model is None and model is not None:
            request = GenerateRequest.of(request, {"model": model})
        try:
            _check_number(request)
            asked.append(Asked(index, item.key, request, _digest(request), estimate_cost(request, prices)))
        except RequestInvalidError as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise input_error("the items", problems)
    return asked


def _check_number(request: GenerateRequest) -> None:
    """Refuse a number of pictures that nobody could name files for. Raises `RequestInvalidError`."""
    number: Any = request.n  # callers may be untyped
    if number is not None and (
        isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _MOST
    ):
        msg = f"n must be a whole number from 1 to {_MOST:,}"
        raise RequestInvalidError(msg)


def input_error(where: str, problems: Sequence[str]) -> BatchInputError:
    """The exception that tells what is wrong: all of it in `problems`, the beginning in its text."""
    shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN_PROBLEMS])
    more = f"\n  … and {len(problems) - _SHOWN_PROBLEMS:,} more" if len(problems) > _SHOWN_PROBLEMS else ""
    rows = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    return BatchInputError(
        f"{where} cannot be used, and nothing was sent: {rows}{shown}{more}", problems=problems
    )


def _digest(request: GenerateRequest) -> str:
    """The SHA-256 of the request's body, in one spelling. Raises `RequestInvalidError`."""
    body = json.loads(encode_request(request, stream=False))
    canonical = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


_SHOWN = 10


@frozen(kw_only=True)
class Found:
    """What the folder showed: keys of done items whose pictures are gone, or not what was written, and what to tell."""

    missing: Collection[str] = frozenset()
    altered: Collection[str] = frozenset()
    notes: Sequence[str] = ()


def refuse_changes(asked: Iterable[Asked], ledger: Ledger) -> None:
    """Raise `BatchFolderError` where something that may have been paid for is now asked for differently."""
    changed = [one.key for one in asked if _is_changed(one, ledger) and _was_paid(one, ledger)]
    if changed:
        shown = ", ".join(repr(key[:40]) for key in changed[:_SHOWN])
        more = f" and {len(changed) - _SHOWN:,} more" if len(changed) > _SHOWN else ""
        items = "1 item is" if len(changed) == 1 else f"{len(changed):,} items are"
        msg = (
            f"{items} not what this folder's journal has under the same key, and may have been paid for already: "
            f"{shown}{more}; nothing was sent. Use another folder, give new prompts keys of their own or put them "
            "behind the old ones, or go back to the old prompts and parameters"
        )
        raise BatchFolderError(msg)


def refuse_lost_rows(strays: Sequence[str], folder: str) -> None:
    """Raise `BatchFolderError` where pictures of what would be sent are there, and the journal does not know them."""
    if strays:
        shown = ", ".join(repr(name[:80]) for name in strays[:_SHOWN])
        more = f" and {len(strays) - _SHOWN:,} more" if len(strays) > _SHOWN else ""
        images = "1 image is" if len(strays) == 1 else f"{len(strays):,} images are"
        msg = (
            f"{images} in {folder!r} that no row of the journal knows, with the names of items that would be sent, and "
            f"paid for again: {shown}{more}; nothing was sent. journal.jsonl has lost rows: restore it. To have them "
            "generated again, move these images to another folder first"
        )
        raise BatchFolderError(msg)


def make_plan(asked: Sequence[Asked], ledger: Ledger, found: Found, options: BatchOptions) -> BatchPlan:
    """The plan of a run."""
    states = {one.key: _state(one, ledger, found) for one in asked}
    wanted = {"pending"}
    wanted |= {"failed"} if options.retry_failed else set()
    wanted |= {"unknown", "away"} if options.retry_unknown else set()
    wanted |= {"missing"} if options.retry_missing else set()
    to_send = {one.key for one in asked if states[one.key] in wanted}
    same = _shared(asked, states, to_send) if options.dedupe else {}
    states |= {key: states[leader] for key, leader in same.items() if leader not in to_send}

    def of(state: str) -> tuple[str, ...]:
        return tuple(one.key for one in asked if states[one.key] == state)

    done = of("done")
    return BatchPlan(
        total=len(asked),
        done=done,
        away=of("away"),
        pending=of("pending"),
        failed=of("failed"),
        unknown=of("unknown"),
        missing=of("missing"),
        adopted=tuple(key for key in done if ledger.of_key(key).adopted),
        altered=tuple(key for key in done if key in found.altered),
        changed=tuple(one.key for one in asked if _is_changed(one, ledger)),
        removed=tuple(
            key for key, record in ledger.records.items() if key not in states and record.state != "pending"
        ),
        to_send=tuple(one.key for one in asked if one.key in to_send and one.key not in same),
        same=same,
        notes=tuple(found.notes),
        spent=ledger.spending.known,
        unpriced=ledger.spending.unpriced,
    )


def _state(one: Asked, ledger: Ledger, found: Found) -> str:
    if _is_changed(one, ledger):
        return "pending"
    return "missing" if one.key in found.missing else ledger.of_key(one.key).state


def _is_changed(one: Asked, ledger: Ledger) -> bool:
    """Whether the journal has another request under this key."""
    return ledger.of_key(one.key).request not in ("", one.digest)


def _was_paid(one: Asked, ledger: Ledger) -> bool:
    return ledger.of_key(one.key).state in ("done", "away", "unknown")


def _shared(asked: Iterable[Asked], states: Mapping[str, str], to_send: Collection[str]) -> dict[str, str]:
    """For each item that need not be sent, the one with the same request that stands for it."""
    groups: dict[str, list[str]] = {}
    for one in asked:
        groups.setdefault(one.digest, []).append(one.key)
    same: dict[str, str] = {}
    for group in groups.values():
        waiting = [key for key in group if key in to_send]
        leader = _leader(group, states, waiting)
        same |= {key: leader for key in waiting if key != leader}
    return same


def _leader(group: Sequence[str], states: Mapping[str, str], waiting: Sequence[str]) -> str:
    """The one that is done; else the one that is fetched, sent by choice, or settled, in this order; else the first."""
    by_choice = [key for key in waiting if states[key] != "pending"]
    settled = [key for key in group if key not in waiting and states[key] in ("failed", "unknown")]
    done = [key for state in ("done", "away") for key in group if states[key] == state]
    return next(iter([*done, *by_choice, *settled, *group]))


@define
class End:
    """Why a run ends before all is sent: a word, the error, and pictures that had to be saved elsewhere."""

    reason: str = ""
    error: Exception | None = None
    elsewhere: list[str] = field(factory=list[str])


class Standing:
    """Where the items of a batch stand: by its plan at first, by the journal's rows from then on."""

    def __init__(self, plan: BatchPlan, ledger: Ledger) -> None:
        """Start with the plan."""
        self._plan = plan
        self._ledger = ledger
        self._done = frozenset(plan.done)
        self._missing = {key: ledger.of_key(key) for key in plan.missing}
        self._changed = {key: ledger.of_key(key) for key in plan.changed}

    def record(self, key: str) -> Record:
        """What is known of an item, or of the one whose pictures it shares."""
        record = self._ledger.of_key(key)
        leader = self._plan.same.get(key)
        return record if leader is None or record.state == "done" else self._ledger.of_key(leader)

    def state(self, key: str) -> str:
        """One of "pending", "done", "away", "failed", "unknown" and "missing"."""
        record = self.record(key)
        if record is self._missing.get(key):
            return "missing"
        return "pending" if record is self._changed.get(key) else record.state

    def summary(self, keys: Iterable[str], end: End, elapsed: float) -> BatchSummary:
        """The numbers."""
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
            reason=end.reason,
            spent=self._ledger.spending.known,
            unpriced=self._ledger.spending.unpriced,
            saved_elsewhere=tuple(end.elsewhere),
            elapsed=elapsed,
            incomplete=sum(
                state in ("failed", "unknown") and self.record(key).is_incomplete
                for key, state in states.items()
            ),
        )
